//! The servers: parse, do, present. They hold no rule.

mod checks;
mod events;
mod parse;
mod parse_query;
pub(crate) mod present;
mod run_query;
mod run_store;

use contracts_activity::v1::{
    event_service_server::EventServiceServer, run_query_service_server::RunQueryServiceServer,
    run_store_service_server::RunStoreServiceServer,
};
use runspine_errors::{Fault, Outcome, mesh};
use runspine_rpc::Routes;

use crate::app::App;

/// Serves every service of the domain.
#[derive(Clone)]
pub(crate) struct Rpc {
    app: App,
}

/// All servers of the domain.
pub(crate) fn routes(app: App) -> Routes {
    let rpc = Rpc { app };
    Routes::new()
        .add(RunStoreServiceServer::new(rpc.clone()))
        .add(RunQueryServiceServer::new(rpc.clone()))
        .add(EventServiceServer::new(rpc))
}

impl Rpc {
    /// Runs a write of one run to its end, whether its caller waits or not: what is kept in memory of the run is
    /// forgotten until it is durable.
    async fn writing<R, F>(&self, tenant: &str, run_id: &str, write: F) -> Outcome<R>
    where
        R: Send + 'static,
        F: Future<Output = Outcome<R>> + Send + 'static,
    {
        let guard = self.app.states.writing(tenant, run_id);
        let task = tokio::spawn(async move {
            let done = write.await;
            drop(guard);
            done
        });
        joined(task.await)
    }
}

/// The outcome of a write that ran in a task of its own.
fn joined<R>(task: Result<Outcome<R>, tokio::task::JoinError>) -> Outcome<R> {
    task.unwrap_or_else(|error| Err(Fault::new(&mesh::INTERNAL, "the write was lost").caused_by(error)))
}
