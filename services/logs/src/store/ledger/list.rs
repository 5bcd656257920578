//! Reading the ledger.

use std::fmt::Write as _;

use runspine_db::{Args, AssertSqlSafe, DbError, Read, Value, args};
use runspine_types::{Digest, Micros};

use super::{EntryRow, StoredEntry};

/// Which entries of a tenant.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LedgerFilter {
    /// The run.
    pub run_id: Option<String>,
    /// The attempt.
    pub attempt: Option<u32>,
    /// The step.
    pub step_index: Option<u32>,
    /// Event names; empty for any.
    pub event_types: Vec<String>,
    /// The kind of thing.
    pub entity_type: Option<String>,
    /// The thing.
    pub entity_id: Option<String>,
    /// The kind of actor.
    pub actor_type: Option<i32>,
    /// The actor.
    pub actor_id: Option<String>,
    /// What joins them.
    pub correlation_id: Option<String>,
    /// Occurred at or after.
    pub occurred_from: Option<Micros>,
    /// Occurred before.
    pub occurred_to: Option<Micros>,
    /// The scope.
    pub scope: Option<i32>,
}

/// In which order entries are read, and behind which one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Behind {
    /// In order of their places.
    Place(Option<u64>),
    /// Against it.
    NewestFirst(Option<u64>),
    /// As they happened; entries of one time by their places.
    Occurred(Option<(Micros, u64)>),
}

const SELECT: &str = "SELECT l.seq AS seq, l.entry AS entry, l.link AS link, s.before_state AS before_state, \
    s.after_state AS after_state, s.state_salt AS state_salt FROM ledger l \
    LEFT JOIN ledger_states s ON s.tenant_id = l.tenant_id AND s.seq = l.seq WHERE l.tenant_id = $1";

/// At most `limit` entries of `tenant` in the order of `behind`.
///
/// # Errors
/// When the store can't be read.
pub async fn list(
    read: &Read,
    tenant: &str,
    filter: &LedgerFilter,
    behind: Behind,
    limit: i64,
) -> Result<Vec<EntryRow>, DbError> {
    let mut query = Conditions { sql: SELECT.to_owned(), args: args![tenant] };
    query.filter(filter);
    let order = query.behind(behind);
    let limit = query.bind(limit);
    let sql = format!("{} ORDER BY {order} LIMIT {limit}", query.sql);
    read.fetch_all(AssertSqlSafe(sql), query.args).await
}

/// The entry at a place.
///
/// # Errors
/// When the store can't be read.
pub async fn by_seq(read: &Read, tenant: &str, seq: u64) -> Result<Option<EntryRow>, DbError> {
    let sql = format!("{SELECT} AND l.seq = $2");
    read.fetch_optional(AssertSqlSafe(sql), args![tenant, seq]).await
}

/// The entry of an event.
///
/// # Errors
/// When the store can't be read.
pub async fn by_event(read: &Read, tenant: &str, event_id: &str) -> Result<Option<EntryRow>, DbError> {
    let sql = format!("{SELECT} AND l.event_id = $2");
    read.fetch_optional(AssertSqlSafe(sql), args![tenant, event_id]).await
}

/// The place of the entry that tells of the seal of this digest.
///
/// # Errors
/// When the store can't be read.
pub async fn witness(read: &Read, tenant: &str, run_id: &str, seal: Digest) -> Result<Option<u64>, DbError> {
    // Said twice, as in a filter, for the index of runs.
    let sql = "SELECT seq FROM ledger WHERE tenant_id = $1 AND run_id <> '' AND run_id = $2 AND after_digest = $3 \
               AND event_type IN ('logs.TraceSealed', 'logs.AddendumSealed') ORDER BY seq LIMIT 1";
    let found: Option<(u64,)> = read.fetch_optional(sql, args![tenant, run_id, seal]).await?;
    Ok(found.map(|(seq,)| seq))
}

/// The last place of a tenant and its link; `None` for an empty ledger.
///
/// # Errors
/// When the store can't be read.
pub async fn head(read: &Read, tenant: &str) -> Result<Option<(u64, Digest)>, DbError> {
    read.fetch_optional("SELECT seq, link FROM ledger_heads WHERE tenant_id = $1", args![tenant]).await
}

/// Entries from `from` on as the chain sees them, for verification.
///
/// # Errors
/// When the store can't be read.
pub async fn page_of_links(
    read: &Read,
    tenant: &str,
    from: u64,
    to: u64,
    limit: i64,
) -> Result<Vec<StoredEntry>, DbError> {
    let sql = format!(
        "SELECT {} FROM ledger WHERE tenant_id = $1 AND seq >= $2 AND seq <= $3 ORDER BY seq LIMIT $4",
        StoredEntry::COLUMNS
    );
    read.fetch_all(AssertSqlSafe(sql), args![tenant, from, to, limit]).await
}

struct Conditions {
    sql: String,
    args: Args,
}

impl Conditions {
    fn bind(&mut self, value: impl Into<Value>) -> String {
        self.args.push(value.into());
        format!("${}", self.args.len())
    }

    fn and(&mut self, condition: &str, value: Option<impl Into<Value>>) {
        if let Some(value) = value {
            let place = self.bind(value);
            let _ = write!(self.sql, " AND {condition} {place}");
        }
    }

    /// Leaves out what was read already, and gives the order of the rest.
    fn behind(&mut self, behind: Behind) -> &'static str {
        match behind {
            Behind::Place(seq) => {
                self.and("l.seq >", seq);
                "l.seq"
            }
            Behind::NewestFirst(seq) => {
                self.and("l.seq <", seq);
                "l.seq DESC"
            }
            Behind::Occurred(last) => {
                if let Some((at, seq)) = last {
                    let (at, seq) = (self.bind(at), self.bind(seq));
                    let _ = write!(
                        self.sql,
                        " AND (l.occurred_at > {at} OR (l.occurred_at = {at} AND l.seq > {seq}))"
                    );
                }
                "l.occurred_at, l.seq"
            }
        }
    }

    fn filter(&mut self, filter: &LedgerFilter) {
        if let Some(run_id) = &filter.run_id {
            // Said twice so that both engines see that the index of runs, which leaves out entries without one, fits.
            self.sql.push_str(" AND l.run_id <> ''");
            self.and("l.run_id =", Some(run_id));
        }
        self.and("l.attempt =", filter.attempt);
        self.and("l.step_index =", filter.step_index);
        self.and("l.entity_type =", filter.entity_type.as_deref());
        self.and("l.entity_id =", filter.entity_id.as_deref());
        self.and("l.actor_type =", filter.actor_type);
        self.and("l.actor_id =", filter.actor_id.as_deref());
        if let Some(correlation_id) = &filter.correlation_id {
            self.sql.push_str(" AND l.correlation_id <> ''");
            self.and("l.correlation_id =", Some(correlation_id));
        }
        self.and("l.occurred_at >=", filter.occurred_from);
        self.and("l.occurred_at <", filter.occurred_to);
        self.and("l.scope =", filter.scope);
        if !filter.event_types.is_empty() {
            let places: Vec<String> = filter.event_types.iter().map(|t| self.bind(t)).collect();
            let _ = write!(self.sql, " AND l.event_type IN ({})", places.join(", "));
        }
    }
}
