//! What the disk and the store can do without a mesh before them.

use std::{
    fs::OpenOptions,
    io::Write as _,
    path::Path,
    process,
    time::{Duration, Instant},
};

use runspine_db::{Answers, Args, Batch, BoxFuture, Db, Migration, Migrations, Tx, args};

use crate::{
    args::Engine,
    machine::Usage,
    measure::{Meter, Outcome, Point, together},
    storage::Storage,
};

/// Bytes of a trace record, and of what the disk is asked to append.
const RECORD: usize = 330;
const COLUMNS: [&str; 4] = ["run_key", "seq", "body", "link"];
const SQLITE: &str = "CREATE TABLE rows (id INTEGER PRIMARY KEY, run_key BIGINT NOT NULL, seq BIGINT NOT NULL, \
    body BLOB NOT NULL, link BLOB NOT NULL, UNIQUE (run_key, seq))";
const POSTGRES: &str = "CREATE TABLE rows (id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY, run_key BIGINT NOT NULL, \
    seq BIGINT NOT NULL, body BYTEA NOT NULL, link BYTEA NOT NULL, UNIQUE (run_key, seq))";
const MIGRATIONS: Migrations = Migrations {
    steps: &[Migration { version: 1, name: "0001_rows", sqlite: SQLITE, postgres: POSTGRES }],
    append_only: &[],
};

/// Appends a record and waits for the disk, one after the other.
pub fn disk(folder: &Path, seconds: f64) -> Outcome<Point> {
    let path = folder.join("append.bin");
    let mut file = OpenOptions::new().create(true).append(true).open(&path)?;
    let mut meter = Meter::new()?;
    let mut usage = Usage::default();
    let stretch = Usage::open(process::id());
    let start = Instant::now();
    let until = start + Duration::from_secs_f64(seconds);
    while Instant::now() < until {
        let begun = Instant::now();
        file.write_all(&[7; RECORD])?;
        file.sync_data()?;
        meter.record(begun.elapsed());
    }
    usage.close(&stretch);
    let took = start.elapsed();
    std::fs::remove_file(path)?;
    Ok(Point::new("append + fdatasync", 1, &meter, took, &usage))
}

struct Rows;

/// One row: whose, and its place.
struct Item(i64, i64);

impl Batch for Rows {
    type Item = Item;
    type Out = ();
    const NAME: &'static str = "insert_rows";

    fn apply<'t>(&'t self, tx: &'t mut Tx, items: &'t [Item]) -> BoxFuture<'t, Answers<()>> {
        Box::pin(async move {
            let row =
                |Item(run, seq): &Item| -> Args { args![*run, *seq, vec![7_u8; RECORD], vec![9_u8; 32]] };
            tx.insert_rows("rows", &COLUMNS, items.iter().map(row).collect(), "").await?;
            Ok(items.iter().map(|_| Ok(())).collect())
        })
    }
}

/// Group commit of single rows through `runspine-db`, at every number of callers.
pub async fn store(engine: Engine, folder: &Path, callers: &[usize], seconds: f64) -> Outcome<Vec<Point>> {
    let storage = Storage::empty(engine).await;
    let db = Db::open(&storage.config(folder), "bare", MIGRATIONS).await?;
    let mut points = Vec::new();
    let mut run: i64 = 0;
    for &count in callers {
        let from = run;
        run += i64::try_from(count)?;
        let inserts = |until| (from..run).map(|run| insert(db.clone(), run, until)).collect();
        points.push(together("bare group commit", process::id(), seconds, inserts).await?);
    }
    db.close().await;
    Ok(points)
}

async fn insert(db: Db, run: i64, until: Instant) -> Outcome<Meter> {
    let rows = db.batcher(Rows);
    let mut meter = Meter::new()?;
    let mut seq = 0;
    while Instant::now() < until {
        let begun = Instant::now();
        rows.submit(Item(run, seq)).await?;
        meter.record(begun.elapsed());
        seq += 1;
    }
    Ok(meter)
}
