//! Follows the freezes of the mesh, so that a step is refused by this replica's own copy even when controls is silent.

use std::{sync::Arc, time::Duration};

use contracts_controls::v1::{WatchEpochRequest, freeze_service_client::FreezeServiceClient};
use runspine_rpc::{Context, Transport};
use runspine_types::Clock;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::kernel::FreezeView;

/// Calls that the watch makes.
pub const CALLS: &[&str] = &["runspine.controls.v1.FreezeService/WatchEpoch"];

/// Pause before the watch is opened again.
const REOPEN: Duration = Duration::from_millis(250);

/// Keeps `view` up to date until `stop`.
pub async fn follow(
    context: Context,
    controls: Transport,
    view: Arc<FreezeView>,
    clock: Arc<dyn Clock>,
    replica: String,
    stop: CancellationToken,
) {
    let mut client = FreezeServiceClient::new(controls);
    while !stop.is_cancelled() {
        let request = WatchEpochRequest { replica: replica.clone(), from_epoch: view.epoch() };
        tokio::select! {
            () = stop.cancelled() => return,
            ended = watch(&mut client, &context, request, &view, &*clock) => {
                if let Err(status) = ended {
                    tracing::warn!(code = ?status.code(), message = status.message(), "the freeze watch broke");
                }
            }
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = sleep(REOPEN) => {}
        }
    }
}

async fn watch(
    client: &mut FreezeServiceClient<Transport>,
    context: &Context,
    request: WatchEpochRequest,
    view: &FreezeView,
    clock: &dyn Clock,
) -> Result<(), tonic::Status> {
    let mut said = client.watch_epoch(context.request(request)).await?.into_inner();
    while let Some(next) = said.message().await? {
        view.learn(next, clock.now());
    }
    Ok(())
}
