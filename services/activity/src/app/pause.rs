//! AddPause, ExtendPause, ClearPauses.

use bytes::Bytes;
use contracts_activity::v1::{
    AddPauseRequest, AddPauseResponse, ClearPausesRequest, ClearPausesResponse, ExtendPauseRequest,
    ExtendPauseResponse, PauseAdded, PauseExtended, PauseReason, PausesCleared,
};
use contracts_common::common::v1::{RunEvent, RunPhase, RunStatus};
use runspine_activity_domain::{
    pause as rules, reasons,
    transition::{check_fence, check_move, check_sequence},
};
use runspine_db::Tx;
use runspine_errors::{Fault, Outcome};
use runspine_types::{Micros, hash, new_id};

use crate::{
    app::{
        App, Keyed, Who,
        events::{About, emit},
        moves::{self, Move, Moving},
    },
    rpc::present,
    store::{
        lease, pause,
        row::{LeaseRow, PauseRow, StateRow, TransitionRow},
        run::End,
        state,
    },
};

const PAUSED: (RunPhase, RunStatus) = (RunPhase::Executing, RunStatus::Paused);
const RUNNING: (RunPhase, RunStatus) = (RunPhase::Executing, RunStatus::Running);

pub(crate) async fn add(app: &App, who: Who, request: AddPauseRequest) -> Outcome<AddPauseResponse> {
    let call = Keyed::new("AddPause", request.request_id.clone(), &request);
    let who = who.acting(request.actor.as_ref());
    let (tenant, clock, orphan_ms) = (who.tenant.clone(), app.clock.clone(), app.config.orphan_ms());
    app.keyed(&tenant, call, move |tx| {
        Box::pin(async move { apply_add(tx, &who, &request, orphan_ms, clock.now()).await })
    })
    .await
}

async fn apply_add(
    tx: &mut Tx,
    who: &Who,
    request: &AddPauseRequest,
    orphan_ms: i64,
    now: Micros,
) -> Outcome<AddPauseResponse> {
    let mut found = state::lock(tx, &who.tenant, &request.run_id, request.attempt).await?;
    let position = found.position()?;
    let standing = (position.phase, position.status);
    if standing != PAUSED {
        check_move(&position, RunEvent::Pause, PAUSED)?;
    }
    if request.expected_sequence > 0 {
        check_sequence(&position, i64::try_from(request.expected_sequence).unwrap_or(i64::MAX))?;
    }
    let mut open = pause::open(tx, found.attempt_key).await?;
    let same = |p: &&PauseRow| p.reason == request.reason && p.source_id == request.source_id;
    if let Some(before) = open.iter().find(same) {
        return Ok(AddPauseResponse {
            pause: Some(present::pause(before)),
            transition: None,
            existing: true,
        });
    }
    let row = new_pause(&found, who, request, now);
    pause::add(tx, &who.tenant, &row).await?;
    let shown = present::pause(&row);
    open.push(row);
    let mut held = lease::lock(tx, found.attempt_key).await?;
    let transition = if standing == PAUSED {
        None
    } else {
        let mv = Move {
            event: RunEvent::Pause,
            to: PAUSED,
            reason: PauseReason::try_from(request.reason).unwrap_or_default().as_str_name().to_owned(),
            authority: request.authority,
            cause_id: shown.pause_id.clone(),
            fence: 0,
            request_digest: digest_of(request),
            grant: None,
            degraded: false,
        };
        let moving = Moving { state: &mut found, lease: &mut held, who, orphan_ms, now };
        Some(moves::perform(tx, moving, mv, End::default(), None).await?)
    };
    save_alarms(tx, held, &open, now).await?;
    let added = PauseAdded { run_id: found.run_id.clone(), pause: Some(shown.clone()) };
    emit(tx, who, &about(&found, &request.note), &added, now);
    let transition = transition.map(|row| present::transition(&request.run_id, &row));
    Ok(AddPauseResponse { pause: Some(shown), transition, existing: false })
}

/// What an event about the pauses of an attempt says of it.
fn about<'a>(found: &'a StateRow, reason: &'a str) -> About<'a> {
    About { run_id: &found.run_id, project_id: &found.project_id, attempt: found.attempt, reason }
}

fn digest_of(request: &impl prost::Message) -> Bytes {
    hash(&request.encode_to_vec()).to_vec().into()
}

fn new_pause(found: &StateRow, who: &Who, request: &AddPauseRequest, now: Micros) -> PauseRow {
    PauseRow {
        pause_key: 0,
        pause_id: new_id(),
        attempt_key: found.attempt_key,
        attempt: found.attempt,
        reason: request.reason,
        source_id: request.source_id.clone(),
        deadline: now.plus_millis(request.sla_ms),
        on_timeout: request.on_timeout,
        note: request.note.clone(),
        actor_type: who.actor.r#type,
        actor_id: who.actor.id.clone(),
        authority: request.authority,
        paused_at: now,
        warned_at: None,
        extended_at: None,
        cleared_at: None,
        cleared_actor_type: 0,
        cleared_actor_id: String::new(),
        cleared_authority: 0,
    }
}

/// Sets the alarms of the pauses that are open now.
async fn save_alarms(tx: &mut Tx, mut held: LeaseRow, open: &[PauseRow], now: Micros) -> Outcome<()> {
    let clocks: Vec<_> = open.iter().map(PauseRow::clock).collect();
    (held.pause_at, held.warn_at) = rules::alarms(&clocks);
    lease::wake(&mut held, now);
    lease::save(tx, vec![held]).await?;
    Ok(())
}

