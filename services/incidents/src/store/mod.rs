//! What the domain owns, in SQL that both engines understand. Runs inside the transaction that it is given and decides
//! nothing.

pub mod counters;
pub mod exports;
pub mod history;
pub mod incidents;
pub mod lists;
pub mod occurrences;
pub mod outcomes;

use runspine_db::{DbError, Migrations};

/// The schema of the domain.
pub const MIGRATIONS: Migrations = runspine_db::migrations! {
    steps: [1 => "0001_incidents", 2 => "0002_exports"],
    append_only: [
        "incident_occurrences",
        "occurrence_voids",
        "run_outcomes",
        "incident_reports",
        "incident_events",
        "incident_evidence",
        "incident_links",
        "incident_exports",
        "incident_export_ends",
    ],
};

/// A stored number that is no word of its set: the store was written by something else.
fn word<T>(found: Option<T>, column: &'static str) -> Result<T, DbError> {
    found.ok_or_else(|| DbError::Column { column: column.to_owned(), what: "is no known number".to_owned() })
}

/// The same for a column that may be NULL.
fn optional_word<T>(
    code: Option<i32>,
    of: fn(i32) -> Option<T>,
    column: &'static str,
) -> Result<Option<T>, DbError> {
    code.map(|code| word(of(code), column)).transpose()
}
