//! From a cause code to severity and category, and from a termination reason to a cause code.

use crate::{Category, Severity, Termination};

/// The table of cause codes. What is not in it is MEDIUM, EXECUTION_FAILURE.
pub const CAUSES: &[(&str, Severity, Category)] = &[
    ("AGENT_CRASH", Severity::Critical, Category::ExecutionFailure),
    ("EXECUTION_TIMEOUT", Severity::High, Category::ExecutionFailure),
    // The kernel's own code for the same thing.
    ("RUN_TIMEOUT", Severity::High, Category::ExecutionFailure),
    ("STEP_FAILURE", Severity::High, Category::ExecutionFailure),
    ("SKILL_ERROR", Severity::High, Category::ExecutionFailure),
    ("STALE_RUN", Severity::High, Category::ExecutionFailure),
    ("AMBIGUOUS_OUTCOME", Severity::High, Category::ExecutionFailure),
    ("SYSTEM_FAILURE", Severity::High, Category::System),
    ("POLICY_BLOCK", Severity::Medium, Category::PolicyViolation),
    ("FROZEN", Severity::High, Category::Manual),
    ("BUDGET_EXCEEDED", Severity::Medium, Category::BudgetExceeded),
    ("RATE_LIMIT_EXCEEDED", Severity::Medium, Category::RateLimit),
    ("RESOURCE_EXHAUSTION", Severity::Medium, Category::ResourceExhaustion),
    ("RETRY_EXHAUSTED", Severity::Medium, Category::ExecutionFailure),
    (UNKNOWN, Severity::Medium, Category::ExecutionFailure),
    ("CANCELLED", Severity::Low, Category::Manual),
    ("MANUAL_STOP", Severity::Low, Category::Manual),
];

/// The code of a failure that says nothing about its cause.
pub const UNKNOWN: &str = "UNKNOWN";

/// The table of termination reasons: the code of a run that gave none itself.
pub const TERMINATIONS: &[(Termination, &str)] = &[
    (Termination::Completed, UNKNOWN),
    (Termination::PolicyBlock, "POLICY_BLOCK"),
    (Termination::BudgetExceeded, "BUDGET_EXCEEDED"),
    (Termination::RateLimited, "RATE_LIMIT_EXCEEDED"),
    (Termination::Timeout, "EXECUTION_TIMEOUT"),
    (Termination::UserAbort, "CANCELLED"),
    (Termination::SystemFailure, "SYSTEM_FAILURE"),
    (Termination::AgentFailure, "STEP_FAILURE"),
    (Termination::Frozen, "FROZEN"),
];

/// Severity and category of a cause code.
#[must_use]
pub fn weigh(code: &str) -> (Severity, Category) {
    CAUSES
        .iter()
        .find(|(known, ..)| *known == code)
        .map_or((Severity::Medium, Category::ExecutionFailure), |&(_, severity, category)| {
            (severity, category)
        })
}

/// The cause code of a run: its own structured code, else the one of its termination reason.
///
/// The error text is no argument: a message that mentions a code says nothing about the cause.
#[must_use]
pub fn of_run(error_code: &str, reason: Termination) -> String {
    let folded = fold(error_code);
    if !folded.is_empty() {
        return folded;
    }
    TERMINATIONS.iter().find(|(known, _)| *known == reason).map_or(UNKNOWN, |&(_, code)| code).to_owned()
}

/// An agent's code in the form of a code: upper case, everything else an underscore, at most 64 characters.
#[must_use]
pub fn fold(code: &str) -> String {
    let upper = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' };
    code.trim().chars().take(64).map(upper).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use Category as C;
    use Severity as S;

    #[test]
    fn each_cause_code_has_its_stated_weight() {
        // The table of the specification, written a second time on purpose: a slip in one of the two shows.
        let stated = [
            ("AGENT_CRASH", S::Critical, C::ExecutionFailure),
            ("EXECUTION_TIMEOUT", S::High, C::ExecutionFailure),
            ("RUN_TIMEOUT", S::High, C::ExecutionFailure),
            ("STEP_FAILURE", S::High, C::ExecutionFailure),
            ("SKILL_ERROR", S::High, C::ExecutionFailure),
            ("STALE_RUN", S::High, C::ExecutionFailure),
            ("AMBIGUOUS_OUTCOME", S::High, C::ExecutionFailure),
            ("SYSTEM_FAILURE", S::High, C::System),
            ("POLICY_BLOCK", S::Medium, C::PolicyViolation),
            ("FROZEN", S::High, C::Manual),
            ("BUDGET_EXCEEDED", S::Medium, C::BudgetExceeded),
            ("RATE_LIMIT_EXCEEDED", S::Medium, C::RateLimit),
            ("RESOURCE_EXHAUSTION", S::Medium, C::ResourceExhaustion),
            ("RETRY_EXHAUSTED", S::Medium, C::ExecutionFailure),
            ("UNKNOWN", S::Medium, C::ExecutionFailure),
            ("ANY_OTHER_CODE", S::Medium, C::ExecutionFailure),
            ("CANCELLED", S::Low, C::Manual),
            ("MANUAL_STOP", S::Low, C::Manual),
        ];
        for (code, severity, category) in stated {
            assert_eq!(weigh(code), (severity, category), "{code}");
        }
        assert_eq!(stated.len(), CAUSES.len() + 1, "every row of the table is stated");
    }

    #[test]
    fn each_termination_reason_without_a_code_has_its_stated_weight() {
        use Termination as T;
        let stated = [
            (T::PolicyBlock, "POLICY_BLOCK", S::Medium, C::PolicyViolation),
            (T::Frozen, "FROZEN", S::High, C::Manual),
            (T::SystemFailure, "SYSTEM_FAILURE", S::High, C::System),
            (T::BudgetExceeded, "BUDGET_EXCEEDED", S::Medium, C::BudgetExceeded),
            (T::RateLimited, "RATE_LIMIT_EXCEEDED", S::Medium, C::RateLimit),
            (T::Timeout, "EXECUTION_TIMEOUT", S::High, C::ExecutionFailure),
            (T::AgentFailure, "STEP_FAILURE", S::High, C::ExecutionFailure),
            (T::UserAbort, "CANCELLED", S::Low, C::Manual),
            (T::Completed, "UNKNOWN", S::Medium, C::ExecutionFailure),
        ];
        for (reason, code, severity, category) in stated {
            assert_eq!(of_run("", reason), code);
            assert_eq!(weigh(code), (severity, category));
        }
        assert_eq!(stated.len(), T::ALL.len());
        assert!(T::ALL.iter().all(|reason| TERMINATIONS.iter().any(|(known, _)| known == reason)));
    }

    #[test]
    fn a_code_of_its_own_wins_and_is_folded() {
        assert_eq!(of_run("AGENT_CRASH", Termination::Timeout), "AGENT_CRASH");
        assert_eq!(of_run(" http-429 ", Termination::AgentFailure), "HTTP_429");
        assert_eq!(fold(&"x".repeat(80)), "X".repeat(64));
        assert_eq!(of_run("  ", Termination::UserAbort), "CANCELLED");
    }
}
