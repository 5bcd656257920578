//! Proposals: rules that somebody wants, and what others decide about them.

pub(crate) mod decide;
mod eligible;
pub(crate) mod make;
mod read;

use contracts_policies::v1 as pb;
use prost::Message as _;
use runspine_db::Tx;
use runspine_errors::Fault;
use runspine_policies_domain::{
    proposal::{Act, EXPIRES, moved},
    reasons,
    words::ProposalState,
};
use runspine_types::Micros;

use super::{Who, emit::About, unreadable};
use crate::store::proposals::{self, Kept, ProposalRow};

/// Refused: there is no such proposal.
fn not_found() -> Fault {
    Fault::new(&reasons::PROPOSAL_NOT_FOUND, "there is no such proposal")
}

/// Refused: somebody else was first.
fn conflict() -> Fault {
    Fault::new(&reasons::VERSION_CONFLICT, "the proposal was changed since it was read")
}

/// A stored proposal as a message, without what was said of it.
fn proposal(row: &ProposalRow) -> Result<pb::Proposal, Fault> {
    let proposal = pb::Proposal::decode(row.body.clone()).map_err(unreadable)?;
    Ok(pb::Proposal { version: row.version, ..proposal })
}

/// What one thing is that a proposal is made of; none: nothing.
fn source(p: &pb::Proposal) -> Option<String> {
    (!p.source_id.is_empty()).then(|| format!("{}/{}", p.source_kind, p.source_id))
}

fn kept(p: &pb::Proposal) -> Kept<'_> {
    let revised = p.revised_at.as_ref().map_or(Micros(0), runspine_rpc::micros);
    Kept {
        proposal_id: &p.proposal_id,
        state: p.state,
        kind: p.kind,
        source: source(p),
        pattern: &p.pattern_signature,
        run_id: &p.source_run_id,
        due_at: Micros(revised.0.saturating_add(EXPIRES)),
        body: p.encode_to_vec(),
    }
}

/// A proposal that a caller has read at a version, and what an act makes of it. It is held until the commit: of two who
/// decide at once the second waits, and is told that it was decided, not that it was changed.
async fn held(
    tx: &mut Tx,
    tenant: &str,
    (id, version): (&str, u64),
    act: Act,
) -> Result<(ProposalRow, pb::Proposal), Fault> {
    proposals::hold(tx, tenant, id).await?;
    let row = proposals::by_id(tx, tenant, id).await?.ok_or_else(not_found)?;
    let mut found = proposal(&row)?;
    turned(&mut found, act)?;
    if row.version != version {
        return Err(conflict());
    }
    Ok((row, found))
}

/// Moves a proposal by an act.
fn turned(p: &mut pb::Proposal, act: Act) -> Result<(), Fault> {
    let from = ProposalState::from_code(p.state).unwrap_or(ProposalState::Expired);
    p.state = moved(from, act)?.code();
    Ok(())
}

/// Stores what a proposal becomes.
async fn save(tx: &mut Tx, row: &ProposalRow, p: &mut pb::Proposal) -> Result<(), Fault> {
    if !proposals::update(tx, row.id, row.version, kept(p)).await? {
        return Err(conflict());
    }
    p.version = row.version + 1;
    Ok(())
}

fn about(p: &pb::Proposal, reason: &str) -> About {
    About {
        entity_type: "proposal",
        entity_id: p.proposal_id.clone(),
        run_id: p.source_run_id.clone(),
        reason: reason.to_owned(),
        ..About::default()
    }
}

/// Who acts, under every name that the act could be told by.
fn names(who: &Who) -> Vec<&str> {
    [who.actor.id.as_str(), who.owner_id.as_str()].into_iter().filter(|n| !n.is_empty()).collect()
}
