//! Lists of incidents by filter, sorted and paged by key.

use std::fmt::Write as _;

use runspine_db::{Args, DbError, Read, Value, args};
use runspine_incidents_domain::{CauseType, incident::Incident};
use runspine_types::Micros;

use super::incidents::{IncidentRow, select};

/// How a list is sorted; the id ends every order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// Newest first.
    OpenedDesc,
    /// Worst first, then newest.
    SeverityDesc,
    /// Last seen first.
    LastOccurrenceDesc,
    /// Last resolved first.
    ResolvedDesc,
}

/// Which incidents; empty lists and texts mean any.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// States, by number.
    pub statuses: Vec<i32>,
    /// Severities, by number.
    pub severities: Vec<i32>,
    /// Categories, by number.
    pub categories: Vec<i32>,
    /// Triggers, by number.
    pub triggers: Vec<i32>,
    /// Cause codes.
    pub cause_codes: Vec<String>,
    /// The kind of cause.
    pub cause_type: Option<CauseType>,
    /// With a live occurrence of this run.
    pub run_id: String,
    /// The agent.
    pub agent_id: String,
    /// The project.
    pub project_id: String,
    /// Who has it.
    pub assignee: String,
    /// The recurrence signature.
    pub signature: String,
    /// Those made to test the mesh, or the real ones.
    pub is_synthetic: bool,
    /// Opened at or after.
    pub opened_from: Option<Micros>,
    /// Opened before.
    pub opened_to: Option<Micros>,
    /// Resolved at or after.
    pub resolved_from: Option<Micros>,
    /// Resolved before.
    pub resolved_to: Option<Micros>,
}

impl Order {
    /// The columns of the order.
    const fn columns(self) -> &'static [&'static str] {
        match self {
            Self::OpenedDesc => &["opened_at", "id"],
            Self::SeverityDesc => &["severity", "opened_at", "id"],
            Self::LastOccurrenceDesc => &["last_occurrence_at", "id"],
            Self::ResolvedDesc => &["resolved_at", "id"],
        }
    }

    /// How many parts its key has.
    #[must_use]
    pub const fn key_len(self) -> usize {
        self.columns().len()
    }

    /// The key of an incident in this order, as text for a page token.
    #[must_use]
    pub fn key_of(self, incident: &Incident) -> Vec<String> {
        let part = |column: &&str| match *column {
            "opened_at" => incident.opened_at.0.to_string(),
            "severity" => incident.subject.severity.code().to_string(),
            "last_occurrence_at" => incident.last_occurrence_at.0.to_string(),
            "resolved_at" => incident.ending.as_ref().map_or(0, |e| e.at.0).to_string(),
            _ => incident.id.clone(),
        };
        self.columns().iter().map(part).collect()
    }
}

/// A condition that grows with its arguments.
struct Where {
    sql: String,
    args: Args,
}

impl Where {
    fn bind(&mut self, value: impl Into<Value>) -> usize {
        self.args.push(value.into());
        self.args.len()
    }

    fn equals(&mut self, column: &str, value: &str) {
        if !value.is_empty() {
            let n = self.bind(value);
            // Writing to a `String` can't fail.
            let _ = write!(self.sql, " AND {column} = ${n}");
        }
    }

    fn one_of<T: Into<Value>>(&mut self, column: &str, values: impl IntoIterator<Item = T>) {
        let places: Vec<String> = values.into_iter().map(|value| format!("${}", self.bind(value))).collect();
        if !places.is_empty() {
            let _ = write!(self.sql, " AND {column} IN ({})", places.join(", "));
        }
    }

    fn compares(&mut self, column: &str, operator: &str, at: Option<Micros>) {
        if let Some(at) = at {
            let n = self.bind(at);
            let _ = write!(self.sql, " AND {column} {operator} ${n}");
        }
    }

    /// `(a, b) < ($1, $2)`: what comes behind `key` in a descending order.
    fn behind(&mut self, order: Order, key: Vec<Value>) {
        let places: Vec<String> = key.into_iter().map(|value| format!("${}", self.bind(value))).collect();
        let _ = write!(self.sql, " AND ({}) < ({})", order.columns().join(", "), places.join(", "));
    }
}

fn condition(tenant: &str, filter: &Filter) -> Where {
    let mut w = Where { sql: "WHERE tenant_id = $1".to_owned(), args: args![tenant] };
    w.one_of("is_synthetic", [filter.is_synthetic]);
    w.one_of("status", filter.statuses.iter().copied());
    w.one_of("severity", filter.severities.iter().copied());
    w.one_of("category", filter.categories.iter().copied());
    w.one_of("trigger_type", filter.triggers.iter().copied());
    w.one_of("cause_code", filter.cause_codes.iter());
    w.one_of("cause_type", filter.cause_type.map(CauseType::code));
    w.equals("affected_agent_id", &filter.agent_id);
    w.equals("project_id", &filter.project_id);
    w.equals("assignee", &filter.assignee);
    w.equals("recurrence_signature", &filter.signature);
    w.compares("opened_at", ">=", filter.opened_from);
    w.compares("opened_at", "<", filter.opened_to);
    w.compares("resolved_at", ">=", filter.resolved_from);
    w.compares("resolved_at", "<", filter.resolved_to);
    if !filter.run_id.is_empty() {
        let n = w.bind(filter.run_id.as_str());
        let _ = write!(
            w.sql,
            " AND EXISTS (SELECT 1 FROM incident_occurrences o WHERE o.tenant_id = incidents.tenant_id \
             AND o.incident_id = incidents.id AND o.run_id = ${n} AND NOT EXISTS (SELECT 1 FROM occurrence_voids v \
             WHERE v.tenant_id = o.tenant_id AND v.run_id = o.run_id AND v.attempt = o.attempt \
             AND v.occurrence_id = o.id))"
        );
    }
    w
}

/// At most `limit` incidents behind `after`.
pub async fn page(
    read: &Read,
    tenant: &str,
    filter: &Filter,
    order: Order,
    after: Option<Vec<Value>>,
    limit: i64,
) -> Result<Vec<Incident>, DbError> {
    let mut w = condition(tenant, filter);
    if order == Order::ResolvedDesc {
        w.sql.push_str(" AND resolved_at IS NOT NULL");
    }
    if let Some(key) = after {
        w.behind(order, key);
    }
    let sorted = order.columns().join(" DESC, ");
    let n = w.bind(limit);
    let _ = write!(w.sql, " ORDER BY {sorted} DESC LIMIT ${n}");
    let rows = read.fetch_all::<IncidentRow>(select(&w.sql), w.args).await?;
    rows.into_iter().map(Incident::try_from).collect()
}
