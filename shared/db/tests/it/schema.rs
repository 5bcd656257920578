//! The schema that the suites use.

use runspine_db::{Db, Migration, Migrations, args};
use runspine_testkit::TestStore;

const SQLITE: &str = "CREATE TABLE notes (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, size BIGINT, \
     body BLOB, share DOUBLE PRECISION);
     CREATE TABLE facts (id INTEGER PRIMARY KEY, what TEXT NOT NULL);
     CREATE TABLE links (note BIGINT REFERENCES notes (id) DEFERRABLE INITIALLY DEFERRED);";
const POSTGRES: &str = "CREATE TABLE notes (id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY, \
     name TEXT NOT NULL UNIQUE, size BIGINT, body BYTEA, share DOUBLE PRECISION);
     CREATE TABLE facts (id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY, what TEXT NOT NULL);
     CREATE TABLE links (note BIGINT REFERENCES notes (id) DEFERRABLE INITIALLY DEFERRED);";

pub const STEP: Migration = Migration { version: 1, name: "0001_notes", sqlite: SQLITE, postgres: POSTGRES };
pub const MIGRATIONS: Migrations = Migrations { steps: &[STEP], append_only: &["facts"] };

pub const INSERT: &str = "INSERT INTO notes (name, size) VALUES ($1, $2)";

pub async fn open(store: &TestStore) -> Db {
    store.open("notes", MIGRATIONS).await
}

pub async fn names(db: &Db) -> Vec<String> {
    let rows = db.read().fetch_all::<(String,)>("SELECT name FROM notes ORDER BY name", args![]).await;
    rows.unwrap().into_iter().map(|(name,)| name).collect()
}
