//! Many rows with few statements: multi-row `VALUES` on SQLite, `UNNEST` of typed arrays on PostgreSQL.

use crate::{Args, DbError, Dialect, ValueKind, column::unnest};

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

    /// `INSERT OR FAIL … VALUES (?,?),(?,?)…`. A statement that fails spoils its operation, which is undone as a whole:
    /// that SQLite could undo the statement alone would cost it a copy of every page that the statement changes.
    pub(crate) fn values(&self, rows: usize) -> String {
        let mut sql = self.head("INSERT OR FAIL");
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
        // `WHERE true` keeps the grammar of `SELECT … ON CONFLICT` the same on both engines.
        let sql = format!("{} SELECT * FROM {} WHERE true", self.head("INSERT"), unnest(kinds, 1));
        self.tail(sql)
    }

    fn head(&self, verb: &str) -> String {
        format!("{verb} INTO {} ({})", self.table, self.columns.join(","))
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
