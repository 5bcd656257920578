//! Proposals: who may decide about them, and what is drafted of a lesson.

use std::collections::BTreeMap;

use runspine_errors::Fault;

use crate::{
    lesson::warn_at,
    reasons,
    rule::{Content, Meaning},
    text::quoted,
    words::{LessonType, Mode, ProposalKind, ProposalState, Severity},
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

/// What a lesson is about, as far as a rule is drafted of it.
#[derive(Debug, Clone, Copy)]
pub struct Taught<'a> {
    /// The lesson.
    pub lesson_id: &'a str,
    /// What it is about.
    pub kind: LessonType,
    /// How bad.
    pub severity: Option<Severity>,
    /// The agent; empty: not known.
    pub agent_id: &'a str,
    /// NEAR_THRESHOLD: what is near its limit.
    pub metric: &'a str,
    /// NEAR_THRESHOLD: what was used.
    pub current: i64,
}

impl Taught<'_> {
    /// What a proposal of it answers to, unless somebody says otherwise.
    #[must_use]
    pub fn kind(&self) -> ProposalKind {
        match (self.kind, self.metric) {
            (LessonType::Failure, _) => ProposalKind::FailurePattern,
            (LessonType::NearThreshold, "COST" | "TOKENS") => ProposalKind::CostSpike,
            (LessonType::NearThreshold, "TIME") => ProposalKind::Timeout,
            (LessonType::NearThreshold, "RATE" | "STEPS") => ProposalKind::RateLimit,
            _ => ProposalKind::Custom,
        }
    }

    /// The rule that it suggests; none: it suggests none that can be written down without somebody.
    #[must_use]
    pub fn draft(&self) -> Option<Content> {
        let (reason, condition, mode) = match self.kind {
            LessonType::Failure => {
                let bad = matches!(self.severity, Some(Severity::Critical | Severity::High));
                let mode = if bad { Mode::Block } else { Mode::Warn };
                ("FAILS_AGAIN", "context.totals.failures >= 3".to_owned(), mode)
            }
            LessonType::NearThreshold => ("NEAR_ITS_LIMIT", self.near()?, Mode::Warn),
            LessonType::CriticalSuccess => return None,
        };
        let principal = if self.agent_id.is_empty() {
            "principal".to_owned()
        } else {
            format!("principal == Runspine::Agent::{}", quoted(self.agent_id))
        };
        let slug = format!("lesson-{}", self.lesson_id);
        let cedar = format!(
            "@id(\"{slug}\")\n@reason(\"{reason}\")\n@origin({})\n\
             forbid ({principal}, action in Runspine::Action::\"step\", resource)\nwhen {{ {condition} }};\n",
            quoted(self.lesson_id)
        );
        Some(Content { slug, cedar, mode: Some(mode), ..Content::default() })
    }

    fn near(&self) -> Option<String> {
        let used = BTreeMap::from([
            ("COST", "context.totals.cost_microusd + context.estimate.cost_microusd"),
            ("STEPS", "context.totals.steps"),
            ("TIME", "context.run.elapsed_ms"),
            ("TOKENS", "context.totals.tokens"),
        ]);
        used.get(self.metric).map(|used| format!("{used} > {}", warn_at(self.current)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        rule::{Identity, meaning_of},
        words::Mode,
    };

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
    fn what_is_drafted_can_be_activated() {
        let taught = |kind, metric| Taught {
            lesson_id: "0198c0de-0000-7000-8000-000000000001",
            kind,
            severity: Some(Severity::High),
            agent_id: "agent \"1\"",
            metric,
            current: 1_000,
        };
        let lessons = [
            taught(LessonType::Failure, ""),
            taught(LessonType::NearThreshold, "COST"),
            taught(LessonType::NearThreshold, "STEPS"),
            taught(LessonType::NearThreshold, "TIME"),
            taught(LessonType::NearThreshold, "TOKENS"),
        ];
        for lesson in lessons {
            let content = lesson.draft().unwrap();
            let identity = Identity { rule_id: "r", version: 1, tenant: "t" };
            let meaning = meaning_of(content, identity, Mode::Warn).unwrap();
            assert!(meaning.check().findings.is_empty(), "{:?}", meaning.check().findings);
        }
        assert!(taught(LessonType::CriticalSuccess, "").draft().is_none());
        assert!(taught(LessonType::NearThreshold, "RATE").draft().is_none());
    }
}
