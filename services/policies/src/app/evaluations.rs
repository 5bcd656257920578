//! What an attempt came to: exactly one effective evaluation.

use std::sync::Arc;

use contracts_policies::v1 as pb;
use prost::Message as _;
use runspine_db::Tx;
use runspine_errors::{Fault, mesh};
use runspine_policies_domain::{
    checked,
    facts::{EndQuestion, Question, Run},
    reasons,
    run_evaluation::{self, Counts},
    sequence::{NO_STEP, Place},
    words::{Directive, EvaluationOutcome, Moment, Profile},
};
use runspine_rpc::timestamp;
use runspine_types::{Digest, Hasher, Micros, new_id};

use super::{
    App, Who,
    cache::RunHandle,
    emit::{About, event},
    judge::Asked,
    observe::{Attempt, Told, Under, of_rule, of_sequence},
};
use crate::store::{
    approvals,
    evaluations::{self, DecisionSums, EvaluationRow, NewEvaluation, SupersessionRow},
    hot::{self, Raised},
    runs,
};

/// RUN_STATUS_FAILED_POLICY of the shared words.
const FAILED_POLICY: i32 = contracts_common::common::v1::RunStatus::FailedPolicy as i32;

/// A request to judge an attempt, parsed.
#[derive(Clone)]
pub(crate) struct AskEnd {
    pub attempt: Attempt,
    pub revision: u32,
    pub run_outcome: i32,
    pub termination_reason: i32,
    pub question: EndQuestion,
    pub told: Told,
    pub run: Run,
    pub now: Option<Micros>,
    pub profile: Profile,
}

impl AskEnd {
    fn request(&self) -> Digest {
        let reason = self.termination_reason.to_be_bytes();
        Hasher::new("runspine.evaluationkey.v1")
            .fixed(&self.run_outcome.to_be_bytes())
            .fixed(&reason)
            .finish()
    }
}

impl App {
    /// Judges an attempt. Facts told with it are stored first, in a commit of their own that repeats do not change.
    pub(crate) async fn record_evaluation(&self, who: &Who, ask: &AskEnd) -> Result<pb::Evaluation, Fault> {
        let (run_id, attempt) = (ask.attempt.run_id.as_str(), ask.attempt.attempt);
        let row = runs::read(self.db.read(), &who.tenant, run_id, attempt).await?;
        let mut raised = Vec::new();
        if let Some(row) = &row {
            if !ask.told.facts.is_empty() {
                self.observe_last(who, ask).await?;
            }
            raised = self.judge_end(who, ask, &super::cache::handle_of(row)?).await?;
        }
        let (who_, ask_, at) = (who.clone(), ask.clone(), self.now());
        let (run_key, snapshot) = row.map_or((0, None), |r| (r.id, Some(r.digest)));
        let new = Recording { who: who_, ask: ask_, run_key, snapshot, raised, at };
        self.db
            .write("policies.RecordEvaluation", move |tx| Box::pin(async move { record(tx, new).await }))
            .await
    }

    async fn observe_last(&self, who: &Who, ask: &AskEnd) -> Result<(), Fault> {
        let request = pb::ObserveStepsRequest {
            // The facts themselves are the key: the same ones again change nothing.
            request_id: new_id(),
            run_id: ask.attempt.run_id.clone(),
            attempt: ask.attempt.attempt,
            from_seq: ask.told.from_seq,
            now: ask.now.map(timestamp),
            ..pb::ObserveStepsRequest::default()
        };
        self.observe_steps(who, &request, ask.told.clone(), ask.run.clone(), ask.profile).await?;
        Ok(())
    }

