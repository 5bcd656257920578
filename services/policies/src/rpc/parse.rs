//! Requests into domain types: shapes only, all violations at once.

use contracts_common::common::v1 as common;
use contracts_policies::v1 as pb;
use runspine_errors::{Fault, Violations, mesh};
use runspine_policies_domain::{
    facts::{Agent, Estimate, Human, Named, Principal, Run, StartQuestion, Totals},
    words::Profile,
};
use runspine_types::{Digest, Hasher, is_uuid, is_uuid_v7};

use crate::app::{Who, observe::Attempt, run::AskRun};

/// An attempt that is named well.
pub(super) fn attempt(v: &mut Violations, run_id: &str, attempt: u32) -> Attempt {
    v.require(is_uuid_v7(run_id), "run_id", "ID_INVALID", "a UUIDv7");
    v.require(attempt >= 1, "attempt", "OUT_OF_RANGE", "at least 1");
    Attempt { run_id: run_id.to_owned(), attempt }
}

/// An id that may be left out.
pub(super) fn optional_id(v: &mut Violations, field: &str, id: &str) {
    v.require(id.is_empty() || is_uuid_v7(id), field, "ID_INVALID", "a UUIDv7, or empty");
}

/// Words that a list is filtered by: what is not known would be a filter that nothing meets.
pub(super) fn known<T>(v: &mut Violations, field: &str, codes: &[i32], of: fn(i32) -> Option<T>) {
    v.require(codes.iter().all(|code| of(*code).is_some()), field, "ENUM_UNKNOWN", "known values");
}

/// A digest that may be left out, in hex.
pub(super) fn optional_digest(v: &mut Violations, field: &str, bytes: &[u8]) -> String {
    let digest = Digest::from_slice(bytes);
    v.require(bytes.is_empty() || digest.is_some(), field, "DIGEST_INVALID", "32 bytes, or empty");
    digest.map(Digest::to_hex).unwrap_or_default()
}

/// A digest that must be there.
pub(super) fn digest(field: &str, bytes: &[u8]) -> Result<Digest, Fault> {
    Digest::from_slice(bytes).ok_or_else(|| {
        let fault = Fault::new(&mesh::FIELD_INVALID, "1 field(s) of the request are invalid");
        fault.field(field, "DIGEST_INVALID", "32 bytes")
    })
}

/// The idempotency key of a mutation.
pub(super) fn request_id(id: &str) -> Result<(), Fault> {
    if id.is_empty() {
        let fault = Fault::new(&mesh::REQUEST_ID_REQUIRED, "a mutation needs a request_id");
        return Err(fault.field("request_id", "REQUEST_ID_REQUIRED", "a UUID"));
    }
    let mut v = Violations::new();
    v.require(is_uuid(id), "request_id", "ID_INVALID", "a UUID");
    v.into_result(&mesh::FIELD_INVALID)
}

/// The profile of a run: that of the request, else that of the call.
pub(super) fn profile(v: &mut Violations, code: i32, who: &Who) -> Profile {
    let named = Profile::from_code(code);
    v.require(code == 0 || named.is_some(), "profile", "ENUM_UNKNOWN", "a known profile");
    named.unwrap_or(who.profile)
}

/// Amounts, all at least 0.
pub(super) fn estimate(v: &mut Violations, field: &str, a: Option<&common::Amounts>) -> Estimate {
    let a = a.copied().unwrap_or_default();
    let all = [a.cost_microusd, a.tokens_input, a.tokens_output, a.duration_ms];
    v.require(all.iter().all(|n| *n >= 0), field, "OUT_OF_RANGE", "amounts are at least 0");
    Estimate {
        cost_microusd: a.cost_microusd,
        duration_ms: a.duration_ms,
        tokens_input: a.tokens_input,
        tokens_output: a.tokens_output,
    }
}

/// What an attempt has used.
pub(super) fn totals(t: Option<&common::Totals>) -> Totals {
    let t = t.copied().unwrap_or_default();
    Totals {
        cost_microusd: t.cost_microusd,
        denials: t.denials,
        duration_ms: t.duration_ms,
        failures: t.failures,
        llm_calls: t.llm_calls,
        steps: t.steps,
        tokens_input: t.tokens_input,
        tokens_output: t.tokens_output,
        tool_calls: t.tool_calls,
    }
}

