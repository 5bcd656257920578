//! RequestStop.

use bytes::Bytes;
use contracts_activity::v1::{RequestStopRequest, RequestStopResponse, StopMode, StopRequested};
use contracts_common::phase;
use prost::Message as _;
use runspine_activity_domain::reasons;
use runspine_db::{Tx, args};
use runspine_errors::{Fault, Outcome};
use runspine_types::{Micros, hash};

use crate::{
    app::{
        App, Who,
        events::{About, emit},
    },
    rpc::present,
    store::{lease, row::StateRow, state},
};

pub(crate) async fn request_stop(
    app: &App,
    who: Who,
    request: RequestStopRequest,
) -> Outcome<RequestStopResponse> {
    let who = who.acting(request.actor.as_ref());
    let (clock, orphan_ms) = (app.clock.clone(), app.config.orphan_ms());
    let write = app.db.write("RequestStop", move |tx| {
        Box::pin(async move { apply(tx, &who, &request, orphan_ms, clock.now()).await })
    });
    write.await
}

async fn apply(
    tx: &mut Tx,
    who: &Who,
    request: &RequestStopRequest,
    orphan_ms: i64,
    now: Micros,
) -> Outcome<RequestStopResponse> {
    let digest: Bytes = hash(&request.encode_to_vec()).to_vec().into();
    let found = state::lock(tx, &who.tenant, &request.run_id, request.attempt).await?;
    if let Some(first) = &found.stop_request_digest {
        let existing = *first != digest;
        return Ok(RequestStopResponse { stop: present::stop(&found), existing });
    }
    if phase::is_terminal(found.phase()?) {
        return Err(Fault::new(&reasons::RUN_TERMINAL, "the attempt has ended")
            .with("status", found.status()?.as_str_name()));
    }
    let mut held = lease::lock(tx, found.attempt_key).await?;
    let at_once = request.mode == StopMode::Now as i32;
    if at_once {
        held.fence += 1;
    }
    let drain_until = now.plus_millis(if at_once { 0 } else { request.drain_ms });
    insert(tx, who, request, &found, held.fence, drain_until, digest, now).await?;
    let stopped = state::lock(tx, &who.tenant, &request.run_id, request.attempt).await?;
    lease::set_alarms(&mut held, &stopped, orphan_ms, now);
    lease::save(tx, vec![held]).await?;
    let stop = present::stop(&stopped);
    let about = About {
        run_id: &stopped.run_id,
        project_id: &stopped.project_id,
        attempt: stopped.attempt,
        reason: &request.code,
    };
    emit(tx, who, &about, &StopRequested { run_id: stopped.run_id.clone(), stop: stop.clone() }, now);
    Ok(RequestStopResponse { stop, existing: false })
}

#[allow(clippy::too_many_arguments)]
async fn insert(
    tx: &mut Tx,
    who: &Who,
    request: &RequestStopRequest,
    found: &StateRow,
    fence: i64,
    drain_until: Micros,
    digest: Bytes,
    now: Micros,
) -> Outcome<()> {
    let causes: Vec<String> = request.causes.iter().map(i32::to_string).collect();
    let sql = "INSERT INTO stops (attempt_key, tenant_id, stop_attempt, stop_reason, stop_code, stop_causes, stop_note, \
               stop_actor_type, stop_actor_id, stop_mode, drain_until, requested_at, stop_fence, stop_policy_id, \
               stop_step, stop_request_digest) \
               VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16)";
    let args = args![
        found.attempt_key,
        &who.tenant,
        found.attempt,
        request.reason,
        &request.code,
        causes.join(","),
        &request.note,
        who.actor.r#type,
        &who.actor.id,
        request.mode,
        drain_until,
        now,
        fence,
        &request.violation_policy_id,
        request.stopped_at_step,
        digest,
    ];
    tx.execute(sql, args).await?;
    Ok(())
}