pub(crate) async fn extend(app: &App, who: Who, request: ExtendPauseRequest) -> Outcome<ExtendPauseResponse> {
    let call = Keyed::new("ExtendPause", request.pause_id.clone(), &request);
    let (tenant, clock) = (who.tenant.clone(), app.clock.clone());
    app.keyed(&tenant, call, move |tx| {
        Box::pin(async move { apply_extend(tx, &who, &request, clock.now()).await })
    })
    .await
}

async fn apply_extend(
    tx: &mut Tx,
    who: &Who,
    request: &ExtendPauseRequest,
    now: Micros,
) -> Outcome<ExtendPauseResponse> {
    let found = state::lock(tx, &who.tenant, &request.run_id, request.attempt).await?;
    let mut held = lease::lock(tx, found.attempt_key).await?;
    let fence = i64::try_from(request.fence).unwrap_or(i64::MAX);
    check_fence(&held.lease(), found.phase()?, fence, now)?;
    let mut row = pause::get(tx, found.attempt_key, &request.pause_id).await?.ok_or_else(|| {
        Fault::new(&reasons::PAUSE_NOT_FOUND, "the attempt has no such pause")
            .with("pause_id", &request.pause_id)
    })?;
    if row.cleared_at.is_some() || row.extended_at.is_some() {
        return Err(Fault::new(&reasons::PAUSE_CLOSED, "the pause is over, or was extended before"));
    }
    row.deadline = rules::extended(&row.clock());
    row.on_timeout = request.on_timeout;
    row.extended_at = Some(now);
    pause::save(tx, &row).await?;
    if fence != 0 && fence == held.fence {
        held.claimed_until = None;
    }
    let open = pause::open(tx, found.attempt_key).await?;
    save_alarms(tx, held, &open, now).await?;
    let pause = Some(present::pause(&row));
    let extended = PauseExtended { run_id: found.run_id.clone(), pause: pause.clone() };
    emit(tx, who, &about(&found, &row.note), &extended, now);
    Ok(ExtendPauseResponse { pause })
}

pub(crate) async fn clear(app: &App, who: Who, request: ClearPausesRequest) -> Outcome<ClearPausesResponse> {
    let call = Keyed::new("ClearPauses", request.request_id.clone(), &request);
    let who = who.acting(request.actor.as_ref());
    let (tenant, clock, orphan_ms) = (who.tenant.clone(), app.clock.clone(), app.config.orphan_ms());
    app.keyed(&tenant, call, move |tx| {
        Box::pin(async move { apply_clear(tx, &who, &request, orphan_ms, clock.now()).await })
    })
    .await
}

async fn apply_clear(
    tx: &mut Tx,
    who: &Who,
    request: &ClearPausesRequest,
    orphan_ms: i64,
    now: Micros,
) -> Outcome<ClearPausesResponse> {
    let mut found = state::lock(tx, &who.tenant, &request.run_id, request.attempt).await?;
    let mut held = lease::lock(tx, found.attempt_key).await?;
    let fence = i64::try_from(request.fence).unwrap_or(i64::MAX);
    check_fence(&held.lease(), found.phase()?, fence, now)?;
    let cleared = mark_cleared(tx, &found, who, request, now).await?;
    let left = pause::open(tx, found.attempt_key).await?;
    let paused = (found.phase()?, found.status()?) == PAUSED;
    let row = if paused && left.is_empty() {
        // The worker's claim ends with what it was for, so that the agent can take the run up again at once.
        held.claimed_until = None;
        Some(resume(tx, &mut found, &mut held, who, request, orphan_ms, now).await?)
    } else {
        save_alarms(tx, held, &left, now).await?;
        None
    };
    let cleared: Vec<_> = cleared.iter().map(present::pause).collect();
    if !cleared.is_empty() {
        let event = PausesCleared {
            run_id: found.run_id.clone(),
            attempt: found.attempt,
            cleared: cleared.clone(),
            left: u32::try_from(left.len()).unwrap_or(u32::MAX),
        };
        emit(tx, who, &about(&found, &request.note), &event, now);
    }
    Ok(ClearPausesResponse {
        cleared,
        left: left.iter().map(present::pause).collect(),
        transition: row.map(|row| present::transition(&request.run_id, &row)),
    })
}

async fn resume(
    tx: &mut Tx,
    found: &mut StateRow,
    held: &mut LeaseRow,
    who: &Who,
    request: &ClearPausesRequest,
    orphan_ms: i64,
    now: Micros,
) -> Outcome<TransitionRow> {
    let mv = Move {
        event: RunEvent::Resume,
        to: RUNNING,
        reason: request.note.clone(),
        authority: request.authority,
        cause_id: request.pause_ids.last().cloned().unwrap_or_default(),
        fence: i64::try_from(request.fence).unwrap_or(i64::MAX),
        request_digest: digest_of(request),
        grant: None,
        degraded: false,
    };
    let moving = Moving { state: found, lease: held, who, orphan_ms, now };
    moves::perform(tx, moving, mv, End::default(), None).await
}

/// Clears the named pauses that are open; an id of no pause is refused, one cleared before is passed over.
async fn mark_cleared(
    tx: &mut Tx,
    found: &StateRow,
    who: &Who,
    request: &ClearPausesRequest,
    now: Micros,
) -> Outcome<Vec<PauseRow>> {
    let mut cleared = Vec::new();
    for id in &request.pause_ids {
        let mut row = pause::get(tx, found.attempt_key, id).await?.ok_or_else(|| {
            Fault::new(&reasons::PAUSE_NOT_FOUND, "the attempt has no such pause").with("pause_id", id)
        })?;
        if row.cleared_at.is_some() {
            continue;
        }
        row.cleared_at = Some(now);
        row.cleared_actor_type = who.actor.r#type;
        row.cleared_actor_id.clone_from(&who.actor.id);
        row.cleared_authority = request.authority;
        pause::save(tx, &row).await?;
        cleared.push(row);
    }
    Ok(cleared)
}
