//! Lists of runs. Filters and orders are enums that stand for fixed text; what the caller writes is always an argument.

use contracts_activity::v1::{RunFilter, RunSort, SyntheticFilter};
use prost_types::Timestamp;
use runspine_activity_domain::panels::{EVIDENCE_GRACE_MS, GRADE_GRACE_MS, STALL_MS};
use runspine_db::{Args, AssertSqlSafe, DbError, Snapshot, Tx, Value, args};
use runspine_rpc::optional_micros;
use runspine_types::Micros;

use crate::store::row::{AttemptRow, LimitRow, RunRow};

const ATTEMPTS: &str = "SELECT a.attempt, a.trace_id, a.phase, a.status, a.sequence, a.attempt_reason, \
    a.attempt_created_at, a.next_attempt_at, a.executing_since, a.completed_at, a.paused_ms, a.authorization_decision, \
    a.authorization_engine, a.authorization_context_digest, a.authorized_at, a.authorized_by, a.termination_reason, \
    a.stopped_at_step, a.error_code, a.evaluation_id, a.incident_disposition, a.incident_result_id, a.usage, \
    p.input_tokens, p.output_tokens, p.estimated_cost_microusd, p.settled_cost_microusd, p.integrity_status, \
    p.audit_status FROM run_attempts a JOIN attempt_projection p ON p.attempt_key = a.attempt_key \
    WHERE a.run_key = $1";

/// A run inside the write that changed it.
pub(crate) async fn run_in(tx: &mut Tx, tenant: &str, run_id: &str) -> Result<RunRow, DbError> {
    let sql = format!("SELECT {} FROM v_runs WHERE tenant_id = $1 AND run_id = $2", RunRow::COLUMNS);
    tx.fetch_one(AssertSqlSafe(sql), args![tenant, run_id]).await
}

/// An attempt inside the write that made it.
pub(crate) async fn attempt_in(tx: &mut Tx, run_key: i64, attempt: u32) -> Result<AttemptRow, DbError> {
    tx.fetch_one(AssertSqlSafe(format!("{ATTEMPTS} AND a.attempt = $2")), args![run_key, attempt]).await
}

/// One run.
pub(crate) async fn run(read: &mut Snapshot, tenant: &str, run_id: &str) -> Result<Option<RunRow>, DbError> {
    let sql = format!("SELECT {} FROM v_runs WHERE tenant_id = $1 AND run_id = $2", RunRow::COLUMNS);
    read.fetch_optional(AssertSqlSafe(sql), args![tenant, run_id]).await
}

/// The attempts of a run.
pub(crate) async fn attempts(read: &mut Snapshot, run_key: i64) -> Result<Vec<AttemptRow>, DbError> {
    read.fetch_all(AssertSqlSafe(format!("{ATTEMPTS} ORDER BY a.attempt")), args![run_key]).await
}

/// An order: what it compares, and whether the greatest comes first. Nulls are last both ways.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Order {
    expr: &'static str,
    desc: bool,
}

/// The order that a sort key stands for.
pub(crate) const fn order(sort: RunSort) -> Order {
    let (expr, desc) = match sort {
        RunSort::Unspecified | RunSort::StartedAtDesc => ("COALESCE(started_at, -1)", true),
        RunSort::StartedAtAsc => ("COALESCE(started_at, 9223372036854775807)", false),
        RunSort::CreatedAtDesc => ("created_at", true),
        RunSort::CompletedAtDesc => ("COALESCE(run_completed_at, -1)", true),
        RunSort::DurationDesc => ("COALESCE(duration_ms, -1)", true),
        RunSort::CostDesc => ("estimated_cost_microusd", true),
        RunSort::RiskDesc => ("risk_level", true),
        RunSort::LastSeenDesc => ("COALESCE(last_seen_at, -1)", true),
    };
    Order { expr, desc }
}

/// A row with the value that its order compares.
pub(crate) struct Listed {
    pub(crate) key: i64,
    pub(crate) run: RunRow,
}

impl runspine_db::FromRow for Listed {
    fn from_row(row: &runspine_db::Row) -> Result<Self, DbError> {
        Ok(Self { key: row.get("sort_key")?, run: RunRow::from_row(row)? })
    }
}

/// Conditions with their arguments.
pub(crate) struct Where {
    text: String,
    args: Args,
}

