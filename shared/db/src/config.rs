//! Where a store lives and how it is tuned.

use std::time::Duration;

/// The engine behind a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Dialect {
    /// SQLite, bundled.
    Sqlite,
    /// PostgreSQL.
    Postgres,
}

impl Dialect {
    /// Picks the text of this engine, for the few statements that differ.
    #[must_use]
    pub const fn pick<T: Copy>(self, sqlite: T, postgres: T) -> T {
        match self {
            Self::Sqlite => sqlite,
            Self::Postgres => postgres,
        }
    }
}

// Kept in `runspine-types`, so that the process layer can name a store without linking one (the spine has none).
pub use runspine_types::StoreConfig;

impl Dialect {
    /// The engine behind a configuration.
    #[must_use]
    pub const fn of(config: &StoreConfig) -> Self {
        match config {
            StoreConfig::Sqlite { .. } => Self::Sqlite,
            StoreConfig::Postgres { .. } => Self::Postgres,
        }
    }
}

/// Sizes and times of a store. The defaults are the measured ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tuning {
    /// Most operations that wait for the writer; further ones are refused as OVERLOADED. 1 or more, default 16,384.
    pub queue_limit: usize,
    /// Most jobs in one group. 1 or more, default 256.
    pub group_limit: usize,
    /// Most items that one call of a batch gets; more are done by further calls in the same group. 1 or more, default 1,024.
    pub batch_limit: usize,
    /// Connections for reads. 1 or more, default 4.
    pub readers: u32,
    /// How long a caller waits for a connection or a lock. Default 5 s.
    pub acquire_timeout: Duration,
    /// What an overloaded caller is told to wait. Default 50 ms.
    pub retry_after: Duration,
}

impl Default for Tuning {
    fn default() -> Self {
        Self {
            queue_limit: 16_384,
            group_limit: 256,
            batch_limit: 1_024,
            readers: 4,
            acquire_timeout: Duration::from_secs(5),
            retry_after: Duration::from_millis(50),
        }
    }
}
