//! Lists of rows, newest first: narrowed by what the caller asks for, and continued behind the last row of a page.

use std::fmt::Write as _;

use runspine_db::{Args, AssertSqlSafe, DbError, FromRow, Read, Value};

/// A list in the making. Only what is asked for stands in its statement, so that an index can serve it.
pub struct Newest {
    sql: String,
    args: Args,
    /// The column of the time, and that of the number: together they order the rows.
    by: [&'static str; 2],
}

impl Newest {
    /// The rows that `select` finds with `args`: a statement that ends in a condition.
    pub fn of(select: &str, args: Args, by: [&'static str; 2]) -> Self {
        Self { sql: select.to_owned(), args, by }
    }

    /// Only rows for which `condition` and the value hold, e.g. `outcome =`. Without a value nothing is narrowed.
    #[must_use]
    pub fn and<V: Into<Value>>(mut self, condition: &str, value: Option<V>) -> Self {
        if let Some(value) = value {
            self.args.push(value.into());
            let _ = write!(self.sql, " AND {condition} ${}", self.args.len());
        }
        self
    }

    /// Only rows that satisfy `condition`, which has no value.
    #[must_use]
    pub fn that(mut self, condition: Option<&str>) -> Self {
        if let Some(condition) = condition {
            let _ = write!(self.sql, " AND {condition}");
        }
        self
    }

    /// Only rows whose `column` holds one of `values`. None of them narrow nothing.
    #[must_use]
    pub fn any_of(mut self, column: &str, values: &[String]) -> Self {
        if !values.is_empty() {
            let first = self.args.len() + 1;
            self.args.extend(values.iter().map(|value| Value::from(value.as_str())));
            let places: Vec<String> = (first..=self.args.len()).map(|n| format!("${n}")).collect();
            let _ = write!(self.sql, " AND {column} IN ({})", places.join(", "));
        }
        self
    }

    /// At most `limit` rows behind `after` (time and number).
    ///
    /// # Errors
    /// When the store can't be read.
    pub async fn page<R: FromRow>(
        mut self,
        read: &Read,
        after: Option<(i64, i64)>,
        limit: i64,
    ) -> Result<Vec<R>, DbError> {
        let [at, id] = self.by;
        if let Some((last_at, last_id)) = after {
            self.args.extend([Value::from(last_at), Value::from(last_id)]);
            let n = self.args.len();
            let _ = write!(self.sql, " AND ({at}, {id}) < (${}, ${n})", n - 1);
        }
        self.args.push(limit.into());
        let _ = write!(self.sql, " ORDER BY {at} DESC, {id} DESC LIMIT ${}", self.args.len());
        read.fetch_all(AssertSqlSafe(self.sql), self.args).await
    }
}