/// Facts of the run. Lists are sorted, so that equal facts have equal bytes.
pub(super) fn run(v: &mut Violations, attempt: &Attempt, r: Option<&pb::RunFacts>) -> Run {
    let r = r.cloned().unwrap_or_default();
    let source = common::RunSource::try_from(r.source).ok();
    let actor = common::ActorType::try_from(r.actor_type).ok();
    v.require(source.is_some(), "run.source", "ENUM_UNKNOWN", "a known source");
    v.require(actor.is_some(), "run.actor_type", "ENUM_UNKNOWN", "a known actor type");
    v.require(r.labels.len() <= 64, "run.labels", "OUT_OF_RANGE", "at most 64");
    v.require(r.taints.len() <= 256, "run.taints", "OUT_OF_RANGE", "at most 256");
    Run {
        actor_type: word(actor.map_or("", |a| a.as_str_name()), "ACTOR_TYPE_", "SERVICE"),
        attempt: attempt.attempt,
        degraded: r.degraded,
        delegation_depth: r.delegation_depth,
        elapsed_ms: r.elapsed_ms,
        is_synthetic: r.is_synthetic,
        labels: sorted(r.labels),
        priority: r.priority,
        run_id: attempt.run_id.clone(),
        source: word(source.map_or("", |s| s.as_str_name()), "RUN_SOURCE_", "SDK"),
        taints: sorted(r.taints),
    }
}

/// The word of an enum without its prefix; what is not stated takes the default.
pub(super) fn word(name: &str, prefix: &str, default: &str) -> String {
    match name.strip_prefix(prefix) {
        None | Some("UNSPECIFIED") => default.to_owned(),
        Some(word) => word.to_owned(),
    }
}

/// A set in its one order.
pub(super) fn sorted(mut list: Vec<String>) -> Vec<String> {
    list.sort();
    list.dedup();
    list
}

fn id(v: &mut Violations, field: &str, id: &str) {
    v.require((1..=128).contains(&id.len()), field, "OUT_OF_RANGE", "1 to 128 characters");
}

/// For whom a run acts.
fn principal(v: &mut Violations, who: &Who, r: &pb::EvaluateRunRequest) -> Principal {
    let agent = r.agent.clone().unwrap_or_default();
    let project = r.project.clone().unwrap_or_default();
    id(v, "agent.id", &agent.id);
    id(v, "project.id", &project.id);
    v.require(agent.risk.unwrap_or(1) <= 3, "agent.risk", "OUT_OF_RANGE", "0 to 3");
    v.require(agent.groups.len() <= 16, "agent.groups", "OUT_OF_RANGE", "at most 16");
    if let Some(key) = &r.api_key {
        id(v, "api_key.id", &key.id);
    }
    if let Some(human) = &r.human {
        id(v, "human.id", &human.id);
        v.require(human.level <= 5, "human.level", "OUT_OF_RANGE", "0 to 5");
        v.require(human.teams.len() <= 16, "human.teams", "OUT_OF_RANGE", "at most 16");
    }
    let named = |n: &pb::NamedFacts| Named { id: n.id.clone(), labels: sorted(n.labels.clone()) };
    Principal {
        agent: Agent {
            groups: agent.groups,
            id: agent.id,
            labels: sorted(agent.labels),
            owner: agent.owner,
            risk: agent.risk.unwrap_or(1),
            version: agent.version,
        },
        api_key: r.api_key.as_ref().map(named),
        human: r.human.as_ref().map(|h| Human {
            id: h.id.clone(),
            labels: sorted(h.labels.clone()),
            level: h.level,
            teams: h.teams.clone(),
        }),
        project: named(&project),
        tenant_id: who.tenant.clone(),
    }
}

/// May this attempt start.
pub(super) fn ask_run(who: &Who, r: &pb::EvaluateRunRequest) -> Result<AskRun, Fault> {
    let mut v = Violations::new();
    let attempt = attempt(&mut v, &r.run_id, r.attempt);
    optional_id(&mut v, "decision_id", &r.decision_id);
    optional_id(&mut v, "approval_id", &r.approval_id);
    optional_id(&mut v, "parent_run_id", &r.parent_run_id);
    let principal = principal(&mut v, who, r);
    let goal_digest = optional_digest(&mut v, "goal_digest", &r.goal_digest);
    let requested = estimate(&mut v, "requested", r.requested.as_ref());
    v.require(r.declared_tools.len() <= 256, "declared_tools", "OUT_OF_RANGE", "at most 256");
    let run = run(&mut v, &attempt, r.run.as_ref());
    let profile = profile(&mut v, r.profile, who);
    v.into_result(&mesh::FIELD_INVALID)?;
    let question = StartQuestion {
        ask: r.ask,
        declared_tools: sorted(r.declared_tools.clone()),
        goal_digest,
        requested,
    };
    // What the mesh adds is not compared: the words of the agent's question are.
    let words = (&principal, &question, &run.labels, &r.approval_id);
    let request = Hasher::new("runspine.policies.askrun.v1")
        .sized(&serde_json::to_vec(&words).unwrap_or_default())
        .finish();
    Ok(AskRun {
        attempt,
        decision_id: r.decision_id.clone(),
        principal,
        question,
        run,
        parent_run_id: r.parent_run_id.clone(),
        approval_id: r.approval_id.clone(),
        now: runspine_rpc::optional_micros(r.now.as_ref()),
        profile,
        request,
    })
}
