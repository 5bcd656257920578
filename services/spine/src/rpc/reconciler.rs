//! `ReconcilerService`.

use std::sync::{Arc, atomic::Ordering};

use contracts_spine::v1::{
    GetReconcilerStatusRequest, GetReconcilerStatusResponse, reconciler_service_server::ReconcilerService,
};
use runspine_rpc::timestamp;
use runspine_types::Micros;
use tonic::{Request, Response, Status};

use crate::worker::reconciler::Tally;

/// Shows what this replica's reconciler does.
#[derive(Clone)]
pub struct ReconcilerServer {
    tally: Arc<Tally>,
}

impl ReconcilerServer {
    /// A server over the worker's tally.
    #[must_use]
    pub fn new(tally: Arc<Tally>) -> Self {
        Self { tally }
    }
}

#[tonic::async_trait]
impl ReconcilerService for ReconcilerServer {
    async fn get_reconciler_status(
        &self,
        _: Request<GetReconcilerStatusRequest>,
    ) -> Result<Response<GetReconcilerStatusResponse>, Status> {
        let t = &self.tally;
        let last = t.last_pass_us.load(Ordering::Relaxed);
        Ok(Response::new(GetReconcilerStatusResponse {
            claimed: t.claimed.load(Ordering::Relaxed),
            driven: t.driven.load(Ordering::Relaxed),
            retried: t.retried.load(Ordering::Relaxed),
            parked: t.parked.load(Ordering::Relaxed),
            passes: t.passes.load(Ordering::Relaxed),
            last_pass_at: (last > 0).then(|| timestamp(Micros(last))),
            events_relayed: t.events_relayed.load(Ordering::Relaxed),
        }))
    }
}
