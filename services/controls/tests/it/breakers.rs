//! Circuit breakers: reports open them, trials close them, orders do both, and admissions heed them.

use std::time::Duration;

use contracts_controls::v1 as pb;
use futures::future::join_all;
use runspine_controls_domain::reasons;
use runspine_errors::mesh;
use runspine_rpc::timestamp;
use runspine_testkit::{TestStore, on_both_engines, run, tenant, test_id};
use tonic::Status;

use crate::{
    call,
    harness::{House, inner, insist, refused, step, verdict},
};

const BAD: i32 = pb::BreakerResult::Bad as i32;
pub const GOOD: i32 = pb::BreakerResult::Good as i32;
pub const SCHEMA: i32 = pb::BreakerResult::SchemaError as i32;

fn fault(number: u64, result: i32) -> pb::ReportOutcomeRequest {
    pb::ReportOutcomeRequest {
        report_id: test_id(9, number),
        kind: pb::BreakerKind::Fault as i32,
        target_type: pb::BreakerTarget::Provider as i32,
        target_id: "acme".into(),
        result,
        ..pb::ReportOutcomeRequest::default()
    }
}

pub fn drift(number: u64, result: i32, permille: Option<u32>) -> pb::ReportOutcomeRequest {
    pb::ReportOutcomeRequest {
        kind: pb::BreakerKind::Drift as i32,
        target_type: pb::BreakerTarget::Feature as i32,
        target_id: "cost_model_candidate".into(),
        drift_permille: permille,
        ..fault(number, result)
    }
}

fn opening(number: u64, target_type: pb::BreakerTarget, target_id: &str) -> pb::OpenBreakerRequest {
    pb::OpenBreakerRequest {
        request_id: test_id(7, number),
        target_type: target_type as i32,
        target_id: target_id.into(),
        reason: "its answers can't be trusted".into(),
        ..pb::OpenBreakerRequest::default()
    }
}

impl House {
    pub async fn report(&self, message: pb::ReportOutcomeRequest) -> pb::Breaker {
        let answer = insist(|| async {
            call!(self, breakers.report_outcome, "BreakerService/ReportOutcome", message.clone())
        });
        answer.await.breaker.unwrap()
    }

    async fn check(&self, holder: &str) -> pb::CheckBreakerResponse {
        let message = pb::CheckBreakerRequest {
            kind: pb::BreakerKind::Fault as i32,
            target_type: pb::BreakerTarget::Provider as i32,
            target_id: "acme".into(),
            holder: holder.to_owned(),
        };
        insist(|| async {
            call!(self, breakers.check_breaker, "BreakerService/CheckBreaker", message.clone())
        })
        .await
    }

    async fn open(&self, message: pb::OpenBreakerRequest) -> Result<pb::OpenBreakerResponse, Status> {
        call!(self, breakers.open_breaker, "BreakerService/OpenBreaker", message)
    }

    pub async fn shown(&self, of: &pb::Breaker) -> Result<pb::GetBreakerResponse, Status> {
        let (target_type, target_id) = (of.target_type, of.target_id.clone());
        let message = pb::GetBreakerRequest { kind: of.kind, target_type, target_id };
        call!(self, breakers.get_breaker, "BreakerService/GetBreaker", message)
    }

    async fn fail(&self, first: u64) -> pb::Breaker {
        for number in first..first + 4 {
            self.report(fault(number, BAD)).await;
        }
        self.report(fault(first + 4, BAD)).await
    }
}

/// A step that calls a model of the provider.
fn calling(number: u64, step_index: u32) -> pb::AdmitStepRequest {
    pb::AdmitStepRequest { provider: "acme".into(), model: "large".into(), ..step(number, step_index, 1) }
}

/// Leaves a row in every table of breakers.
pub async fn opened_once(house: &House) {
    house.open(opening(90, pb::BreakerTarget::Tool, "other")).await.unwrap();
}

