//! `KeyService`.

use std::sync::Arc;

use bytes::Bytes;
use contracts_logs::v1::{self as pb, key_service_server::KeyService};
use prost::Message;
use runspine_errors::{Fault, mesh};
use runspine_rpc::{context, status};
use tonic::{Request, Response, Status};

use super::{audit::fields::Fields, present};
use crate::{
    app::{App, once::Once},
    store::keys,
};

/// Serves public keys. They are the same for every tenant.
pub struct Keys {
    /// The use cases.
    pub app: Arc<App>,
}

#[tonic::async_trait]
impl KeyService for Keys {
    async fn list_keys(
        &self,
        request: Request<pb::ListKeysRequest>,
    ) -> Result<Response<pb::ListKeysResponse>, Status> {
        let wanted = request.into_inner().purpose;
        if pb::KeyPurpose::try_from(wanted).is_err() {
            let fault = Fault::new(&mesh::ENUM_UNKNOWN, "the purpose is not known");
            return Err(status(fault.field("purpose", "ENUM_UNKNOWN", "is not a value of this version")));
        }
        let rows = keys::all(self.app.db.read()).await.map_err(|error| status(error.into()))?;
        let rows = rows.into_iter().filter(|row| wanted == 0 || row.purpose == wanted);
        Ok(Response::new(pb::ListKeysResponse { keys: rows.map(present::key).collect() }))
    }

    async fn rotate_key(
        &self,
        request: Request<pb::RotateKeyRequest>,
    ) -> Result<Response<pb::RotateKeyResponse>, Status> {
        let call = context(&request)?;
        let r = request.into_inner();
        let mut fields = Fields::new();
        let request_id = fields.request_id(r.request_id.clone());
        let purpose = fields.known::<pb::KeyPurpose>("purpose", r.purpose);
        let reason = fields.words("reason", r.reason.clone(), (1, 1_024));
        fields.done().map_err(status)?;
        let once = Once::new(&call, "runspine.logs.v1.KeyService/RotateKey", &request_id, &r);
        kept(self.app.rotate_key(&call, once, (purpose, reason)).await)
    }

    async fn revoke_key(
        &self,
        request: Request<pb::RevokeKeyRequest>,
    ) -> Result<Response<pb::RevokeKeyResponse>, Status> {
        let call = context(&request)?;
        let r = request.into_inner();
        let mut fields = Fields::new();
        let request_id = fields.request_id(r.request_id.clone());
        let named = r.key_id.len() == 32 && r.key_id.bytes().all(|b| b.is_ascii_hexdigit());
        fields.require(named, "key_id", "is 32 hexadecimal characters");
        let revoked_from = fields.time("revoked_from", r.revoked_from.as_ref());
        fields.require(revoked_from <= self.app.clock.now(), "revoked_from", "is not in the future");
        let reason = fields.words("reason", r.reason.clone(), (1, 1_024));
        fields.done().map_err(status)?;
        let once = Once::new(&call, "runspine.logs.v1.KeyService/RevokeKey", &request_id, &r);
        kept(self.app.revoke_key(&call, once, (r.key_id, revoked_from, reason)).await)
    }
}

/// An answer as it is kept.
fn kept<M: Message + Default>(answer: Result<Bytes, Fault>) -> Result<Response<M>, Status> {
    answer.and_then(|bytes| present::decode(&bytes)).map(Response::new).map_err(status)
}
