//! Guardrails: every tenant has each, each trips with its own action, and nothing else happens.

use std::time::Duration;

use contracts_common::common::v1::{Amounts, Totals};
use contracts_controls::v1::{self as pb, GuardrailAction as Action, Recomputation};
use runspine_controls_domain::{guardrail::Defaults, reasons};
use runspine_errors::mesh;
use runspine_testkit::{TestStore, on_both_engines, run, tenant, test_id};
use runspine_types::PLATFORM_TENANT;
use tonic::Status;

use crate::{
    call,
    harness::{House, cost, daily, inner, plain, refused, settled, step, verdict},
};

const ALLOW: i32 = 1;
const DENY: i32 = 2;
const DEFER: i32 = 5;
const PAUSE: i32 = 2;

fn wish(number: u64, guardrail: &str, value: i64) -> pb::SetGuardrailRequest {
    pb::SetGuardrailRequest {
        request_id: test_id(8, number),
        guardrail_id: guardrail.into(),
        value: Some(value),
        reason: "the test needs less".into(),
        ..pb::SetGuardrailRequest::default()
    }
}

fn ended(number: u64, steps: u32, failed: u32) -> pb::ReportStepsRequest {
    pb::ReportStepsRequest { report_id: test_id(9, number), agent_id: "agent".into(), steps, failed }
}

/// A tool call that may use so much.
fn asks(number: u64, index: u32, amounts: Amounts, totals: Totals) -> pb::AdmitStepRequest {
    pb::AdmitStepRequest { kind: 2, estimate: Some(amounts), totals: Some(totals), ..step(number, index, 0) }
}

fn tokens(tokens_input: i64) -> Amounts {
    Amounts { tokens_input, cost_microusd: 1, ..Amounts::default() }
}

fn spent(cost_microusd: i64, tokens_output: i64) -> Totals {
    Totals { cost_microusd, tokens_output, ..Totals::default() }
}

impl House {
    async fn table(&self) -> Vec<pb::Guardrail> {
        let message = pb::ListGuardrailsRequest::default();
        call!(self, guardrails.list_guardrails, "GuardrailService/ListGuardrails", message)
            .unwrap()
            .guardrails
    }

    async fn guardrail(&self, id: &str) -> pb::Guardrail {
        self.table().await.into_iter().find(|g| g.guardrail_id == id).unwrap()
    }

    async fn set_as(
        &self,
        tenant_id: &str,
        message: pb::SetGuardrailRequest,
    ) -> Result<pb::Guardrail, Status> {
        let request = self.ask_as(tenant_id, "kim", "GuardrailService/SetGuardrail", message);
        Ok(inner(self.guardrails.clone().set_guardrail(request).await)?.guardrail.unwrap())
    }

    async fn tighten(&self, message: pb::SetGuardrailRequest) -> pb::Guardrail {
        self.set_as(&tenant(1), message).await.unwrap()
    }

    async fn reported(&self, message: pb::ReportStepsRequest) -> pb::ReportStepsResponse {
        call!(self, guardrails.report_steps, "GuardrailService/ReportSteps", message).unwrap()
    }

