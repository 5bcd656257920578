//! What is append-only can't be changed by anybody.

use runspine_db::{Dialect, args};
use runspine_errors::mesh;
use runspine_testkit::{TestStore, assert_append_only, assert_append_only_tables, on_both_engines};

use crate::schema::{INSERT, MIGRATIONS, open};

on_both_engines! {
    async fn append_only_tables_refuse_changes(store: TestStore) {
        let db = open(&store).await;
        db.write("add", |tx| Box::pin(async move {
            tx.execute("INSERT INTO facts (what) VALUES ($1)", args!["it happened"]).await?;
            tx.execute(INSERT, args!["note", 1_i64]).await?;
            Ok(())
        })).await.unwrap();
        assert_append_only_tables(&db, &MIGRATIONS).await;
        assert_append_only(&db, "facts").await;
    }

    /// The check itself must fail on a table that can be changed.
    async fn the_check_sees_a_table_that_can_change(store: TestStore) {
        let db = open(&store).await;
        db.write("add", |tx| Box::pin(async move { Ok(tx.execute(INSERT, args!["note", 1_i64]).await?) })).await.unwrap();
        let check = tokio::spawn(async move { assert_append_only(&db, "notes").await });
        assert!(check.await.unwrap_err().is_panic());
    }

    async fn replacing_a_row_is_refused_too(store: TestStore) {
        let db = open(&store).await;
        db.write("add", |tx| Box::pin(async move {
            Ok(tx.execute("INSERT INTO facts (what) VALUES ('a')", args![]).await?)
        })).await.unwrap();
        let sql = match store.dialect() {
            Dialect::Sqlite => "REPLACE INTO facts (id, what) VALUES (1, 'b')",
            Dialect::Postgres => {
                "INSERT INTO facts (id, what) OVERRIDING SYSTEM VALUE VALUES (1, 'b') \
                 ON CONFLICT (id) DO UPDATE SET what = excluded.what"
            }
        };
        let refused = db.write("replace", move |tx| Box::pin(async move { Ok(tx.execute(sql, args![]).await?) })).await;
        let refused = refused.unwrap_err();
        assert!(refused.is(&mesh::IMMUTABLE_ROW));
        assert!(!refused.message().contains("facts"), "internals are not shown");
    }
}
