//! Working rows say nothing that the append-only tables don't.

use contracts_logs::v1::{self as pb, ReconcilePass};
use prost::Message as _;
use runspine_db::{Db, args};
use runspine_logs_domain::{chain, contract::Contract};
use runspine_testkit::{TestStore, on_both_engines};
use runspine_types::{Digest, Micros};

use super::harness::*;

type Row = (i64, String, i64, i64, u64, Digest, Option<Micros>, Option<Micros>);

async fn assert_rebuilt(db: &Db) -> usize {
    let sql = "SELECT contract_id, saga, state, verdict, last_seq, last_link, next_deadline, declared_at FROM contract_index";
    let rows: Vec<Row> = db.read().fetch_all(sql, args![]).await.unwrap();
    for (id, saga, state, verdict, last_seq, last_link, next_deadline, declared_at) in &rows {
        let sql = "SELECT tenant_id, saga, subject_id, attempt FROM contract_index WHERE contract_id = $1";
        let (tenant, _, subject, attempt): (String, String, String, u32) =
            db.read().fetch_one(sql, args![*id]).await.unwrap();
        let sql = "SELECT entry, link FROM contract_entries WHERE contract_id = $1 ORDER BY seq";
        let entries: Vec<(bytes::Bytes, Digest)> = db.read().fetch_all(sql, args![*id]).await.unwrap();
        let mut link = chain::contract_start(&tenant, saga, &subject, attempt);
        let mut contract = Contract::new(saga);
        for (bytes, stored) in entries {
            link = chain::contract_link(&link, &bytes);
            assert_eq!(link, stored);
            contract.apply(&pb::ContractEntry::decode(bytes).unwrap()).unwrap();
        }
        let rebuilt = (
            1 + i64::from(contract.closed),
            contract.judged.last().map_or(0, |last| i64::from(i32::from(last.verdict))),
            contract.last_seq,
            link,
            contract.next_deadline(),
            contract.declared_at,
        );
        assert_eq!(rebuilt, (*state, *verdict, *last_seq, *last_link, *next_deadline, *declared_at));
    }
    rows.len()
}

on_both_engines! {
    /// Contracts in every stage, written by two replicas, rebuilt from their entries.
    async fn working_rows_can_be_rebuilt(store: TestStore) {
        let house = House::over(store).await;
        let mut other = house.replica().await;
        for number in 1..=8_u64 {
            let key = key(number);
            house.declare(of_a_run(&key)).await.unwrap();
            house.advance(100);
            if number % 2 == 0 {
                house.acknowledge(ack(&key, "logs", "start_trace", "t")).await.unwrap();
                house.intend(completion(&key, b"done", 0)).await.unwrap();
            }
            if number % 4 == 0 {
                for (domain, action) in [("incidents", "create_incident"), ("policies", "evaluate_policy")] {
                    let request = house.ask("AuditContractService/Acknowledge", ack(&key, domain, action, "r"));
                    other.acknowledge(request).await.unwrap();
                }
                house.acknowledge(ack(&key, "controls", "settle_budget", "s")).await.unwrap();
                assert!(house.reconcile(&key, ReconcilePass::PreFinalize).await.unwrap().clean);
            }
            house.advance(6_000);
            house.reconcile(&key, ReconcilePass::Check).await.unwrap();
        }
        let db = house.db().await;
        assert_eq!(assert_rebuilt(&db).await, 8);
        let heads: Vec<(String, u64, Digest)> =
            db.read().fetch_all("SELECT tenant_id, seq, link FROM ledger_heads", args![]).await.unwrap();
        for (tenant, seq, link) in heads {
            let sql = "SELECT seq, link FROM ledger WHERE tenant_id = $1 ORDER BY seq DESC LIMIT 1";
            let last: (u64, Digest) = db.read().fetch_one(sql, args![tenant]).await.unwrap();
            assert_eq!(last, (seq, link));
        }
    }

    /// Events leave in order, and what a consumer has acknowledged it does not get again.
    async fn events_are_pulled_and_acknowledged(store: TestStore) {
        let house = House::over(store).await;
        for number in 1..=3 {
            house.declare(of_a_run(&key(number))).await.unwrap();
        }
        house.advance(5_001);
        for number in 1..=3 {
            house.reconcile(&key(number), ReconcilePass::Check).await.unwrap();
        }
        let events = house.pull().await;
        let sequences: Vec<_> = events.iter().map(|e| e.sequence).collect();
        assert_eq!(sequences, [1, 2, 3]);
        let data = pb::ContractReconciled::decode(events[0].data.clone()).unwrap();
        assert_eq!((data.key, data.seq), (Some(key(1)), 7));
        let message = pb::AckEventsRequest { consumer: "test".into(), sequence: 2 };
        let request = house.ask("EventService/AckEvents", message);
        house.events.clone().ack_events(request).await.unwrap();
        assert_eq!(house.pull().await.iter().map(|e| e.sequence).collect::<Vec<_>>(), [3]);
    }
}
