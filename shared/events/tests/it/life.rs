//! An instance tells of its life through the outbox of its service.

use std::{sync::Arc, time::Duration};

use contracts_common::common::v1::{InstanceChange, InstanceEvent};
use prost::Message as _;
use runspine_db::{Migration, Migrations};
use runspine_events::{Feed, Life};
use runspine_testkit::{TestStore, eventually, on_both_engines};
use runspine_types::{Clock, Instance, SystemClock, hash};
use tokio::sync::oneshot;

const TABLE: &str = "CREATE TABLE things (id BIGINT NOT NULL PRIMARY KEY)";
const SCHEMA: Migrations = Migrations {
    steps: &[Migration { version: 1, name: "0001_things", sqlite: TABLE, postgres: TABLE }],
    append_only: &[],
};

fn instance() -> Instance {
    Instance { name: "host-1".to_owned(), version: "1.2.3", config_digest: hash(b"settings") }
}

on_both_engines! {
    async fn a_life_is_told_from_the_beginning_to_the_end(store: TestStore) {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        for migrated in [true, false] {
            let db = store.open("demo", SCHEMA).await;
            assert_eq!(db.migrated(), if migrated { &["0001_things"][..] } else { &[] });
            let feed = Feed::new(&db);
            let (end, ended) = oneshot::channel::<()>();
            let life = Life::new(&db, &clock, instance(), |event| event.encode_to_vec());
            let telling = tokio::spawn(life.tell(async move { ended.await.unwrap() }));
            let begun = if migrated { 2 } else { 1 };
            eventually(Duration::from_secs(30), || async {
                feed.pull("c", 10).await.unwrap().events.len() == begun
            })
            .await;
            end.send(()).unwrap();
            telling.await.unwrap();
            let pulled = feed.pull("c", 10).await.unwrap();
            let told: Vec<InstanceEvent> =
                pulled.events.iter().map(|e| InstanceEvent::decode(e.data.clone()).unwrap()).collect();
            let changes: Vec<_> = told.iter().map(InstanceEvent::change).collect();
            let life = [InstanceChange::Migration, InstanceChange::Startup, InstanceChange::Shutdown];
            assert_eq!(changes, life[usize::from(!migrated)..]);
            assert!(told.iter().all(|e| e.instance == "host-1" && e.version == "1.2.3" && e.config_digest.len() == 32));
            assert!(pulled.events.iter().all(|e| e.r#type == "demo.InstanceChanged" && e.source == "demo"));
            feed.ack("c", pulled.head, clock.as_ref()).await.unwrap();
            db.close().await;
        }
    }
}