    /// Violations of rules that are about the end of the run, and of those that something had to follow by then.
    async fn judge_end(&self, who: &Who, ask: &AskEnd, handle: &RunHandle) -> Result<Vec<Raised>, Fault> {
        let snapshot = self.cache.snapshot(&self.db, &who.tenant, handle.digest).await;
        let Ok(compiled) = &snapshot else { return Ok(Vec::new()) };
        let compiled = Arc::clone(compiled);
        let mut run = ask.run.clone();
        run.taints.extend(handle.taints.iter().cloned());
        let now = ask.now.unwrap_or_else(|| self.now());
        let question = Question::End(ask.question.clone());
        let glance = self.glance(who, handle.run_key, &handle.bound, &compiled, &question).await?;
        let principal = &handle.bound.principal;
        let asked = Asked {
            bound: &handle.bound,
            digest: handle.digest,
            profile: ask.profile,
            now,
            question,
            run: run.clone(),
            bypass: None,
            approval: None,
            observed: Directive::Continue,
            moment: Moment::RunEnd,
            monitors: glance.book.values(&glance.read, Place { principal, step: NO_STEP, now: now.0 }),
            withdrawn: Vec::new(),
            deferrals: None,
            lost: glance.lost,
        };
        let ruling = self.judge(asked, &Ok(compiled), 0).ruling;
        let under = Under {
            who,
            attempt: &ask.attempt,
            handle,
            snapshot: &snapshot,
            profile: ask.profile,
            run: &run,
            now,
        };
        let of_rules = ruling.violations.iter().map(|v| of_rule(&under, None, v));
        let due = glance.book.still_due(principal);
        Ok(of_rules.chain(due.iter().filter_map(|o| of_sequence(&under, o))).collect())
    }

    /// Makes an evaluation effective no more.
    pub(crate) async fn supersede(
        &self,
        who: &Who,
        request: pb::SupersedeEvaluationRequest,
    ) -> Result<pb::SupersedeEvaluationResponse, Fault> {
        let (who, at) = (who.clone(), self.now());
        self.db
            .write("policies.SupersedeEvaluation", move |tx| {
                Box::pin(async move { supersede(tx, &who, &request, at).await })
            })
            .await
    }
}

struct Recording {
    who: Who,
    ask: AskEnd,
    run_key: i64,
    snapshot: Option<Digest>,
    raised: Vec<Raised>,
    at: Micros,
}

async fn record(tx: &mut Tx, new: Recording) -> Result<pb::Evaluation, Fault> {
    let ask = &new.ask;
    let tenant = new.who.tenant.as_str();
    let (run_id, attempt) = (ask.attempt.run_id.as_str(), ask.attempt.attempt);
    let history = evaluations::of_attempt(tx, tenant, run_id, attempt).await?;
    if let Some(first) = history.iter().find(|e| e.revision == ask.revision) {
        return repeated(first, ask.request());
    }
    check_revision(&history, ask.revision)?;
    let raised = new.raised.into_iter().map(|r| (new.run_key, r)).collect();
    hot::raise(tx, raised).await?;
    let evaluation = count(tx, ask, new.run_key, new.snapshot, new.at).await?;
    let row = NewEvaluation {
        evaluation_id: &evaluation.evaluation_id,
        run_id,
        attempt,
        revision: ask.revision,
        outcome: evaluation.outcome,
        request_digest: ask.request(),
        body: evaluation.encode_to_vec(),
        at: new.at,
    };
    evaluations::insert(tx, tenant, row).await?;
    let about = about(&evaluation, run_id, attempt);
    let data = pb::EvaluationRecorded { evaluation: Some(evaluation.clone()) };
    tx.emit_raw(event(&new.who, "EvaluationRecorded", about, &data, new.at));
    Ok(evaluation)
}

fn about(e: &pb::Evaluation, run_id: &str, attempt: u32) -> About {
    About {
        entity_type: "evaluation",
        entity_id: e.evaluation_id.clone(),
        run_id: run_id.to_owned(),
        attempt,
        reason: e.primary_reason.clone(),
        ..About::default()
    }
}

fn repeated(first: &EvaluationRow, request: Digest) -> Result<pb::Evaluation, Fault> {
    if first.request_digest != request {
        let text = "the attempt was judged with another outcome or termination reason";
        return Err(Fault::new(&mesh::IDEMPOTENCY_MISMATCH, text));
    }
    pb::Evaluation::decode(first.body.clone()).map_err(super::unreadable)
}

/// A revision follows one that was superseded.
fn check_revision(history: &[EvaluationRow], revision: u32) -> Result<(), Fault> {
    let next = u32::try_from(history.len()).unwrap_or(u32::MAX);
    let effective = history.iter().any(|e| !e.superseded);
    if revision == next && !effective {
        return Ok(());
    }
    let text =
        format!("revision {revision} is not open: the next is {next}, after all before it are superseded");
    Err(Fault::new(&reasons::EVALUATION_NOT_SUPERSEDED, text).precondition("evaluation", "superseded"))
}

