//! Live streams.

use std::{collections::BTreeSet, time::Duration};

use contracts_common::common::v1::Verdict;
use contracts_logs::v1::{self as pb, watch_records_response::Event};
use runspine_testkit::{TestStore, on_both_engines, run};
use tonic::Streaming;

use super::harness::{House, decided, decision, reason, sealing};

async fn watch(house: &House, from_position: u64) -> Streaming<pb::WatchRecordsResponse> {
    let request = pb::WatchRecordsRequest { run_id: run(1), attempt: 1, from_position };
    let request = house.ask("TraceService/WatchRecords", request);
    house.traces.clone().watch_records(request).await.unwrap().into_inner()
}

async fn next(stream: &mut Streaming<pb::WatchRecordsResponse>) -> Option<Event> {
    let message =
        tokio::time::timeout(Duration::from_secs(20), stream.message()).await.expect("news in time");
    message.unwrap().and_then(|m| m.event)
}

fn position(event: Option<Event>) -> u64 {
    match event {
        Some(Event::Record(record)) => record.record.unwrap().position,
        other => panic!("a record, not {other:?}"),
    }
}

on_both_engines! {
    async fn what_was_and_what_comes(store: TestStore) {
        let house = House::over(store).await;
        house.begin(1).await;
        house.append(1, (0..3).map(|n| decision(&format!("d{n}"), n)).collect()).await.unwrap();
        let mut stream = watch(&house, 2).await;
        assert_eq!(position(next(&mut stream).await), 2);
        assert_eq!(position(next(&mut stream).await), 3);
        house.one(1, decision("d3", 3)).await.unwrap();
        assert_eq!(position(next(&mut stream).await), 4);
        house.settle(1, 1).await;
        let sealed = house.seal(sealing(1, 1)).await.unwrap().seal.unwrap();
        match next(&mut stream).await {
            Some(Event::End(end)) => assert_eq!((end.seal_digest, end.record_count), (sealed.seal_digest, 4)),
            other => panic!("the end, not {other:?}"),
        }
        assert_eq!(next(&mut stream).await, None);
    }

    async fn a_watcher_that_comes_back_misses_nothing(store: TestStore) {
        let house = std::sync::Arc::new(House::over(store).await);
        house.begin(1).await;
        let (writers, each) = (8, 10);
        let tasks: Vec<_> = (0..writers)
            .map(|writer| {
                let house = std::sync::Arc::clone(&house);
                tokio::spawn(async move {
                    for n in 0..each {
                        let item = decided(&format!("{writer}-{n}"), None, Verdict::Allow);
                        house.one(1, item).await.unwrap();
                    }
                })
            })
            .collect();
        let mut seen = Vec::new();
        while seen.len() < writers * each {
            let mut stream = watch(&house, seen.len() as u64 + 1).await;
            for _ in 0..(7 + seen.len() % 5).min(writers * each - seen.len()) {
                seen.push(position(next(&mut stream).await));
            }
        }
        for task in tasks {
            task.await.unwrap();
        }
        assert!(seen.is_sorted());
        assert_eq!(seen.iter().collect::<BTreeSet<_>>().len(), writers * each);
    }

    async fn a_tenant_has_only_so_many_streams(store: TestStore) {
        let mut config = runspine_logs::Config::default();
        config.watch.max_streams = 2;
        let house = House::with(store, config).await;
        house.begin(1).await;
        let _held = (watch(&house, 1).await, watch(&house, 1).await);
        let request = pb::WatchRecordsRequest { run_id: run(1), attempt: 1, from_position: 1 };
        let refused = house.traces.clone().watch_records(house.ask("TraceService/WatchRecords", request)).await;
        assert_eq!(reason(refused.map(drop)), "TOO_MANY_STREAMS");
    }
}