    /// Breaches by the name of their limit: type, consequence and run.
    async fn breached(&self) -> Vec<(String, i32, i32, String)> {
        let message = pb::ListBreachesRequest::default();
        let page = call!(self, signals.list_breaches, "SignalService/ListBreaches", message).unwrap();
        page.breaches.into_iter().map(|b| (b.limit_name, b.r#type, b.consequence, b.run_id)).collect()
    }

    async fn frozen(&self) -> Vec<pb::FreezeRecord> {
        let message = pb::ListFreezesRequest::default();
        call!(self, freezes.list_freezes, "FreezeService/ListFreezes", message).unwrap().freezes
    }

    async fn start_of(&self, number: u64, agent: &str) -> pb::AdmitRunResponse {
        let scope = pb::ScopeTuple { agent_id: agent.into(), ..self.start(number).scope.unwrap() };
        let message = pb::AdmitRunRequest { scope: Some(scope), ..self.start(number) };
        call!(self, admissions.admit_run, "AdmissionService/AdmitRun", message).unwrap()
    }
}

/// A house whose tenant 1 has run 1, and nobody has anything else.
async fn begun(store: TestStore) -> House {
    begun_with(store, None).await
}

/// The same after a guardrail was set: what a run was granted before is not clawed back.
async fn begun_with(store: TestStore, set: Option<(&str, i64)>) -> House {
    let house = House::guarded(store, Defaults::default()).await;
    if let Some((guardrail, value)) = set {
        house.tighten(wish(1, guardrail, value)).await;
    }
    assert_eq!(verdict(house.admit(1).await.unwrap().admission.as_ref()).0, ALLOW);
    house
}

/// A bound of a run or a step: what just fits is allowed, one more is denied, and the run goes on.
async fn bounds(
    house: &House,
    id: &str,
    fits: pb::AdmitStepRequest,
    over: pb::AdmitStepRequest,
    consequence: i32,
) {
    let allowed = house.step(fits).await.unwrap();
    assert_eq!(verdict(allowed.admission.as_ref()), (ALLOW, 1, vec![]), "{id}");
    let before = house.kinds().await.len();
    let denied = house.step(over).await.unwrap();
    assert!(denied.hold.is_none());
    let admission = denied.admission.unwrap();
    assert_eq!(verdict(Some(&admission)), (DENY, 1, vec!["THRESHOLD_EXCEEDED".into()]), "{id}");
    assert_eq!(admission.reasons[0].source_id, house.guardrail(id).await.limit_id, "{id}");
    assert_eq!(house.breached().await, [(id.to_owned(), 4, consequence, run(1))], "VIOLATED by {id}");
    let mut told = house.kinds().await.split_off(before);
    told.sort_unstable();
    told.dedup();
    assert_eq!(told, ["AdmissionDenied", "LimitBreached", "SignalRaised"], "{id}");
    assert_eq!((house.app.freeze_tripped().await.unwrap(), house.frozen().await.len()), (0, 0), "{id}");
}

on_both_engines! {
    /// The table is there before the first call, and the first call makes it a tenant's own, once.
    async fn a_new_tenant_has_every_guardrail(store: TestStore) {
        let house = House::guarded(store, Defaults::default()).await;
        let first = house.table().await;
        let rows: Vec<_> = first.iter().map(|g| (g.guardrail_id.as_str(), g.value, g.state, g.priority)).collect();
        assert_eq!(rows, [
            ("g.run.cost", 5_000_000, 1, 1), ("g.step.cost", 1_000_000, 1, 2), ("g.run.tokens", 100_000, 1, 3),
            ("g.step.tokens", 10_000, 1, 4), ("g.agent.day.cost", 100_000_000, 1, 5),
            ("g.tenant.day.requests", 10_000, 1, 6), ("g.key.minute.requests", 600, 1, 7),
            ("g.agent.failures", 20, 1, 8), ("g.run.loop", 20, 1, 9),
        ]);
        assert!(first.iter().all(|g| g.updated_at.is_none() && g.default_value == g.value));
        assert_eq!(first[4].actions().collect::<Vec<_>>(), [Action::Block, Action::Freeze]);
        assert_eq!((first[7].window_s, first[7].freeze_s), (300, 3_600));
        let read = |digest| pb::GetControlSetRequest { digest };
        let before = call!(house, limits.get_control_set, "LimitService/GetControlSet", read(Default::default())).unwrap();
        let message = pb::SimulateAdmissionRequest { scope: house.start(1).scope, ..Default::default() };
        let tried = call!(house, admissions.simulate_admission, "AdmissionService/SimulateAdmission", message).unwrap();
        assert!(house.kinds().await.is_empty(), "looking on makes nothing");

        let stamped = house.admit(1).await.unwrap().admission.unwrap().control_set_digest;
        assert_eq!((before.entries.len(), &before.digest), (9, &stamped));
        assert_eq!(tried.admission.unwrap().control_set_digest, stamped);
        let second = house.table().await;
        assert!(second.iter().all(|g| g.updated_at.is_some()));
        let ids = |table: &[pb::Guardrail]| table.iter().map(|g| g.limit_id.clone()).collect::<Vec<_>>();
        assert_eq!(ids(&first), ids(&second));
        let (mut other, _) = house.replica().await;
        let request = house.ask("AdmissionService/AdmitRun", house.start(2));
        other.admit_run(request).await.unwrap();
        house.admit(3).await.unwrap();
        assert_eq!(house.kinds().await, ["LimitCreated"; 9]);
        let message = pb::ListLimitsRequest { sources: vec![3], ..Default::default() };
        let limits = call!(house, limits.list_limits, "LimitService/ListLimits", message).unwrap().limits;
        assert_eq!(limits.len(), 9);
        let page = pb::ListGuardrailsRequest { page_size: 5, ..Default::default() };
        let page = call!(house, guardrails.list_guardrails, "GuardrailService/ListGuardrails", page).unwrap();
        let next = pb::ListGuardrailsRequest { page_size: 5, page_token: page.next_page_token };
        let next = call!(house, guardrails.list_guardrails, "GuardrailService/ListGuardrails", next).unwrap();
        assert_eq!((page.guardrails.len(), next.guardrails.len(), next.next_page_token.as_str()), (5, 4, ""));
        let stranger = house.ask_as(&tenant(2), "lee", "GuardrailService/ListGuardrails", pb::ListGuardrailsRequest::default());
        let theirs = inner(house.guardrails.clone().list_guardrails(stranger).await).unwrap().guardrails;
        assert!(theirs.iter().all(|g| g.updated_at.is_none() && !ids(&first).contains(&g.limit_id)));
    }

    /// Two processes that meet a tenant at the same moment give it each guardrail once.
    async fn two_processes_meet_a_tenant(store: TestStore) {
        let house = House::guarded(store, Defaults::default()).await;
        let (other, _) = house.replica().await;
        let here = crate::harness::insist(|| house.admit(1));
        let there = crate::harness::insist(|| {
            let request = house.ask("AdmissionService/AdmitRun", house.start(2));
            let mut other = other.clone();
            async move { inner(other.admit_run(request).await) }
        });
        let (here, there) = tokio::join!(here, there);
        let digest = |answer: pb::AdmitRunResponse| answer.admission.unwrap().control_set_digest;
        assert_eq!(digest(here), digest(there));
        let (count,): (i64,) = house.one("SELECT COUNT(*) FROM limits").await;
        assert_eq!((count, house.kinds().await.len()), (9, 9));
    }

    /// `g.run.cost`: landing on 5 USD is allowed.
    async fn a_run_costs_so_much(store: TestStore) {
        let house = begun(store).await;
        let at = |index, amount| asks(1, index, cost(amount), spent(4_500_000, 0));
        bounds(&house, "g.run.cost", at(0, 500_000), at(1, 500_001), 2).await;
    }

    /// `g.step.cost`, and what a step really cost.
    async fn a_step_costs_so_much(store: TestStore) {
        let house = begun(store).await;
        let at = |index, amount| asks(1, index, cost(amount), Totals::default());
        bounds(&house, "g.step.cost", at(0, 1_000_000), at(1, 1_000_001), 1).await;
        house.admit(2).await.unwrap();
        house.step(asks(2, 0, cost(10), Totals::default())).await.unwrap();
        let booked = house.settle(settled(2, 0, 1_000_001)).await.unwrap();
        assert_eq!((booked.directive, house.breached().await.len()), (1, 2));
        assert_eq!(house.breached().await[1], ("g.step.cost".to_owned(), 4, 1, run(2)));
    }

    /// `g.run.tokens`.
    async fn a_run_uses_so_many_tokens(store: TestStore) {
        let house = begun(store).await;
        let at = |index, amount| asks(1, index, tokens(amount), spent(0, 99_000));
        bounds(&house, "g.run.tokens", at(0, 1_000), at(1, 1_001), 1).await;
    }

    /// `g.step.tokens`.
    async fn a_step_uses_so_many_tokens(store: TestStore) {
        let house = begun(store).await;
        let at = |index, amount| asks(1, index, tokens(amount), Totals::default());
        bounds(&house, "g.step.tokens", at(0, 10_000), at(1, 10_001), 1).await;
    }

    /// `g.run.loop`: the twentieth time is allowed.
    async fn a_run_does_the_same_so_often(store: TestStore) {
        let house = begun(store).await;
        let at = |index, repeats| pb::AdmitStepRequest { repeats, ..asks(1, index, cost(1), Totals::default()) };
        bounds(&house, "g.run.loop", at(0, 19), at(1, 20), 2).await;
        let other = house.step(at(2, 0)).await.unwrap();
        assert_eq!(verdict(other.admission.as_ref()).0, ALLOW, "something else may be done");
    }

    /// `g.agent.day.cost`: the agent is denied, then frozen until midnight; another one is not.
    async fn an_agent_costs_so_much_a_day(store: TestStore) {
        let house = begun_with(store, Some(("g.agent.day.cost", 100_000))).await;
        house.step(asks(1, 0, cost(60_000), Totals::default())).await.unwrap();
        house.settle(settled(1, 0, 60_000)).await.unwrap();
        let denied = house.step(asks(1, 1, cost(40_001), Totals::default())).await.unwrap();
        assert_eq!(verdict(denied.admission.as_ref()), (DENY, 1, vec!["BUDGET_EXCEEDED".into()]));
        assert_eq!(house.breached().await, [("g.agent.day.cost".to_owned(), 2, 2, run(1))]);
        assert_eq!(house.app.freeze_tripped().await.unwrap(), 1);
        assert_eq!(house.app.freeze_tripped().await.unwrap(), 0, "a trip freezes once");
        let frozen = house.frozen().await;
        let said = (frozen[0].scope, frozen[0].scope_id.as_str(), frozen[0].effect, frozen[0].reason_code, frozen[0].auto);
        assert_eq!(said, (4, "agent", PAUSE, 2, true));
        assert_eq!((frozen.len(), frozen[0].expires_at.as_ref().unwrap().seconds), (1, 1_767_398_400));
        let paused = house.step(asks(1, 2, cost(1), Totals::default())).await.unwrap();
        assert_eq!(verdict(paused.admission.as_ref()), (DENY, PAUSE, vec!["FROZEN".into()]));
        assert_eq!(verdict(house.start_of(2, "other").await.admission.as_ref()).0, ALLOW);
        house.clock.advance(Duration::from_secs(86_400));
        assert_eq!(verdict(house.admit(3).await.unwrap().admission.as_ref()).0, ALLOW, "a new day");
    }

    /// The same, only observed: nothing is denied and nobody is frozen.
    async fn what_is_observed_freezes_nobody(store: TestStore) {
        let house = begun_with(store, Some(("g.agent.day.cost", 100_000))).await;
        let observed = pb::AdmitStepRequest { profile: 3, ..asks(1, 0, cost(200_000), Totals::default()) };
        let admission = house.step(observed).await.unwrap().admission.unwrap();
        assert_eq!((admission.verdict, admission.would_block.len()), (ALLOW, 1));
        assert_eq!((house.breached().await.len(), house.app.freeze_tripped().await.unwrap()), (1, 0));
        assert!(house.frozen().await.is_empty());
    }

    /// `g.tenant.day.requests`: a run under way is warned, no other one starts.
    async fn a_tenant_takes_so_many_steps_a_day(store: TestStore) {
        let house = begun(store).await;
        house.tighten(wish(1, "g.tenant.day.requests", 2)).await;
        for index in 0..2 {
            house.step(asks(1, index, cost(1), Totals::default())).await.unwrap();
        }
        let warned = house.step(asks(1, 2, cost(1), Totals::default())).await.unwrap().admission.unwrap();
        assert_eq!((warned.verdict, warned.warnings[0].code.as_str()), (ALLOW, "RATE_LIMITED"));
        let refused = house.admit(2).await.unwrap().admission.unwrap();
        assert_eq!(verdict(Some(&refused)), (DENY, 1, vec!["RATE_LIMITED".into()]));
        assert_eq!(refused.reasons[0].source_id, house.guardrail("g.tenant.day.requests").await.limit_id);
        let breaches = house.breached().await;
        let name = "g.tenant.day.requests".to_owned();
        assert_eq!(breaches, [(name.clone(), 1, 1, run(1)), (name, 3, 1, run(2))], "BREACHED, then THROTTLED");
        assert_eq!(house.app.freeze_tripped().await.unwrap(), 0);
        house.clock.advance(Duration::from_secs(43_200));
        assert_eq!(verdict(house.admit(3).await.unwrap().admission.as_ref()).0, ALLOW, "half a day is one step");
    }

    /// `g.key.minute.requests`: a sixth of them at once, then the key waits.
    async fn a_key_takes_so_many_steps_a_minute(store: TestStore) {
        let house = begun(store).await;
        house.tighten(wish(1, "g.key.minute.requests", 12)).await;
        for index in 0..2 {
            house.step(asks(1, index, cost(1), Totals::default())).await.unwrap();
        }
        let waits = asks(1, 2, cost(1), Totals::default());
        let admission = house.step(waits.clone()).await.unwrap().admission.unwrap();
        assert_eq!(verdict(Some(&admission)), (DEFER, 1, vec!["RATE_LIMITED".into()]));
        assert_eq!(admission.retry_after_ms, Some(5_000));
        assert_eq!(house.breached().await, [("g.key.minute.requests".to_owned(), 3, 1, run(1))]);
        house.clock.advance(Duration::from_millis(5_000));
        let later = house.step(pb::AdmitStepRequest { ask: 1, ..waits }).await.unwrap();
        assert_eq!(verdict(later.admission.as_ref()).0, ALLOW);
        assert_eq!((house.app.freeze_tripped().await.unwrap(), house.frozen().await.len()), (0, 0));
    }

    /// `g.agent.failures`: twenty that are half of all within 300 s; the agent pauses for an hour.
    async fn an_agent_fails_so_often(store: TestStore) {
        let house = begun(store).await;
        assert_eq!(house.reported(ended(1, 19, 19)).await, pb::ReportStepsResponse { steps: 19, failed: 19, tripped: false });
        house.clock.advance(Duration::from_secs(300));
        let rows = [(2, 21, 1, (21, 1, false)), (3, 18, 18, (39, 19, false)), (4, 2, 1, (41, 20, false))];
        for (number, steps, failed, (all, bad, tripped)) in rows {
            let told = house.reported(ended(number, steps, failed)).await;
            assert_eq!(told, pb::ReportStepsResponse { steps: all, failed: bad, tripped }, "{number}");
        }
        assert!(house.breached().await.is_empty());
        let last = house.reported(ended(5, 1, 1)).await;
        assert_eq!(last, pb::ReportStepsResponse { steps: 42, failed: 21, tripped: true });
        assert_eq!(house.reported(ended(5, 1, 1)).await, last, "told twice, counted once");
        let other = call!(house, guardrails.report_steps, "GuardrailService/ReportSteps", ended(5, 2, 1));
        refused(other, &mesh::IDEMPOTENCY_MISMATCH);
        assert_eq!(house.breached().await, [("g.agent.failures".to_owned(), 4, 2, String::new())]);
        assert_eq!(house.app.freeze_tripped().await.unwrap(), 1);
        let frozen = house.frozen().await;
        let lasts = frozen[0].expires_at.as_ref().unwrap().seconds - frozen[0].committed_at.as_ref().unwrap().seconds;
        assert_eq!((frozen[0].scope_id.as_str(), frozen[0].reason_code, frozen[0].effect, lasts), ("agent", 3, PAUSE, 3_600));
        assert_eq!(verdict(house.admit(2).await.unwrap().admission.as_ref()), (DENY, PAUSE, vec!["FROZEN".into()]));
        // What was under way fails too: it trips again, and the freeze that stands is its own.
        house.clock.advance(Duration::from_secs(1));
        assert!(house.reported(ended(6, 20, 20)).await.tripped);
        assert_eq!(house.app.freeze_tripped().await.unwrap(), 0);
        assert_eq!(house.app.freeze_tripped().await.unwrap(), 0);
        let (open,): (i64,) = house.one("SELECT COUNT(*) FROM guardrail_trips WHERE freeze_id = ''").await;
        assert_eq!((open, house.frozen().await.len()), (0, 1));
        house.clock.advance(Duration::from_secs(3_600));
        assert_eq!(verdict(house.admit(3).await.unwrap().admission.as_ref()).0, ALLOW);
        let told = house.kinds().await.into_iter().filter(|kind| kind != "LimitCreated").collect::<Vec<_>>();
        let expected = ["SignalRaised", "LimitBreached", "FreezeActivated", "AdmissionDenied", "SignalRaised", "LimitBreached"];
        let (mut told, mut expected) = (told, expected.map(str::to_owned).to_vec());
        told.sort_unstable();
        expected.sort_unstable();
        assert_eq!(told, expected);
    }

    /// A tenant tightens and goes back; beyond the default is an operator's, who names the tenant.
    async fn who_may_set_a_guardrail(store: TestStore) {
        let house = House::guarded(store, Defaults::default()).await;
        let tight = house.tighten(wish(1, "g.run.cost", 50_000)).await;
        assert_eq!((tight.value, tight.version, tight.default_value), (50_000, 2, 5_000_000));
        assert_eq!(house.tighten(wish(1, "g.run.cost", 50_000)).await, tight, "the same request again");
        refused(house.set_as(&tenant(1), wish(1, "g.run.cost", 50_001)).await, &mesh::IDEMPOTENCY_MISMATCH);
        assert_eq!(house.tighten(wish(2, "g.run.cost", 5_000_000)).await.value, 5_000_000);
        refused(house.set_as(&tenant(1), wish(3, "g.run.cost", 5_000_001)).await, &reasons::OPERATOR_REQUIRED);
        let off = pb::SetGuardrailRequest { value: None, state: 2, ..wish(4, "g.run.cost", 0) };
        refused(house.set_as(&tenant(1), off.clone()).await, &reasons::OPERATOR_REQUIRED);
        refused(house.set_as(&tenant(1), wish(5, "g.run.cost", 1)).await, &reasons::THRESHOLD_OUT_OF_RANGE);
        refused(house.set_as(&tenant(1), wish(6, "g.nothing", 1)).await, &mesh::FIELD_INVALID);
        let mine = |message: pb::SetGuardrailRequest| pb::SetGuardrailRequest { tenant_id: tenant(1), ..message };
        refused(house.set_as(&tenant(2), mine(wish(7, "g.run.cost", 50_000))).await, &reasons::OPERATOR_REQUIRED);
        refused(house.set_as(PLATFORM_TENANT, wish(8, "g.run.cost", 50_000)).await, &mesh::FIELD_INVALID);
        let loose = house.set_as(PLATFORM_TENANT, mine(wish(9, "g.run.cost", 9_000_000))).await.unwrap();
        assert_eq!((loose.value, loose.version), (9_000_000, 4));
        let off = house.set_as(PLATFORM_TENANT, mine(pb::SetGuardrailRequest { request_id: test_id(8, 10), ..off })).await.unwrap();
        assert_eq!((off.state, off.version), (2, 5));
        house.admit(1).await.unwrap();
        let rich = house.step(asks(1, 0, cost(1), spent(50_000_000, 0))).await.unwrap();
        assert_eq!(verdict(rich.admission.as_ref()).0, ALLOW, "what is off stops nobody");
        let changes = ["LimitUpdated", "LimitUpdated", "LimitUpdated", "LimitDisabled"];
        let events = house.published().await;
        let told: Vec<_> = events.iter().filter(|e| e.entity_id == tight.limit_id && e.r#type != "controls.LimitCreated").collect();
        assert_eq!(told.iter().map(|e| e.r#type.replace("controls.", "")).collect::<Vec<_>>(), changes);
        assert!(told.iter().all(|e| e.tenant_id == tenant(1) && !e.before_state.is_empty() && e.reason == "the test needs less"));

        let message = pb::CreateLimitRequest { request_id: test_id(7, 1), spec: Some(daily("g.run.loop", 5)) };
        refused(call!(house, limits.create_limit, "LimitService/CreateLimit", message), &reasons::LIMIT_EXISTS);
        let message = pb::UpdateLimitRequest {
            request_id: test_id(7, 2), limit_id: tight.limit_id, expected_version: 5, max_value: Some(1),
            reason: "the campaign has ended".into(), ..Default::default()
        };
        refused(call!(house, limits.update_limit, "LimitService/UpdateLimit", message), &reasons::OPERATOR_REQUIRED);
        house.create(3, daily("own", 5)).await;
    }

    /// A tenant tightens a guardrail by a limit of its own too: bounds of a step are thresholds like others.
    async fn a_limit_of_ones_own_tightens(store: TestStore) {
        let house = begun(store).await;
        let params = vec![pb::ThresholdValue { key: "max_step_cost_microusd".into(), value: 20_000 }];
        let own = pb::LimitSpec { unit: 0, max_value: 0, params, enforcement: 1, ..plain("own", 4, pb::LimitUnit::CostMicrousd, 0) };
        let own = house.create(1, own).await;
        assert_eq!(own.spec.unwrap().max_value, 20_000);
        let denied = house.step(asks(1, 0, cost(20_001), Totals::default())).await.unwrap().admission.unwrap();
        assert_eq!((denied.verdict, &denied.reasons[0].source_id, denied.reasons.len()), (DENY, &own.limit_id, 1));
        let message = pb::GetEffectiveThresholdsRequest { run_id: run(1), ..Default::default() };
        let request = house.ask("ThresholdService/GetEffectiveThresholds", message);
        let rows = house.thresholds.clone().get_effective_thresholds(request).await.unwrap().into_inner().thresholds;
        let of = |key: &str| rows.iter().find(|row| row.key == key).cloned().unwrap();
        assert_eq!((of("max_step_cost_microusd").value, of("max_repeats").value), (20_000, 20));
        assert_eq!(of("max_repeats").source, house.guardrail("g.run.loop").await.limit_id);
        assert_eq!((of("max_cost_microusd").value, of("max_cost_microusd").source.as_str()), (1_000_000, "default"));
    }

    /// What was denied by a guardrail is denied again from its evidence.
    async fn evidence_of_guardrails_decides_the_same_again(store: TestStore) {
        let house = begun(store).await;
        house.tighten(wish(1, "g.tenant.day.requests", 4)).await;
        let steps = [
            pb::AdmitStepRequest { repeats: 20, ..asks(1, 0, cost(1), Totals::default()) },
            asks(1, 1, tokens(10_001), Totals::default()),
            asks(1, 2, cost(2_000_000), spent(4_000_000, 0)),
            asks(1, 3, cost(1), Totals::default()),
        ];
        for message in steps {
            house.step(message).await.unwrap();
        }
        for index in 4..9 {
            house.step(asks(1, index, cost(1), Totals::default())).await.unwrap();
        }
        house.admit(2).await.unwrap();
        let message = house.ask("SignalService/ListEvaluationEvidence", pb::ListEvaluationEvidenceRequest::default());
        let rows = house.signals.clone().list_evaluation_evidence(message).await.unwrap().into_inner().evidence;
        assert!(rows.len() == 11 && rows.iter().all(|row| row.recomputation() == Recomputation::Equal), "{rows:?}");
        let denied = rows.iter().filter(|row| row.admission.as_ref().unwrap().verdict == DENY).count();
        assert_eq!(denied, 4);
    }
}
