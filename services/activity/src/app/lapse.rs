//! ClaimLapsed.

use contracts_activity::v1::{ClaimLapsedRequest, ClaimLapsedResponse, LapseCause, LapsedRun, LeaseLapsed};
use runspine_activity_domain::{lapse, pause as pauses_rule};
use runspine_db::{Tx, args};
use runspine_errors::Outcome;
use runspine_rpc::timestamp;
use runspine_types::{Micros, PLATFORM_TENANT};

use crate::{
    app::{
        App, Keyed, Who,
        events::{About, emit},
    },
    rpc::present,
    store::{
        lease::{self, alarms},
        pause,
        row::{LeaseRow, PauseRow},
    },
};

pub(crate) async fn claim(app: &App, who: Who, request: ClaimLapsedRequest) -> Outcome<ClaimLapsedResponse> {
    let call = Keyed::new("ClaimLapsed", request.request_id.clone(), &request);
    let (tenant, clock) = (who.tenant.clone(), app.clock.clone());
    if is_idle(app, &call, &tenant, clock.now()).await? {
        return Ok(ClaimLapsedResponse::default());
    }
    app.keyed(&tenant, call, move |tx| {
        Box::pin(async move {
            let now = clock.now();
            let scope = (who.tenant != PLATFORM_TENANT).then_some(who.tenant.as_str());
            let mut runs = Vec::new();
            for due in lease::due(tx, scope, now, request.limit).await? {
                runs.extend(one(tx, &who, &request, due, now).await?);
            }
            Ok(ClaimLapsedResponse { runs })
        })
    })
    .await
}

/// Whether nothing is due and the call has no kept answer: workers ask every second, and that should cost no commit.
async fn is_idle(app: &App, call: &Keyed, tenant: &str, now: Micros) -> Outcome<bool> {
    let sql = "SELECT (SELECT COUNT(*) FROM (SELECT 1 FROM leases WHERE due_at IS NOT NULL AND due_at <= $1 LIMIT 1) d) \
               + (SELECT COUNT(*) FROM kept_answers WHERE tenant_id = $2 AND operation = $3 AND request_key = $4)";
    let args = args![now, tenant, call.operation, &call.key];
    Ok(app.db.read().fetch_one::<(i64,)>(sql, args).await?.0 == 0)
}

/// Claims one attempt, or gives the warning of its pauses.
async fn one(
    tx: &mut Tx,
    who: &Who,
    request: &ClaimLapsedRequest,
    mut held: LeaseRow,
    now: Micros,
) -> Outcome<Option<LapsedRun>> {
    let Some((cause, due_at)) = alarms(&held).cause(now) else {
        return Ok(None);
    };
    let pauses = pauses_of(tx, &mut held, cause, now).await?;
    if lapse::takes_over(cause) {
        held.fence += 1;
        held.claimed_by.clone_from(&request.worker_id);
        held.claimed_until = Some(now.plus_millis(request.lease_ms));
        if lapse::is_stale(cause) {
            held.stale_since = held.stale_since.or(Some(due_at));
        }
    }
    lease::wake(&mut held, now);
    lease::save(tx, vec![held.clone()]).await?;
    let lapsed = describe(tx, &held, cause, due_at, &pauses).await?;
    if lapse::takes_over(cause) {
        announce(tx, who, request, &held, &lapsed).await?;
    }
    Ok(Some(lapsed))
}

/// The pauses that the cause is about; a warning that was due is noted as given.
async fn pauses_of(
    tx: &mut Tx,
    held: &mut LeaseRow,
    cause: LapseCause,
    now: Micros,
) -> Outcome<Vec<PauseRow>> {
    if !matches!(cause, LapseCause::PauseExpired | LapseCause::PauseExpiring) {
        return Ok(Vec::new());
    }
    let mut open = pause::open(tx, held.attempt_key).await?;
    pause::warned(tx, &mut open, now).await?;
    let clocks: Vec<_> = open.iter().map(PauseRow::clock).collect();
    (held.pause_at, held.warn_at) = pauses_rule::alarms(&clocks);
    let about = |p: &PauseRow| match cause {
        LapseCause::PauseExpired => p.deadline <= now,
        _ => p.warned_at == Some(now),
    };
    Ok(open.into_iter().filter(about).collect())
}

async fn describe(
    tx: &mut Tx,
    held: &LeaseRow,
    cause: LapseCause,
    due_at: Micros,
    pauses: &[PauseRow],
) -> Outcome<LapsedRun> {
    let sql = "SELECT r.tenant_id, r.run_id, a.attempt, a.phase, a.status, a.sequence FROM run_attempts a \
               JOIN runs r ON r.run_key = a.run_key WHERE a.attempt_key = $1";
    let (tenant_id, run_id, attempt, phase, status, sequence): (String, String, u32, i32, i32, u64) =
        tx.fetch_one(sql, args![held.attempt_key]).await?;
    let claimed_until = held.claimed_until.filter(|_| lapse::takes_over(cause));
    Ok(LapsedRun {
        tenant_id,
        run_id,
        attempt,
        fence: u64::try_from(held.fence).unwrap_or(0),
        cause: cause as i32,
        phase,
        status,
        sequence,
        claimed_until: claimed_until.map(timestamp),
        due_at: Some(timestamp(due_at)),
        pauses: pauses.iter().map(present::pause).collect(),
    })
}

async fn announce(
    tx: &mut Tx,
    who: &Who,
    request: &ClaimLapsedRequest,
    held: &LeaseRow,
    lapsed: &LapsedRun,
) -> Outcome<()> {
    let sql = "SELECT r.project_id, r.run_key FROM run_attempts a JOIN runs r ON r.run_key = a.run_key \
               WHERE a.attempt_key = $1";
    let (project_id, run_key): (String, i64) = tx.fetch_one(sql, args![held.attempt_key]).await?;
    if held.stale_since.is_some() {
        crate::store::projection::refresh_run(tx, &lapsed.tenant_id, run_key).await?;
    }
    let cause = LapseCause::try_from(lapsed.cause).unwrap_or_default();
    let about = About {
        run_id: &lapsed.run_id,
        project_id: &project_id,
        attempt: lapsed.attempt,
        reason: cause.as_str_name(),
    };
    let event = LeaseLapsed {
        run_id: lapsed.run_id.clone(),
        attempt: lapsed.attempt,
        cause: lapsed.cause,
        fence: lapsed.fence,
        due_at: lapsed.due_at,
        worker_id: request.worker_id.clone(),
    };
    let owner = Who { tenant: lapsed.tenant_id.clone(), ..who.clone() };
    let now = held.claimed_until.map_or(Micros(0), |until| until.plus_millis(-request.lease_ms));
    emit(tx, &owner, &about, &event, now);
    Ok(())
}
