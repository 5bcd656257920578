//! Lists of tuples as a table to join with: one statement looks up any number of rows.

use crate::{
    Args, DbError, Dialect, Value,
    column::{columns, kinds, unnest},
};

/// Most arguments of one statement; SQLite binds at most 32,766.
const BINDS: usize = 30_000;

/// A list of tuples of one width, in parts that a statement can bind. As a table its columns are `column1`, `column2`, ….
///
/// SQLite reads it as `(VALUES …)`, PostgreSQL as arrays that are unnested: one text for lists of every length, which is
/// parsed once.
pub struct Tuples {
    width: usize,
    rows: Vec<Args>,
}

impl Tuples {
    /// An empty list of tuples with `width` values each.
    pub const fn new(width: usize) -> Self {
        Self { width, rows: Vec::new() }
    }

    /// Whether it holds nothing.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Adds a tuple. Every value of a column must be of one kind, its NULLs among them.
    pub fn push(&mut self, row: Args) {
        debug_assert_eq!(row.len(), self.width);
        self.rows.push(row);
    }

    /// The list as a table with its arguments, part by part. On SQLite, lengths are rounded up to a power of two by
    /// repeating the last tuple, so that few texts are prepared; a repeated tuple finds the same rows again.
    pub fn parts(self, dialect: Dialect) -> impl Iterator<Item = (String, Args)> {
        let most = dialect.pick((BINDS / self.width.max(1)).max(1), usize::MAX);
        let mut rows = self.rows;
        std::iter::from_fn(move || {
            if rows.is_empty() {
                return None;
            }
            let rest = if rows.len() > most { rows.split_off(most) } else { Vec::new() };
            let part = std::mem::replace(&mut rows, rest);
            Some(table(dialect, part, self.width, 1, most))
        })
    }

    /// A text for each list and the arguments of all of them, for one statement that reads several. The lists come back
    /// when they are too long for one statement.
    ///
    /// # Errors
    /// The lists, as they were.
    pub fn together(lists: Vec<Self>, dialect: Dialect) -> Result<(Vec<String>, Args), Vec<Self>> {
        let binds: usize = lists.iter().map(|l| l.rows.len().next_power_of_two() * l.width).sum();
        if dialect == Dialect::Sqlite && binds > BINDS {
            return Err(lists);
        }
        let (mut texts, mut args) = (Vec::with_capacity(lists.len()), Vec::new());
        for Self { width, rows } in lists {
            let (text, more) = table(dialect, rows, width, args.len() + 1, BINDS);
            texts.push(text);
            args.extend(more);
        }
        Ok((texts, args))
    }
}

/// Rows as a table whose arguments are counted from `$first`, and the arguments.
fn table(dialect: Dialect, mut rows: Vec<Args>, width: usize, first: usize, most: usize) -> (String, Args) {
    if dialect == Dialect::Sqlite {
        pad(&mut rows, most);
        return (values(rows.len(), width, first), rows.into_iter().flatten().collect());
    }
    let kinds = kinds(&rows);
    let names: Vec<String> = (1..=width).map(|place| format!("column{place}")).collect();
    let text = format!("(SELECT * FROM {} AS u ({}))", unnest(&kinds, first), names.join(","));
    // Whoever runs the statement hears of a value that no column can hold.
    let refused = |error| match error {
        DbError::Argument(why) => vec![Value::Refused(why)],
        _ => vec![Value::Refused("a tuple can't be encoded")],
    };
    (text, columns(&kinds, rows).unwrap_or_else(refused))
}

/// Rounds the length up to a power of two, `most` at most, by repeating the last tuple.
fn pad(rows: &mut Vec<Args>, most: usize) {
    if let Some(last) = rows.last().cloned() {
        rows.resize(rows.len().next_power_of_two().min(most), last);
    }
}

/// `(VALUES ($1,$2),…)`, counted from `$first`.
fn values(rows: usize, width: usize, first: usize) -> String {
    let mut sql = String::from("(VALUES ");
    let mut bind = first;
    for row in 0..rows {
        sql.push_str(if row == 0 { "(" } else { ",(" });
        for column in 0..width {
            sql.push_str(if column == 0 { "$" } else { ",$" });
            sql.push_str(&bind.to_string());
            bind += 1;
        }
        sql.push(')');
    }
    sql.push(')');
    sql
}
