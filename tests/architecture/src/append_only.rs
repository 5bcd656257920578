//! Append-only truth: each domain declares its tables, has them on both engines, and its suite tries to change them.

use crate::{DOMAINS, Inspection, Source};

/// Every domain declares append-only tables that exist on both engines, and a suite that runs on both engines holds the
/// declaration against the database and tries each table. Inspects tables.
#[must_use]
pub fn declared(tree: &[Source]) -> Inspection {
    DOMAINS.iter().map(|domain| of_domain(tree, domain)).fold(Inspection::default(), Inspection::and)
}

fn of_domain(tree: &[Source], domain: &str) -> Inspection {
    let mut seen = Inspection::default();
    let service = format!("services/{domain}");
    let tables = tables(tree, &service);
    if tables.is_empty() {
        seen.object(format!("{domain} declares no append-only table"));
    }
    for engine in ["sqlite", "postgres"] {
        let folder = format!("{service}/migrations/{engine}");
        let steps: Vec<&Source> = tree.iter().filter(|s| s.is_in(&folder)).collect();
        for table in &tables {
            let made = steps.iter().any(|s| creates(&s.text, table));
            seen.require(made, || format!("{domain}: {table} is not made on {engine}"));
        }
    }
    let suite = format!("{service}/tests");
    let suite: Vec<&Source> = tree.iter().filter(|s| s.is_in(&suite)).collect();
    for call in ["assert_append_only_tables(", "assert_append_only(", "on_both_engines!"] {
        let called = suite.iter().any(|s| s.text.contains(call));
        seen.require(called, || format!("{domain}: no test has {call}"));
    }
    seen
}

/// The names in `append_only: [ … ]` of the store's migrations.
fn tables(tree: &[Source], service: &str) -> Vec<String> {
    let store = format!("{service}/src/store");
    let lists = tree.iter().filter(|s| s.is_in(&store)).filter_map(|s| {
        let (_, rest) = s.text.split_once("append_only: [")?;
        Some(rest.split_once(']')?.0)
    });
    lists.flat_map(|list| list.split('"').skip(1).step_by(2).map(str::to_owned)).collect()
}

fn creates(sql: &str, table: &str) -> bool {
    let mut words = sql.split(|c: char| c.is_whitespace() || c == '(').filter(|word| !word.is_empty());
    while let Some(word) = words.next() {
        if word.eq_ignore_ascii_case("TABLE") && words.next() == Some(table) {
            return true;
        }
    }
    false
}
