//! The door of the domain: requests into domain types, results into messages. Holds no rule.

mod checks;
mod event_service;
mod export_service;
mod incident_service;
pub mod parse;
pub mod present;
mod report_service;

use std::sync::Arc;

use contracts_incidents::v1::{
    event_service_server::EventServiceServer, incident_export_service_server::IncidentExportServiceServer,
    incident_report_service_server::IncidentReportServiceServer,
    incident_service_server::IncidentServiceServer,
};
use prost::Message;
use runspine_rpc::Routes;
use runspine_types::{Digest, hash};

use crate::app::App;

/// Serves the use cases.
#[derive(Clone)]
pub struct Rpc {
    app: App,
}

/// Every service of the domain.
#[must_use]
pub fn routes(app: App) -> Routes {
    let rpc = Arc::new(Rpc { app });
    Routes::new()
        .add(IncidentReportServiceServer::from_arc(Arc::clone(&rpc)))
        .add(IncidentServiceServer::from_arc(Arc::clone(&rpc)))
        .add(IncidentExportServiceServer::from_arc(Arc::clone(&rpc)))
        .add(EventServiceServer::from_arc(rpc))
}

/// Digest of a request: what "the same body" means.
fn digest_of<M: Message>(request: &M) -> Digest {
    hash(&request.encode_to_vec())
}
