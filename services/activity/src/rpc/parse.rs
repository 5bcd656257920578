//! What a request must be before a use case sees it; defaults are filled in here.

use contracts_activity::v1::{
    AddPauseRequest, ApplyFactsRequest, Authority, Authorization, AuthorizationDecision, ClaimLapsedRequest,
    ClearPausesRequest, CreateAttemptRequest, CreateRunRequest, ExtendPauseRequest, FinishRunRequest,
    GetAnswerRequest, GetRunStateRequest, GrantLeaseRequest, KeepAnswerRequest, PauseReason, PauseTimeout,
    RebuildProjectionRequest, ReleaseLeaseRequest, RenewLeaseRequest, RequestStopRequest, RunAttributes,
    StopMode, TransitionRunRequest,
};
use contracts_common::common::v1::{
    Actor, ActorType, GovernanceProfile, RunEvent, RunPhase, RunSource, RunStatus, TerminationReason,
};
use runspine_activity_domain::{
    lease::{MAX_TTL_MS, MIN_TTL_MS},
    pause::{DEFAULT_SLA_MS, MAX_SLA_MS, MIN_SLA_MS, may_end_in},
    reasons,
};
use runspine_errors::{Outcome, mesh};
use runspine_types::is_code;

use crate::rpc::checks::Checks;

/// The run and the attempt that a request is about.
fn subject(checks: &mut Checks, run_id: &str, attempt: u32) {
    checks.id("run_id", run_id);
    checks.require(attempt >= 1, "attempt", "must be 1 or more");
}

