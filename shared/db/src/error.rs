//! What can go wrong in a store, told apart as far as a caller can act on it.

use std::sync::Arc;

use runspine_errors::{Fault, mesh};
use sqlx::error::{DatabaseError as _, ErrorKind};

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
    Engine(#[source] Arc<sqlx::Error>),
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
        let Self::Engine(error) = self else { return matches!(self, Self::Unavailable(_)) };
        let sqlx::Error::Database(found) = &**error else {
            return !matches!(
                **error,
                sqlx::Error::Encode(_) | sqlx::Error::Decode(_) | sqlx::Error::InvalidArgument(_)
            );
        };
        let code = found.code().unwrap_or_default();
        if let Some(sqlite) = found.try_downcast_ref::<sqlx::sqlite::SqliteError>() {
            // The low byte is the primary code: BUSY, LOCKED, NOMEM, READONLY, IOERR, FULL, CANTOPEN.
            let primary = sqlite.code().and_then(|c| c.parse::<u32>().ok()).unwrap_or(0) & 0xff;
            return matches!(primary, 5 | 6 | 7 | 8 | 10 | 13 | 14);
        }
        // Connection, transaction rollback, resources, operator intervention, system error.
        ["08", "40", "53", "57", "58", "25006"].iter().any(|class| code.starts_with(class))
    }

    /// Whether the connection should not be used again.
    pub(crate) fn is_fatal(&self) -> bool {
        match self {
            Self::Engine(error) => !matches!(**error, sqlx::Error::Database(_)),
            Self::Unavailable(_) => true,
            _ => false,
        }
    }
}

impl From<sqlx::Error> for DbError {
    fn from(error: sqlx::Error) -> Self {
        match &error {
            sqlx::Error::RowNotFound => Self::NoRow,
            sqlx::Error::Database(found) => {
                let message = found.message();
                if message.starts_with(IMMUTABLE) {
                    return Self::Immutable(message.trim_start_matches(IMMUTABLE).trim().to_owned());
                }
                // SQLite names no constraint, but its message ends with the columns.
                let name = || match found.constraint() {
                    Some(name) => name.to_owned(),
                    None => message.rsplit(": ").next().unwrap_or(message).to_owned(),
                };
                match found.kind() {
                    ErrorKind::UniqueViolation => Self::Unique { constraint: name() },
                    ErrorKind::ForeignKeyViolation
                    | ErrorKind::NotNullViolation
                    | ErrorKind::CheckViolation => Self::Constraint { constraint: name() },
                    _ => Self::Engine(Arc::new(error)),
                }
            }
            _ => Self::Engine(Arc::new(error)),
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
