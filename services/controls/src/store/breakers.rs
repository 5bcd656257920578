//! Circuit breakers and what happened to them.

use runspine_controls_domain::{
    breaker::{
        Breaker, BreakerCause, BreakerKind, BreakerSeverity, BreakerState, BreakerTarget, Counts, Probe,
        Transition,
    },
    limit::Key,
};
use runspine_db::{Args, AssertSqlSafe, DbError, Read, Tx, args};
use runspine_types::{Micros, new_id};

use super::rows::unreadable;
use crate::words::stored;

/// Events that are shown of a breaker.
const MOST_EVENTS: i64 = 100;

runspine_db::row! {
    /// A breaker.
    #[derive(Debug, Clone)]
    #[allow(missing_docs)]
    pub struct BreakerRow {
        pub breaker_key: i64,
        pub breaker_id: String,
        pub tenant_id: String,
        pub kind: i32,
        pub target_type: i32,
        pub target_id: String,
        pub state: i32,
        pub severity: i32,
        pub cause: i32,
        pub reason: String,
        pub actor_id: String,
        pub opened_at: Micros,
        pub open_until: Option<Micros>,
        pub open_ms: i64,
        pub openings: u32,
        pub in_a_row: u32,
        pub counts: String,
        pub schema_errors: String,
        pub passed: u32,
        pub probe_holder: String,
        pub probe_until: Option<Micros>,
        pub fallback_model: String,
        pub reported_at: Option<Micros>,
        pub drift_permille: Option<u32>,
        pub events: u32,
    }
}

/// Names a breaker of a tenant: kind, target and its id.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct BreakerName {
    pub tenant_id: String,
    pub kind: BreakerKind,
    pub target: BreakerTarget,
    pub target_id: String,
}

impl BreakerRow {
    /// The row of a breaker that nothing was ever said about.
    #[must_use]
    pub fn unknown(name: &BreakerName) -> Self {
        let fresh = Breaker::new(name.kind);
        let mut row = Self {
            breaker_key: 0,
            breaker_id: String::new(),
            tenant_id: name.tenant_id.clone(),
            kind: name.kind.code(),
            target_type: name.target.code(),
            target_id: name.target_id.clone(),
            state: 0,
            severity: 0,
            cause: 0,
            reason: String::new(),
            actor_id: String::new(),
            opened_at: Micros(0),
            open_until: None,
            open_ms: 0,
            openings: 0,
            in_a_row: 0,
            counts: String::new(),
            schema_errors: String::new(),
            passed: 0,
            probe_holder: String::new(),
            probe_until: None,
            fallback_model: String::new(),
            reported_at: None,
            drift_permille: None,
            events: 0,
        };
        row.take(&fresh);
        row
    }

    /// The breaker, as the rules want it.
    ///
    /// # Errors
    /// When a stored word is not known.
    pub fn subject(&self) -> Result<Breaker, DbError> {
        let times = self.schema_errors.split_whitespace().map(|at| at.parse().map(Micros));
        Ok(Breaker {
            kind: stored(BreakerKind::from_code(self.kind))?,
            stored: stored(BreakerState::from_code(self.state))?,
            severity: stored(BreakerSeverity::from_code(self.severity))?,
            cause: stored(BreakerCause::from_code(self.cause))?,
            opened_at: self.opened_at,
            until: self.open_until,
            open_ms: self.open_ms,
            openings: self.openings,
            in_a_row: self.in_a_row,
            counts: Counts::from_text(&self.counts).ok_or_else(|| unreadable("breakers: counts"))?,
            schema_errors: times
                .collect::<Result<_, _>>()
                .map_err(|_| unreadable("breakers: schema_errors"))?,
            passed: self.passed,
            probe: self.probe_until.map(|until| Probe { holder: self.probe_holder.clone(), until }),
        })
    }

    /// Takes over what the rules have made of it.
    pub fn take(&mut self, breaker: &Breaker) {
        let probe = breaker.probe.clone();
        let times: Vec<String> = breaker.schema_errors.iter().map(|at| at.0.to_string()).collect();
        self.state = breaker.stored.code();
        self.severity = breaker.severity.code();
        self.cause = breaker.cause.code();
        self.opened_at = breaker.opened_at;
        self.open_until = breaker.until;
        self.open_ms = breaker.open_ms;
        self.openings = breaker.openings;
        self.in_a_row = breaker.in_a_row;
        self.counts = breaker.counts.to_text();
        self.schema_errors = times.join(" ");
        self.passed = breaker.passed;
        self.probe_until = probe.as_ref().map(|p| p.until);
        self.probe_holder = probe.map(|p| p.holder).unwrap_or_default();
    }
}

