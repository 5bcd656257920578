//! Questions about steps, and facts of finished ones, into domain types.

use contracts_common::common::v1 as common;
use contracts_policies::v1 as pb;
use runspine_errors::{Fault, Violations, mesh};
use runspine_policies_domain::{
    facts::{Arguments, Bypass, EndQuestion, EndedQuestion, Resource, StepQuestion, check_resource},
    reasons,
    words::{ResourceType, StepKind, StepOutcome},
};
use runspine_types::{Digest, Hasher};

use super::parse::{attempt, estimate, optional_digest, optional_id, profile, run, sorted, totals, word};
use crate::app::{Who, evaluations::AskEnd, observe::Told, step::AskStep};

/// Most facts that one call tells.
const MAX_OBSERVED: usize = 256;

fn kind_of(code: i32) -> Result<StepKind, Fault> {
    StepKind::from_code(code).ok_or_else(|| {
        let text = "the kind of the step is not one of the eight";
        Fault::new(&reasons::STEP_KIND_UNKNOWN, text).field("kind", "STEP_KIND_UNKNOWN", text)
    })
}

fn resource(v: &mut Violations, field: &str, kind: StepKind, r: Option<&pb::Resource>) -> Resource {
    let r = r.cloned().unwrap_or_default();
    let allowed = kind.resources();
    let asked = ResourceType::from_code(r.r#type);
    let fits = r.r#type == 0 || asked.is_some_and(|t| allowed.contains(&t));
    v.require(fits, &format!("{field}.type"), "ENUM_UNKNOWN", "a type that this kind of step can be about");
    let base = Resource::unregistered(asked.unwrap_or(allowed[0]), &r.id);
    let or = |given: String, default: String| if given.is_empty() { default } else { given };
    let resource = Resource {
        groups: r.groups,
        host: or(r.host, base.host),
        id: base.id,
        kind: base.kind,
        labels: sorted(r.labels),
        provider: r.provider,
        risk: r.risk.unwrap_or(base.risk),
        scheme: or(r.scheme, base.scheme),
        sensitivity: r.sensitivity.unwrap_or(base.sensitivity),
        server: r.server,
        side_effects: r.side_effects.unwrap_or(base.side_effects),
        version: r.version,
    };
    check_resource(v, field, &resource);
    resource
}

fn arguments(a: Option<&pb::Arguments>) -> Arguments {
    let a = a.cloned().unwrap_or_default();
    Arguments {
        flags: sorted(a.flags),
        list: a.list.into_iter().map(|(k, v)| (k, v.values)).collect(),
        number: a.number.into_iter().collect(),
        text: a.text.into_iter().collect(),
    }
}

fn fact(v: &mut Violations, place: usize, f: &pb::StepFact) -> Result<EndedQuestion, Fault> {
    let field = format!("observed[{place}]");
    let kind = kind_of(f.kind)?;
    let outcome = StepOutcome::from_code(f.outcome);
    v.require(outcome.is_some(), &format!("{field}.outcome"), "ENUM_UNKNOWN", "a known outcome");
    let counts = [f.cost_microusd, f.tokens_input, f.tokens_output, f.duration_ms, f.output_size];
    v.require(counts.iter().all(|n| *n >= 0), &field, "OUT_OF_RANGE", "amounts are at least 0");
    let fits = i64::try_from(f.seq).is_ok_and(|seq| seq < i64::MAX);
    v.require(fits, &format!("{field}.seq"), "OUT_OF_RANGE", "a position of the trace");
    Ok(EndedQuestion {
        authorized: false,
        cost_microusd: f.cost_microusd,
        decision_id: f.decision_id.clone(),
        duration_ms: f.duration_ms,
        error_code: f.error_code.clone(),
        input_digest: optional_digest(v, &format!("{field}.input_digest"), &f.input_digest),
        kind,
        model: f.model.clone(),
        obligations_applied: f.obligations_applied.clone(),
        occurred_at: f.occurred_at.as_ref().map_or(0, |t| runspine_rpc::micros(t).0),
        outcome: outcome.unwrap_or(StepOutcome::Ambiguous),
        output_labels: sorted(f.output_labels.clone()),
        output_size: f.output_size,
        resource: resource(v, &format!("{field}.resource"), kind, f.resource.as_ref()),
        retry_count: f.retry_count,
        seq: f.seq,
        step_index: f.step_index,
        tokens_input: f.tokens_input,
        tokens_output: f.tokens_output,
        totals: totals(f.totals.as_ref()),
    })
}

/// Facts in trace order.
pub(super) fn told(v: &mut Violations, from_seq: u64, observed: &[pb::StepFact]) -> Result<Told, Fault> {
    v.require(observed.len() <= MAX_OBSERVED, "observed", "OUT_OF_RANGE", "at most 256");
    let ordered = observed.windows(2).all(|w| w[0].seq < w[1].seq);
    let within = observed.first().is_none_or(|f| f.seq >= from_seq);
    v.require(ordered && within, "observed", "OUT_OF_RANGE", "in trace order, from from_seq on");
    let facts: Result<Vec<_>, Fault> =
        observed.iter().take(MAX_OBSERVED).enumerate().map(|(n, f)| fact(v, n, f)).collect();
    Ok(Told { from_seq, facts: facts? })
}

fn bypass(v: &mut Violations, b: Option<&pb::Bypass>) -> Option<Bypass> {
    let b = b?;
    v.require((1..=128).contains(&b.id.len()), "bypass.id", "OUT_OF_RANGE", "1 to 128 characters");
    v.require(b.expires_at.is_some(), "bypass.expires_at", "REQUIRED", "when it ends");
    let expires_at = b.expires_at.as_ref().map_or(0, |t| runspine_rpc::micros(t).0);
    Some(Bypass { expires_at, id: b.id.clone(), rule_ids: sorted(b.rule_ids.clone()) })
}

/// May this step happen.
pub(super) fn ask_step(who: &Who, r: &pb::EvaluateStepRequest) -> Result<AskStep, Fault> {
    let kind = kind_of(r.kind)?;
    let mut v = Violations::new();
    let attempt = attempt(&mut v, &r.run_id, r.attempt);
    optional_id(&mut v, "decision_id", &r.decision_id);
    optional_id(&mut v, "approval_id", &r.approval_id);
    let snapshot = optional_digest(&mut v, "snapshot_digest", &r.snapshot_digest);
    let question = StepQuestion {
        arguments: arguments(r.arguments.as_ref()),
        arguments_digest: optional_digest(&mut v, "arguments_digest", &r.arguments_digest),
        arguments_size: r.arguments_size,
        ask: r.ask,
        estimate: estimate(&mut v, "estimate", r.estimate.as_ref()),
        intent: r.intent.clone(),
        kind,
        method: r.method.clone(),
        mode: r.mode.clone(),
        name: r.name.clone(),
        resource: resource(&mut v, "resource", kind, r.resource.as_ref()),
        step_index: r.step_index,
        totals: totals(r.totals.as_ref()),
    };
    let run = run(&mut v, &attempt, r.run.as_ref());
    let bypass = bypass(&mut v, r.bypass.as_ref());
    let told = told(&mut v, r.from_seq, &r.observed)?;
    let profile = profile(&mut v, r.profile, who);
    v.into_result(&mesh::FIELD_INVALID)?;
    Ok(AskStep {
        attempt,
        decision_id: r.decision_id.clone(),
        snapshot: Digest::from_hex(&snapshot),
        request: request_of(&question, &r.approval_id),
        withdrawn: r.withdrawn.clone(),
        approval_id: r.approval_id.clone(),
        question,
        arguments_digest: r.arguments_digest.clone(),
        run,
        bypass,
        told,
        now: runspine_rpc::optional_micros(r.now.as_ref()),
        profile,
    })
}

/// What repeats are compared by: the words of the agent's question, not what the mesh adds (totals, time, facts).
fn request_of(q: &StepQuestion, approval_id: &str) -> Digest {
    let words = (
        (q.kind, &q.resource.id, q.resource.kind, &q.name, &q.arguments_digest, q.arguments_size),
        (&q.arguments, &q.estimate, &q.intent, &q.mode, &q.method, approval_id),
    );
    let words = serde_json::to_vec(&words).unwrap_or_default();
    Hasher::new("runspine.policies.askstep.v1").sized(&words).finish()
}

/// What did the attempt come to.
pub(super) fn ask_end(who: &Who, r: &pb::RecordEvaluationRequest) -> Result<AskEnd, Fault> {
    let mut v = Violations::new();
    let attempt = attempt(&mut v, &r.run_id, r.attempt);
    let status = common::RunStatus::try_from(r.run_outcome).ok();
    let ended = [
        common::RunStatus::Succeeded,
        common::RunStatus::Failed,
        common::RunStatus::FailedPolicy,
        common::RunStatus::Cancelled,
        common::RunStatus::Retry,
    ];
    let fits = status.is_some_and(|s| ended.contains(&s));
    v.require(fits, "run_outcome", "ENUM_UNKNOWN", "SUCCEEDED, FAILED, FAILED_POLICY, CANCELLED or RETRY");
    let reason = common::TerminationReason::try_from(r.termination_reason).ok();
    let fits = reason.is_some_and(|t| t != common::TerminationReason::Unspecified);
    v.require(fits, "termination_reason", "ENUM_UNKNOWN", "a known reason");
    let told = told(&mut v, r.from_seq, &r.observed)?;
    let run = run(&mut v, &attempt, r.run.as_ref());
    let profile = profile(&mut v, r.profile, who);
    v.into_result(&mesh::FIELD_INVALID)?;
    let question = EndQuestion {
        outcome: word(status.map_or("", |s| s.as_str_name()), "RUN_STATUS_", ""),
        termination_reason: word(reason.map_or("", |t| t.as_str_name()), "TERMINATION_REASON_", ""),
        totals: totals(r.totals.as_ref()),
    };
    Ok(AskEnd {
        attempt,
        revision: r.revision,
        run_outcome: r.run_outcome,
        termination_reason: r.termination_reason,
        question,
        told,
        run,
        now: runspine_rpc::optional_micros(r.now.as_ref()),
        profile,
    })
}
