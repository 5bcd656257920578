//! `PayloadService` and `InspectionService`.

use std::sync::Arc;

use bytes::Bytes;
use contracts_common::common::v1::CallContext;
use contracts_logs::v1::{
    self as pb, check_inspection_request::Constraints as Asked, inspection_service_server::InspectionService,
    payload_service_server::PayloadService,
};
use prost::Message;
use runspine_errors::{Fault, Violations, mesh};
use runspine_redact::{Constraints, Operation};
use runspine_rpc::{context, status};
use runspine_types::{Digest, is_uuid, is_uuid_v7};
use tonic::{Request, Response, Status};

use super::{audit::fields::Fields, present};
use crate::{
    app::{
        App,
        once::Once,
        payloads::{
            denials::number,
            erase::{Chosen, Erase},
            hold::Hold,
        },
    },
    store::erasure::Selector,
};

/// Most references of one erasure.
const MAX_REFS: usize = 1_000;
/// Most runs of one order to hold.
const MAX_RUNS: usize = 100;

/// Serves payloads.
pub struct Payloads {
    /// The use cases.
    pub app: Arc<App>,
}

/// Answers what watching may do.
pub struct Inspection {
    /// The use cases.
    pub app: Arc<App>,
}

fn stored<M: Message + Default>(bytes: Result<Bytes, Fault>) -> Result<Response<M>, Status> {
    bytes.and_then(|bytes| present::decode(&bytes)).map(Response::new).map_err(status)
}

