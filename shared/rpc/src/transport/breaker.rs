//! A breaker: a target that fails again and again is left alone for a while instead of being waited for.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// Failures in a row that open it.
const OPEN_AFTER: u32 = 8;
/// How long it stays open before one call may try.
const OPEN_FOR: Duration = Duration::from_millis(500);

#[derive(Debug, Default)]
pub(super) struct Breaker(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    failures: u32,
    open_until: Option<Instant>,
}

impl Breaker {
    /// Whether a call may go; otherwise how long to wait. While open, one caller per period gets through to try.
    pub fn admit(&self, now: Instant) -> Result<(), Duration> {
        let mut state = self.0.lock();
        match state.open_until {
            Some(until) if now < until => Err(until - now),
            Some(_) => {
                state.open_until = Some(now + OPEN_FOR);
                Ok(())
            }
            None => Ok(()),
        }
    }

    /// Tells how a call went; `reached` is false when the target could not serve.
    pub fn report(&self, reached: bool, now: Instant) {
        let mut state = self.0.lock();
        if reached {
            *state = State::default();
            return;
        }
        state.failures = state.failures.saturating_add(1);
        if state.failures >= OPEN_AFTER {
            state.open_until = Some(now + OPEN_FOR);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_opens_lets_one_try_and_closes_on_success() {
        let (breaker, now) = (Breaker::default(), Instant::now());
        for _ in 0..OPEN_AFTER {
            assert!(breaker.admit(now).is_ok());
            breaker.report(false, now);
        }
        assert_eq!(breaker.admit(now), Err(OPEN_FOR));
        let later = now + OPEN_FOR;
        assert!(breaker.admit(later).is_ok());
        assert!(breaker.admit(later).is_err(), "only one may try");
        breaker.report(true, later);
        assert!(breaker.admit(later).is_ok());
        assert!(breaker.admit(later).is_ok());
    }
}
