//! The spine's own services: each handler asks the kernel and presents what it says.

mod bundle;
mod evidence_capture;
mod govern;
mod governance;
mod incident_export;
mod reconciler;
mod replay;
mod run;
mod spans;

pub use bundle::BundleServer;
pub use evidence_capture::EvidenceCaptureServer;
pub use govern::Frames;
pub use governance::GovernanceServer;
pub use incident_export::IncidentExportServer;
pub use reconciler::ReconcilerServer;
pub use replay::ReplayServer;
pub use run::RunServer;
use runspine_errors::Outcome;
pub use spans::SpanServer;
use tonic::{Response, Status};

/// The kernel's word as a gRPC answer.
fn answer<T>(outcome: Outcome<T>) -> Result<Response<T>, Status> {
    outcome.map(Response::new).map_err(runspine_rpc::status)
}
