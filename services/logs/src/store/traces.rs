//! Traces and their heads.

use std::collections::HashMap;

use bytes::Bytes;
use contracts_logs::v1::TraceHeader;
use prost::Message as _;
use runspine_db::{Args, AssertSqlSafe, DbError, Read, Tuples, Tx, args};
use runspine_logs_domain::trace::{Facts, TraceState};
use runspine_types::{Digest, Micros};

runspine_db::row! {
    /// A trace with its head.
    #[derive(Debug, Clone)]
    pub struct TraceRow {
        /// Stands for the long key.
        pub trace_key: i64,
        /// The tenant.
        pub tenant_id: String,
        /// The run.
        pub run_id: String,
        /// The attempt.
        pub attempt: u32,
        /// 0 for the main trace.
        pub addendum: u32,
        /// Its id.
        pub trace_id: String,
        /// The project.
        pub project_id: String,
        /// The agent.
        pub agent_id: String,
        /// Profile of the run.
        pub profile: i32,
        /// Where the run comes from.
        pub source: i32,
        /// The scenario of a synthetic run.
        pub scenario_id: String,
        /// When it was started.
        pub started_at: Micros,
        /// When it was stored.
        pub created_at: Micros,
        /// The header's bytes.
        pub header: Bytes,
        /// `link_0`.
        pub link: Digest,
        /// Digest of the request that started it.
        pub request_digest: Digest,
        /// Records so far.
        pub record_count: u64,
        /// Link of the last record.
        pub last_link: Digest,
        /// When the last record was stored.
        pub last_recorded_at: Micros,
        /// The largest step index.
        pub largest_step_index: Option<u32>,
        /// Whether it is sealed.
        pub sealed: bool,
        /// Whether its records were dropped: they are in its bundle.
        pub purged: bool,
    }
}

/// The columns of [`TraceRow`] as they are joined.
const COLUMNS: &str = "t.trace_key, t.tenant_id, t.run_id, t.attempt, t.addendum, t.trace_id, t.project_id, t.agent_id, \
    t.profile, t.source, t.scenario_id, t.started_at, t.created_at, t.header, t.link, t.request_digest, h.record_count, \
    h.last_link, h.last_recorded_at, h.largest_step_index, h.sealed, h.purged";

runspine_db::row! {
    /// What appending needs of a trace: no more, for it is read for every group.
    #[derive(Debug, Clone)]
    pub struct HeadRow {
        /// Stands for the long key.
        pub trace_key: i64,
        /// The tenant.
        pub tenant_id: String,
        /// The run.
        pub run_id: String,
        /// The attempt.
        pub attempt: u32,
        /// Its id.
        pub trace_id: String,
        /// Profile of the run.
        pub profile: i32,
        /// Records so far.
        pub record_count: u64,
        /// Link of the last record.
        pub last_link: Digest,
        /// When the last record was stored.
        pub last_recorded_at: Micros,
        /// The largest step index.
        pub largest_step_index: Option<u32>,
        /// Whether it is sealed.
        pub sealed: bool,
    }
}

/// The columns of [`HeadRow`] as they are joined.
const HEAD: &str = "t.trace_key, t.tenant_id, t.run_id, t.attempt, t.trace_id, t.profile, h.record_count, h.last_link, \
    h.last_recorded_at, h.largest_step_index, h.sealed";

impl HeadRow {
    /// The trace as the rules see it, without facts.
    pub fn state(&self, max_records: u64) -> TraceState {
        TraceState {
            run_id: self.run_id.clone(),
            attempt: self.attempt,
            addendum: 0,
            profile: self.profile,
            sealed: self.sealed,
            count: self.record_count,
            last_link: self.last_link,
            last_recorded_at: self.last_recorded_at,
            largest_step_index: self.largest_step_index,
            max_records,
            facts: Facts::default(),
        }
    }
}

impl TraceRow {
    /// The trace as the rules see it, without facts.
    pub fn state(&self, max_records: u64) -> TraceState {
        TraceState {
            run_id: self.run_id.clone(),
            attempt: self.attempt,
            addendum: self.addendum,
            profile: self.profile,
            sealed: self.sealed,
            count: self.record_count,
            last_link: self.last_link,
            last_recorded_at: self.last_recorded_at,
            largest_step_index: self.largest_step_index,
            max_records,
            facts: Facts::default(),
        }
    }
}

