//! Deadlines: the earliest of the caller's, the header's and the contract's, with the same code on both doors.

use std::{future::Future, time::Duration};

use http::{HeaderMap, HeaderValue, Response};
use runspine_errors::{Fault, mesh};
use tokio::time::{Instant, timeout_at};

use super::earlier;
use crate::{Body, Operation, refusal};

/// Until when a call may take.
#[derive(Debug, Clone, Copy)]
pub(super) struct Until(pub Option<Instant>);

impl Until {
    pub fn of(operation: &Operation, callers: Option<Instant>) -> Self {
        Self(earlier(callers, operation.deadline.map(|d| Instant::now() + d)))
    }
}

/// The answer, or `DEADLINE_EXCEEDED` when it comes too late.
pub(super) async fn within(until: Until, answer: impl Future<Output = Response<Body>>) -> Response<Body> {
    let Some(at) = until.0 else { return answer.await };
    // `timeout_at` polls the answer first: one that is ready at once never touches the timer.
    timeout_at(at, answer).await.unwrap_or_else(|_| refusal(exceeded()))
}

pub(crate) fn exceeded() -> Fault {
    Fault::new(&mesh::DEADLINE_EXCEEDED, "the time of the call is over")
}

/// What a `grpc-timeout` header asks for; `None` when there is none or it is malformed.
#[must_use]
pub fn grpc_timeout(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get("grpc-timeout")?.to_str().ok()?;
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.is_empty() || digits.len() > 8 {
        return None;
    }
    let n: u64 = digits.parse().ok()?;
    match unit {
        "H" => Some(Duration::from_secs(n * 3_600)),
        "M" => Some(Duration::from_secs(n * 60)),
        "S" => Some(Duration::from_secs(n)),
        "m" => Some(Duration::from_millis(n)),
        "u" => Some(Duration::from_micros(n)),
        "n" => Some(Duration::from_nanos(n)),
        _ => None,
    }
}

/// Tells a peer how long the caller still waits.
pub(crate) fn set_grpc_timeout(headers: &mut HeaderMap, left: Duration) {
    // Eight digits at most: milliseconds reach 27 hours.
    let millis = left.as_millis().clamp(1, 99_999_999);
    if let Ok(value) = HeaderValue::from_str(&format!("{millis}m")) {
        headers.insert("grpc-timeout", value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_header_is_read_in_every_unit() {
        let read = |text: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert("grpc-timeout", HeaderValue::from_static(text));
            grpc_timeout(&headers)
        };
        assert_eq!(read("2H"), Some(Duration::from_secs(7_200)));
        assert_eq!(read("3M"), Some(Duration::from_secs(180)));
        assert_eq!(read("4S"), Some(Duration::from_secs(4)));
        assert_eq!(read("5m"), Some(Duration::from_millis(5)));
        assert_eq!(read("6u"), Some(Duration::from_micros(6)));
        assert_eq!(read("7n"), Some(Duration::from_nanos(7)));
        for bad in ["", "m", "1", "x1m", "123456789m", "1h"] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }

    #[test]
    fn what_is_set_is_read_again() {
        let mut headers = HeaderMap::new();
        set_grpc_timeout(&mut headers, Duration::from_millis(1_234));
        assert_eq!(grpc_timeout(&headers), Some(Duration::from_millis(1_234)));
    }
}
