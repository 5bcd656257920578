//! Lists of contracts.

use std::fmt::Write as _;

use runspine_db::{Args, AssertSqlSafe, DbError, Read, Value};
use runspine_logs_domain::contract::Contract;
use runspine_types::Micros;

use super::{IndexRow, load::fold_rows};

/// Which contracts of a tenant.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ContractFilter {
    /// The saga.
    pub saga: Option<String>,
    /// The state's number.
    pub state: Option<i32>,
    /// The latest verdict's number.
    pub verdict: Option<i32>,
    /// Parked or not.
    pub parked: Option<bool>,
    /// Overdue at this moment.
    pub overdue_at: Option<Micros>,
    /// Subjects; empty for any.
    pub subjects: Vec<String>,
    /// Declared at or after.
    pub declared_from: Option<Micros>,
    /// Declared before.
    pub declared_to: Option<Micros>,
}

/// In what order; each ends in the contract's number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ContractOrder {
    /// Soonest deadline first; contracts without one are left out.
    NextDeadline,
    /// Newest declaration first; what was never declared comes last.
    DeclaredAt,
}

/// A page of contracts.
pub struct ContractPage {
    /// The contracts, with the order's value and number of each.
    pub contracts: Vec<(IndexRow, Contract)>,
}

/// At most `limit` contracts of `tenant` behind `after`.
///
/// # Errors
/// When the store can't be read.
pub async fn list(
    read: &Read,
    tenant: &str,
    filter: &ContractFilter,
    order: ContractOrder,
    after: Option<(i64, i64)>,
    limit: i64,
) -> Result<ContractPage, DbError> {
    let mut query = Conditions::of(tenant);
    query.filter(filter);
    let (value, direction, compare) = match order {
        ContractOrder::NextDeadline => ("next_deadline", "ASC", ">"),
        ContractOrder::DeclaredAt => ("COALESCE(declared_at, 0)", "DESC", "<"),
    };
    if order == ContractOrder::NextDeadline {
        query.sql.push_str(" AND next_deadline IS NOT NULL");
    }
    if let Some((at, id)) = after {
        let (at, id) = (query.bind(at), query.bind(id));
        let _ = write!(query.sql, " AND ({value}, contract_id) {compare} ({at}, {id})");
    }
    let limit = query.bind(limit);
    let sql = format!(
        "SELECT {} FROM contract_index WHERE {} ORDER BY {value} {direction}, contract_id {direction} LIMIT {limit}",
        IndexRow::COLUMNS,
        query.sql
    );
    let mut snapshot = read.snapshot().await?;
    let rows: Vec<IndexRow> = snapshot.fetch_all(AssertSqlSafe(sql), query.args).await?;
    let mut folded = fold_rows(&mut snapshot, &rows).await?;
    let pair = |row: IndexRow| {
        let contract = folded.remove(&row.contract_id)?;
        Some((row, contract))
    };
    Ok(ContractPage { contracts: rows.into_iter().filter_map(pair).collect() })
}

/// Conditions of a list with their arguments.
struct Conditions {
    sql: String,
    args: Args,
}

impl Conditions {
    fn of(tenant: &str) -> Self {
        Self { sql: "tenant_id = $1".to_owned(), args: vec![tenant.into()] }
    }

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

    fn filter(&mut self, filter: &ContractFilter) {
        self.and("saga =", filter.saga.as_deref());
        self.and("state =", filter.state);
        self.and("verdict =", filter.verdict);
        self.and("parked =", filter.parked);
        self.and("next_deadline <=", filter.overdue_at);
        self.and("declared_at >=", filter.declared_from);
        self.and("declared_at <", filter.declared_to);
        if !filter.subjects.is_empty() {
            let places: Vec<String> = filter.subjects.iter().map(|s| self.bind(s)).collect();
            let _ = write!(self.sql, " AND subject_id IN ({})", places.join(", "));
        }
    }
}
