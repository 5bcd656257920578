//! Rows as messages.

use std::collections::BTreeMap;

use contracts_activity::v1::{
    Attempt, Authorization, EvaluationOutcome, IncidentResult, LimitStanding, LimitType, Pause,
    PolicyContext, PolicyScope, Run, RunAttributes, RunLimit, RunState, SnapshotRef, Stop, ThresholdSource,
    Transition,
};
use contracts_common::common::v1::{
    Actor, Lease as LeaseMessage, RunPhase, RunSource, TerminationReason, Totals,
};
use prost::Message as _;
use prost_types::Timestamp;
use runspine_activity_domain::{
    lease::Lease,
    limits::risk_type,
    panels::{Clocked, Evidence, evidence_health},
    projection,
};
use runspine_rpc::timestamp;
use runspine_types::Micros;

use crate::store::row::{AttemptRow, LimitRow, PauseRow, RunRow, StateRow, TransitionRow};

/// Labels in their stored form: JSON with sorted keys, so that equal labels are equal text.
pub(crate) fn labels_text(labels: &BTreeMap<String, String>) -> String {
    serde_json::to_string(labels).unwrap_or_default()
}

fn labels(text: &str) -> BTreeMap<String, String> {
    serde_json::from_str(text).unwrap_or_default()
}

fn at(time: Option<Micros>) -> Option<Timestamp> {
    time.map(timestamp)
}

fn unsigned(value: i64) -> u64 {
    u64::try_from(value).unwrap_or(0)
}

fn count(value: i64) -> u32 {
    u32::try_from(value.max(0)).unwrap_or(u32::MAX)
}

/// A lease in force.
pub(crate) fn lease(lease: &Lease) -> LeaseMessage {
    LeaseMessage {
        fence: unsigned(lease.lease_fence),
        holder: lease.holder.clone(),
        expires_at: at(lease.expires_at),
    }
}

