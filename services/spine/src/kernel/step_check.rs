//! What the kernel tells policies and controls about a step, and what their answers mean as findings.

use contracts_activity::v1::RunAttributes;
use contracts_common::common::v1::{
    ActorType, Amounts, Directive, GovernanceProfile, Reason, StepKind, Totals, Verdict,
};
use contracts_controls::v1::{Admission, AdmitStepRequest, AdmitStepResponse, ScopeTuple};
use contracts_logs::v1::{StoredRecord, trace_record};
use contracts_policies::v1::{
    AgentFacts, Arguments, Decision, EvaluateStepRequest, HumanFacts, NamedFacts, Resource, ResourceType,
    RunFacts, StepFact, StringList,
};
use contracts_spine::v1::{Argument, AuthorizeStepRequest, RunCharter, argument::Value};
use runspine_rpc::timestamp;
use runspine_types::Micros;

use super::{
    combine::{Check, Finding},
    session::Session,
    state::Attempt,
    trace::kept_step,
    undecided::{CONTROLS_UNAVAILABLE, POLICY_UNAVAILABLE},
};

/// How a message to an agent of the mesh names it.
const TO_AGENT: &str = "agent://";

/// What a step of this kind is done to.
#[must_use]
pub fn resource(kind: StepKind, id: &str, provider: &str, host: &str) -> Resource {
    if kind == StepKind::SendMessage
        && let Some(agent) = id.strip_prefix(TO_AGENT)
    {
        return Resource { id: agent.to_owned(), r#type: ResourceType::Agent.into(), ..Resource::default() };
    }
    let r#type = match kind {
        StepKind::LlmCall => ResourceType::Model,
        StepKind::ToolCall | StepKind::ExecuteCode | StepKind::CustomStep | StepKind::Unspecified => {
            ResourceType::Tool
        }
        StepKind::DataAccess => ResourceType::Data,
        StepKind::ExternalCall | StepKind::SendMessage => ResourceType::Endpoint,
        StepKind::SpawnAgent => ResourceType::Agent,
    };
    Resource {
        id: id.to_owned(),
        r#type: r#type.into(),
        provider: provider.to_owned(),
        host: host.to_owned(),
        ..Resource::default()
    }
}

/// The resource of a question: stated, or the model or tool that it names, or its own name.
#[must_use]
pub fn resource_id(ask: &AuthorizeStepRequest) -> String {
    let named = match ask.kind() {
        StepKind::LlmCall => &ask.model,
        StepKind::ToolCall | StepKind::ExecuteCode => &ask.tool,
        _ => &ask.resource,
    };
    [&ask.resource, named, &ask.name].into_iter().find(|id| !id.is_empty()).cloned().unwrap_or_default()
}

/// The fact that policies learns from a STEP record.
#[must_use]
pub fn fact(session: &Session, stored: &StoredRecord) -> Option<StepFact> {
    let record = stored.record.as_ref()?;
    let trace_record::Body::Step(step) = record.body.as_ref()? else { return None };
    let kept = kept_step(stored);
    let id = if kept.resource.is_empty() { &step.name } else { &kept.resource };
    Some(StepFact {
        seq: session.facts,
        step_index: record.step_index?,
        retry_count: step.retry_count,
        decision_id: step.decision_id.clone(),
        kind: step.kind,
        resource: Some(resource(step.kind(), id, &step.provider, "")),
        outcome: step.outcome,
        error_code: step.outcome_code.clone(),
        input_digest: step.input_digest.clone(),
        cost_microusd: step.cost_microusd,
        tokens_input: step.input_tokens,
        tokens_output: step.output_tokens,
        duration_ms: step.duration_us / 1_000,
        output_size: i64::try_from(kept.output_size).unwrap_or(i64::MAX),
        output_labels: kept.output_labels,
        obligations_applied: kept.obligations_applied,
        model: step.model.clone(),
        occurred_at: record.occurred_at,
        totals: Some(session.totals(None, 0)),
    })
}

/// What policies knows of the run. `degraded`: a decision of the attempt was made while a decider could not decide.
#[must_use]
pub fn run_facts(run: &RunAttributes, running_ms: i64, degraded: bool) -> RunFacts {
    RunFacts {
        delegation_depth: run.depth,
        priority: run.priority,
        elapsed_ms: running_ms,
        is_synthetic: run.is_synthetic,
        degraded,
        source: run.source,
        actor_type: run.actor_type,
        labels: run.labels.iter().map(|(k, v)| format!("{k}={v}")).collect(),
        // Policies keeps them, and knows those of the parent.
        taints: Vec::new(),
    }
}

