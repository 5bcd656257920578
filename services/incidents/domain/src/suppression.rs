//! What a learned rule prevented is not an incident again, with exceptions.

use runspine_errors::{Fault, Outcome};
use runspine_types::Digest;

use crate::{Severity, Trigger, reasons};

/// The structured proof that an enforcement prevented something. Text is never matched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Suppression {
    /// The rule that enforced.
    pub rule_id: String,
    /// The policy snapshot in force.
    pub snapshot_digest: Digest,
    /// The prevention record.
    pub prevention_id: String,
    /// Recurrence signature of what was prevented; empty: none.
    pub signature: String,
}

/// The cause code of a run that a freeze stopped: it is the outcome side of the trigger FREEZE.
const FROZEN: &str = "FROZEN";

/// Whether a prevention record may stand in place of an incident.
///
/// # Errors
/// `SUPPRESSION_FORBIDDEN` for CRITICAL severity, POLICY_VIOLATION, INTEGRITY_FAILURE, TOOL_SECURITY and FREEZE.
pub fn allow(trigger: Trigger, severity: Severity, cause_code: &str) -> Outcome<()> {
    if severity != Severity::Critical && trigger.rule().suppressible && cause_code != FROZEN {
        return Ok(());
    }
    let what = format!("{} of severity {} can't be suppressed", trigger.name(), severity.name());
    Err(Fault::new(&reasons::SUPPRESSION_FORBIDDEN, what).with("cause_code", cause_code))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exactly_the_stated_cases_are_refused() {
        use Trigger as T;
        let forbidden = [T::PolicyViolation, T::IntegrityFailure, T::ToolSecurity, T::Freeze];
        for trigger in T::ALL {
            for severity in Severity::ALL {
                let refused = *severity == Severity::Critical || forbidden.contains(trigger);
                assert_eq!(allow(*trigger, *severity, "STEP_FAILURE").is_err(), refused);
            }
        }
        assert!(allow(T::RunFailure, Severity::High, "FROZEN").is_err());
        // The usual case: a learned rule blocked the run.
        assert!(allow(T::RunFailure, Severity::Medium, "POLICY_BLOCK").is_ok());
    }
}
