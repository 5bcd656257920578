//! The store of a domain: one facade over SQLite and PostgreSQL, group commit, migrations, outbox.
//!
//! A domain opens its [`Db`] once. Reads go to a pool of their own ([`Db::read`]). Writes go to one writer that takes
//! whatever is waiting, runs each operation so that its failure is not another's, and commits the whole group with one
//! fsync before anybody is answered ([`Db::write`] for single operations, [`Db::batcher`] for hot ones).
//!
//! # Rules for SQL that serves both engines
//! - Placeholders are `$1`, `$2`, …; a placeholder can be used twice.
//! - Every integer, flag and time column is `BIGINT`, text is `TEXT`, bytes are `BLOB` on SQLite and `BYTEA` on
//!   PostgreSQL, fractions are `DOUBLE PRECISION`. Flags are 0 and 1. JSON is kept as `TEXT`.
//! - `SUM` of a `BIGINT` is `NUMERIC` on PostgreSQL: write `CAST(COALESCE(SUM(x), 0) AS BIGINT)`.
//! - PostgreSQL can't guess the type of a placeholder that stands alone: write `CAST($1 AS TEXT)` in `SELECT $1` and in
//!   `$1 IS NULL`.
//! - A statement that fails inside a write fails that write, even when its error is caught, because PostgreSQL refuses
//!   everything after it. Say `ON CONFLICT DO NOTHING` instead, or run the risky part in [`Tx::nested`].
//! - No deferred constraints: one that fails at the commit fails it for the whole group.
//!
//! # An example
//! ```no_run
//! # use runspine_db::{Db, Migrations, StoreConfig, args};
//! # async fn example() -> Result<(), runspine_errors::Fault> {
//! const MIGRATIONS: Migrations = Migrations { steps: &[], append_only: &[] }; // see `migrations!`
//! let config = StoreConfig::Sqlite { dir: "data".into() };
//! let db = Db::open(&config, "policies", MIGRATIONS).await?;
//! let id = String::from("rule-1");
//! let changed = db
//!     .write("retire_rule", move |tx| {
//!         Box::pin(async move {
//!             Ok(tx.execute("UPDATE rules SET retired = 1 WHERE id = $1", args![id]).await?)
//!         })
//!     })
//!     .await?;
//! # let _ = changed;
//! db.close().await;
//! # Ok(())
//! # }
//! ```

mod answers;
mod append_only;
mod batch;
mod column;
mod config;
mod conn;
mod copy;
mod db;
mod error;
mod insert;
mod job;
mod migrate;
mod outbox;
mod read;
mod row;
mod sqlite;
mod stats;
mod tuples;
mod tx;
mod value;
mod writer;

pub use answers::{KeptAnswer, Replayed};
pub use batch::{Answers, Batch, Batcher};
pub use column::Column;
pub use config::{Dialect, StoreConfig, Tuning};
pub use db::Db;
pub use error::{DbError, EngineError};
pub use futures::future::BoxFuture;
pub use migrate::{Migration, Migrations};
pub use outbox::{Outbox, OutboxEvent, OutboxRow};
pub use read::{Read, Snapshot};
pub use row::{ColumnIndex, Fields, FromColumn, FromRow, Row};
pub use sqlx::{AssertSqlSafe, SqlSafeStr};
pub use stats::Stats;
pub use tuples::Tuples;
pub use tx::{Part, Tx};
pub use value::{Args, Value, ValueKind};
