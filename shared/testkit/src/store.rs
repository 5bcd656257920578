//! Temporary stores.

use std::pin::Pin;

use runspine_db::{Db, Dialect, Migrations, StoreConfig, Tuning};
use tempfile::TempDir;

use crate::Postgres;

/// An empty store that ends with the value.
pub struct TestStore {
    config: StoreConfig,
    _guard: Guard,
}

enum Guard {
    Sqlite(#[allow(dead_code, reason = "removes the folder when it is dropped")] TempDir),
    Postgres(#[allow(dead_code, reason = "ends the server when it is dropped")] Postgres),
}

impl TestStore {
    /// A new store of the given engine.
    ///
    /// # Panics
    /// When PostgreSQL is not installed or does not start.
    pub async fn start(dialect: Dialect) -> Self {
        match dialect {
            Dialect::Sqlite => {
                let dir = tempfile::tempdir().expect("a temporary folder");
                let config = StoreConfig::Sqlite { dir: dir.path().to_owned() };
                Self { config, _guard: Guard::Sqlite(dir) }
            }
            Dialect::Postgres => {
                let server = Postgres::start().await;
                let config = StoreConfig::Postgres { url: server.url().to_owned() };
                Self { config, _guard: Guard::Postgres(server) }
            }
        }
    }

    /// Where it is.
    #[must_use]
    pub const fn config(&self) -> &StoreConfig {
        &self.config
    }

    /// The engine.
    #[must_use]
    pub const fn dialect(&self) -> Dialect {
        Dialect::of(&self.config)
    }

    /// Opens the store of a domain in it.
    ///
    /// # Panics
    /// When it can't be opened.
    pub async fn open(&self, domain: &str, migrations: Migrations) -> Db {
        self.open_with(domain, migrations, Tuning::default()).await
    }

    /// As [`TestStore::open`] with another tuning.
    ///
    /// # Panics
    /// When it can't be opened.
    pub async fn open_with(&self, domain: &str, migrations: Migrations, tuning: Tuning) -> Db {
        Db::open_with(&self.config, domain, migrations, tuning).await.expect("the store opens")
    }
}

type Suite = fn(TestStore) -> Pin<Box<dyn Future<Output = ()> + Send>>;

/// Runs one suite on one engine. Used by [`on_both_engines!`](crate::on_both_engines).
///
/// # Panics
/// When the suite does.
pub fn on_engine(dialect: Dialect, suite: Suite) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.expect("a runtime").block_on(async { suite(TestStore::start(dialect).await).await });
}

/// Makes one test per engine out of each suite: `name::sqlite` and `name::postgres`.
///
/// ```ignore
/// on_both_engines! {
///     /// A rule that was written can be read.
///     async fn rules_can_be_read(store: TestStore) {
///         let db = store.open("policies", MIGRATIONS).await;
///     }
/// }
/// ```
#[macro_export]
macro_rules! on_both_engines {
    ($($(#[$meta:meta])* async fn $name:ident($store:ident: $type:ty) $body:block)*) => {$(
        $(#[$meta])*
        async fn $name($store: $type) $body

        mod $name {
            #[test]
            fn sqlite() {
                $crate::on_engine($crate::SQLITE, |store| ::std::boxed::Box::pin(super::$name(store)));
            }

            #[test]
            fn postgres() {
                $crate::on_engine($crate::POSTGRES, |store| ::std::boxed::Box::pin(super::$name(store)));
            }
        }
    )*};
}

/// For [`on_both_engines!`](crate::on_both_engines), whose callers need not import the type.
pub const SQLITE: Dialect = Dialect::Sqlite;
/// For [`on_both_engines!`](crate::on_both_engines), whose callers need not import the type.
pub const POSTGRES: Dialect = Dialect::Postgres;
