//! Waiting for conditions instead of sleeping.

use std::{
    fmt::Debug,
    time::{Duration, Instant},
};

/// Asks `condition` until it holds, and fails the test when it does not within `timeout`.
///
/// # Panics
/// When the time is over.
pub async fn eventually<F: Future<Output = bool>>(timeout: Duration, mut condition: impl FnMut() -> F) {
    let attempt = || {
        let asked = condition();
        async { if asked.await { Ok(()) } else { Err("the condition does not hold") } }
    };
    until_ok(timeout, attempt).await;
}

/// Asks `attempt` until it gives a value, and fails the test with its last error when it does not within `timeout`.
///
/// # Panics
/// When the time is over.
pub async fn until_ok<T, E: Debug, F: Future<Output = Result<T, E>>>(
    timeout: Duration,
    mut attempt: impl FnMut() -> F,
) -> T {
    let begun = Instant::now();
    let mut pause = Duration::from_millis(1);
    loop {
        match attempt().await {
            Ok(value) => return value,
            Err(error) => assert!(begun.elapsed() < timeout, "after {timeout:?} there is still {error:?}"),
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(Duration::from_millis(50));
    }
}
