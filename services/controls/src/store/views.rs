//! Reads for those who look on.

use contracts_controls::v1 as pb;
use runspine_controls_domain::{
    account::{Entry, Period},
    freeze::FreezeEffect,
    limit::Limit,
    words::{EntryKind, Funding},
};
use runspine_db::{Args, AssertSqlSafe, DbError, FromRow, Read, Row, args};
use runspine_types::{Micros, PLATFORM_TENANT};

use super::{
    evidence::entries_of,
    freezes::WishRow,
    rows::{EnvelopeRow, FreezeRow, LeaseRow, LimitRow, PeriodRow},
};

/// An envelope with its limit and one period.
#[derive(Debug, Clone)]
pub struct EnvelopeView {
    /// The envelope.
    pub envelope: EnvelopeRow,
    /// The limit behind it.
    pub limit: Limit,
    /// The period.
    pub period: Period,
    /// Open allocations.
    pub open: i64,
    /// Sum of H.
    pub held: i64,
    /// Sum of P.
    pub spent: i64,
    /// Whether an actor suspended it.
    pub suspended: bool,
}

impl FromRow for EnvelopeView {
    fn from_row(row: &Row) -> Result<Self, DbError> {
        Ok(Self {
            envelope: EnvelopeRow::from_row(row)?,
            limit: LimitRow::from_row(row)?.try_into()?,
            period: PeriodRow::from_row(row)?.into(),
            open: row.get("open_count")?,
            held: row.get("open_held")?,
            spent: row.get("open_spent")?,
            suspended: row.get("suspended")?,
        })
    }
}

impl EnvelopeView {
    /// Booked use.
    #[must_use]
    pub fn usage(&self) -> i64 {
        self.period.settled + self.spent
    }

    /// What could still be reserved, with all idle escrow taken back.
    #[must_use]
    pub fn headroom(&self) -> i64 {
        let ceiling = self.limit.ceiling(self.period.limit_value(&self.limit));
        (ceiling - self.period.settled - self.held - self.spent).max(0)
    }
}

/// What a list of envelopes is narrowed to; none: everything.
#[derive(Debug, Clone, Default)]
pub struct EnvelopeFilter {
    /// An envelope's or a limit's id.
    pub id: Option<String>,
    /// A limit's id.
    pub limit_id: Option<String>,
    /// These scopes.
    pub scopes: Vec<i32>,
    /// This scope id.
    pub scope_id: Option<String>,
    /// Those that a run has an allocation in.
    pub run_key: Option<i64>,
    /// The period that this time falls into; none: the latest.
    pub at: Option<Micros>,
    /// Behind this key.
    pub after: i64,
    /// At most so many.
    pub limit: i64,
}

/// Builds a condition out of what is set.
pub(super) struct Where {
    pub text: String,
    pub args: Args,
}

impl Where {
    pub fn new(text: &str, args: Args) -> Self {
        Self { text: text.to_owned(), args }
    }

    /// Adds ` AND …` where `?` stands for the value.
    pub fn and<V: Into<runspine_db::Value>>(&mut self, text: &str, value: Option<V>) {
        if let Some(value) = value {
            self.args.push(value.into());
            self.text.push_str(" AND ");
            self.text.push_str(&text.replace('?', &format!("${}", self.args.len())));
        }
    }

    pub fn one_of(&mut self, column: &str, codes: &[i32]) {
        if !codes.is_empty() {
            let list: Vec<String> = codes.iter().map(ToString::to_string).collect();
            self.text.push_str(&format!(" AND {column} IN ({})", list.join(",")));
        }
    }

    pub fn place(&mut self, value: impl Into<runspine_db::Value>) -> String {
        self.args.push(value.into());
        format!("${}", self.args.len())
    }
}

fn aggregate(what: &str) -> String {
    format!(
        "CAST(COALESCE((SELECT {what} FROM allocations a WHERE a.envelope_key = e.envelope_key \
         AND a.period_start = p.period_start AND a.open = 1), 0) AS BIGINT)"
    )
}

