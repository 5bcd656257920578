//! Rules that demand approval: what together they ask for, and what an approval makes of them.

use serde::{Deserialize, Serialize};

use super::{Finding, combine, obligations};
use crate::{
    approval::Terms,
    evaluate::Said,
    facts::{ApprovalFacts, Inputs},
    obligation::{self, Obligation},
    reasons::codes,
    words::{Directive, Moment, Outcome, Standing, Verdict},
};

/// What rules demand before the action may be done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Demand {
    /// The rules, sorted.
    pub rules: Vec<String>,
    /// Their terms together.
    pub terms: Terms,
    /// What the action is bound to once approved.
    pub obligations: Vec<Obligation>,
}

/// What is demanded, when nothing denies and a rule asks for approval.
pub(super) fn demand(findings: &[Finding<'_>], said: &Said) -> Option<Demand> {
    let with: Vec<&Finding<'_>> = findings.iter().filter(|f| !f.bypassed).collect();
    if with.iter().filter_map(|f| f.counts).max() != Some(Outcome::RequireApproval) {
        return None;
    }
    let demanding = || with.iter().filter(|f| f.demands_approval());
    let mut rules: Vec<String> = demanding().map(|f| f.rule.meaning.rule_id.clone()).collect();
    rules.sort();
    let terms =
        demanding().map(|f| Terms::of_rule(&f.rule.notes.obligations, &said.approvals)).reduce(Terms::and)?;
    let mut obligations = obligation::merge(obligations(&with, said)).ok()?;
    obligations.retain(|o| obligation::is_for_modify(&o.name) || obligation::is_for_any(&o.name));
    Some(Demand { rules, terms, obligations })
}

/// Lets an approval answer for the rules that demand it. One that can be used is spent only when nothing else stands
/// against the action. Nobody is waited for any more once it was decided: then no rule pauses the run for it.
pub(super) fn settle(
    findings: &mut [Finding<'_>],
    demand: &Demand,
    approval: &ApprovalFacts,
    said: &Said,
    inputs: &Inputs<'_>,
    moment: Moment,
) {
    let fits = demand.rules.iter().all(|r| approval.rules.contains(r));
    let spends = matches!(approval.standing, Standing::Usable | Standing::Auto) && fits;
    let rest: Vec<&Finding<'_>> = findings.iter().filter(|f| !f.bypassed && !f.demands_approval()).collect();
    let (rest, _) = combine(&rest, said, inputs, moment);
    let spent = spends && matches!(rest.verdict, Verdict::Allow | Verdict::Modify);
    for f in findings.iter_mut().filter(|f| f.demands_approval()) {
        f.approved = spent;
        if spent || (approval.standing != Standing::Waiting && f.directive == Directive::Pause) {
            f.directive = Directive::Continue;
        }
    }
}

/// Why nobody is asked for an approval.
pub(super) const fn refused(standing: Standing) -> Option<(&'static str, &'static str)> {
    match standing {
        Standing::Rejected => {
            Some((codes::APPROVAL_REJECTED, "the same action was rejected in this attempt"))
        }
        Standing::Exhausted => {
            Some((codes::APPROVAL_EXPIRED, "no request of this step was decided and used in time"))
        }
        Standing::Full => {
            Some((codes::APPROVAL_QUOTA, "the tenant has as many open requests as it may have"))
        }
        Standing::Usable | Standing::Auto | Standing::Ready | Standing::Waiting => None,
    }
}