/// Names a trace.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TraceRef {
    /// The tenant.
    pub tenant_id: String,
    /// The run.
    pub run_id: String,
    /// The attempt.
    pub attempt: u32,
}

/// A trace to insert.
#[derive(Debug, Clone)]
pub struct NewTrace {
    /// Which attempt.
    pub of: TraceRef,
    /// 0 for the main trace.
    pub addendum: u32,
    /// Its id.
    pub trace_id: String,
    /// The project.
    pub project_id: String,
    /// The agent.
    pub agent_id: String,
    /// Profile of the run.
    pub profile: i32,
    /// Where the run comes from.
    pub source: i32,
    /// The scenario of a synthetic run.
    pub scenario_id: String,
    /// When it was started.
    pub started_at: Micros,
    /// The header's bytes.
    pub header: Vec<u8>,
    /// `link_0`.
    pub link: Digest,
    /// Digest of the request that starts it.
    pub request_digest: Digest,
}

/// Inserts a trace and its head, and gives the key.
pub async fn insert(tx: &mut Tx, new: NewTrace) -> Result<i64, DbError> {
    let sql = "INSERT INTO traces (tenant_id, run_id, attempt, addendum, trace_id, project_id, agent_id, profile, source, \
        scenario_id, started_at, created_at, header, link, request_digest) \
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $11, $12, $13, $14) RETURNING trace_key";
    let row = args![
        new.of.tenant_id,
        new.of.run_id,
        new.of.attempt,
        new.addendum,
        new.trace_id,
        new.project_id,
        new.agent_id,
        new.profile,
        new.source,
        new.scenario_id,
        new.started_at,
        new.header,
        new.link,
        new.request_digest,
    ];
    let (trace_key,): (i64,) = tx.fetch_one(sql, row).await?;
    let sql = "INSERT INTO trace_heads (trace_key, record_count, last_link, last_recorded_at, sealed) \
               VALUES ($1, 0, $2, $3, 0)";
    tx.execute(sql, args![trace_key, new.link, new.started_at]).await?;
    Ok(trace_key)
}

/// The main trace of an attempt.
pub async fn find(tx: &mut Tx, of: &TraceRef) -> Result<Option<TraceRow>, DbError> {
    let sql = format!(
        "SELECT {COLUMNS} FROM traces t JOIN trace_heads h ON h.trace_key = t.trace_key \
         WHERE t.tenant_id = $1 AND t.run_id = $2 AND t.attempt = $3 AND t.addendum = 0{}",
        lock(tx)
    );
    tx.fetch_optional(AssertSqlSafe(sql), args![&of.tenant_id, &of.run_id, of.attempt]).await
}

/// The header of the main trace of an attempt; attempt 0 is the latest.
pub async fn header(
    read: &Read,
    tenant_id: &str,
    run_id: &str,
    attempt: u32,
) -> Result<Option<TraceHeader>, DbError> {
    let sql = "SELECT header FROM traces WHERE tenant_id = $1 AND run_id = $2 AND ($3 = 0 OR attempt = $3) \
               AND addendum = 0 ORDER BY attempt DESC LIMIT 1";
    let found: Option<(Bytes,)> = read.fetch_optional(sql, args![tenant_id, run_id, attempt]).await?;
    let decoded = found.map(|(header,)| TraceHeader::decode(header));
    decoded
        .transpose()
        .map_err(|error| DbError::Column { column: "header".to_owned(), what: error.to_string() })
}

/// Another writer must not move a head between reading and writing it; SQLite has one writer.
fn lock(tx: &Tx) -> &'static str {
    tx.dialect().pick("", " FOR UPDATE OF h")
}

/// The heads of the main traces of many attempts, with one statement.
pub async fn heads(tx: &mut Tx, wanted: &[TraceRef]) -> Result<HashMap<TraceRef, HeadRow>, DbError> {
    let mut tuples = Tuples::new(3);
    for of in wanted {
        tuples.push(args![&of.tenant_id, &of.run_id, of.attempt]);
    }
    let mut found = HashMap::with_capacity(wanted.len());
    for (values, args) in tuples.parts(tx.dialect()) {
        let sql = format!(
            "SELECT {HEAD} FROM {values} AS w CROSS JOIN traces t JOIN trace_heads h ON h.trace_key = t.trace_key \
             WHERE t.tenant_id = w.column1 AND t.run_id = w.column2 AND t.attempt = w.column3 AND t.addendum = 0 \
             ORDER BY t.trace_key{}",
            lock(tx)
        );
        for row in tx.fetch_all::<HeadRow>(AssertSqlSafe(sql), args).await? {
            let of = TraceRef {
                tenant_id: row.tenant_id.clone(),
                run_id: row.run_id.clone(),
                attempt: row.attempt,
            };
            found.insert(of, row);
        }
    }
    Ok(found)
}

