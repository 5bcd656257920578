//! Where a service keeps what it owns. Only words: `runspine-db` opens it.

use std::{fmt, path::PathBuf};

/// The engine and place of the stores of this process; each domain has its own file or schema in it.
#[derive(Clone, PartialEq, Eq)]
pub enum StoreConfig {
    /// Embedded: one file per domain, `<dir>/<domain>.db`.
    Sqlite {
        /// The data folder.
        dir: PathBuf,
    },
    /// A server: one schema per domain.
    Postgres {
        /// Connection string. Holds a password, so it is never printed.
        url: String,
    },
}

impl fmt::Debug for StoreConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sqlite { dir } => f.debug_struct("Sqlite").field("dir", dir).finish(),
            Self::Postgres { .. } => f.debug_struct("Postgres").field("url", &"***").finish(),
        }
    }
}
