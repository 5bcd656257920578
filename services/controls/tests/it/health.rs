//! Health: every part is probed for real, and says so when it is late, wrong or gone.

use std::time::{Duration, Instant};

use contracts_controls::v1 as pb;
use pb::HealthStatus::{Available, Degraded, Unavailable};
use runspine_controls::worker::sweep_once;
use runspine_db::{AssertSqlSafe, args};
use runspine_testkit::{TestStore, on_both_engines};

use crate::{
    call,
    harness::{House, daily, settled, step},
};

impl House {
    async fn health(&self) -> pb::GetControlsHealthResponse {
        let ask = pb::GetControlsHealthRequest::default();
        call!(self, admissions.get_controls_health, "AdmissionService/GetControlsHealth", ask).unwrap()
    }

    async fn part(&self, name: &str) -> (pb::HealthStatus, String) {
        let health = self.health().await;
        let found = health.subsystems.into_iter().find(|s| s.name == name).unwrap();
        (found.status(), found.detail)
    }

    pub async fn by_hand(&self, sql: &'static str) {
        let sql = AssertSqlSafe(sql);
        let done =
            self.db.write("by_hand", move |tx| Box::pin(async move { Ok(tx.execute(sql, args![]).await?) }));
        done.await.unwrap();
    }
}

on_both_engines! {
    async fn every_part_is_probed(store: TestStore) {
        let house = House::over(store).await;
        let _watch = house.app.watchers.enter("spine-1");
        let health = house.health().await;
        let names: Vec<&str> = health.subsystems.iter().map(|s| s.name.as_str()).collect();
        assert_eq!(names, ["store", "epoch_watch", "sweeper", "periods", "outbox"]);
        assert_eq!(health.status, health.subsystems.iter().map(|s| s.status).max().unwrap());
        for part in &health.subsystems {
            // A busy machine makes a probe late, never wrong.
            assert!(part.status() == Available || part.detail.contains("took"), "{part:?}");
            assert!(part.last_success == health.checked_at && part.last_success.is_some(), "{part:?}");
            assert!(!part.version.is_empty());
        }
        assert_eq!(house.app.watchers.names(), ["spine-1"], "a probe is no replica that a freeze waits for");
    }

    /// A hold is gone 10 s after its lease lapsed, or the sweeper is late.
    async fn a_late_sweeper_is_degraded(store: TestStore) {
        let house = House::over(store).await;
        house.admit(1).await.unwrap();
        house.clock.advance(Duration::from_secs(30 + 5 + 5));
        assert_eq!(house.part("sweeper").await, (Available, "the oldest waits for 5000 ms".to_owned()));
        house.clock.advance(Duration::from_millis(1));
        assert_eq!(house.part("sweeper").await.0, Degraded);
        sweep_once(&house.app).await.unwrap();
        assert_eq!(house.part("sweeper").await, (Available, "nothing waits".to_owned()));
    }

    async fn events_that_nobody_takes_are_degraded(store: TestStore) {
        let house = House::over(store).await;
        house.create(1, daily("day", 100)).await;
        house.clock.advance(Duration::from_secs(11));
        assert_eq!(house.part("outbox").await.0, Degraded);
        let sequence = house.published().await.last().unwrap().sequence;
        let ack = pb::AckEventsRequest { consumer: "test".to_owned(), sequence };
        call!(house, events.ack_events, "EventService/AckEvents", ack).unwrap();
        assert_eq!(house.part("outbox").await, (Available, "nothing waits".to_owned()));
    }

    /// The numbers of the period that is worked on add up through its life, and an altered one is found.
    async fn a_period_that_does_not_add_up_is_degraded(store: TestStore) {
        let house = House::over(store).await;
        house.create(1, daily("day", 1_000)).await;
        house.admit(1).await.unwrap();
        assert_eq!(house.part("periods").await.0, Available);
        house.step(step(1, 0, 400)).await.unwrap();
        assert_eq!(house.part("periods").await.0, Available);
        house.settle(settled(1, 0, 300)).await.unwrap();
        assert_eq!(house.part("periods").await.0, Available);
        house.by_hand("UPDATE envelope_periods SET granted = granted + 1").await;
        let (status, detail) = house.part("periods").await;
        assert!(status == Degraded && detail.contains("its runs have"), "{detail}");
        house.by_hand("UPDATE envelope_periods SET granted = granted - 1").await;
        house.settle_run(1, 1).await.unwrap();
        assert_eq!(house.part("periods").await.0, Available);
    }

    /// A store that is gone is found within two seconds, and what worked last is still known.
    async fn a_store_that_is_gone_is_unavailable(store: TestStore) {
        let house = House::over(store).await;
        let before = house.health().await;
        house.db.close().await;
        house.clock.advance(Duration::from_secs(1));
        let begun = Instant::now();
        let health = house.health().await;
        assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
        assert_eq!(health.status(), Unavailable);
        for part in &health.subsystems {
            assert_eq!((part.status(), part.last_success), (Unavailable, before.checked_at), "{part:?}");
        }
    }
}
