//! Lists: every filter is an argument, newest first, by a key that only grows.

use bytes::Bytes;
use runspine_db::{Args, AssertSqlSafe, DbError, FromRow, Read, args, row};
use runspine_types::{Digest, Micros};

row! {
    /// A decision with its place in the list.
    #[derive(Debug, Clone)]
    pub(crate) struct DecisionRow {
        pub id: i64,
        pub moment: i32,
        pub inputs_digest: Digest,
        pub answer: Bytes,
        pub inputs: Option<Bytes>,
    }
}

row! {
    /// An enforcement with the attempt it belongs to.
    #[derive(Debug, Clone)]
    pub(crate) struct EnforcementRow {
        pub id: i64,
        pub run_id: String,
        pub attempt: u32,
        pub step_index: i64,
        pub enforcement_id: String,
        pub decision_id: String,
        pub rule_id: String,
        pub version: u32,
        pub action: i32,
        pub would_outcome: i32,
        pub at: Micros,
    }
}

row! {
    /// A stored message with its place in the list.
    #[derive(Debug, Clone)]
    pub(crate) struct BodyRow {
        pub id: i64,
        pub body: Bytes,
        pub superseded: bool,
    }
}

pub(crate) const DECISION: &str = "SELECT d.id, d.moment, d.inputs_digest, d.answer, i.bytes AS inputs FROM decisions d \
     JOIN run_states r ON r.id = d.run_key \
     LEFT JOIN decision_inputs i ON i.run_key = d.run_key AND i.step_index = d.step_index AND i.ask = d.ask";
pub(crate) const ENFORCEMENT: &str = "SELECT e.id, r.run_id, r.attempt, e.step_index, e.enforcement_id, e.decision_id, \
     e.rule_id, e.version, e.action, e.would_outcome, e.at FROM enforcements e \
     JOIN run_states r ON r.id = e.run_key";
pub(crate) const VIOLATION: &str = "SELECT v.id, v.body, 0 AS superseded FROM violations v \
     JOIN run_states r ON r.id = v.run_key";
pub(crate) const EVALUATION: &str = "SELECT e.id, e.body, CASE WHEN s.id IS NULL THEN 0 ELSE 1 END AS superseded \
     FROM evaluations e LEFT JOIN evaluation_supersessions s ON s.evaluation_id = e.evaluation_id";
pub(crate) const SNAPSHOT: &str = "SELECT s.id, s.snapshot_id, s.digest, s.bytes, s.rule_count, s.created_at, \
     COALESCE((SELECT t.to_state FROM snapshot_transitions t WHERE t.snapshot_key = s.id ORDER BY t.id DESC LIMIT 1), 0) \
     AS state, COALESCE(rc.directive, 0) AS recall FROM snapshots s \
     LEFT JOIN snapshot_recalls rc ON rc.snapshot_key = s.id";

/// The condition of a list, built from closed texts; values are arguments only.
#[derive(Debug, Default)]
pub(crate) struct Filter {
    sql: String,
    values: Args,
}

impl Filter {
    /// Begins with the tenant: no list is without it.
    pub(crate) fn tenant(column: &'static str, tenant: &str) -> Self {
        Self { sql: format!(" WHERE {column} = $1"), values: args![tenant] }
    }

    /// `AND <left> $n` where `left` ends with the comparison.
    pub(crate) fn and(mut self, left: &'static str, value: impl Into<runspine_db::Value>) -> Self {
        self.values.push(value.into());
        self.sql.push_str(&format!(" AND {left} ${}", self.values.len()));
        self
    }

    /// As [`Filter::and`], when there is a value.
    pub(crate) fn and_if(self, left: &'static str, value: Option<impl Into<runspine_db::Value>>) -> Self {
        match value {
            Some(value) => self.and(left, value),
            None => self,
        }
    }

    /// `AND <column> IN (…)`; nothing when the list is empty.
    pub(crate) fn any_of(mut self, column: &'static str, codes: &[i32]) -> Self {
        if !codes.is_empty() {
            // Codes are numbers, so they can stand in the text.
            let list: Vec<String> = codes.iter().map(i32::to_string).collect();
            self.sql.push_str(&format!(" AND {column} IN ({})", list.join(",")));
        }
        self
    }

    /// Closes a tenant's condition that was opened with a parenthesis: the layer that every tenant shares is in it too.
    pub(crate) fn raw_or_mesh(mut self, platform: &str) -> Self {
        self.values.push(platform.into());
        self.sql.push_str(&format!(" OR (r.tenant_id = ${} AND r.mesh = 1))", self.values.len()));
        self
    }

    /// `AND (<one> = $n OR <other> = $n)`; nothing when the value is empty.
    pub(crate) fn either(mut self, one: &'static str, other: &'static str, value: &str) -> Self {
        if !value.is_empty() {
            self.values.push(value.into());
            let n = self.values.len();
            self.sql.push_str(&format!(" AND ({one} = ${n} OR {other} = ${n})"));
        }
        self
    }

    /// As [`Filter::and_if`] for a condition that ends within a parenthesis.
    pub(crate) fn and_exists(self, left: &'static str, value: Option<&str>) -> Self {
        if value.is_none() {
            return self;
        }
        let mut filter = self.and_if(left, value);
        filter.sql.push(')');
        filter
    }

    /// A closed condition.
    pub(crate) fn raw(mut self, condition: &'static str) -> Self {
        self.sql.push_str(condition);
        self
    }

    /// Runs `select` under this condition.
    pub(crate) async fn fetch<R: FromRow>(
        mut self,
        read: &Read,
        select: &'static str,
        order: &'static str,
        limit: i64,
    ) -> Result<Vec<R>, DbError> {
        self.values.push(limit.into());
        let sql = format!("{select}{} ORDER BY {order} LIMIT ${}", self.sql, self.values.len());
        read.fetch_all(AssertSqlSafe(sql), self.values).await
    }
}
