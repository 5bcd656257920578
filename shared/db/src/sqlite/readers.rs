//! The connections for reads. A read runs on a thread for blocking work, since it may wait for the disk.

use std::{sync::Arc, time::Duration};

use parking_lot::Mutex;
use rusqlite::Connection;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::Store;
use crate::{DbError, Tuning};

/// A bounded set of connections, made when they are first needed. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Readers {
    shared: Arc<Shared>,
    free: Arc<Semaphore>,
    most: u32,
    patience: Duration,
}

#[derive(Debug)]
struct Shared {
    store: Store,
    idle: Mutex<Vec<Connection>>,
}

/// The right to one connection. Gives it back when it is dropped, out of whatever transaction it was in.
pub(crate) struct Reader {
    shared: Arc<Shared>,
    conn: Option<Connection>,
    _place: OwnedSemaphorePermit,
}

impl Readers {
    /// Opens the first connection, so that a store that can't be read is found at once.
    pub(crate) async fn open(store: Store, tuning: &Tuning) -> Result<Self, DbError> {
        let most = tuning.readers.max(1);
        let readers = Self {
            shared: Arc::new(Shared { store, idle: Mutex::default() }),
            free: Arc::new(Semaphore::new(most as usize)),
            most,
            patience: tuning.acquire_timeout,
        };
        readers.run(|_| Ok(())).await?;
        Ok(readers)
    }

    /// Waits for a connection.
    pub(crate) async fn reader(&self) -> Result<Reader, DbError> {
        let free = self.free.clone().acquire_owned();
        let place = tokio::time::timeout(self.patience, free)
            .await
            .map_err(|_| DbError::Unavailable("no connection for reads was free in time"))?
            .map_err(|_| DbError::Unavailable("the store was closed"))?;
        Ok(Reader { shared: self.shared.clone(), conn: None, _place: place })
    }

    /// Runs `work` with a connection.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, DbError> + Send + 'static,
    ) -> Result<T, DbError> {
        self.reader().await?.run(work).await?.1
    }

    /// Waits for those that read, then closes every connection.
    pub(crate) async fn close(&self) {
        let all = self.free.acquire_many(self.most).await;
        self.free.close();
        self.shared.idle.lock().clear();
        drop(all);
    }
}

impl Reader {
    /// Runs `work` with this reader's connection, and gives both back.
    pub(crate) async fn run<T: Send + 'static>(
        mut self,
        work: impl FnOnce(&Connection) -> Result<T, DbError> + Send + 'static,
    ) -> Result<(Self, Result<T, DbError>), DbError> {
        let run = tokio::task::spawn_blocking(move || {
            let done = self.connection().and_then(work);
            (self, done)
        });
        run.await.map_err(|_| DbError::Unavailable("a read did not end"))
    }

    fn connection(&mut self) -> Result<&Connection, DbError> {
        let conn = match self.conn.take().or_else(|| self.shared.idle.lock().pop()) {
            Some(conn) => conn,
            None => self.shared.store.reader()?,
        };
        Ok(self.conn.insert(conn))
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let Some(conn) = self.conn.take() else { return };
        if conn.is_autocommit() || conn.execute_batch("ROLLBACK").is_ok() {
            self.shared.idle.lock().push(conn);
        }
    }
}
