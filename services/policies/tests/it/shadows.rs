//! Candidates beside what is decided live.

use std::{
    sync::atomic::{AtomicU32, AtomicU64, Ordering},
    time::Duration,
};

use contracts_common::common::v1::Verdict;
use contracts_policies::v1 as pb;
use runspine_rpc::timestamp;
use runspine_testkit::{TestStore, on_both_engines, test_id, until_ok};
use runspine_types::Micros;
use tonic::Status;

use crate::{
    call,
    harness::{House, START, ask_step, reason},
    sandbox::{assert_adds_up, cell, denies, extra},
};

const HOUR: i64 = 3_600_000_000;

fn request(n: u64, candidate: pb::Candidate) -> pb::StartShadowRequest {
    pb::StartShadowRequest {
        request_id: test_id(42, n),
        candidate: Some(candidate),
        sample_permille: 1_000,
        ends_at: Some(timestamp(Micros(START.0 + HOUR))),
    }
}

impl House {
    async fn start_shadow(&self, request: pb::StartShadowRequest) -> Result<pb::Shadow, Status> {
        let done = call!(self, sandbox.start_shadow, "SandboxService/StartShadow", request);
        done.map(|r| r.shadow.unwrap())
    }

    async fn seen(&self, id: &str) -> (pb::Shadow, pb::SandboxReport) {
        let get = pb::GetShadowReportRequest { shadow_id: id.to_owned() };
        let got = call!(self, sandbox.get_shadow_report, "SandboxService/GetShadowReport", get).unwrap();
        (got.shadow.unwrap(), got.report.unwrap())
    }

    /// A shadow that denies `t1`, and that has seen the start of a run from number `first` on.
    pub async fn shadow_that_saw(&self, n: u64, first: u64) -> (pb::Shadow, u64) {
        let shadow = self.start_shadow(request(n, denies("t1"))).await.unwrap();
        let next = AtomicU64::new(first);
        until_ok(Duration::from_secs(60), async || {
            let number = next.fetch_add(1, Ordering::Relaxed);
            self.start(number).await;
            let seen = self.seen(&shadow.shadow_id).await.1.examined;
            if seen > 0 { Ok(()) } else { Err("it saw nothing yet") }
        })
        .await;
        (shadow, next.load(Ordering::Relaxed))
    }

    async fn seen_at_least(&self, id: &str, examined: u64) -> pb::SandboxReport {
        until_ok(Duration::from_secs(60), async || {
            let report = self.seen(id).await.1;
            if report.examined >= examined { Ok(report) } else { Err(report.examined) }
        })
        .await
    }
}

