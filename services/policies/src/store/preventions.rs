//! What rules prevented that were learned from something.

use runspine_db::{Args, DbError, Tx, args, row};
use runspine_types::Micros;

row! {
    /// A record. `id` and `rule_at`, when its rule was written, come from the store: a new record has neither.
    #[derive(Debug, Clone, Default)]
    pub(crate) struct PreventionRow {
        pub id: i64,
        pub prevention_id: String,
        pub decision_id: String,
        pub rule_id: String,
        pub version: u32,
        pub signature: String,
        pub run_id: String,
        pub attempt: u32,
        pub step_index: i64,
        pub outcome: i32,
        pub incident_id: String,
        pub of_prevention: String,
        pub is_synthetic: bool,
        pub at: Micros,
        pub rule_at: Option<Micros>,
    }
}

macro_rules! select {
    ($tail:literal) => {
        concat!(
            "SELECT p.id, p.prevention_id, p.decision_id, p.rule_id, p.version, p.signature, p.run_id, p.attempt, ",
            "p.step_index, p.outcome, p.incident_id, p.of_prevention, p.is_synthetic, p.at, ",
            "v.created_at AS rule_at FROM preventions p LEFT JOIN rule_versions v ",
            "ON v.tenant_id = p.tenant_id AND v.rule_id = p.rule_id AND v.version = p.version",
            $tail
        )
    };
}

pub(crate) const PREVENTION: &str = select!("");
/// Those of an attempt with a signature, that no later record follows.
pub(crate) const STANDING: &str = select!(
    " WHERE p.tenant_id = $1 AND p.run_id = $2 AND p.attempt = $3 AND p.signature = $4 AND p.outcome <> 3 \
     AND NOT EXISTS (SELECT 1 FROM preventions f WHERE f.decision_id = p.decision_id AND f.rule_id = p.rule_id \
     AND f.outcome = 3) ORDER BY p.id"
);

const COLUMNS: [&str; 14] = [
    "tenant_id",
    "prevention_id",
    "decision_id",
    "rule_id",
    "version",
    "signature",
    "run_id",
    "attempt",
    "step_index",
    "outcome",
    "incident_id",
    "of_prevention",
    "is_synthetic",
    "at",
];

pub(crate) async fn standing(
    tx: &mut Tx,
    tenant: &str,
    run: (&str, u32),
    signature: &str,
) -> Result<Vec<PreventionRow>, DbError> {
    tx.fetch_all(STANDING, args![tenant, run.0, run.1, signature]).await
}

/// Stores records, each of a tenant; one of the same decision, rule and outcome stays.
pub(crate) async fn insert<T: AsRef<str>>(
    tx: &mut Tx,
    all: impl IntoIterator<Item = (T, PreventionRow)>,
) -> Result<(), DbError> {
    let row = |(tenant, p): (T, PreventionRow)| -> Args {
        args![
            tenant.as_ref(),
            p.prevention_id,
            p.decision_id,
            p.rule_id,
            p.version,
            p.signature,
            p.run_id,
            p.attempt,
            p.step_index,
            p.outcome,
            p.incident_id,
            p.of_prevention,
            p.is_synthetic,
            p.at
        ]
    };
    let rows = all.into_iter().map(row).collect();
    let known = "ON CONFLICT (decision_id, rule_id, outcome) DO NOTHING";
    tx.insert_rows("preventions", &COLUMNS, rows, known).await?;
    Ok(())
}
