//! `Reserve` and `Settle` of `controls`: every caller has a run of its own, and all draw on one envelope.

use std::{sync::Arc, time::Instant};

use contracts_common::common::v1::{Amounts, GovernanceProfile, Lease, StepKind, StepOutcome};
use contracts_controls::v1::{
    AdmitRunRequest, BudgetPeriod, CreateLimitRequest, GetEnvelopeRequest, HoldRef, LimitCategory,
    LimitScope, LimitSpec, LimitUnit, ReserveRequest, ScopeTuple, SettleRequest, VerifyEnvelopeRequest,
    admission_service_client::AdmissionServiceClient, budget_service_client::BudgetServiceClient,
    limit_service_client::LimitServiceClient,
};
use runspine_rpc::Transport;
use runspine_types::{Clock as _, SystemClock, new_id};

use crate::{
    domain::Domain,
    measure::{Meter, Outcome, Point, together},
    wire::COST,
};

/// More than all callers can spend: what is measured is the envelope, not its end.
const LIMIT: i64 = 1_000_000_000_000;
/// As the lease of a run that nobody renews meanwhile.
const LEASE_MS: i64 = 600_000;
/// What its points are called.
pub const WHAT: &str = "Reserve, then Settle";

fn cost() -> Amounts {
    Amounts { cost_microusd: COST, ..Amounts::default() }
}

/// Makes the one limit, and tells its envelope.
pub async fn limit(domain: &Domain) -> Outcome<String> {
    let way = domain.ways(1)?.remove(0);
    let spec = LimitSpec {
        name: "load".to_owned(),
        category: LimitCategory::Budget.into(),
        unit: LimitUnit::CostMicrousd.into(),
        scope: LimitScope::Tenant.into(),
        max_value: LIMIT,
        period: BudgetPeriod::Total.into(),
        ..LimitSpec::default()
    };
    let request = CreateLimitRequest { request_id: new_id(), spec: Some(spec) };
    let request = domain.ask("LimitService/CreateLimit", request)?;
    let limit = LimitServiceClient::new(way).create_limit(request).await?.into_inner().limit;
    Ok(limit.ok_or("no limit was made")?.limit_id)
}

/// Measures pairs of both calls; each call counts.
pub async fn measure(domain: &Arc<Domain>, callers: usize, seconds: f64) -> Outcome<Point> {
    let mut runs = Vec::new();
    for way in domain.ways(callers)? {
        runs.push((admit(domain, &way).await?, way));
    }
    let spenders = |until| runs.into_iter().map(|run| spend(Arc::clone(domain), run, until)).collect();
    together(WHAT, domain.pid(), seconds, spenders).await
}

async fn admit(domain: &Domain, way: &Transport) -> Outcome<String> {
    let run_id = new_id();
    let expires = SystemClock.now().plus_millis(LEASE_MS);
    let request = AdmitRunRequest {
        run_id: run_id.clone(),
        attempt: 1,
        decision_id: new_id(),
        scope: Some(ScopeTuple {
            project_id: "load".to_owned(),
            agent_id: "load".to_owned(),
            api_key_id: "load".to_owned(),
            ..ScopeTuple::default()
        }),
        requested: Some(cost()),
        lease: Some(Lease {
            fence: 1,
            holder: "load".to_owned(),
            expires_at: Some(runspine_rpc::timestamp(expires)),
        }),
        profile: GovernanceProfile::Standard.into(),
        ..AdmitRunRequest::default()
    };
    let request = domain.ask("AdmissionService/AdmitRun", request)?;
    AdmissionServiceClient::new(way.clone()).admit_run(request).await?;
    Ok(run_id)
}

async fn spend(domain: Arc<Domain>, (run_id, way): (String, Transport), until: Instant) -> Outcome<Meter> {
    let mut budgets = BudgetServiceClient::new(way);
    let mut meter = Meter::new()?;
    let mut step_index = 0;
    while Instant::now() < until {
        let reserve = ReserveRequest {
            run_id: run_id.clone(),
            attempt: 1,
            step_index,
            fence: 1,
            kind: StepKind::ToolCall.into(),
            amounts: Some(cost()),
            profile: GovernanceProfile::Standard.into(),
            ..ReserveRequest::default()
        };
        let request = domain.ask("BudgetService/Reserve", reserve)?;
        let begun = Instant::now();
        let hold = budgets.reserve(request).await?.into_inner().hold.ok_or("a reservation was refused")?;
        meter.record(begun.elapsed());
        let settle = SettleRequest {
            hold: Some(HoldRef { hold_id: hold.hold_id, ..HoldRef::default() }),
            actual: Some(cost()),
            outcome: StepOutcome::Success.into(),
            ..SettleRequest::default()
        };
        let request = domain.ask("BudgetService/Settle", settle)?;
        let begun = Instant::now();
        budgets.settle(request).await?;
        meter.record(begun.elapsed());
        step_index += 1;
    }
    Ok(meter)
}

/// That every number of the envelope is explained by its entries after all that.
pub async fn verify(domain: &Domain, limit_id: &str) -> Outcome<()> {
    let mut budgets = BudgetServiceClient::new(domain.ways(1)?.remove(0));
    let request = GetEnvelopeRequest { id: limit_id.to_owned(), at: None };
    let request = domain.ask("BudgetService/GetEnvelope", request)?;
    let envelope = budgets.get_envelope(request).await?.into_inner().envelope.ok_or("no envelope")?;
    let request = VerifyEnvelopeRequest { envelope_id: envelope.envelope_id, at: None };
    let request = domain.ask("BudgetService/VerifyEnvelope", request)?;
    let found = budgets.verify_envelope(request).await?.into_inner();
    if found.equal { Ok(()) } else { Err(format!("the envelope: {:?}", found.differences).into()) }
}
