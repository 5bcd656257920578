//! The trace begins, with the decision on the start as its first record.

use contracts_common::common::v1::{DecisionSource, RunSource};
use contracts_logs::v1::{self as logs, CaptureEvidenceRequest, RecordItem, StartTraceRequest, record_item};
use contracts_spine::v1::{RunCharter, StartRunRequest, TraceStart};
use runspine_errors::Outcome;
use runspine_rpc::{Context, timestamp};

use super::{StartDecision, observed::TRACE_LABEL};
use crate::kernel::{Kernel, evidence::Captured, trace::not_recorded};
use crate::reasons;

impl Kernel {
    /// Starts the trace and puts the decision on it.
    pub(super) async fn begin_trace(
        &self,
        context: &Context,
        charter: &RunCharter,
        decided: &StartDecision,
    ) -> Outcome<TraceStart> {
        let started = self.start_trace(context, charter, decided).await?;
        self.append_start(context, charter, decided, 0).await?;
        Ok(started)
    }

    /// Starts the trace, with nothing on it.
    pub(super) async fn start_trace(
        &self,
        context: &Context,
        charter: &RunCharter,
        decided: &StartDecision,
    ) -> Outcome<TraceStart> {
        let inspection = decided.evaluated.inspection.unwrap_or_default();
        let bits = [
            inspection.log_prompt,
            inspection.log_response,
            inspection.capture_pii,
            inspection.access_secret,
        ];
        let allowed = bits.iter().enumerate().map(|(i, on)| u32::from(*on) << i).sum();
        let request = StartTraceRequest {
            run_id: charter.run_id.clone(),
            attempt: charter.attempt,
            agent_id: charter.agent_id.clone(),
            profile: charter.profile,
            policy_snapshot_id: decided.evaluated.snapshot_id.clone(),
            policy_snapshot_digest: decided.evaluated.snapshot_digest.clone(),
            governance_config_version: charter.config_version.clone(),
            governance_config_digest: charter.config_digest.clone(),
            seed: Some(charter.seed),
            inspection_allowed: allowed,
            source: charter.source,
            parent_run_id: charter.parent_run_id.clone(),
            synthetic_scenario_id: charter.synthetic_scenario_id.clone(),
            project_id: charter.project_id.clone(),
            external_trace_id: external_trace(charter),
            ..StartTraceRequest::default()
        };
        let started = self.bridges.traces.start(context, request).await.map_err(not_recorded)?;
        Ok(TraceStart {
            trace_id: started.trace_id,
            link_0: started.link_0,
            digest_salt: started.digest_salt,
            parameter_key: started.parameter_key,
        })
    }

    /// Puts a decision on the start of a run on its trace: the first one, or the one after an approval.
    pub(super) async fn append_start(
        &self,
        context: &Context,
        charter: &RunCharter,
        decided: &StartDecision,
        ask: u32,
    ) -> Outcome<()> {
        let combined = &decided.combined;
        let record = logs::Decision {
            decision_id: decided.decision_id.clone(),
            verdict: combined.effective_verdict.into(),
            directive: combined.directive.into(),
            name: "start_run".to_owned(),
            input_digest: charter.goal_digest.clone(),
            source: if combined.would_block() {
                DecisionSource::Profile
            } else {
                crate::kernel::decide::source_of(combined)
            }
            .into(),
            reason: combined.reasons.first().map(|r| r.code.clone()).unwrap_or_default(),
            rule_ids: crate::kernel::decide::rule_ids(combined),
            policy_snapshot_digest: decided.evaluated.snapshot_digest.clone(),
            obligations_digest: crate::kernel::decide::obligations_digest(combined),
            would_verdict: if combined.would_block() { combined.verdict.into() } else { 0 },
            degraded: combined.degraded,
            facts_digest: decided
                .evaluated
                .decision
                .as_ref()
                .map(|d| d.inputs_digest.clone())
                .unwrap_or_default(),
            approval_id: decided.approval_id().to_owned(),
            ask,
            ..logs::Decision::default()
        };
        let item = RecordItem {
            idempotency_key: start_key(ask),
            occurred_at: Some(timestamp(self.now())),
            causation_id: decided.decision_id.clone(),
            request_digest: charter.request_digest.clone(),
            body: Some(record_item::Body::Decision(record)),
            ..RecordItem::default()
        };
        let stored = self.append(context, &charter.run_id, charter.attempt, item).await;
        stored.map(|_| ()).map_err(not_recorded)
    }

    /// Captures the environment, or the fact that nobody told it: always one of the two.
    pub(super) async fn capture_environment(
        &self,
        context: &Context,
        charter: &RunCharter,
        request: &StartRunRequest,
        decided: &StartDecision,
    ) -> Outcome<logs::CaptureEvidenceResponse> {
        let captured = Captured {
            run_id: &charter.run_id,
            attempt: charter.attempt,
            source: logs::EvidenceSource::Sdk,
            snapshot_id: &decided.evaluated.snapshot_id,
        };
        let capture = CaptureEvidenceRequest {
            run_id: charter.run_id.clone(),
            attempt: charter.attempt,
            context: Some(captured.context(context)),
            request_id: request.request_id.clone(),
            captured_at: Some(timestamp(self.now())),
            body: Some(crate::kernel::environment::body(request.environment.as_ref())),
            step_index: None,
        };
        let captured = self.bridges.evidence.capture(context, capture).await;
        captured.map_err(|miss| miss.into_fault(&reasons::RECORD_UNAVAILABLE))
    }
}

/// The OpenTelemetry trace that a run exists as; empty for any other.
fn external_trace(charter: &RunCharter) -> String {
    let observed = charter.source() == RunSource::Otlp;
    charter.labels.get(TRACE_LABEL).filter(|_| observed).cloned().unwrap_or_default()
}

/// What names the record of a decision on a start.
pub(super) fn start_key(ask: u32) -> String {
    format!("d/start/{ask}")
}
