//! `CertificateService`.

use std::sync::Arc;

use contracts_logs::v1::{
    self as pb, CertificateFormat, CertificateKind, certificate_service_server::CertificateService,
};
use prost::Message as _;
use runspine_errors::Fault;
use runspine_rpc::{context, status};
use runspine_types::{hash, is_uuid, is_uuid_v7};
use tonic::{Request, Response, Status};

use super::{
    audit::fields::{Fields, page_after, page_key},
    parse::words,
    present,
};
use crate::{
    app::{App, certificates::Issue, once::Once},
    store::certificates::Filter,
};

const ISSUE: &str = "runspine.logs.v1.CertificateService/IssueCertificate";
const REVOKE: &str = "runspine.logs.v1.CertificateService/RevokeCertificate";
/// Most bytes of a certificate that is judged.
const MAX_ENCODED: usize = 64 * 1024;

/// Serves certificates.
pub struct Certificates {
    /// The use cases.
    pub app: Arc<App>,
}

#[tonic::async_trait]
impl CertificateService for Certificates {
    async fn issue_certificate(
        &self,
        request: Request<pb::IssueCertificateRequest>,
    ) -> Result<Response<pb::IssueCertificateResponse>, Status> {
        let call = context(&request)?;
        let r = request.into_inner();
        let once = Once::new(&call, ISSUE, &r.request_id, &r);
        let mut fields = Fields::new();
        let kind = fields.known::<CertificateKind>("kind", r.kind);
        let format = fields.any::<CertificateFormat>("format", r.format);
        let subjects = [
            ("replay_id", &r.replay_id, CertificateKind::ReplayProof),
            ("export_id", &r.export_id, CertificateKind::IncidentExport),
        ];
        for (field, id, of) in &subjects {
            let fits = if kind == *of { is_uuid(id) } else { id.is_empty() };
            fields.require(fits, field, "is a UUID, for its own kind only");
        }
        if subjects.iter().any(|(.., of)| kind == *of) {
            let alone = r.run_id.is_empty() && r.attempt == 0;
            fields.require(alone, "run_id", "and attempt are those of the subject, and not given");
        } else {
            fields.require(is_uuid_v7(&r.run_id), "run_id", "is a UUIDv7");
        }
        fields.request_id(r.request_id);
        fields.done().map_err(status)?;
        let issue = Issue {
            once,
            kind,
            run_id: r.run_id,
            attempt: r.attempt,
            replay_id: r.replay_id,
            export_id: r.export_id,
            format,
        };
        let answer = self.app.issue_certificate(&call, issue).await;
        answer.and_then(|bytes| present::decode(&bytes)).map(Response::new).map_err(status)
    }

    async fn get_certificate(
        &self,
        request: Request<pb::GetCertificateRequest>,
    ) -> Result<Response<pb::GetCertificateResponse>, Status> {
        let call = context(&request)?;
        let r = request.into_inner();
        let mut fields = Fields::new();
        let format = fields.any::<CertificateFormat>("format", r.format);
        fields.require(is_uuid(&r.certificate_id), "certificate_id", "is a UUID");
        fields.done().map_err(status)?;
        let found = self.app.get_certificate(&call.tenant_id, &r.certificate_id, format).await;
        let found = found.map_err(status)?;
        Ok(Response::new(pb::GetCertificateResponse { certificate: Some(found) }))
    }

    async fn list_certificates(
        &self,
        request: Request<pb::ListCertificatesRequest>,
    ) -> Result<Response<pb::ListCertificatesResponse>, Status> {
        let call = context(&request)?;
        self.list(&call.tenant_id, request.into_inner()).await.map(Response::new).map_err(status)
    }

    async fn verify_certificate(
        &self,
        request: Request<pb::VerifyCertificateRequest>,
    ) -> Result<Response<pb::VerifyCertificateResponse>, Status> {
        let call = context(&request)?;
        let encoded = request.into_inner().encoded;
        let mut fields = Fields::new();
        fields.require((1..=MAX_ENCODED).contains(&encoded.len()), "encoded", "has 1 byte to 64 KiB");
        fields.done().map_err(status)?;
        let judged = self.app.verify_certificate(&call.tenant_id, &encoded).await;
        let (found, read) = judged.map_err(status)?;
        use pb::CertificateStatus as S;
        let good = matches!(found, S::Valid | S::Expired | S::Revoked);
        let key_id = read.as_ref().map(|read| read.key_id.clone()).unwrap_or_default();
        let payload_json = read.filter(|_| good).map(|read| read.payload).unwrap_or_default();
        Ok(Response::new(pb::VerifyCertificateResponse { status: found.into(), payload_json, key_id }))
    }

    async fn revoke_certificate(
        &self,
        request: Request<pb::RevokeCertificateRequest>,
    ) -> Result<Response<pb::RevokeCertificateResponse>, Status> {
        let call = context(&request)?;
        let r = request.into_inner();
        let once = Once::new(&call, REVOKE, &r.request_id, &r);
        let mut fields = Fields::new();
        fields.require(is_uuid(&r.certificate_id), "certificate_id", "is a UUID");
        let length = r.reason.chars().count();
        fields.require((10..=500).contains(&length), "reason", "has 10 to 500 characters");
        fields.request_id(r.request_id);
        fields.done().map_err(status)?;
        let revoke = (once, r.certificate_id, words(&r.reason));
        let answer = self.app.revoke_certificate(&call, revoke).await;
        answer.and_then(|bytes| present::decode(&bytes)).map(Response::new).map_err(status)
    }
}

impl Certificates {
    async fn list(
        &self,
        tenant: &str,
        r: pb::ListCertificatesRequest,
    ) -> Result<pb::ListCertificatesResponse, Fault> {
        let unpaged = pb::ListCertificatesRequest { page_size: 0, page_token: String::new(), ..r.clone() };
        let query = hash(&unpaged.encode_to_vec());
        let mut fields = Fields::new();
        let kind = fields.any::<CertificateKind>("kind", r.kind);
        let size = fields.page_size(r.page_size);
        fields.require(r.run_id.is_empty() || is_uuid_v7(&r.run_id), "run_id", "is a UUIDv7");
        fields.done()?;
        let filter = Filter {
            kind: (kind != CertificateKind::Unspecified).then(|| kind.into()),
            run_id: (!r.run_id.is_empty()).then_some(r.run_id),
            revoked: r.revoked,
        };
        let before = page_after(&r.page_token, query)?.map(|[id]| id);
        let mut found = self.app.list_certificates(tenant, &filter, before, size.probe()).await?;
        let next_page_token = size.cut(&mut found, query, |(id, _)| page_key([*id]));
        let certificates = found.into_iter().map(|(_, certificate)| certificate).collect();
        Ok(pb::ListCertificatesResponse { certificates, next_page_token })
    }
}
