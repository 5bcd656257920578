//! TransitionRun.

use bytes::Bytes;
use contracts_activity::v1::{TransitionRunRequest, TransitionRunResponse};
use contracts_common::{
    common::v1::{RunEvent, RunPhase, RunStatus},
    phase,
};
use prost::Message as _;
use runspine_activity_domain::{
    lease as rules, reasons,
    transition::{check_fence, check_move, check_pair, check_sequence},
};
use runspine_db::Tx;
use runspine_errors::{Fault, Outcome};
use runspine_rpc::optional_micros;
use runspine_types::{Micros, hash};

use crate::{
    app::{
        App, Who,
        moves::{self, Move, Moving},
    },
    rpc::present,
    store::{
        lease,
        row::{StateRow, TransitionRow},
        run::{self, End},
        state,
    },
};

pub(crate) async fn transition_run(
    app: &App,
    who: Who,
    request: TransitionRunRequest,
) -> Outcome<TransitionRunResponse> {
    let who = who.acting(request.actor.as_ref());
    let (clock, orphan_ms) = (app.clock.clone(), app.config.orphan_ms());
    let write = app.db.write("TransitionRun", move |tx| {
        Box::pin(async move { apply(tx, &who, &request, orphan_ms, clock.now()).await })
    });
    write.await
}

fn answer(run_id: &str, row: &TransitionRow) -> TransitionRunResponse {
    TransitionRunResponse { transition: Some(present::transition(run_id, row)), lease: present::granted(row) }
}

async fn apply(
    tx: &mut Tx,
    who: &Who,
    request: &TransitionRunRequest,
    orphan_ms: i64,
    now: Micros,
) -> Outcome<TransitionRunResponse> {
    let digest: Bytes = hash(&request.encode_to_vec()).to_vec().into();
    let mut found = state::lock(tx, &who.tenant, &request.run_id, request.attempt).await?;
    let expected = i64::try_from(request.expected_sequence).unwrap_or(i64::MAX);
    if let Some(made) = run::transition(tx, found.attempt_key, expected.saturating_add(1)).await?
        && made.request_digest == digest
    {
        return Ok(answer(&request.run_id, &made));
    }
    let mv = as_move(&found, request, digest)?;
    // An attempt that has ended says so, whatever number the caller knew.
    let position = found.position()?;
    if phase::is_terminal(position.phase) {
        check_move(&position, mv.event, mv.to)?;
    }
    check_sequence(&position, expected)?;
    check_move(&position, mv.event, mv.to)?;
    let mut held = lease::lock(tx, found.attempt_key).await?;
    check_fence(&held.lease(), position.phase, mv.fence, now)?;
    carry(&mut found, request);
    let moving = Moving { state: &mut found, lease: &mut held, who, orphan_ms, now };
    let row = moves::perform(tx, moving, mv, End::default(), None).await?;
    Ok(answer(&request.run_id, &row))
}

fn as_move(found: &StateRow, request: &TransitionRunRequest, request_digest: Bytes) -> Outcome<Move> {
    let event = RunEvent::try_from(request.event).unwrap_or_default();
    let to_phase = RunPhase::try_from(request.to_phase).unwrap_or_default();
    let to_status = RunStatus::try_from(request.to_status).unwrap_or_default();
    check_pair(to_phase, to_status)?;
    if phase::is_terminal(to_phase) {
        return Err(Fault::new(
            &reasons::COMPLETION_EVIDENCE_REQUIRED,
            "FinishRun ends an attempt, with its evidence",
        ));
    }
    let grant = match request.grant.as_ref() {
        Some(grant) => Some((grant.holder.clone(), rules::ttl(grant.ttl_ms, found.lease_ttl_ms)?)),
        None => None,
    };
    Ok(Move {
        event,
        to: (to_phase, to_status),
        reason: request.reason.clone(),
        authority: request.authority,
        cause_id: request.cause_id.clone(),
        fence: i64::try_from(request.fence).unwrap_or(i64::MAX),
        request_digest,
        grant,
        degraded: request.degraded,
    })
}

/// Takes over what a move carries besides the move.
fn carry(state: &mut StateRow, request: &TransitionRunRequest) {
    if let Some(auth) = &request.authorization {
        state.authorization_decision = auth.decision;
        state.authorization_engine.clone_from(&auth.engine);
        state.authorization_context_digest = auth.context_digest.clone();
        state.authorized_at = optional_micros(auth.authorized_at.as_ref());
        state.authorized_by.clone_from(&auth.authorized_by);
    }
    if let Some(snapshot) = &request.snapshot {
        state.policy_snapshot_id.clone_from(&snapshot.id);
        state.policy_snapshot_digest = snapshot.digest.clone();
    }
    if let Some(at) = optional_micros(request.next_attempt_at.as_ref()) {
        state.next_attempt_at = Some(at);
    }
    if !request.trace_id.is_empty() {
        state.trace_id.clone_from(&request.trace_id);
    }
}