impl Where {
    /// The runs of a tenant that a filter selects at `now`.
    pub(crate) fn new(tenant: &str, filter: &RunFilter, now: Micros) -> Self {
        let mut found = Self { text: "tenant_id = $1".to_owned(), args: args![tenant] };
        found.enums(filter, now);
        found.texts(filter);
        found.flags(filter);
        found.times(filter);
        found
    }

    fn mark(&mut self, value: impl Into<Value>) -> String {
        self.args.push(value.into());
        format!("${}", self.args.len())
    }

    fn and(&mut self, condition: &str) {
        self.text.push_str(" AND ");
        self.text.push_str(condition);
    }

    fn one_of<T: Clone + Into<Value>>(&mut self, expr: &str, values: &[T]) {
        if values.is_empty() {
            return;
        }
        let marks: Vec<String> = values.iter().map(|value| self.mark(value.clone())).collect();
        self.and(&format!("{expr} IN ({})", marks.join(", ")));
    }

    fn enums(&mut self, f: &RunFilter, now: Micros) {
        if f.state != 0 {
            self.one_of("state", &[f.state]);
        }
        self.one_of("run_phase", &f.phases);
        self.one_of("run_status", &f.statuses);
        self.one_of("risk_level", &f.risk_levels);
        if f.at_risk_only {
            self.and("risk_level >= 3");
        }
        self.one_of("integrity_status", &f.integrity_status);
        self.one_of("audit_status", &f.audit_status);
        self.one_of("observability_status", &f.observability_status);
        self.one_of("source", &f.sources);
        self.one_of("run_termination_reason", &f.termination_reasons);
        if !f.latency_buckets.is_empty() {
            let at = self.mark(now);
            self.one_of(&latency(&at), &f.latency_buckets);
        }
        if !f.evidence_health.is_empty() {
            let silent = self.mark(now.plus_millis(-EVIDENCE_GRACE_MS));
            let ungraded = self.mark(now.plus_millis(-GRADE_GRACE_MS));
            self.one_of(&evidence(&silent, &ungraded), &f.evidence_health);
        }
    }

    fn texts(&mut self, f: &RunFilter) {
        self.one_of("provider_type", &f.provider_types);
        self.one_of("agent_id", &f.agent_ids);
        self.one_of("project_id", &f.project_ids);
        if !f.parent_run_id.is_empty() {
            let mark = self.mark(&f.parent_run_id);
            self.and(&format!("parent_run_id = {mark}"));
        }
        if !f.text.is_empty() {
            let (length, prefix) = (self.mark(f.text.chars().count()), self.mark(&f.text));
            // A prefix by comparison, so that no character of the caller's is a pattern.
            self.and(&format!(
                "(SUBSTR(agent_id, 1, CAST({length} AS INTEGER)) = {prefix} OR \
                 SUBSTR(run_id, 1, CAST({length} AS INTEGER)) = {prefix})"
            ));
        }
    }

    fn flags(&mut self, f: &RunFilter) {
        if let Some(linked) = f.has_incident {
            self.and(if linked { "incident_count > 0" } else { "incident_count = 0" });
        }
        if let Some(violated) = f.policy_violation {
            self.and(if violated { "violation_count > 0" } else { "violation_count = 0" });
        }
        match SyntheticFilter::try_from(f.synthetic).unwrap_or_default() {
            SyntheticFilter::Unspecified | SyntheticFilter::Real => self.and("is_synthetic = 0"),
            SyntheticFilter::Synthetic => self.and("is_synthetic = 1"),
            SyntheticFilter::Both => {}
        }
    }

    fn times(&mut self, f: &RunFilter) {
        self.bound("started_at", ">=", f.started_from.as_ref());
        self.bound("started_at", "<", f.started_to.as_ref());
        self.bound("run_completed_at", ">=", f.completed_from.as_ref());
        self.bound("run_completed_at", "<", f.completed_to.as_ref());
    }

    fn bound(&mut self, column: &str, comparison: &str, time: Option<&Timestamp>) {
        if let Some(at) = optional_micros(time) {
            let mark = self.mark(at);
            self.and(&format!("{column} {comparison} {mark}"));
        }
    }

