//! CreateRun.

use bytes::Bytes;
use contracts_activity::v1::{CreateRunRequest, CreateRunResponse, RunCreated};
use contracts_common::common::v1::{RunPhase, RunStatus};
use runspine_activity_domain::{panels::DEFAULT_EXPECTED_MS, reasons};
use runspine_db::{Tx, args};
use runspine_errors::{Fault, Outcome, mesh};
use runspine_rpc::optional_micros;
use runspine_types::{Digest, Micros};

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
        run::{self, NewAttempt, NewRun},
        state,
    },
};

pub(crate) async fn create_run(app: &App, who: Who, request: CreateRunRequest) -> Outcome<CreateRunResponse> {
    let call = Keyed::new("CreateRun", request.run_id.clone(), &request);
    let digest = call.digest;
    let who = who.acting(request.actor.as_ref());
    let (tenant, run_id) = (who.tenant.clone(), request.run_id.clone());
    let wanted = request.attributes.as_ref().map(|a| a.request_digest.clone()).unwrap_or_default();
    let (clock, orphan_ms) = (app.clock.clone(), app.config.orphan_ms());
    let made = app.keyed(&tenant, call, move |tx| {
        Box::pin(async move { make(tx, &who, &request, digest, orphan_ms, clock.now()).await })
    });
    match made.await {
        Err(fault) if fault.is(&mesh::IDEMPOTENCY_MISMATCH) => {
            Err(mismatch(&state::read(&app.db, &tenant, &run_id, 0).await?, &wanted))
        }
        made => made,
    }
}

/// The same start request decided otherwise, e.g. by another replica, is told to go on from what exists.
fn mismatch(existing: &StateRow, wanted: &Bytes) -> Fault {
    if existing.request_digest == *wanted {
        Fault::new(&reasons::RUN_EXISTS, "the run exists; go on from its state")
            .with("sequence", existing.sequence)
    } else {
        Fault::new(&mesh::IDEMPOTENCY_MISMATCH, "the run was made from another request")
            .with("run_id", &existing.run_id)
    }
}

async fn make(
    tx: &mut Tx,
    who: &Who,
    request: &CreateRunRequest,
    digest: Digest,
    orphan_ms: i64,
    now: Micros,
) -> Outcome<CreateRunResponse> {
    let attributes = request.attributes.clone().unwrap_or_default();
    let status = RunStatus::try_from(request.status).unwrap_or_default();
    let next_attempt_at = optional_micros(request.next_attempt_at.as_ref());
    let new = NewRun {
        tenant: &who.tenant,
        run_id: &request.run_id,
        attributes: &attributes,
        labels: present::labels_text(&attributes.labels),
        expected_ms: match attributes.expected_latency_ms {
            0 => usual_ms(tx, &who.tenant, &attributes.agent_id, now).await?,
            stated => stated,
        },
        phase: RunPhase::Created as i32,
        status: request.status,
        authorization: request.authorization.clone().unwrap_or_default(),
        snapshot: request.snapshot.clone().unwrap_or_default(),
        degraded: request.degraded,
        next_attempt_at,
        start_input: request.start_input.clone(),
        now,
    };
    let run_key = run::insert(tx, &new).await?;
    let attempt = NewAttempt {
        run_key,
        tenant: &who.tenant,
        attempt: 1,
        trace_id: &request.trace_id,
        phase: new.phase,
        status: new.status,
        reason: "",
        next_attempt_at,
        authorization: new.authorization.clone(),
        now,
    };
    let attempt_key = run::insert_attempt(tx, &attempt).await?;
    let to = (RunPhase::Created, status);
    let row = moves::birth(1, to, &request.reason, &request.cause_id, who, digest.to_vec().into(), now);
    run::insert_transition(tx, &who.tenant, run_key, attempt_key, &row).await?;
    let mut held = lease::fresh(attempt_key, &who.tenant, attributes.lease_ttl_ms);
    lease::save(tx, vec![held.clone()]).await?;
    let made = state::lock(tx, &who.tenant, &request.run_id, 1).await?;
    lease::set_alarms(&mut held, &made, orphan_ms, now);
    lease::save(tx, vec![held]).await?;
    facts::unpark(tx, who, &request.run_id, 1, now).await?;
    projection::refresh_run(tx, &who.tenant, run_key).await?;
    announce(tx, who, request, now);
    let shown = list::run_in(tx, &who.tenant, &request.run_id).await?;
    Ok(CreateRunResponse {
        run: Some(present::run(&shown, now)),
        transition: Some(present::transition(&request.run_id, &row)),
    })
}

fn announce(tx: &mut Tx, who: &Who, request: &CreateRunRequest, now: Micros) {
    let attributes = request.attributes.clone().unwrap_or_default();
    let about = About {
        run_id: &request.run_id,
        project_id: &attributes.project_id,
        attempt: 1,
        reason: &request.reason,
    };
    let event = RunCreated {
        run_id: request.run_id.clone(),
        project_id: attributes.project_id.clone(),
        agent_id: attributes.agent_id.clone(),
        status: request.status,
        source: attributes.source,
        parent_run_id: attributes.parent_run_id.clone(),
        request_digest: attributes.request_digest.clone(),
    };
    emit(tx, who, &about, &event, now);
}

/// How long the agent's runs usually take: the 95th percentile (nearest rank) of its successful runs of the last seven
/// days, at most the latest 1,000; with fewer than 20 of them the default.
async fn usual_ms(tx: &mut Tx, tenant: &str, agent: &str, now: Micros) -> Outcome<i64> {
    let sql = "SELECT duration_ms FROM runs WHERE tenant_id = $1 AND agent_id = $2 AND started_at >= $3 \
               AND run_status = $4 AND duration_ms IS NOT NULL ORDER BY started_at DESC LIMIT 1000";
    let week_ago = now.plus_millis(-7 * 86_400_000);
    let rows: Vec<(i64,)> =
        tx.fetch_all(sql, args![tenant, agent, week_ago, RunStatus::Succeeded as i32]).await?;
    if rows.len() < 20 {
        return Ok(DEFAULT_EXPECTED_MS);
    }
    let mut durations: Vec<i64> = rows.into_iter().map(|(ms,)| ms).collect();
    durations.sort_unstable();
    let rank = (durations.len() * 95).div_ceil(100);
    Ok(durations[rank - 1].max(1))
}
