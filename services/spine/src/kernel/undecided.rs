//! Counts the decisions that were made without a decider: on a step, and on a start.

use super::combine::{Check, Finding};
use crate::metrics;

/// Nothing is known of freezes for too long.
pub(crate) const FREEZE_STATE_UNKNOWN: &str = "FREEZE_STATE_UNKNOWN";
/// Controls is silent.
pub(crate) const CONTROLS_UNAVAILABLE: &str = "CONTROLS_UNAVAILABLE";
/// Controls could not make a check.
pub(crate) const CONTROL_ERROR: &str = "CONTROL_ERROR";
/// Policies is silent.
pub(crate) const POLICY_UNAVAILABLE: &str = "POLICY_UNAVAILABLE";
/// The decider answered that it could not decide.
const DECIDER_DEGRADED: &str = "DECIDER_DEGRADED";

/// Counts what among the findings of one decision nobody decided.
pub(crate) fn count(findings: &[Finding]) {
    for (check, cause) in findings.iter().filter_map(|f| cause(f).map(|cause| (f.check, cause))) {
        metrics::DEGRADED.increment(&[("failure", cause)]);
        // Freezes and limits are what controls decides.
        if matches!(check, Check::Freeze | Check::Limits) {
            metrics::CONTROLS_DEGRADED.increment(&[("cause", cause)]);
        }
    }
}

/// Why nobody decided, in one of few words: codes of rules must not become labels.
fn cause(finding: &Finding) -> Option<&'static str> {
    let said = finding.reasons.first().map_or("", |reason| reason.code.as_str());
    let known = [FREEZE_STATE_UNKNOWN, CONTROLS_UNAVAILABLE, CONTROL_ERROR, POLICY_UNAVAILABLE];
    let cause = known.into_iter().find(|known| *known == said).unwrap_or(DECIDER_DEGRADED);
    finding.degraded.then_some(cause)
}

#[cfg(test)]
mod tests {
    use contracts_common::common::v1::{Directive, GovernanceProfile, Verdict};

    use super::*;

    #[test]
    fn what_nobody_decided_has_a_cause_of_few_words() {
        for profile in
            [GovernanceProfile::Strict, GovernanceProfile::Standard, GovernanceProfile::ObserveOnly]
        {
            for (check, code) in [
                (Check::Freeze, FREEZE_STATE_UNKNOWN),
                (Check::Limits, CONTROLS_UNAVAILABLE),
                (Check::Limits, CONTROL_ERROR),
                (Check::Policy, POLICY_UNAVAILABLE),
            ] {
                assert_eq!(cause(&Finding::undecided(check, profile, code)), Some(code), "{profile:?}");
            }
        }
        let decided = Finding::deny(Check::Limits, Directive::Continue, "BUDGET_EXCEEDED", "all spent");
        assert_eq!(cause(&decided), None);
        let half = Finding {
            degraded: true,
            ..Finding::refuse(Check::Policy, Verdict::Deny, Directive::Continue, "TENANT_RULE", "no")
        };
        assert_eq!(cause(&half), Some(DECIDER_DEGRADED));
    }
}