/// Envelopes of a tenant, oldest first.
///
/// # Errors
/// When the store fails.
pub async fn envelopes(
    read: &Read,
    tenant: &str,
    filter: &EnvelopeFilter,
) -> Result<Vec<EnvelopeView>, DbError> {
    let mut when = Where::new("e.tenant_id = $1 AND e.envelope_key > $2", args![tenant, filter.after]);
    when.and("(e.envelope_id = ? OR l.limit_id = ?)", filter.id.as_ref());
    when.and("l.limit_id = ?", filter.limit_id.as_ref());
    when.one_of("e.scope", &filter.scopes);
    when.and("e.scope_id = ?", filter.scope_id.as_ref());
    let mine = "e.envelope_key IN (SELECT envelope_key FROM allocations WHERE run_key = ?)";
    when.and(mine, filter.run_key);
    let until = match filter.at {
        Some(at) => format!(" AND q.period_start <= {}", when.place(at)),
        None => String::new(),
    };
    let most = when.place(filter.limit);
    let sql = format!(
        "SELECT e.envelope_key, e.envelope_id, e.tenant_id, e.limit_key, e.scope, e.scope_id, e.suspended, l.limit_id, l.state, \
         l.source, l.version, l.spec, l.created_at, l.updated_at, p.period_start, p.period_end, p.rollover_in, \
         p.adjusted, p.debt_in, p.settled, p.granted, p.debt, p.unfunded, p.rolled_out, p.closed, p.warned, p.blocked, \
         {} AS open_count, {} AS open_held, {} AS open_spent \
         FROM envelopes e JOIN limits l ON l.limit_key = e.limit_key \
         JOIN envelope_periods p ON p.envelope_key = e.envelope_key AND p.period_start = \
         (SELECT MAX(q.period_start) FROM envelope_periods q WHERE q.envelope_key = e.envelope_key{until}) \
         WHERE {} ORDER BY e.envelope_key LIMIT {most}",
        aggregate("COUNT(*)"),
        aggregate("SUM(a.held)"),
        aggregate("SUM(a.spent)"),
        when.text
    );
    read.fetch_all(AssertSqlSafe(sql), when.args).await
}

/// One limit.
///
/// # Errors
/// When the store fails.
pub async fn limit(read: &Read, tenant: &str, id: &str) -> Result<Option<Limit>, DbError> {
    let sql = format!("SELECT {} FROM limits WHERE tenant_id = $1 AND limit_id = $2", LimitRow::COLUMNS);
    let row: Option<LimitRow> = read.fetch_optional(AssertSqlSafe(sql), args![tenant, id]).await?;
    row.map(Limit::try_from).transpose()
}

/// Every limit that counts for a tenant: its own, and those of the whole mesh.
///
/// # Errors
/// When the store fails.
pub async fn in_force(read: &Read, tenant: &str) -> Result<Vec<Limit>, DbError> {
    let sql = format!(
        "SELECT {} FROM limits WHERE tenant_id = $1 OR (tenant_id = $2 AND scope = 1) ORDER BY limit_key",
        LimitRow::COLUMNS
    );
    let rows: Vec<LimitRow> = read.fetch_all(AssertSqlSafe(sql), args![tenant, PLATFORM_TENANT]).await?;
    rows.into_iter().map(Limit::try_from).collect()
}

/// The content of a control set that an admission of the tenant was stamped with.
///
/// # Errors
/// When the store fails.
pub async fn control_set(read: &Read, tenant: &str, digest: &[u8]) -> Result<Option<String>, DbError> {
    let sql = "SELECT content FROM control_sets WHERE tenant_id = $1 AND digest = $2";
    Ok(read.fetch_optional::<(String,)>(sql, args![tenant, digest]).await?.map(|row| row.0))
}

/// Limits of a tenant, oldest first, behind a key.
///
/// # Errors
/// When the store fails.
pub async fn limits(
    read: &Read,
    tenant: &str,
    filter: &pb::ListLimitsRequest,
    after: i64,
    most: i64,
) -> Result<Vec<Limit>, DbError> {
    let mut when = Where::new("tenant_id = $1 AND limit_key > $2", args![tenant, after]);
    when.one_of("scope", &filter.scopes);
    when.one_of("state", &filter.states);
    when.one_of("category", &filter.categories);
    when.one_of("source", &filter.sources);
    when.and("scope_id = ?", Some(&filter.scope_id).filter(|id| !id.is_empty()));
    let most = when.place(most);
    let sql = format!(
        "SELECT {} FROM limits WHERE {} ORDER BY limit_key LIMIT {most}",
        LimitRow::COLUMNS,
        when.text
    );
    let rows: Vec<LimitRow> = read.fetch_all(AssertSqlSafe(sql), when.args).await?;
    rows.into_iter().map(Limit::try_from).collect()
}

/// The lease of a run attempt; attempt 0: the latest.
///
/// # Errors
/// When the store fails.
pub async fn lease(
    read: &Read,
    tenant: &str,
    run_id: &str,
    attempt: u32,
) -> Result<Option<LeaseRow>, DbError> {
    Ok(leases(read, tenant, run_id, attempt).await?.pop())
}

/// The leases of a run's attempts in their order; attempt 0: all.
///
/// # Errors
/// When the store fails.
pub async fn leases(read: &Read, tenant: &str, run_id: &str, attempt: u32) -> Result<Vec<LeaseRow>, DbError> {
    let mut when = Where::new("tenant_id = $1 AND run_id = $2", args![tenant, run_id]);
    when.and("attempt = ?", (attempt > 0).then_some(attempt));
    let sql = format!("SELECT {} FROM run_leases WHERE {} ORDER BY attempt", LeaseRow::COLUMNS, when.text);
    read.fetch_all(AssertSqlSafe(sql), when.args).await
}

