//! A decision that demands approval meets the approvals that there are.

use std::sync::Arc;

use contracts_policies::v1 as pb;
use runspine_errors::Fault;
use runspine_policies_domain::{
    approval::{self, Action, Approval, Event, MOST_OPEN, Meeting, is_small},
    compile::CompiledSnapshot,
    decide::Demand,
    facts::{ApprovalFacts, Principal, Question},
    words::{ActionTaken, ApprovalState, Moment, Profile, Standing},
};
use runspine_types::{Digest, Micros, new_id};

use super::change::{by_time, change, moved, told};
use crate::{
    app::{
        App, Who,
        cache::LoadError,
        emit::{About, event},
        judge::{Asked, Judged},
        observe::Attempt,
    },
    store::{
        approval_part::{ApprovalPart, NewApproval, Spender},
        approvals::{self, ApprovalRow},
    },
};

/// What is decided, and where.
#[derive(Clone, Copy)]
pub(crate) struct Place<'a> {
    pub who: &'a Who,
    pub attempt: &'a Attempt,
    /// 0: the attempt is not bound yet.
    pub run_key: i64,
    /// None: the start of the run.
    pub step_index: Option<u32>,
    pub decision_id: &'a str,
    /// The approval that the question names; empty: none.
    pub named: &'a str,
    pub at: Micros,
}

/// The parts of a question that stay when it is put again.
struct Again<'a> {
    bound: &'a runspine_policies_domain::slice::Bound,
    digest: Digest,
    profile: Profile,
    now: Micros,
    observed: runspine_policies_domain::words::Directive,
    moment: Moment,
}

impl App {
    /// Decides; when the rules demand approval, with what is known of one, and says what becomes of it in the commit.
    pub(crate) async fn decide(
        &self,
        place: Place<'_>,
        asked: Asked<'_>,
        snapshot: &Result<Arc<CompiledSnapshot>, LoadError>,
        recall: i32,
    ) -> Result<(Judged, Option<ApprovalPart>), Fault> {
        let again = Again {
            bound: asked.bound,
            digest: asked.digest,
            profile: asked.profile,
            now: asked.now,
            observed: asked.observed,
            moment: asked.moment,
        };
        let judged = self.judge(asked, snapshot, recall);
        let demand = judged.ruling.demand.clone().filter(|_| again.profile != Profile::ObserveOnly);
        let Some(demand) = demand else { return Ok((judged, None)) };
        let rows =
            approvals::of_attempt(self.db.read(), &place.who.tenant, place.run_key, place.named).await?;
        let small = is_small(&judged.question, &judged.run);
        let wish = Wish::new(place, &demand, &judged.question, &again.bound.principal, again.digest);
        let mut met = self.met(&wish, &rows, small).await?;
        let mut judged = self.judge(again.with(judged, wish.facts(&met)), snapshot, recall);
        if met.standing == Standing::Auto && !spends(&judged) {
            // Something else stands against the action too: then a person is asked after all.
            met = self.met(&wish, &rows, false).await?;
            judged = self.judge(again.with(judged, wish.facts(&met)), snapshot, recall);
        }
        let part = wish.part(rows, &met, spends(&judged))?;
        Ok((judged, Some(part)))
    }

    async fn met(&self, wish: &Wish<'_>, rows: &[ApprovalRow], small: bool) -> Result<Meeting, Fault> {
        let place = wish.place;
        let step = place.step_index.map_or(-1, i64::from);
        let held: Vec<_> = rows.iter().map(|r| r.held(place.run_key, step)).collect();
        let asked = approval::Asked {
            named: place.named,
            action: wish.action,
            deed: wish.deed,
            snapshot: wish.snapshot,
            rules: &wish.demand.rules,
            terms: &wish.demand.terms,
            small,
            now: place.at,
        };
        let mut met = approval::meet(&asked, &held);
        let is_new = met.approval_id.is_empty() && matches!(met.standing, Standing::Waiting);
        if is_new && approvals::open(self.db.read(), &place.who.tenant).await? >= MOST_OPEN {
            met.standing = Standing::Full;
        }
        Ok(met)
    }
}

/// Whether an approval answered for the rules that demand one.
fn spends(judged: &Judged) -> bool {
    judged.ruling.matches.iter().any(|m| m.action == ActionTaken::Approved)
}

impl<'a> Again<'a> {
    fn with(&self, judged: Judged, facts: ApprovalFacts) -> Asked<'a> {
        Asked {
            bound: self.bound,
            digest: self.digest,
            profile: self.profile,
            now: self.now,
            question: judged.question,
            run: judged.run,
            bypass: judged.bypass,
            approval: Some(facts),
            observed: self.observed,
            moment: self.moment,
            monitors: judged.monitors,
            withdrawn: judged.withdrawn,
            deferrals: judged.deferrals,
            lost: false,
        }
    }
}

/// The action that approval is demanded for.
struct Wish<'a> {
    place: Place<'a>,
    demand: &'a Demand,
    principal: &'a Principal,
    action: Digest,
    deed: Digest,
    snapshot: Digest,
    /// The id of a request, if one has to be made.
    new_id: String,
}

