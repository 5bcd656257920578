//! Records: few statements for any number of them.

use std::{borrow::Cow, collections::BTreeMap};

use bytes::Bytes;
use contracts_logs::v1::trace_record;
use runspine_db::{Args, AssertSqlSafe, DbError, Read, Row, Tuples, Tx, Value, args};
use runspine_logs_domain::{
    proof::StoredRecord,
    trace::{Appended, Body, Columns, Fact, Item, Wanted},
};
use runspine_types::{Digest, Micros};

const INSERTED: [&str; 28] = [
    "trace_key",
    "position",
    "idempotency_key",
    "content_digest",
    "request_digest",
    "answer",
    "body",
    "step_index",
    "retry_count",
    "kind",
    "status",
    "name",
    "reference",
    "decision_id",
    "target",
    "code",
    "unauthorized",
    "gap",
    "clock_skew",
    "occurred_at",
    "recorded_at",
    "started_at",
    "input_tokens",
    "output_tokens",
    "cost_microusd",
    "duration_us",
    "record",
    "link",
];

/// The row of a new record.
pub fn row(trace_key: i64, item: &Item, new: &Appended) -> Args {
    let c = &new.columns;
    let answer = (!item.answer.is_empty()).then(|| item.answer.clone());
    args![
        trace_key,
        new.record.position,
        &item.idempotency_key,
        item.content,
        item.request_digest,
        answer,
        c.body,
        c.step_index,
        c.retry_count,
        c.kind,
        c.status,
        c.name.as_ref(),
        c.reference.as_deref(),
        c.decision_id.as_deref(),
        c.target,
        c.code.as_ref(),
        c.unauthorized,
        new.gap,
        new.clock_skew,
        c.occurred_at,
        c.recorded_at,
        c.started_at,
        c.input_tokens,
        c.output_tokens,
        c.cost_microusd,
        c.duration_us,
        Value::from(&new.bytes),
        new.link,
    ]
}

/// The row by which a new step is found by its reference; `None` when it has none, or is no step.
pub fn reference_row(trace_key: i64, new: &Appended) -> Option<Args> {
    match &new.record.body {
        Some(trace_record::Body::Step(step)) if !step.external_ref.is_empty() => {
            Some(args![trace_key, &step.external_ref, new.record.position])
        }
        _ => None,
    }
}

/// Inserts rows that [`row`] made, and those that [`reference_row`] did.
pub async fn insert(tx: &mut Tx, rows: Vec<Args>, references: Vec<Args>) -> Result<(), DbError> {
    tx.insert_rows("trace_records", &INSERTED, rows, "").await?;
    let columns = ["trace_key", "external_ref", "position"];
    tx.insert_rows("step_references", &columns, references, "").await?;
    Ok(())
}

runspine_db::row! {
    struct FactRow {
        trace_key: i64,
        position: u64,
        idempotency_key: String,
        content_digest: Digest,
        request_digest: Option<Digest>,
        body: i32,
        step_index: Option<u32>,
        retry_count: u32,
        kind: i32,
        status: i32,
        reference: Option<String>,
        target: Option<u64>,
    }
}

/// The columns of `FactRow` as they are joined, but for the reference and what stands behind it.
const FACT: &str = "r.trace_key, r.position, r.idempotency_key, r.content_digest, r.request_digest, r.body, r.step_index, \
    r.retry_count, r.kind, r.status";

