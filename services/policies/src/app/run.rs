//! EvaluateRun: decides whether an attempt may start, and binds it to the snapshot in force.

use std::sync::Arc;

use bytes::Bytes;
use contracts_policies::v1 as pb;
use runspine_db::Tx;
use runspine_errors::Fault;
use runspine_policies_domain::{
    facts::{Principal, Question, Run, StartQuestion},
    sequence::{NO_STEP, Place as StepPlace},
    slice::Bound,
    words::{Directive, Moment, Profile},
};
use runspine_types::{Digest, Micros, PLATFORM_TENANT, new_id};

use super::{
    App, Who,
    approval::meet::Place,
    cache::{Active, RunHandle, handle_of},
    judge::Asked,
    metrics,
    observe::{Attempt, gained},
    preventions,
    step::{TRIES, contended, decided, decision_events},
};
use crate::{
    present::{self, Identity},
    store::{
        hot::{self, Answer, Decided, Item, Out},
        runs, snapshots,
    },
};

/// A question about a run, parsed.
#[derive(Clone)]
pub(crate) struct AskRun {
    pub attempt: Attempt,
    pub decision_id: String,
    pub principal: Principal,
    pub question: StartQuestion,
    /// Its taints are labels that it begins with, besides those of the parent run.
    pub run: Run,
    /// The run that spawned it; empty: none.
    pub parent_run_id: String,
    /// The approval that it names; empty: none.
    pub approval_id: String,
    pub now: Option<Micros>,
    pub profile: Profile,
    /// What repeats are compared by.
    pub request: Digest,
}

/// What the attempt is judged by: bound before, or in force now.
struct Under {
    handle: Option<RunHandle>,
    active: Active,
    bound: Arc<Bound>,
}

impl App {
    /// Decides the start of a run, durably.
    pub(crate) async fn evaluate_run(&self, who: &Who, ask: &AskRun) -> Result<Bytes, Fault> {
        let ask = &self.inherited(who, ask).await?;
        for _ in 0..TRIES {
            let under = self.under(who, ask).await?;
            let item = self.prepare_run(who, ask, &under).await?;
            let run = (ask.attempt.run_id.as_str(), ask.attempt.attempt);
            let digest = under.active.compiled.digest;
            let seen = self.shadows.sees(&who.tenant, run, digest, item.decision.as_ref(), item.at);
            let counted = metrics::Stored::of(&item);
            let (ask, who_) = (ask.clone(), who.clone());
            let bind =
                Bind { who: who_, ask, active: under.active.clone(), bound_before: under.handle.is_some() };
            let out = self
                .db
                .write("policies.EvaluateRun", move |tx| Box::pin(async move { store(tx, bind, item).await }))
                .await?;
            match out {
                Out::Done { answer, fresh, .. } => {
                    counted.filter(|_| fresh).into_iter().for_each(metrics::Stored::count);
                    self.shadows.tell(seen, &answer);
                    return Ok(answer);
                }
                _ => self.cache.forget_active(&who.tenant),
            }
        }
        Err(contended())
    }

    /// The question with the labels of the parent run. What they were when the attempt was bound stays with it.
    async fn inherited(&self, who: &Who, ask: &AskRun) -> Result<AskRun, Fault> {
        let mut ask = ask.clone();
        let (run_id, attempt) = (ask.attempt.run_id.as_str(), ask.attempt.attempt);
        if ask.parent_run_id.is_empty()
            || runs::read(self.db.read(), &who.tenant, run_id, attempt).await?.is_some()
        {
            return Ok(ask);
        }
        if let Some(taints) = runs::taints(self.db.read(), &who.tenant, &ask.parent_run_id).await? {
            let taints: Vec<String> = serde_json::from_str(&taints).map_err(super::unreadable)?;
            ask.run.taints.extend(taints);
            ask.run.taints.sort();
            ask.run.taints.dedup();
        }
        Ok(ask)
    }

    async fn under(&self, who: &Who, ask: &AskRun) -> Result<Under, Fault> {
        let (run_id, attempt) = (ask.attempt.run_id.as_str(), ask.attempt.attempt);
        // Read from the store: the binding may have been made by another process.
        if let Some(row) = runs::read(self.db.read(), &who.tenant, run_id, attempt).await? {
            let compiled = self.cache.snapshot(&self.db, &who.tenant, row.digest).await;
            let compiled = compiled.map_err(super::cache::LoadError::into_fault)?;
            let handle = handle_of(&row)?;
            let active = Active {
                key: row.snapshot_key,
                snapshot_id: row.snapshot_id,
                compiled,
                version: 0,
                mesh_version: 0,
                recall: row.recall,
            };
            return Ok(Under { bound: Arc::clone(&handle.bound), handle: Some(handle), active });
        }
        let active = self.active(who).await?;
        Ok(Under { handle: None, active, bound: Arc::new(Bound::new(ask.principal.clone())) })
    }

