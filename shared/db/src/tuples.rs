//! Lists of tuples as a table to join with: one statement looks up any number of rows.

use crate::{Args, Value};

/// Most arguments of one statement; SQLite binds at most 32,766.
const BINDS: usize = 30_000;

/// A list of tuples of one width, in parts that a statement can bind.
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

    /// Adds a tuple.
    pub fn push(&mut self, row: Args) {
        debug_assert_eq!(row.len(), self.width);
        self.rows.push(row);
    }

    /// `(VALUES ($1,$2),…)` with its arguments, part by part. Lengths are rounded up to a power of two by repeating the
    /// last tuple, so that few texts are prepared; a repeated tuple finds the same rows again.
    pub fn parts(self) -> impl Iterator<Item = (String, Args)> {
        let most = (BINDS / self.width.max(1)).max(1);
        let mut rows = self.rows;
        std::iter::from_fn(move || {
            if rows.is_empty() {
                return None;
            }
            let rest = if rows.len() > most { rows.split_off(most) } else { Vec::new() };
            let mut part = std::mem::replace(&mut rows, rest);
            pad(&mut part, most);
            Some((values(part.len(), self.width, 1), part.into_iter().flatten().collect::<Vec<Value>>()))
        })
    }

    /// A text for each list and the arguments of all of them, for one statement that reads several. The lists come back
    /// when they are too long for one statement.
    ///
    /// # Errors
    /// The lists, as they were.
    pub fn together(lists: Vec<Self>) -> Result<(Vec<String>, Args), Vec<Self>> {
        let binds: usize = lists.iter().map(|l| l.rows.len().next_power_of_two() * l.width).sum();
        if binds > BINDS {
            return Err(lists);
        }
        let (mut texts, mut args) = (Vec::with_capacity(lists.len()), Vec::with_capacity(binds));
        for Self { width, mut rows } in lists {
            pad(&mut rows, BINDS);
            texts.push(values(rows.len(), width, args.len() + 1));
            args.extend(rows.into_iter().flatten());
        }
        Ok((texts, args))
    }
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
