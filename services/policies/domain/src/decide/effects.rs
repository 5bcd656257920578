//! What a decision does besides its verdict: facts about violations, and labels for the run.

use serde::{Deserialize, Serialize};

use super::{Finding, Match, Ruling};
use crate::{
    reasons::codes,
    sequence,
    text::ViolationOn,
    words::{ActionTaken, Mode, Moment, PreventionOutcome, Severity, Verdict},
};

/// A match that is also a violation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleViolation {
    /// The rule.
    pub rule_id: String,
    /// Its version.
    pub version: u32,
    /// Its reason code.
    pub code: String,
    /// How bad.
    pub severity: Severity,
    /// In words.
    pub message: String,
    /// Whether it is about steps before.
    pub sequence: bool,
}

pub(super) fn violations(findings: &[&Finding<'_>], moment: Moment) -> Vec<RuleViolation> {
    let is_violation = |f: &&&Finding<'_>| match f.rule.notes.violation {
        ViolationOn::Never => false,
        ViolationOn::Match => true,
        ViolationOn::StepEnd => moment == Moment::StepEnd,
    };
    let blocking = findings.iter().filter(|f| f.rule.meaning.mode == Mode::Block && !f.failed);
    let found = blocking.filter(is_violation).map(|f| RuleViolation {
        rule_id: f.rule.meaning.rule_id.clone(),
        version: f.rule.meaning.version,
        code: f.rule.notes.reason.clone(),
        severity: f.rule.notes.severity,
        message: f.rule.notes.message.clone(),
        sequence: f.rule.monitor.is_some(),
    });
    found.collect()
}

/// Labels that steps give by themselves: an allowed step from its decision on, and one that happened whatever was decided.
pub(super) fn taint(ruling: &mut Ruling, moment: Moment) {
    let happens = moment == Moment::StepEnd
        || (moment == Moment::StepStart
            && matches!(ruling.effective_verdict, Verdict::Allow | Verdict::Modify));
    let labels: Vec<String> = sequence::labels(&ruling.hits).collect();
    if happens && !labels.is_empty() {
        ruling.taints_added.extend(labels);
        ruling.taints_added.sort();
        ruling.taints_added.dedup();
    }
}

impl Ruling {
    /// The rules that were learned from something and that did something about it.
    pub fn preventions(&self) -> impl Iterator<Item = (&Match, PreventionOutcome)> {
        let rejected = self.reasons.iter().any(|r| r.code == codes::APPROVAL_REJECTED);
        let learned = self.matches.iter().filter(|m| !m.origin.is_empty());
        learned.filter_map(move |m| match m.action {
            ActionTaken::Blocked => Some((m, PreventionOutcome::Prevented)),
            ActionTaken::Modified => Some((m, PreventionOutcome::Mitigated)),
            ActionTaken::ApprovalRequired if rejected => Some((m, PreventionOutcome::Mitigated)),
            _ => None,
        })
    }
}