/// A move.
pub(crate) fn transition(run_id: &str, t: &TransitionRow) -> Transition {
    Transition {
        run_id: run_id.to_owned(),
        attempt: t.attempt,
        sequence: unsigned(t.sequence),
        from_phase: t.from_phase,
        from_status: t.from_status,
        to_phase: t.to_phase,
        to_status: t.to_status,
        event: t.event,
        reason: t.reason.clone(),
        actor: Some(Actor { r#type: t.actor_type, id: t.actor_id.clone() }),
        authority: t.authority,
        cause_id: t.cause_id.clone(),
        fence: unsigned(t.fence),
        config_digest: t.config_digest.clone(),
        at: Some(timestamp(t.at)),
    }
}

/// The lease that was granted with a move.
pub(crate) fn granted(t: &TransitionRow) -> Option<LeaseMessage> {
    (t.lease_fence != 0).then(|| LeaseMessage {
        fence: unsigned(t.lease_fence),
        holder: t.lease_holder.clone(),
        expires_at: at(t.lease_expires_at),
    })
}

/// A pause.
pub(crate) fn pause(p: &PauseRow) -> Pause {
    Pause {
        pause_id: p.pause_id.clone(),
        attempt: p.attempt,
        reason: p.reason,
        source_id: p.source_id.clone(),
        deadline: Some(timestamp(p.deadline)),
        on_timeout: p.on_timeout,
        note: p.note.clone(),
        actor: Some(Actor { r#type: p.actor_type, id: p.actor_id.clone() }),
        authority: p.authority,
        paused_at: Some(timestamp(p.paused_at)),
        warned_at: at(p.warned_at),
        extended_at: at(p.extended_at),
        cleared_at: at(p.cleared_at),
        cleared_by: p
            .cleared_at
            .map(|_| Actor { r#type: p.cleared_actor_type, id: p.cleared_actor_id.clone() }),
        cleared_authority: p.cleared_authority,
    }
}

/// The stop of an attempt, if there is one.
pub(crate) fn stop(s: &StateRow) -> Option<Stop> {
    let causes = s.stop_causes.as_deref().unwrap_or_default();
    Some(Stop {
        attempt: s.stop_attempt?,
        reason: s.stop_reason?,
        code: s.stop_code.clone()?,
        causes: causes.split(',').filter_map(|n| n.parse().ok()).collect(),
        note: s.stop_note.clone()?,
        actor: Some(Actor { r#type: s.stop_actor_type?, id: s.stop_actor_id.clone()? }),
        mode: s.stop_mode?,
        drain_until: at(s.drain_until),
        requested_at: at(s.requested_at),
        fence: unsigned(s.stop_fence?),
        violation_policy_id: s.stop_policy_id.clone()?,
        stopped_at_step: s.stop_step,
    })
}

fn incident_result(disposition: i32, id: &str) -> Option<IncidentResult> {
    (disposition != 0).then(|| IncidentResult { disposition, id: id.to_owned() })
}

fn snapshot(id: &str, digest: &bytes::Bytes) -> Option<SnapshotRef> {
    (!id.is_empty()).then(|| SnapshotRef { id: id.to_owned(), digest: digest.clone() })
}

fn authorization(
    decision: i32,
    engine: &str,
    digest: &bytes::Bytes,
    when: Option<Micros>,
    by: &str,
) -> Option<Authorization> {
    (decision != 0).then(|| Authorization {
        decision,
        engine: engine.to_owned(),
        context_digest: digest.clone(),
        authorized_at: at(when),
        authorized_by: by.to_owned(),
    })
}

macro_rules! attributes {
    ($row:ident) => {
        RunAttributes {
            project_id: $row.project_id.clone(),
            agent_id: $row.agent_id.clone(),
            agent_version: $row.agent_version.clone(),
            parent_run_id: $row.parent_run_id.clone(),
            depth: $row.depth,
            request_digest: $row.request_digest.clone(),
            is_synthetic: $row.is_synthetic,
            synthetic_scenario_id: $row.synthetic_scenario_id.clone(),
            goal_digest: $row.goal_digest.clone(),
            actor_type: $row.actor_type,
            actor_id: $row.actor_id.clone(),
            origin_system_id: $row.origin_system_id.clone(),
            source: $row.source,
            provider_type: $row.provider_type.clone(),
            credential_id: $row.credential_id.clone(),
            owner_id: $row.owner_id.clone(),
            credential_agent_id: $row.credential_agent_id.clone(),
            priority: $row.priority,
            max_attempts: $row.max_attempts,
            max_inflight: $row.max_inflight,
            run_timeout_ms: $row.run_timeout_ms,
            lease_ttl_ms: $row.lease_ttl_ms,
            expected_latency_ms: $row.expected_latency_ms,
            profile: $row.profile,
            governance_config_version: $row.governance_config_version.clone(),
            governance_config_digest: $row.governance_config_digest.clone(),
            labels: labels(&$row.labels),
            seed: $row.seed,
        }
    };
}

/// What the kernel needs at every step.
pub(crate) fn state(s: &StateRow, pauses: &[PauseRow]) -> RunState {
    let lease_message = (s.lease_fence != 0).then(|| LeaseMessage {
        fence: unsigned(s.lease_fence),
        holder: s.holder.clone(),
        expires_at: at(s.expires_at),
    });
    RunState {
        run_id: s.run_id.clone(),
        attempt: s.attempt,
        latest_attempt: s.latest_attempt,
        phase: s.phase,
        status: s.status,
        sequence: unsigned(s.sequence),
        lease: lease_message,
        fence: unsigned(s.fence),
        lease_suspended: s.suspended,
        attributes: Some(attributes!(s)),
        trace_id: s.trace_id.clone(),
        snapshot: snapshot(&s.policy_snapshot_id, &s.policy_snapshot_digest),
        executing_since: at(s.executing_since),
        paused_ms: s.paused_ms,
        paused_since: at(s.paused_since),
        run_deadline: at(s.run_deadline()),
        stop: stop(s),
        pauses: pauses.iter().map(pause).collect(),
        created_at: Some(timestamp(s.attempt_created_at)),
        next_attempt_at: at(s.next_attempt_at),
        completed_at: at(s.completed_at),
        stale_since: at(s.stale_since),
        claimed_until: at(s.claimed_until),
        termination_reason: s.termination_reason,
        error_code: s.error_code.clone(),
        evaluation_id: s.evaluation_id.clone(),
        incident_result: incident_result(s.incident_disposition, &s.incident_result_id),
        authorization: authorization(
            s.authorization_decision,
            &s.authorization_engine,
            &s.authorization_context_digest,
            s.authorized_at,
            &s.authorized_by,
        ),
        start_input: bytes::Bytes::new(),
        started_at: at(s.started_at),
    }
}

fn clocked(r: &RunRow, now: Micros) -> Clocked {
    Clocked {
        started_at: r.executing_since,
        completed_at: r.run_completed_at,
        paused_since: r.run_paused_since,
        paused_ms: r.run_paused_ms,
        expected_ms: r.expected_ms,
        last_activity_at: r.last_activity_at,
        lease_lapsed: r.run_phase == RunPhase::Executing as i32
            && r.lease_fence != 0
            && r.expires_at.is_some_and(|end| end <= now),
        termination: TerminationReason::try_from(r.run_termination_reason).unwrap_or_default(),
        ended_stale: r.run_error_code == "STALE_RUN",
    }
}

fn evidence(r: &RunRow) -> Evidence {
    Evidence {
        phase: RunPhase::try_from(r.run_phase).unwrap_or_default(),
        source: RunSource::try_from(r.source).unwrap_or_default(),
        started_at: r.executing_since,
        completed_at: r.run_completed_at,
        steps: r.step_count,
        unauthorized: r.unauthorized_steps,
        gaps: r.gaps,
        failures: r.evidence_failures,
        degraded: r.degraded || r.fact_degraded,
        grade: projection::grade_of(r.evidence_grade),
        required_missing: r.required_missing,
    }
}

/// A run as people see it at `now`.
pub(crate) fn run(r: &RunRow, now: Micros) -> Run {
    let clock = clocked(r, now);
    let policy = if r.violation_policy_id.is_empty() { &r.fact_policy_id } else { &r.violation_policy_id };
    Run {
        run_id: r.run_id.clone(),
        attributes: Some(attributes!(r)),
        state: r.state,
        attempt: r.latest_attempt,
        phase: r.run_phase,
        status: r.run_status,
        sequence: unsigned(r.run_sequence),
        created_at: Some(timestamp(r.created_at)),
        started_at: at(r.started_at),
        completed_at: at(r.run_completed_at),
        next_attempt_at: at(r.run_next_attempt_at),
        last_seen_at: at(r.last_seen_at),
        stale_since: at(r.stale_since),
        duration_ms: r.duration_ms.unwrap_or_else(|| clock.duration_ms(now)),
        authorization: authorization(
            r.run_authorization_decision,
            &r.run_authorization_engine,
            &r.run_authorization_context_digest,
            r.run_authorized_at,
            &r.run_authorized_by,
        ),
        snapshot: snapshot(&r.policy_snapshot_id, &r.policy_snapshot_digest),
        degraded: r.degraded || r.fact_degraded,
        termination_reason: r.run_termination_reason,
        stopped_at_step: r.run_stopped_at_step,
        violation_policy_id: policy.clone(),
        error_code: r.run_error_code.clone(),
        error_message: r.error_message.clone(),
        evaluation_id: r.run_evaluation_id.clone(),
        incident_result: incident_result(r.run_incident_disposition, &r.run_incident_result_id),
        risk_level: r.risk_level,
        incident_count: count(r.incident_count),
        policy_draft_count: count(r.policy_draft_count),
        policy_violation: r.violation_count > 0,
        violation_count: count(r.violation_count),
        step_count: count(r.step_count),
        denied_steps: count(r.denied_steps),
        retry_count: count(r.retry_count),
        ambiguous_count: count(r.ambiguous_count),
        unauthorized_steps: count(r.unauthorized_steps),
        input_tokens: r.input_tokens,
        output_tokens: r.output_tokens,
        estimated_cost_microusd: r.estimated_cost_microusd,
        settled_cost_microusd: r.settled_cost_microusd,
        evidence_health: evidence_health(&evidence(r), now) as i32,
        integrity_status: r.integrity_status,
        audit_status: r.audit_status,
        observability_status: r.observability_status,
        observability_error: r.observability_error.clone(),
        latency_bucket: clock.latency(now) as i32,
        last_activity_at: at(r.last_activity_at),
        policy_context: Some(context(r)),
    }
}

/// What a run is measured by.
fn context(r: &RunRow) -> PolicyContext {
    let worst = measured(r).unwrap_or_else(default_thresholds);
    PolicyContext {
        risk_type: risk_type(worst.limit_type()).into(),
        limits_evaluated: count(r.limits_evaluated),
        facade_ref: r.run_id.clone(),
        threshold_ref: worst.limit_id.clone(),
        violation_ref: r.violation_ref.clone(),
        worst: Some(worst),
    }
}

/// The limit that a run stands worst with, when one was evaluated.
fn measured(r: &RunRow) -> Option<LimitStanding> {
    Some(LimitStanding {
        limit_id: r.limit_id.clone()?,
        policy_id: r.policy_id.clone()?,
        policy_name: r.policy_name.clone()?,
        policy_scope: r.policy_scope?,
        scope_id: r.scope_id.clone()?,
        limit_type: r.limit_type?,
        threshold_value: r.threshold_value,
        threshold_unit: r.threshold_unit?,
        threshold_source: r.threshold_source?,
        blocking: r.blocking?,
        actual_value: r.actual_value,
        evaluation_outcome: r.evaluation_outcome?,
        proximity_permille: r.proximity_permille,
        rule_version: r.rule_version?,
    })
}

/// What a run is measured by that no limit was evaluated for.
fn default_thresholds() -> LimitStanding {
    LimitStanding {
        policy_id: "SYSTEM_DEFAULT".to_owned(),
        policy_name: "Default safety thresholds".to_owned(),
        policy_scope: PolicyScope::Global.into(),
        limit_type: LimitType::Other.into(),
        threshold_source: ThresholdSource::SystemDefault.into(),
        evaluation_outcome: EvaluationOutcome::Advisory.into(),
        ..LimitStanding::default()
    }
}

/// The newest evaluation of a limit.
pub(crate) fn limit(l: &LimitRow) -> RunLimit {
    let standing = LimitStanding {
        limit_id: l.limit_id.clone(),
        policy_id: l.policy_id.clone(),
        policy_name: l.policy_name.clone(),
        policy_scope: l.policy_scope,
        scope_id: l.scope_id.clone(),
        limit_type: l.limit_type,
        threshold_value: l.threshold_value,
        threshold_unit: l.threshold_unit,
        threshold_source: l.threshold_source,
        blocking: l.blocking,
        actual_value: l.actual_value,
        evaluation_outcome: l.evaluation_outcome,
        proximity_permille: l.proximity_permille,
        rule_version: l.rule_version,
    };
    RunLimit {
        attempt: l.attempt,
        risk_type: risk_type(standing.limit_type()).into(),
        source_seq: unsigned(l.source_seq),
        evaluated_at: Some(timestamp(l.evaluated_at)),
        standing: Some(standing),
    }
}

/// An attempt.
pub(crate) fn attempt(run_id: &str, a: &AttemptRow) -> Attempt {
    Attempt {
        run_id: run_id.to_owned(),
        attempt: a.attempt,
        trace_id: a.trace_id.clone(),
        phase: a.phase,
        status: a.status,
        sequence: unsigned(a.sequence),
        reason: a.attempt_reason.clone(),
        created_at: Some(timestamp(a.attempt_created_at)),
        next_attempt_at: at(a.next_attempt_at),
        started_at: at(a.executing_since),
        completed_at: at(a.completed_at),
        paused_ms: a.paused_ms,
        authorization: authorization(
            a.authorization_decision,
            &a.authorization_engine,
            &a.authorization_context_digest,
            a.authorized_at,
            &a.authorized_by,
        ),
        termination_reason: a.termination_reason,
        stopped_at_step: a.stopped_at_step,
        error_code: a.error_code.clone(),
        evaluation_id: a.evaluation_id.clone(),
        incident_result: incident_result(a.incident_disposition, &a.incident_result_id),
        usage: (!a.usage.is_empty()).then(|| Totals::decode(a.usage.clone()).unwrap_or_default()),
        input_tokens: a.input_tokens,
        output_tokens: a.output_tokens,
        estimated_cost_microusd: a.estimated_cost_microusd,
        settled_cost_microusd: a.settled_cost_microusd,
        integrity_status: a.integrity_status,
        audit_status: a.audit_status,
    }
}
