//! What becomes of proposals: approved in one commit with their rule, rejected, withdrawn, expired.

use contracts_common::common::v1::ActorType;
use contracts_policies::v1 as pb;
use runspine_db::Tx;
use runspine_errors::Fault;
use runspine_policies_domain::{
    proposal::{Act, BACKTEST_AGE, check_reviewer, is_same_rule},
    reasons,
    rule::{Content, Meaning, check_reason},
    sandbox::candidate::Overlay,
    text,
    words::{BacktestState, Profile, RuleType, Source},
};
use runspine_types::Micros;

use super::{about, held, make, names, not_found, proposal, save, turned};
use crate::{
    app::{
        App, Keyed, Who,
        emit::event,
        enforce_rule, layer,
        write_rule::{self, Order, Origin},
    },
    store::{
        backtests,
        proposals::{self, ProposalRow, ReviewRow},
    },
};

/// Proposals of one pass of the worker.
const MOST: i64 = 100;
/// The role that may withdraw what somebody else proposed.
const ADMIN: &str = "ADMIN";

/// The rule of a proposal, parsed.
#[derive(Clone)]
pub(crate) struct Proposed {
    pub content: Content,
    pub rule_type: RuleType,
}

impl App {
    /// The rule that a proposal holds, as it stands now.
    pub(crate) async fn proposed_body(&self, who: &Who, id: &str) -> Result<pb::RuleContent, Fault> {
        let row = proposals::read(self.db.read(), &who.tenant, id).await?.ok_or_else(not_found)?;
        Ok(proposal(&row)?.body.unwrap_or_default())
    }

    /// Makes the rule of a proposal, and puts it in force if that is wanted.
    pub(crate) async fn approve_proposal(
        &self,
        who: &Who,
        request: &pb::ApproveProposalRequest,
        mut proposed: Proposed,
    ) -> Result<pb::ApproveProposalResponse, Fault> {
        if let Some(from) = &request.effective_from {
            proposed.content.effective_from = Some(runspine_rpc::micros(from).0);
        }
        let key = Keyed::by_request_id("policies.ApproveProposal", &request.request_id, request);
        if let Some(first) = self.answered(who, &key).await? {
            return Ok(first);
        }
        let active = self.active(who).await?;
        let order = self.order(who, if request.note.is_empty() { "APPROVED" } else { &request.note });
        let approval = Approval { proposed, active: active.compiled.digest, request: request.clone() };
        // What blocks a rule from coming into force blocks its approval, whenever it is to come into force.
        let checked = self.proposed_meaning(who, approval.proposed.content.clone()).await?;
        self.check_activatable(who, &checked).await?;
        let done = self.keyed(who, key, move |tx| Box::pin(approve(tx, order, approval))).await;
        self.cache.forget_active(&who.tenant);
        done
    }

    async fn proposed_meaning(&self, who: &Who, content: Content) -> Result<Meaning, Fault> {
        let (who, profile) = (who.clone(), self.profile);
        let found = self.db.write("policies.proposed_meaning", move |tx| {
            Box::pin(async move { make::meaning(tx, &who, profile, content).await })
        });
        found.await
    }

    /// Says that a proposal is not wanted.
    pub(crate) async fn reject_proposal(
        &self,
        who: &Who,
        request: &pb::RejectProposalRequest,
    ) -> Result<pb::Proposal, Fault> {
        check_reason(&request.reason)?;
        let key = Keyed::by_request_id("policies.RejectProposal", &request.request_id, request);
        let (who_, at, r) = (who.clone(), self.now(), request.clone());
        self.keyed(who, key, move |tx| {
            Box::pin(async move {
                let (row, mut p) =
                    held(tx, &who_.tenant, (&r.proposal_id, r.expected_version), Act::Reject).await?;
                check(&who_, &p)?;
                save(tx, &row, &mut p).await?;
                proposals::insert_review(tx, row.id, &review(&who_, &p, (&r.reason, ""), at)).await?;
                let data = pb::ProposalRejected { proposal_id: p.proposal_id.clone() };
                tx.emit_raw(event(&who_, "ProposalRejected", about(&p, &r.reason), &data, at));
                Ok(p)
            })
        })
        .await
    }

    /// Takes a proposal back.
    pub(crate) async fn withdraw_proposal(
        &self,
        who: &Who,
        request: &pb::WithdrawProposalRequest,
    ) -> Result<pb::Proposal, Fault> {
        check_reason(&request.reason)?;
        let key = Keyed::by_request_id("policies.WithdrawProposal", &request.request_id, request);
        let (who_, at, r) = (who.clone(), self.now(), request.clone());
        self.keyed(who, key, move |tx| {
            Box::pin(async move {
                let (row, mut p) =
                    held(tx, &who_.tenant, (&r.proposal_id, r.expected_version), Act::Withdraw).await?;
                if !who_.operator && !who_.roles.iter().any(|role| role == ADMIN) {
                    make::check_author(&who_, &p)?;
                }
                save(tx, &row, &mut p).await?;
                end(tx, &who_, (row.id, &p), &r.reason, at).await?;
                Ok(p)
            })
        })
        .await
    }

    /// Ends proposals that nobody touched for 30 days: how many.
    pub(crate) async fn expire_due_proposals(&self) -> Result<usize, Fault> {
        let (now, mut done) = (self.now(), 0);
        for row in proposals::due(self.db.read(), now, MOST).await? {
            match self.expire(row, now).await {
                Ok(()) => done += 1,
                Err(fault) if fault.is(&reasons::VERSION_CONFLICT) => {}
                Err(fault) => return Err(fault),
            }
        }
        Ok(done)
    }

