//! What a run was started with, as it is promised, stored and taken up again by another replica.

use contracts_activity::v1::RunAttributes;
use contracts_common::common::v1::{ActorType, RunPhase, RunSource};
use contracts_logs::v1::{ContractKey, DeclareExpectationsRequest, ExpectationSpec};
use contracts_spine::v1::{RunCharter, StartRunRequest};
use prost::Message;
use runspine_rpc::Context;
use runspine_types::{Digest, Hasher, hash};

use super::ledger;
use crate::config::KernelConfig;

/// The saga of a run's contract.
pub const SAGA: &str = "run";

/// The key of an attempt's contract.
#[must_use]
pub fn contract_key(run_id: &str, attempt: u32) -> ContractKey {
    ContractKey { saga: SAGA.to_owned(), subject_id: run_id.to_owned(), attempt }
}

/// Digest of a start request.
#[must_use]
pub fn start_digest(request: &StartRunRequest) -> Digest {
    Hasher::new("runspine.request.v1").sized(b"StartRun").sized(&request.encode_to_vec()).finish()
}

/// The charter of a new run: the request with its defaults, and who sent it under what configuration.
#[must_use]
pub fn charter(
    context: &Context,
    request: &StartRunRequest,
    run_id: &str,
    depth: u32,
    config: &KernelConfig,
) -> RunCharter {
    let or = |value: u64, default: u64| if value == 0 { default } else { value };
    let or_u32 = |value: u32, default: u32| if value == 0 { default } else { value };
    let source = match request.source() {
        RunSource::Unspecified => RunSource::Sdk,
        stated => stated,
    };
    let goal_digest = if request.goal.is_empty() {
        request.goal_digest.clone()
    } else {
        hash(request.goal.as_bytes()).to_vec().into()
    };
    RunCharter {
        run_id: run_id.to_owned(),
        attempt: 1,
        project_id: request.project_id.clone(),
        agent_id: request.agent_id.clone(),
        origin_system_id: request.origin_system_id.clone(),
        agent_version: request.agent_version.clone(),
        human_actor_id: request.human_actor_id.clone(),
        credential_id: context.credential_id.clone(),
        owner_id: context.owner_id.clone(),
        actor: Some(ledger::actor(context)),
        parent_run_id: request.parent_run_id.clone(),
        depth,
        source: source.into(),
        priority: request.priority.unwrap_or(5),
        run_timeout_ms: or(request.run_timeout_ms, config.run_timeout_ms),
        lease_ttl_ms: or(request.lease_ttl_ms, config.lease_ttl_ms),
        max_attempts: or_u32(request.max_attempts, config.max_attempts),
        max_inflight: or_u32(request.max_inflight, config.max_inflight),
        request_digest: start_digest(request).to_vec().into(),
        labels: request.labels.clone(),
        requested: Some(request.requested.unwrap_or_default()),
        goal_digest,
        seed: request.seed.unwrap_or(42),
        is_synthetic: request.is_synthetic,
        synthetic_scenario_id: request.synthetic_scenario_id.clone(),
        profile: context.profile,
        config_version: context.config_version.clone(),
        config_digest: context.config_digest.clone(),
        correlation_id: context.correlation_id.clone(),
        declared_tools: request.declared_tools.clone(),
    }
}

/// The attributes that activity keeps of a charter.
#[must_use]
pub fn attributes(charter: &RunCharter, credential_agent_id: &str) -> RunAttributes {
    let actor = charter.actor.clone().unwrap_or_default();
    let human = !charter.human_actor_id.is_empty();
    let (actor_type, actor_id) = if human {
        (ActorType::Human, charter.human_actor_id.clone())
    } else if actor.r#type() == ActorType::Human {
        (ActorType::Human, actor.id.clone())
    } else {
        (actor.r#type(), String::new())
    };
    RunAttributes {
        project_id: charter.project_id.clone(),
        agent_id: charter.agent_id.clone(),
        agent_version: charter.agent_version.clone(),
        parent_run_id: charter.parent_run_id.clone(),
        depth: charter.depth,
        request_digest: charter.request_digest.clone(),
        is_synthetic: charter.is_synthetic,
        synthetic_scenario_id: charter.synthetic_scenario_id.clone(),
        goal_digest: charter.goal_digest.clone(),
        actor_type: actor_type.into(),
        actor_id,
        origin_system_id: charter.origin_system_id.clone(),
        source: charter.source,
        provider_type: String::new(),
        credential_id: charter.credential_id.clone(),
        owner_id: charter.owner_id.clone(),
        credential_agent_id: credential_agent_id.to_owned(),
        priority: charter.priority,
        max_attempts: charter.max_attempts,
        max_inflight: charter.max_inflight,
        run_timeout_ms: i64::try_from(charter.run_timeout_ms).unwrap_or(i64::MAX),
        lease_ttl_ms: i64::try_from(charter.lease_ttl_ms).unwrap_or(i64::MAX),
        expected_latency_ms: 0,
        profile: charter.profile,
        governance_config_version: charter.config_version.clone(),
        governance_config_digest: charter.config_digest.clone(),
        labels: charter.labels.clone(),
        seed: charter.seed,
    }
}

/// The six promises of an attempt, with the charter as the input from which any replica can go on.
#[must_use]
pub fn expectations(
    charter: &RunCharter,
    deadline_ms: u64,
    start_patience_ms: u64,
) -> DeclareExpectationsRequest {
    let timeout_ms = charter.run_timeout_ms;
    let promise = |domain: &str, action: &str, due: RunPhase, deadline_ms: u64| ExpectationSpec {
        domain: domain.to_owned(),
        action: action.to_owned(),
        due_phase: due.into(),
        deadline_ms,
        input: bytes::Bytes::new(),
    };
    // Until the run exists and executes, its promise is short: a start that stops half-way is found soon. The start
    // itself moves the deadline to that of the run.
    let first = start_patience_ms.min(timeout_ms + deadline_ms);
    let mut finalize = promise("orchestrator", "finalize_run", RunPhase::Created, first);
    finalize.input = charter.encode_to_vec().into();
    DeclareExpectationsRequest {
        key: Some(contract_key(&charter.run_id, charter.attempt)),
        expectations: vec![
            promise("logs", "start_trace", RunPhase::Created, deadline_ms),
            promise("incidents", "create_incident", RunPhase::GovernanceCheck, deadline_ms),
            promise("policies", "evaluate_policy", RunPhase::GovernanceCheck, deadline_ms),
            promise("controls", "settle_budget", RunPhase::GovernanceCheck, deadline_ms),
            promise("logs", "complete_trace", RunPhase::Finalizing, deadline_ms),
            finalize,
        ],
        run_timeout_ms: timeout_ms,
    }
}
