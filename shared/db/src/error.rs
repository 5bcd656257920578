//! What can go wrong in a store, told apart as far as a caller can act on it.

use std::sync::Arc;

use runspine_errors::{Fault, mesh};
use rusqlite::{ErrorCode, ffi};
use sqlx::error::ErrorKind;

/// The message that the append-only triggers raise begins with this word.
pub(crate) const IMMUTABLE: &str = "IMMUTABLE_ROW";

/// A failure of a store. Clones share the cause, so that a whole group can be told of one failure.
#[derive(Debug, Clone, thiserror::Error)]
pub enum DbError {
    /// A unique or primary key already has this value.
    #[error("unique constraint {constraint}")]
    Unique {
        /// PostgreSQL: the constraint's name. SQLite: `table.column, table.column`.
        constraint: String,
    },
    /// Another constraint (foreign key, NOT NULL, CHECK) forbids the row.
    #[error("constraint {constraint}")]
    Constraint {
        /// What the engine says about it.
        constraint: String,
    },
    /// A row of an append-only table was to be changed.
    #[error("append-only table: {0}")]
    Immutable(String),
    /// `fetch_one` found no row.
    #[error("no row")]
    NoRow,
    /// A column is missing or holds another type.
    #[error("column {column}: {what}")]
    Column {
        /// Name or index.
        column: String,
        /// What is wrong.
        what: String,
    },
    /// An argument can't be stored.
    #[error("argument: {0}")]
    Argument(&'static str),
    /// The database and the binary's migrations do not fit.
    #[error("migrations: {0}")]
    Migration(String),
    /// The store's configuration is wrong.
    #[error("store configuration: {0}")]
    Config(String),
    /// The engine refused or can't be reached.
    #[error("store: {0}")]
    Engine(#[source] Arc<EngineError>),
    /// The store was closed, or the group's commit failed.
    #[error("store unavailable: {0}")]
    Unavailable(&'static str),
}

impl DbError {
    /// Whether the error is a unique violation of a constraint whose name or columns contain `part`.
    #[must_use]
    pub fn is_unique(&self, part: &str) -> bool {
        matches!(self, Self::Unique { constraint } if constraint.contains(part))
    }

    /// Whether trying again later can help; other refusals of the engine are defects.
    fn is_outage(&self) -> bool {
        match self {
            Self::Engine(error) => error.is_outage(),
            Self::Unavailable(_) => true,
            _ => false,
        }
    }

    /// Whether the connection should not be used again.
    pub(crate) fn is_fatal(&self) -> bool {
        match self {
            Self::Engine(error) => !error.is_answer(),
            Self::Unavailable(_) => true,
            _ => false,
        }
    }
}

/// What an engine's library says.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// SQLite.
    #[error(transparent)]
    Sqlite(rusqlite::Error),
    /// PostgreSQL.
    #[error(transparent)]
    Postgres(sqlx::Error),
}

impl EngineError {
    fn is_outage(&self) -> bool {
        match self {
            Self::Sqlite(error) => matches!(
                error.sqlite_error_code(),
                Some(
                    ErrorCode::DatabaseBusy
                        | ErrorCode::DatabaseLocked
                        | ErrorCode::OutOfMemory
                        | ErrorCode::ReadOnly
                        | ErrorCode::SystemIoFailure
                        | ErrorCode::DiskFull
                        | ErrorCode::CannotOpen
                )
            ),
            // Connection, transaction rollback, resources, operator intervention, system error.
            Self::Postgres(sqlx::Error::Database(found)) => {
                let code = found.code().unwrap_or_default();
                ["08", "40", "53", "57", "58", "25006"].iter().any(|class| code.starts_with(class))
            }
            Self::Postgres(error) => !matches!(
                error,
                sqlx::Error::Encode(_) | sqlx::Error::Decode(_) | sqlx::Error::InvalidArgument(_)
            ),
        }
    }

    /// Whether the engine answered the statement, if only with a refusal.
    const fn is_answer(&self) -> bool {
        match self {
            Self::Sqlite(error) => {
                matches!(error, rusqlite::Error::SqliteFailure(..) | rusqlite::Error::SqlInputError { .. })
            }
            Self::Postgres(error) => matches!(error, sqlx::Error::Database(_)),
        }
    }
}

/// The table that an append-only trigger names.
fn immutable(message: &str) -> Option<DbError> {
    let table = message.strip_prefix(IMMUTABLE)?;
    Some(DbError::Immutable(table.trim().to_owned()))
}

impl From<rusqlite::Error> for DbError {
    fn from(error: rusqlite::Error) -> Self {
        let rusqlite::Error::SqliteFailure(found, Some(message)) = &error else {
            return Self::Engine(Arc::new(EngineError::Sqlite(error)));
        };
        if let Some(immutable) = immutable(message) {
            return immutable;
        }
        // SQLite names no constraint, but its message ends with the columns.
        let constraint = || message.rsplit(": ").next().unwrap_or(message).to_owned();
        match found.extended_code {
            ffi::SQLITE_CONSTRAINT_UNIQUE
            | ffi::SQLITE_CONSTRAINT_PRIMARYKEY
            | ffi::SQLITE_CONSTRAINT_ROWID => Self::Unique { constraint: constraint() },
            ffi::SQLITE_CONSTRAINT_FOREIGNKEY
            | ffi::SQLITE_CONSTRAINT_NOTNULL
            | ffi::SQLITE_CONSTRAINT_CHECK => Self::Constraint { constraint: constraint() },
            _ => Self::Engine(Arc::new(EngineError::Sqlite(error))),
        }
    }
}

impl From<sqlx::Error> for DbError {
    fn from(error: sqlx::Error) -> Self {
        let found = match &error {
            sqlx::Error::RowNotFound => return Self::NoRow,
            sqlx::Error::Database(found) => found,
            _ => return Self::Engine(Arc::new(EngineError::Postgres(error))),
        };
        if let Some(immutable) = immutable(found.message()) {
            return immutable;
        }
        let constraint = || found.constraint().unwrap_or_default().to_owned();
        match found.kind() {
            ErrorKind::UniqueViolation => Self::Unique { constraint: constraint() },
            ErrorKind::ForeignKeyViolation | ErrorKind::NotNullViolation | ErrorKind::CheckViolation => {
                Self::Constraint { constraint: constraint() }
            }
            _ => Self::Engine(Arc::new(EngineError::Postgres(error))),
        }
    }
}

impl From<DbError> for Fault {
    fn from(error: DbError) -> Self {
        let (reason, message) = match &error {
            found if found.is_outage() => {
                (&mesh::STORE_UNAVAILABLE, "the store can't be reached; nothing was changed")
            }
            DbError::Immutable(_) => (&mesh::IMMUTABLE_ROW, "a row that can never change was to be changed"),
            _ => (&mesh::INTERNAL, "the store refused the operation; nothing was changed"),
        };
        Self::new(reason, message).caused_by(error)
    }
}
