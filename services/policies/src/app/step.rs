//! EvaluateStep: decided in memory, stored with many others, answered with the bytes that were stored.

use std::{sync::Arc, task::Poll, time::Duration};

use bytes::Bytes;
use contracts_policies::v1 as pb;
use runspine_db::OutboxEvent;
use runspine_errors::{Fault, mesh};
use runspine_policies_domain::{
    checked,
    decide::{MAX_DEFERRALS, Ruling},
    facts::{Bypass, Question, Run, StepQuestion, check_step},
    reasons,
    sequence::{Book, Place as StepPlace},
    words::{ActionTaken, Directive, Moment, Profile, Verdict},
};
use runspine_types::{Digest, Micros, new_id};

use super::{
    App, Who,
    approval::meet::Place,
    cache::RunHandle,
    emit::{About, event},
    judge::{Asked, Judged},
    metrics,
    monitors::Desk,
    observe::{self, Attempt, Told, Under, gained, of_rule, of_sequence},
    preventions,
};
use crate::{
    present::{self, Identity},
    store::{
        hot::{Answer, Decided, Enforced, Item, Out, Raised},
        runs,
    },
};

/// How often a decision is made again because the run changed under it.
pub(crate) const TRIES: u32 = 16;

/// A question about a step, parsed.
pub(crate) struct AskStep {
    pub attempt: Attempt,
    pub decision_id: String,
    /// Empty: whichever the run is bound to.
    pub snapshot: Option<Digest>,
    pub question: StepQuestion,
    pub arguments_digest: Bytes,
    pub run: Run,
    pub bypass: Option<Bypass>,
    /// The approval that it names; empty: none.
    pub approval_id: String,
    /// Steps that were allowed here and denied after all.
    pub withdrawn: Vec<u32>,
    pub told: Told,
    pub now: Option<Micros>,
    pub profile: Profile,
    /// What repeats are compared by.
    pub request: Digest,
}

/// Refused: the run changed under the decision again and again.
pub(crate) fn contended() -> Fault {
    Fault::new(&reasons::VERSION_CONFLICT, "the run changed while it was decided: ask again")
        .retry_after(Duration::from_millis(20))
}

impl App {
    /// The attempt's binding.
    pub(crate) async fn handle(&self, who: &Who, attempt: &Attempt) -> Result<RunHandle, Fault> {
        let (run_id, n) = (attempt.run_id.as_str(), attempt.attempt);
        let found = self.cache.bound_run(&self.db, &who.tenant, run_id, n).await?;
        found.ok_or_else(|| {
            let text = "no snapshot is bound to this attempt: EvaluateRun comes first";
            Fault::new(&reasons::SNAPSHOT_NOT_FOUND, text)
        })
    }

    /// Decides a step, durably.
    pub(crate) async fn evaluate_step(&self, who: &Who, ask: &AskStep) -> Result<Bytes, Fault> {
        let key = (who.tenant.as_str(), ask.attempt.run_id.as_str(), ask.attempt.attempt);
        for _ in 0..TRIES {
            let handle = self.handle(who, &ask.attempt).await?;
            if ask.snapshot.is_some_and(|d| d != handle.digest) {
                let text = "the attempt is bound to another snapshot";
                return Err(Fault::new(&reasons::SNAPSHOT_NOT_FOUND, text));
            }
            let Prepared { item, taints, desk } = self.prepare(who, ask, &handle).await?;
            let authorized = match item.decision.as_ref().map(|d| &d.answer) {
                Some(Answer::Step(answer)) => observe::authorized_by(answer),
                _ => None,
            };
            let run = (ask.attempt.run_id.as_str(), ask.attempt.attempt);
            let mut seen =
                self.shadows.sees(&who.tenant, run, handle.digest, item.decision.as_ref(), item.at);
            if let Some(seen) = &mut seen {
                seen.facts = item.facts.iter().filter(|f| f.seq >= handle.next_seq).cloned().collect();
            }
            let counted = metrics::Stored::of(&item);
            match self.hand_in(item, desk).await? {
                Out::Done { answer, next_seq, fresh } => {
                    counted.filter(|_| fresh).into_iter().for_each(metrics::Stored::count);
                    self.shadows.tell(seen, &answer);
                    if let Some(authorized) = authorized {
                        self.cache.keep_authorized(handle.run_key, ask.question.step_index, authorized);
                    }
                    self.cache.update_run(key, |h| {
                        h.next_seq = h.next_seq.max(next_seq);
                        if let Some(taints) = taints.filter(|_| h.taint_version == handle.taint_version) {
                            h.taints = Arc::new(taints);
                            h.taint_version += 1;
                        }
                    });
                    return Ok(answer);
                }
                Out::Stale => self.cache.forget_run(key.0, key.1, key.2),
                Out::Gap(expected) => return Err(observe::gap(expected)),
                Out::Conflict(seq) => return Err(observe::conflict(seq)),
            }
        }
        Err(contended())
    }

