//! The tamper test over a stored database: whoever writes past the service is found and what was touched is named.
//!
//! Every tampering is one statement, made with the triggers lifted, checked and taken back. The full number is 5 000
//! (`TAMPERINGS`); fewer are tried by default, because each costs two commits.

use contracts_logs::v1::{self as pb, LedgerStatus, ProofStatus};
use runspine_db::{AssertSqlSafe, Db, Dialect, Value, args};
use runspine_testkit::{TestStore, on_both_engines, run};

use super::harness::*;

/// Numbers that look random and are the same every time.
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from((self.0 >> 33) % n as u64).unwrap()
    }
}

/// What a column holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Number,
    Text,
    Bytes,
}

use Kind::{Bytes, Number, Text};

/// A table, the column that names its rows, and the columns that no hand may change unseen.
struct Target {
    table: &'static str,
    id: &'static str,
    columns: &'static [(&'static str, Kind)],
}

/// Columns that are left out say nothing of what happened: the caller's own idempotency, the order of arrival, flags that
/// are recomputed.
const TARGETS: [Target; 6] = [
    Target {
        table: "trace_records",
        id: "id",
        columns: &[
            ("position", Number),
            ("body", Number),
            ("step_index", Number),
            ("retry_count", Number),
            ("kind", Number),
            ("status", Number),
            ("name", Text),
            ("code", Text),
            ("unauthorized", Number),
            ("occurred_at", Number),
            ("recorded_at", Number),
            ("started_at", Number),
            ("input_tokens", Number),
            ("output_tokens", Number),
            ("cost_microusd", Number),
            ("duration_us", Number),
            ("record", Bytes),
            ("link", Bytes),
        ],
    },
    Target {
        table: "traces",
        id: "trace_key",
        columns: &[
            ("agent_id", Text),
            ("project_id", Text),
            ("trace_id", Text),
            ("profile", Number),
            ("source", Number),
            ("scenario_id", Text),
            ("started_at", Number),
            ("header", Bytes),
            ("link", Bytes),
        ],
    },
    Target {
        table: "trace_seals",
        id: "trace_key",
        columns: &[
            ("seal", Bytes),
            ("signature", Bytes),
            ("seal_digest", Bytes),
            ("key_id", Text),
            ("sealed_at", Number),
        ],
    },
    Target {
        table: "contract_entries",
        id: "id",
        columns: &[("seq", Number), ("entry", Bytes), ("link", Bytes)],
    },
    Target {
        table: "ledger",
        id: "id",
        columns: &[
            ("seq", Number),
            ("entry_id", Text),
            ("event_id", Text),
            ("event_type", Text),
            ("scope", Number),
            ("run_id", Text),
            ("attempt", Number),
            ("correlation_id", Text),
            ("causation_id", Text),
            ("entity_type", Text),
            ("entity_id", Text),
            ("actor_type", Number),
            ("actor_id", Text),
            ("reason", Text),
            ("occurred_at", Number),
            ("recorded_at", Number),
            ("entry", Bytes),
            ("link", Bytes),
        ],
    },
    Target { table: "checkpoints", id: "id", columns: &[("root", Bytes)] },
];

fn count() -> usize {
    std::env::var("TAMPERINGS").ok().and_then(|n| n.parse().ok()).unwrap_or(150)
}

async fn execute(db: &Db, statements: Vec<(String, Vec<Value>)>) {
    db.write("tamper", move |tx| {
        Box::pin(async move {
            for (sql, args) in statements {
                tx.execute(AssertSqlSafe(sql), args).await?;
            }
            Ok(())
        })
    })
    .await
    .unwrap();
}

/// Takes the triggers away, and keeps a copy of every table.
async fn open_up(db: &Db) {
    let mut statements = Vec::new();
    for Target { table, .. } in &TARGETS {
        match db.dialect() {
            Dialect::Sqlite => {
                for verb in ["update", "delete"] {
                    statements.push((format!("DROP TRIGGER {table}_append_only_{verb}"), args![]));
                }
            }
            Dialect::Postgres => {
                statements.push((format!("DROP TRIGGER {table}_append_only_update ON {table}"), args![]));
            }
        }
        statements.push((format!("CREATE TABLE kept_{table} AS SELECT * FROM {table}"), args![]));
    }
    execute(db, statements).await;
}

/// A change and how it is taken back.
struct Tampering {
    what: String,
    doing: (String, Vec<Value>),
    undoing: (String, Vec<Value>),
}