/// How the records of a list of values are found.
#[derive(Debug, Clone, Copy)]
enum LookUp {
    /// By a column of theirs.
    Column(&'static str),
    /// As steps, by the reference under which they were recorded.
    StepReference,
}

impl LookUp {
    fn sql(self, values: &str) -> String {
        match self {
            Self::Column(column) => format!(
                "SELECT {FACT}, r.reference, r.target FROM {values} AS w CROSS JOIN trace_records r \
                 WHERE r.trace_key = w.column1 AND r.{column} = w.column2"
            ),
            Self::StepReference => format!(
                "SELECT {FACT}, s.external_ref AS reference, r.target FROM {values} AS w \
                 CROSS JOIN step_references s CROSS JOIN trace_records r \
                 WHERE s.trace_key = w.column1 AND s.external_ref = w.column2 \
                 AND r.trace_key = s.trace_key AND r.position = s.position"
            ),
        }
    }
}

/// What is already known about the items to append: one statement for all look-ups, unless they are too many for one.
pub async fn facts(tx: &mut Tx, wanted: &BTreeMap<i64, Wanted>) -> Result<Vec<(i64, Fact)>, DbError> {
    let (mut keys, mut steps, mut references, mut positions) =
        (Tuples::new(2), Tuples::new(2), Tuples::new(2), Tuples::new(2));
    let mut step_references = Tuples::new(2);
    for (trace_key, wanted) in wanted {
        wanted.keys.iter().for_each(|k| keys.push(args![*trace_key, k]));
        wanted.steps.iter().for_each(|s| steps.push(args![*trace_key, *s]));
        wanted.references.iter().for_each(|r| references.push(args![*trace_key, r]));
        wanted.positions.iter().for_each(|p| positions.push(args![*trace_key, *p]));
        wanted.step_references.iter().for_each(|r| step_references.push(args![*trace_key, r]));
    }
    let lookups = [
        (LookUp::Column("idempotency_key"), keys),
        (LookUp::Column("step_index"), steps),
        (LookUp::Column("reference"), references),
        (LookUp::Column("position"), positions),
        (LookUp::StepReference, step_references),
    ];
    let asked = lookups.into_iter().filter(|(_, tuples)| !tuples.is_empty());
    let (lookups, lists): (Vec<LookUp>, Vec<Tuples>) = asked.unzip();
    if lookups.is_empty() {
        return Ok(Vec::new());
    }
    let mut found = Vec::new();
    match Tuples::together(lists, tx.dialect()) {
        Ok((texts, args)) => {
            let selects = texts.iter().zip(&lookups).map(|(values, look_up)| look_up.sql(values));
            let sql = selects.collect::<Vec<_>>().join(" UNION ALL ");
            found.extend(tx.fetch_all::<FactRow>(AssertSqlSafe(sql), args).await?);
        }
        Err(lists) => {
            for (look_up, tuples) in lookups.into_iter().zip(lists) {
                for (values, args) in tuples.parts(tx.dialect()) {
                    let sql = look_up.sql(&values);
                    found.extend(tx.fetch_all::<FactRow>(AssertSqlSafe(sql), args).await?);
                }
            }
        }
    }
    found.into_iter().map(|row| Ok((row.trace_key, row.fact()?))).collect()
}

impl FactRow {
    fn fact(self) -> Result<Fact, DbError> {
        let body = Body::of_number(self.body).ok_or_else(|| DbError::Column {
            column: "body".to_owned(),
            what: format!("{} is no body", self.body),
        })?;
        Ok(Fact {
            position: self.position,
            idempotency_key: self.idempotency_key,
            content: self.content_digest,
            request_digest: self.request_digest,
            body,
            step_index: self.step_index,
            retry_count: self.retry_count,
            kind: self.kind,
            status: self.status,
            reference: self.reference,
            target: self.target,
        })
    }
}

runspine_db::row! {
    /// A record with its columns.
    #[derive(Debug, Clone)]
    pub struct RecordRow {
        /// The trace.
        pub trace_key: i64,
        /// Its place.
        pub position: u64,
        /// The reporter's key.
        pub idempotency_key: String,
        /// Digest of the caller's request.
        pub request_digest: Option<Digest>,
        /// The kept answer.
        pub answer: Option<Bytes>,
        /// Which body.
        pub body: i32,
        /// The step.
        pub step_index: Option<u32>,
        /// Which try or ask.
        pub retry_count: u32,
        /// Kind of step, event or action.
        pub kind: i32,
        /// Outcome or verdict.
        pub status: i32,
        /// Name of the skill, tool or model.
        pub name: String,
        /// Decision id, call id or span.
        pub reference: Option<String>,
        /// The decision of a step.
        pub decision_id: Option<String>,
        /// The position that it is about.
        pub target: Option<u64>,
        /// Code of the outcome.
        pub code: String,
        /// Done without a decision that allows it.
        pub unauthorized: bool,
        /// A step before it was not on the trace.
        pub gap: bool,
        /// Reported more than 300 s ahead.
        pub clock_skew: bool,
        /// When it happened.
        pub occurred_at: Micros,
        /// When it was stored.
        pub recorded_at: Micros,
        /// When the step began.
        pub started_at: Micros,
        /// Input tokens.
        pub input_tokens: i64,
        /// Output tokens.
        pub output_tokens: i64,
        /// Cost in micro-USD.
        pub cost_microusd: i64,
        /// Duration in microseconds.
        pub duration_us: i64,
        /// The bytes.
        pub record: Bytes,
        /// The link.
        pub link: Digest,
    }
}

impl RecordRow {
    /// The columns that must equal what the bytes decode to.
    pub fn columns(&self) -> Columns<'_> {
        Columns {
            body: self.body,
            step_index: self.step_index,
            retry_count: self.retry_count,
            kind: self.kind,
            status: self.status,
            name: Cow::Borrowed(&self.name),
            reference: self.reference.as_deref().map(Cow::Borrowed),
            decision_id: self.decision_id.as_deref().map(Cow::Borrowed),
            target: self.target,
            code: Cow::Borrowed(&self.code),
            unauthorized: self.unauthorized,
            occurred_at: self.occurred_at,
            recorded_at: self.recorded_at,
            started_at: self.started_at,
            input_tokens: self.input_tokens,
            output_tokens: self.output_tokens,
            cost_microusd: self.cost_microusd,
            duration_us: self.duration_us,
        }
    }
}

