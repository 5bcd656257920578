//! CreateAttempt.

use contracts_activity::v1::{AttemptCreated, CreateAttemptRequest, CreateAttemptResponse};
use contracts_common::common::v1::{RunPhase, RunStatus};
use prost::Message as _;
use runspine_activity_domain::reasons;
use runspine_db::Tx;
use runspine_errors::{Fault, Outcome};
use runspine_rpc::optional_micros;
use runspine_types::{Micros, hash};

use crate::{
    app::{
        App, Keyed, Who,
        events::{About, emit},
        facts, moves,
    },
    rpc::present,
    store::{
        lease, list, projection,
        row::StateRow,
        run::{self, NewAttempt},
        state,
    },
};

pub(crate) async fn create_attempt(
    app: &App,
    who: Who,
    request: CreateAttemptRequest,
) -> Outcome<CreateAttemptResponse> {
    let call = Keyed::new("CreateAttempt", format!("{}/{}", request.run_id, request.attempt), &request);
    let who = who.acting(request.actor.as_ref());
    let (tenant, clock, orphan_ms) = (who.tenant.clone(), app.clock.clone(), app.config.orphan_ms());
    app.keyed(&tenant, call, move |tx| {
        Box::pin(async move { make(tx, &who, &request, orphan_ms, clock.now()).await })
    })
    .await
}

fn check(last: &StateRow, attempt: u32) -> Outcome<()> {
    if last.latest_attempt != last.attempt || last.status()? != RunStatus::Retry {
        return Err(Fault::new(&reasons::ATTEMPT_NOT_RETRYABLE, "the last attempt did not end in RETRY")
            .with("latest_attempt", last.latest_attempt)
            .with("status", last.status()?.as_str_name()));
    }
    if attempt > last.max_attempts {
        return Err(Fault::new(&reasons::ATTEMPTS_EXHAUSTED, "no attempt is left")
            .with("max_attempts", last.max_attempts));
    }
    Ok(())
}

async fn make(
    tx: &mut Tx,
    who: &Who,
    request: &CreateAttemptRequest,
    orphan_ms: i64,
    now: Micros,
) -> Outcome<CreateAttemptResponse> {
    let last = state::lock(tx, &who.tenant, &request.run_id, request.attempt - 1).await?;
    check(&last, request.attempt)?;
    let to = (RunPhase::Created, RunStatus::Queued);
    let new = NewAttempt {
        run_key: last.run_key,
        tenant: &who.tenant,
        attempt: request.attempt,
        trace_id: &request.trace_id,
        phase: to.0 as i32,
        status: to.1 as i32,
        reason: &request.reason,
        next_attempt_at: optional_micros(request.next_attempt_at.as_ref()),
        authorization: contracts_activity::v1::Authorization::default(),
        now,
    };
    let attempt_key = run::insert_attempt(tx, &new).await?;
    let digest = hash(&request.encode_to_vec()).to_vec().into();
    let row = moves::birth(request.attempt, to, &request.reason, "", who, digest, now);
    run::insert_transition(tx, &who.tenant, last.run_key, attempt_key, &row).await?;
    let mut held = lease::fresh(attempt_key, &who.tenant, last.lease_ttl_ms);
    lease::save(tx, vec![held.clone()]).await?;
    let made = state::lock(tx, &who.tenant, &request.run_id, request.attempt).await?;
    lease::set_alarms(&mut held, &made, orphan_ms, now);
    lease::save(tx, vec![held]).await?;
    facts::unpark(tx, who, &request.run_id, request.attempt, now).await?;
    projection::refresh_run(tx, &who.tenant, last.run_key).await?;
    let about = About {
        run_id: &request.run_id,
        project_id: &last.project_id,
        attempt: request.attempt,
        reason: &request.reason,
    };
    let event = AttemptCreated {
        run_id: request.run_id.clone(),
        attempt: request.attempt,
        reason: request.reason.clone(),
        next_attempt_at: request.next_attempt_at,
    };
    emit(tx, who, &about, &event, now);
    let shown = list::attempt_in(tx, last.run_key, request.attempt).await?;
    Ok(CreateAttemptResponse {
        attempt: Some(present::attempt(&request.run_id, &shown)),
        transition: Some(present::transition(&request.run_id, &row)),
    })
}