impl<'a> Wish<'a> {
    fn new(
        place: Place<'a>,
        demand: &'a Demand,
        question: &Question,
        principal: &'a Principal,
        snapshot: Digest,
    ) -> Self {
        let (kind, resource, name, arguments_digest) = match question {
            Question::Step(q) => {
                (q.kind.as_str(), q.resource.id.as_str(), q.name.as_str(), q.arguments_digest.as_str())
            }
            Question::Start(q) => ("START_RUN", principal.project.id.as_str(), "", q.goal_digest.as_str()),
            Question::Ended(_) | Question::End(_) => ("", "", "", ""),
        };
        let action = Action {
            tenant: &place.who.tenant,
            run_id: &place.attempt.run_id,
            attempt: place.attempt.attempt,
            step_index: place.step_index,
            kind,
            resource,
            name,
            arguments_digest,
            obligations: &demand.obligations,
        };
        let (action, deed) = (action.digest(), action.deed_digest());
        Self { place, demand, principal, action, deed, snapshot, new_id: new_id() }
    }

    fn is_new(met: &Meeting) -> bool {
        met.approval_id.is_empty() && matches!(met.standing, Standing::Waiting | Standing::Auto)
    }

    /// What the decision is made with.
    fn facts(&self, met: &Meeting) -> ApprovalFacts {
        let approval_id = if Self::is_new(met) { self.new_id.clone() } else { met.approval_id.clone() };
        // A usable approval was found to answer for every rule that demands it.
        ApprovalFacts {
            approval_id,
            rules: self.demand.rules.clone(),
            standing: met.standing,
            unusable: met.unusable,
        }
    }

    /// What is stored with the decision.
    fn part(&self, rows: Vec<ApprovalRow>, met: &Meeting, spent: bool) -> Result<ApprovalPart, Fault> {
        let who = self.place.who;
        let mut part = ApprovalPart::default();
        for mut row in rows {
            if met.over.iter().any(|(id, _)| *id == row.approval_id) {
                part.over.extend(by_time(&mut row, self.place.at)?);
            } else if spent && row.approval_id == met.approval_id {
                let to = Approval { state: ApprovalState::Used, ..row.approval() };
                let text = "the decision spent it";
                part.spent = Some(change(who, &mut row, (Event::Use, to), text, self.place.at)?);
            }
        }
        if Self::is_new(met) {
            part.new = Some(Box::new(self.request(met.standing == Standing::Auto)));
        }
        if spent {
            let id = if Self::is_new(met) { &self.new_id } else { &met.approval_id };
            part.spender = Some(self.spender(id));
        }
        Ok(part)
    }

    fn request(&self, auto: bool) -> NewApproval {
        let Place { who, attempt, step_index, decision_id, at, .. } = self.place;
        let terms = &self.demand.terms;
        let mut it = Approval::requested(terms, at);
        if auto {
            it.state = ApprovalState::AutoApproved;
        }
        let row = ApprovalRow {
            id: 0,
            approval_id: self.new_id.clone(),
            run_key: self.place.run_key,
            run_id: attempt.run_id.clone(),
            attempt: attempt.attempt,
            step_index: step_index.map_or(-1, i64::from),
            decision_id: decision_id.to_owned(),
            action_digest: self.action,
            deed_digest: self.deed,
            snapshot_digest: self.snapshot,
            rules: serde_json::to_string(&self.demand.rules).unwrap_or_default(),
            agent_id: self.principal.agent.id.clone(),
            owner_id: self.principal.agent.owner.clone(),
            human_id: self.principal.human.as_ref().map(|h| h.id.clone()).unwrap_or_default(),
            quorum: terms.quorum,
            state: it.state.code(),
            level: it.level.code(),
            escalations: 0,
            created_at: at,
            expires_at: it.expires_at,
            escalates_at: it.escalates_at,
            use_by: None,
            version: 1,
            approvals: 0,
            tenant_id: who.tenant.clone(),
            use_within_s: it.use_within_s,
            escalates_s: it.escalates_s,
        };
        let reason = if auto { "small enough to need no person" } else { "the rules demand it" };
        NewApproval { moved: moved(who, 0, &row, reason, at), event: told(who, &row, reason, at), row }
    }

    fn spender(&self, approval_id: &str) -> Spender {
        let Place { who, attempt, step_index, decision_id, at, .. } = self.place;
        let about = About {
            entity_type: "approval",
            entity_id: approval_id.to_owned(),
            run_id: attempt.run_id.clone(),
            attempt: attempt.attempt,
            step_index,
            reason: "the decision spent it".to_owned(),
            ..About::default()
        };
        let data =
            pb::ApprovalUsed { approval_id: approval_id.to_owned(), decision_id: decision_id.to_owned() };
        Spender {
            decision_id: decision_id.to_owned(),
            event: event(who, "ApprovalUsed", about, &data, at),
            at,
        }
    }
}
