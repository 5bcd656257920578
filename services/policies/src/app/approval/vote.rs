//! People decide: votes, escalation, and the end of what nobody needs any more.

use contracts_common::common::v1::ActorType;
use contracts_policies::v1 as pb;
use runspine_db::Tx;
use runspine_errors::Fault;
use runspine_policies_domain::{
    approval::{Approval, Event, Requester, Voter, check_open, check_vote, level_of},
    reasons,
    words::ApprovalState,
};
use runspine_types::{Digest, Micros};

use super::{
    change::{by_time, cancel, change, store, voted},
    not_found, present,
};
use crate::{
    app::{App, Keyed, Who},
    store::{
        approval_part::Change,
        approvals::{self, ApprovalRow, NewVote},
    },
};

/// A vote, parsed.
pub(crate) struct Ballot {
    pub approval_id: String,
    pub kind: pb::ApprovalVoteKind,
    /// The action that the voter has seen.
    pub action: Digest,
    /// A note, or the reason of a rejection.
    pub note: String,
}

/// Who votes: a person, by the credential of the call.
pub(crate) fn voter(who: &Who) -> Voter {
    Voter {
        is_human: who.actor.r#type == ActorType::Human as i32,
        actor_id: who.actor.id.clone(),
        owner_id: who.owner_id.clone(),
        level: level_of(&who.roles),
    }
}

/// Who asked for an approval.
pub(crate) fn requester(row: &ApprovalRow) -> Requester {
    Requester {
        agent_id: row.agent_id.clone(),
        owner_id: row.owner_id.clone(),
        human_id: row.human_id.clone(),
    }
}

impl App {
    /// Takes a vote, and what it leads to, in one commit.
    pub(crate) async fn vote(&self, who: &Who, key: Keyed, ballot: Ballot) -> Result<pb::Approval, Fault> {
        let (who_, at) = (who.clone(), self.now());
        let done: Result<pb::ApproveResponse, Fault> = self
            .keyed(who, key, move |tx| {
                Box::pin(async move {
                    let approval = Some(take(tx, &who_, &ballot, at).await?);
                    Ok(pb::ApproveResponse { approval })
                })
            })
            .await;
        done.map(|d| d.approval.unwrap_or_default())
    }

    /// Asks the next higher level now.
    pub(crate) async fn escalate(
        &self,
        who: &Who,
        request: &pb::EscalateRequest,
    ) -> Result<pb::EscalateResponse, Fault> {
        if !voter(who).is_human {
            return Err(Fault::new(&reasons::HUMAN_REQUIRED, "only a person can ask a higher level"));
        }
        let key = Keyed::by_request_id("policies.Escalate", &request.request_id, request);
        let (who_, at, request) = (who.clone(), self.now(), request.clone());
        self.keyed(who, key, move |tx| {
            Box::pin(async move {
                let mut row = read(tx, &who_, &request.approval_id).await?;
                let mut changes = by_time(&mut row, at)?;
                let it = row.approval();
                check_open(&it, at)?;
                if !it.can_escalate() {
                    let text = "nobody stands above the level that is asked";
                    return Err(Fault::new(&reasons::APPROVAL_TRANSITION_INVALID, text)
                        .with("level", it.level.as_str()));
                }
                changes.push(change(
                    &who_,
                    &mut row,
                    (Event::Escalate, it.escalated(at)),
                    &request.reason,
                    at,
                )?);
                store(tx, changes).await?;
                Ok(pb::EscalateResponse { approval: Some(present(&row, at)) })
            })
        })
        .await
    }

    /// Ends every approval of a run that still could be decided or used.
    pub(crate) async fn cancel_approvals(
        &self,
        who: &Who,
        request: &pb::CancelApprovalsRequest,
    ) -> Result<pb::CancelApprovalsResponse, Fault> {
        let key = Keyed::by_request_id("policies.CancelApprovals", &request.request_id, request);
        let (who_, at, request) = (who.clone(), self.now(), request.clone());
        self.keyed(who, key, move |tx| {
            Box::pin(async move {
                let (run_id, attempt) = (request.run_id.as_str(), request.attempt);
                let rows = approvals::live_of_run(tx, &who_.tenant, run_id, attempt).await?;
                let approval_ids = cancel(tx, &who_, rows, &request.reason, at).await?;
                Ok(pb::CancelApprovalsResponse { approval_ids })
            })
        })
        .await
    }
}

async fn read(tx: &mut Tx, who: &Who, approval_id: &str) -> Result<ApprovalRow, Fault> {
    approvals::by_id(tx, &who.tenant, approval_id).await?.ok_or_else(not_found)
}

async fn take(tx: &mut Tx, who: &Who, ballot: &Ballot, at: Micros) -> Result<pb::Approval, Fault> {
    let mut row = read(tx, who, &ballot.approval_id).await?;
    let voter = voter(who);
    let digests = (ballot.action, row.action_digest);
    check_vote(&row.approval(), &requester(&row), &voter, digests, at)?;
    let vote = NewVote {
        key: row.id,
        voter_id: voter.person(),
        kind: ballot.kind as i32,
        level: voter.level,
        action: ballot.action,
        note: &ballot.note,
        at,
    };
    if !approvals::vote(tx, &vote).await? {
        let text = "this person has voted on it: one vote each";
        return Err(Fault::new(&reasons::APPROVAL_TRANSITION_INVALID, text));
    }
    let mut changes = by_time(&mut row, at)?;
    changes.extend(led_to(who, &mut row, ballot, at)?);
    if changes.is_empty() {
        // A vote alone is a change too: two at once never both take themselves for the first.
        let kept = approvals::update(tx, (row.id, row.version), &row.approval()).await?;
        row.version += 1;
        if !kept {
            return Err(Fault::new(
                &reasons::VERSION_CONFLICT,
                "somebody voted at the same time: vote again",
            ));
        }
    }
    let seen = (ballot.kind, u32::try_from(voter.level).unwrap_or(0));
    tx.emit_raw(voted(who, &row, seen, &ballot.note, at));
    store(tx, changes).await?;
    Ok(present(&row, at))
}

/// What a valid vote leads to: one against it ends it, the last one that is needed approves it.
fn led_to(who: &Who, row: &mut ApprovalRow, ballot: &Ballot, at: Micros) -> Result<Option<Change>, Fault> {
    let it = row.approval();
    if ballot.kind == pb::ApprovalVoteKind::Reject {
        let to = Approval { state: ApprovalState::Rejected, ..it };
        return change(who, row, (Event::Reject, to), &ballot.note, at).map(Some);
    }
    row.approvals += 1;
    if row.approvals < row.quorum {
        return Ok(None);
    }
    change(who, row, (Event::Approve, it.approved(at)), &ballot.note, at).map(Some)
}