    /// How often a question was put off, where that can matter: it was put oftener still. `step` none: about the start.
    pub(crate) async fn deferrals(
        &self,
        run_key: i64,
        step: Option<u32>,
        ask: u32,
    ) -> Result<Option<u32>, Fault> {
        if ask < MAX_DEFERRALS {
            return Ok(None);
        }
        let counted = runs::deferrals(self.db.read(), run_key, step.map_or(-1, i64::from)).await?;
        Ok(Some(counted))
    }

    /// Hands a decision to the store. Who waits for the states that it holds goes on as soon as it stands in the queue.
    async fn hand_in(&self, item: Item, desk: Desk) -> Result<Out, Fault> {
        let mut stored = Box::pin(self.steps.submit(item));
        let first = futures::poll!(&mut stored);
        let pledge = desk.leave();
        let out = match first {
            Poll::Ready(out) => out,
            Poll::Pending => stored.await,
        };
        if !matches!(out, Ok(Out::Done { fresh: true, .. })) {
            pledge.forget().await;
        }
        out
    }

    /// Everything but the store: facts, evaluation, the rows it comes to, and the taints of the run after it.
    async fn prepare(&self, who: &Who, ask: &AskStep, handle: &RunHandle) -> Result<Prepared, Fault> {
        let at = self.now();
        let now = ask.now.unwrap_or(at);
        let snapshot = self.cache.snapshot(&self.db, &who.tenant, handle.digest).await;
        if let Err(super::cache::LoadError::Store(fault)) = &snapshot {
            return Err(fault.clone());
        }
        let intents = snapshot.as_ref().map_or(&[][..], |s| s.settings.intents.as_slice());
        check_step(&ask.question, intents)?;
        let mut step = ask.question.clone();
        if let Ok(snapshot) = &snapshot {
            snapshot.settings.select_arguments(&mut step)?;
        }
        let mut run = ask.run.clone();
        run.taints.extend(handle.taints.iter().cloned());
        let under = Under {
            who,
            attempt: &ask.attempt,
            handle,
            snapshot: &snapshot,
            profile: ask.profile,
            run: &run,
            now,
        };
        let question = Question::Step(step.clone());
        let compiled = snapshot.as_ref().ok().map(Arc::as_ref);
        let mut desk = self.desk(who, handle, compiled, Some(&question), &ask.told).await?;
        let step_place =
            StepPlace { principal: &handle.bound.principal, step: ask.question.step_index, now: now.0 };
        let mut observed = self.observe(&under, &ask.told, &mut desk.book).await?;
        desk.book.withdrawn(&ask.withdrawn, step_place.principal, now.0);
        let open = desk.book.overdue(step_place);
        observed.violations.extend(open.iter().filter_map(|o| of_sequence(&under, o)));
        let mut told_run = run.clone();
        told_run.taints.extend(observed.taints.iter().cloned());
        told_run.taints.sort();
        told_run.taints.dedup();
        let observed_directive = observed.directive.unwrap_or(Directive::Continue);
        let values = desk.book.values(&desk.read, step_place);
        let step_index = ask.question.step_index;
        let deferrals = self.deferrals(handle.run_key, Some(step_index), ask.question.ask).await?;
        let asked = |lost: bool| Asked {
            bound: &handle.bound,
            digest: handle.digest,
            profile: ask.profile,
            now,
            question: question.clone(),
            run: told_run.clone(),
            bypass: ask.bypass.clone(),
            approval: None,
            observed: observed_directive,
            moment: Moment::StepStart,
            monitors: values.clone(),
            withdrawn: ask.withdrawn.clone(),
            deferrals,
            lost,
        };
        let decision_id = if ask.decision_id.is_empty() { new_id() } else { ask.decision_id.clone() };
        let place = Place {
            who,
            attempt: &ask.attempt,
            run_key: handle.run_key,
            step_index: Some(ask.question.step_index),
            decision_id: &decision_id,
            named: &ask.approval_id,
            at,
        };
        let (mut judged, mut approval) =
            self.decide(place, asked(desk.lost), &snapshot, handle.recall).await?;
        let hits = std::mem::take(&mut judged.ruling.hits);
        desk.book.decided(&hits, &step, step_place, judged.ruling.effective_verdict);
        if desk.is_full() {
            (judged, approval) = self.decide(place, asked(true), &snapshot, handle.recall).await?;
            desk.book = Book::default();
        }
        let identity = Identity {
            decision_id,
            run_id: &ask.attempt.run_id,
            attempt: ask.attempt.attempt,
            ask: ask.question.ask,
            moment: Moment::StepStart,
            snapshot: handle.digest,
            profile: ask.profile.code(),
            config_digest: who.config_digest.clone(),
            principal: &handle.bound.principal,
            resource: &ask.question.resource.id,
            at,
        };
        let decision = present::decision(identity, &judged);
        let mut more = observed.taints.clone();
        more.extend(judged.ruling.taints_added.iter().cloned());
        let stored = gained(&handle.taints, &more);
        let after: Option<Vec<String>> = stored.as_deref().and_then(|t| serde_json::from_str(t).ok());
        let prevented = preventions::of_decision(&decision, &judged.ruling, judged.run.is_synthetic, at);
        let mut events = decision_events(who, &decision, &judged.ruling, at);
        events.extend(prevented.iter().map(|p| preventions::told(who, p)));
        let mut violations = observed.violations.clone();
        let step = Some(ask.question.step_index);
        violations.extend(judged.ruling.violations.iter().map(|v| of_rule(&under, step, v)));
        let answer = Answer::Step(Box::new(pb::EvaluateStepResponse {
            decision: Some(decision.clone()),
            findings: observed.findings.clone(),
            violations: violations.iter().map(|r: &Raised| r.violation.clone()).collect(),
            next_seq: 0,
            arguments_digest: ask.arguments_digest.clone(),
        }));
        let mut item = observe::item_of(who, handle, ask.told.from_seq, observed, at);
        item.taints = stored;
        item.violations = violations;
        item.approval = approval;
        item.monitors = desk.moved();
        item.events = events;
        let decided = decided(&decision, &judged, i64::from(step_index), ask.request, answer);
        item.decision = Some(Decided { preventions: prevented, ..decided });
        Ok(Prepared { item, taints: after, desk })
    }
}

