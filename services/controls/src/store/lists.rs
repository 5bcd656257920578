//! Lists of keys in a statement: `(VALUES (…), (…)) AS v`, the same text on both engines.

use std::fmt::Write as _;

use runspine_db::{Args, Value};

/// At most this many keys go into one statement.
pub const CHUNK: usize = 256;

/// A list of keys as a table `v` with columns `column1`, `column2`, …
pub struct List {
    /// The text, `(VALUES …) AS v`.
    pub sql: String,
    /// Its arguments.
    pub args: Args,
}

/// Makes the table of a list. The number of rows is rounded up to a power of two, with the last row repeated, so that
/// few texts are prepared; use it where a repeated key does not matter (`SELECT DISTINCT`, or `IN`).
pub fn list(mut rows: Vec<Args>) -> List {
    let width = rows.first().map_or(1, Vec::len);
    let padded = rows.len().next_power_of_two();
    if let Some(last) = rows.last().cloned() {
        rows.resize(padded, last);
    }
    let mut sql = String::from("(VALUES ");
    let mut place = 0;
    for (index, row) in rows.iter().enumerate() {
        sql.push_str(if index == 0 { "(" } else { ",(" });
        for (column, value) in row.iter().enumerate().take(width) {
            place += 1;
            let comma = if column == 0 { "" } else { "," };
            let kind = if matches!(value, Value::Text(_)) { "TEXT" } else { "BIGINT" };
            let _ = write!(sql, "{comma}CAST(${place} AS {kind})");
        }
        sql.push(')');
    }
    sql.push_str(") AS v");
    List { sql, args: rows.into_iter().flatten().collect() }
}

#[cfg(test)]
mod tests {
    use runspine_db::args;

    use super::*;

    #[test]
    fn a_list_is_padded_to_a_power_of_two() {
        let made = list(vec![args![1_i64, "a"], args![2_i64, "b"], args![3_i64, "c"]]);
        assert_eq!(made.args.len(), 8);
        assert!(made.sql.ends_with("(CAST($7 AS BIGINT),CAST($8 AS TEXT))) AS v"));
    }
}