/// The DRIFT breakers of a feature, of all tenants.
///
/// # Errors
/// When the store fails.
pub async fn of_feature(read: &Read, feature: &str) -> Result<Vec<BreakerRow>, DbError> {
    let sql = format!(
        "SELECT {} FROM breakers WHERE kind = $1 AND target_type = $2 AND target_id = $3",
        BreakerRow::COLUMNS
    );
    let (kind, target) = (BreakerKind::Drift.code(), BreakerTarget::Feature.code());
    read.fetch_all(AssertSqlSafe(sql), args![kind, target, feature]).await
}

runspine_db::row! {
    /// What happened to a breaker.
    #[derive(Debug, Clone)]
    #[allow(missing_docs)]
    pub struct BreakerEventRow {
        pub seq: u32,
        pub from_state: i32,
        pub to_state: i32,
        pub cause: i32,
        pub actor_id: String,
        pub note: String,
        pub drift_permille: Option<u32>,
        pub at: Micros,
    }
}

/// A breaker, made when nothing was ever said about it, and locked on PostgreSQL.
///
/// # Errors
/// When the store fails.
pub async fn ensure(tx: &mut Tx, name: &BreakerName) -> Result<BreakerRow, DbError> {
    if let Some(known) = one(tx, name).await? {
        return Ok(known);
    }
    let fresh = BreakerRow { breaker_id: new_id(), ..BreakerRow::unknown(name) };
    let columns = [
        "breaker_id",
        "tenant_id",
        "kind",
        "target_type",
        "target_id",
        "state",
        "severity",
        "cause",
        "reason",
        "actor_id",
        "opened_at",
        "open_ms",
        "openings",
        "in_a_row",
        "counts",
        "schema_errors",
        "passed",
        "probe_holder",
        "fallback_model",
        "events",
    ];
    let row = args![
        &fresh.breaker_id,
        &fresh.tenant_id,
        fresh.kind,
        fresh.target_type,
        &fresh.target_id,
        fresh.state,
        fresh.severity,
        fresh.cause,
        &fresh.reason,
        &fresh.actor_id,
        fresh.opened_at,
        fresh.open_ms,
        fresh.openings,
        fresh.in_a_row,
        &fresh.counts,
        &fresh.schema_errors,
        fresh.passed,
        &fresh.probe_holder,
        &fresh.fallback_model,
        fresh.events
    ];
    tx.insert_rows("breakers", &columns, vec![row], "ON CONFLICT DO NOTHING").await?;
    one(tx, name).await?.ok_or_else(|| unreadable("breakers: no such row"))
}

/// A breaker, locked on PostgreSQL.
///
/// # Errors
/// When the store fails.
pub async fn one(tx: &mut Tx, name: &BreakerName) -> Result<Option<BreakerRow>, DbError> {
    let lock = tx.dialect().pick("", " FOR UPDATE");
    let sql = format!("SELECT {} FROM breakers WHERE {NAMED}{lock}", BreakerRow::COLUMNS);
    tx.fetch_optional(AssertSqlSafe(sql), named(name)).await
}

fn named(name: &BreakerName) -> Args {
    args![&name.tenant_id, name.kind.code(), name.target.code(), &name.target_id]
}

/// Writes a breaker.
///
/// # Errors
/// When the store fails.
pub async fn save(tx: &mut Tx, row: &BreakerRow) -> Result<(), DbError> {
    let sql = "UPDATE breakers SET state = $1, severity = $2, cause = $3, reason = $4, actor_id = $5, \
               opened_at = $6, open_until = $7, open_ms = $8, openings = $9, in_a_row = $10, counts = $11, \
               schema_errors = $12, passed = $13, probe_holder = $14, probe_until = $15, fallback_model = $16, \
               reported_at = $17, drift_permille = $18, events = $19 WHERE breaker_key = $20";
    let args = args![
        row.state,
        row.severity,
        row.cause,
        &row.reason,
        &row.actor_id,
        row.opened_at,
        row.open_until,
        row.open_ms,
        row.openings,
        row.in_a_row,
        &row.counts,
        &row.schema_errors,
        row.passed,
        &row.probe_holder,
        row.probe_until,
        &row.fallback_model,
        row.reported_at,
        row.drift_permille,
        row.events,
        row.breaker_key
    ];
    tx.execute(sql, args).await?;
    Ok(())
}

/// Notes what happened to a breaker.
///
/// # Errors
/// When the store fails.
pub async fn event(
    tx: &mut Tx,
    row: &BreakerRow,
    moved: Transition,
    (actor, note): (&str, &str),
    at: Micros,
) -> Result<(), DbError> {
    let columns =
        ["breaker_key", "seq", "from_state", "to_state", "cause", "actor_id", "note", "drift_permille", "at"];
    let (from, to, cause) = (moved.from.code(), moved.to.code(), moved.cause.code());
    let event = args![row.breaker_key, row.events, from, to, cause, actor, note, row.drift_permille, at];
    tx.insert_rows("breaker_events", &columns, vec![event], "").await?;
    Ok(())
}

