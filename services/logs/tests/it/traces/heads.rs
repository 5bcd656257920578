//! The heads of traces say nothing that headers, records and seals don't.

use contracts_logs::v1 as pb;
use prost::Message as _;
use runspine_db::{Db, args};
use runspine_logs_domain::chain;
use runspine_testkit::{TestStore, on_both_engines, run, test_id};
use runspine_types::{Digest, Micros};

use super::harness::{House, decision, item, sealing, start, step};

/// What a head holds: records, last link, last time, largest step, whether it is sealed.
type Head = (u64, Digest, Micros, Option<u32>, bool);

/// The head of a trace, made of its header, its records and its seal.
async fn rebuilt(db: &Db, trace_key: i64) -> Head {
    let sql = "SELECT header, started_at FROM traces WHERE trace_key = $1";
    let (header, mut last): (bytes::Bytes, Micros) =
        db.read().fetch_one(sql, args![trace_key]).await.unwrap();
    let sql = "SELECT record, step_index FROM trace_records WHERE trace_key = $1 ORDER BY position";
    let records: Vec<(bytes::Bytes, Option<u32>)> = db.read().fetch_all(sql, args![trace_key]).await.unwrap();
    let (mut link, mut largest) = (chain::trace_start(&header), None);
    let count = records.len() as u64;
    for (bytes, step_index) in records {
        link = chain::trace_link(&link, &bytes);
        let record = pb::TraceRecord::decode(bytes).unwrap();
        last = runspine_rpc::micros(record.recorded_at.as_ref().unwrap());
        assert_eq!(record.step_index, step_index);
        largest = largest.max(step_index);
    }
    let sql = "SELECT COUNT(*) FROM trace_seals WHERE trace_key = $1";
    let (seals,): (i64,) = db.read().fetch_one(sql, args![trace_key]).await.unwrap();
    (count, link, last, largest, seals == 1)
}

on_both_engines! {
    /// Open, sealed, with addenda, and a second attempt; with steps in holes and records without a step.
    async fn heads_can_be_rebuilt(store: TestStore) {
        let house = House::over(store).await;
        house.sealed_run(1).await;
        house.declare(1, 2).await;
        house.start(start(1, 2)).await.unwrap();
        house.begin(2).await;
        for (n, index) in [(0, 0), (1, 7), (2, 3)] {
            house.advance(1_000);
            house.one(2, decision(&format!("d{n}"), index)).await.unwrap();
        }
        let paused = pb::Control { action: pb::ControlAction::Paused.into(), ..Default::default() };
        house.one(2, item("paused", None, pb::record_item::Body::Control(paused))).await.unwrap();
        house.begin(3).await;
        house.settle(3, 1).await;
        house.seal(sealing(3, 1)).await.unwrap();
        let late = pb::AppendAddendumRequest {
            request_id: test_id(9, 3),
            run_id: run(3),
            attempt: 1,
            reason: "reported after the end".into(),
            items: vec![step("late", 4, "")],
        };
        house.late(late).await.unwrap();
        let db = house.db().await;
        let sql = "SELECT trace_key, record_count, last_link, last_recorded_at, largest_step_index, sealed FROM trace_heads";
        let heads: Vec<(i64, u64, Digest, Micros, Option<u32>, bool)> =
            db.read().fetch_all(sql, args![]).await.unwrap();
        assert_eq!(heads.len(), 5);
        for (trace_key, count, link, last, largest, sealed) in heads {
            assert_eq!(rebuilt(&db, trace_key).await, (count, link, last, largest, sealed), "trace {trace_key}");
        }
    }
}
