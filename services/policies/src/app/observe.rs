//! Facts of finished steps: what rules say about them, and whether they are what was decided.

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use contracts_policies::v1 as pb;
use prost::Message as _;
use runspine_errors::Fault;
use runspine_policies_domain::{
    compile::CompiledSnapshot,
    decide::{RuleViolation, Ruling},
    facts::{EndedQuestion, Question, Run},
    obligation::Obligation,
    reasons,
    record::{self, Authorized, RecordViolation},
    sequence::{Book, Hit, Open, Place, labels, synthesized},
    words::{Directive, Failure, Mode, Moment, Profile, Severity, Verdict, ViolationKind, ViolationSource},
};
use runspine_rpc::timestamp;
use runspine_types::{Hasher, Micros, hash, new_id};

use super::{
    App, Keyed, Who,
    cache::{LoadError, RunHandle},
    emit::{About, event},
    judge::Asked,
};
use crate::{
    present,
    store::{
        hot::{self, Fact, Item, Out, Raised},
        runs,
    },
};

/// The rule id of a violation that a check on the record found.
const RECORD_RULE: &str = "sys.record";

/// Which attempt it is about.
#[derive(Debug, Clone)]
pub(crate) struct Attempt {
    pub run_id: String,
    pub attempt: u32,
}

/// Facts with the position from which on they are complete.
#[derive(Debug, Clone)]
pub(crate) struct Told {
    pub from_seq: u64,
    pub facts: Vec<EndedQuestion>,
}

/// Under what facts are looked at.
pub(crate) struct Under<'a> {
    pub who: &'a Who,
    pub attempt: &'a Attempt,
    pub handle: &'a RunHandle,
    pub snapshot: &'a Result<Arc<CompiledSnapshot>, LoadError>,
    pub profile: Profile,
    pub run: &'a Run,
    pub now: Micros,
}

/// What facts led to.
#[derive(Default)]
pub(crate) struct Observed {
    pub facts: Vec<Fact>,
    pub findings: Vec<pb::StepFinding>,
    pub violations: Vec<Raised>,
    pub conflict: Option<Box<Raised>>,
    pub directive: Option<Directive>,
    /// Labels that the run gained by them.
    pub taints: Vec<String>,
}

/// Refused: facts before these are missing.
pub(crate) fn gap(expected: u64) -> Fault {
    let text = format!("facts from position {expected} on are missing");
    Fault::new(&reasons::HISTORY_GAP, text).with("expected_seq", expected).precondition("observed", "no gaps")
}

/// Refused: the fact contradicts a stored one.
pub(crate) fn conflict(seq: u64) -> Fault {
    let text = format!("another fact is known at position {seq}");
    Fault::new(&reasons::HISTORY_CONFLICT, text).with("seq", seq).precondition("observed", "the same facts")
}

impl App {
    /// Looks at facts in their order; those that are known already are only passed on to be compared.
    pub(crate) async fn observe(
        &self,
        under: &Under<'_>,
        told: &Told,
        book: &mut Book,
    ) -> Result<Observed, Fault> {
        let mut out = Observed::default();
        for fact in &told.facts {
            let authorized = self.authorized(under, fact).await?;
            let bytes = Bytes::from(fact.bytes());
            out.facts.push(Fact {
                seq: fact.seq,
                step_index: fact.step_index,
                authorized: authorized.is_some(),
                digest: hash(&bytes),
                bytes,
            });
            if fact.seq >= under.handle.next_seq {
                self.look_at(under, fact, authorized.as_deref(), &mut out, book);
            }
        }
        if let Some(first) = told.facts.first() {
            let found = RecordViolation {
                code: ViolationKind::HistoryConflict.as_str().to_owned(),
                kind: ViolationKind::HistoryConflict,
                severity: Severity::Critical,
                value: format!("facts from position {}", first.seq),
                threshold: "the facts told before".to_owned(),
                reason: "two different facts were told for one position of the trace".to_owned(),
            };
            out.conflict = Some(Box::new(of_record(under, first.step_index, &found)));
        }
        Ok(out)
    }

