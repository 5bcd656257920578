//! A violation that a runtime reports through the spine's door: stored as a fact, then followed until its incident and
//! evidence are there, or the time is over.

use std::time::Duration;

use contracts_policies::v1 as policies;
use contracts_spine::v1::{ReportViolationRequest, ReportViolationResponse};
use runspine_errors::{Fault, Outcome, Violations, mesh};
use runspine_rpc::Context;
use runspine_types::new_id;
use tokio::time::Instant;

use super::{Kernel, refuse::as_callers_fault, validate};
use crate::{reasons, sagas::violation::Told};

/// What driving the saga may take of the call; the rest is for the answer.
const PATIENCE: Duration = Duration::from_millis(3_500);

impl Kernel {
    /// Stores a violation and drives what follows from it as far as it comes in time.
    ///
    /// # Errors
    /// What is wrong with the request, an unknown run or rule, or an outage before the fact was stored.
    pub async fn report_violation(
        &self,
        context: &Context,
        r: ReportViolationRequest,
    ) -> Outcome<ReportViolationResponse> {
        let fact = parsed(r)?;
        let run = self.attempt(context, &fact.run_id, fact.attempt).await?;
        Self::require_own(context, &run)?;
        let context = context.for_run(&fact.run_id);
        let stored = self.bridges.violations.report(&context, fact).await;
        let stored = stored.map_err(|miss| {
            if miss.is_refusal() {
                as_callers_fault(miss)
            } else {
                miss.into_fault(&reasons::RECORD_UNAVAILABLE)
            }
        })?;
        let violation = stored.violation.unwrap_or_default();
        let patient = context.until(Some(Instant::now() + PATIENCE));
        // What can't be promised or done now is heard of again by the event of the fact.
        let driven = self.violation_reported(&patient, &violation).await;
        if let Err(fault) = &driven {
            tracing::warn!(%fault, violation_id = violation.violation_id, "a violation waits for its incident");
        }
        let told = self.told_of(&context, &violation).await.unwrap_or_else(|_| Told::of_fact());
        Ok(ReportViolationResponse {
            violation_id: violation.violation_id,
            first: stored.first,
            incident_id: told.incident_id,
            evidence_ids: told.evidence_ids,
            truth: Some(told.truth),
            saga_complete: told.is_complete,
        })
    }
}

/// The fact that is reported. It is known again by its run, attempt, rule, code and step, whatever names the request.
fn parsed(r: ReportViolationRequest) -> Outcome<policies::ReportViolationRequest> {
    validate::run_id(&r.run_id)?;
    if r.evidence.is_empty() || r.evidence.len() > 16 {
        let text = "a violation is reported with 1 to 16 things that show it";
        return Err(Fault::new(&reasons::EVIDENCE_REQUIRED, text).field(
            "evidence",
            "EVIDENCE_REQUIRED",
            text,
        ));
    }
    let kind = policies::ViolationKind::from_str_name(&format!("VIOLATION_KIND_{}", r.kind));
    let severity = policies::Severity::from_str_name(&format!("SEVERITY_{}", r.severity));
    let mut v = Violations::new();
    let known = kind.is_some_and(|k| k != policies::ViolationKind::Unspecified);
    v.require(known, "kind", "ENUM_UNKNOWN", "a known kind of violation");
    let known = severity.is_some_and(|s| s != policies::Severity::Unspecified);
    v.require(known, "severity", "ENUM_UNKNOWN", "LOW, MEDIUM, HIGH or CRITICAL");
    v.require(r.attempt > 0, "attempt", "OUT_OF_RANGE", "from 1");
    v.into_result(&mesh::FIELD_INVALID)?;
    let shown = |e: contracts_spine::v1::ReportedEvidence| policies::ViolationEvidence {
        digest: e.digest,
        kind: e.kind,
        note: e.note,
    };
    Ok(policies::ReportViolationRequest {
        request_id: new_id(),
        run_id: r.run_id,
        attempt: r.attempt,
        step_index: r.step_index,
        rule_id: r.rule_id,
        rule_code: r.rule_code,
        kind: kind.unwrap_or_default().into(),
        severity: severity.unwrap_or_default().into(),
        value: r.value,
        threshold: r.threshold,
        reason: r.reason,
        evidence: r.evidence.into_iter().map(shown).collect(),
        detected_at: None,
    })
}
