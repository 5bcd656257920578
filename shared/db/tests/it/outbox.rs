//! The outbox: visible with its commit, dense, never skipped.

use std::time::Duration;

use runspine_db::{OutboxEvent, args};
use runspine_errors::{Fault, mesh};
use runspine_testkit::{TestStore, on_both_engines};
use runspine_types::{Micros, new_id};

use crate::schema::{INSERT, open};

fn event(kind: &str) -> OutboxEvent {
    OutboxEvent { id: new_id(), kind: kind.into(), envelope: "data".into(), at: Micros(7) }
}

on_both_engines! {
    async fn events_leave_with_their_commit_only(store: TestStore) {
        let db = open(&store).await;
        let outbox = db.outbox();
        let mut commits = outbox.subscribe();
        let failed = db.write("fail", |tx| Box::pin(async move {
            tx.emit_raw(event("notes.Lost"));
            Err::<(), _>(Fault::new(&mesh::FIELD_INVALID, "no"))
        })).await;
        assert!(failed.is_err() && !commits.has_changed().unwrap());
        assert_eq!((outbox.head().await.unwrap(), outbox.oldest_unacked("c").await.unwrap()), (0, None));
        db.write("emit", |tx| Box::pin(async move {
            tx.emit_raw(event("notes.A"));
            let undone: Result<(), Fault> = tx.nested(|tx| Box::pin(async move {
                tx.emit_raw(event("notes.Undone"));
                Err(Fault::new(&mesh::FIELD_INVALID, "no"))
            })).await;
            assert!(undone.is_err());
            tx.emit_raw(event("notes.B"));
            Ok(())
        })).await.unwrap();
        tokio::time::timeout(Duration::from_secs(5), commits.changed()).await.unwrap().unwrap();
        let pulled = outbox.pull("c", 10).await.unwrap();
        let seen: Vec<_> = pulled.iter().map(|row| (row.seq, row.kind.as_str())).collect();
        assert_eq!(seen, [(1, "notes.A"), (2, "notes.B")]);
        assert_eq!(outbox.oldest_unacked("c").await.unwrap(), Some(Micros(7)));
        assert_eq!(outbox.oldest_unsent().await.unwrap(), Some(Micros(7)), "nobody is known, so nobody has it");
        outbox.ack("c", 2, Micros(8)).await.unwrap();
        assert_eq!(outbox.oldest_unsent().await.unwrap(), None);
    }

    async fn a_consumer_goes_on_where_it_was(store: TestStore) {
        let db = open(&store).await;
        let outbox = db.outbox();
        db.write("emit", |tx| Box::pin(async move {
            for _ in 0..5 {
                tx.emit_raw(event("notes.A"));
            }
            Ok(())
        })).await.unwrap();
        outbox.ack("c", 3, Micros(1)).await.unwrap();
        outbox.ack("c", 2, Micros(2)).await.unwrap();
        assert_eq!(outbox.pull("c", 1).await.unwrap()[0].seq, 4);
        assert_eq!(outbox.pull("other", 9).await.unwrap().len(), 5);
        assert_eq!(outbox.since(4, 9).await.unwrap().len(), 1);
        outbox.ack("c", 1_000, Micros(3)).await.unwrap();
        db.write("emit", |tx| Box::pin(async move { tx.emit_raw(event("notes.B")); Ok(()) })).await.unwrap();
        assert_eq!(outbox.pull("c", 9).await.unwrap().len(), 1, "an acknowledgement can't run ahead of the events");
        // Only what every consumer has is forgotten, and its numbers are not given again.
        assert_eq!(outbox.prune(Micros(8), 100).await.unwrap(), 5);
        outbox.ack("c", 6, Micros(4)).await.unwrap();
        assert_eq!(outbox.prune(Micros(8), 100).await.unwrap(), 1);
        assert_eq!(outbox.head().await.unwrap(), 6);
        db.write("emit", |tx| Box::pin(async move { tx.emit_raw(event("notes.C")); Ok(()) })).await.unwrap();
        assert_eq!(outbox.pull("c", 9).await.unwrap()[0].seq, 7);
    }

    /// Two stores on one database stand for two replicas of a domain.
    async fn nothing_is_skipped_under_concurrency(store: TestStore) {
        let (first, second) = (open(&store).await, open(&store).await);
        const WRITES: u64 = 150;
        let writers: Vec<_> = [first.clone(), second.clone()].into_iter().enumerate().flat_map(|(who, db)| {
            (0..WRITES).map(move |n| {
                let db = db.clone();
                tokio::spawn(async move {
                    db.write("emit", move |tx| Box::pin(async move {
                        tx.execute(INSERT, args![format!("{who}-{n}"), n]).await?;
                        tx.emit_raw(event("notes.A"));
                        if n % 7 == 3 {
                            return Err(Fault::new(&mesh::FIELD_INVALID, "no"));
                        }
                        Ok(())
                    })).await
                })
            })
        }).collect();
        let expected = 2 * (0..WRITES).filter(|n| n % 7 != 3).count() as u64;
        let outbox = second.outbox();
        let mut next = 1;
        let reading = async {
            while next <= expected {
                for row in outbox.pull("c", 10).await.unwrap() {
                    assert_eq!(row.seq, next, "an event was skipped or came twice");
                    next += 1;
                }
                outbox.ack("c", next - 1, Micros(1)).await.unwrap();
            }
        };
        tokio::time::timeout(Duration::from_secs(30), reading).await.expect("all events arrive");
        for writer in writers {
            let _ = writer.await.unwrap();
        }
        assert_eq!(outbox.head().await.unwrap(), expected);
    }
}
