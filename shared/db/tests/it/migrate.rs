//! Migrations are applied once, never changed, never from the future.

use runspine_db::{Db, DbError, Migration, Migrations};
use runspine_testkit::{TestStore, on_both_engines};

use crate::schema::{MIGRATIONS, STEP, names, open};

const SECOND: Migration = Migration {
    version: 2,
    name: "0002_more",
    sqlite: "CREATE TABLE more (id INTEGER PRIMARY KEY)",
    postgres: "CREATE TABLE more (id BIGINT PRIMARY KEY)",
};
const BOTH: Migrations = Migrations { steps: &[STEP, SECOND], append_only: &["facts"] };
const CHANGED: Migrations =
    Migrations { steps: &[Migration { sqlite: "SELECT 1", postgres: "SELECT 1", ..STEP }], append_only: &[] };
const GAP: Migrations = Migrations { steps: &[SECOND], append_only: &[] };
const BROKEN: Migrations = Migrations {
    steps: &[
        STEP,
        Migration {
            sqlite: "CREATE TABLE half (id BIGINT); CREATE TABLE broken (",
            postgres: "CREATE TABLE half (id BIGINT); CREATE TABLE broken (",
            ..SECOND
        },
    ],
    append_only: &[],
};

async fn refused(store: &TestStore, migrations: Migrations) -> String {
    match Db::open(store.config(), "notes", migrations).await {
        Err(DbError::Migration(why)) => why,
        other => panic!("{other:?}"),
    }
}

on_both_engines! {
    async fn a_store_is_brought_up_to_date(store: TestStore) {
        open(&store).await.close().await;
        let db = store.open("notes", BOTH).await;
        assert!(db.read().prepare("SELECT id FROM more").await.is_ok());
        db.close().await;
        store.open("notes", BOTH).await.close().await;
    }

    async fn a_changed_migration_is_refused(store: TestStore) {
        open(&store).await.close().await;
        assert!(refused(&store, CHANGED).await.contains("changed"));
    }

    async fn a_newer_database_is_refused(store: TestStore) {
        store.open("notes", BOTH).await.close().await;
        assert!(refused(&store, MIGRATIONS).await.contains("newer"));
    }

    async fn a_gap_is_refused(store: TestStore) {
        assert!(refused(&store, GAP).await.contains("number 1"));
    }

    async fn a_broken_migration_leaves_nothing(store: TestStore) {
        assert!(refused(&store, BROKEN).await.contains("0002_more"));
        let db = open(&store).await;
        assert!(db.read().prepare("SELECT id FROM half").await.is_err());
    }

    async fn starters_at_once_agree(store: TestStore) {
        let starters: Vec<_> = (0..12).map(|_| {
            let config = store.config().clone();
            tokio::spawn(async move { Db::open(&config, "notes", BOTH).await })
        }).collect();
        for starter in starters {
            let db = starter.await.unwrap().unwrap();
            assert!(names(&db).await.is_empty());
            db.close().await;
        }
    }

    async fn domains_do_not_meet(store: TestStore) {
        let (notes, other) = (open(&store).await, store.open("other", Migrations::default()).await);
        assert!(other.read().prepare("SELECT name FROM notes").await.is_err());
        assert!(notes.read().prepare("SELECT name FROM notes").await.is_ok());
        let odd = Db::open(store.config(), "No; DROP", Migrations::default()).await;
        assert!(matches!(odd, Err(DbError::Config(_))));
    }
}
