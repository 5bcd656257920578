//! The store of `activity`: runs inside the transaction it is given and decides nothing.

pub(crate) mod facts;
pub(crate) mod lease;
pub(crate) mod list;
pub(crate) mod pause;
pub(crate) mod projection;
pub(crate) mod row;
pub(crate) mod run;
pub(crate) mod state;

use runspine_db::{Migrations, migrations};

/// The schema.
pub const MIGRATIONS: Migrations = migrations! {
    steps: [1 => "0001_runs", 2 => "0002_run_limits"],
    append_only: ["run_transitions", "run_inputs", "stops", "call_answers", "applied_facts"],
};

/// The placeholders `$first, …` of a list of `count` values.
pub(crate) fn placeholders(first: usize, count: usize) -> String {
    let marks: Vec<String> = (first..first + count).map(|n| format!("${n}")).collect();
    marks.join(", ")
}