    async fn expire(&self, row: ProposalRow, now: Micros) -> Result<(), Fault> {
        let write = self.db.write("policies.proposals", move |tx| {
            Box::pin(async move {
                let who = Who::of_the_mesh(&row.tenant_id);
                let mut p = proposal(&row)?;
                turned(&mut p, Act::Expire)?;
                save(tx, &row, &mut p).await?;
                end(tx, &who, (row.id, &p), "its time was over", now).await
            })
        });
        write.await
    }
}

/// An approval with what it was made with.
struct Approval {
    proposed: Proposed,
    /// The snapshot in force when it was looked at.
    active: runspine_types::Digest,
    request: pb::ApproveProposalRequest,
}

fn check(who: &Who, p: &pb::Proposal) -> Result<(), Fault> {
    let human = who.actor.r#type == ActorType::Human as i32;
    check_reviewer(human, &names(who), p.author.as_ref().map_or("", |a| a.id.as_str()))
}

/// A proposal ended without anybody's review of it.
async fn end(
    tx: &mut Tx,
    who: &Who,
    (key, p): (i64, &pb::Proposal),
    reason: &str,
    at: Micros,
) -> Result<(), Fault> {
    proposals::insert_review(tx, key, &review(who, p, (reason, ""), at)).await?;
    let data = pb::ProposalEnded { proposal_id: p.proposal_id.clone(), state: p.state };
    tx.emit_raw(event(who, "ProposalEnded", about(p, reason), &data, at));
    Ok(())
}

fn review(who: &Who, p: &pb::Proposal, (note, backtest): (&str, &str), at: Micros) -> ReviewRow {
    ReviewRow {
        revision: p.revision,
        outcome: p.state,
        note: note.to_owned(),
        backtest_id: backtest.to_owned(),
        actor_type: who.actor.r#type,
        actor_id: who.actor.id.clone(),
        at,
    }
}

async fn approve(tx: &mut Tx, order: Order, a: Approval) -> Result<pb::ApproveProposalResponse, Fault> {
    let r = &a.request;
    let (who, at) = (order.who.clone(), order.at);
    let read = (r.proposal_id.as_str(), r.expected_version);
    let (row, mut p) = held(tx, &who.tenant, read, Act::Approve).await?;
    check(&who, &p)?;
    let meaning = make::meaning(tx, &who, order.profile, a.proposed.content.clone()).await?;
    let found = meaning.check();
    if found.is_blocking() {
        return Err(text::blocking(&found));
    }
    if who.profile == Profile::Strict || order.profile == Profile::Strict {
        check_backtest(tx, &who, &a, &meaning, at).await?;
    }
    let lesson = if p.source_kind == "lesson" { p.source_id.clone() } else { String::new() };
    let written = if a.proposed.content.template.is_some() { Source::Template } else { Source::Manual };
    let origin = Origin {
        source: if p.source_id.is_empty() { written } else { Source::Learned },
        proposal_id: p.proposal_id.clone(),
        lesson_id: lesson,
        author: p.author.clone().unwrap_or_default(),
    };
    let Proposed { content, rule_type } = a.proposed.clone();
    let made = write_rule::create(tx, order.again(), content, rule_type, Some(origin)).await?;
    let mut rule = made.rule.unwrap_or_default();
    let mut snapshot_digest = bytes::Bytes::new();
    if r.activate {
        let act = pb::ActivateRuleRequest {
            rule_id: rule.rule_id.clone(),
            version: rule.version,
            expected_version: rule.revision,
            reason: order.reason.clone(),
            ..pb::ActivateRuleRequest::default()
        };
        let active = enforce_rule::activate(tx, order, act).await?;
        (rule, snapshot_digest) = (active.rule.unwrap_or_default(), active.snapshot_digest);
    }
    (p.rule_id, p.rule_version) = (rule.rule_id.clone(), rule.version);
    save(tx, &row, &mut p).await?;
    proposals::insert_review(tx, row.id, &review(&who, &p, (&r.note, &r.backtest_id), at)).await?;
    let data = pb::ProposalApproved {
        proposal_id: p.proposal_id.clone(),
        rule_id: rule.rule_id.clone(),
        version: rule.version,
        activated: r.activate,
    };
    tx.emit_raw(event(&who, "ProposalApproved", about(&p, &r.note), &data, at));
    Ok(pb::ApproveProposalResponse { proposal: Some(p), rule: Some(rule), snapshot_digest })
}

/// STRICT: a back-test of just this rule, against what is in force, no older than a day.
async fn check_backtest(
    tx: &mut Tx,
    who: &Who,
    a: &Approval,
    proposed: &Meaning,
    at: Micros,
) -> Result<(), Fault> {
    let tested = backtests::by_id(tx, &who.tenant, &a.request.backtest_id).await?;
    let in_force = layer::in_force(tx, &who.tenant).await?.unwrap_or(a.active);
    let fits = tested.is_some_and(|t| {
        let overlay = Overlay::from_bytes(&t.overlay).unwrap_or_default();
        let only = overlay.put.as_slice();
        t.state == BacktestState::Completed.code()
            && t.base_digest == in_force
            && t.ended_at.0 >= at.0 - BACKTEST_AGE
            && overlay.removed.is_empty()
            && matches!(only, [one] if is_same_rule(one, proposed))
    });
    if fits {
        return Ok(());
    }
    let text = "a completed back-test of just this rule, against the present snapshot and no older than 24 h";
    Err(Fault::new(&reasons::BACKTEST_REQUIRED, text).precondition("backtest_id", text))
}