    fn look_at(
        &self,
        under: &Under<'_>,
        fact: &EndedQuestion,
        authorized: Option<&Authorized>,
        out: &mut Observed,
        book: &mut Book,
    ) {
        let place = Place {
            principal: &under.handle.bound.principal,
            step: fact.step_index,
            now: if fact.occurred_at > 0 { fact.occurred_at } else { under.now.0 },
        };
        let mut hits = Vec::new();
        let mut question = fact.clone();
        question.authorized = authorized.is_some();
        let mut run = under.run.clone();
        run.taints.extend(out.taints.iter().cloned());
        let asked = Asked {
            bound: &under.handle.bound,
            digest: under.handle.digest,
            profile: under.profile,
            now: under.now,
            question: Question::Ended(question),
            run,
            bypass: None,
            approval: None,
            observed: Directive::Continue,
            moment: Moment::StepEnd,
            monitors: book.all_values(Place { now: under.now.0, ..place }),
            withdrawn: Vec::new(),
            deferrals: None,
            lost: false,
        };
        // A snapshot that can't be used is told by the decision that follows, not by every fact.
        if let Ok(snapshot) = under.snapshot {
            let ruling: Ruling = self.judge(asked, &Ok(Arc::clone(snapshot)), 0).ruling;
            out.findings.extend(present::step_finding(fact.seq, fact.step_index, &ruling));
            out.directive = out.directive.max(Some(ruling.directive));
            out.taints.extend(ruling.taints_added.iter().cloned());
            let found = ruling.violations.iter();
            out.violations.extend(found.map(|v| of_rule(under, Some(fact.step_index), v)));
            hits = ruling.hits;
            if !book.is_empty() && !authorized.is_some_and(Authorized::is_watched) {
                let unknown = self.hits_of_unknown(under, snapshot, fact);
                out.taints.extend(labels(&unknown));
                hits.extend(unknown);
            }
        }
        book.recorded(fact, place);
        book.happened(&hits, fact, place);
        let found = record::check(fact, authorized);
        out.violations.extend(found.iter().map(|v| of_record(under, fact.step_index, v)));
    }

    /// What watches a step that was not decided here, as far as its record tells.
    fn hits_of_unknown(
        &self,
        under: &Under<'_>,
        snapshot: &Arc<CompiledSnapshot>,
        fact: &EndedQuestion,
    ) -> Vec<Hit> {
        let asked = Asked {
            bound: &under.handle.bound,
            digest: under.handle.digest,
            profile: under.profile,
            now: under.now,
            question: Question::Step(synthesized(fact)),
            run: under.run.clone(),
            bypass: None,
            approval: None,
            observed: Directive::Continue,
            moment: Moment::StepStart,
            monitors: BTreeMap::new(),
            withdrawn: Vec::new(),
            deferrals: None,
            lost: false,
        };
        self.judge(asked, &Ok(Arc::clone(snapshot)), 0).ruling.hits
    }

    /// What was decided about a step: kept in memory since, or read from its latest answer.
    async fn authorized(
        &self,
        under: &Under<'_>,
        fact: &EndedQuestion,
    ) -> Result<Option<Arc<Authorized>>, Fault> {
        let (run_key, step) = (under.handle.run_key, fact.step_index);
        let kept = self.cache.authorized(run_key, step);
        if let Some(kept) = kept.filter(|a| fact.decision_id.is_empty() || a.decision_id == fact.decision_id)
        {
            return Ok(Some(kept));
        }
        let row = runs::answer(self.db.read(), run_key, step).await?;
        let Some(row) = row else { return Ok(None) };
        let answer = pb::EvaluateStepResponse::decode(row.answer).map_err(super::unreadable)?;
        Ok(authorized_by(&answer).map(Arc::new))
    }