/// A head to advance.
pub struct Advance<'a> {
    /// The trace.
    pub trace_key: i64,
    /// Records that it had when it was read.
    pub had: u64,
    /// Where it stands now.
    pub state: &'a TraceState,
}

/// Advances heads with one statement. A head that somebody else moved since it was read fails the whole.
pub async fn advance(tx: &mut Tx, heads: &[Advance<'_>]) -> Result<(), DbError> {
    let mut tuples = Tuples::new(6);
    for head in heads {
        let state = head.state;
        tuples.push(args![
            head.trace_key,
            head.had,
            state.count,
            state.last_link,
            state.last_recorded_at,
            state.largest_step_index,
        ]);
    }
    let mut moved = 0;
    for (values, args) in tuples.parts(tx.dialect()) {
        let sql = format!(
            "UPDATE trace_heads SET record_count = w.column3, last_link = w.column4, last_recorded_at = w.column5, \
             largest_step_index = w.column6 FROM {values} AS w \
             WHERE trace_heads.trace_key = w.column1 AND trace_heads.record_count = w.column2 AND trace_heads.sealed = 0"
        );
        moved += tx.execute(AssertSqlSafe(sql), args).await?;
    }
    if moved == heads.len() as u64 {
        return Ok(());
    }
    Err(DbError::Constraint { constraint: "trace_heads: a head was moved by another writer".to_owned() })
}

/// Marks the head of a trace as sealed.
pub async fn mark_sealed(tx: &mut Tx, trace_key: i64) -> Result<(), DbError> {
    tx.execute("UPDATE trace_heads SET sealed = 1 WHERE trace_key = $1", args![trace_key]).await?;
    Ok(())
}

/// The traces of a run: of one attempt, or with 0 of all, addenda included, in order.
pub async fn of_run(
    read: &Read,
    tenant_id: &str,
    run_id: &str,
    attempt: u32,
) -> Result<Vec<TraceRow>, DbError> {
    let sql = format!(
        "SELECT {COLUMNS} FROM traces t JOIN trace_heads h ON h.trace_key = t.trace_key WHERE t.tenant_id = $1 \
         AND t.run_id = $2 AND ($3 = 0 OR t.attempt = $3) ORDER BY t.attempt, t.addendum"
    );
    read.fetch_all(AssertSqlSafe(sql), args![tenant_id, run_id, attempt]).await
}

/// The same inside a transaction.
pub async fn of_run_in(
    tx: &mut Tx,
    tenant_id: &str,
    run_id: &str,
    attempt: u32,
) -> Result<Vec<TraceRow>, DbError> {
    let sql = format!(
        "SELECT {COLUMNS} FROM traces t JOIN trace_heads h ON h.trace_key = t.trace_key WHERE t.tenant_id = $1 \
         AND t.run_id = $2 AND t.attempt = $3 ORDER BY t.addendum"
    );
    tx.fetch_all(AssertSqlSafe(sql), args![tenant_id, run_id, attempt]).await
}

/// One trace: of the latest attempt when `attempt` is 0.
pub async fn one(
    read: &Read,
    tenant_id: &str,
    run_id: &str,
    attempt: u32,
    addendum: u32,
) -> Result<Option<TraceRow>, DbError> {
    let sql = format!(
        "SELECT {COLUMNS} FROM traces t JOIN trace_heads h ON h.trace_key = t.trace_key WHERE t.tenant_id = $1 \
         AND t.run_id = $2 AND ($3 = 0 OR t.attempt = $3) AND t.addendum = $4 ORDER BY t.attempt DESC LIMIT 1"
    );
    read.fetch_optional(AssertSqlSafe(sql), args![tenant_id, run_id, attempt, addendum]).await
}

/// What narrows a list of traces; `None` and empty don't.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// The agent.
    pub agent_id: String,
    /// Sealed or not.
    pub sealed: Option<bool>,
    /// One of these runs.
    pub run_ids: Vec<String>,
    /// Started at or after.
    pub from: Option<Micros>,
    /// Started before.
    pub to: Option<Micros>,
    /// Link of the last record.
    pub last_link: Option<Digest>,
    /// Tied to this incident.
    pub incident_id: String,
    /// Synthetic or real.
    pub synthetic: Option<bool>,
    /// The last row of the page before: its start and key.
    pub after: Option<(Micros, i64)>,
}

