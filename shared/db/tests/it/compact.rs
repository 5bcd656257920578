//! What is deleted can be made to leave the files.

use runspine_db::{Db, Dialect, StoreConfig, args};
use runspine_testkit::TestStore;

use crate::schema::{INSERT, names, open};

const PLANTED: &str = "planted-word-";

/// How many files of the store hold what was planted.
fn holding(store: &TestStore) -> usize {
    let StoreConfig::Sqlite { dir } = store.config() else { panic!("files are looked into") };
    let files = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let held = |path: &std::path::PathBuf| {
        let bytes = std::fs::read(path).unwrap();
        bytes.windows(PLANTED.len()).any(|window| window == PLANTED.as_bytes())
    };
    files.filter(|path| path.is_file()).filter(held).count()
}

/// Also while the service has its connections open.
#[tokio::test]
async fn what_is_deleted_leaves_the_files() {
    let store = TestStore::start(Dialect::Sqlite).await;
    let db = open(&store).await;
    for n in 0..200_i64 {
        let row = args![format!("{PLANTED}{n}"), n];
        db.write("add", |tx| Box::pin(async move { Ok(tx.execute(INSERT, row).await?) })).await.unwrap();
    }
    let delete = "DELETE FROM notes WHERE name <> 'kept'";
    db.write("add", |tx| Box::pin(async move { Ok(tx.execute(INSERT, args!["kept", 1_i64]).await?) }))
        .await
        .unwrap();
    db.write("delete", move |tx| Box::pin(async move { Ok(tx.execute(delete, args![]).await?) }))
        .await
        .unwrap();
    assert!(holding(&store) > 0, "a deleted row stays where it was");
    Db::compact(store.config(), "notes", &["notes"]).await.unwrap();
    assert_eq!(holding(&store), 0);
    assert_eq!(names(&db).await, ["kept"]);
}