    /// Takes facts without a question.
    pub(crate) async fn observe_steps(
        &self,
        who: &Who,
        request: &pb::ObserveStepsRequest,
        told: Told,
        run: Run,
        profile: Profile,
    ) -> Result<pb::ObserveStepsResponse, Fault> {
        let attempt = Attempt { run_id: request.run_id.clone(), attempt: request.attempt };
        let now = request.now.as_ref().map_or_else(|| self.now(), runspine_rpc::micros);
        for _ in 0..super::step::TRIES {
            let handle = self.handle(who, &attempt).await?;
            let snapshot = self.cache.snapshot(&self.db, &who.tenant, handle.digest).await;
            let mut run = run.clone();
            run.taints.extend(handle.taints.iter().cloned());
            let under = Under {
                who,
                attempt: &attempt,
                handle: &handle,
                snapshot: &snapshot,
                profile,
                run: &run,
                now,
            };
            let compiled = snapshot.as_ref().ok().map(Arc::as_ref);
            let mut desk = self.desk(who, &handle, compiled, None, &told).await?;
            let mut observed = self.observe(&under, &told, &mut desk.book).await?;
            overdue(&under, &told, &mut desk.book, &mut observed);
            let answer = answer_of(&observed, profile);
            let mut item = item_of(who, &handle, told.from_seq, observed, self.now());
            if !desk.is_full() {
                item.monitors = desk.moved();
            }
            let key = Keyed::by_request_id("policies.ObserveSteps", &request.request_id, request);
            let done = self.keyed(who, key, move |tx| Box::pin(store(tx, item, answer))).await;
            // A repeat moved nothing, which is not told: what was left is read again.
            desk.leave().forget().await;
            match done {
                Err(fault) if fault.is(&reasons::VERSION_CONFLICT) => {
                    self.cache.forget_run(&who.tenant, &attempt.run_id, attempt.attempt);
                }
                Err(fault) if fault.is(&reasons::HISTORY_CONFLICT) => {
                    return self.keep_conflict(who, &handle, &under, &told, fault).await;
                }
                done => {
                    self.cache.forget_run(&who.tenant, &attempt.run_id, attempt.attempt);
                    return done;
                }
            }
        }
        Err(super::step::contended())
    }

    /// A conflict is refused, but the violation that it is stays.
    async fn keep_conflict(
        &self,
        who: &Who,
        handle: &RunHandle,
        under: &Under<'_>,
        told: &Told,
        fault: Fault,
    ) -> Result<pb::ObserveStepsResponse, Fault> {
        let observed = self.observe(under, told, &mut Book::default()).await?;
        let item = item_of(who, handle, told.from_seq, observed, self.now());
        self.steps.submit(item).await?;
        Err(fault)
    }
}

async fn store(
    tx: &mut runspine_db::Tx,
    item: Item,
    mut answer: pb::ObserveStepsResponse,
) -> Result<pb::ObserveStepsResponse, Fault> {
    let mut outs = hot::apply(tx, std::slice::from_ref(&item)).await?;
    match outs.pop() {
        Some(Ok(Out::Done { next_seq, .. })) => {
            answer.next_seq = next_seq;
            Ok(answer)
        }
        Some(Ok(Out::Gap(expected))) => Err(gap(expected)),
        Some(Ok(Out::Conflict(seq))) => Err(conflict(seq)),
        Some(Err(fault)) => Err(fault),
        Some(Ok(Out::Stale)) | None => Err(super::step::contended()),
    }
}

fn answer_of(observed: &Observed, profile: Profile) -> pb::ObserveStepsResponse {
    let directive = observed.directive.unwrap_or(Directive::Continue);
    let directive = if profile == Profile::ObserveOnly { Directive::Continue } else { directive };
    pb::ObserveStepsResponse {
        directive: directive.code(),
        findings: observed.findings.clone(),
        violations: observed.violations.iter().map(|r| r.violation.clone()).collect(),
        next_seq: 0,
    }
}

/// Facts as they are stored, without a decision.
pub(crate) fn item_of(who: &Who, handle: &RunHandle, from_seq: u64, observed: Observed, at: Micros) -> Item {
    Item {
        tenant: who.tenant.clone(),
        run_key: handle.run_key,
        taint_version: handle.taint_version,
        recall: handle.recall,
        taints: gained(&handle.taints, &observed.taints),
        from_seq,
        facts: observed.facts,
        decision: None,
        violations: observed.violations,
        approval: None,
        monitors: Vec::new(),
        conflict: observed.conflict,
        events: Vec::new(),
        at,
    }
}

/// The taints of a run after it gained some, as stored; `None` when it gained none.
pub(crate) fn gained(had: &[String], more: &[String]) -> Option<String> {
    let new: Vec<&String> = more.iter().filter(|t| !had.contains(t)).collect();
    if new.is_empty() {
        return None;
    }
    let all: std::collections::BTreeSet<&String> = had.iter().chain(new).collect();
    serde_json::to_string(&all).ok()
}

