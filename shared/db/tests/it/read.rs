//! Reads never wait for the writer, never write, and can see one state over several statements.

use runspine_db::{DbError, args};
use runspine_testkit::{TestStore, assert_prepares, on_both_engines};

use crate::schema::{INSERT, names, open};

on_both_engines! {
    async fn a_snapshot_sees_one_state(store: TestStore) {
        let db = open(&store).await;
        let add = |name: &'static str| db.write("add", move |tx| Box::pin(async move {
            Ok(tx.execute(INSERT, args![name, 1_i64]).await?)
        }));
        add("first").await.unwrap();
        let mut snapshot = db.read().snapshot().await.unwrap();
        let count = "SELECT COUNT(*) FROM notes";
        assert_eq!(snapshot.fetch_one::<(i64,)>(count, args![]).await.unwrap().0, 1);
        add("second").await.unwrap();
        assert_eq!(snapshot.fetch_one::<(i64,)>(count, args![]).await.unwrap().0, 1);
        assert_eq!(db.read().fetch_one::<(i64,)>(count, args![]).await.unwrap().0, 2);
        drop(snapshot);
        assert_eq!(names(&db).await.len(), 2);
    }

    async fn the_reading_side_can_not_write(store: TestStore) {
        let db = open(&store).await;
        let written = db.read().fetch_all::<(i64,)>("DELETE FROM notes RETURNING size", args![]).await;
        assert!(matches!(written, Err(DbError::Engine(_))), "{written:?}");
    }

    async fn statements_can_be_checked(store: TestStore) {
        let db = open(&store).await;
        assert_prepares(&db, &[INSERT, "SELECT name FROM notes WHERE size = $1 AND name > $2"]).await;
        assert!(db.read().prepare("SELECT nothing FROM notes").await.is_err());
    }

    async fn a_failed_read_is_no_empty_list(store: TestStore) {
        let db = open(&store).await;
        assert!(db.read().fetch_all::<(i64,)>("SELECT missing FROM notes", args![]).await.is_err());
    }
}
