//! Section 21: what an operator's command drops, and what it leaves.

use contracts_logs::v1::{self as pb, ProofStatus, TraceState};
use runspine_boot::Deps;
use runspine_db::args;
use runspine_logs::{Config, Purged, RetentionError, apply_retention};
use runspine_logs_domain::{
    bundle::{Against, Options, Verdict, verify_bundle},
    keys::parse_verifier_key,
};
use runspine_testkit::{
    TestStore, assert_append_only, assert_append_only_tables, on_both_engines, run, tenant, test_id,
};
use runspine_types::{Clock as _, Digest, Micros};

use super::harness::{Answer, House, decision, reason, start};
use crate::payloads::harness::hold;

const DAY_MS: u64 = 24 * 3_600_000;

async fn archive(house: &House, number: u64) -> pb::TraceArchive {
    let request = pb::ArchiveTraceRequest { run_id: run(number), attempt: 0 };
    let request = house.ask("TraceService/ArchiveTrace", request);
    house.traces.clone().archive_trace(request).await.unwrap().into_inner().archive.unwrap()
}

async fn apply(house: &House, before: Micros) -> Result<Purged, RetentionError> {
    let mut deps =
        Deps::for_tests(house.keys_folder().parent().unwrap()).unwrap().with_clock(house.clock.clone());
    deps.store = house.store.config().clone();
    apply_retention(Config::default(), &deps, before, "olga").await
}

/// What stands against it: runs and what has to hold.
async fn refused(house: &House, before: Micros) -> Vec<(String, String)> {
    let Err(RetentionError::Refused(fault)) = apply(house, before).await else {
        panic!("it was not refused")
    };
    assert_eq!(fault.reason().name, "RETENTION_REFUSED");
    fault.preconditions().iter().map(|p| (p.subject.clone(), p.description.clone())).collect()
}

async fn records(house: &House, number: u64) -> Answer<pb::ListRecordsResponse> {
    house.records(pb::ListRecordsRequest { run_id: run(number), ..Default::default() }).await
}

async fn trusted(house: &House) -> Options {
    let keys = house.ask("KeyService/ListKeys", pb::ListKeysRequest::default());
    let keys = house.keys.clone().list_keys(keys).await.unwrap().into_inner().keys;
    let trusted = keys.iter().map(|key| parse_verifier_key(&key.verifier_key).unwrap()).collect();
    Options { trusted, tenant_id: Some(tenant(1)), against: None }
}