    /// The next rows behind `after`, in `order`.
    pub(crate) async fn page(
        mut self,
        read: &mut Snapshot,
        order: Order,
        after: Option<(i64, String)>,
        limit: i64,
    ) -> Result<Vec<Listed>, DbError> {
        let Order { expr, desc } = order;
        if let Some((key, run_id)) = after {
            let (key, run_id) = (self.mark(key), self.mark(run_id));
            let comparison = if desc { "<" } else { ">" };
            self.and(&format!("({expr}, run_id) {comparison} ({key}, {run_id})"));
        }
        let limit = self.mark(limit);
        let way = if desc { "DESC" } else { "ASC" };
        let sql = format!(
            "SELECT {expr} AS sort_key, {} FROM v_runs WHERE {} ORDER BY {expr} {way}, run_id {way} LIMIT {limit}",
            RunRow::COLUMNS,
            self.text
        );
        read.fetch_all(AssertSqlSafe(sql), self.args).await
    }

    /// How many rows there are, counted up to `most`.
    pub(crate) async fn count(mut self, read: &mut Snapshot, most: i64) -> Result<i64, DbError> {
        let most = self.mark(most);
        let sql =
            format!("SELECT COUNT(*) FROM (SELECT 1 FROM v_runs WHERE {} LIMIT {most}) counted", self.text);
        Ok(read.fetch_one::<(i64,)>(AssertSqlSafe(sql), self.args).await?.0)
    }

    /// How many rows each state and status has.
    pub(crate) async fn groups(self, read: &mut Snapshot) -> Result<Vec<(i32, i32, i64)>, DbError> {
        let sql = format!(
            "SELECT state, run_status, COUNT(*) FROM v_runs WHERE {} GROUP BY state, run_status \
             ORDER BY state, run_status",
            self.text
        );
        read.fetch_all(AssertSqlSafe(sql), self.args).await
    }
}

/// The latency bucket as `panels::Clocked::latency` computes it; `at` is the placeholder of now.
fn latency(at: &str) -> String {
    let effective = format!("COALESCE(run_paused_since, {at})");
    format!(
        "(CASE WHEN run_completed_at IS NOT NULL THEN \
           CASE WHEN run_error_code = 'STALE_RUN' OR run_termination_reason = 5 THEN 3 \
                WHEN duration_ms > expected_ms THEN 2 ELSE 1 END \
         WHEN executing_since IS NULL THEN 1 \
         WHEN run_phase = 3 AND lease_fence <> 0 AND expires_at <= {at} THEN 3 \
         WHEN {effective} >= executing_since + (3 * expected_ms + run_paused_ms) * 1000 \
           AND {effective} >= COALESCE(last_activity_at, executing_since) + ({STALL_MS} + run_paused_ms) * 1000 THEN 3 \
         WHEN {effective} >= executing_since + (expected_ms + run_paused_ms) * 1000 THEN 2 ELSE 1 END)"
    )
}

/// The evidence health as `panels::evidence_health` computes it; the placeholders are the two graces before now.
fn evidence(silent: &str, ungraded: &str) -> String {
    format!(
        "(CASE WHEN run_phase IN (6, 7) THEN \
           CASE WHEN evidence_grade = 3 AND required_missing = 1 THEN 3 WHEN evidence_grade IN (2, 3) THEN 2 \
                WHEN evidence_grade = 1 THEN 1 WHEN run_completed_at <= {ungraded} THEN 2 ELSE 1 END \
         WHEN run_phase = 3 AND step_count = 0 AND executing_since <= {silent} THEN 3 \
         WHEN evidence_failures > 0 OR (unauthorized_steps > 0 AND source <> 5) OR gaps > 0 OR degraded = 1 \
           OR fact_degraded = 1 THEN 2 ELSE 1 END)"
    )
}

/// The newest evaluation of each limit of a run, by attempt, then by limit.
pub(crate) async fn limits(read: &mut Snapshot, run_key: i64) -> Result<Vec<LimitRow>, DbError> {
    let sql = format!(
        "SELECT {} FROM (SELECT a.attempt, w.* FROM run_limits w JOIN run_attempts a ON a.attempt_key = w.attempt_key \
         WHERE w.run_key = $1) of_run ORDER BY attempt, limit_id",
        LimitRow::COLUMNS
    );
    read.fetch_all(AssertSqlSafe(sql), args![run_key]).await
}
