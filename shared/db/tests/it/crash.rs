//! A process that is killed has made durable whatever it acknowledged.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    process::{Command, Stdio},
};

use runspine_db::{Db, StoreConfig, args};
use runspine_testkit::{TestStore, on_both_engines};

use crate::schema::{INSERT, MIGRATIONS, names, open};

/// Where the child finds its store; its absence makes the child's test an ordinary, empty one.
const STORE: &str = "RUNSPINE_DB_CRASH_STORE";
/// What precedes an acknowledged name, for the test runner writes to the same stream.
const MARK: &str = "acknowledged ";

/// The child: writes until it is killed, and says which writes were acknowledged.
#[test]
fn child() {
    let Ok(store) = std::env::var(STORE) else { return };
    let config = if store.starts_with("postgres") {
        StoreConfig::Postgres { url: store }
    } else {
        StoreConfig::Sqlite { dir: store.into() }
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let db = Db::open(&config, "notes", MIGRATIONS).await.unwrap();
        let writers = (0..8).map(|who| tokio::spawn(write_for_ever(db.clone(), who)));
        futures::future::join_all(writers).await;
    });
}

async fn write_for_ever(db: Db, who: u32) {
    for n in 0_u64.. {
        let name = format!("{who}-{n}");
        let row = args![&name, n];
        let done = db.write("note", |tx| Box::pin(async move { Ok(tx.execute(INSERT, row).await?) })).await;
        done.unwrap();
        // `println!` would be captured by the test harness.
        std::io::stdout().write_all(format!("{MARK}{name}\n").as_bytes()).unwrap();
    }
}

on_both_engines! {
    async fn what_was_acknowledged_survives_a_kill(store: TestStore) {
        open(&store).await.close().await;
        let place = match store.config() {
            StoreConfig::Sqlite { dir } => dir.display().to_string(),
            StoreConfig::Postgres { url } => url.clone(),
        };
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["crash::child", "--exact", "--nocapture"])
            .env(STORE, place)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut acknowledged = Vec::new();
        let note = |line: String, all: &mut Vec<String>| {
            if let Some((_, name)) = line.split_once(MARK) {
                all.push(name.to_owned());
            }
        };
        while acknowledged.len() < 400 {
            note(lines.next().expect("the child writes").unwrap(), &mut acknowledged);
        }
        child.kill().unwrap();
        child.wait().unwrap();
        // What is still in the pipe was acknowledged too.
        for line in lines.map_while(Result::ok) {
            note(line, &mut acknowledged);
        }
        let db = open(&store).await;
        let found: std::collections::BTreeSet<String> = names(&db).await.into_iter().collect();
        let lost: Vec<_> = acknowledged.iter().filter(|name| !found.contains(*name)).collect();
        assert!(lost.is_empty(), "{} acknowledged, lost: {lost:?}", acknowledged.len());
        let next = db.write("note", |tx| Box::pin(async move { Ok(tx.execute(INSERT, args!["next", 1_i64]).await?) }));
        assert_eq!(next.await.unwrap(), 1);
    }
}

on_both_engines! {
    /// A kill loses nothing that the operating system has; a power cut loses what was not flushed to the disk.
    async fn commits_are_flushed_to_the_disk(store: TestStore) {
        let db = open(&store).await;
        let sqlite = store.dialect() == runspine_db::Dialect::Sqlite;
        db.write("settings", move |tx| Box::pin(async move {
            if sqlite {
                assert_eq!(tx.fetch_one::<(i64,)>("PRAGMA synchronous", args![]).await?.0, 2, "FULL");
                assert_eq!(tx.fetch_one::<(String,)>("PRAGMA journal_mode", args![]).await?.0, "wal");
            } else {
                assert_eq!(tx.fetch_one::<(String,)>("SHOW synchronous_commit", args![]).await?.0, "on");
            }
            Ok(())
        })).await.unwrap();
    }
}
