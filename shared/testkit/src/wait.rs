//! Waiting for conditions instead of sleeping.

use std::time::{Duration, Instant};

/// Asks `condition` until it holds, and fails the test when it does not within `timeout`.
///
/// # Panics
/// When the time is over.
pub async fn eventually<F, Fut>(timeout: Duration, mut condition: F)
where
    F: FnMut() -> Fut,
    Fut: Future<Output = bool>,
{
    let begun = Instant::now();
    let mut pause = Duration::from_millis(1);
    while !condition().await {
        assert!(begun.elapsed() < timeout, "the condition did not hold within {timeout:?}");
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(Duration::from_millis(50));
    }
}
