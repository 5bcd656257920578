//! Proposals: who may decide about them, and what is drafted of a lesson.

use runspine_errors::Fault;

use crate::{
    reasons,
    rule::Meaning,
    words::{Mode, ProposalKind, ProposalState, Severity},
};

/// The most proposals of a tenant that nobody decided about.
pub const MOST_OPEN: i64 = 500;
/// How long a proposal waits without a revision, microseconds.
pub const EXPIRES: i64 = 30 * DAY;
/// How old the back-test may be that speaks for a proposal, microseconds.
pub const BACKTEST_AGE: i64 = DAY;

const DAY: i64 = 86_400_000_000;

/// What can be done with a proposal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Act {
    /// UpdateProposal.
    Revise,
    /// ApproveProposal.
    Approve,
    /// RejectProposal.
    Reject,
    /// WithdrawProposal.
    Withdraw,
    /// Its time is over.
    Expire,
}

impl Act {
    /// Every act.
    pub const ALL: [Self; 5] = [Self::Revise, Self::Approve, Self::Reject, Self::Withdraw, Self::Expire];
}

/// The state after an act; none: it can't be done there. The whole life of a proposal.
#[must_use]
pub const fn next(from: ProposalState, act: Act) -> Option<ProposalState> {
    match (from, act) {
        (ProposalState::Draft, Act::Revise) => Some(ProposalState::Draft),
        (ProposalState::Draft, Act::Approve) => Some(ProposalState::Approved),
        (ProposalState::Draft, Act::Reject) => Some(ProposalState::Rejected),
        (ProposalState::Draft, Act::Withdraw) => Some(ProposalState::Withdrawn),
        (ProposalState::Draft, Act::Expire) => Some(ProposalState::Expired),
        _ => None,
    }
}

/// Moves a proposal, or refuses.
///
/// # Errors
/// PROPOSAL_TRANSITION_INVALID.
pub fn moved(from: ProposalState, act: Act) -> Result<ProposalState, Fault> {
    next(from, act).ok_or_else(|| {
        let text = format!("a proposal that is {} can't do this", from.as_str());
        Fault::new(&reasons::PROPOSAL_TRANSITION_INVALID, text)
            .with("state", from.as_str())
            .precondition("proposal", "a DRAFT")
    })
}

/// Who decides about a proposal of `author`: a person, and another one.
///
/// # Errors
/// HUMAN_REQUIRED, SELF_APPROVAL.
pub fn check_reviewer(human: bool, reviewer: &[&str], author: &str) -> Result<(), Fault> {
    if !human {
        return Err(Fault::new(&reasons::HUMAN_REQUIRED, "a person decides about proposals"));
    }
    if reviewer.contains(&author) {
        return Err(Fault::new(
            &reasons::SELF_APPROVAL,
            "somebody else decides about a proposal than its author",
        ));
    }
    Ok(())
}

/// Items of a pattern from which on it is eligible for a proposal.
const ENOUGH: u32 = 3;
/// How far back items count, microseconds.
pub const SUPPORT_AGE: i64 = 30 * DAY;

/// Whether a pattern is eligible for a proposal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Eligibility {
    /// How many items more it needs; 0: it is eligible.
    pub missing: u32,
    /// The mode to propose; none: it is not eligible.
    pub mode: Option<Mode>,
}

/// Judges a pattern by its items and the worst of them: one bad incident is enough.
#[must_use]
pub fn eligibility(items: u32, worst: Option<Severity>) -> Eligibility {
    let mode = match worst {
        _ if items == 0 => None,
        Some(Severity::Critical) => Some(Mode::Block),
        Some(Severity::High) => Some(Mode::Warn),
        _ => (items >= ENOUGH).then_some(Mode::Warn),
    };
    Eligibility { missing: if mode.is_some() { 0 } else { ENOUGH - items.min(ENOUGH) }, mode }
}

/// Whether a rule that was back-tested is the one that is proposed: everything but its name in the store.
#[must_use]
pub fn is_same_rule(tested: &Meaning, proposed: &Meaning) -> bool {
    let bare = |m: &Meaning| Meaning { rule_id: String::new(), version: 0, ..m.clone() };
    bare(tested) == bare(proposed)
}

/// The template that a kind of proposal is drafted from, with what is not as the template has it; none: somebody writes it.
#[must_use]
pub const fn default_template(
    kind: ProposalKind,
) -> Option<(&'static str, &'static [(&'static str, &'static str)])> {
    Some(match kind {
        ProposalKind::RetryStorm => ("COOLDOWN", &[]),
        ProposalKind::CostSpike => ("SPEND_CEILING", &[]),
        ProposalKind::Timeout => ("SPEND_CEILING", &[("measure", "duration_ms")]),
        ProposalKind::Crash => ("HARD_STOP", &[]),
        ProposalKind::RateLimit => ("SLIDING_WINDOW", &[]),
        ProposalKind::ToolMisuse => ("ESCALATION_REQUIRED", &[]),
        ProposalKind::FailurePattern => ("ACTION_BLOCK", &[]),
        ProposalKind::Custom => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proposal_is_decided_once() {
        let all = ProposalState::ALL.iter().flat_map(|s| Act::ALL.iter().map(move |a| (*s, *a)));
        let legal: Vec<_> = all.filter(|(s, a)| moved(*s, *a).is_ok()).collect();
        assert_eq!(legal.len(), 5);
        assert!(legal.iter().all(|(s, _)| *s == ProposalState::Draft));
    }

    #[test]
    fn three_items_or_a_bad_one_are_enough() {
        let table = [
            (0, None, 3, None),
            (0, Some(Severity::Critical), 3, None),
            (1, Some(Severity::Medium), 2, None),
            (2, None, 1, None),
            (3, None, 0, Some(Mode::Warn)),
            (1, Some(Severity::High), 0, Some(Mode::Warn)),
            (1, Some(Severity::Critical), 0, Some(Mode::Block)),
            (9, Some(Severity::Low), 0, Some(Mode::Warn)),
        ];
        for (items, worst, missing, mode) in table {
            assert_eq!(eligibility(items, worst), Eligibility { missing, mode }, "{items} {worst:?}");
        }
    }

    #[test]
    fn a_person_decides_who_is_not_the_author() {
        assert!(check_reviewer(true, &["bob"], "ann").is_ok());
        assert!(check_reviewer(true, &["key-1", "ann"], "ann").unwrap_err().is(&reasons::SELF_APPROVAL));
        assert!(check_reviewer(false, &["bob"], "ann").unwrap_err().is(&reasons::HUMAN_REQUIRED));
    }

    #[test]
    fn every_kind_but_one_has_its_template() {
        let mut v = runspine_errors::Violations::new();
        for kind in ProposalKind::ALL.iter().filter(|k| **k != ProposalKind::Custom) {
            let (id, given) = default_template(*kind).unwrap();
            let template = crate::template::find(id).unwrap();
            let of = |(name, value): &(&str, &str)| ((*name).to_owned(), vec![(*value).to_owned()]);
            let mut given: Vec<_> = given.iter().map(of).collect();
            // What has no default, somebody has to say.
            for p in template.parameters().filter(|p| p.default.is_empty()) {
                given.push((p.name.to_owned(), p.example.iter().map(|e| (*e).to_owned()).collect()));
            }
            template.values(&given, &mut v, "a");
        }
        assert!(v.is_empty());
        assert_eq!(default_template(ProposalKind::Custom), None);
    }
}
