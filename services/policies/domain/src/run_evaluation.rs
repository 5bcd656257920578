//! What a run attempt came to.

use crate::words::EvaluationOutcome;

/// What is counted of an attempt.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Decisions about steps.
    pub step_decisions: u32,
    /// Violation facts.
    pub violations: u32,
    /// Enforced denials, of runs and steps, by rules and by people.
    pub denials: u32,
    /// Enforced TERMINATE directives by a rule.
    pub terminations: u32,
    /// Warnings, audited or would-block matches, bypasses.
    pub advisories: u32,
    /// Degraded decisions.
    pub degraded: u32,
    /// Whether the run ends FAILED_POLICY.
    pub failed_policy: bool,
}

/// The outcome: the first rule that fits.
#[must_use]
pub const fn outcome(c: &Counts) -> EvaluationOutcome {
    if c.violations > 0 {
        EvaluationOutcome::Violation
    } else if c.denials > 0 || c.terminations > 0 || c.failed_policy {
        EvaluationOutcome::Prevented
    } else if c.advisories > 0 || c.degraded > 0 {
        EvaluationOutcome::Advisory
    } else if c.step_decisions == 0 {
        EvaluationOutcome::NotApplicable
    } else {
        EvaluationOutcome::NoViolation
    }
}

/// Recorded steps that had a decision, per mille; 1,000 when no step was recorded.
#[must_use]
pub fn coverage(recorded: u32, with_decision: u32) -> u32 {
    if recorded == 0 { 1_000 } else { (u64::from(with_decision) * 1_000 / u64::from(recorded)) as u32 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_rule_that_fits_wins() {
        let mut c = Counts::default();
        assert_eq!(outcome(&c), EvaluationOutcome::NotApplicable);
        c.step_decisions = 2;
        assert_eq!(outcome(&c), EvaluationOutcome::NoViolation);
        c.degraded = 1;
        assert_eq!(outcome(&c), EvaluationOutcome::Advisory);
        c.denials = 1;
        assert_eq!(outcome(&c), EvaluationOutcome::Prevented);
        c.violations = 1;
        assert_eq!(outcome(&c), EvaluationOutcome::Violation);
        assert_eq!((coverage(0, 0), coverage(3, 2)), (1_000, 666));
    }
}
