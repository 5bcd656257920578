//! Batches: one call for many, item by item when it fails, and everybody is told when the commit does.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering::SeqCst},
};

use runspine_db::{Answers, Batch, BoxFuture, Tuning, Tx, args};
use runspine_errors::{Fault, mesh};
use runspine_testkit::{TestStore, on_both_engines};

use crate::{
    held::{hold, note, waiting},
    schema::{MIGRATIONS, names, open},
};

on_both_engines! {
    async fn a_batch_is_one_call_and_falls_back_item_by_item(store: TestStore) {
        let db = open(&store).await;
        let counts = Arc::new(Counts::default());
        let notes = db.batcher(Notes(counts.clone()));
        let held = hold(&db).await;
        let calls: Vec<_> = (0..40).map(|n| {
            let notes = notes.clone();
            tokio::spawn(async move { notes.submit(format!("n{n}")).await })
        }).collect();
        waiting(&db, 41).await;
        held.let_go().await;
        for call in calls {
            call.await.unwrap().unwrap();
        }
        assert_eq!(counts.read(), (1, 0, 1), "one call for forty items, one commit");
        // One item of the next group breaks a constraint; the others stand.
        let held = hold(&db).await;
        let calls: Vec<_> = ["x", "n7", "y", ""].map(|name| {
            let notes = notes.clone();
            tokio::spawn(async move { notes.submit(name.to_owned()).await })
        }).into_iter().collect();
        waiting(&db, 5).await;
        held.let_go().await;
        let mut outcomes = Vec::new();
        for call in calls {
            outcomes.push(call.await.unwrap().map_err(|fault| fault.reason().name));
        }
        assert_eq!(outcomes.iter().filter(|o| o.is_ok()).count(), 2);
        assert!(outcomes.contains(&Err("INTERNAL")) && outcomes.contains(&Err("FIELD_INVALID")), "{outcomes:?}");
        assert_eq!(counts.read(), (6, 2, 2), "the whole, then four; the whole and one were undone");
        assert_eq!((db.stats().fallbacks, names(&db).await.len()), (1, 42));
    }

    async fn a_flush_waits_for_a_batch_of_any_size(store: TestStore) {
        let tuning = Tuning { batch_limit: 7, ..Tuning::default() };
        let db = store.open_with("notes", MIGRATIONS, tuning).await;
        let counts = Arc::new(Counts::default());
        let notes = db.batcher(Notes(counts.clone()));
        let held = hold(&db).await;
        let calls: Vec<_> = (0..40).map(|n| {
            let notes = notes.clone();
            tokio::spawn(async move { notes.submit(format!("n{n}")).await })
        }).collect();
        waiting(&db, 41).await;
        let flush = { let db = db.clone(); tokio::spawn(async move { db.flush().await }) };
        held.let_go().await;
        flush.await.unwrap();
        assert_eq!(names(&db).await.len(), 40);
        assert_eq!(counts.read(), (6, 0, 1), "six calls of at most seven, one commit");
        for call in calls {
            call.await.unwrap().unwrap();
        }
    }

    async fn batches_and_operations_share_a_group(store: TestStore) {
        let db = open(&store).await;
        let notes = db.batcher(Notes(Arc::default()));
        let held = hold(&db).await;
        let before = db.stats().groups;
        let (other, batch, again) = (db.clone(), notes.clone(), notes.clone());
        let calls = [
            tokio::spawn(async move { note(&other, "single").await }),
            tokio::spawn(async move { batch.submit("one".to_owned()).await }),
            tokio::spawn(async move { again.submit("two".to_owned()).await }),
        ];
        waiting(&db, 4).await;
        held.let_go().await;
        for call in calls {
            call.await.unwrap().unwrap();
        }
        assert_eq!((db.stats().groups - before, db.stats().largest_group), (2, 3));
        assert_eq!(names(&db).await, ["one", "single", "two"]);
    }

    /// A constraint that is checked at the commit stands for any commit that fails.
    async fn a_failed_commit_is_told_to_everybody(store: TestStore) {
        let db = open(&store).await;
        let counts = Arc::new(Counts::default());
        let notes = db.batcher(Notes(counts.clone()));
        let held = hold(&db).await;
        let (first, second) = (db.clone(), db.clone());
        let calls = [
            tokio::spawn(async move { note(&first, "innocent").await }),
            tokio::spawn(async move { notes.submit("item".to_owned()).await }),
            tokio::spawn(async move {
                let sql = "INSERT INTO links (note) VALUES (77)";
                second.write("link", move |tx| Box::pin(async move {
                    tx.execute(sql, args![]).await?;
                    Ok(())
                })).await
            }),
        ];
        waiting(&db, 4).await;
        held.let_go().await;
        for call in calls {
            assert!(call.await.unwrap().unwrap_err().is(&mesh::STORE_UNAVAILABLE));
        }
        assert_eq!((counts.read(), db.stats().failed_groups), ((1, 1, 0), 1));
        assert!(names(&db).await.is_empty());
        note(&db, "next").await.unwrap();
        assert_eq!(names(&db).await, ["next"]);
    }
}

#[derive(Default)]
struct Counts {
    calls: AtomicUsize,
    undone: AtomicUsize,
    committed: AtomicUsize,
}

impl Counts {
    fn read(&self) -> (usize, usize, usize) {
        (self.calls.load(SeqCst), self.undone.load(SeqCst), self.committed.load(SeqCst))
    }
}

/// Inserts names; refuses the empty one by itself.
struct Notes(Arc<Counts>);

impl Batch for Notes {
    type Item = String;
    type Out = ();
    const NAME: &'static str = "notes";

    fn apply<'t>(&'t self, tx: &'t mut Tx, items: &'t [String]) -> BoxFuture<'t, Answers<()>> {
        Box::pin(async move {
            self.0.calls.fetch_add(1, SeqCst);
            let rows = items.iter().filter(|name| !name.is_empty());
            let rows = rows.map(|name| args![name, 2_i64]).collect();
            tx.insert_rows("notes", &["name", "size"], rows, "").await?;
            let empty = || Err(Fault::new(&mesh::FIELD_INVALID, "a note needs a name"));
            Ok(items.iter().map(|name| if name.is_empty() { empty() } else { Ok(()) }).collect())
        })
    }

    fn committed(&self) {
        self.0.committed.fetch_add(1, SeqCst);
    }

    fn undone(&self) {
        self.0.undone.fetch_add(1, SeqCst);
    }
}