/// Records by trace and position.
pub async fn at(tx: &mut Tx, places: &[(i64, u64)]) -> Result<Vec<RecordRow>, DbError> {
    let mut tuples = Tuples::new(2);
    places.iter().for_each(|(trace_key, position)| tuples.push(args![*trace_key, *position]));
    let mut found = Vec::with_capacity(places.len());
    for (values, args) in tuples.parts(tx.dialect()) {
        let sql = format!(
            "SELECT r.* FROM {values} AS w CROSS JOIN trace_records r \
             WHERE r.trace_key = w.column1 AND r.position = w.column2"
        );
        found.extend(tx.fetch_all::<RecordRow>(AssertSqlSafe(sql), args).await?);
    }
    Ok(found)
}

/// The record that came under a key.
pub async fn keyed(read: &Read, trace_key: i64, key: &str) -> Result<Option<RecordRow>, DbError> {
    let sql = format!(
        "SELECT {} FROM trace_records WHERE trace_key = $1 AND idempotency_key = $2",
        RecordRow::COLUMNS
    );
    read.fetch_optional(AssertSqlSafe(sql), args![trace_key, key]).await
}

/// The records of one step, by position.
pub async fn of_step(read: &Read, trace_key: i64, step_index: u32) -> Result<Vec<RecordRow>, DbError> {
    let sql = format!(
        "SELECT {} FROM trace_records WHERE trace_key = $1 AND step_index = $2 ORDER BY position",
        RecordRow::COLUMNS
    );
    read.fetch_all(AssertSqlSafe(sql), args![trace_key, step_index]).await
}

/// Records behind a position, by position.
pub async fn page(read: &Read, trace_key: i64, after: u64, limit: i64) -> Result<Vec<RecordRow>, DbError> {
    read.fetch_all(AssertSqlSafe(page_sql()), args![trace_key, after, limit]).await
}

/// The same inside a transaction.
pub async fn page_in(tx: &mut Tx, trace_key: i64, after: u64, limit: i64) -> Result<Vec<RecordRow>, DbError> {
    tx.fetch_all(AssertSqlSafe(page_sql()), args![trace_key, after, limit]).await
}

fn page_sql() -> String {
    format!(
        "SELECT {} FROM trace_records WHERE trace_key = $1 AND position > $2 ORDER BY position LIMIT $3",
        RecordRow::COLUMNS
    )
}

/// Folds at most `limit` records behind a position into `state`, in order and without a copy.
pub async fn fold<S: Send + 'static>(
    read: &Read,
    (trace_key, after, limit): (i64, u64, i64),
    state: S,
    each: impl Fn(&mut S, &StoredRecord<'_>) + Send + 'static,
) -> Result<S, DbError> {
    const SQL: &str = "SELECT position, record, link, body, step_index, retry_count, kind, status, name, reference, \
        decision_id, target, code, unauthorized, occurred_at, recorded_at, started_at, input_tokens, output_tokens, \
        cost_microusd, duration_us \
        FROM trace_records WHERE trace_key = $1 AND position > $2 ORDER BY position LIMIT $3";
    let take = move |state: &mut S, row: &Row<'_>| {
        each(state, &stored(row)?);
        Ok(())
    };
    let after = i64::try_from(after).unwrap_or(i64::MAX);
    read.fold(SQL, &[trace_key, after, limit], state, take).await
}

