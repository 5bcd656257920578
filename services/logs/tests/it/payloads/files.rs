//! What is found by somebody who has the whole data folder and everything that the process wrote.

use std::{fs, io, path::Path, sync::Mutex};

use contracts_logs::v1 as pb;
use runspine_db::StoreConfig;
use runspine_testkit::{SQLITE, TestStore, on_engine, run, test_id};
use tracing_subscriber::fmt::format::FmtSpan;

use super::harness::*;
use crate::traces::harness::{House, reason, sealing};

/// Every line that the process writes, spans included.
static LINES: Mutex<Vec<u8>> = Mutex::new(Vec::new());

/// Writes to [`LINES`].
struct Lines;

impl io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        LINES.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Every byte of every file below a folder; a file that goes meanwhile has none.
fn files(folder: &Path) -> Vec<u8> {
    let mut all = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        all.extend(if path.is_dir() { files(&path) } else { fs::read(&path).unwrap_or_default() });
    }
    all
}

fn folder(store: &TestStore) -> &Path {
    match store.config() {
        StoreConfig::Sqlite { dir } => dir,
        StoreConfig::Postgres { .. } => panic!("the files of a server are its own"),
    }
}

fn holds(all: &[u8], canary: &[u8]) -> bool {
    all.windows(canary.len()).any(|window| window == canary)
}

/// Section 13: with defaults no byte of a prompt is in the data folder, in a line of the log or in a span; what may be
/// kept is in neither as it was.
#[test]
fn no_byte_of_a_prompt_is_in_a_file_a_line_or_a_span() {
    let lines =
        tracing_subscriber::fmt().with_max_level(tracing::Level::TRACE).with_span_events(FmtSpan::FULL);
    lines.with_writer(|| Lines).init();
    on_engine(SQLITE, |store| {
        Box::pin(async move {
            let house = House::over(store).await;
            begin(&house, 1, 0).await;
            let secret = || vec![input("{\"q\":\"canary-prompt\"}"), output("canary-answer")];
            house.one(1, brings(0, secret())).await.unwrap();
            // What is refused says nothing of it either.
            let mut other = brings(0, secret());
            step_of(&mut other).output_tokens += 1;
            assert_eq!(reason(house.one(1, other).await), "IDEMPOTENCY_MISMATCH");
            let twice = brings(1, vec![input("canary-first"), input("canary-second")]);
            assert_eq!(reason(house.one(1, twice).await), "FIELD_INVALID");
            house.settle(1, 1).await;
            house.seal(sealing(1, 1)).await.unwrap();
            let late = pb::AppendAddendumRequest {
                request_id: test_id(9, 1),
                run_id: run(1),
                attempt: 1,
                reason: "reported after the end".into(),
                items: vec![brings(5, secret())],
            };
            house.late(late).await.unwrap();
            begin(&house, 2, LOG_PROMPT | LOG_RESPONSE | CAPTURE_PII | ACCESS_SECRET).await;
            house.one(2, brings(0, secret())).await.unwrap();
            assert_eq!(get(&house, &refs(&house, 2, 1).await.1).await.unwrap().content, "canary-answer");
            assert!(house.published().await.len() > 4);
            let kept = [files(folder(&house.store)), files(house.data_folder())].concat();
            assert!(holds(&kept, b"weather.get"), "the search sees what is there");
            assert!(!holds(&kept, b"canary"), "a byte of a payload is in a file");
        })
    });
    let said = LINES.lock().unwrap();
    assert!(holds(&said, b"AppendRecords") || holds(&said, b"append_records"), "the search sees spans");
    assert!(!holds(&said, b"canary"), "a byte of a payload is in a line or a span");
}