fn actor(checks: &mut Checks, field: &str, actor: Option<&Actor>) {
    if let Some(actor) = actor {
        checks.known::<ActorType>(&format!("{field}.type"), actor.r#type);
        checks.text(&format!("{field}.id"), &actor.id, 0, 128);
    }
}

fn authorization(checks: &mut Checks, found: Option<&Authorization>) {
    if let Some(found) = found {
        checks.known::<AuthorizationDecision>("authorization.decision", found.decision);
        checks.text("authorization.engine", &found.engine, 0, 128);
        checks.text("authorization.authorized_by", &found.authorized_by, 0, 128);
        checks.optional_digest("authorization.context_digest", &found.context_digest);
        checks.time("authorization.authorized_at", found.authorized_at.as_ref());
    }
}

pub(crate) fn create_run(mut r: CreateRunRequest) -> Outcome<CreateRunRequest> {
    let mut checks = Checks::default();
    checks.id_v7("run_id", &r.run_id);
    match r.attributes.as_mut() {
        Some(attributes) => {
            defaults(attributes);
            shape(&mut checks, attributes);
            attribution(&mut checks, attributes);
        }
        None => checks.fail(&reasons::ATTRIBUTION_INVALID, "attributes", "must be given"),
    }
    checks.known::<RunStatus>("status", r.status);
    let first = [RunStatus::Queued as i32, RunStatus::PendingApproval as i32];
    if !first.contains(&r.status) {
        checks.fail(&reasons::PHASE_STATUS_MISMATCH, "status", "must be QUEUED or PENDING_APPROVAL");
    }
    actor(&mut checks, "actor", r.actor.as_ref());
    authorization(&mut checks, r.authorization.as_ref());
    checks.text("trace_id", &r.trace_id, 0, 128);
    checks.text("reason", &r.reason, 0, 500);
    checks.text("cause_id", &r.cause_id, 0, 128);
    checks.require(r.start_input.len() <= 16 * 1024, "start_input", "must be at most 16 KiB");
    checks.time("next_attempt_at", r.next_attempt_at.as_ref());
    checks.done().map(|()| r)
}

fn defaults(a: &mut RunAttributes) {
    if a.max_attempts == 0 {
        a.max_attempts = 3;
    }
    if a.max_inflight == 0 {
        a.max_inflight = 16;
    }
    if a.run_timeout_ms == 0 {
        a.run_timeout_ms = 300_000;
    }
    if a.lease_ttl_ms == 0 {
        a.lease_ttl_ms = 30_000;
    }
}

fn shape(checks: &mut Checks, a: &RunAttributes) {
    for (field, value) in [
        ("agent_version", &a.agent_version),
        ("provider_type", &a.provider_type),
        ("credential_id", &a.credential_id),
        ("owner_id", &a.owner_id),
        ("credential_agent_id", &a.credential_agent_id),
        ("governance_config_version", &a.governance_config_version),
    ] {
        checks.text(&format!("attributes.{field}"), value, 0, 128);
    }
    if !a.parent_run_id.is_empty() {
        checks.id("attributes.parent_run_id", &a.parent_run_id);
    }
    checks.range("attributes.depth", a.depth.into(), 0, 8);
    checks.digest("attributes.request_digest", &a.request_digest);
    checks.optional_digest("attributes.goal_digest", &a.goal_digest);
    checks.optional_digest("attributes.governance_config_digest", &a.governance_config_digest);
    checks.known::<RunSource>("attributes.source", a.source);
    checks.known::<GovernanceProfile>("attributes.profile", a.profile);
    checks.range("attributes.priority", a.priority.into(), 0, 9);
    checks.range("attributes.max_attempts", a.max_attempts.into(), 1, 10);
    checks.range("attributes.max_inflight", a.max_inflight.into(), 1, 256);
    checks.range("attributes.run_timeout_ms", a.run_timeout_ms, 1_000, 86_400_000);
    checks.range("attributes.lease_ttl_ms", a.lease_ttl_ms, MIN_TTL_MS, MAX_TTL_MS);
    checks.range("attributes.expected_latency_ms", a.expected_latency_ms, 0, 86_400_000);
    checks.require(a.labels.len() <= 32, "attributes.labels", "must be at most 32");
    for (key, value) in &a.labels {
        checks.text("attributes.labels", key, 1, 128);
        checks.text("attributes.labels", value, 1, 128);
    }
}

/// Who, where from, and for what: complete and free of contradiction.
fn attribution(checks: &mut Checks, a: &RunAttributes) {
    let mut refuse = |field: &str, holds: bool, what: &str| {
        if !holds {
            checks.fail(&reasons::ATTRIBUTION_INVALID, field, what);
        }
    };
    let short = |text: &str| (1..=128).contains(&text.chars().count()) && !text.contains('\0');
    refuse("attributes.project_id", short(&a.project_id), "must have 1 to 128 characters");
    refuse("attributes.agent_id", short(&a.agent_id), "must have 1 to 128 characters");
    refuse("attributes.origin_system_id", short(&a.origin_system_id), "must have 1 to 128 characters");
    let kind = ActorType::try_from(a.actor_type).ok().filter(|kind| *kind != ActorType::Unspecified);
    refuse("attributes.actor_type", kind.is_some(), "must be HUMAN, SYSTEM, AGENT or SERVICE");
    let human = kind == Some(ActorType::Human);
    refuse(
        "attributes.actor_id",
        human == short(&a.actor_id) && (human || a.actor_id.is_empty()),
        "must be given exactly when the actor is HUMAN",
    );
    refuse(
        "attributes.synthetic_scenario_id",
        a.is_synthetic == short(&a.synthetic_scenario_id)
            && (a.is_synthetic || a.synthetic_scenario_id.is_empty()),
        "must be given exactly when the run is synthetic",
    );
}

pub(crate) fn create_attempt(r: CreateAttemptRequest) -> Outcome<CreateAttemptRequest> {
    let mut checks = Checks::default();
    checks.id("run_id", &r.run_id);
    checks.range("attempt", r.attempt.into(), 2, 10);
    checks.text("reason", &r.reason, 0, 500);
    checks.text("trace_id", &r.trace_id, 0, 128);
    checks.time("next_attempt_at", r.next_attempt_at.as_ref());
    actor(&mut checks, "actor", r.actor.as_ref());
    checks.done().map(|()| r)
}

pub(crate) fn transition_run(r: TransitionRunRequest) -> Outcome<TransitionRunRequest> {
    let mut checks = Checks::default();
    subject(&mut checks, &r.run_id, r.attempt);
    checks.known::<RunEvent>("event", r.event);
    checks.known::<RunPhase>("to_phase", r.to_phase);
    checks.known::<RunStatus>("to_status", r.to_status);
    checks.text("reason", &r.reason, 0, 500);
    checks.text("cause_id", &r.cause_id, 0, 128);
    checks.text("trace_id", &r.trace_id, 0, 128);
    checks.known_or_zero::<Authority>("authority", r.authority);
    checks.time("next_attempt_at", r.next_attempt_at.as_ref());
    actor(&mut checks, "actor", r.actor.as_ref());
    authorization(&mut checks, r.authorization.as_ref());
    if let Some(snapshot) = &r.snapshot {
        checks.text("snapshot.id", &snapshot.id, 1, 128);
        checks.digest("snapshot.digest", &snapshot.digest);
    }
    if let Some(grant) = &r.grant {
        checks.text("grant.holder", &grant.holder, 1, 128);
        checks.require(r.event == RunEvent::Claim as i32, "grant", "goes with the event CLAIM only");
    }
    checks.done().map(|()| r)
}

pub(crate) fn finish_run(r: FinishRunRequest) -> Outcome<FinishRunRequest> {
    let mut checks = Checks::default();
    subject(&mut checks, &r.run_id, r.attempt);
    checks.known::<RunStatus>("status", r.status);
    checks.known::<TerminationReason>("termination_reason", r.termination_reason);
    checks.known::<RunEvent>("event", r.event);
    checks.all_known::<TerminationReason>("causes", &r.causes);
    checks.known_or_zero::<Authority>("authority", r.authority);
    checks.require(r.error_code.is_empty() || is_code(&r.error_code), "error_code", "must be a code");
    checks.text("error_message", &r.error_message, 0, 1_024);
    checks.text("violation_policy_id", &r.violation_policy_id, 0, 128);
    checks.text("cause_id", &r.cause_id, 0, 128);
    actor(&mut checks, "actor", r.actor.as_ref());
    checks.done().map(|()| r)
}

pub(crate) fn get_run_state(r: GetRunStateRequest) -> Outcome<GetRunStateRequest> {
    let mut checks = Checks::default();
    checks.id("run_id", &r.run_id);
    checks.done().map(|()| r)
}

pub(crate) fn grant_lease(r: GrantLeaseRequest) -> Outcome<GrantLeaseRequest> {
    let mut checks = Checks::default();
    checks.request_id(&r.request_id);
    subject(&mut checks, &r.run_id, r.attempt);
    checks.text("holder", &r.holder, 1, 128);
    checks.done().map(|()| r)
}

pub(crate) fn renew_lease(r: RenewLeaseRequest) -> Outcome<RenewLeaseRequest> {
    let mut checks = Checks::default();
    checks.request_id(&r.request_id);
    subject(&mut checks, &r.run_id, r.attempt);
    checks.text("holder", &r.holder, 1, 128);
    checks.done().map(|()| r)
}

pub(crate) fn release_lease(r: ReleaseLeaseRequest) -> Outcome<ReleaseLeaseRequest> {
    let mut checks = Checks::default();
    checks.request_id(&r.request_id);
    subject(&mut checks, &r.run_id, r.attempt);
    checks.done().map(|()| r)
}

pub(crate) fn claim_lapsed(mut r: ClaimLapsedRequest) -> Outcome<ClaimLapsedRequest> {
    if r.limit == 0 {
        r.limit = 50;
    }
    if r.lease_ms == 0 {
        r.lease_ms = 30_000;
    }
    let mut checks = Checks::default();
    checks.request_id(&r.request_id);
    checks.text("worker_id", &r.worker_id, 1, 128);
    checks.range("limit", r.limit.into(), 1, 200);
    checks.range("lease_ms", r.lease_ms, 1_000, 300_000);
    checks.done().map(|()| r)
}

pub(crate) fn request_stop(r: RequestStopRequest) -> Outcome<RequestStopRequest> {
    let mut checks = Checks::default();
    subject(&mut checks, &r.run_id, r.attempt);
    checks.known::<TerminationReason>("reason", r.reason);
    checks.all_known::<TerminationReason>("causes", &r.causes);
    checks.known::<StopMode>("mode", r.mode);
    if r.code.is_empty() {
        checks.fail(&reasons::REASON_REQUIRED, "code", "must say why");
    } else {
        checks.require(is_code(&r.code), "code", "must be a code");
    }
    checks.text("note", &r.note, 0, 1_024);
    checks.text("violation_policy_id", &r.violation_policy_id, 0, 128);
    checks.range("drain_ms", r.drain_ms, 0, 60_000);
    actor(&mut checks, "actor", r.actor.as_ref());
    checks.done().map(|()| r)
}

/// Whether `reason` may end in `on_timeout`, which is TERMINATE when it is not stated.
fn timeout(checks: &mut Checks, on_timeout: i32, reason: Option<i32>) {
    checks.known::<PauseTimeout>("on_timeout", on_timeout);
    let reason = reason.and_then(|reason| PauseReason::try_from(reason).ok());
    if let (Some(reason), Ok(timeout)) = (reason, PauseTimeout::try_from(on_timeout)) {
        checks.require(may_end_in(reason, timeout), "on_timeout", "CONTINUE is not for this reason");
    }
}

pub(crate) fn add_pause(mut r: AddPauseRequest) -> Outcome<AddPauseRequest> {
    if r.sla_ms == 0 {
        r.sla_ms = DEFAULT_SLA_MS;
    }
    if r.on_timeout == 0 {
        r.on_timeout = PauseTimeout::Terminate as i32;
    }
    let mut checks = Checks::default();
    checks.request_id(&r.request_id);
    subject(&mut checks, &r.run_id, r.attempt);
    checks.known::<PauseReason>("reason", r.reason);
    timeout(&mut checks, r.on_timeout, Some(r.reason));
    checks.text("source_id", &r.source_id, 0, 128);
    checks.range("sla_ms", r.sla_ms, MIN_SLA_MS, MAX_SLA_MS);
    checks.text("note", &r.note, 0, 1_024);
    checks.known_or_zero::<Authority>("authority", r.authority);
    actor(&mut checks, "actor", r.actor.as_ref());
    checks.done().map(|()| r)
}

pub(crate) fn extend_pause(mut r: ExtendPauseRequest) -> Outcome<ExtendPauseRequest> {
    if r.on_timeout == 0 {
        r.on_timeout = PauseTimeout::Terminate as i32;
    }
    let mut checks = Checks::default();
    subject(&mut checks, &r.run_id, r.attempt);
    checks.id("pause_id", &r.pause_id);
    timeout(&mut checks, r.on_timeout, None);
    checks.done().map(|()| r)
}

pub(crate) fn clear_pauses(r: ClearPausesRequest) -> Outcome<ClearPausesRequest> {
    let mut checks = Checks::default();
    checks.request_id(&r.request_id);
    subject(&mut checks, &r.run_id, r.attempt);
    checks.range("pause_ids", i64::try_from(r.pause_ids.len()).unwrap_or(i64::MAX), 1, 16);
    r.pause_ids.iter().for_each(|id| checks.id("pause_ids", id));
    checks.text("note", &r.note, 0, 500);
    checks.known_or_zero::<Authority>("authority", r.authority);
    actor(&mut checks, "actor", r.actor.as_ref());
    checks.done().map(|()| r)
}

fn answer_key(checks: &mut Checks, run_id: &str, operation: &str, key: &str) {
    checks.id("run_id", run_id);
    checks.text("operation", operation, 1, 128);
    checks.text("key", key, 1, 128);
}

pub(crate) fn keep_answer(r: KeepAnswerRequest) -> Outcome<KeepAnswerRequest> {
    let mut checks = Checks::default();
    answer_key(&mut checks, &r.run_id, &r.operation, &r.key);
    checks.digest("request_digest", &r.request_digest);
    checks.require(r.answer.len() <= 256 * 1024, "answer", "must be at most 256 KiB");
    checks.done().map(|()| r)
}

pub(crate) fn get_answer(r: GetAnswerRequest) -> Outcome<GetAnswerRequest> {
    let mut checks = Checks::default();
    answer_key(&mut checks, &r.run_id, &r.operation, &r.key);
    checks.done().map(|()| r)
}

pub(crate) fn apply_facts(r: ApplyFactsRequest) -> Outcome<ApplyFactsRequest> {
    let mut checks = Checks::default();
    checks.range("facts", i64::try_from(r.facts.len()).unwrap_or(i64::MAX), 1, 1_024);
    for (place, fact) in r.facts.iter().enumerate() {
        checks.time(&format!("facts[{place}].occurred_at"), fact.occurred_at.as_ref());
        if fact.body.is_none() {
            checks.fail(&mesh::ENUM_UNSPECIFIED, &format!("facts[{place}].body"), "must be stated");
        }
    }
    checks.done().map(|()| r)
}

pub(crate) fn rebuild(r: RebuildProjectionRequest) -> Outcome<RebuildProjectionRequest> {
    let mut checks = Checks::default();
    checks.request_id(&r.request_id);
    checks.require(r.run_ids.len() <= 1_000, "run_ids", "must be at most 1,000");
    r.run_ids.iter().for_each(|id| checks.id("run_ids", id));
    checks.done().map(|()| r)
}