runspine_db::row! {
    /// An entry, with the names of what it is about.
    #[derive(Debug, Clone)]
    #[allow(missing_docs)]
    pub struct EntryRow {
        pub entry_seq: i64,
        pub envelope_id: String,
        pub period_start: Micros,
        pub kind: i32,
        pub funding: Option<i32>,
        pub amount: i64,
        pub spec: bytes::Bytes,
        pub run_id: Option<String>,
        pub attempt: Option<u32>,
        pub step_index: Option<u32>,
        pub hold_id: Option<String>,
        pub settlement_id: Option<String>,
        pub actor_id: Option<String>,
        pub at: Micros,
    }
}

/// Entries of a tenant, oldest first, behind a sequence.
///
/// # Errors
/// When the store fails.
pub async fn entries(
    read: &Read,
    tenant: &str,
    request: &pb::ListBudgetEntriesRequest,
    (since, until): (Option<Micros>, Option<Micros>),
    after: i64,
    most: i64,
) -> Result<Vec<EntryRow>, DbError> {
    let mut when = Where::new("e.tenant_id = $1 AND b.entry_seq > $2", args![tenant, after]);
    when.and("e.envelope_id = ?", Some(&request.envelope_id).filter(|id| !id.is_empty()));
    let of_run = entries_of("IN (SELECT run_key FROM run_leases WHERE tenant_id = $1 AND run_id = ?)");
    when.and(&format!("b.{of_run}"), Some(&request.run_id).filter(|id| !id.is_empty()));
    when.one_of("b.kind", &request.kinds);
    when.and("b.at >= ?", since);
    when.and("b.at < ?", until);
    let most = when.place(most);
    let sql = format!(
        "SELECT b.entry_seq, e.envelope_id, b.period_start, b.kind, b.funding, b.amount, l.spec, r.run_id, r.attempt, \
         b.step_index, b.hold_id, b.settlement_id, b.actor_id, b.at FROM budget_entries b \
         JOIN envelopes e ON e.envelope_key = b.envelope_key JOIN limits l ON l.limit_key = e.limit_key \
         LEFT JOIN run_leases r ON r.run_key = b.run_key WHERE {} ORDER BY b.entry_seq LIMIT {most}",
        when.text
    );
    read.fetch_all(AssertSqlSafe(sql), when.args).await
}

/// A period with everything that explains it, in one state: a commit between two reads would look like a difference.
#[derive(Debug)]
pub struct Audited {
    /// The period, as stored.
    pub period: Period,
    /// Its entries.
    pub entries: Vec<Entry>,
    /// What each run used, as stored.
    pub runs: Vec<RunSum>,
}

/// Reads a period for an audit.
///
/// # Errors
/// When the store fails.
pub async fn audited(read: &Read, envelope: i64, start: Micros) -> Result<Audited, DbError> {
    let mut snapshot = read.snapshot().await?;
    let key = args![envelope, start];
    let sql = format!(
        "SELECT {} FROM envelope_periods WHERE envelope_key = $1 AND period_start = $2",
        PeriodRow::COLUMNS
    );
    let period: PeriodRow = snapshot.fetch_one(AssertSqlSafe(sql), key.clone()).await?;
    let period = Period::from(period);
    let sql = "SELECT kind, funding, amount, run_key FROM budget_entries \
               WHERE envelope_key = $1 AND period_start = $2 ORDER BY entry_seq";
    let rows: Vec<(i32, Option<i32>, i64, Option<i64>)> = snapshot.fetch_all(sql, key.clone()).await?;
    let entry = |(kind, funding, amount, run): (i32, Option<i32>, i64, Option<i64>)| {
        Ok(Entry {
            period: period.key,
            kind: crate::words::stored(EntryKind::from_code(kind))?,
            funding: funding.and_then(Funding::from_code),
            amount,
            run,
            step: None,
            of_settlement: false,
        })
    };
    let entries = rows.into_iter().map(entry).collect::<Result<_, DbError>>()?;
    let sql = "SELECT a.run_key, a.used, a.unfunded, r.run_id, r.attempt FROM allocations a \
               JOIN run_leases r ON r.run_key = a.run_key WHERE a.envelope_key = $1 AND a.period_start = $2";
    let runs = snapshot.fetch_all(sql, key).await?;
    Ok(Audited { period, entries, runs })
}

/// What a run used in a period: run, used, unfunded, run id, attempt.
pub type RunSum = (i64, i64, i64, String, u32);

