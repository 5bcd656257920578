//! Health: every part is probed for real, and says so when it is late or gone.

use std::time::{Duration, Instant};

use contracts_policies::v1 as pb;
use runspine_testkit::{TestStore, on_both_engines};
use tonic::Code;

use crate::{
    call,
    harness::{House, ask_step},
};

const AVAILABLE: i32 = 1;
const DEGRADED: i32 = 2;
const UNAVAILABLE: i32 = 3;

impl House {
    async fn health(&self) -> pb::GetPolicyHealthResponse {
        let ask = pb::GetPolicyHealthRequest::default();
        call!(self, health.get_policy_health, "HealthService/GetPolicyHealth", ask).unwrap()
    }

    /// Asks until the parts that a busy machine may make slow are as fast as they should be.
    async fn status_of(&self, name: &str) -> (i32, String) {
        let health = self.health().await;
        let found = health.subsystems.into_iter().find(|s| s.name == name).unwrap();
        (found.status, found.detail)
    }
}

on_both_engines! {
    async fn every_part_is_probed(store: TestStore) {
        let house = House::over(store).await;
        house.start(1).await;
        let health = house.health().await;
        let names: Vec<&str> = health.subsystems.iter().map(|s| s.name.as_str()).collect();
        let all = [
            "evaluator", "decision_store", "snapshot_store", "slice_cache", "monitors", "approvals", "lessons",
            "sandbox", "outbox",
        ];
        assert_eq!(names, all);
        assert_eq!(health.status, health.subsystems.iter().map(|s| s.status).max().unwrap());
        for part in &health.subsystems {
            // A busy machine makes a probe late, never wrong.
            assert!(part.status != UNAVAILABLE, "{part:?}");
            assert!(part.status == AVAILABLE || part.detail.contains("took"), "{part:?}");
            assert!(part.last_success == health.checked_at && part.last_success.is_some(), "{part:?}");
            assert!(!part.version.is_empty());
        }
    }

    async fn what_waits_too_long_is_degraded(store: TestStore) {
        let house = House::over(store).await;
        let pay = "forbid(principal, action == Runspine::Action::\"tool_call\", resource);";
        house.rule(1, "pay", "@outcome(\"require_approval\")", pay).await;
        house.start(1).await;
        house.step(ask_step(1, 0, "pay")).await.unwrap();
        assert_eq!(house.status_of("outbox").await.0, AVAILABLE);
        house.clock.advance(Duration::from_secs(11));
        assert_eq!(house.status_of("outbox").await.0, DEGRADED, "nobody takes the events");
        let last = house.told().await.last().unwrap().sequence;
        let ack = pb::AckEventsRequest { consumer: "test".to_owned(), sequence: last };
        call!(house, events.ack_events, "EventService/AckEvents", ack).unwrap();
        assert_eq!(house.status_of("outbox").await, (AVAILABLE, "nothing waits".to_owned()));
        assert_eq!(house.status_of("approvals").await, (AVAILABLE, "nothing waits".to_owned()));
        // Due after 300 s, and nobody escalated it for 61.
        house.clock.advance(Duration::from_secs(300 - 11 + 61));
        assert_eq!(house.status_of("approvals").await.0, DEGRADED);
        house.parts.end_due_approvals().await.unwrap();
        assert_eq!(house.status_of("approvals").await.0, AVAILABLE);
    }

    /// A16.1: a store that is gone is found within two seconds, and nothing is decided without a record.
    async fn a_store_that_is_gone_is_unavailable(store: TestStore) {
        let house = House::over(store).await;
        house.start(1).await;
        house.step(ask_step(1, 0, "t1")).await.unwrap();
        let before = house.health().await;
        house.db.close().await;
        house.clock.advance(Duration::from_secs(1));
        let begun = Instant::now();
        let health = house.health().await;
        assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
        assert_eq!(health.status, UNAVAILABLE);
        for part in &health.subsystems {
            let lives = matches!(part.name.as_str(), "evaluator" | "slice_cache");
            assert_eq!(part.status == UNAVAILABLE, !lives, "{part:?}");
            assert_eq!(part.last_success == before.checked_at, !lives, "{part:?}");
        }
        let refused = house.step(ask_step(1, 1, "t1")).await.unwrap_err();
        assert_eq!(refused.code(), Code::Unavailable, "{refused:?}");
    }
}
