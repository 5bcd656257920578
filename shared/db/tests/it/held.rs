//! Holding the writer, so that a test says what forms a group.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    time::Duration,
};

use runspine_db::{Db, args};
use runspine_errors::Fault;
use runspine_testkit::eventually;
use tokio::sync::Notify;

use crate::schema::INSERT;

pub async fn note(db: &Db, name: &str) -> Result<(), Fault> {
    let name = name.to_owned();
    db.write("note", move |tx| {
        Box::pin(async move {
            tx.execute(INSERT, args![name, 1_i64]).await?;
            Ok(())
        })
    })
    .await
}

/// Holds the writer until it is let go, so that what is handed in meanwhile forms one group.
pub struct Held(Arc<Notify>, tokio::task::JoinHandle<Result<(), Fault>>);

pub async fn hold(db: &Db) -> Held {
    let (go, begun) = (Arc::new(Notify::new()), Arc::new(AtomicBool::new(false)));
    let (wait, flag, db) = (go.clone(), begun.clone(), db.clone());
    let task = tokio::spawn(async move {
        db.write("hold", move |_| {
            Box::pin(async move {
                flag.store(true, SeqCst);
                wait.notified().await;
                Ok(())
            })
        })
        .await
    });
    eventually(Duration::from_secs(5), || async { begun.load(SeqCst) }).await;
    Held(go, task)
}

impl Held {
    pub async fn let_go(self) {
        self.0.notify_one();
        self.1.await.unwrap().unwrap();
    }
}

pub async fn waiting(db: &Db, count: u64) {
    eventually(Duration::from_secs(5), || async { db.stats().waiting == count }).await;
}
