//! Events leave with their commits.

use contracts_activity::v1 as pb;
use contracts_common::common::v1::{RunEvent as E, RunPhase as P, RunStatus as S};
use prost::Message as _;
use runspine_testkit::{TestStore, on_both_engines, run, tenant};

use crate::{call, harness::House};

on_both_engines! {
    /// Each event says whose it is, and a refused move publishes nothing.
    async fn events_leave_with_their_commits(store: TestStore) {
        let house = House::over(store).await;
        house.start(1).await;
        assert!(house.go(1, 9, E::End, P::GovernanceCheck, S::Running).await.is_err());
        house.after_ms(30_000);
        house.claim_lapsed(1, 10).await;
        let events = house.published().await;
        let kinds: Vec<&str> = events.iter().map(|e| e.r#type.as_str()).collect();
        assert_eq!(
            kinds,
            ["activity.RunCreated", "activity.RunTransitioned", "activity.RunTransitioned", "activity.LeaseLapsed"]
        );
        let sequences: Vec<u64> = events.iter().map(|e| e.sequence).collect();
        assert_eq!(sequences, [1, 2, 3, 4]);
        assert!(events.iter().all(|e| e.run_id == run(1) && e.attempt == 1 && e.tenant_id == tenant(1)));
        assert!(events.iter().all(|e| e.source == "activity" && e.project_id == "project" && e.config_digest.len() == 32));
        let moved = pb::RunTransitioned::decode(events[2].data.clone()).unwrap().transition.unwrap();
        assert_eq!((moved.sequence, moved.event), (3, E::Claim as i32));
        let lapsed = pb::LeaseLapsed::decode(events[3].data.clone()).unwrap();
        assert_eq!((lapsed.cause, lapsed.fence), (pb::LapseCause::LeaseLapsed as i32, 2));
        let ack = pb::AckEventsRequest { consumer: "test".into(), sequence: 3 };
        call!(house, events.ack_events, "AckEvents", ack).unwrap();
        assert_eq!(house.published().await.len(), 1);
    }
}
