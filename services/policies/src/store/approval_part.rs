//! What a decision does to approvals, in the commit of the decision.

use runspine_db::{DbError, OutboxEvent, Tx};
use runspine_policies_domain::approval::Approval;
use runspine_types::Micros;

use super::{
    approvals::{self, ApprovalRow, Moved},
    hot::Item,
};
use crate::app::metrics;

/// A change of one approval, if it still is what was read.
#[derive(Debug, Clone)]
pub(crate) struct Change {
    pub key: i64,
    pub version: i64,
    pub to: Approval,
    pub moved: Moved,
    pub event: Option<OutboxEvent>,
    /// When the approval was asked for.
    pub asked_at: Micros,
}

/// A new approval.
#[derive(Debug, Clone)]
pub(crate) struct NewApproval {
    /// Its key and that of its attempt are known when it is stored.
    pub row: ApprovalRow,
    pub moved: Moved,
    pub event: Option<OutboxEvent>,
}

/// What a decision does to approvals.
#[derive(Debug, Clone, Default)]
pub(crate) struct ApprovalPart {
    /// What time did, stored first.
    pub over: Vec<Change>,
    /// Asked for, or approved without a person.
    pub new: Option<Box<NewApproval>>,
    /// Spent by the decision.
    pub spent: Option<Change>,
    /// The decision that spends `spent`, or `new` when that needs no person.
    pub spender: Option<Spender>,
}

/// The decision that spends an approval.
#[derive(Debug, Clone)]
pub(crate) struct Spender {
    pub decision_id: String,
    pub event: OutboxEvent,
    pub at: Micros,
}

/// Somebody else was first, or the store failed.
enum Lost {
    First,
    Failed(DbError),
}

impl From<DbError> for Lost {
    fn from(error: DbError) -> Self {
        Self::Failed(error)
    }
}

/// Does it all, or nothing: `false` when somebody else was first.
pub(crate) async fn apply(tx: &mut Tx, item: &Item) -> Result<bool, DbError> {
    let Some(part) = item.approval.clone() else { return Ok(true) };
    let (tenant, run_key) = (item.tenant.clone(), item.run_key);
    let done = tx.nested(move |tx| Box::pin(async move { whole(tx, &tenant, run_key, part).await })).await;
    match done {
        Ok(()) => Ok(true),
        Err(Lost::First) => Ok(false),
        Err(Lost::Failed(error)) => Err(error),
    }
}

async fn whole(tx: &mut Tx, tenant: &str, run_key: i64, part: ApprovalPart) -> Result<(), Lost> {
    for over in part.over {
        first(change(tx, over).await?)?;
    }
    let mut key = part.spent.as_ref().map(|c| c.key);
    if let Some(spent) = part.spent {
        first(change(tx, spent).await?)?;
    }
    if let Some(new) = part.new {
        let NewApproval { mut row, moved, event } = *new;
        row.run_key = run_key;
        let stored = approvals::insert(tx, tenant, &row).await?.ok_or(Lost::First)?;
        approvals::note(tx, stored, &moved).await?;
        metrics::approval(moved.to, 0);
        event.into_iter().for_each(|e| tx.emit_raw(e));
        key = Some(stored);
    }
    if let (Some(key), Some(spender)) = (key, part.spender) {
        first(approvals::spend(tx, key, &spender.decision_id, spender.at).await?)?;
        tx.emit_raw(spender.event);
    }
    Ok(())
}

fn first(was: bool) -> Result<(), Lost> {
    if was { Ok(()) } else { Err(Lost::First) }
}

/// Stores a change with its place in the history and its event; `false` when somebody else was first.
pub(crate) async fn change(tx: &mut Tx, change: Change) -> Result<bool, DbError> {
    if !approvals::update(tx, (change.key, change.version), &change.to).await? {
        return Ok(false);
    }
    approvals::note(tx, change.key, &change.moved).await?;
    metrics::approval(change.moved.to, change.moved.at.0.saturating_sub(change.asked_at.0));
    change.event.into_iter().for_each(|e| tx.emit_raw(e));
    Ok(true)
}