/// A row of `fold`.
fn stored<'r>(row: &'r Row<'_>) -> Result<StoredRecord<'r>, DbError> {
    let null = |place: usize| row.wrong(place, "is NULL");
    let optional = |place: usize| Ok::<_, DbError>(row.text(place)?.map(Cow::Borrowed));
    let text = |place: usize| optional(place)?.ok_or_else(|| null(place));
    Ok(StoredRecord {
        position: row.get(0)?,
        bytes: row.blob(1)?.ok_or_else(|| null(1))?,
        link: row.get(2)?,
        columns: Some(Columns {
            body: row.get(3)?,
            step_index: row.get(4)?,
            retry_count: row.get(5)?,
            kind: row.get(6)?,
            status: row.get(7)?,
            name: text(8)?,
            reference: optional(9)?,
            decision_id: optional(10)?,
            target: row.get(11)?,
            code: text(12)?,
            unauthorized: row.get(13)?,
            occurred_at: row.get(14)?,
            recorded_at: row.get(15)?,
            started_at: row.get(16)?,
            input_tokens: row.get(17)?,
            output_tokens: row.get(18)?,
            cost_microusd: row.get(19)?,
            duration_us: row.get(20)?,
        }),
    })
}

/// Which records to list.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// Only behind this position.
    pub after_position: u64,
    /// Only these bodies.
    pub bodies: Vec<i32>,
    /// By the start of the step instead of by position.
    pub by_start: bool,
    /// The last row of the page before: its start and position.
    pub after: Option<(Micros, u64)>,
}

/// A page of records of one trace.
pub async fn list(
    read: &Read,
    trace_key: i64,
    filter: &Filter,
    limit: i64,
) -> Result<Vec<RecordRow>, DbError> {
    let mut args = args![trace_key, filter.after_position, limit];
    let mut sql =
        format!("SELECT {} FROM trace_records WHERE trace_key = $1 AND position > $2", RecordRow::COLUMNS);
    if !filter.bodies.is_empty() {
        let marks: Vec<String> =
            (0..filter.bodies.len()).map(|i| format!("${}", args.len() + i + 1)).collect();
        sql.push_str(&format!(" AND body IN ({})", marks.join(",")));
        args.extend(filter.bodies.iter().map(|b| Value::from(*b)));
    }
    match filter.after {
        Some((started, position)) if filter.by_start => {
            let (s, p) = (args.len() + 1, args.len() + 2);
            args.extend(args![started, position]);
            sql.push_str(&format!(" AND (started_at > ${s} OR (started_at = ${s} AND position > ${p}))"));
        }
        Some((_, position)) => {
            args.extend(args![position]);
            sql.push_str(&format!(" AND position > ${}", args.len()));
        }
        None => {}
    }
    sql.push_str(if filter.by_start {
        " ORDER BY started_at, position LIMIT $3"
    } else {
        " ORDER BY position LIMIT $3"
    });
    read.fetch_all(AssertSqlSafe(sql), args).await
}

runspine_db::row! {
    /// Sums over the traces of an attempt, addenda included.
    #[derive(Debug, Clone, Default)]
    pub struct SumRow {
        /// Input tokens.
        pub input_tokens: i64,
        /// Output tokens.
        pub output_tokens: i64,
        /// Cost in micro-USD.
        pub cost_microusd: i64,
        /// Distinct step indices with a try.
        pub steps: u64,
        /// Decisions.
        pub decisions: u64,
    }
}

/// Sums over the traces of an attempt: every try and every correction.
pub async fn sums(read: &Read, tenant_id: &str, run_id: &str, attempt: u32) -> Result<SumRow, DbError> {
    let sql = "SELECT CAST(COALESCE(SUM(r.input_tokens), 0) AS BIGINT) AS input_tokens, \
        CAST(COALESCE(SUM(r.output_tokens), 0) AS BIGINT) AS output_tokens, \
        CAST(COALESCE(SUM(r.cost_microusd), 0) AS BIGINT) AS cost_microusd, \
        COUNT(DISTINCT CASE WHEN r.body = 17 THEN r.step_index END) AS steps, \
        COUNT(CASE WHEN r.body = 16 THEN 1 END) AS decisions \
        FROM traces t JOIN trace_records r ON r.trace_key = t.trace_key \
        WHERE t.tenant_id = $1 AND t.run_id = $2 AND t.attempt = $3";
    read.fetch_one(sql, args![tenant_id, run_id, attempt]).await
}