async fn count(
    tx: &mut Tx,
    ask: &AskEnd,
    run_key: i64,
    snapshot: Option<Digest>,
    at: Micros,
) -> Result<pb::Evaluation, Fault> {
    let sums: DecisionSums = evaluations::sums(tx, run_key).await?;
    let (enforced, advisories) = evaluations::enforced(tx, run_key).await?;
    let packs = evaluations::checked(tx, run_key).await?;
    // Decisions from before it was kept tell only of the rules that matched.
    let rules = checked::distinct(packs.iter().map(|pack| pack.as_ref())).max(enforced);
    let (violations, violation_code) = evaluations::violations(tx, run_key).await?;
    let (recorded, covered) = evaluations::coverage(tx, run_key).await?;
    let outcome = run_evaluation::outcome(&Counts {
        step_decisions: sums.steps,
        violations,
        denials: sums.enforced_denials + approvals::rejected(tx, run_key).await?,
        terminations: sums.terminations,
        advisories,
        degraded: sums.degraded,
        failed_policy: ask.run_outcome == FAILED_POLICY,
    });
    let primary = match violation_code {
        Some(code) => Some(code),
        None => evaluations::primary(tx, run_key).await?,
    };
    Ok(pb::Evaluation {
        evaluation_id: new_id(),
        run_id: ask.attempt.run_id.clone(),
        attempt: ask.attempt.attempt,
        revision: ask.revision,
        outcome: outcome.code(),
        snapshot_digest: snapshot.map(|d| d.to_vec().into()).unwrap_or_default(),
        run_outcome: ask.run_outcome,
        termination_reason: ask.termination_reason,
        rules_checked: rules,
        decisions: Some(pb::VerdictCounts {
            allow: sums.allow,
            deny: sums.deny,
            modify: sums.modify,
            require_approval: sums.require_approval,
            defer: sums.deferred,
        }),
        violations,
        degraded_decisions: sums.degraded,
        coverage_permille: run_evaluation::coverage(recorded, covered),
        primary_reason: primary.unwrap_or_default(),
        draft_candidate: outcome == EvaluationOutcome::Violation,
        evaluated_at: Some(timestamp(at)),
        superseded: false,
    })
}

async fn supersede(
    tx: &mut Tx,
    who: &Who,
    request: &pb::SupersedeEvaluationRequest,
    at: Micros,
) -> Result<pb::SupersedeEvaluationResponse, Fault> {
    let id = request.evaluation_id.as_str();
    let body = runspine_types::hash(&request.encode_to_vec());
    let found = evaluations::by_id(tx, &who.tenant, id).await?;
    let Some(found) = found else {
        return Err(Fault::new(&reasons::EVALUATION_NOT_FOUND, "there is no such evaluation"));
    };
    if let Some(first) = evaluations::supersession(tx, &who.tenant, id).await? {
        if first.request_digest != body {
            let text = "the evaluation was superseded by another saga or for another reason";
            return Err(Fault::new(&mesh::IDEMPOTENCY_MISMATCH, text));
        }
        return Ok(superseded(id, &first));
    }
    let row = SupersessionRow { supersession_id: new_id(), request_digest: body, at };
    let why = (request.reason.as_str(), request.saga_id.as_str());
    evaluations::insert_supersession(tx, &who.tenant, id, &row, why).await?;
    let about = About {
        entity_type: "evaluation",
        entity_id: id.to_owned(),
        run_id: found.run_id,
        attempt: found.attempt,
        reason: request.reason.clone(),
        ..About::default()
    };
    let data = pb::EvaluationSuperseded { evaluation_id: id.to_owned(), saga_id: request.saga_id.clone() };
    tx.emit_raw(event(who, "EvaluationSuperseded", about, &data, at));
    Ok(superseded(id, &row))
}

fn superseded(id: &str, row: &SupersessionRow) -> pb::SupersedeEvaluationResponse {
    pb::SupersedeEvaluationResponse {
        supersession_id: row.supersession_id.clone(),
        evaluation_id: id.to_owned(),
        at: Some(timestamp(row.at)),
    }
}