/// A decision that can be stored.
struct Prepared {
    item: Item,
    /// Taints of the run after it, when it gained some.
    taints: Option<Vec<String>>,
    desk: Desk,
}

/// A decision as it is stored.
pub(crate) fn decided(
    decision: &pb::Decision,
    judged: &Judged,
    step_index: i64,
    request: Digest,
    answer: Answer,
) -> Decided {
    let r = &judged.ruling;
    Decided {
        step_index,
        ask: decision.ask,
        moment: decision.moment,
        decision_id: decision.decision_id.clone(),
        verdict: r.verdict.code(),
        effective_verdict: r.effective_verdict.code(),
        directive: r.effective_directive.code(),
        degraded: r.failure.is_some(),
        plain: r.is_plain_allow(),
        code: present::primary_code(r),
        request_digest: request,
        inputs_digest: judged.inputs_digest,
        inputs: judged.inputs.clone(),
        rules: checked::pack(&r.checked).into(),
        enforcements: r
            .matches
            .iter()
            .map(|m| Enforced {
                enforcement_id: new_id(),
                rule_id: m.rule_id.clone(),
                version: m.version,
                action: m.action.code(),
                would_outcome: m.outcome.code(),
            })
            .collect(),
        preventions: Vec::new(),
        answer,
    }
}

/// What is told of a decision: denials, degradations, enforcements that changed what the agent may do, and to whom the
/// rules want it told.
pub(crate) fn decision_events(who: &Who, d: &pb::Decision, r: &Ruling, at: Micros) -> Vec<OutboxEvent> {
    let about = |entity_type: &'static str, entity_id: &str, reason: &str| About {
        entity_type,
        entity_id: entity_id.to_owned(),
        run_id: d.run_id.clone(),
        attempt: d.attempt,
        step_index: d.step_index,
        reason: reason.to_owned(),
        ..About::default()
    };
    let mut out = Vec::new();
    if r.verdict == Verdict::Deny {
        let first = d.reasons.first();
        let data = pb::DecisionDenied {
            decision_id: d.decision_id.clone(),
            code: first.map(|r| r.code.clone()).unwrap_or_default(),
            rule_id: first.map(|r| r.source_id.clone()).unwrap_or_default(),
            moment: d.moment,
            effective_verdict: d.effective_verdict,
        };
        out.push(event(who, "DecisionDenied", about("decision", &d.decision_id, &data.code), &data, at));
    }
    if let Some(failure) = r.failure {
        let data = pb::DecisionDegraded { decision_id: d.decision_id.clone(), failure: failure.code() };
        out.push(event(
            who,
            "DecisionDegraded",
            about("decision", &d.decision_id, failure.as_str()),
            &data,
            at,
        ));
    }
    let told = |m: &&runspine_policies_domain::decide::Match| {
        !matches!(m.action, ActionTaken::Audited | ActionTaken::Warned)
    };
    for m in r.matches.iter().filter(told) {
        let data = pb::EnforcementRecorded {
            decision_id: d.decision_id.clone(),
            rule_id: m.rule_id.clone(),
            version: m.version,
            action: m.action.code(),
        };
        out.push(event(who, "EnforcementRecorded", about("rule", &m.rule_id, &m.code), &data, at));
    }
    for channel in r.obligations.iter().filter(|o| o.name == "notify").flat_map(|o| &o.args) {
        let data = pb::NotificationRequested {
            channel_id: channel.clone(),
            decision_id: d.decision_id.clone(),
            verdict: d.verdict,
            code: present::primary_code(r),
        };
        let about = about("decision", &d.decision_id, &data.code);
        out.push(event(who, "NotificationRequested", about, &data, at));
    }
    out
}

/// An answer that must be there.
pub(crate) fn decoded<M: prost::Message + Default>(bytes: Bytes) -> Result<M, Fault> {
    if bytes.is_empty() {
        return Err(Fault::new(&mesh::INTERNAL, "a decision was stored without its answer"));
    }
    M::decode(bytes).map_err(super::unreadable)
}
