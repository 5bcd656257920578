//! Shadows: which runs they look at, and for how long.

use runspine_errors::{Fault, Violations, mesh};
use runspine_types::Hasher;

use crate::{reasons, words::ShadowState};

/// The longest life of a shadow, in microseconds: 14 days.
pub const MAX_LIFE: i64 = 14 * 24 * 60 * 60 * 1_000_000;
/// The most shadows of a tenant that look at what is decided.
pub const MAX_ACTIVE: u64 = 3;

/// Checks what is asked for at `now`.
///
/// # Errors
/// FIELD_INVALID for the sample, WINDOW_INVALID for the end.
pub fn check(sample_permille: u32, ends_at: i64, now: i64) -> Result<(), Fault> {
    let mut v = Violations::new();
    let fits = (1..=1_000).contains(&sample_permille);
    v.require(fits, "sample_permille", "OUT_OF_RANGE", "1 to 1,000");
    v.into_result(&mesh::FIELD_INVALID)?;
    if ends_at <= now || ends_at.saturating_sub(now) > MAX_LIFE {
        let text = "a shadow ends in the future, within 14 days";
        return Err(Fault::new(&reasons::WINDOW_INVALID, text).field("ends_at", "WINDOW_INVALID", text));
    }
    Ok(())
}

/// The state of a shadow at `now`: that its time is over is not written down.
#[must_use]
pub fn state(stored: ShadowState, ends_at: i64, now: i64) -> ShadowState {
    if stored == ShadowState::Active && ends_at <= now { ShadowState::Ended } else { stored }
}

/// Whether a run is in the sample: a run is looked at whole or not at all, by every replica alike.
#[must_use]
pub fn is_sampled(shadow_id: &str, run_id: &str, sample_permille: u32) -> bool {
    let digest =
        Hasher::new("runspine.shadow.v1").sized(shadow_id.as_bytes()).sized(run_id.as_bytes()).finish();
    let bytes = digest.as_bytes();
    let n = u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
    n % 1_000 < sample_permille
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_has_about_its_size_and_a_thousand_is_everything() {
        let sampled =
            |permille| (0..10_000).filter(|n| is_sampled("s", &format!("run-{n}"), permille)).count();
        assert_eq!((sampled(1_000), sampled(0)), (10_000, 0));
        assert!((800..1_200).contains(&sampled(100)), "{}", sampled(100));
    }

    #[test]
    fn a_shadow_ends_by_itself_and_only_while_it_looks() {
        assert_eq!(state(ShadowState::Active, 10, 9), ShadowState::Active);
        assert_eq!(state(ShadowState::Active, 10, 10), ShadowState::Ended);
        assert_eq!(state(ShadowState::Stopped, 10, 11), ShadowState::Stopped);
        assert!(check(1, 11, 10).is_ok() && check(0, 11, 10).is_err() && check(1, 10, 10).is_err());
        assert!(check(1_000, 10 + MAX_LIFE, 10).is_ok() && check(1_001, 11, 10).is_err());
        assert!(check(1, 11 + MAX_LIFE, 10).is_err());
    }
}
