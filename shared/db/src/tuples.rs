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
            if let Some(last) = part.last().cloned() {
                part.resize(part.len().next_power_of_two().min(most), last);
            }
            Some((values(part.len(), self.width), part.into_iter().flatten().collect::<Vec<Value>>()))
        })
    }
}

fn values(rows: usize, width: usize) -> String {
    let mut sql = String::from("(VALUES ");
    let mut bind = 1;
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
