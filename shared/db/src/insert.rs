//! Many rows with few statements: multi-row `VALUES` on SQLite, `UNNEST` of typed arrays on PostgreSQL.

use std::fmt::Write as _;

use sqlx::{Arguments as _, postgres::PgArguments};

use crate::{Args, DbError, Dialect, Value, ValueKind};

/// SQLite binds at most 32,766 arguments to a statement.
const BINDS: usize = 32_000;
/// More rows in one statement gain nothing.
const ROWS: usize = 512;
/// Beyond this many rows, statements have a multiple of it, so that few texts are prepared.
const STEP: usize = 8;

/// What to insert.
pub(crate) struct Insert<'a> {
    pub(crate) table: &'a str,
    pub(crate) columns: &'a [&'a str],
    /// `ON CONFLICT …` or empty.
    pub(crate) on_conflict: &'a str,
    /// Columns to return, or empty.
    pub(crate) returning: &'a str,
}

impl Insert<'_> {
    /// Refuses rows that do not have one value for each column.
    pub(crate) fn check(&self, rows: &[Args]) -> Result<(), DbError> {
        if rows.iter().all(|row| row.len() == self.columns.len()) {
            return Ok(());
        }
        Err(DbError::Argument("a row has more or fewer values than columns were named"))
    }

    /// How many of `left` rows go into the next statement.
    pub(crate) fn take(&self, dialect: Dialect, left: usize) -> usize {
        if dialect == Dialect::Postgres {
            return left;
        }
        let most = ROWS.min(BINDS / self.columns.len().max(1)).max(1);
        let rows = left.min(most);
        if rows > STEP { rows - rows % STEP } else { rows }
    }

    /// `INSERT … VALUES (?,?),(?,?)…`.
    pub(crate) fn values(&self, rows: usize) -> String {
        let mut sql = self.head();
        sql.push_str(" VALUES ");
        let mut row = String::from("(");
        for place in 0..self.columns.len() {
            row.push_str(if place == 0 { "?" } else { ",?" });
        }
        row.push(')');
        for place in 0..rows {
            if place > 0 {
                sql.push(',');
            }
            sql.push_str(&row);
        }
        self.tail(sql)
    }

    /// `INSERT … SELECT * FROM UNNEST($1::BIGINT[], …)`.
    pub(crate) fn unnest(&self, kinds: &[ValueKind]) -> String {
        let mut sql = self.head();
        sql.push_str(" SELECT * FROM UNNEST(");
        for (place, kind) in kinds.iter().enumerate() {
            let comma = if place == 0 { "" } else { "," };
            let name = match kind {
                ValueKind::Int => "BIGINT",
                ValueKind::Real => "DOUBLE PRECISION",
                ValueKind::Text => "TEXT",
                ValueKind::Bytes => "BYTEA",
            };
            // Writing to a `String` can't fail.
            let _ = write!(sql, "{comma}${}::{name}[]", place + 1);
        }
        // `WHERE true` keeps the grammar of `SELECT … ON CONFLICT` the same on both engines.
        sql.push_str(") WHERE true");
        self.tail(sql)
    }

    fn head(&self) -> String {
        format!("INSERT INTO {} ({})", self.table, self.columns.join(","))
    }

    fn tail(&self, mut sql: String) -> String {
        if !self.on_conflict.is_empty() {
            sql.push(' ');
            sql.push_str(self.on_conflict);
        }
        if !self.returning.is_empty() {
            sql.push_str(" RETURNING ");
            sql.push_str(self.returning);
        }
        sql
    }
}

/// The kind of each column: that of its first value, NULL among them since it has one too.
pub(crate) fn kinds(rows: &[Args]) -> Vec<ValueKind> {
    rows.first().map(|row| row.iter().map(Value::kind).collect()).unwrap_or_default()
}

/// Turns rows into one typed array per column.
pub(crate) fn arrays(kinds: &[ValueKind], rows: Vec<Args>) -> Result<PgArguments, DbError> {
    let count = rows.len();
    let mut columns: Vec<Column> = kinds.iter().map(|kind| Column::new(*kind, count)).collect();
    for row in rows {
        for (column, value) in columns.iter_mut().zip(row) {
            column.push(value)?;
        }
    }
    let mut args = PgArguments::default();
    for column in columns {
        match column {
            Column::Int(values) => args.add(values),
            Column::Real(values) => args.add(values),
            Column::Text(values) => args.add(values),
            Column::Bytes(values) => args.add(values),
        }
        .map_err(|_| DbError::Argument("an array can't be encoded"))?;
    }
    Ok(args)
}

enum Column {
    Int(Vec<Option<i64>>),
    Real(Vec<Option<f64>>),
    Text(Vec<Option<String>>),
    Bytes(Vec<Option<Vec<u8>>>),
}

impl Column {
    fn new(kind: ValueKind, count: usize) -> Self {
        match kind {
            ValueKind::Int => Self::Int(Vec::with_capacity(count)),
            ValueKind::Real => Self::Real(Vec::with_capacity(count)),
            ValueKind::Text => Self::Text(Vec::with_capacity(count)),
            ValueKind::Bytes => Self::Bytes(Vec::with_capacity(count)),
        }
    }

    fn push(&mut self, value: Value) -> Result<(), DbError> {
        match (self, value) {
            (Self::Int(all), Value::Int(v)) => all.push(Some(v)),
            (Self::Int(all), Value::Null(_)) => all.push(None),
            (Self::Real(all), Value::Real(v)) => all.push(Some(v)),
            (Self::Real(all), Value::Null(_)) => all.push(None),
            (Self::Text(all), Value::Text(v)) => all.push(Some(v)),
            (Self::Text(all), Value::Null(_)) => all.push(None),
            (Self::Bytes(all), Value::Bytes(v)) => all.push(Some(Vec::from(v))),
            (Self::Bytes(all), Value::Null(_)) => all.push(None),
            (_, Value::Refused(why)) => return Err(DbError::Argument(why)),
            _ => return Err(DbError::Argument("a column has values of different kinds")),
        }
        Ok(())
    }
}
