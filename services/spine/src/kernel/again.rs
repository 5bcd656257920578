//! Whether another attempt follows one that failed, and when: pure, and equal on every replica.

use contracts_common::common::v1::{ErrorClass, TerminationReason};
use runspine_types::Hasher;

use super::termination::may_retry;

/// An attempt that ends.
#[derive(Debug, Clone, Copy)]
pub struct Ended<'a> {
    /// Every cause known.
    pub causes: &'a [TerminationReason],
    /// What kind of failure the agent reported.
    pub class: ErrorClass,
    /// Whether the agent would have another attempt.
    pub retryable: bool,
    /// Its number, from 1.
    pub attempt: u32,
    /// Most attempts of its run.
    pub max_attempts: u32,
    /// Somebody worked on it. What nobody ever took is not tried again: nobody would take that either.
    pub executed: bool,
    /// A step's outcome is not known: done again, it might be done twice.
    pub ambiguous: bool,
    /// A freeze covers the run.
    pub frozen: bool,
}

/// Whether another attempt follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Again {
    /// It must not.
    No,
    /// It would, and none is left.
    Exhausted,
    /// It does.
    Yes,
}

/// Whether another attempt follows `ended`. One cause that no attempt can mend is enough against it.
#[must_use]
pub fn again(ended: &Ended<'_>) -> Again {
    let mendable = |cause: &TerminationReason| may_retry(*cause, ended.class, ended.retryable);
    let fit = ended.executed && !ended.ambiguous && !ended.frozen;
    let asked = ended.max_attempts > 1 && !ended.causes.is_empty();
    if !(fit && asked && ended.causes.iter().all(mendable)) {
        return Again::No;
    }
    if ended.attempt < ended.max_attempts { Again::Yes } else { Again::Exhausted }
}

/// How long to wait before the next attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    /// Before the second attempt, in milliseconds; doubled for each one after.
    pub base_ms: u64,
    /// The most without jitter, in milliseconds.
    pub cap_ms: u64,
    /// The most that is added, in thousandths.
    pub jitter_permille: u64,
}

impl Backoff {
    /// Milliseconds between the end of attempt `ended` of `run_id` and the next one.
    #[must_use]
    pub fn after(&self, run_id: &str, ended: u32) -> u64 {
        let doubled = 1_u64.checked_shl(ended.saturating_sub(1)).unwrap_or(u64::MAX);
        let plain = self.base_ms.saturating_mul(doubled).min(self.cap_ms);
        // The top of the digest is a fraction of 2^32.
        let most = u128::from(plain) * u128::from(self.jitter_permille) / 1_000;
        let added = (most * u128::from(fraction(run_id, ended))) >> 32;
        plain.saturating_add(u64::try_from(added).unwrap_or(u64::MAX))
    }
}

fn fraction(run_id: &str, ended: u32) -> u32 {
    let digest =
        Hasher::new("runspine.retry.v1").fixed(run_id.as_bytes()).fixed(&ended.to_be_bytes()).finish();
    let [a, b, c, d, ..] = digest.0;
    u32::from_be_bytes([a, b, c, d])
}

#[cfg(test)]
mod tests {
    use super::*;

    const RUN: &str = "0198c6f0-0000-7000-8000-000000000001";
    const PLAIN: Backoff = Backoff { base_ms: 60_000, cap_ms: 3_600_000, jitter_permille: 0 };

    fn failed(causes: &[TerminationReason]) -> Ended<'_> {
        Ended {
            causes,
            class: ErrorClass::Transient,
            retryable: true,
            attempt: 1,
            max_attempts: 3,
            executed: true,
            ambiguous: false,
            frozen: false,
        }
    }

    #[test]
    fn the_waits_double_up_to_an_hour() {
        let waits: Vec<u64> = (1..=10).map(|n| PLAIN.after(RUN, n) / 1_000).collect();
        assert_eq!(waits, [60, 120, 240, 480, 960, 1_920, 3_600, 3_600, 3_600, 3_600]);
        assert_eq!(PLAIN.after(RUN, u32::MAX), 3_600_000);
    }

    #[test]
    fn the_jitter_is_the_runs_own_and_less_than_a_fifth() {
        let backoff = Backoff { jitter_permille: 200, ..PLAIN };
        let mut seen = std::collections::BTreeSet::new();
        for n in 1..=10 {
            let (plain, with) = (PLAIN.after(RUN, n), backoff.after(RUN, n));
            assert_eq!(with, backoff.after(RUN, n), "equal on every replica");
            assert!(with >= plain && with < plain + plain / 5, "{n}: {with}");
            seen.insert(fraction(RUN, n));
        }
        assert_eq!(seen.len(), 10);
        assert_ne!(fraction(RUN, 1), fraction("0198c6f0-0000-7000-8000-000000000002", 1));
    }

    #[test]
    fn one_cause_that_cannot_pass_is_enough_against_it() {
        use TerminationReason as R;
        assert_eq!(again(&failed(&[R::AgentFailure])), Again::Yes);
        assert_eq!(again(&failed(&[R::Timeout, R::SystemFailure])), Again::Yes);
        for never in [R::PolicyBlock, R::Frozen, R::BudgetExceeded, R::UserAbort, R::Completed] {
            assert_eq!(again(&failed(&[never])), Again::No, "{never:?}");
            assert_eq!(again(&failed(&[R::AgentFailure, never])), Again::No, "{never:?}");
        }
        assert_eq!(again(&failed(&[])), Again::No);
    }

    #[test]
    fn what_stands_against_it_is_asked_before_the_number() {
        let causes = [TerminationReason::AgentFailure];
        let base = failed(&causes);
        assert_eq!(again(&Ended { attempt: 3, ..base }), Again::Exhausted);
        assert_eq!(again(&Ended { attempt: 1, max_attempts: 1, ..base }), Again::No, "none was asked for");
        for against in [
            Ended { retryable: false, ..base },
            Ended { class: ErrorClass::Permanent, ..base },
            Ended { class: ErrorClass::Unspecified, ..base },
            Ended { executed: false, ..base },
            Ended { ambiguous: true, ..base },
            Ended { frozen: true, ..base },
        ] {
            assert_eq!(again(&against), Again::No, "{against:?}");
            assert_eq!(again(&Ended { attempt: 3, ..against }), Again::No, "{against:?}");
        }
    }
}