/// One freeze that the tenant may see.
///
/// # Errors
/// When the store fails.
pub async fn freeze(read: &Read, tenant: &str, id: &str) -> Result<Option<FreezeRow>, DbError> {
    let sql = format!(
        "SELECT {} FROM freezes WHERE (tenant_id = $1 OR tenant_id = '') AND freeze_id = $2",
        FreezeRow::COLUMNS
    );
    read.fetch_optional(AssertSqlSafe(sql), args![tenant, id]).await
}

/// Freezes that the tenant may see, newest first, from before an epoch. States are computed, so they are not filtered
/// here.
///
/// # Errors
/// When the store fails.
pub async fn freezes(
    read: &Read,
    tenant: &str,
    filter: &pb::ListFreezesRequest,
    before: i64,
    now: Micros,
    most: i64,
) -> Result<Vec<FreezeRow>, DbError> {
    let mut when = Where::new("(tenant_id = $1 OR tenant_id = '') AND epoch < $2", args![tenant, before]);
    when.one_of("scope", &filter.scopes);
    when.and("scope_id = ?", Some(&filter.scope_id).filter(|id| !id.is_empty()));
    if !filter.states.is_empty() {
        let now = when.place(now);
        let states: Vec<String> = filter.states.iter().filter_map(|s| state_sql(*s, &now)).collect();
        when.text.push_str(&format!(" AND ({})", states.join(" OR ")));
        // An argument must appear in the text, or PostgreSQL can't know its type.
        when.text.push_str(&format!(" AND {now} = {now}"));
    }
    let most = when.place(most);
    let sql = format!(
        "SELECT {} FROM freezes WHERE {} ORDER BY epoch DESC LIMIT {most}",
        FreezeRow::COLUMNS,
        when.text
    );
    read.fetch_all(AssertSqlSafe(sql), when.args).await
}

fn state_sql(state: i32, now: &str) -> Option<String> {
    match pb::FreezeState::try_from(state).ok()? {
        pb::FreezeState::Active => {
            Some(format!("(lifted_at IS NULL AND (expires_at IS NULL OR expires_at > {now}))"))
        }
        pb::FreezeState::Expired => Some(format!("(lifted_at IS NULL AND expires_at <= {now})")),
        pb::FreezeState::Lifted => Some("lifted_at IS NOT NULL".to_owned()),
        pb::FreezeState::Unspecified => None,
    }
}

/// The epoch and every freeze of the mesh that was not lifted, in one state.
///
/// # Errors
/// When the store fails.
pub async fn watch(read: &Read) -> Result<(u64, Vec<FreezeRow>), DbError> {
    let mut snapshot = read.snapshot().await?;
    let (epoch,): (u64,) =
        snapshot.fetch_one("SELECT value FROM marks WHERE name = 'epoch'", args![]).await?;
    let sql = format!("SELECT {} FROM freezes WHERE open = 1 ORDER BY epoch", FreezeRow::COLUMNS);
    Ok((epoch, snapshot.fetch_all(AssertSqlSafe(sql), args![]).await?))
}

/// Freezes with effect PAUSE that ended after `since`, oldest first.
///
/// # Errors
/// When the store fails.
pub async fn ended_pauses(read: &Read, since: Micros, now: Micros) -> Result<Vec<FreezeRow>, DbError> {
    let pause = FreezeEffect::Pause.code();
    let sql = format!(
        "SELECT {} FROM freezes WHERE effect = $1 AND (lifted_at > $2 OR \
         (lifted_at IS NULL AND expires_at > $2 AND expires_at <= $3)) ORDER BY epoch",
        FreezeRow::COLUMNS
    );
    read.fetch_all(AssertSqlSafe(sql), args![pause, since, now]).await
}

/// The epoch.
///
/// # Errors
/// When the store fails.
pub async fn epoch(read: &Read) -> Result<u64, DbError> {
    let (epoch,): (u64,) = read.fetch_one("SELECT value FROM marks WHERE name = 'epoch'", args![]).await?;
    Ok(epoch)
}

/// Runs whose lease lapsed before a time: tenant and key, at most `most`.
///
/// # Errors
/// When the store fails.
pub async fn lapsed(read: &Read, before: Micros, most: i64) -> Result<Vec<(String, i64)>, DbError> {
    let sql = "SELECT tenant_id, run_key FROM run_leases WHERE state = 2 AND expires_at <= $1 \
               ORDER BY expires_at LIMIT $2";
    read.fetch_all(sql, args![before, most]).await
}

/// The wish to lift a freeze.
///
/// # Errors
/// When the store fails.
pub async fn wish(read: &Read, freeze_id: &str) -> Result<Option<WishRow>, DbError> {
    let sql = format!("SELECT {} FROM unfreeze_requests WHERE freeze_id = $1", WishRow::COLUMNS);
    read.fetch_optional(AssertSqlSafe(sql), args![freeze_id]).await
}
