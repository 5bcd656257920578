//! Live streams of one trace.

use std::{sync::Arc, time::Duration};

use contracts_common::common::v1::Verdict;
use contracts_logs::v1::{self as pb, watch_records_response::Event};
use runspine_testkit::{TestStore, on_both_engines, run};
use tonic::{Status, Streaming};

use super::harness::{House, decided, decision, reason, sealing, start};

type Messages = Streaming<pb::WatchRecordsResponse>;

fn from(from_position: u64) -> pb::WatchRecordsRequest {
    pb::WatchRecordsRequest { run_id: run(1), attempt: 1, from_position, watch_token: String::new() }
}

/// Goes on behind `token`; from the beginning without one.
fn behind(token: &str) -> pb::WatchRecordsRequest {
    pb::WatchRecordsRequest { watch_token: token.to_owned(), ..from(0) }
}

async fn open(house: &House, request: pb::WatchRecordsRequest) -> Result<Messages, Status> {
    let request = house.ask("TraceService/WatchRecords", request);
    house.traces.clone().watch_records(request).await.map(tonic::Response::into_inner)
}

async fn watch(house: &House, request: pb::WatchRecordsRequest) -> Messages {
    open(house, request).await.unwrap()
}

async fn message(stream: &mut Messages) -> Option<pb::WatchRecordsResponse> {
    let message =
        tokio::time::timeout(Duration::from_secs(60), stream.message()).await.expect("news in time");
    message.unwrap()
}

async fn next(stream: &mut Messages) -> Option<Event> {
    message(stream).await.and_then(|m| m.event)
}

fn position(event: Option<Event>) -> u64 {
    match event {
        Some(Event::Record(record)) => record.record.unwrap().position,
        other => panic!("a record, not {other:?}"),
    }
}

/// Writes `each` records from each of 32 writers while a watcher reads them, coming back after every few.
async fn read_under_writers(house: &Arc<House>, each: usize, round: u64, token: &mut String) -> Vec<u64> {
    let writers: Vec<_> = (0..32)
        .map(|writer| {
            let house = Arc::clone(house);
            tokio::spawn(async move {
                for n in 0..each {
                    let item = decided(&format!("{round}-{writer}-{n}"), None, Verdict::Allow);
                    house.one(1, item).await.unwrap();
                }
            })
        })
        .collect();
    let (mut seen, all) = (Vec::new(), 32 * each);
    while seen.len() < all {
        let mut stream = watch(house, behind(token)).await;
        // Between one and eleven messages, differently each time.
        for _ in 0..(1 + seen.len() * 7 % 11).min(all - seen.len()) {
            let message = message(&mut stream).await.unwrap();
            token.clone_from(&message.watch_token);
            seen.push(position(message.event));
        }
    }
    for writer in writers {
        writer.await.unwrap();
    }
    seen
}

on_both_engines! {
    async fn what_was_and_what_comes(store: TestStore) {
        let house = House::over(store).await;
        house.begin(1).await;
        house.append(1, (0..3).map(|n| decision(&format!("d{n}"), n)).collect()).await.unwrap();
        let mut stream = watch(&house, from(2)).await;
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

    /// Section 20: a watcher that reconnects at random sees every position once, in order, under 32 writers and a
    /// restart of the service.
    async fn a_watcher_that_comes_back_sees_each_position_once(store: TestStore) {
        let house = Arc::new(House::over(store).await);
        house.begin(1).await;
        let mut token = String::new();
        let mut seen = read_under_writers(&house, 4, 1, &mut token).await;
        let house = Arc::into_inner(house).expect("every writer is done").again().await;
        seen.extend(read_under_writers(&Arc::new(house), 4, 2, &mut token).await);
        assert_eq!(seen, (1..=256).collect::<Vec<u64>>());
    }

    /// A token goes on in the stream that gave it, and in no other.
    async fn a_token_belongs_to_its_stream(store: TestStore) {
        let house = House::over(store).await;
        house.begin(1).await;
        house.one(1, decision("d0", 0)).await.unwrap();
        let first = message(&mut watch(&house, behind("")).await).await.unwrap();
        house.settle(1, 1).await;
        house.seal(sealing(1, 1)).await.unwrap();
        house.declare(1, 2).await;
        house.start(start(1, 2)).await.unwrap();
        let other = pb::WatchRecordsRequest { attempt: 2, ..behind(&first.watch_token) };
        assert_eq!(reason(open(&house, other).await.map(drop)), "WATCH_TOKEN_MISMATCH");
        let latest = pb::WatchRecordsRequest { attempt: 0, ..behind(&first.watch_token) };
        assert_eq!(reason(open(&house, latest).await.map(drop)), "WATCH_TOKEN_MISMATCH", "the latest is another now");
        assert_eq!(reason(open(&house, behind("7b7d")).await.map(drop)), "WATCH_TOKEN_MISMATCH");
        let both = pb::WatchRecordsRequest { from_position: 1, ..behind(&first.watch_token) };
        assert_eq!(reason(open(&house, both).await.map(drop)), "FIELD_INVALID");
        let mut rest = watch(&house, behind(&first.watch_token)).await;
        assert!(matches!(next(&mut rest).await, Some(Event::End(end)) if end.record_count == 1));
    }

    /// Readers that take nothing hold up no writer, and miss nothing when they read at last.
    async fn slow_readers_hold_up_nobody(store: TestStore) {
        let house = House::over(store).await;
        house.begin(1).await;
        let mut slow = Vec::new();
        for _ in 0..20 {
            slow.push(watch(&house, from(1)).await);
        }
        for call in 0..20_u32 {
            let items = (0..20).map(|n| decided(&format!("{call}-{n}"), None, Verdict::Allow)).collect();
            tokio::time::timeout(Duration::from_secs(60), house.append(1, items)).await.expect("in time").unwrap();
        }
        for mut stream in slow {
            for expected in 1..=400 {
                assert_eq!(position(next(&mut stream).await), expected);
            }
        }
    }

    async fn a_tenant_has_only_so_many_streams(store: TestStore) {
        let mut config = runspine_logs::Config::default();
        config.watch.max_streams = 2;
        let house = House::with(store, config).await;
        house.begin(1).await;
        let held = (watch(&house, from(1)).await, watch(&house, from(1)).await);
        assert_eq!(reason(open(&house, from(1)).await.map(drop)), "TOO_MANY_STREAMS");
        let ledger = house.ask("LedgerService/WatchEntries", pb::WatchEntriesRequest::default());
        let ledger = house.ledger.clone().watch_entries(ledger).await;
        assert_eq!(reason(ledger.map(drop)), "TOO_MANY_STREAMS", "one count for every kind of stream");
        drop(held);
        runspine_testkit::until_ok(Duration::from_secs(20), || open(&house, from(1))).await;
    }
}
