//! Approvals: asked for and spent in the commit of a decision, decided by people.

pub(crate) mod change;
pub(crate) mod meet;
pub(crate) mod read;
pub(crate) mod vote;
pub(crate) mod watch;

use contracts_policies::v1 as pb;
use runspine_errors::Fault;
use runspine_policies_domain::reasons;
use runspine_rpc::timestamp;
use runspine_types::Micros;

use crate::store::approvals::ApprovalRow;

/// There is no such approval for this tenant.
pub(crate) fn not_found() -> Fault {
    Fault::new(&reasons::APPROVAL_NOT_FOUND, "there is no such approval")
}

/// An approval as it stands at `now`.
pub(crate) fn present(row: &ApprovalRow, now: Micros) -> pb::Approval {
    let it = row.approval().at(now);
    let next_level = it.can_escalate() && it.escalates_at < it.expires_at;
    pb::Approval {
        approval_id: row.approval_id.clone(),
        run_id: row.run_id.clone(),
        attempt: row.attempt,
        step_index: u32::try_from(row.step_index).ok(),
        decision_id: row.decision_id.clone(),
        action_digest: row.action_digest.to_vec().into(),
        snapshot_digest: row.snapshot_digest.to_vec().into(),
        rule_ids: row.rules(),
        state: it.state.code(),
        level: it.level.code(),
        quorum: row.quorum,
        approvals: row.approvals,
        escalations: it.escalations,
        agent_id: row.agent_id.clone(),
        created_at: Some(timestamp(row.created_at)),
        expires_at: Some(timestamp(it.expires_at)),
        escalates_at: next_level.then(|| timestamp(it.escalates_at)),
        use_by: it.use_by.map(timestamp),
        version: u64::try_from(row.version).unwrap_or(0),
    }
}