#[tonic::async_trait]
impl PayloadService for Payloads {
    async fn get_payload(
        &self,
        request: Request<pb::GetPayloadRequest>,
    ) -> Result<Response<pb::GetPayloadResponse>, Status> {
        let call = context(&request)?;
        let mut fields = Fields::new();
        let wanted = fields.digest("ref", &request.get_ref().r#ref);
        fields.require(wanted.is_some(), "ref", "has 32 bytes");
        fields.done().map_err(status)?;
        let found = self.app.get_payload(&call.tenant_id, wanted.unwrap_or_default()).await;
        found.map(Response::new).map_err(status)
    }

    async fn erase_payloads(
        &self,
        request: Request<pb::ErasePayloadsRequest>,
    ) -> Result<Response<pb::ErasePayloadsResponse>, Status> {
        let call = context(&request)?;
        let erase = erasure(&call, request.into_inner()).map_err(status)?;
        stored(self.app.erase_payloads(&call, erase).await)
    }

    async fn set_legal_hold(
        &self,
        request: Request<pb::SetLegalHoldRequest>,
    ) -> Result<Response<pb::SetLegalHoldResponse>, Status> {
        let call = context(&request)?;
        let hold = hold(&call, request.into_inner()).map_err(status)?;
        stored(self.app.set_legal_hold(&call, hold).await)
    }
}

const ERASE: &str = "runspine.logs.v1.PayloadService/ErasePayloads";
const HOLD: &str = "runspine.logs.v1.PayloadService/SetLegalHold";

fn erasure(call: &CallContext, r: pb::ErasePayloadsRequest) -> Result<Erase, Fault> {
    let once = Once::new(call, ERASE, &r.request_id, &r);
    let mut fields = Fields::new();
    let refs: Vec<Option<Digest>> = r.refs.iter().map(|bytes| fields.digest("refs", bytes)).collect();
    fields.require(refs.len() <= MAX_REFS, "refs", "are at most 1 000");
    fields.require(r.run_id.is_empty() || is_uuid_v7(&r.run_id), "run_id", "is a UUIDv7");
    fields.require(r.subject.len() <= 256, "subject", "is at most 256 bytes");
    let selectors = [!refs.is_empty(), !r.subject.is_empty(), !r.run_id.is_empty(), r.tenant];
    let one = selectors.iter().filter(|given| **given).count() == 1;
    fields.require(one, "refs", "exactly one of refs, subject, run_id and tenant is given");
    let approval = r.approval_id.is_empty() || is_uuid(&r.approval_id);
    fields.require(approval, "approval_id", "is a UUID");
    reason(&mut fields, &r.reason);
    fields.request_id(r.request_id);
    fields.done()?;
    let chosen = if r.tenant {
        Chosen::By(Selector::Tenant)
    } else if !r.run_id.is_empty() {
        Chosen::By(Selector::Run(r.run_id))
    } else if r.subject.is_empty() {
        Chosen::By(Selector::Refs(refs.into_iter().flatten().collect()))
    } else {
        Chosen::Tag(r.subject)
    };
    let reason = super::parse::words(&r.reason);
    Ok(Erase { once, chosen, reason, approval_id: r.approval_id })
}

fn hold(call: &CallContext, r: pb::SetLegalHoldRequest) -> Result<Hold, Fault> {
    let once = Once::new(call, HOLD, &r.request_id, &r);
    let mut fields = Fields::new();
    fields.require(r.run_ids.len() <= MAX_RUNS, "run_ids", "are at most 100");
    fields.require(r.run_ids.iter().all(|id| is_uuid_v7(id)), "run_ids", "are UUIDv7");
    fields.require(r.subject.len() <= 256, "subject", "is at most 256 bytes");
    let one = r.run_ids.is_empty() != r.subject.is_empty();
    fields.require(one, "run_ids", "either run_ids or subject is given");
    reason(&mut fields, &r.reason);
    fields.request_id(r.request_id);
    fields.done()?;
    let mut run_ids = r.run_ids;
    run_ids.sort_unstable();
    run_ids.dedup();
    let reason = super::parse::words(&r.reason);
    Ok(Hold { once, run_ids, subject: r.subject, hold: r.hold, reason })
}

fn reason(fields: &mut Fields, reason: &str) {
    let length = reason.chars().count();
    fields.require((10..=500).contains(&length), "reason", "has 10 to 500 characters");
}

#[tonic::async_trait]
impl InspectionService for Inspection {
    async fn check_inspection(
        &self,
        request: Request<pb::CheckInspectionRequest>,
    ) -> Result<Response<pb::CheckInspectionResponse>, Status> {
        let call = context(&request)?;
        let r = request.into_inner();
        let mut found = Violations::new();
        let some = (1..=64).contains(&r.operations.len());
        found.require(some, "operations", "FIELD_INVALID", "are 1 to 64");
        if let Some(Asked::Run(run)) = &r.constraints {
            found.require(is_uuid_v7(&run.run_id), "run.run_id", "FIELD_INVALID", "is a UUIDv7");
        }
        found.into_result(&mesh::FIELD_INVALID).map_err(status)?;
        let (bits, snapshot) = match &r.constraints {
            Some(Asked::Mask(mask)) => (Some(*mask), Bytes::new()),
            Some(Asked::Run(run)) => {
                let found = self.app.inspection(&call.tenant_id, &run.run_id, run.attempt).await;
                found.map_err(status)?.map_or((None, Bytes::new()), |(bits, digest)| (Some(bits), digest))
            }
            None => (None, Bytes::new()),
        };
        let constraints = Constraints::of(bits);
        let violation = |asked: i32| {
            constraints.check(operation(asked)).map(|violation| pb::InspectionViolation {
                operation: asked,
                constraint_field: violation.field().to_owned(),
                constraint_value: false,
                message: violation.message(),
                policy_snapshot_digest: snapshot.clone(),
            })
        };
        Ok(Response::new(pb::CheckInspectionResponse {
            allowed: constraints.allowed().map(|o| number(o).into()).collect(),
            denied: constraints.denied().map(|o| number(o).into()).collect(),
            violations: r.operations.into_iter().filter_map(violation).collect(),
        }))
    }
}

/// An operation by its number; `None` for one that nobody knows, which is denied.
fn operation(asked: i32) -> Option<Operation> {
    Operation::ALL.into_iter().find(|o| number(*o) as i32 == asked)
}
