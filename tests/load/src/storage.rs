//! Where the measured services store: always somewhere empty.

use std::path::Path;

use runspine_db::StoreConfig;
use runspine_testkit::Postgres;

use crate::args::Engine;

/// An empty place for one part of the harness. A server of its own ends with it.
pub struct Storage(Option<Postgres>);

impl Storage {
    /// Makes it.
    pub async fn empty(engine: Engine) -> Self {
        Self(match engine {
            Engine::Sqlite => None,
            Engine::Postgres => Some(Postgres::durable().await),
        })
    }

    /// The setting that leads a service there; none: its data folder.
    pub fn setting(&self) -> Option<String> {
        self.0.as_ref().map(|server| format!("store.url={}", server.url()))
    }

    /// The same for a store without a service.
    pub fn config(&self, folder: &Path) -> StoreConfig {
        match &self.0 {
            Some(server) => StoreConfig::Postgres { url: server.url().to_owned() },
            None => StoreConfig::Sqlite { dir: folder.to_path_buf() },
        }
    }
}