/// Main traces, newest first.
pub async fn list(
    read: &Read,
    tenant_id: &str,
    filter: &Filter,
    limit: i64,
) -> Result<Vec<TraceRow>, DbError> {
    let (conditions, args) = filter.conditions(tenant_id, limit);
    let sql = format!(
        "SELECT {COLUMNS} FROM traces t JOIN trace_heads h ON h.trace_key = t.trace_key WHERE {conditions} \
         ORDER BY t.started_at DESC, t.trace_key DESC LIMIT $1"
    );
    read.fetch_all(AssertSqlSafe(sql), args).await
}

impl Filter {
    fn conditions(&self, tenant_id: &str, limit: i64) -> (String, Args) {
        let mut sql = String::from("t.addendum = 0 AND t.tenant_id = $2");
        let mut args = args![limit, tenant_id];
        let mut add = |condition: &str, values: Args| {
            let mut condition = condition.to_owned();
            for value in values {
                args.push(value);
                condition = condition.replacen('?', &format!("${}", args.len()), 1);
            }
            sql.push_str(" AND ");
            sql.push_str(&condition);
        };
        if !self.agent_id.is_empty() {
            add("t.agent_id = ?", args![&self.agent_id]);
        }
        if let Some(sealed) = self.sealed {
            add("h.sealed = ?", args![sealed]);
        }
        if !self.run_ids.is_empty() {
            let marks = vec!["?"; self.run_ids.len()].join(",");
            add(&format!("t.run_id IN ({marks})"), self.run_ids.iter().map(Into::into).collect());
        }
        if let Some(from) = self.from {
            add("t.started_at >= ?", args![from]);
        }
        if let Some(to) = self.to {
            add("t.started_at < ?", args![to]);
        }
        if let Some(link) = self.last_link {
            add("h.last_link = ?", args![link]);
        }
        if !self.incident_id.is_empty() {
            add(
                "t.trace_key IN (SELECT l.trace_key FROM trace_links l WHERE l.incident_id = ?)",
                args![&self.incident_id],
            );
        }
        match self.synthetic {
            Some(true) => add("t.scenario_id <> ''", args![]),
            Some(false) => add("t.scenario_id = ''", args![]),
            None => {}
        }
        if let Some((started, key)) = self.after {
            add("(t.started_at < ? OR (t.started_at = ? AND t.trace_key < ?))", args![started, started, key]);
        }
        (sql, args)
    }
}

/// Ties an incident to a trace; says whether it was new.
pub async fn link_incident(
    tx: &mut Tx,
    trace_key: i64,
    link: (&str, &str, Option<u32>),
    now: Micros,
) -> Result<bool, DbError> {
    let (link_id, incident_id, step_index) = link;
    let sql = "INSERT INTO trace_links (link_id, trace_key, incident_id, step_index, linked_at) \
               VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING";
    Ok(tx.execute(sql, args![link_id, trace_key, incident_id, step_index, now]).await? == 1)
}

/// The link of an incident to a trace.
pub async fn incident_link(
    tx: &mut Tx,
    trace_key: i64,
    incident_id: &str,
) -> Result<Option<(String, Option<u32>)>, DbError> {
    let sql = "SELECT link_id, step_index FROM trace_links WHERE trace_key = $1 AND incident_id = $2";
    tx.fetch_optional(sql, args![trace_key, incident_id]).await
}

/// Incidents that are tied to a trace, in the order in which they were.
pub async fn incidents(read: &Read, trace_key: i64) -> Result<Vec<String>, DbError> {
    let sql = "SELECT incident_id FROM trace_links WHERE trace_key = $1 ORDER BY linked_at, link_id";
    Ok(read.fetch_all::<(String,)>(sql, args![trace_key]).await?.into_iter().map(|(id,)| id).collect())
}
