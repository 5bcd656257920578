//! What a decision that demands approval finds, and what it does about it.

use runspine_types::{Digest, Micros};

use super::{Approval, Event, MOST_REQUESTS, Terms};
use crate::{
    facts::{Estimate, Question, Run},
    words::{ApprovalState, ResourceType, Standing, Unusable},
};

/// The most that a small action costs, micro-USD.
const SMALL_COST: i64 = 1_000_000;

/// The most tokens of a small action.
const SMALL_TOKENS: i64 = 1_000;

/// The highest risk of a tool that a small action may use.
const SMALL_RISK: u32 = 1;

/// What a decision demands approval for.
#[derive(Debug, Clone)]
pub struct Asked<'a> {
    /// The approval that the question names; empty: none.
    pub named: &'a str,
    /// The action.
    pub action: Digest,
    /// What is done, at whatever step.
    pub deed: Digest,
    /// The snapshot.
    pub snapshot: Digest,
    /// The rules that demand it, sorted.
    pub rules: &'a [String],
    /// What they demand.
    pub terms: &'a Terms,
    /// Whether it is small.
    pub small: bool,
    /// The time.
    pub now: Micros,
}

/// An approval as it is stored.
#[derive(Debug, Clone)]
pub struct Held {
    /// Its id.
    pub approval_id: String,
    /// Whether it is for the step that is asked about now.
    pub of_this_step: bool,
    /// Its action.
    pub action: Digest,
    /// What is done.
    pub deed: Digest,
    /// Its snapshot.
    pub snapshot: Digest,
    /// The rules that demanded it, sorted.
    pub rules: Vec<String>,
    /// What changes of it.
    pub approval: Approval,
}

/// What comes of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Meeting {
    /// What the decision has at hand.
    pub standing: Standing,
    /// The approval it is about: used, ready, waited for or rejected; empty: a new one is asked for.
    pub approval_id: String,
    /// Why the named approval was not used.
    pub unusable: Option<Unusable>,
    /// Approvals whose time is over, and what ended them: their end is stored first.
    pub over: Vec<(String, Event)>,
}

/// Whether an action is small enough for rules that let small ones pass.
#[must_use]
pub fn is_small(question: &Question, run: &Run) -> bool {
    let Question::Step(q) = question else { return false };
    let Estimate { cost_microusd, tokens_input, tokens_output, .. } = q.estimate;
    q.resource.kind == ResourceType::Tool
        && q.resource.risk <= SMALL_RISK
        && cost_microusd <= SMALL_COST
        && tokens_input.saturating_add(tokens_output) <= SMALL_TOKENS
        && run.taints.is_empty()
}

/// Looks at the approvals of the attempt: `held` are all of it, oldest first, and the named one wherever it is.
#[must_use]
pub fn meet(asked: &Asked<'_>, held: &[Held]) -> Meeting {
    let unusable = named(asked, held);
    let over = over(asked, held);
    let meeting = |standing, approval_id: &str| Meeting {
        standing,
        approval_id: approval_id.to_owned(),
        unusable: unusable.filter(|_| standing != Standing::Usable),
        over: over.clone(),
    };
    if !asked.named.is_empty() && unusable.is_none() {
        return meeting(Standing::Usable, asked.named);
    }
    let state = |h: &&Held| h.approval.at(asked.now).state;
    let rejected = held.iter().find(|h| h.deed == asked.deed && state(h) == ApprovalState::Rejected);
    if let Some(rejected) = rejected {
        return meeting(Standing::Rejected, &rejected.approval_id);
    }
    let same = |h: &&Held| h.of_this_step && h.action == asked.action && h.snapshot == asked.snapshot;
    let fits = |h: &&Held| asked.rules.iter().all(|r| h.rules.contains(r));
    if let Some(ready) = held.iter().filter(same).filter(fits).find(|h| state(h) == ApprovalState::Approved) {
        return meeting(Standing::Ready, &ready.approval_id);
    }
    if asked.terms.auto && asked.small {
        return meeting(Standing::Auto, "");
    }
    if let Some(open) = held.iter().filter(same).find(|h| state(h).is_open()) {
        return meeting(Standing::Waiting, &open.approval_id);
    }
    let timed_out = |h: &&Held| matches!(state(h), ApprovalState::Expired | ApprovalState::Lapsed);
    if held.iter().filter(|h| h.of_this_step).filter(timed_out).count() >= MOST_REQUESTS {
        return meeting(Standing::Exhausted, "");
    }
    meeting(Standing::Waiting, "")
}

