//! Live streams of the ledger.

use std::{sync::Arc, time::Duration};

use contracts_logs::v1::{self as pb, watch_entries_response::Item};
use runspine_testkit::{TestStore, on_both_engines, run, until_ok};
use tonic::{Status, Streaming};

use super::{harness::*, ledger::event};

type Messages = Streaming<pb::WatchEntriesResponse>;

fn from(from_seq: u64) -> pb::WatchEntriesRequest {
    pb::WatchEntriesRequest { from_seq, ..Default::default() }
}

fn behind(token: &str) -> pb::WatchEntriesRequest {
    pb::WatchEntriesRequest { watch_token: token.to_owned(), ..Default::default() }
}

async fn open_as(house: &House, who: Who, request: pb::WatchEntriesRequest) -> Result<Messages, Status> {
    let request = house.ask_as(who, "LedgerService/WatchEntries", request);
    house.ledger.clone().watch_entries(request).await.map(tonic::Response::into_inner)
}

async fn open(house: &House, request: pb::WatchEntriesRequest) -> Result<Messages, Status> {
    open_as(house, Who::Tenant(1), request).await
}

async fn watch(house: &House, request: pb::WatchEntriesRequest) -> Messages {
    open(house, request).await.unwrap()
}

/// The next entry's place, and the token behind it.
async fn next(stream: &mut Messages) -> (u64, String) {
    loop {
        let message =
            tokio::time::timeout(Duration::from_secs(60), stream.message()).await.expect("news in time");
        let message = message.unwrap().expect("a ledger has no end");
        if let Some(Item::Entry(view)) = message.item {
            return (view.entry.unwrap().seq, message.watch_token);
        }
    }
}

async fn read_under_writers(house: &Arc<House>, each: u64, round: u64, token: &mut String) -> Vec<u64> {
    let writers: Vec<_> = (0..32)
        .map(|writer| {
            let house = Arc::clone(house);
            tokio::spawn(async move {
                for n in 0..each {
                    house.append(vec![event(round * 10_000 + writer * 100 + n, None)]).await.unwrap();
                }
            })
        })
        .collect();
    let (mut seen, all) = (Vec::new(), usize::try_from(32 * each).unwrap());
    while seen.len() < all {
        let mut stream = watch(house, behind(token)).await;
        for _ in 0..(1 + seen.len() * 7 % 11).min(all - seen.len()) {
            let (seq, behind) = next(&mut stream).await;
            (*token, _) = (behind, seen.push(seq));
        }
    }
    for writer in writers {
        writer.await.unwrap();
    }
    seen
}

on_both_engines! {
    /// What was committed, then what is committed, each once; what the filter leaves out is not seen.
    async fn a_watch_misses_nothing(store: TestStore) {
        let house = House::over(store).await;
        house.append((1..=3).map(|n| event(n, Some(1))).collect()).await.unwrap();
        let of_run = pb::WatchEntriesRequest { run_id: run(1), ..from(2) };
        let mut stream = watch(&house, of_run).await;
        let mut others = watch(&house, pb::WatchEntriesRequest { event_types: vec!["controls.LimitCreated".into()], ..from(0) }).await;
        for number in 4..=9_u64 {
            house.append(vec![event(number, Some(1 + number % 2))]).await.unwrap();
        }
        for expected in [2, 3, 4, 6, 8] {
            assert_eq!(next(&mut stream).await.0, expected);
        }
        let created = pb::LedgerEvent { event_type: "controls.LimitCreated".into(), ..event(10, None) };
        house.append(vec![created]).await.unwrap();
        assert_eq!(next(&mut others).await.0, 10, "the first of its kind");
    }

    /// Section 20 for the ledger: each place once, in order, under 32 writers and a restart of the service.
    async fn a_watcher_that_comes_back_sees_each_place_once(store: TestStore) {
        let house = Arc::new(House::over(store).await);
        let mut token = String::new();
        let mut seen = read_under_writers(&house, 4, 1, &mut token).await;
        let house = Arc::into_inner(house).expect("every writer is done");
        let house = Arc::new(house.again(runspine_logs::Config::default()).await);
        seen.extend(read_under_writers(&house, 4, 2, &mut token).await);
        assert_eq!(seen, (1..=256).collect::<Vec<u64>>());
    }

    /// A token goes on in the stream that gave it: the same tenant, the same filter.
    async fn a_token_belongs_to_its_stream(store: TestStore) {
        let house = House::over(store).await;
        house.append((1..=3).map(|n| event(n, Some(1))).collect()).await.unwrap();
        let (seq, token) = next(&mut watch(&house, from(0)).await).await;
        assert_eq!(seq, 1);
        let filtered = pb::WatchEntriesRequest { run_id: run(1), ..behind(&token) };
        assert_eq!(reason(open(&house, filtered).await.map(drop)), "WATCH_TOKEN_MISMATCH");
        assert_eq!(reason(open_as(&house, Who::Tenant(2), behind(&token)).await.map(drop)), "WATCH_TOKEN_MISMATCH");
        assert_eq!(reason(open(&house, behind("zz")).await.map(drop)), "WATCH_TOKEN_MISMATCH");
        let both = pb::WatchEntriesRequest { from_seq: 1, ..behind(&token) };
        assert_eq!(reason(open(&house, both).await.map(drop)), "FIELD_INVALID");
        let shapeless = pb::WatchEntriesRequest { event_types: vec!["limits".into()], ..from(1) };
        assert_eq!(reason(open(&house, shapeless).await.map(drop)), "FIELD_INVALID");
        assert_eq!(next(&mut watch(&house, behind(&token)).await).await.0, 2);
    }

    /// Readers that take nothing hold up no writer, and miss nothing when they read at last.
    async fn slow_readers_hold_up_nobody(store: TestStore) {
        let house = House::over(store).await;
        let mut slow = Vec::new();
        for _ in 0..20 {
            slow.push(watch(&house, from(1)).await);
        }
        for call in 0..10 {
            let events = (0..60).map(|n| event(call * 100 + n, None)).collect();
            tokio::time::timeout(Duration::from_secs(60), house.append(events)).await.expect("in time").unwrap();
        }
        for mut stream in slow {
            for expected in 1..=600 {
                assert_eq!(next(&mut stream).await.0, expected);
            }
        }
    }

    /// A tenant has only so many streams, and the place of one that ended is free again.
    async fn a_stream_that_ended_makes_room(store: TestStore) {
        let mut config = runspine_logs::Config::default();
        config.watch.max_streams = 1;
        let house = House::with(store, config).await;
        let held = watch(&house, from(1)).await;
        assert_eq!(reason(open(&house, from(1)).await.map(drop)), "TOO_MANY_STREAMS");
        assert!(open_as(&house, Who::Tenant(2), from(1)).await.is_ok(), "another tenant has its own");
        drop(held);
        until_ok(Duration::from_secs(20), || open(&house, from(1))).await;
    }
}