    async fn prepare_run(&self, who: &Who, ask: &AskRun, under: &Under) -> Result<Item, Fault> {
        let at = self.now();
        let active = &under.active;
        let mut run = ask.run.clone();
        if let Some(handle) = &under.handle {
            run.taints.extend(handle.taints.iter().cloned());
        }
        run.taints.sort();
        run.taints.dedup();
        let question = Question::Start(ask.question.clone());
        let run_key = under.handle.as_ref().map_or(0, |h| h.run_key);
        let now = ask.now.unwrap_or(at);
        let glance = self.glance(who, run_key, &under.bound, &active.compiled, &question).await?;
        let place = StepPlace { principal: &under.bound.principal, step: NO_STEP, now: now.0 };
        let asked = Asked {
            bound: &under.bound,
            digest: active.compiled.digest,
            profile: ask.profile,
            now,
            question,
            run,
            bypass: None,
            approval: None,
            observed: Directive::Continue,
            moment: Moment::RunStart,
            monitors: glance.book.values(&glance.read, place),
            withdrawn: Vec::new(),
            deferrals: self.deferrals(run_key, None, ask.question.ask).await?,
            lost: glance.lost,
        };
        let decision_id = if ask.decision_id.is_empty() { new_id() } else { ask.decision_id.clone() };
        let place = Place {
            who,
            attempt: &ask.attempt,
            run_key,
            step_index: None,
            decision_id: &decision_id,
            named: &ask.approval_id,
            at,
        };
        let snapshot = Ok(Arc::clone(&active.compiled));
        let (judged, approval) = self.decide(place, asked, &snapshot, active.recall).await?;
        let identity = Identity {
            decision_id,
            run_id: &ask.attempt.run_id,
            attempt: ask.attempt.attempt,
            ask: ask.question.ask,
            moment: Moment::RunStart,
            snapshot: active.compiled.digest,
            profile: ask.profile.code(),
            config_digest: who.config_digest.clone(),
            principal: &under.bound.principal,
            resource: &under.bound.principal.project.id,
            at,
        };
        let decision = present::decision(identity, &judged);
        let settings = &active.compiled.settings;
        let answer = Answer::Run(Box::new(pb::EvaluateRunResponse {
            decision: Some(decision.clone()),
            snapshot_id: active.snapshot_id.clone(),
            snapshot_digest: active.compiled.digest.to_vec().into(),
            inspection: Some(present::inspection(settings)),
            monitored_metrics: settings.monitored_metrics.clone(),
        }));
        let prevented = preventions::of_decision(&decision, &judged.ruling, judged.run.is_synthetic, at);
        let mut events = decision_events(who, &decision, &judged.ruling, at);
        events.extend(prevented.iter().map(|p| preventions::told(who, p)));
        let had = under.handle.as_ref().map(|h| h.taints.as_slice()).unwrap_or_default();
        Ok(Item {
            tenant: who.tenant.clone(),
            run_key: under.handle.as_ref().map_or(0, |h| h.run_key),
            taint_version: under.handle.as_ref().map_or(0, |h| h.taint_version),
            recall: active.recall,
            taints: gained(had, &judged.ruling.taints_added),
            from_seq: 0,
            facts: Vec::new(),
            events,
            decision: Some(Decided {
                preventions: prevented,
                ..decided(&decision, &judged, -1, ask.request, answer)
            }),
            violations: Vec::new(),
            approval,
            monitors: Vec::new(),
            conflict: None,
            at,
        })
    }
}

struct Bind {
    who: Who,
    ask: AskRun,
    active: Active,
    bound_before: bool,
}

/// Binds the attempt unless it is bound, if what was decided under is still in force; then stores the decision.
async fn store(tx: &mut Tx, bind: Bind, mut item: Item) -> Result<Out, Fault> {
    let Bind { who, ask, active, bound_before } = bind;
    let run = (ask.attempt.run_id.as_str(), ask.attempt.attempt);
    if !bound_before {
        match runs::in_tx(tx, &who.tenant, run.0, run.1).await? {
            Some(row) => item.run_key = row.id,
            None => {
                if !is_in_force(tx, &who.tenant, &active).await? {
                    return Ok(Out::Stale);
                }
                let principal = serde_json::to_vec(&ask.principal).map_err(super::unreadable)?;
                let taints = serde_json::to_string(&ask.run.taints).map_err(super::unreadable)?;
                item.run_key =
                    runs::insert(tx, &who.tenant, run, active.key, &principal, &taints, item.at).await?;
            }
        }
    }
    let mut outs = hot::apply(tx, std::slice::from_ref(&item)).await?;
    // A binding without its decision is harmless: the next try finds it and decides under it.
    outs.pop().unwrap_or(Ok(Out::Stale))
}

async fn is_in_force(tx: &mut Tx, tenant: &str, active: &Active) -> Result<bool, Fault> {
    let own = snapshots::layer(tx, tenant).await?;
    let mesh = if tenant == PLATFORM_TENANT {
        own.map_or(0, |l| l.version)
    } else {
        snapshots::layer(tx, PLATFORM_TENANT).await?.map_or(0, |l| l.version)
    };
    let same = own.is_some_and(|l| l.version == active.version && l.snapshot_key == active.key);
    Ok(same && active.mesh_version == mesh)
}
