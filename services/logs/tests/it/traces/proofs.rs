//! Tampering: direct SQL with the triggers dropped, as somebody with the database's password would.

use contracts_logs::v1::{
    self as pb, ProofStatus, TraceRecord, TraceSeal, evidence_service_client::EvidenceServiceClient,
    trace_record,
};
use ed25519_dalek::SigningKey;
use prost::Message as _;
use runspine_db::{AssertSqlSafe, Db, Dialect, Value, args};
use runspine_logs_domain::{bytes::encode, chain, keys};
use runspine_testkit::{TestStore, on_both_engines, run, tenant, test_id};
use runspine_types::Digest;

use super::harness::{House, actor, sealing};

struct Tampered {
    house: House,
    db: Db,
}

impl Tampered {
    /// A sealed run whose tables can be changed.
    async fn of(store: TestStore) -> Self {
        let house = House::over(store).await;
        house.sealed_run(1).await;
        Self::with(house).await
    }

    /// The same of a house where run 1 is sealed.
    async fn with(house: House) -> Self {
        let db = house.db().await;
        for table in ["traces", "trace_records", "trace_seals", "evidence", "contract_entries"] {
            for verb in ["update", "delete"] {
                let sql = match db.dialect() {
                    Dialect::Sqlite => format!("DROP TRIGGER {table}_append_only_{verb}"),
                    Dialect::Postgres if verb == "update" => {
                        format!("DROP TRIGGER {table}_append_only_update ON {table}")
                    }
                    Dialect::Postgres => continue,
                };
                run_sql(&db, &sql, args![]).await;
            }
        }
        assert_eq!(house.prove(1).await.overall(), ProofStatus::Verified, "clean");
        Self { house, db }
    }

    async fn sql(&self, sql: &str, args: Vec<Value>) -> &Self {
        assert!(run_sql(&self.db, sql, args).await > 0, "{sql} changed nothing");
        self
    }

    async fn rows(&self) -> Vec<(Vec<u8>, Digest)> {
        let sql = "SELECT record, link FROM trace_records ORDER BY position";
        self.db.read().fetch_all(sql, args![]).await.unwrap()
    }

    async fn says(&self, status: ProofStatus, reason: &str, position: Option<u64>) {
        let proof = self.house.prove(1).await;
        let first = proof.proofs.iter().find(|p| p.status != i32::from(ProofStatus::Verified)).unwrap();
        assert_eq!(
            (first.status(), first.reason.as_str(), first.first_bad_position),
            (status, reason, position)
        );
        assert_eq!(proof.overall(), status);
    }
}

async fn run_sql(db: &Db, sql: &str, args: Vec<Value>) -> u64 {
    let sql = sql.to_owned();
    let done = db
        .write("tamper", move |tx| Box::pin(async move { Ok(tx.execute(AssertSqlSafe(sql), args).await?) }));
    done.await.unwrap()
}

/// The record with another cost.
fn edited(bytes: &[u8]) -> Vec<u8> {
    let mut record = TraceRecord::decode(bytes).unwrap();
    if let Some(trace_record::Body::Step(step)) = &mut record.body {
        step.cost_microusd = 1;
    }
    if let Some(trace_record::Body::Decision(decision)) = &mut record.body {
        decision.reason = "RULE_OTHER".into();
    }
    encode(&record)
}

const SET: &str = "UPDATE trace_records SET record = $1 WHERE position = $2";
const RELINK: &str = "UPDATE trace_records SET record = $1, link = $2 WHERE position = $3";

