//! How a source answered: one that failed never looks like one with nothing.

use std::time::Duration;

use contracts_spine::v1::{SourceState, SourceStatus};
use tokio::time::{Instant, timeout};

use crate::bridges::{Called, Miss};

/// What a source gave, and how.
pub struct Answered<T> {
    /// The answer, when there is one.
    pub answer: Option<T>,
    /// The state for the caller.
    pub status: SourceStatus,
}

/// Asks one source for at most `patience`; `count` says how many items its answer holds.
pub async fn ask<T>(
    source: &str,
    patience: Duration,
    call: impl Future<Output = Called<T>>,
    count: impl Fn(&T) -> usize,
) -> Answered<T> {
    let begun = Instant::now();
    let answer = timeout(patience, call).await;
    let answer = answer.unwrap_or_else(|_| Err(Miss::new(tonic::Status::deadline_exceeded("too late"))));
    let mut status = SourceStatus {
        source: source.to_owned(),
        latency: prost_types::Duration::try_from(begun.elapsed()).ok(),
        ..SourceStatus::default()
    };
    match answer {
        Ok(answer) => {
            status.count = u64::try_from(count(&answer)).unwrap_or(u64::MAX);
            let state = if status.count == 0 { SourceState::Empty } else { SourceState::Ok };
            status.state = state.into();
            Answered { answer: Some(answer), status }
        }
        // The run is known; a domain that knows nothing of it has nothing to say.
        Err(miss) if miss.is_not_found() => {
            status.state = SourceState::Empty.into();
            Answered { answer: None, status }
        }
        Err(miss) => {
            let state = if miss.is_timeout() {
                SourceState::Timeout
            } else if miss.is_misconfigured() {
                SourceState::Denied
            } else {
                SourceState::Error
            };
            status.state = state.into();
            status.error_reason = miss.reason();
            status.error_id = miss.details().metadata.get("error_id").cloned().unwrap_or_default();
            Answered { answer: None, status }
        }
    }
}

/// Whether every source answered.
#[must_use]
pub fn complete(sources: &[SourceStatus]) -> bool {
    sources.iter().all(|s| matches!(s.state(), SourceState::Ok | SourceState::Empty))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn every_way_not_to_answer_has_its_name() {
        let patience = Duration::from_millis(10);
        let failing = |status: tonic::Status| async move { Called::<Vec<u8>>::Err(Miss::new(status)) };
        let cases = [
            (ask("s", patience, failing(tonic::Status::unavailable("")), Vec::len).await, SourceState::Error),
            (
                ask("s", patience, failing(tonic::Status::permission_denied("")), Vec::len).await,
                SourceState::Denied,
            ),
            (ask("s", patience, failing(tonic::Status::not_found("")), Vec::len).await, SourceState::Empty),
            (
                ask("s", patience, std::future::pending::<Called<Vec<u8>>>(), Vec::len).await,
                SourceState::Timeout,
            ),
            (ask("s", patience, async { Called::Ok(Vec::new()) }, Vec::len).await, SourceState::Empty),
            (ask("s", patience, async { Called::Ok(vec![1]) }, Vec::len).await, SourceState::Ok),
        ];
        for (answered, expected) in cases {
            assert_eq!(answered.status.state(), expected);
            let whole = matches!(expected, SourceState::Ok | SourceState::Empty);
            assert_eq!(complete(&[answered.status]), whole, "{expected:?}");
        }
    }
}
