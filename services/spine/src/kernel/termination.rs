//! Why an attempt ends, and what it ends as.

use contracts_common::common::v1::{ErrorClass, RunStatus, TerminationReason};

/// Codes that the kernel itself sets.
pub mod code {
    /// A person said no to the start.
    pub const APPROVAL_REJECTED: &str = "APPROVAL_REJECTED";
    /// Nobody approved the start in time.
    pub const APPROVAL_EXPIRED: &str = "APPROVAL_EXPIRED";
    /// The lease lapsed or nobody ever took the run.
    pub const STALE_RUN: &str = "STALE_RUN";
    /// The start stopped before the run existed.
    pub const START_ABANDONED: &str = "START_ABANDONED";
    /// The running time passed.
    pub const RUN_TIMEOUT: &str = "RUN_TIMEOUT";
    /// A freeze stopped it.
    pub const FROZEN: &str = "FROZEN";
    /// A policy stopped it.
    pub const POLICY_BLOCK: &str = "POLICY_BLOCK";
    /// A budget stopped it.
    pub const BUDGET_EXCEEDED: &str = "BUDGET_EXCEEDED";
    /// A rate limit stopped it.
    pub const RATE_LIMIT_EXCEEDED: &str = "RATE_LIMIT_EXCEEDED";
    /// A pause reached its deadline.
    pub const PAUSE_EXPIRED: &str = "PAUSE_EXPIRED";
    /// A person cancelled it.
    pub const CANCELLED: &str = "CANCELLED";
    /// A step's outcome is not known.
    pub const AMBIGUOUS_OUTCOME: &str = "AMBIGUOUS_OUTCOME";
    /// The last attempt failed too.
    pub const RETRY_EXHAUSTED: &str = "RETRY_EXHAUSTED";
    /// A person had the run go on as a new attempt.
    pub const MANUAL_STOP: &str = "MANUAL_STOP";
    /// The completion was undone.
    pub const SAGA_COMPENSATED: &str = "SAGA_COMPENSATED";
    /// A step was authorized and its outcome never reported.
    pub const UNREPORTED: &str = "UNREPORTED";
}

/// How strong a cause is: 1 is the strongest.
#[must_use]
pub fn precedence(reason: TerminationReason) -> u8 {
    match reason {
        TerminationReason::PolicyBlock => 1,
        TerminationReason::Frozen => 2,
        TerminationReason::BudgetExceeded => 3,
        TerminationReason::RateLimited => 4,
        TerminationReason::Timeout => 5,
        TerminationReason::SystemFailure => 6,
        TerminationReason::AgentFailure => 7,
        TerminationReason::UserAbort => 8,
        TerminationReason::Completed => 9,
        TerminationReason::Unspecified => 10,
    }
}

/// The causes, strongest first and each once.
#[must_use]
pub fn ordered(mut causes: Vec<TerminationReason>) -> Vec<TerminationReason> {
    causes.retain(|c| *c != TerminationReason::Unspecified);
    causes.sort_by_key(|c| precedence(*c));
    causes.dedup();
    causes
}

/// The status that a reason ends an attempt with when no other attempt follows.
#[must_use]
pub fn status(reason: TerminationReason) -> RunStatus {
    match reason {
        TerminationReason::Completed => RunStatus::Succeeded,
        TerminationReason::PolicyBlock => RunStatus::FailedPolicy,
        TerminationReason::Frozen | TerminationReason::UserAbort => RunStatus::Cancelled,
        TerminationReason::BudgetExceeded
        | TerminationReason::RateLimited
        | TerminationReason::Timeout
        | TerminationReason::SystemFailure
        | TerminationReason::AgentFailure
        | TerminationReason::Unspecified => RunStatus::Failed,
    }
}

/// The code that the kernel gives a reason; the agent's own failures keep the agent's code.
#[must_use]
pub fn kernel_code(reason: TerminationReason) -> &'static str {
    match reason {
        TerminationReason::PolicyBlock => code::POLICY_BLOCK,
        TerminationReason::Frozen => code::FROZEN,
        TerminationReason::BudgetExceeded => code::BUDGET_EXCEEDED,
        TerminationReason::RateLimited => code::RATE_LIMIT_EXCEEDED,
        TerminationReason::Timeout => code::RUN_TIMEOUT,
        TerminationReason::SystemFailure => code::STALE_RUN,
        TerminationReason::UserAbort => code::CANCELLED,
        TerminationReason::AgentFailure | TerminationReason::Completed | TerminationReason::Unspecified => "",
    }
}

/// Whether another attempt may follow one that ended for `reason`.
#[must_use]
pub fn may_retry(reason: TerminationReason, class: ErrorClass, retryable: bool) -> bool {
    match reason {
        TerminationReason::RateLimited | TerminationReason::Timeout | TerminationReason::SystemFailure => {
            true
        }
        TerminationReason::AgentFailure => {
            retryable && matches!(class, ErrorClass::Transient | ErrorClass::RateLimit)
        }
        _ => false,
    }
}

/// The termination reason that a refusal of the check named `check` with reason `code` leads to.
#[must_use]
pub fn reason_of_refusal(check: &str, refusal: &str) -> TerminationReason {
    match (check, refusal) {
        ("FREEZE", _) => TerminationReason::Frozen,
        ("LIMITS", "RATE_LIMITED" | "RATE_UNSATISFIABLE" | "CONCURRENCY_EXCEEDED") => {
            TerminationReason::RateLimited
        }
        ("LIMITS", "CONTROLS_UNAVAILABLE" | "CONTROL_ERROR") => TerminationReason::SystemFailure,
        ("LIMITS", _) => TerminationReason::BudgetExceeded,
        ("RUN", "RUN_TIMEOUT") => TerminationReason::Timeout,
        ("RUN", _) => TerminationReason::UserAbort,
        ("LEASE", _) => TerminationReason::SystemFailure,
        _ => TerminationReason::PolicyBlock,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_two_causes_the_stronger_leads_and_both_stay() {
        let all: Vec<TerminationReason> =
            (1..=9).filter_map(|n| TerminationReason::try_from(n).ok()).collect();
        assert_eq!(all.len(), 9);
        for a in &all {
            for b in &all {
                let causes = ordered(vec![*a, *b]);
                assert!(precedence(causes[0]) <= precedence(*a) && precedence(causes[0]) <= precedence(*b));
                assert_eq!(causes.len(), if a == b { 1 } else { 2 });
            }
        }
    }

    #[test]
    fn only_what_can_pass_by_itself_is_tried_again() {
        for n in 1..=9 {
            let Ok(reason) = TerminationReason::try_from(n) else { continue };
            for class in 0..=8 {
                let Ok(class) = ErrorClass::try_from(class) else { continue };
                let again = may_retry(reason, class, true);
                let expected = matches!(
                    reason,
                    TerminationReason::RateLimited
                        | TerminationReason::Timeout
                        | TerminationReason::SystemFailure
                ) || (reason == TerminationReason::AgentFailure
                    && matches!(class, ErrorClass::Transient | ErrorClass::RateLimit));
                assert_eq!(again, expected, "{reason:?} {class:?}");
                assert!(!may_retry(TerminationReason::AgentFailure, class, false));
            }
        }
    }
}
