//! Who may vote, on what.

use runspine_errors::Fault;
use runspine_types::{Digest, Micros};

use super::Approval;
use crate::{
    reasons,
    words::{ApprovalLevel, ApprovalState},
};

/// Who asked: none of them can approve.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Requester {
    /// The agent.
    pub agent_id: String,
    /// Who owns the credential of the run; empty: nobody.
    pub owner_id: String,
    /// The person that the run acts for; empty: none.
    pub human_id: String,
}

/// Who votes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Voter {
    /// Whether it is a person.
    pub is_human: bool,
    /// The actor.
    pub actor_id: String,
    /// The person who owns the credential; empty: the actor.
    pub owner_id: String,
    /// The approval level, 0 to 5.
    pub level: i32,
}

impl Voter {
    /// The person: one vote each, whatever credential it comes with.
    #[must_use]
    pub fn person(&self) -> &str {
        if self.owner_id.is_empty() { &self.actor_id } else { &self.owner_id }
    }

    fn is(&self, id: &str) -> bool {
        !id.is_empty() && (self.actor_id == id || self.owner_id == id)
    }
}

/// Refuses a vote on what takes none.
///
/// # Errors
/// APPROVAL_EXPIRED or APPROVAL_TRANSITION_INVALID.
pub fn check_open(approval: &Approval, now: Micros) -> Result<(), Fault> {
    let state = approval.at(now).state;
    if state.is_open() {
        return Ok(());
    }
    let (reason, text) = match state {
        ApprovalState::Expired | ApprovalState::Lapsed => {
            (&reasons::APPROVAL_EXPIRED, "the time of the approval is over")
        }
        _ => (&reasons::APPROVAL_TRANSITION_INVALID, "the approval takes no votes any more"),
    };
    Err(Fault::new(reason, text)
        .with("state", state.as_str())
        .precondition("approval", "PENDING or ESCALATED"))
}

/// Refuses a vote that does not count.
///
/// # Errors
/// HUMAN_REQUIRED, SELF_APPROVAL, LEVEL_TOO_LOW, ACTION_CHANGED, or as [`check_open`].
pub fn check_vote(
    approval: &Approval,
    requester: &Requester,
    voter: &Voter,
    (seen, action): (Digest, Digest),
    now: Micros,
) -> Result<(), Fault> {
    if !voter.is_human {
        return Err(Fault::new(&reasons::HUMAN_REQUIRED, "only a person can approve or reject"));
    }
    let level = approval.at(now).level;
    if level == ApprovalLevel::OneSelf {
        if !voter.is(&requester.human_id) {
            let text = "the rule asks the person that the run acts for, and nobody else";
            return Err(Fault::new(&reasons::LEVEL_TOO_LOW, text).with("level", level.as_str()));
        }
    } else if [&requester.agent_id, &requester.owner_id, &requester.human_id].iter().any(|id| voter.is(id)) {
        let text = "whoever asked, or for whom it was asked, can't decide it";
        return Err(Fault::new(&reasons::SELF_APPROVAL, text));
    } else if voter.level < level.code() {
        let text = format!("the rules demand the level {}", level.as_str());
        return Err(Fault::new(&reasons::LEVEL_TOO_LOW, text).with("level", level.as_str()));
    }
    check_open(approval, now)?;
    if seen == action {
        return Ok(());
    }
    let text = "the vote names another action than the one that waits";
    Err(Fault::new(&reasons::ACTION_CHANGED, text).precondition("action_digest", "that of the approval"))
}

#[cfg(test)]
mod tests {
    use super::{
        super::{Defaults, Terms},
        *,
    };

    fn voter(id: &str, level: i32) -> Voter {
        Voter { is_human: true, actor_id: id.into(), owner_id: String::new(), level }
    }

    fn said(level: ApprovalLevel, voter: &Voter) -> Result<(), &'static str> {
        let requester =
            Requester { agent_id: "agent".into(), owner_id: "owner".into(), human_id: "human".into() };
        let terms = Terms { level, ..Terms::from(Defaults::default()) };
        let approval = Approval::requested(&terms, Micros(0));
        let digest = runspine_types::hash(b"action");
        check_vote(&approval, &requester, voter, (digest, digest), Micros(1)).map_err(|f| f.reason().name)
    }

    #[test]
    fn who_may_vote() {
        use ApprovalLevel as L;
        for level in [L::TeamMember, L::TeamLead, L::Manager, L::Owner] {
            for own in ["agent", "owner", "human"] {
                assert_eq!(said(level, &voter(own, 5)), Err("SELF_APPROVAL"));
            }
            assert_eq!(said(level, &voter("other", level.code())), Ok(()));
            assert_eq!(said(level, &voter("other", level.code() - 1)), Err("LEVEL_TOO_LOW"));
            let machine = Voter { is_human: false, ..voter("other", 5) };
            assert_eq!(said(level, &machine), Err("HUMAN_REQUIRED"));
            // A person's second credential is the same person.
            let behind = Voter { owner_id: "human".into(), ..voter("key-2", 5) };
            assert_eq!(said(level, &behind), Err("SELF_APPROVAL"));
        }
        assert_eq!(said(L::OneSelf, &voter("human", 0)), Ok(()));
        for other in ["owner", "agent", "somebody"] {
            assert_eq!(said(L::OneSelf, &voter(other, 5)), Err("LEVEL_TOO_LOW"));
        }
        let machine = Voter { is_human: false, ..voter("human", 5) };
        assert_eq!(said(L::OneSelf, &machine), Err("HUMAN_REQUIRED"));
    }
}
