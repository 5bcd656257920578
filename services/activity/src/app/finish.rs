//! FinishRun.

use bytes::Bytes;
use contracts_activity::v1::{
    FinishRunRequest, FinishRunResponse, IncidentDisposition, IncidentResult, RunFinished,
};
use contracts_common::common::v1::{RunEvent, RunStatus, TerminationReason};
use prost::Message as _;
use runspine_activity_domain::{
    finish::{self, Ending},
    transition::{check_fence, check_move},
};
use runspine_db::Tx;
use runspine_errors::Outcome;
use runspine_types::{Micros, hash};

use crate::{
    app::{
        App, Keyed, Who,
        moves::{self, Move, Moving},
    },
    rpc::present,
    store::{lease, list, projection, row::StateRow, run::End, state},
};

pub(crate) async fn finish_run(app: &App, who: Who, request: FinishRunRequest) -> Outcome<FinishRunResponse> {
    let call = Keyed::new("FinishRun", format!("{}/{}", request.run_id, request.attempt), &request);
    let who = who.acting(request.actor.as_ref());
    let (tenant, clock, orphan_ms) = (who.tenant.clone(), app.clock.clone(), app.config.orphan_ms());
    app.keyed(&tenant, call, move |tx| {
        Box::pin(async move { apply(tx, &who, &request, orphan_ms, clock.now()).await })
    })
    .await
}

async fn apply(
    tx: &mut Tx,
    who: &Who,
    request: &FinishRunRequest,
    orphan_ms: i64,
    now: Micros,
) -> Outcome<FinishRunResponse> {
    let mut found = state::lock(tx, &who.tenant, &request.run_id, request.attempt).await?;
    let incident = request.incident_result.clone().unwrap_or_default();
    let to = finish::check(&ending(&found, request, &incident))?;
    let event = RunEvent::try_from(request.event).unwrap_or_default();
    let position = found.position()?;
    check_move(&position, event, to)?;
    let fence = i64::try_from(request.fence).unwrap_or(i64::MAX);
    let mut held = lease::lock(tx, found.attempt_key).await?;
    check_fence(&held.lease(), position.phase, fence, now)?;
    let mv = Move {
        event,
        to,
        reason: TerminationReason::try_from(request.termination_reason)
            .unwrap_or_default()
            .as_str_name()
            .to_owned(),
        authority: request.authority,
        cause_id: request.cause_id.clone(),
        fence,
        request_digest: hash(&request.encode_to_vec()).to_vec().into(),
        grant: None,
        degraded: false,
    };
    let end = close(&mut found, request, &incident, now);
    let finished = RunFinished {
        transition: None,
        termination_reason: request.termination_reason,
        error_code: request.error_code.clone(),
        stopped_at_step: request.stopped_at_step,
        evaluation_id: request.evaluation_id.clone(),
        incident_result: Some(incident),
        usage: request.usage,
    };
    let moving = Moving { state: &mut found, lease: &mut held, who, orphan_ms, now };
    let row = moves::perform(tx, moving, mv, end, Some(finished)).await?;
    projection::refresh_run(tx, &who.tenant, found.run_key).await?;
    let shown = list::run_in(tx, &who.tenant, &request.run_id).await?;
    Ok(FinishRunResponse {
        run: Some(present::run(&shown, now)),
        transition: Some(present::transition(&request.run_id, &row)),
    })
}

fn ending<'a>(found: &StateRow, request: &'a FinishRunRequest, incident: &'a IncidentResult) -> Ending<'a> {
    Ending {
        status: RunStatus::try_from(request.status).unwrap_or_default(),
        reason: TerminationReason::try_from(request.termination_reason).unwrap_or_default(),
        evaluation_id: &request.evaluation_id,
        disposition: IncidentDisposition::try_from(incident.disposition).unwrap_or_default(),
        incident_id: &incident.id,
        attempt: request.attempt,
        max_attempts: found.max_attempts,
        compensated: request.error_code == "SAGA_COMPENSATED",
    }
}

/// Writes the end into the attempt, and gives what only the run's row takes.
fn close(state: &mut StateRow, request: &FinishRunRequest, incident: &IncidentResult, now: Micros) -> End {
    state.termination_reason = request.termination_reason;
    state.stopped_at_step = request.stopped_at_step;
    state.error_code.clone_from(&request.error_code);
    state.evaluation_id.clone_from(&request.evaluation_id);
    state.incident_disposition = incident.disposition;
    state.incident_result_id.clone_from(&incident.id);
    let waiting = state.paused_since.map_or(0, |since| now.millis_since(since).max(0));
    let duration_ms =
        state.executing_since.map_or(0, |start| (now.millis_since(start) - state.paused_ms - waiting).max(0));
    End {
        error_message: request.error_message.clone(),
        violation_policy_id: request.violation_policy_id.clone(),
        usage: request.usage.map(|usage| Bytes::from(usage.encode_to_vec())).unwrap_or_default(),
        duration_ms: Some(duration_ms),
    }
}