/// What an answer authorized.
pub(crate) fn authorized_by(answer: &pb::EvaluateStepResponse) -> Option<Authorized> {
    let d = answer.decision.as_ref()?;
    let obligations = d.obligations.iter().map(|o| Obligation { name: o.name.clone(), args: o.args.clone() });
    Some(Authorized {
        decision_id: d.decision_id.clone(),
        effective_verdict: Verdict::from_code(d.effective_verdict).unwrap_or(Verdict::Deny),
        arguments_digest: hex_of(&answer.arguments_digest),
        obligations: obligations.collect(),
        evaluated: matches!(Failure::from_code(d.failure), None | Some(Failure::EvaluationError)),
    })
}

fn hex_of(bytes: &[u8]) -> String {
    runspine_types::Digest::from_slice(bytes).map(runspine_types::Digest::to_hex).unwrap_or_default()
}

/// A violation that a rule found.
pub(crate) fn of_rule(under: &Under<'_>, step: Option<u32>, v: &RuleViolation) -> Raised {
    let violation = pb::Violation {
        rule_id: v.rule_id.clone(),
        version: v.version,
        rule_code: v.code.clone(),
        kind: if v.sequence { ViolationKind::Sequence } else { ViolationKind::Custom }.code(),
        severity: v.severity.code(),
        source: if v.sequence { ViolationSource::Sequence } else { ViolationSource::Evaluator }.code(),
        reason: v.message.clone(),
        ..identity(under, step, &v.rule_id)
    };
    raised(under, violation)
}

/// A step that led to nothing in time; only a rule in force makes a violation of it.
pub(crate) fn of_sequence(under: &Under<'_>, open: &Open) -> Option<Raised> {
    let m = &open.monitor;
    let violation = || pb::Violation {
        rule_id: m.rule_id.clone(),
        version: m.version,
        rule_code: m.code.clone(),
        kind: ViolationKind::Sequence.code(),
        severity: m.severity.code(),
        source: ViolationSource::Sequence.code(),
        value: format!("nothing followed step {}", open.step),
        reason: m.message.clone(),
        ..identity(under, Some(open.step), &m.rule_id)
    };
    (m.mode == Mode::Block).then(|| raised(under, violation()))
}

/// What had to be led to by the newest of the facts.
fn overdue(under: &Under<'_>, told: &Told, book: &mut Book, out: &mut Observed) {
    let newest = told.facts.iter().map(|f| f.step_index).max();
    let principal = &under.handle.bound.principal;
    let Some(step) = newest else { return };
    let found = book.overdue(Place { principal, step, now: under.now.0 });
    out.violations.extend(found.iter().filter_map(|o| of_sequence(under, o)));
}

fn of_record(under: &Under<'_>, step: u32, v: &RecordViolation) -> Raised {
    let violation = pb::Violation {
        rule_id: RECORD_RULE.to_owned(),
        rule_code: v.code.clone(),
        kind: v.kind.code(),
        severity: v.severity.code(),
        source: ViolationSource::RecordCheck.code(),
        value: v.value.clone(),
        threshold: v.threshold.clone(),
        reason: v.reason.clone(),
        ..identity(under, Some(step), RECORD_RULE)
    };
    raised(under, violation)
}

pub(crate) fn identity(under: &Under<'_>, step_index: Option<u32>, rule_id: &str) -> pb::Violation {
    let (tenant, run_id) = (under.who.tenant.as_bytes(), under.attempt.run_id.as_bytes());
    let key = Hasher::new("runspine.incidentkey.v1").sized(tenant).sized(run_id).sized(rule_id.as_bytes());
    let bound = under.snapshot.iter().flat_map(|s| s.rules.iter()).find(|r| r.meaning.rule_id == rule_id);
    pb::Violation {
        violation_id: new_id(),
        run_id: under.attempt.run_id.clone(),
        attempt: under.attempt.attempt,
        step_index,
        incident_key: key.finish().to_vec().into(),
        rule_slug: bound.map(|r| r.meaning.slug.clone()).unwrap_or_default(),
        detected_at: Some(timestamp(under.now)),
        recorded_at: Some(timestamp(under.now)),
        ..pb::Violation::default()
    }
}

pub(crate) fn raised(under: &Under<'_>, violation: pb::Violation) -> Raised {
    let about = About {
        entity_type: "violation",
        entity_id: violation.violation_id.clone(),
        run_id: violation.run_id.clone(),
        attempt: violation.attempt,
        step_index: violation.step_index,
        reason: violation.rule_code.clone(),
        ..About::default()
    };
    let data = pb::ViolationReported { violation: Some(violation.clone()) };
    let event = event(under.who, "ViolationReported", about, &data, under.now);
    Raised { violation, event }
}
