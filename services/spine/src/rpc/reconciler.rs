//! `ReconcilerService`.

use std::sync::{Arc, atomic::Ordering};

use contracts_spine::v1::{
    DriveContractRequest, DriveContractResponse, GetReconcilerStatusRequest, GetReconcilerStatusResponse,
    reconciler_service_server::ReconcilerService,
};
use runspine_rpc::{context, timestamp};
use runspine_types::Micros;
use tonic::{Request, Response, Status};

use super::answer;
use crate::{kernel::Kernel, worker::reconciler::Tally};

/// Shows what this replica's reconciler does and what waits for it, and has promises driven.
#[derive(Clone)]
pub struct ReconcilerServer {
    kernel: Arc<Kernel>,
    tally: Arc<Tally>,
}

impl ReconcilerServer {
    /// A server over the kernel and the worker's tally.
    #[must_use]
    pub fn new(kernel: Arc<Kernel>, tally: Arc<Tally>) -> Self {
        Self { kernel, tally }
    }
}

#[tonic::async_trait]
impl ReconcilerService for ReconcilerServer {
    async fn get_reconciler_status(
        &self,
        request: Request<GetReconcilerStatusRequest>,
    ) -> Result<Response<GetReconcilerStatusResponse>, Status> {
        let waits = self.kernel.backlog(&context(&request)?).await.map_err(runspine_rpc::status)?;
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
            overdue: waits.overdue,
            oldest_overdue_at: waits.oldest_overdue_at,
            parked_contracts: waits.parked,
        }))
    }

    async fn drive_contract(
        &self,
        request: Request<DriveContractRequest>,
    ) -> Result<Response<DriveContractResponse>, Status> {
        let context = context(&request)?;
        answer(Box::pin(self.kernel.drive_by_order(&context, request.into_inner())).await)
    }
}