/// The agent of a run.
#[must_use]
pub fn agent_facts(run: &RunAttributes) -> AgentFacts {
    AgentFacts {
        id: run.agent_id.clone(),
        version: run.agent_version.clone(),
        owner: run.owner_id.clone(),
        ..AgentFacts::default()
    }
}

/// The person that a run acts for: the one that the start names, or who started it.
#[must_use]
pub fn human(charter: &RunCharter) -> Option<HumanFacts> {
    let starter = charter.actor.as_ref().filter(|a| a.r#type() == ActorType::Human).map(|a| &a.id);
    let id = Some(&charter.human_actor_id).filter(|id| !id.is_empty()).or(starter)?;
    Some(HumanFacts { id: id.clone(), ..HumanFacts::default() })
}

/// Anything that only has a name.
#[must_use]
pub fn named(id: &str) -> Option<NamedFacts> {
    (!id.is_empty()).then(|| NamedFacts { id: id.to_owned(), labels: Vec::new() })
}

/// The scope of a run for limits.
#[must_use]
pub fn scope(run: &RunAttributes, provider: &str, model: &str) -> ScopeTuple {
    let human = run.actor_type() == ActorType::Human;
    ScopeTuple {
        project_id: run.project_id.clone(),
        agent_id: run.agent_id.clone(),
        agent_groups: Vec::new(),
        api_key_id: run.credential_id.clone(),
        human_actor_id: if human { run.actor_id.clone() } else { String::new() },
        provider: provider.to_owned(),
        model: model.to_owned(),
    }
}

/// The question to policies.
#[must_use]
pub fn evaluate_step(
    attempt: &Attempt,
    ask: &AuthorizeStepRequest,
    (totals, degraded): (Totals, bool),
    decision_id: &str,
    now: Micros,
) -> EvaluateStepRequest {
    let run = &attempt.attributes;
    EvaluateStepRequest {
        run_id: ask.run_id.clone(),
        attempt: ask.attempt,
        step_index: ask.step_index.unwrap_or(0),
        ask: ask.ask,
        decision_id: decision_id.to_owned(),
        snapshot_digest: attempt.state.snapshot.as_ref().map(|s| s.digest.clone()).unwrap_or_default(),
        run: Some(run_facts(run, totals.duration_ms, degraded)),
        totals: Some(totals),
        now: Some(timestamp(now)),
        profile: attempt.profile().into(),
        approval_id: ask.approval_id.clone(),
        ..what_is_done(ask)
    }
}

/// The part of the question that says what is done, whoever does it and when.
#[must_use]
pub fn what_is_done(ask: &AuthorizeStepRequest) -> EvaluateStepRequest {
    EvaluateStepRequest {
        kind: ask.kind,
        resource: Some(resource(ask.kind(), &resource_id(ask), &ask.provider, &ask.resource)),
        name: ask.name.clone(),
        arguments_digest: ask.arguments_digest.clone(),
        arguments_size: i64::try_from(ask.arguments_size).unwrap_or(i64::MAX),
        arguments: Some(arguments(&ask.arguments)),
        estimate: Some(ask.estimate.unwrap_or_default()),
        intent: ask.intent.clone(),
        mode: ask.mode.clone(),
        method: ask.method.clone(),
        ..EvaluateStepRequest::default()
    }
}

/// The question to controls.
#[must_use]
pub fn admit_step(
    attempt: &Attempt,
    ask: &AuthorizeStepRequest,
    (totals, repeats): (Totals, u32),
    decision_id: &str,
    now: Micros,
) -> AdmitStepRequest {
    AdmitStepRequest {
        run_id: ask.run_id.clone(),
        attempt: ask.attempt,
        step_index: ask.step_index.unwrap_or(0),
        ask: ask.ask,
        decision_id: decision_id.to_owned(),
        fence: attempt.state.fence,
        kind: ask.kind,
        resource: resource_id(ask),
        provider: ask.provider.clone(),
        model: ask.model.clone(),
        tool: ask.tool.clone(),
        arguments_digest: ask.arguments_digest.clone(),
        estimate: Some(ask.estimate.unwrap_or_default()),
        totals: Some(totals),
        profile: attempt.profile().into(),
        now: Some(timestamp(now)),
        bypass_id: String::new(),
        repeats,
    }
}

fn arguments(selected: &[Argument]) -> Arguments {
    let mut out = Arguments::default();
    for argument in selected {
        match &argument.value {
            Some(Value::Text(text)) => {
                out.text.insert(argument.key.clone(), text.clone());
            }
            Some(Value::Number(number)) => {
                out.number.insert(argument.key.clone(), *number);
            }
            Some(Value::List(list)) => {
                out.list.insert(argument.key.clone(), StringList { values: list.values.clone() });
            }
            Some(Value::Flag(true)) => out.flags.push(argument.key.clone()),
            Some(Value::Flag(false)) | None => {}
        }
    }
    out
}

/// What controls said, as a finding. Under OBSERVE_ONLY what it would have blocked counts as its verdict.
#[must_use]
pub fn limits_finding(admission: &Admission) -> Finding {
    let blocked = !admission.would_block.is_empty();
    let verdict = if blocked { Verdict::Deny } else { admission.verdict() };
    let reasons: Vec<Reason> =
        if blocked { admission.would_block.clone() } else { admission.reasons.clone() };
    let order = reasons.iter().any(|r| matches!(r.check.as_str(), "FREEZE" | "LEASE"));
    Finding {
        verdict,
        directive: admission.directive(),
        reasons,
        obligations: admission.obligations.clone(),
        warnings: admission.warnings.iter().map(told).collect(),
        retry_after_ms: u64::try_from(admission.retry_after_ms.unwrap_or(0)).unwrap_or(0),
        degraded: admission.degraded,
        order,
        ..Finding::allow(Check::Limits)
    }
}

/// A warning in words: its message, or its code where nobody wrote one.
fn told(warning: &Reason) -> String {
    if warning.message.is_empty() { warning.code.clone() } else { warning.message.clone() }
}

/// Whether controls let a step pass, as far as the agent is concerned.
#[must_use]
pub fn is_admitted(answer: &AdmitStepResponse) -> bool {
    answer.admission.as_ref().is_none_or(|a| matches!(a.verdict(), Verdict::Allow | Verdict::Modify))
}

/// What policies said, as a finding. A recalled snapshot is an order; all else is a finding.
#[must_use]
pub fn policy_finding(decision: &Decision) -> Finding {
    let order = decision.reasons.iter().any(|r| r.code == "SNAPSHOT_RECALLED");
    Finding {
        verdict: decision.verdict(),
        directive: match decision.directive() {
            Directive::Unspecified => Directive::Continue,
            stated => stated,
        },
        reasons: decision.reasons.clone(),
        obligations: decision.obligations.clone(),
        warnings: decision.warnings.iter().map(told).collect(),
        retry_after_ms: u64::try_from(decision.retry_after_ms).unwrap_or(0),
        degraded: decision.degraded,
        order,
        ..Finding::allow(Check::Policy)
    }
}

/// The profile's answer when controls is silent.
#[must_use]
pub fn controls_silent(profile: GovernanceProfile) -> Finding {
    Finding::undecided(Check::Limits, profile, CONTROLS_UNAVAILABLE)
}

/// The profile's answer when policies is silent.
#[must_use]
pub fn policies_silent(profile: GovernanceProfile) -> Finding {
    Finding::undecided(Check::Policy, profile, POLICY_UNAVAILABLE)
}

/// An estimate with nothing in it is none.
#[must_use]
pub fn estimate_of(hold: Option<&contracts_controls::v1::Hold>, asked: Option<&Amounts>) -> Amounts {
    hold.and_then(|h| h.amounts).or_else(|| asked.copied()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_goes_to_an_agent_or_to_an_endpoint() {
        let to = |id: &str| {
            let resource = resource(StepKind::SendMessage, id, "", id);
            (resource.r#type(), resource.id)
        };
        assert_eq!(to("agent://planner"), (ResourceType::Agent, "planner".to_owned()));
        let hook = "https://hooks.example.com/x";
        assert_eq!(to(hook), (ResourceType::Endpoint, hook.to_owned()));
        assert_eq!(resource(StepKind::ExternalCall, "agent://x", "", "").r#type(), ResourceType::Endpoint);
    }

    #[test]
    fn a_warning_without_a_message_is_told_by_its_code() {
        let warning = |code: &str, message: &str| Reason {
            code: code.to_owned(),
            message: message.to_owned(),
            ..Reason::default()
        };
        let warnings = vec![warning("REFUND_HIGH", ""), warning("LATE", "it is late")];
        let decision = Decision { warnings, ..Decision::default() };
        assert_eq!(policy_finding(&decision).warnings, ["REFUND_HIGH", "it is late"]);
    }
}
