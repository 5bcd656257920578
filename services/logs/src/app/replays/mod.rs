//! Replays: opened over a proved attempt, noted step by step, and ended with what they found.

mod check;
mod finish;
mod start;
mod view;

pub use check::Checker;

use contracts_logs::v1::{ReplayDecision, TraceRecord};
use prost::Message as _;
use runspine_db::DbError;
use runspine_errors::Fault;
use runspine_logs_domain::{reasons, replay::Recording};

use super::App;
use crate::store::{
    records::{self, RecordRow},
    traces,
};

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
                recording.take(read(row)?);
            }
            if !full {
                return Ok(recording);
            }
        }
    }

    /// What policies decided about a step of a run, as the trace of its latest attempt has it; nothing while there is no
    /// trace.
    async fn decided(
        &self,
        tenant: &str,
        run_id: &str,
        step_index: u32,
    ) -> Result<Vec<ReplayDecision>, DbError> {
        let trace = traces::one(self.db.read(), tenant, run_id, 0, 0).await?;
        let Some(trace) = trace else { return Ok(Vec::new()) };
        let mut step = Recording::default();
        for row in records::of_step(self.db.read(), trace.trace_key, step_index).await? {
            step.take(read(row)?);
        }
        Ok(step.decisions(step_index).to_vec())
    }
}

fn read(row: RecordRow) -> Result<TraceRecord, DbError> {
    TraceRecord::decode(row.record).map_err(|error| unreadable("record", &error))
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
