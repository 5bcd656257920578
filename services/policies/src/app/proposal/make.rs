//! Making and changing proposals.

use contracts_policies::v1 as pb;
use runspine_db::Tx;
use runspine_errors::Fault;
use runspine_policies_domain::{
    proposal::{Act, MOST_OPEN},
    reasons,
    rule::{Content, Identity, Meaning, check_content, meaning_of},
    words::{Mode, Profile, ProposalKind, ProposalState},
};
use runspine_rpc::timestamp;
use runspine_types::{Micros, new_id};

use super::{about, conflict, held, kept, names, proposal, save, source};
use crate::{
    app::{
        App, Keyed, Who,
        emit::{About, event},
        layer,
    },
    present,
    store::{
        proposals::{self, ProposalRow},
        runs,
    },
};

/// A proposal as it is asked for, parsed.
#[derive(Clone)]
pub(crate) struct Wish {
    pub kind: ProposalKind,
    pub name: String,
    pub rationale: String,
    pub body: pb::RuleContent,
    pub content: Content,
    pub supporting_ids: Vec<String>,
    pub source_kind: String,
    pub source_id: String,
    pub source_run_id: String,
    /// The pattern that it answers to; empty: none.
    pub pattern: String,
    /// Its body was made from the default template of the kind.
    pub drafted: bool,
}

/// Ids of what speaks for a proposal.
const MOST_SUPPORT: usize = 64;

/// What a proposal was made with.
pub(crate) struct Made {
    pub proposal: pb::Proposal,
    pub findings: Vec<pb::Finding>,
}

impl App {
    /// Proposes a rule.
    pub(crate) async fn create_proposal(
        &self,
        who: &Who,
        request: &pb::CreateProposalRequest,
        mut wish: Wish,
    ) -> Result<pb::CreateProposalResponse, Fault> {
        check_content(&wish.content, &who.tenant, who.operator)?;
        if wish.drafted && wish.content.mode.is_none() && !wish.pattern.is_empty() {
            let mode = self.eligible(who, &wish.pattern).await?.mode;
            (wish.body.mode, wish.content.mode) = (mode, Mode::from_code(mode));
        }
        let key = Keyed::by_request_id("policies.CreateProposal", &request.request_id, request);
        let (who_, profile, at) = (who.clone(), self.profile, self.now());
        self.keyed(who, key, move |tx| {
            Box::pin(async move {
                let made = make(tx, &who_, profile, wish, at).await?;
                Ok(pb::CreateProposalResponse { proposal: Some(made.proposal), findings: made.findings })
            })
        })
        .await
    }

    /// Gives a proposal another content.
    pub(crate) async fn update_proposal(
        &self,
        who: &Who,
        request: &pb::UpdateProposalRequest,
        body: pb::RuleContent,
        content: Content,
    ) -> Result<pb::UpdateProposalResponse, Fault> {
        check_content(&content, &who.tenant, who.operator)?;
        let key = Keyed::by_request_id("policies.UpdateProposal", &request.request_id, request);
        let (who_, profile, at, r) = (who.clone(), self.profile, self.now(), request.clone());
        self.keyed(who, key, move |tx| {
            Box::pin(async move {
                let (row, mut p) =
                    held(tx, &who_.tenant, (&r.proposal_id, r.expected_version), Act::Revise).await?;
                check_author(&who_, &p)?;
                let findings = findings(tx, &who_, profile, content).await?;
                p.revision += 1;
                p.revised_at = Some(timestamp(at));
                (p.name, p.rationale, p.supporting_ids) = (r.name, r.rationale, r.supporting_ids);
                p.body = Some(body);
                save(tx, &row, &mut p).await?;
                let data = pb::ProposalRevised { proposal_id: p.proposal_id.clone(), revision: p.revision };
                tx.emit_raw(event(&who_, "ProposalRevised", about(&p, &p.name), &data, at));
                Ok(pb::UpdateProposalResponse { proposal: Some(p), findings })
            })
        })
        .await
    }
}

/// Only the author changes a proposal.
pub(super) fn check_author(who: &Who, p: &pb::Proposal) -> Result<(), Fault> {
    let author = p.author.as_ref().map_or("", |a| a.id.as_str());
    if names(who).contains(&author) {
        return Ok(());
    }
    Err(Fault::new(&reasons::NOT_THE_AUTHOR, "a proposal is changed by its author"))
}

