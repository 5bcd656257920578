//! Group commit: one fsync for many, and nobody's failure is another's.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
};

use futures::future::join_all;
use runspine_db::{Answers, Batch, BoxFuture, Db, DbError, Tuning, Tx, args};
use runspine_errors::{Fault, mesh};
use runspine_testkit::{TestStore, eventually, on_both_engines};
use tokio::sync::Notify;

use crate::schema::{INSERT, MIGRATIONS, names, open};

async fn note(db: &Db, name: &str) -> Result<(), Fault> {
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
struct Held(Arc<Notify>, tokio::task::JoinHandle<Result<(), Fault>>);

async fn hold(db: &Db) -> Held {
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
    eventually(std::time::Duration::from_secs(5), || async { begun.load(SeqCst) }).await;
    Held(go, task)
}

impl Held {
    async fn let_go(self) {
        self.0.notify_one();
        self.1.await.unwrap().unwrap();
    }
}

async fn waiting(db: &Db, count: u64) {
    eventually(std::time::Duration::from_secs(5), || async { db.stats().waiting == count }).await;
}

on_both_engines! {
    async fn a_failure_is_nobody_elses(store: TestStore) {
        let db = open(&store).await;
        note(&db, "taken").await.unwrap();
        let held = hold(&db).await;
        let before = db.stats().groups;
        let calls: Vec<_> = ["a", "taken", "b", "taken", "taken", "c"]
            .map(|name| {
                let db = db.clone();
                tokio::spawn(async move { note(&db, name).await })
            })
            .into_iter()
            .collect();
        waiting(&db, 7).await;
        held.let_go().await;
        let mut refused = 0;
        for call in calls {
            if let Err(fault) = call.await.unwrap() {
                assert!(fault.is(&mesh::INTERNAL), "{fault:?}");
                refused += 1;
            }
        }
        assert_eq!((refused, names(&db).await), (3, vec!["a", "b", "c", "taken"].into_iter().map(String::from).collect()));
        assert_eq!(db.stats().groups - before, 2, "the held group and one more");
        assert_eq!(db.stats().largest_group, 6);
        db.close().await;
    }

    async fn many_callers_need_few_commits(store: TestStore) {
        let db = open(&store).await;
        let calls = (0..256).map(|n| { let db = &db; async move { note(db, &format!("n{n}")).await } });
        for done in join_all(calls).await {
            done.unwrap();
        }
        let stats = db.stats();
        assert_eq!((stats.operations, stats.waiting, names(&db).await.len()), (256, 0, 256));
        assert!(stats.groups <= 16, "{} groups for 256 operations", stats.groups);
    }

    async fn a_lone_failure_leaves_nothing(store: TestStore) {
        let db = open(&store).await;
        let refused = db.write("refuse", |tx| Box::pin(async move {
            tx.execute(INSERT, args!["gone", 1_i64]).await?;
            Err::<(), _>(Fault::new(&mesh::FIELD_INVALID, "no"))
        })).await.unwrap_err();
        assert!(refused.is(&mesh::FIELD_INVALID));
        note(&db, "next").await.unwrap();
        assert_eq!(names(&db).await, ["next"]);
    }

    async fn a_caught_failure_still_fails_the_operation(store: TestStore) {
        let db = open(&store).await;
        note(&db, "taken").await.unwrap();
        let outcome = db.write("catch", |tx| Box::pin(async move {
            let caught = tx.execute(INSERT, args!["taken", 1_i64]).await;
            assert!(caught.unwrap_err().is_unique("name"));
            Ok(())
        })).await;
        assert!(outcome.is_err());
        assert_eq!(names(&db).await, ["taken"]);
    }

    async fn a_nested_failure_can_be_survived(store: TestStore) {
        let db = open(&store).await;
        note(&db, "taken").await.unwrap();
        db.write("nest", |tx| Box::pin(async move {
            tx.execute(INSERT, args!["before", 1_i64]).await?;
            let inner: Result<(), DbError> = tx.nested(|tx| Box::pin(async move {
                tx.execute(INSERT, args!["inside", 1_i64]).await?;
                tx.execute(INSERT, args!["taken", 1_i64]).await?;
                Ok(())
            })).await;
            assert!(inner.unwrap_err().is_unique("name"));
            tx.execute(INSERT, args!["after", 1_i64]).await?;
            Ok(())
        })).await.unwrap();
        assert_eq!(names(&db).await, ["after", "before", "taken"]);
    }

    async fn a_panic_does_not_end_the_writer(store: TestStore) {
        let db = open(&store).await;
        let held = hold(&db).await;
        let (first, second) = (db.clone(), db.clone());
        let panics = tokio::spawn(async move {
            first.write::<(), _>("panic", |_| Box::pin(async move { panic!("planted") })).await
        });
        let lives = tokio::spawn(async move { note(&second, "lives").await });
        waiting(&db, 3).await;
        held.let_go().await;
        assert!(panics.await.unwrap().unwrap_err().is(&mesh::INTERNAL));
        lives.await.unwrap().unwrap();
        assert_eq!(names(&db).await, ["lives"]);
    }

    async fn a_caller_that_goes_away_breaks_nothing(store: TestStore) {
        let db = open(&store).await;
        let held = hold(&db).await;
        let (first, second) = (db.clone(), db.clone());
        let gone = tokio::spawn(async move { note(&first, "gone").await });
        let stays = tokio::spawn(async move { note(&second, "stays").await });
        waiting(&db, 3).await;
        gone.abort();
        assert!(gone.await.unwrap_err().is_cancelled());
        held.let_go().await;
        stays.await.unwrap().unwrap();
        assert_eq!(names(&db).await, ["stays"]);
        assert_eq!(db.stats().waiting, 0);
    }

    async fn a_full_queue_refuses_and_loses_nothing(store: TestStore) {
        let tuning = Tuning { queue_limit: 3, ..Tuning::default() };
        let db = store.open_with("notes", MIGRATIONS, tuning).await;
        let held = hold(&db).await;
        let calls: Vec<_> = ["a", "b"].map(|name| { let db = db.clone(); tokio::spawn(async move { note(&db, name).await }) }).into_iter().collect();
        waiting(&db, 3).await;
        let refused = note(&db, "late").await.unwrap_err();
        assert!(refused.is(&mesh::OVERLOADED) && refused.retry_delay().is_some());
        held.let_go().await;
        for call in calls {
            call.await.unwrap().unwrap();
        }
        assert_eq!(names(&db).await, ["a", "b"]);
        note(&db, "late").await.unwrap();
    }

    async fn closing_finishes_what_waits(store: TestStore) {
        let db = open(&store).await;
        let held = hold(&db).await;
        let (first, second) = (db.clone(), db.clone());
        let last = tokio::spawn(async move { note(&first, "last").await });
        waiting(&db, 2).await;
        let closing = tokio::spawn(async move { second.close().await });
        eventually(std::time::Duration::from_secs(5), || async {
            // Until the store is closing, the call waits behind the held one: a call given up is not run.
            let late = tokio::time::timeout(std::time::Duration::from_millis(10), note(&db, "late")).await;
            late.is_ok_and(|done| done.is_err_and(|fault| fault.is(&mesh::DRAINING)))
        }).await;
        held.let_go().await;
        closing.await.unwrap();
        last.await.unwrap().unwrap();
        drop(db);
        let again = open(&store).await;
        let found = names(&again).await;
        assert!(found.contains(&"last".to_owned()));
    }

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
}

on_both_engines! {
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

/// The server ends the writer's connection in the middle of a group: nothing of it stands, and the next group works.
#[test]
fn a_lost_connection_is_replaced() {
    runspine_testkit::on_engine(runspine_testkit::POSTGRES, |store| {
        Box::pin(async move {
            let db = open(&store).await;
            let held = hold(&db).await;
            let (first, second) = (db.clone(), db.clone());
            let before = tokio::spawn(async move { note(&first, "before").await });
            waiting(&db, 2).await;
            let kills = tokio::spawn(async move {
                let sql = "SELECT pg_terminate_backend(pg_backend_pid())";
                second
                    .write("kill", move |tx| Box::pin(async move { Ok(tx.execute(sql, args![]).await?) }))
                    .await
            });
            waiting(&db, 3).await;
            held.let_go().await;
            assert!(before.await.unwrap().unwrap_err().is(&mesh::STORE_UNAVAILABLE));
            assert!(kills.await.unwrap().unwrap_err().is(&mesh::STORE_UNAVAILABLE));
            note(&db, "next").await.unwrap();
            assert_eq!(names(&db).await, ["next"]);
        })
    });
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
