//! One move of an attempt: its transition, its rows, its lease, its event, in one commit.

use bytes::Bytes;
use contracts_activity::v1::{RunFinished, RunTransitioned};
use contracts_common::{
    common::v1::{RunEvent, RunPhase, RunStatus},
    phase,
};
use runspine_activity_domain::transition::{Position, check_move};
use runspine_db::Tx;
use runspine_errors::Outcome;
use runspine_types::Micros;

use crate::{
    app::{
        Who,
        events::{About, emit},
    },
    rpc::present,
    store::{
        lease,
        row::{LeaseRow, StateRow, TransitionRow},
        run::{self, End},
    },
};

/// What moves an attempt, and why.
pub(crate) struct Move {
    pub(crate) event: RunEvent,
    pub(crate) to: phase::State,
    pub(crate) reason: String,
    pub(crate) authority: i32,
    pub(crate) cause_id: String,
    pub(crate) fence: i64,
    pub(crate) request_digest: Bytes,
    /// A lease to be granted with it: holder and time to live.
    pub(crate) grant: Option<(String, i64)>,
    pub(crate) degraded: bool,
}

/// The parts that a move works on.
pub(crate) struct Moving<'a> {
    pub(crate) state: &'a mut StateRow,
    pub(crate) lease: &'a mut LeaseRow,
    pub(crate) who: &'a Who,
    pub(crate) orphan_ms: i64,
    pub(crate) now: Micros,
}

/// Makes the move, if the phase table has it.
pub(crate) async fn perform(
    tx: &mut Tx,
    moving: Moving<'_>,
    mv: Move,
    end: End,
    finished: Option<RunFinished>,
) -> Outcome<TransitionRow> {
    let Moving { state, lease: held, who, orphan_ms, now } = moving;
    let (from_phase, from_status) = (state.phase()?, state.status()?);
    let from =
        Position { run_id: &state.run_id, phase: from_phase, status: from_status, sequence: state.sequence };
    check_move(&from, mv.event, mv.to)?;
    advance(state, mv.to, now);
    move_lease(held, mv.to, mv.grant.as_ref(), now);
    lease::set_alarms(held, state, orphan_ms, now);
    let row = transition_row(state, (from_phase, from_status), &mv, who, held, now);
    run::insert_transition(tx, &who.tenant, state.run_key, state.attempt_key, &row).await?;
    run::save(tx, state, state.life()? as i32, mv.degraded, &end).await?;
    lease::save(tx, vec![held.clone()]).await?;
    let about = About {
        run_id: &state.run_id,
        project_id: &state.project_id,
        attempt: state.attempt,
        reason: &row.reason,
    };
    let transition = Some(present::transition(&state.run_id, &row));
    match finished {
        Some(finished) => emit(tx, who, &about, &RunFinished { transition, ..finished }, now),
        None => emit(tx, who, &about, &RunTransitioned { transition }, now),
    }
    Ok(row)
}

/// Sets what follows from the new phase and status.
fn advance(state: &mut StateRow, to: phase::State, now: Micros) {
    if let Some(since) = state.paused_since.take() {
        state.paused_ms += now.millis_since(since).max(0);
    }
    if to == (RunPhase::Executing, RunStatus::Paused) {
        state.paused_since = Some(now);
    }
    if to == (RunPhase::Executing, RunStatus::Running) && state.executing_since.is_none() {
        state.executing_since = Some(now);
        state.started_at = state.started_at.or(Some(now));
    }
    if phase::is_terminal(to.0) {
        state.completed_at = Some(now);
    }
    (state.phase, state.status) = (to.0 as i32, to.1 as i32);
    state.sequence += 1;
    state.changed_at = now;
}

fn move_lease(held: &mut LeaseRow, to: phase::State, grant: Option<&(String, i64)>, now: Micros) {
    let lease = held.lease();
    if let Some((holder, ttl_ms)) = grant {
        held.put(lease.granted(holder, *ttl_ms, now));
        held.last_seen_at = Some(now);
    } else if phase::is_terminal(to.0) {
        held.put(lease.released());
        held.claimed_until = None;
    } else if to == (RunPhase::Executing, RunStatus::Paused) {
        held.put(lease.suspend());
    }
}

fn transition_row(
    state: &StateRow,
    from: phase::State,
    mv: &Move,
    who: &Who,
    held: &LeaseRow,
    now: Micros,
) -> TransitionRow {
    let granted = mv.grant.is_some();
    TransitionRow {
        attempt: state.attempt,
        sequence: state.sequence,
        from_phase: from.0 as i32,
        from_status: from.1 as i32,
        to_phase: state.phase,
        to_status: state.status,
        event: mv.event as i32,
        reason: mv.reason.clone(),
        actor_type: who.actor.r#type,
        actor_id: who.actor.id.clone(),
        authority: mv.authority,
        cause_id: mv.cause_id.clone(),
        fence: if granted { held.fence } else { mv.fence },
        config_digest: who.config_digest.clone(),
        request_digest: mv.request_digest.clone(),
        lease_fence: if granted { held.lease_fence } else { 0 },
        lease_holder: if granted { held.holder.clone() } else { String::new() },
        lease_expires_at: held.expires_at.filter(|_| granted),
        at: now,
    }
}

/// The first transition of an attempt.
pub(crate) fn birth(
    attempt: u32,
    to: phase::State,
    reason: &str,
    cause_id: &str,
    who: &Who,
    digest: Bytes,
    now: Micros,
) -> TransitionRow {
    TransitionRow {
        attempt,
        sequence: 1,
        from_phase: 0,
        from_status: 0,
        to_phase: to.0 as i32,
        to_status: to.1 as i32,
        event: RunEvent::Create as i32,
        reason: reason.to_owned(),
        actor_type: who.actor.r#type,
        actor_id: who.actor.id.clone(),
        authority: 0,
        cause_id: cause_id.to_owned(),
        fence: 0,
        config_digest: who.config_digest.clone(),
        request_digest: digest,
        lease_fence: 0,
        lease_holder: String::new(),
        lease_expires_at: None,
        at: now,
    }
}