on_both_engines! {
    /// A14.3: a shadow sees what is decided and changes none of it.
    async fn a_shadow_sees_and_changes_nothing(store: TestStore) {
        let house = House::over(store).await;
        let _looking = house.look_for_shadows();
        let (shadow, run) = house.shadow_that_saw(1, 1).await;
        let before = house.seen(&shadow.shadow_id).await.1.examined;
        house.start(run).await;
        for step in 0..6 {
            let tool = if step % 2 == 0 { "t1" } else { "t2" };
            let live = house.step(ask_step(run, step, tool)).await.unwrap().decision.unwrap();
            assert_eq!(live.verdict(), Verdict::Allow);
        }
        // A question that is put again is one decision.
        house.step(ask_step(run, 0, "t1")).await.unwrap();
        let report = house.seen_at_least(&shadow.shadow_id, before + 7).await;
        assert_adds_up(&report);
        assert_eq!(report.replayed, report.examined, "{report:?}");
        assert_eq!(cell(&report, Verdict::Allow, Verdict::Deny), 3);
        let counterfactual: u64 = report.matrix.iter().map(|c| c.counterfactual).sum();
        assert_eq!((report.runs_affected, counterfactual), (1, 5), "all after the first denial");
        assert_eq!(report.examples.len(), 3);
        let rule = report.changes.iter().find(|c| c.dimension() == pb::ChangeDimension::Rule).unwrap();
        assert_eq!((rule.key.as_str(), rule.count), ("candidate.extra", 3));
        assert_eq!(report.candidate_digest, shadow.candidate_digest);
    }

    /// A run that was not seen from its start can't be followed by rules that remember.
    async fn rules_that_remember_need_the_start(store: TestStore) {
        let house = House::over(store).await;
        house.start(1).await;
        let _looking = house.look_for_shadows();
        let taints = "@outcome(\"warn\") @obligations(\"taint(x)\")";
        let policy = "forbid(principal, action == Runspine::Action::\"tool_call\", resource);";
        let shadow = house.start_shadow(request(1, extra("taints", taints, policy))).await.unwrap();
        let step = AtomicU32::new(0);
        let report = until_ok(Duration::from_secs(60), async || {
            house.step(ask_step(1, step.fetch_add(1, Ordering::Relaxed), "t1")).await.unwrap();
            let report = house.seen(&shadow.shadow_id).await.1;
            if report.examined > 0 { Ok(report) } else { Err("it saw nothing yet") }
        })
        .await;
        assert_eq!((report.replayed, report.not_replayable.len()), (0, 1));
        assert_eq!(report.not_replayable[0].reason(), pb::NotReplayable::MonitorHistoryIncomplete);
    }

    /// Three at most, for two weeks at most; each ends by itself or is stopped, once.
    async fn shadows_are_limited_and_end(store: TestStore) {
        let house = House::over(store).await;
        let late = pb::StartShadowRequest { ends_at: Some(timestamp(Micros(START.0 + 15 * 24 * HOUR))), ..request(1, denies("t1")) };
        assert_eq!(reason(&house.start_shadow(late).await.unwrap_err()), "WINDOW_INVALID");
        let none = pb::StartShadowRequest { sample_permille: 0, ..request(1, denies("t1")) };
        assert_eq!(reason(&house.start_shadow(none).await.unwrap_err()), "FIELD_INVALID");
        let first = house.start_shadow(request(1, denies("t1"))).await.unwrap();
        assert_eq!(house.start_shadow(request(1, denies("t1"))).await.unwrap(), first);
        for n in 2..=3 {
            house.start_shadow(request(n, denies("t1"))).await.unwrap();
        }
        assert_eq!(reason(&house.start_shadow(request(4, denies("t1"))).await.unwrap_err()), "SHADOW_QUOTA");
        let stop = |n, id: &str| pb::StopShadowRequest { request_id: test_id(43, n), shadow_id: id.to_owned() };
        let stopped = call!(house, sandbox.stop_shadow, "SandboxService/StopShadow", stop(1, &first.shadow_id)).unwrap();
        assert_eq!(stopped.shadow.unwrap().state(), pb::ShadowState::Stopped);
        let again = call!(house, sandbox.stop_shadow, "SandboxService/StopShadow", stop(2, &first.shadow_id)).unwrap_err();
        assert_eq!(reason(&again), "SHADOW_TRANSITION_INVALID");
        let foreign = call!(house, 2, sandbox.stop_shadow, "SandboxService/StopShadow", stop(3, &first.shadow_id)).unwrap_err();
        assert_eq!(reason(&foreign), "SHADOW_NOT_FOUND");
        house.start_shadow(request(4, denies("t1"))).await.unwrap();
        house.clock.advance(Duration::from_secs(3_600));
        let list = pb::ListShadowsRequest { page_size: 3, ..Default::default() };
        let list = call!(house, sandbox.list_shadows, "SandboxService/ListShadows", list).unwrap();
        assert!(list.shadows.iter().all(|s| s.state() == pb::ShadowState::Ended), "{:?}", list.shadows);
        assert_eq!((list.shadows.len(), list.next_page_token.is_empty()), (3, false));
    }
}
