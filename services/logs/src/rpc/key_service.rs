//! `KeyService`.

use std::sync::Arc;

use contracts_logs::v1::{self as pb, key_service_server::KeyService};
use runspine_errors::{Fault, mesh};
use runspine_rpc::status;
use tonic::{Request, Response, Status};

use super::present;
use crate::{app::App, store::keys};

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
}
