//! Runs as the spine shows them.

use contracts_activity::v1 as activity;
use contracts_common::common::v1::Amounts;
use contracts_logs::v1::AuditContract;
use contracts_spine::v1::{
    Pause, PauseTimeout, Run, RunAttempt, RunCharter, RunTransition, TransactionPhase,
};
use prost::Message;

/// The charter of a run, from the contract that promises to finalize it.
#[must_use]
pub fn charter_of(contract: &AuditContract) -> Option<RunCharter> {
    let finalize = contract.expectations.iter().find(|e| e.action == "finalize_run")?;
    RunCharter::decode(finalize.input.clone()).ok()
}

/// A run from activity's view of it.
#[must_use]
pub fn run_of_view(run: activity::Run, transaction_phase: TransactionPhase) -> Run {
    let attributes = run.attributes.unwrap_or_default();
    let snapshot = run.snapshot.unwrap_or_default();
    Run {
        run_id: run.run_id,
        attempt: run.attempt,
        project_id: attributes.project_id,
        agent_id: attributes.agent_id,
        phase: run.phase,
        status: run.status,
        sequence: run.sequence,
        termination_reason: run.termination_reason,
        error_code: run.error_code,
        error_message: run.error_message,
        stopped_at_step: run.stopped_at_step,
        violation_policy_id: run.violation_policy_id,
        source: attributes.source,
        priority: attributes.priority,
        max_attempts: attributes.max_attempts,
        created_at: run.created_at,
        started_at: run.started_at,
        completed_at: run.completed_at,
        audit_status: run.audit_status,
        integrity_status: run.integrity_status,
        transaction_phase: transaction_phase.into(),
        step_count: u64::from(run.step_count),
        denied_steps: u64::from(run.denied_steps),
        usage: Some(Amounts {
            cost_microusd: run.estimated_cost_microusd,
            tokens_input: run.input_tokens,
            tokens_output: run.output_tokens,
            duration_ms: run.duration_ms,
        }),
        degraded: run.degraded,
        is_synthetic: attributes.is_synthetic,
        stale: run.stale_since.is_some(),
        would_block_count: 0,
        profile: attributes.profile,
        policy_snapshot_id: snapshot.id,
        policy_snapshot_digest: snapshot.digest,
        governance_config_version: attributes.governance_config_version,
        governance_config_digest: attributes.governance_config_digest,
        parent_run_id: attributes.parent_run_id,
        incident_count: u64::from(run.incident_count),
    }
}

/// An attempt as the spine shows it.
#[must_use]
pub fn run_attempt(of: activity::Attempt) -> RunAttempt {
    RunAttempt {
        attempt: of.attempt,
        phase: of.phase,
        status: of.status,
        trace_id: of.trace_id,
        reason: of.reason,
        created_at: of.created_at,
        not_before: of.next_attempt_at,
        started_at: of.started_at,
        completed_at: of.completed_at,
        termination_reason: of.termination_reason,
        error_code: of.error_code,
        audit_status: of.audit_status,
        integrity_status: of.integrity_status,
    }
}

/// A transition as the spine shows it.
#[must_use]
pub fn transition(t: activity::Transition) -> RunTransition {
    let authority = t.authority();
    RunTransition {
        attempt: t.attempt,
        sequence: t.sequence,
        from_phase: t.from_phase,
        to_phase: t.to_phase,
        from_status: t.from_status,
        to_status: t.to_status,
        reason: t.reason,
        actor: t.actor,
        authority: match authority {
            activity::Authority::Unspecified => String::new(),
            named => named.as_str_name().trim_start_matches("AUTHORITY_").to_owned(),
        },
        at: t.at,
    }
}

/// The name of a pause reason.
#[must_use]
pub fn pause_reason(reason: activity::PauseReason) -> String {
    reason.as_str_name().trim_start_matches("PAUSE_REASON_").to_owned()
}

/// A pause as the spine shows it.
#[must_use]
pub fn pause(p: &activity::Pause) -> Pause {
    let on_timeout = match p.on_timeout() {
        activity::PauseTimeout::Continue => PauseTimeout::Continue,
        activity::PauseTimeout::Escalate => PauseTimeout::Escalate,
        activity::PauseTimeout::Terminate | activity::PauseTimeout::Unspecified => PauseTimeout::Terminate,
    };
    Pause {
        pause_id: p.pause_id.clone(),
        reason: pause_reason(p.reason()),
        note: p.note.clone(),
        deadline: p.deadline,
        on_timeout: on_timeout.into(),
    }
}