on_both_engines! {
    async fn a_byte_edited(store: TestStore) {
        let t = Tampered::of(store).await;
        let mut bytes = t.rows().await[2].0.clone();
        bytes[40] ^= 1;
        t.sql(SET, args![bytes, 3_i64]).await.says(ProofStatus::Mismatch, "LINK", Some(3)).await;
    }

    async fn a_record_and_its_own_link_edited(store: TestStore) {
        let t = Tampered::of(store).await;
        let rows = t.rows().await;
        let bytes = edited(&rows[2].0);
        let link = chain::trace_link(&rows[1].1, &bytes);
        t.sql(RELINK, args![bytes, link, 3_i64]).await.says(ProofStatus::Mismatch, "COLUMN", Some(3)).await;
    }

    async fn all_later_links_recomputed(store: TestStore) {
        let t = Tampered::of(store).await;
        let rows = t.rows().await;
        let mut last = rows[1].1;
        for (place, (bytes, _)) in rows.iter().enumerate().skip(2) {
            let bytes = if place == 2 { edited(bytes) } else { bytes.clone() };
            last = chain::trace_link(&last, &bytes);
            t.sql(RELINK, args![bytes, last, place as i64 + 1]).await;
        }
        t.sql("UPDATE trace_records SET code = 'RULE_OTHER' WHERE position = $1", args![3_i64]).await;
        t.says(ProofStatus::Mismatch, "SEAL_LINK", None).await;
    }

    async fn two_rows_swapped(store: TestStore) {
        let t = Tampered::of(store).await;
        for (from, to) in [(2_i64, -1_i64), (3, 2), (-1, 3)] {
            t.sql("UPDATE trace_records SET position = $2 WHERE position = $1", args![from, to]).await;
        }
        t.says(ProofStatus::Mismatch, "LINK", Some(2)).await;
    }

    async fn a_row_inserted_and_the_rest_renumbered(store: TestStore) {
        let t = Tampered::of(store).await;
        for from in [5_i64, 4, 3] {
            t.sql("UPDATE trace_records SET position = $2 WHERE position = $1", args![from, from + 1]).await;
        }
        let columns = "trace_key, content_digest, body, step_index, retry_count, kind, status, name, reference, \
            decision_id, code, unauthorized, gap, clock_skew, occurred_at, recorded_at, started_at, input_tokens, \
            output_tokens, cost_microusd, duration_us, record, link";
        let sql = format!(
            "INSERT INTO trace_records (position, idempotency_key, {columns}) \
             SELECT 3, 'forged', {columns} FROM trace_records WHERE position = 2"
        );
        t.sql(&sql, args![]).await.says(ProofStatus::Mismatch, "LINK", Some(3)).await;
    }

    async fn a_middle_row_deleted(store: TestStore) {
        let t = Tampered::of(store).await;
        t.sql("DELETE FROM trace_records WHERE position = 3", args![]).await;
        t.says(ProofStatus::Incomplete, "POSITION_GAP", Some(3)).await;
    }

    async fn the_last_row_deleted(store: TestStore) {
        let t = Tampered::of(store).await;
        t.sql("DELETE FROM trace_records WHERE position = 5", args![]).await;
        t.says(ProofStatus::Incomplete, "SEAL_COUNT", Some(5)).await;
    }

    async fn the_seal_replaced_by_one_of_another_key(store: TestStore) {
        let t = Tampered::of(store).await;
        let key = SigningKey::from_bytes(&[7; 32]);
        let (bytes,): (Vec<u8>,) = t.db.read().fetch_one("SELECT seal FROM trace_seals", args![]).await.unwrap();
        let mut seal = TraceSeal::decode(bytes.as_slice()).unwrap();
        seal.key_id = keys::key_id(key.verifying_key().as_bytes());
        let bytes = encode(&seal);
        let signature = keys::sign(&key, keys::Signed::Seal, &bytes).to_vec();
        let sql = "UPDATE trace_seals SET seal = $1, signature = $2, key_id = $3";
        t.sql(sql, args![bytes, signature, seal.key_id]).await.says(ProofStatus::Mismatch, "UNKNOWN_KEY", None).await;
    }

    async fn the_seal_edited(store: TestStore) {
        let t = Tampered::of(store).await;
        let (bytes,): (Vec<u8>,) = t.db.read().fetch_one("SELECT seal FROM trace_seals", args![]).await.unwrap();
        let mut seal = TraceSeal::decode(bytes.as_slice()).unwrap();
        seal.error_code = "NOTHING_HAPPENED".into();
        t.sql("UPDATE trace_seals SET seal = $1", args![encode(&seal)]).await;
        t.says(ProofStatus::Mismatch, "BAD_SIGNATURE", None).await;
    }

    async fn a_column_changed_and_not_the_bytes(store: TestStore) {
        let t = Tampered::of(store).await;
        t.sql("UPDATE trace_records SET cost_microusd = 1 WHERE position = 2", args![]).await;
        t.says(ProofStatus::Mismatch, "COLUMN", Some(2)).await;
        t.sql("UPDATE trace_records SET cost_microusd = 1500 WHERE position = 2", args![]).await;
        t.sql("UPDATE traces SET agent_id = 'somebody else'", args![]).await;
        t.says(ProofStatus::Mismatch, "COLUMN", Some(0)).await;
    }

    async fn the_header_of_another_tenant(store: TestStore) {
        let t = Tampered::of(store).await;
        t.house.begin(2).await;
        let other = t.db.read().fetch_one::<(Vec<u8>, Vec<u8>)>(
            "SELECT header, link FROM traces WHERE run_id = $1", args![run(2)]).await.unwrap();
        let sql = "UPDATE traces SET header = $1, link = $2 WHERE run_id = $3";
        t.sql(sql, args![other.0, other.1, run(1)]).await;
        t.says(ProofStatus::Mismatch, "HEADER_IDS", Some(0)).await;
    }

    async fn the_first_attempt_removed(store: TestStore) {
        let t = Tampered::of(store).await;
        t.house.declare(1, 2).await;
        t.house.start(super::harness::start(1, 2)).await.unwrap();
        for table in ["trace_seals", "trace_records", "trace_heads", "traces"] {
            let sql = format!("DELETE FROM {table} WHERE trace_key = (SELECT MIN(trace_key) FROM traces)");
            t.sql(&sql, args![]).await;
        }
        t.says(ProofStatus::Incomplete, "ATTEMPT_MISSING", None).await;
    }

    async fn the_contract_edited(store: TestStore) {
        let t = Tampered::of(store).await;
        let sql = "SELECT entry FROM contract_entries WHERE seq = 1";
        let (mut entry,): (Vec<u8>,) = t.db.read().fetch_one(sql, args![]).await.unwrap();
        if let Some(last) = entry.last_mut() {
            *last ^= 1;
        }
        t.sql("UPDATE contract_entries SET entry = $1 WHERE seq = 1", args![entry]).await;
        t.says(ProofStatus::Mismatch, "CONTRACT_LINK", None).await;
    }

    async fn the_evidence_edited(store: TestStore) {
        let house = House::over(store).await;
        house.begin(1).await;
        let capture = pb::CaptureEvidenceRequest {
            run_id: run(1),
            attempt: 1,
            context: Some(pb::EvidenceContext {
                run_id: run(1),
                attempt: 1,
                source: pb::EvidenceSource::Sdk.into(),
                actor: Some(actor()),
                ..Default::default()
            }),
            request_id: test_id(9, 1),
            body: Some(pb::capture_evidence_request::Body::Provider(pb::ProviderEvidence {
                provider: "provider-1".into(),
                ..Default::default()
            })),
            ..Default::default()
        };
        let mut evidence = EvidenceServiceClient::new(house.way.clone());
        let kept = evidence.capture_evidence(house.ask("EvidenceService/CaptureEvidence", capture)).await.unwrap();
        assert!(kept.into_inner().evidence_id.starts_with("pe-"));
        house.settle(1, 1).await;
        house.seal(sealing(1, 1)).await.unwrap();
        let t = Tampered::with(house).await;
        let (item,): (Vec<u8>,) = t.db.read().fetch_one("SELECT item FROM evidence", args![]).await.unwrap();
        let place = item.windows(10).position(|window| window == b"provider-1").unwrap();
        let mut other = item.clone();
        other[place + 9] = b'2';
        t.sql("UPDATE evidence SET item = $1", args![other.clone()]).await;
        t.says(ProofStatus::Mismatch, "EVIDENCE_LINK", None).await;
        // Its own link made anew hides nothing: the seal names the one before.
        let link = chain::evidence_link(&chain::evidence_start(&tenant(1), &run(1), 1), &other);
        t.sql("UPDATE evidence SET link = $1", args![link]).await;
        t.says(ProofStatus::Mismatch, "EVIDENCE_LINK", None).await;
        t.sql("UPDATE evidence SET item = $1, link = $2", args![
            item.clone(), chain::evidence_link(&chain::evidence_start(&tenant(1), &run(1), 1), &item)]).await;
        assert_eq!(t.house.prove(1).await.overall(), ProofStatus::Verified, "put back");
    }

    /// A source that can't be read proves nothing, neither good nor bad.
    async fn the_records_can_not_be_read(store: TestStore) {
        let t = Tampered::of(store).await;
        run_sql(&t.db, "ALTER TABLE trace_records RENAME TO elsewhere", args![]).await;
        t.says(ProofStatus::Error, "SOURCE_UNREADABLE", None).await;
        run_sql(&t.db, "ALTER TABLE elsewhere RENAME TO trace_records", args![]).await;
        assert_eq!(t.house.prove(1).await.overall(), ProofStatus::Verified);
    }

    async fn a_run_without_a_trace(store: TestStore) {
        let house = House::over(store).await;
        let proof = house.prove(9).await;
        assert_eq!((proof.overall(), proof.proofs.len()), (ProofStatus::NoTrace, 1));
    }
}