async fn rows(db: &Db, target: &Target) -> Vec<i64> {
    let sql = format!("SELECT {} FROM kept_{} ORDER BY 1", target.id, target.table);
    let rows: Vec<(i64,)> = db.read().fetch_all(AssertSqlSafe(sql), args![]).await.unwrap();
    rows.into_iter().map(|(id,)| id).collect()
}

async fn choose(db: &Db, dice: &mut Dice) -> Tampering {
    let target = &TARGETS[dice.below(TARGETS.len())];
    let Target { table, id, .. } = *target;
    let rows = rows(db, target).await;
    let row = rows[dice.below(rows.len())];
    let referenced = ["traces", "trace_seals"].contains(&table);
    if !referenced && table != "checkpoints" && dice.below(5) == 0 {
        return Tampering {
            what: format!("row {row} of {table} is gone"),
            doing: (format!("DELETE FROM {table} WHERE {id} = $1"), args![row]),
            undoing: (format!("INSERT INTO {table} SELECT * FROM kept_{table} WHERE {id} = $1"), args![row]),
        };
    }
    let (column, kind) = target.columns[dice.below(target.columns.len())];
    let other = rows[dice.below(rows.len())];
    let doing = match kind {
        // A number far from any that is there, so that no unique key is in the way.
        Number => {
            let by = 1_000 + i64::try_from(dice.below(1_000)).unwrap();
            (
                format!("UPDATE {table} SET {column} = COALESCE({column}, 0) + $1 WHERE {id} = $2"),
                args![by, row],
            )
        }
        Text => (format!("UPDATE {table} SET {column} = {column} || 'x' WHERE {id} = $1"), args![row]),
        Bytes if other != row && dice.below(3) == 0 => {
            let sql = format!(
                "UPDATE {table} SET {column} = (SELECT {column} FROM kept_{table} WHERE {id} = $1) WHERE {id} = $2"
            );
            (sql, args![other, row])
        }
        Bytes => {
            let sql = format!("SELECT {column} FROM kept_{table} WHERE {id} = $1");
            let (bytes,): (bytes::Bytes,) =
                db.read().fetch_one(AssertSqlSafe(sql), args![row]).await.unwrap();
            let mut bytes = bytes.to_vec();
            let at = dice.below(bytes.len());
            bytes[at] ^= 1 << dice.below(8);
            (format!("UPDATE {table} SET {column} = $1 WHERE {id} = $2"), args![bytes, row])
        }
    };
    let undoing = format!(
        "UPDATE {table} SET {column} = (SELECT {column} FROM kept_{table} WHERE {id} = $1) WHERE {id} = $1"
    );
    Tampering { what: format!("{column} of row {row} of {table}"), doing, undoing: (undoing, args![row]) }
}

/// What the proofs of both runs and of the ledger say: all well, or what is wrong.
async fn audit(house: &House) -> Vec<String> {
    let mut found = Vec::new();
    for number in [1, 2] {
        let proof = house.prove(number).await;
        if proof.overall != i32::from(ProofStatus::Verified) {
            let bad = proof.proofs.iter().filter(|p| p.status != i32::from(ProofStatus::Verified));
            found.extend(
                bad.map(|p| format!("run {}: {} at {:?}", run(number), p.reason, p.first_bad_position)),
            );
        }
    }
    let request = house.ask("LedgerService/VerifyLedger", pb::VerifyLedgerRequest::default());
    let ledger = house.ledger.clone().verify_ledger(request).await.unwrap().into_inner();
    if ledger.status() != LedgerStatus::Verified {
        found.push(format!("ledger: {} at {}", ledger.finding, ledger.first_bad_seq));
    }
    found
}

on_both_engines! {
    async fn whoever_writes_past_the_service_is_found(store: TestStore) {
        let house = House::over(store).await;
        house.sealed_run(1).await;
        house.sealed_run(2).await;
        house.checkpoint().await;
        let db = house.db().await;
        open_up(&db).await;
        assert_eq!(audit(&house).await, Vec::<String>::new(), "what nobody touched raises no alarm");
        let mut dice = Dice(7);
        for n in 0..count() {
            let Tampering { what, doing, undoing } = choose(&db, &mut dice).await;
            execute(&db, vec![doing]).await;
            let found = audit(&house).await;
            assert!(!found.is_empty(), "{n}: {what} was not found");
            assert!(found.iter().all(|f| f.contains(" at ") && !f.contains(":  at")), "{n}: {what} has no name: {found:?}");
            execute(&db, vec![undoing]).await;
            if n % 10 == 0 {
                assert_eq!(audit(&house).await, Vec::<String>::new(), "{n}: {what} is taken back");
            }
        }
        assert_eq!(audit(&house).await, Vec::<String>::new());
    }
}
