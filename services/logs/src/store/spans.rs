//! Spans that were stored.

use std::collections::HashMap;

use runspine_db::{Args, AssertSqlSafe, DbError, Tuples, Tx, args};
use runspine_types::{Digest, Micros};

/// What became of a span that was stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Became {
    /// It is a step.
    Step = 1,
    /// It describes a recorded step.
    Link = 2,
    /// It only holds others together.
    Structure = 3,
}

/// A span to be remembered.
#[derive(Debug, Clone)]
pub struct NewSpan {
    /// Its name, `traceid:spanid`.
    pub span: String,
    /// Digest of all that it says.
    pub digest: Digest,
    /// The main trace of its attempt.
    pub trace_key: i64,
    /// What became of it.
    pub became: Became,
    /// Whether it came after the seal.
    pub late: bool,
    /// The table of prices that the cost of its step was estimated by.
    pub prices: Option<Digest>,
}

/// The digests of those of `spans` that are stored, by name.
///
/// # Errors
/// When the store can't be read.
pub async fn known(
    tx: &mut Tx,
    tenant_id: &str,
    spans: impl Iterator<Item = &str>,
) -> Result<HashMap<String, Digest>, DbError> {
    let mut tuples = Tuples::new(2);
    spans.for_each(|span| tuples.push(args![tenant_id, span]));
    let mut known = HashMap::new();
    for (values, args) in tuples.parts(tx.dialect()) {
        let sql = format!(
            "SELECT s.span, s.digest FROM {values} AS w CROSS JOIN otlp_spans s \
             WHERE s.tenant_id = w.column1 AND s.span = w.column2"
        );
        known.extend(tx.fetch_all::<(String, Digest)>(AssertSqlSafe(sql), args).await?);
    }
    Ok(known)
}

/// Remembers spans. One that another writer stored meanwhile fails the whole.
///
/// # Errors
/// When the store can't be written.
pub async fn insert(tx: &mut Tx, tenant_id: &str, spans: Vec<NewSpan>, now: Micros) -> Result<(), DbError> {
    let columns = ["tenant_id", "span", "digest", "trace_key", "result", "late", "received_at", "prices"];
    let row = |s: NewSpan| -> Args {
        args![tenant_id, s.span, s.digest, s.trace_key, s.became as i32, s.late, now, s.prices]
    };
    tx.insert_rows("otlp_spans", &columns, spans.into_iter().map(row).collect(), "").await?;
    Ok(())
}