/// The size of the tree that a bundle leads to.
fn tree_size(file: &str) -> u64 {
    let line = file.lines().find(|line| line.contains(r#""s":"checkpoint""#)).unwrap();
    let value: serde_json::Value = serde_json::from_str(line).unwrap();
    use base64::Engine as _;
    let note = base64::engine::general_purpose::STANDARD.decode(value["b"].as_str().unwrap()).unwrap();
    String::from_utf8(note).unwrap().lines().nth(1).unwrap().parse().unwrap()
}

async fn ledger_status(house: &House) -> i32 {
    let request = house.ask("LedgerService/VerifyLedger", pb::VerifyLedgerRequest::default());
    house.ledger.clone().verify_ledger(request).await.unwrap().into_inner().status
}

on_both_engines! {
    /// The records go; ledger, proof and bundle stay good, and nothing that is gone looks empty.
    async fn what_is_archived_can_be_dropped(store: TestStore) {
        let house = House::over(store).await;
        house.sealed_run(1).await;
        let whole = house.trace(1).await.unwrap();
        let place = archive(&house, 1).await;
        house.advance(10 * DAY_MS);
        house.sealed_run(2).await;
        let cut = house.clock.now();
        let before = Micros(cut.0 - 1_000_000_000);
        house.advance(DAY_MS);
        let purged = apply(&house, before).await.unwrap();
        assert_eq!((purged.runs, purged.records), (1, whole.trace.as_ref().unwrap().record_count));
        assert_eq!(apply(&house, before).await.unwrap().runs, 0, "what is gone is gone");

        assert_eq!(reason(records(&house, 1).await), "TRACE_PURGED");
        assert_eq!(records(&house, 2).await.unwrap().records.len(), 5, "what is newer stays");
        let left = house.trace(1).await.unwrap();
        let trace = left.trace.clone().unwrap();
        assert!(trace.state() == TraceState::Archived && trace.purged_at.is_some());
        let unpurged = pb::Trace { purged_at: None, ..trace };
        let archived = pb::Trace { archive: Some(place.clone()), state: TraceState::Archived.into(), ..whole.trace.clone().unwrap() };
        assert_eq!(unpurged, archived, "header, seal and links are what they were");
        assert_eq!(left.totals, whole.totals, "as the seal says");
        assert_eq!(house.prove(1).await.overall(), ProofStatus::Verified, "by its bundle");
        assert_eq!(reason(house.bundle(1, false, Vec::new()).await), "TRACE_PURGED");

        assert_eq!(ledger_status(&house).await, pb::LedgerStatus::Verified as i32);
        let newest = house.checkpoint().await;
        let file = std::fs::read_to_string(house.archive_folder().join(&place.location)).unwrap();
        let asked = pb::GetConsistencyProofRequest { from_size: tree_size(&file), to_size: newest.tree_size, ..Default::default() };
        let request = house.ask("LedgerService/GetConsistencyProof", asked);
        let hashes = house.ledger.clone().get_consistency_proof(request).await.unwrap().into_inner().hashes;
        let consistency = hashes.iter().map(|hash| Digest::from_slice(hash).unwrap()).collect();
        let against = Some(Against { note: newest.note, consistency });
        let options = Options { against, ..trusted(&house).await };
        let report = verify_bundle(file.as_bytes(), &options).unwrap();
        assert_eq!(report.verdict, Verdict::Verified, "{:?}", report.findings);

        let sql = "SELECT actor_id, entity_id FROM ledger WHERE event_type = 'logs.TracePurged'";
        let told: Vec<(String, String)> = house.db().await.read().fetch_all(sql, args![]).await.unwrap();
        assert_eq!(told, [("olga".to_owned(), run(1))]);
        let db = house.db().await;
        assert_append_only_tables(&db, &runspine_logs::MIGRATIONS).await;
        for table in ["trace_records", "trace_purges"] {
            assert_append_only(&db, table).await;
        }
        std::fs::write(house.archive_folder().join(&place.location), "another file").unwrap();
        assert_eq!(house.prove(1).await.overall(), ProofStatus::Mismatch);
        std::fs::remove_file(house.archive_folder().join(&place.location)).unwrap();
        assert_eq!(house.prove(1).await.overall(), ProofStatus::Error, "what can't be read proves nothing");
    }

    /// One damaged bundle, one held run, one that is not archived, one whose addendum came later: all are told at once,
    /// and nothing is dropped of anybody.
    async fn one_that_must_stay_keeps_them_all(store: TestStore) {
        let house = House::over(store).await;
        for number in 1..=5 {
            house.sealed_run(number).await;
        }
        for number in [1, 2, 4, 5] {
            archive(&house, number).await;
        }
        let place = archive(&house, 2).await;
        let file = house.archive_folder().join(&place.location);
        let good = std::fs::read(&file).unwrap();
        let mut bad = good.clone();
        *bad.last_mut().unwrap() = b' ';
        std::fs::write(&file, &bad).unwrap();
        hold(&house, 1, 4, true).await.unwrap();
        let late = pb::AppendAddendumRequest {
            run_id: run(5),
            attempt: 1,
            reason: "it came late".into(),
            items: vec![decision("late", 9)],
            request_id: test_id(33, 1),
        };
        house.late(late).await.unwrap();
        house.advance(DAY_MS);
        let now = house.clock.now();
        let mut against = refused(&house, now).await;
        against.sort_unstable();
        let expected = [
            (2, "the bundle of attempt 1 verifies"),
            (3, "attempt 1 is archived"),
            (4, "is under no legal hold"),
            (5, "has every trace and addendum in one bundle"),
        ];
        let expected: Vec<_> = expected.map(|(n, what)| (format!("runs/{}", run(n)), what.to_owned())).to_vec();
        assert_eq!(against, expected);
        for number in 1..=5 {
            assert!(!records(&house, number).await.unwrap().records.is_empty(), "run {number} is whole");
        }
        std::fs::write(&file, &good).unwrap();
        archive(&house, 3).await;
        hold(&house, 2, 4, false).await.unwrap();
        let against = refused(&house, now).await;
        assert_eq!(against.len(), 1, "{against:?}");
        // Its next attempt is archived with the addendum of the one before.
        house.declare(5, 2).await;
        house.start(start(5, 2)).await.unwrap();
        assert_eq!(apply(&house, now).await.unwrap().runs, 4, "a run that goes on is left whole");
        let first = pb::ListRecordsRequest { run_id: run(5), attempt: 1, ..Default::default() };
        assert!(!house.records(first).await.unwrap().records.is_empty());
    }

    /// System and dispatch records go when they are older than the day and than 180 days.
    async fn records_of_the_mesh_are_kept_for_half_a_year(store: TestStore) {
        let house = House::over(store).await;
        let noted = async |n: u64| {
            let record = pb::SystemRecord {
                component: pb::SystemComponent::Worker.into(),
                event_type: pb::SystemEventType::Error.into(),
                severity: pb::SystemSeverity::Warn.into(),
                caused_by: pb::SystemCause::System.into(),
                instance: format!("w{n}"),
                summary: "it failed".into(),
                occurred_at: Some(runspine_rpc::timestamp(house.clock.now())),
                ..Default::default()
            };
            let request = pb::AppendSystemRecordRequest { request_id: test_id(60, n), record: Some(record) };
            let request = house.ask("RecordService/AppendSystemRecord", request);
            house.kept.clone().append_system_record(request).await.unwrap();
        };
        noted(1).await;
        house.advance(100 * DAY_MS);
        noted(2).await;
        house.advance(100 * DAY_MS);
        noted(3).await;
        let now = house.clock.now();
        assert_eq!(apply(&house, now).await.unwrap(), Purged { system_records: 1, ..Purged::default() });
        assert_eq!(apply(&house, Micros(now.0 - 1)).await.unwrap(), Purged::default());
        let sql = "SELECT COUNT(*) FROM ledger WHERE event_type = 'logs.RecordsPurged'";
        let (told,): (i64,) = house.db().await.read().fetch_one(sql, args![]).await.unwrap();
        assert_eq!(told, 1, "nothing is told of nothing");
        let Err(RetentionError::Refused(fault)) = apply(&house, Micros(now.0 + 1)).await else { panic!("a day to come") };
        assert_eq!(fault.reason().name, "FIELD_INVALID");
        assert_append_only(&house.db().await, "system_records").await;
    }
}
