//! Group commit: one fsync for many, and nobody's failure is another's.

use std::time::Duration;

use futures::future::join_all;
use runspine_db::{DbError, Tuning, args};
use runspine_errors::{Fault, mesh};
use runspine_testkit::{TestStore, eventually, on_both_engines};

use crate::{
    held::{hold, note, waiting},
    schema::{INSERT, MIGRATIONS, names, open},
};

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
        waiting(&db, 0).await;
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
        eventually(Duration::from_secs(5), || async {
            // Until the store is closing, the call waits behind the held one: a call given up is not run.
            let late = tokio::time::timeout(Duration::from_millis(10), note(&db, "late")).await;
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
