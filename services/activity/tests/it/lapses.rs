//! Attempts that somebody has to look after.

use std::collections::BTreeSet;

use contracts_activity::v1::{self as pb, LapseCause as C};
use contracts_common::common::v1::{RunEvent as E, RunPhase as P, RunStatus as S, TerminationReason as R};
use runspine_activity_domain::reasons;
use runspine_testkit::{TestStore, on_both_engines, run};

use crate::{
    call,
    harness::{House, claim, key_id, mv, new_run, refused},
};

on_both_engines! {
    /// Each lapsed run goes to exactly one of many workers, on either of two replicas; a claim keeps others away until
    /// it is over.
    async fn no_two_workers_get_one_run(store: TestStore) {
        let house = House::over(store).await;
        for number in 1..=60 {
            house.start(number).await;
        }
        let replica = house.replica().await;
        house.after_ms(30_000);
        let calls = (0..16).map(|key| {
            let house = if key % 2 == 0 { &house } else { &replica };
            house.claim_lapsed(key, 5)
        });
        let claimed: Vec<pb::LapsedRun> = futures::future::join_all(calls).await.into_iter().flatten().collect();
        let distinct: BTreeSet<&String> = claimed.iter().map(|run| &run.run_id).collect();
        assert_eq!((claimed.len(), distinct.len()), (60, 60));
        assert!(claimed.iter().all(|run| run.cause == C::LeaseLapsed as i32 && run.fence == 2));
        assert!(house.claim_lapsed(90, 200).await.is_empty());
        house.after_ms(30_000);
        let again = house.claim_lapsed(91, 200).await;
        assert!(again.len() == 60 && again.iter().all(|run| run.fence == 3));
        assert_eq!(house.claim_lapsed(91, 200).await, again, "the key's first answer");
        let end = mv(1, 1, 3, E::End, P::GovernanceCheck, S::Running);
        for fence in [1, 2] {
            let stale = pb::TransitionRunRequest { fence, ..end.clone() };
            refused(house.transition(stale).await, &reasons::STALE_FENCE);
        }
        house.transition(pb::TransitionRunRequest { fence: 3, ..end }).await.unwrap();
        assert!(house.state(1).await.stale_since.is_some());
        assert_eq!(house.run(1).await.risk_level, pb::RiskLevel::AtRisk as i32);
    }

    /// Every cause with its moment; who waits for an approval is left alone.
    async fn causes_come_true_to_the_microsecond(store: TestStore) {
        let house = House::over(store).await;
        house.create(1).await;
        let pending = pb::CreateRunRequest { status: S::PendingApproval as i32, ..new_run(2) };
        call!(house, store.create_run, "CreateRun", pending).unwrap();
        house.start(3).await;
        let stop = pb::RequestStopRequest {
            run_id: run(3), attempt: 1, reason: R::UserAbort as i32, code: "CANCELLED".into(),
            mode: pb::StopMode::Drain as i32, drain_ms: 5_000, ..Default::default()
        };
        call!(house, store.request_stop, "RequestStop", stop).unwrap();
        house.after_ms(4_999);
        assert!(house.claim_lapsed(1, 50).await.is_empty());
        house.after_ms(1);
        let drained = house.claim_lapsed(2, 50).await;
        assert_eq!((drained.len(), drained[0].cause), (1, C::StopDrained as i32));
        house.start(4).await;
        for key in 0..14 {
            house.after_ms(20_000);
            house.renew(4, 1, 100 + key).await.unwrap();
        }
        house.after_ms(19_999);
        let causes = |runs: &[pb::LapsedRun], number| {
            runs.iter().find(|r| r.run_id == run(number)).map(|r| C::try_from(r.cause).unwrap())
        };
        assert_eq!(causes(&house.claim_lapsed(3, 50).await, 4), None);
        house.after_ms(1);
        assert_eq!(causes(&house.claim_lapsed(4, 50).await, 4), Some(C::TimedOut));
        house.after_ms(30 * 60_000 - 305_000 - 1);
        assert_eq!(causes(&house.claim_lapsed(5, 50).await, 1), None);
        house.after_ms(1);
        let late = house.claim_lapsed(6, 50).await;
        assert_eq!((causes(&late, 1), causes(&late, 2)), (Some(C::Orphaned), None));
    }

    /// A retry that may be claimed later is no orphan before; one that completes is not claimed at all.
    async fn waiting_and_completing_runs_are_left_alone(store: TestStore) {
        let house = House::over(store).await;
        let at = runspine_rpc::timestamp(crate::harness::START.plus_millis(3_600_000));
        let later = pb::CreateRunRequest { next_attempt_at: Some(at), ..new_run(1) };
        call!(house, store.create_run, "CreateRun", later).unwrap();
        house.start(2).await;
        house.go(2, 3, E::End, P::GovernanceCheck, S::Running).await.unwrap();
        house.after_ms(3_600_000 + 30 * 60_000 - 1);
        assert!(house.claim_lapsed(1, 50).await.is_empty());
        house.after_ms(1);
        let due = house.claim_lapsed(2, 50).await;
        assert_eq!((due.len(), due[0].run_id.clone()), (1, run(1)));
        house.create(3).await;
        house.go(3, 1, E::Authorize, P::Authorized, S::Queued).await.unwrap();
        house.transition(claim(3, 1, 2)).await.unwrap();
        let message = pb::ClaimLapsedRequest { request_id: key_id(7), worker_id: "w".into(), limit: 201, lease_ms: 0 };
        refused(call!(house, 0, store.claim_lapsed, "ClaimLapsed", message), &runspine_errors::mesh::FIELD_INVALID);
    }
}