/// The meaning of a proposed rule, before it has a place in the store.
pub(super) async fn meaning(
    tx: &mut Tx,
    who: &Who,
    profile: Profile,
    content: Content,
) -> Result<Meaning, Fault> {
    let (_, settings) = layer::settings(tx, &who.tenant, profile).await?;
    let identity = Identity { rule_id: "", version: 0, tenant: &who.tenant };
    meaning_of(content, identity, settings.default_rule_mode)
}

async fn findings(
    tx: &mut Tx,
    who: &Who,
    profile: Profile,
    content: Content,
) -> Result<Vec<pb::Finding>, Fault> {
    let found = meaning(tx, who, profile, content).await?.check();
    Ok(found.findings.iter().map(|f| present::finding(f, "", 0)).collect())
}

/// Makes a proposal; one that was made of the same thing before is answered as it stands.
pub(crate) async fn make(
    tx: &mut Tx,
    who: &Who,
    profile: Profile,
    wish: Wish,
    at: Micros,
) -> Result<Made, Fault> {
    let findings = findings(tx, who, profile, wish.content).await?;
    let p = pb::Proposal {
        proposal_id: new_id(),
        kind: wish.kind.code(),
        state: ProposalState::Draft.code(),
        version: 1,
        revision: 1,
        name: wish.name,
        rationale: wish.rationale,
        body: Some(wish.body),
        supporting_ids: wish.supporting_ids,
        source_kind: wish.source_kind,
        source_id: wish.source_id,
        source_run_id: wish.source_run_id,
        pattern_signature: wish.pattern,
        author: Some(who.actor.clone()),
        created_at: Some(timestamp(at)),
        revised_at: Some(timestamp(at)),
        ..pb::Proposal::default()
    };
    if let Some(source) = source(&p)
        && let Some(row) = proposals::of_source(tx, &who.tenant, &source).await?
    {
        return Ok(Made { proposal: proposal(&row)?, findings });
    }
    if !p.pattern_signature.is_empty()
        && let Some(row) = proposals::of_pattern(tx, &who.tenant, &p.pattern_signature, p.kind).await?
    {
        return Ok(Made { proposal: support(tx, who, &row, p, at).await?, findings });
    }
    if proposals::open(tx, &who.tenant).await? >= MOST_OPEN {
        let text = format!("the tenant has {MOST_OPEN} open proposals, as many as it may have");
        return Err(Fault::new(&reasons::RULE_QUOTA, text.clone()).quota("open proposals", text));
    }
    if !proposals::insert(tx, &who.tenant, kept(&p)).await? {
        return Err(conflict());
    }
    tell(tx, who, &p, at).await?;
    Ok(Made { proposal: p, findings })
}

/// What a proposal of the same pattern and kind brings joins the one that nobody decided about.
async fn support(
    tx: &mut Tx,
    who: &Who,
    row: &ProposalRow,
    more: pb::Proposal,
    at: Micros,
) -> Result<pb::Proposal, Fault> {
    let mut p = proposal(row)?;
    let source = Some(more.source_id).filter(|id| !id.is_empty());
    let mut new: Vec<String> = Vec::new();
    for id in more.supporting_ids.into_iter().chain(source) {
        if !p.supporting_ids.contains(&id) && !new.contains(&id) && p.source_id != id {
            new.push(id);
        }
    }
    new.truncate(MOST_SUPPORT.saturating_sub(p.supporting_ids.len()));
    if new.is_empty() {
        return Ok(p);
    }
    p.supporting_ids.extend(new.iter().cloned());
    save(tx, row, &mut p).await?;
    let data = pb::ProposalSupported { proposal_id: p.proposal_id.clone(), supporting_ids: new };
    tx.emit_raw(event(who, "ProposalSupported", about(&p, &p.name), &data, at));
    Ok(p)
}

/// A proposal that a run caused is told twice: to those who look at proposals, and to those who look at the run.
async fn tell(tx: &mut Tx, who: &Who, p: &pb::Proposal, at: Micros) -> Result<(), Fault> {
    let data = pb::ProposalCreated { proposal_id: p.proposal_id.clone(), kind: p.kind };
    tx.emit_raw(event(who, "ProposalCreated", about(p, &p.name), &data, at));
    if !p.source_run_id.is_empty() {
        let data = pb::DraftCreated {
            proposal_id: p.proposal_id.clone(),
            source_kind: p.source_kind.clone(),
            source_id: p.source_id.clone(),
        };
        let attempt = runs::latest_attempt(tx, &who.tenant, &p.source_run_id).await?;
        let about = About { attempt, ..about(p, &p.name) };
        tx.emit_raw(event(who, "DraftCreated", about, &data, at));
    }
    Ok(())
}