on_both_engines! {
    /// Of a hundred that ask at once one may try it out; whoever dies with the trial frees it after 30 s, and three good
    /// trials close it.
    async fn one_probe_at_a_time(store: TestStore) {
        let house = House::over(store).await;
        let open = house.fail(1).await;
        assert_eq!((open.state(), open.cause()), (pb::BreakerState::Open, pb::BreakerCause::ConsecutiveFailures));
        assert_eq!(open.open_until, Some(timestamp(house.in_ms(30_000))));
        assert!(!house.check("early").await.permitted);
        house.clock.advance(Duration::from_secs(30));
        let names: Vec<String> = (0..100).map(|n| format!("holder-{n}")).collect();
        let answers = join_all(names.iter().map(|name| house.check(name))).await;
        let granted: Vec<usize> = (0..100).filter(|n| answers[*n].permitted).collect();
        assert_eq!(granted.len(), 1);
        assert!(answers[granted[0]].probe);
        assert!(house.check(&names[granted[0]]).await.probe, "its holder asks again");
        house.clock.advance(Duration::from_millis(29_999));
        assert_eq!(house.check("next").await.retry_after_ms, Some(1));
        house.clock.advance(Duration::from_millis(1));
        assert!(house.check("next").await.probe, "the first holder died");
        for (number, holder) in [(10, "next"), (11, "b"), (12, "c")] {
            assert!(house.check(holder).await.probe, "{holder}");
            let report = pb::ReportOutcomeRequest { holders: vec![holder.into()], ..fault(number, GOOD) };
            house.report(report).await;
        }
        let closed = house.shown(&open).await.unwrap();
        let moves: Vec<(i32, i32)> = closed.events.iter().map(|e| (e.from_state, e.to_state)).collect();
        assert_eq!(moves, [(3, 1), (2, 3), (1, 2)]);
        assert_eq!(closed.breaker.unwrap().state(), pb::BreakerState::Closed);
        let told: Vec<String> = house.kinds().await.into_iter().filter(|k| k.starts_with("Breaker")).collect();
        assert_eq!(told, ["BreakerOpened", "BreakerHalfOpen", "BreakerClosed"]);
    }

    /// Two bad, one good, two bad: closed. Three bad: open. Five answers of a wrong form: open at once.
    async fn drift_opens_as_it_is_written(store: TestStore) {
        let house = House::over(store).await;
        for (number, permille) in [201, 500, 150, 201, 999].into_iter().enumerate() {
            let breaker = house.report(drift(number as u64, GOOD, Some(permille))).await;
            assert_eq!(breaker.state(), pb::BreakerState::Closed, "after {permille}");
        }
        house.report(drift(7, GOOD, Some(180))).await;
        let open = house.report(drift(8, GOOD, Some(300))).await;
        assert_eq!((open.state(), open.severity()), (pb::BreakerState::Open, pb::BreakerSeverity::P1));
        assert_eq!(open.open_until, Some(timestamp(house.in_ms(24 * 3_600_000))));
        let warned = house.shown(&open).await.unwrap();
        assert_eq!(warned.events.last().unwrap().drift_permille, Some(180), "a warning leaves a row");
        let message = pb::CloseBreakerRequest {
            request_id: test_id(7, 1), kind: open.kind, target_type: open.target_type, target_id: open.target_id.clone(),
            reason: "the candidate was repaired".into(),
        };
        let closed = call!(house, breakers.close_breaker, "BreakerService/CloseBreaker", message.clone()).unwrap();
        assert_eq!(closed.breaker.as_ref().unwrap().state(), pb::BreakerState::Closed);
        assert_eq!(call!(house, breakers.close_breaker, "BreakerService/CloseBreaker", message).unwrap(), closed);
        for number in 20..24 {
            assert_eq!(house.report(drift(number, SCHEMA, None)).await.state(), pb::BreakerState::Closed);
        }
        let open = house.report(drift(24, SCHEMA, None)).await;
        assert_eq!((open.state(), open.severity()), (pb::BreakerState::Open, pb::BreakerSeverity::P3));
    }

    /// A report counts once, and its id stands for its body.
    async fn a_report_counts_once(store: TestStore) {
        let house = House::over(store).await;
        for _ in 0..7 {
            assert_eq!(house.report(fault(1, BAD)).await.in_a_row, 1);
        }
        let other = call!(house, breakers.report_outcome, "BreakerService/ReportOutcome", fault(1, GOOD));
        refused(other, &mesh::IDEMPOTENCY_MISMATCH);
        let many = pb::ReportOutcomeRequest { sample_count: 4, ..fault(2, BAD) };
        assert_eq!(house.report(many).await.state(), pb::BreakerState::Open, "one and four are five");
    }

    /// A step meets the breakers of its provider, its model and its tool; one at a time tries out what is half open, and
    /// what was recorded gives the same answer again.
    async fn admissions_heed_breakers(store: TestStore) {
        let house = House::over(store).await;
        house.admit(1).await.unwrap();
        house.fail(1).await;
        let denied = house.step(calling(1, 0)).await.unwrap().admission;
        assert_eq!(verdict(denied.as_ref()), (2, 1, vec!["BREAKER_OPEN".to_owned()]));
        let elsewhere = pb::AdmitStepRequest { provider: "other".into(), ..calling(1, 1) };
        assert_eq!(verdict(house.step(elsewhere).await.unwrap().admission.as_ref()).0, 1);
        let observed = pb::AdmitStepRequest { profile: 3, ..calling(1, 2) };
        let observed = house.step(observed).await.unwrap().admission.unwrap();
        assert_eq!((observed.verdict, observed.would_block[0].code.as_str()), (1, "BREAKER_OPEN"));
        let mut second = house.start(2);
        second.scope.as_mut().unwrap().provider = "acme".into();
        let start = call!(house, admissions.admit_run, "AdmissionService/AdmitRun", second).unwrap();
        assert_eq!(verdict(start.admission.as_ref()).2, ["BREAKER_OPEN"]);
        house.clock.advance(Duration::from_secs(30));
        house.renew(1).await;
        let probing = house.step(calling(1, 3)).await.unwrap();
        assert_eq!(verdict(probing.admission.as_ref()).0, 1);
        assert_eq!(verdict(house.step(calling(1, 4)).await.unwrap().admission.as_ref()).2, ["BREAKER_OPEN"]);
        let good = pb::ReportOutcomeRequest { holders: vec![format!("{}/1/3", run(1))], ..fault(30, GOOD) };
        assert_eq!(house.report(good).await.probes_passed, 1);
        assert_eq!(verdict(house.step(calling(1, 5)).await.unwrap().admission.as_ref()).0, 1, "the trial is free again");
        let message = pb::ListEvaluationEvidenceRequest { run_id: run(1), ..pb::ListEvaluationEvidenceRequest::default() };
        let rows = call!(house, signals.list_evaluation_evidence, "SignalService/ListEvaluationEvidence", message).unwrap();
        assert_eq!(rows.evidence.len(), 7);
        assert!(rows.evidence.iter().all(|row| row.recomputation() == pb::Recomputation::Equal), "{rows:?}");
    }

    /// What is opened by order stays open until its end or until it is closed, and may name another model.
    async fn orders_open_and_close(store: TestStore) {
        let house = House::over(store).await;
        house.admit(1).await.unwrap();
        let message = pb::OpenBreakerRequest {
            open_until: Some(timestamp(house.in_ms(10_000))), fallback_model: "small".into(),
            ..opening(1, pb::BreakerTarget::Model, "large")
        };
        let opened = house.open(message.clone()).await.unwrap();
        assert_eq!(house.open(message).await.unwrap(), opened);
        let breaker = opened.breaker.unwrap();
        assert_eq!((breaker.kind(), breaker.severity()), (pb::BreakerKind::Manual, pb::BreakerSeverity::P2));
        let changed = house.step(calling(1, 0)).await.unwrap().admission.unwrap();
        assert_eq!(changed.verdict, 3);
        assert_eq!((changed.obligations[0].name.as_str(), changed.obligations[0].args.clone()), ("use_model", vec!["small".to_owned()]));
        house.clock.advance(Duration::from_secs(10));
        assert_eq!(verdict(house.step(calling(1, 1)).await.unwrap().admission.as_ref()).0, 1, "its time is over");
        assert_eq!(house.shown(&breaker).await.unwrap().breaker.unwrap().state(), pb::BreakerState::Closed);
        assert_eq!((house.app.tell_breakers().await.unwrap(), house.app.tell_breakers().await.unwrap()), (1, 0));
        assert!(house.kinds().await.contains(&"BreakerClosed".to_owned()), "its end is told");
        house.open(opening(2, pb::BreakerTarget::Provider, "acme")).await.unwrap();
        let checked = house.check("anybody").await;
        assert_eq!((checked.permitted, checked.breaker.unwrap().kind()), (false, pb::BreakerKind::Manual));
    }

    /// Another tenant sees nothing, and what is wrong is told at once.
    async fn breakers_are_the_tenants_own(store: TestStore) {
        let house = House::over(store).await;
        let open = house.fail(1).await;
        let message = pb::ListBreakersRequest { states: vec![2], ..pb::ListBreakersRequest::default() };
        let own = call!(house, breakers.list_breakers, "BreakerService/ListBreakers", message.clone()).unwrap();
        assert_eq!(own.breakers, std::slice::from_ref(&open));
        let closed = pb::ListBreakersRequest { states: vec![1, 3], ..message.clone() };
        assert!(call!(house, breakers.list_breakers, "BreakerService/ListBreakers", closed).unwrap().breakers.is_empty());
        let other = house.ask_as(&tenant(2), "lee", "BreakerService/ListBreakers", message);
        assert!(inner(house.breakers.clone().list_breakers(other).await).unwrap().breakers.is_empty());
        let (kind, target_type, target_id) = (open.kind, open.target_type, open.target_id.clone());
        let get = pb::GetBreakerRequest { kind, target_type, target_id: target_id.clone() };
        let get = house.ask_as(&tenant(2), "lee", "BreakerService/GetBreaker", get);
        refused(inner(house.breakers.clone().get_breaker(get).await), &reasons::BREAKER_NOT_FOUND);
        let close = pb::CloseBreakerRequest {
            request_id: test_id(7, 5), kind, target_type, target_id, reason: "it is not mine at all".into(),
        };
        let close = house.ask_as(&tenant(2), "lee", "BreakerService/CloseBreaker", close);
        refused(inner(house.breakers.clone().close_breaker(close).await), &reasons::BREAKER_NOT_FOUND);
        let wrong = pb::OpenBreakerRequest { kind: 1, reason: "no".into(), ..opening(6, pb::BreakerTarget::Tool, "") };
        refused(house.open(wrong).await, &mesh::FIELD_INVALID);
        let wrong = pb::ReportOutcomeRequest { drift_permille: Some(1), ..fault(50, GOOD) };
        refused(call!(house, breakers.report_outcome, "BreakerService/ReportOutcome", wrong), &mesh::FIELD_INVALID);
    }
}
