//! What policies let pass under a bypass counts only when the admission confirmed the bypass at its own epoch and controls
//! has noted the step.

use contracts_common::common::v1::{Directive, Reason, Verdict};
use contracts_controls::v1::{self as controls, AdmitStepResponse, RecordBypassUseRequest};
use contracts_policies::v1::{self as policies, ActionTaken, Decision, Match};
use contracts_spine::v1::{AuthorizeStepRequest, BypassedBy};
use runspine_rpc::Context;

use super::{
    Kernel,
    combine::{Check, Finding, severity},
    step_check,
};

/// When to ask again after a bypass that did not count, milliseconds.
const AGAIN_MS: u64 = 100;

/// A bypass as policies wants it.
#[must_use]
pub(super) fn bypass_for_policies(bypass: &controls::Bypass) -> policies::Bypass {
    policies::Bypass {
        id: bypass.bypass_id.clone(),
        rule_ids: bypass.rule_ids.clone(),
        expires_at: bypass.expires_at,
    }
}

impl Kernel {
    /// What policies said, as a finding, and who let the step pass.
    pub(super) async fn policy_finding(
        &self,
        context: &Context,
        ask: &AuthorizeStepRequest,
        decision: &Decision,
        admitted: Option<&AdmitStepResponse>,
    ) -> (Finding, Option<BypassedBy>) {
        let limits_let_pass = admitted.is_some_and(step_check::is_admitted);
        if decision.bypass_id.is_empty() || !limits_let_pass {
            return (step_check::policy_finding(decision), None);
        }
        let confirmed = admitted.and_then(|a| a.admission.as_ref()).is_some_and(|a| a.bypass_confirmed);
        if confirmed && let Some(passed) = self.pass(context, ask, decision).await {
            return (step_check::policy_finding(decision), Some(passed));
        }
        (unconfirmed(decision), None)
    }

    /// Has controls note the step; none: it did not, and the bypass does not count.
    async fn pass(
        &self,
        context: &Context,
        ask: &AuthorizeStepRequest,
        decision: &Decision,
    ) -> Option<BypassedBy> {
        let rule_ids: Vec<String> = passed(decision).map(|m| m.rule_id.clone()).collect();
        let request = RecordBypassUseRequest {
            bypass_id: decision.bypass_id.clone(),
            run_id: ask.run_id.clone(),
            attempt: ask.attempt,
            step_index: ask.step_index.unwrap_or(0),
            ask: ask.ask,
            decision_id: decision.decision_id.clone(),
            rule_ids: rule_ids.clone(),
        };
        match self.bridges.freezes.pass(context, request).await {
            Ok(noted) => {
                let bypass = noted.bypass.unwrap_or_default();
                Some(BypassedBy {
                    bypass_id: bypass.bypass_id,
                    verdict: decision.verdict_without_bypass,
                    requested_by: bypass.requested_by,
                    approved_by: bypass.decided_by,
                    rule_ids,
                })
            }
            Err(miss) => {
                tracing::warn!(?miss, "a bypass does not count: its use was not noted");
                None
            }
        }
    }
}

fn passed(decision: &Decision) -> impl Iterator<Item = &Match> {
    decision.matches.iter().filter(|m| m.action() == ActionTaken::Bypassed)
}

/// The verdict without the bypass. What would have needed an approval or obligations that nobody made is asked again.
fn unconfirmed(decision: &Decision) -> Finding {
    let text = "the bypass was not confirmed";
    match decision.verdict_without_bypass() {
        Verdict::Allow => step_check::policy_finding(decision),
        Verdict::Deny | Verdict::Unspecified => {
            let mut finding = Finding { verdict: Verdict::Deny, ..step_check::policy_finding(decision) };
            let stated = passed(decision).map(Match::directive).max_by_key(|d| severity(*d));
            finding.directive =
                stated.filter(|d| *d != Directive::Unspecified).unwrap_or(Directive::Continue);
            finding.reasons = passed(decision).map(reason).chain(finding.reasons).collect();
            finding.obligations.clear();
            finding
        }
        Verdict::Modify | Verdict::Defer | Verdict::RequireApproval => Finding {
            retry_after_ms: AGAIN_MS,
            ..Finding::refuse(Check::Policy, Verdict::Defer, Directive::Continue, "BYPASS_UNCONFIRMED", text)
        },
    }
}

fn reason(rule: &Match) -> Reason {
    Reason {
        check: Check::Policy.name().to_owned(),
        code: rule.code.clone(),
        source_id: rule.rule_id.clone(),
        version: rule.version,
        outcome: Verdict::Deny.into(),
        precedence: i32::try_from(rule.precedence).unwrap_or(i32::MAX),
        message: rule.message.clone(),
        ..Reason::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bypassed(without: Verdict) -> Decision {
        let rule = Match {
            rule_id: "rule".into(),
            code: "NO_PAYMENTS".into(),
            action: ActionTaken::Bypassed.into(),
            directive: Directive::Terminate.into(),
            ..Match::default()
        };
        Decision {
            verdict: Verdict::Allow.into(),
            verdict_without_bypass: without.into(),
            bypass_id: "bypass".into(),
            matches: vec![rule],
            ..Decision::default()
        }
    }

    #[test]
    fn a_bypass_that_nobody_confirmed_does_not_count() {
        let denied = unconfirmed(&bypassed(Verdict::Deny));
        assert_eq!((denied.verdict, denied.directive), (Verdict::Deny, Directive::Terminate));
        assert_eq!(
            (denied.reasons[0].code.as_str(), denied.reasons[0].source_id.as_str()),
            ("NO_PAYMENTS", "rule")
        );
        for without in [Verdict::RequireApproval, Verdict::Modify, Verdict::Defer] {
            let asked_again = unconfirmed(&bypassed(without));
            assert_eq!((asked_again.verdict, asked_again.retry_after_ms), (Verdict::Defer, AGAIN_MS));
        }
        assert_eq!(unconfirmed(&bypassed(Verdict::Allow)).verdict, Verdict::Allow);
        assert_eq!(unconfirmed(&bypassed(Verdict::Unspecified)).verdict, Verdict::Deny);
    }
}
