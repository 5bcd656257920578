//! Events arrive in order, at least once, and only with their commit.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use contracts_common::common::v1::EventEnvelope;
use runspine_db::{Db, Migrations};
use runspine_errors::{Fault, mesh};
use runspine_events::{Emit as _, Feed};
use runspine_testkit::{TestStore, eventually, on_both_engines};
use runspine_types::{SystemClock, new_id};

async fn publish(db: &Db, subject: &str) {
    let envelope = EventEnvelope {
        id: new_id(),
        r#type: "demo.Happened".into(),
        subject: subject.into(),
        time: Some(prost_types::Timestamp { seconds: 7, nanos: 0 }),
        ..EventEnvelope::default()
    };
    db.write("publish", move |tx| {
        Box::pin(async move {
            tx.emit(&envelope);
            Ok(())
        })
    })
    .await
    .unwrap();
}

on_both_engines! {
    async fn a_waiting_consumer_wakes_with_the_commit(store: TestStore) {
        let db = store.open("demo", Migrations::default()).await;
        let feed = Feed::new(&db);
        let none = feed.wait("c", 10, Duration::from_millis(5)).await.unwrap();
        assert_eq!((none.events.len(), none.head), (0, 0));
        let waiting = { let feed = feed.clone(); tokio::spawn(async move { feed.wait("c", 10, Duration::from_secs(30)).await }) };
        publish(&db, "a").await;
        let begun = std::time::Instant::now();
        let pulled = waiting.await.unwrap().unwrap();
        assert!(begun.elapsed() < Duration::from_millis(900), "it was woken, it did not look again by itself");
        assert_eq!((pulled.events[0].subject.as_str(), pulled.events[0].sequence, pulled.head), ("a", 1, 1));
    }

    async fn a_failed_event_comes_again(store: TestStore) {
        let db = store.open("demo", Migrations::default()).await;
        let feed = Feed::new(&db);
        for subject in ["a", "b", "c"] {
            publish(&db, subject).await;
        }
        let seen: Arc<Mutex<Vec<String>>> = Arc::default();
        let refuse_once = |event: EventEnvelope| {
            let seen = seen.clone();
            async move {
                let mut seen = seen.lock().unwrap();
                seen.push(event.subject.clone());
                if event.subject == "b" && seen.len() == 2 {
                    return Err(Fault::new(&mesh::TARGET_UNAVAILABLE, "not now"));
                }
                Ok(())
            }
        };
        let failed = feed.follow("c", &SystemClock, refuse_once).await.unwrap_err();
        assert!(failed.is(&mesh::TARGET_UNAVAILABLE));
        let done = || async { feed.pull("c", 10).await.unwrap().events.is_empty() };
        tokio::select! {
            ended = feed.follow("c", &SystemClock, refuse_once) => panic!("{ended:?}"),
            () = eventually(Duration::from_secs(10), done) => {}
        }
        assert_eq!(*seen.lock().unwrap(), ["a", "b", "b", "c"]);
    }
}
