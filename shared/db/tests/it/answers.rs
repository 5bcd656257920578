//! Kept answers: the same call gives the first answer, another call with its key is refused.

use runspine_db::{KeptAnswer, Replayed, args};
use runspine_errors::mesh;
use runspine_testkit::{TestStore, on_both_engines, tenant};
use runspine_types::{Micros, hash};

use crate::schema::open;

fn kept(key: &str, at: i64) -> KeptAnswer {
    KeptAnswer {
        tenant: tenant(1),
        operation: "notes/Add".into(),
        key: key.into(),
        request_digest: hash(b"request"),
        answer: "answer".into(),
        at: Micros(at),
    }
}

on_both_engines! {
    async fn a_call_is_answered_as_the_first_time(store: TestStore) {
        let db = open(&store).await;
        db.write("first", |tx| Box::pin(async move {
            assert_eq!(tx.replay(&tenant(1), "notes/Add", "k", hash(b"request")).await?, Replayed::Fresh);
            Ok(tx.keep_answer(kept("k", 1)).await?)
        })).await.unwrap();
        db.write("again", |tx| Box::pin(async move {
            let again = tx.replay(&tenant(1), "notes/Add", "k", hash(b"request")).await?;
            assert_eq!(again, Replayed::Replay("answer".into()));
            // Neither another tenant nor another operation has anything to do with it.
            assert_eq!(tx.replay(&tenant(2), "notes/Add", "k", hash(b"other")).await?, Replayed::Fresh);
            assert_eq!(tx.replay(&tenant(1), "notes/Drop", "k", hash(b"other")).await?, Replayed::Fresh);
            Ok(())
        })).await.unwrap();
        let other = db.write("other", |tx| Box::pin(async move {
            tx.replay(&tenant(1), "notes/Add", "k", hash(b"other")).await
        })).await;
        assert!(other.unwrap_err().is(&mesh::IDEMPOTENCY_MISMATCH));
    }

    async fn old_answers_are_forgotten_oldest_first(store: TestStore) {
        let db = open(&store).await;
        let gone = db.write("keep", |tx| Box::pin(async move {
            tx.keep_answers(vec![kept("c", 3), kept("a", 1), kept("b", 2), kept("d", 9)]).await?;
            assert_eq!(tx.purge_answers(Micros(5), 2).await?, 2);
            Ok(tx.purge_answers(Micros(5), 2).await?)
        })).await.unwrap();
        assert_eq!(gone, 1);
        let left: Vec<(String,)> = db.read().fetch_all("SELECT request_key FROM kept_answers", args![]).await.unwrap();
        assert_eq!(left, [("d".to_owned(),)]);
    }
}
