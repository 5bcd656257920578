//! Changes of an approval, each with its place in the history and the event that tells of it.

use contracts_policies::v1 as pb;
use runspine_db::Tx;
use runspine_errors::Fault;
use runspine_policies_domain::{
    approval::{Approval, Event, next},
    reasons,
    words::ApprovalState,
};
use runspine_types::Micros;

use super::present;
use crate::{
    app::{
        Who,
        emit::{About, event},
    },
    store::{
        approval_part::{self, Change},
        approvals::{ApprovalRow, Moved},
    },
};

/// One change; the row becomes what it is after it.
///
/// # Errors
/// APPROVAL_TRANSITION_INVALID when the state machine has no such move.
pub(crate) fn change(
    who: &Who,
    row: &mut ApprovalRow,
    (what, to): (Event, Approval),
    reason: &str,
    at: Micros,
) -> Result<Change, Fault> {
    let from = row.approval();
    if next(from.state, what) != Some(to.state) {
        let text = format!("an approval that is {} can't become {}", from.state.as_str(), to.state.as_str());
        return Err(Fault::new(&reasons::APPROVAL_TRANSITION_INVALID, text)
            .with("state", from.state.as_str())
            .precondition("approval", "a state from which this can be done"));
    }
    let (key, version) = (row.id, row.version);
    take(row, &to);
    let moved = moved(who, from.state.code(), row, reason, at);
    Ok(Change { key, version, to, moved, event: told(who, row, reason, at), asked_at: row.created_at })
}

/// What time alone has done to an approval until `now` and nobody stored yet.
///
/// # Errors
/// As [`change`]; never for a row that was stored by this domain.
pub(crate) fn by_time(row: &mut ApprovalRow, now: Micros) -> Result<Vec<Change>, Fault> {
    // Nobody did it: the caller only came after it.
    let clock = Who::of_the_mesh(&row.tenant_id);
    let mut changes = Vec::new();
    while let Some((due, what)) = row.approval().due().filter(|(due, _)| *due <= now) {
        let it = row.approval();
        let to = match what {
            Event::Escalate => it.escalated(due),
            Event::Expire => Approval { state: ApprovalState::Expired, ..it },
            _ => Approval { state: ApprovalState::Lapsed, ..it },
        };
        changes.push(change(&clock, row, (what, to), "its time was over", due)?);
    }
    Ok(changes)
}

/// Stores changes, in order.
pub(crate) async fn store(tx: &mut Tx, changes: Vec<Change>) -> Result<(), Fault> {
    for change in changes {
        if !approval_part::change(tx, change).await? {
            let text = "somebody else changed the approval: read it again";
            return Err(Fault::new(&reasons::VERSION_CONFLICT, text));
        }
    }
    Ok(())
}

/// Ends approvals that could still be decided or used, and says which.
pub(crate) async fn cancel(
    tx: &mut Tx,
    who: &Who,
    rows: Vec<ApprovalRow>,
    reason: &str,
    now: Micros,
) -> Result<Vec<String>, Fault> {
    let mut cancelled = Vec::new();
    for mut row in rows {
        let mut changes = by_time(&mut row, now)?;
        let it = row.approval();
        if !it.state.is_terminal() {
            let to = Approval { state: ApprovalState::Cancelled, ..it };
            changes.push(change(who, &mut row, (Event::Cancel, to), reason, now)?);
            cancelled.push(row.approval_id.clone());
        }
        store(tx, changes).await?;
    }
    Ok(cancelled)
}

fn take(row: &mut ApprovalRow, to: &Approval) {
    row.state = to.state.code();
    row.level = to.level.code();
    row.escalations = to.escalations;
    row.escalates_at = to.escalates_at;
    row.use_by = to.use_by;
    row.version += 1;
}

/// A change for the history; `from` 0: the approval was asked for.
pub(crate) fn moved(who: &Who, from: i32, row: &ApprovalRow, reason: &str, at: Micros) -> Moved {
    Moved {
        from,
        to: row.state,
        level: row.level,
        reason: reason.to_owned(),
        actor: (who.actor.r#type, who.actor.id.clone()),
        at,
    }
}

/// What an event about an approval says of it.
fn about(row: &ApprovalRow, reason: &str) -> About {
    About {
        entity_type: "approval",
        entity_id: row.approval_id.clone(),
        run_id: row.run_id.clone(),
        attempt: row.attempt,
        step_index: u32::try_from(row.step_index).ok(),
        reason: reason.to_owned(),
        ..About::default()
    }
}

/// The event of a vote: who voted is its actor, and what was seen its reason.
pub(crate) fn voted(
    who: &Who,
    row: &ApprovalRow,
    vote: (pb::ApprovalVoteKind, u32),
    note: &str,
    at: Micros,
) -> runspine_db::OutboxEvent {
    let data = pb::ApprovalVoted { approval: Some(present(row, at)), kind: vote.0.into(), level: vote.1 };
    event(who, "ApprovalVoted", about(row, note), &data, at)
}

/// The event of a change: what the approval is now.
pub(crate) fn told(
    who: &Who,
    row: &ApprovalRow,
    reason: &str,
    at: Micros,
) -> Option<runspine_db::OutboxEvent> {
    let approval = Some(present(row, at));
    let about = about(row, reason);
    Some(match row.approval().state {
        ApprovalState::Pending => {
            event(who, "ApprovalRequested", about, &pb::ApprovalRequested { approval }, at)
        }
        ApprovalState::Escalated => {
            event(who, "ApprovalEscalated", about, &pb::ApprovalEscalated { approval }, at)
        }
        // Told with the decision that spent it.
        ApprovalState::Used => return None,
        _ => event(who, "ApprovalResolved", about, &pb::ApprovalResolved { approval }, at),
    })
}
