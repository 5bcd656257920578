//! Columns of many rows: PostgreSQL takes each as one argument, a typed array, so that a statement has one text however
//! many rows it is about.

use bytes::Bytes;
use sqlx::{Arguments as _, postgres::PgArguments};

use crate::{Args, DbError, Value, ValueKind};

/// The values of one column, NULLs among them.
#[derive(Debug, Clone, PartialEq)]
pub enum Column {
    /// Of kind `BIGINT`.
    Int(Vec<Option<i64>>),
    /// Of kind `DOUBLE PRECISION`.
    Real(Vec<Option<f64>>),
    /// Of kind `TEXT`.
    Text(Vec<Option<String>>),
    /// Of kind `BYTEA`.
    Bytes(Vec<Option<Bytes>>),
}

impl Column {
    const fn new(kind: ValueKind) -> Self {
        match kind {
            ValueKind::Int => Self::Int(Vec::new()),
            ValueKind::Real => Self::Real(Vec::new()),
            ValueKind::Text => Self::Text(Vec::new()),
            ValueKind::Bytes => Self::Bytes(Vec::new()),
        }
    }

    pub(crate) const fn kind(&self) -> ValueKind {
        match self {
            Self::Int(_) => ValueKind::Int,
            Self::Real(_) => ValueKind::Real,
            Self::Text(_) => ValueKind::Text,
            Self::Bytes(_) => ValueKind::Bytes,
        }
    }

    fn reserve(mut self, count: usize) -> Self {
        match &mut self {
            Self::Int(values) => values.reserve_exact(count),
            Self::Real(values) => values.reserve_exact(count),
            Self::Text(values) => values.reserve_exact(count),
            Self::Bytes(values) => values.reserve_exact(count),
        }
        self
    }

    fn push(&mut self, value: Value) -> Result<(), DbError> {
        match (self, value) {
            (Self::Int(all), Value::Int(v)) => all.push(Some(v)),
            (Self::Int(all), Value::Null(_)) => all.push(None),
            (Self::Real(all), Value::Real(v)) => all.push(Some(v)),
            (Self::Real(all), Value::Null(_)) => all.push(None),
            (Self::Text(all), Value::Text(v)) => all.push(Some(v)),
            (Self::Text(all), Value::Null(_)) => all.push(None),
            (Self::Bytes(all), Value::Bytes(v)) => all.push(Some(v)),
            (Self::Bytes(all), Value::Null(_)) => all.push(None),
            (_, Value::Refused(why)) => return Err(DbError::Argument(why)),
            _ => return Err(DbError::Argument("a column has values of different kinds")),
        }
        Ok(())
    }

    /// Binds it as one array.
    pub(crate) fn bind(self, args: &mut PgArguments) -> Result<(), DbError> {
        match self {
            Self::Int(values) => args.add(values),
            Self::Real(values) => args.add(values),
            Self::Text(values) => args.add(values),
            Self::Bytes(values) => args.add(values.iter().map(Option::as_deref).collect::<Vec<_>>()),
        }
        .map_err(|_| DbError::Argument("an array can't be encoded"))
    }
}

/// The kind of each column: that of its first value, NULL among them since it has one too.
pub(crate) fn kinds(rows: &[Args]) -> Vec<ValueKind> {
    rows.first().map(|row| row.iter().map(Value::kind).collect()).unwrap_or_default()
}

/// `UNNEST($1::BIGINT[],…)` of columns of these kinds, their places counted from `$first`.
pub(crate) fn unnest(kinds: &[ValueKind], first: usize) -> String {
    let arrays = kinds.iter().zip(first..).map(|(kind, place)| {
        let name = match kind {
            ValueKind::Int => "BIGINT",
            ValueKind::Real => "DOUBLE PRECISION",
            ValueKind::Text => "TEXT",
            ValueKind::Bytes => "BYTEA",
        };
        format!("${place}::{name}[]")
    });
    format!("UNNEST({})", arrays.collect::<Vec<_>>().join(","))
}

/// Turns rows into one argument for each column.
pub(crate) fn columns(kinds: &[ValueKind], rows: Vec<Args>) -> Result<Args, DbError> {
    let count = rows.len();
    let mut columns: Vec<Column> = kinds.iter().map(|kind| Column::new(*kind).reserve(count)).collect();
    for row in rows {
        for (column, value) in columns.iter_mut().zip(row) {
            column.push(value)?;
        }
    }
    Ok(columns.into_iter().map(Value::Column).collect())
}