/// Breakers whose time is over and was not told, at most `most`.
///
/// # Errors
/// When the store fails.
pub async fn untold(tx: &mut Tx, now: Micros, most: i64) -> Result<Vec<BreakerRow>, DbError> {
    let lock = tx.dialect().pick("", " FOR UPDATE SKIP LOCKED");
    let sql = format!(
        "SELECT {} FROM breakers WHERE state = 2 AND open_until <= $1 ORDER BY breaker_key LIMIT $2{lock}",
        BreakerRow::COLUMNS
    );
    tx.fetch_all(AssertSqlSafe(sql), args![now, most]).await
}

const NAMED: &str = "tenant_id = $1 AND kind = $2 AND target_type = $3 AND target_id = $4";

/// A breaker as it was seen last, if anything was ever said about it.
///
/// # Errors
/// When the store fails.
pub async fn peek(read: &Read, name: &BreakerName) -> Result<Option<BreakerRow>, DbError> {
    let sql = format!("SELECT {} FROM breakers WHERE {NAMED}", BreakerRow::COLUMNS);
    read.fetch_optional(AssertSqlSafe(sql), named(name)).await
}

/// One breaker with what happened to it, newest first.
///
/// # Errors
/// When the store fails.
pub async fn shown(
    read: &Read,
    name: &BreakerName,
) -> Result<Option<(BreakerRow, Vec<BreakerEventRow>)>, DbError> {
    let mut snapshot = read.snapshot().await?;
    let sql = format!("SELECT {} FROM breakers WHERE {NAMED}", BreakerRow::COLUMNS);
    let found: Option<BreakerRow> = snapshot.fetch_optional(AssertSqlSafe(sql), named(name)).await?;
    let Some(row) = found else { return Ok(None) };
    let sql = format!(
        "SELECT {} FROM breaker_events WHERE breaker_key = $1 ORDER BY seq DESC LIMIT $2",
        BreakerEventRow::COLUMNS
    );
    let events = snapshot.fetch_all(AssertSqlSafe(sql), args![row.breaker_key, MOST_EVENTS]).await?;
    Ok(Some((row, events)))
}

/// What a list of breakers is narrowed to.
#[derive(Debug, Clone, Default)]
#[allow(missing_docs)]
pub struct BreakerFilter {
    pub kinds: Vec<i32>,
    pub target_type: i32,
    pub target_id: String,
    pub states: Vec<i32>,
}

/// Breakers of a tenant, newest first, from before a key.
///
/// # Errors
/// When the store fails.
pub async fn list(
    read: &Read,
    tenant: &str,
    filter: &BreakerFilter,
    before: Key,
    now: Micros,
    most: i64,
) -> Result<Vec<BreakerRow>, DbError> {
    let kinds: Vec<String> = filter
        .kinds
        .iter()
        .filter_map(|k| BreakerKind::from_code(*k))
        .map(|k| k.code().to_string())
        .collect();
    let of_kind =
        if kinds.is_empty() { String::new() } else { format!(" AND kind IN ({})", kinds.join(",")) };
    let states: Vec<&str> =
        filter.states.iter().filter_map(|code| BreakerState::from_code(*code)).map(state_sql).collect();
    let of_state = if states.is_empty() { String::new() } else { format!(" AND ({})", states.join(" OR ")) };
    // Every argument appears in the text, or PostgreSQL can't know its type.
    let sql = format!(
        "SELECT {} FROM breakers WHERE tenant_id = $1 AND breaker_key < $2 AND $3 > 0 \
         AND ($4 = 0 OR target_type = $4) AND ($5 = '' OR target_id = $5){of_kind}{of_state} \
         ORDER BY breaker_key DESC LIMIT $6",
        BreakerRow::COLUMNS
    );
    let args = args![tenant, before, now, i64::from(filter.target_type), &filter.target_id, most];
    read.fetch_all(AssertSqlSafe(sql), args).await
}

/// A state as a condition: $3 is now.
fn state_sql(state: BreakerState) -> &'static str {
    match state {
        BreakerState::Closed => "(state = 1 OR (state = 2 AND kind = 3 AND open_until <= $3))",
        BreakerState::Open => "(state = 2 AND (open_until IS NULL OR open_until > $3))",
        BreakerState::HalfOpen => "(state = 3 OR (state = 2 AND kind <> 3 AND open_until <= $3))",
    }
}