/// Why the named approval can't be used; `None`: it can, or none was named.
fn named(asked: &Asked<'_>, held: &[Held]) -> Option<Unusable> {
    if asked.named.is_empty() {
        return None;
    }
    let Some(it) = held.iter().find(|h| h.approval_id == asked.named) else {
        return Some(Unusable::NotFound);
    };
    if !it.of_this_step {
        return Some(Unusable::OtherStep);
    }
    if it.action != asked.action {
        return Some(Unusable::ActionChanged);
    }
    if it.snapshot != asked.snapshot {
        return Some(Unusable::SnapshotChanged);
    }
    if !asked.rules.iter().all(|r| it.rules.contains(r)) {
        return Some(Unusable::RulesChanged);
    }
    match it.approval.at(asked.now).state {
        ApprovalState::Approved => None,
        ApprovalState::Pending | ApprovalState::Escalated => Some(Unusable::Waiting),
        ApprovalState::Used | ApprovalState::AutoApproved => Some(Unusable::AlreadyUsed),
        ApprovalState::Rejected => Some(Unusable::Rejected),
        ApprovalState::Expired => Some(Unusable::Expired),
        ApprovalState::Lapsed => Some(Unusable::Lapsed),
        ApprovalState::Cancelled => Some(Unusable::Cancelled),
    }
}

fn over(asked: &Asked<'_>, held: &[Held]) -> Vec<(String, Event)> {
    let ended = held.iter().filter(|h| h.of_this_step).filter_map(|h| {
        let (before, after) = (h.approval.state, h.approval.at(asked.now).state);
        let event = match after {
            _ if before == after => return None,
            ApprovalState::Expired => Event::Expire,
            ApprovalState::Lapsed => Event::Lapse,
            _ => return None,
        };
        Some((h.approval_id.clone(), event))
    });
    ended.collect()
}

#[cfg(test)]
mod tests {
    use super::{super::Defaults, *};

    fn held() -> Held {
        let terms = Terms::from(Defaults::default());
        Held {
            approval_id: "a1".into(),
            of_this_step: true,
            action: runspine_types::hash(b"action"),
            deed: runspine_types::hash(b"deed"),
            snapshot: runspine_types::hash(b"snapshot"),
            rules: vec!["r1".into(), "r2".into()],
            approval: Approval::requested(&terms, Micros(0)).approved(Micros(1)),
        }
    }

    /// A12.1: what is named is used for just what was approved, and each refusal has its reason.
    #[test]
    fn what_is_named_fits_or_says_why_not() {
        let (one, two, three) = (vec!["r1".to_owned()], held().rules, vec!["r1".to_owned(), "r3".to_owned()]);
        let terms = Terms::from(Defaults::default());
        let it = held();
        let asked = |rules| Asked {
            named: "a1",
            action: it.action,
            deed: it.deed,
            snapshot: it.snapshot,
            rules,
            terms: &terms,
            small: false,
            now: Micros(2),
        };
        let other = runspine_types::hash(b"other");
        let used = Approval { state: ApprovalState::Used, ..it.approval };
        let cases = [
            (asked(&two), held(), None),
            (asked(&one), held(), None),
            (asked(&three), held(), Some(Unusable::RulesChanged)),
            (Asked { snapshot: other, ..asked(&two) }, held(), Some(Unusable::SnapshotChanged)),
            (Asked { action: other, ..asked(&two) }, held(), Some(Unusable::ActionChanged)),
            (Asked { named: "a2", ..asked(&two) }, held(), Some(Unusable::NotFound)),
            (asked(&two), Held { of_this_step: false, ..held() }, Some(Unusable::OtherStep)),
            (asked(&two), Held { approval: used, ..held() }, Some(Unusable::AlreadyUsed)),
            (Asked { now: Micros(900_000_001), ..asked(&two) }, held(), Some(Unusable::Lapsed)),
        ];
        for (asked, held, why) in cases {
            let met = meet(&asked, &[held]);
            assert_eq!((met.unusable, met.standing == Standing::Usable), (why, why.is_none()));
        }
    }
}
