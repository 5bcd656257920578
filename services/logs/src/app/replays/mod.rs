//! Replays: opened over a proved attempt, noted step by step, and ended with what they found.

mod check;
mod finish;
mod start;
mod view;

pub use check::Checker;

use contracts_logs::v1::TraceRecord;
use prost::Message as _;
use runspine_db::DbError;
use runspine_errors::Fault;
use runspine_logs_domain::{reasons, replay::Recording};

use super::App;
use crate::store::records;

/// Records that are read at a time.
const PAGE: i64 = 1_000;

impl App {
    /// What a sealed trace says about its steps. It stays true: nothing is appended to a sealed trace.
    async fn recording(&self, trace_key: i64) -> Result<Recording, DbError> {
        let (mut recording, mut position) = (Recording::default(), 0);
        loop {
            let page = records::page(self.db.read(), trace_key, position, PAGE).await?;
            let full = i64::try_from(page.len()).is_ok_and(|length| length == PAGE);
            for row in page {
                position = row.position;
                let record = TraceRecord::decode(row.record).map_err(|error| unreadable("record", &error))?;
                recording.take(record);
            }
            if !full {
                return Ok(recording);
            }
        }
    }
}

fn unreadable(column: &str, error: &prost::DecodeError) -> DbError {
    DbError::Column { column: column.to_owned(), what: error.to_string() }
}

fn missing() -> Fault {
    Fault::new(&reasons::REPLAY_NOT_FOUND, "there is no such replay")
}

fn closed(replay_id: &str) -> Fault {
    Fault::new(&reasons::REPLAY_CLOSED, "the replay was ended; start another")
        .precondition(format!("replays/{replay_id}"), "is RUNNING")
}
