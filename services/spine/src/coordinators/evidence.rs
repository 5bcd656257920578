//! Everything that the domains know about a run, each source with its own state.

use std::time::Duration;

use contracts_controls::v1::{GetRunControlsEvidenceRequest, GetRunControlsEvidenceResponse};
use contracts_incidents::v1::{Incident, ListRunIncidentsRequest};
use contracts_logs::v1::{
    EvidenceView, GetAuditContractRequest, GetTraceRequest, GetTraceResponse, LedgerEntryView, LedgerFilter,
    LedgerOrder, ListEntriesRequest, ListEvidenceRequest, evidence_item,
};
use contracts_policies::v1::{GetRunPolicyEvidenceRequest, GetRunPolicyEvidenceResponse};
use contracts_spine::v1::{EvidenceItem, GetRunEvidenceRequest, GetRunEvidenceResponse};
use runspine_errors::{Fault, Outcome};
use runspine_rpc::{Context, timestamp};

use super::{
    source::{ask, complete},
    watch::event,
};
use crate::{
    kernel::{Kernel, contract_key, validate},
    reasons,
    sagas::completion::saga,
};

const PATIENCE: Duration = Duration::from_secs(2);

impl Kernel {
    /// Gathers the evidence of a run.
    ///
    /// # Errors
    /// When the run is not known, or a source failed and the caller wants them all.
    pub async fn run_evidence(
        &self,
        context: &Context,
        request: GetRunEvidenceRequest,
    ) -> Outcome<GetRunEvidenceResponse> {
        validate::run_id(&request.run_id)?;
        let context = context.for_run(&request.run_id);
        let state = self.attempt(&context, &request.run_id, request.attempt).await?;
        let (run_id, attempt) = (request.run_id.clone(), request.attempt);
        let page_size = if request.page_size <= 0 { 100 } else { request.page_size.min(500) };
        let b = &self.bridges;
        let filter = Some(LedgerFilter { run_id: run_id.clone(), attempt, ..LedgerFilter::default() });
        let ledger = ListEntriesRequest {
            filter,
            order: LedgerOrder::SeqAsc.into(),
            page_size,
            page_token: String::new(),
        };
        let captures = ListEvidenceRequest {
            run_id: run_id.clone(),
            attempt,
            page_size,
            ..ListEvidenceRequest::default()
        };
        let contract = GetAuditContractRequest { key: Some(contract_key(&run_id, state.state.attempt)) };
        let of_run = ListRunIncidentsRequest { run_id: run_id.clone() };
        let of_rules = GetRunPolicyEvidenceRequest { run_id: run_id.clone(), attempt };
        let of_limits = GetRunControlsEvidenceRequest { run_id: run_id.clone(), attempt };
        let of_trace = GetTraceRequest { run_id: run_id.clone(), attempt };
        let (incidents, rules, limits, trace, captured, entries, promised) = tokio::join!(
            ask("incidents", PATIENCE, b.incidents.for_run(&context, of_run), |a| a.incidents.len()),
            ask("policies", PATIENCE, b.policy_runs.evidence(&context, of_rules), |a| {
                a.evaluations.len() + a.decisions.len() + a.enforcements.len() + a.violations.len()
            }),
            ask("controls", PATIENCE, b.settlements.evidence(&context, of_limits), |a| {
                a.admissions.len() + a.breaches.len() + a.settlements.len() + a.freezes.len()
            }),
            ask("logs.trace", PATIENCE, b.records.trace(&context, of_trace), |a| usize::from(
                a.trace.is_some()
            )),
            ask("logs.evidence", PATIENCE, b.evidence.list(&context, captures), |a| a.evidence.len()
                + a.failures.len()),
            ask("logs.ledger", PATIENCE, b.ledger.entries(&context, ledger), |a| a.entries.len()),
            ask("logs.contract", PATIENCE, b.reconciler.contract(&context, contract), |a| usize::from(
                a.contract.is_some()
            )),
        );
        let sources = vec![
            incidents.status,
            rules.status,
            limits.status,
            trace.status,
            captured.status,
            entries.status,
            promised.status,
        ];
        let complete = complete(&sources);
        if request.require_complete && !complete {
            let failed = sources.iter().filter(|s| !super::source::complete(std::slice::from_ref(s)));
            let names: Vec<&str> = failed.map(|s| s.source.as_str()).collect();
            return Err(Fault::new(&reasons::SOURCES_INCOMPLETE, "a source of the evidence did not answer")
                .with("sources", names.join(",")));
        }
        let rules = rules.answer.unwrap_or_default();
        let limits = limits.answer.unwrap_or_default();
        Ok(GetRunEvidenceResponse {
            incidents: incidents.answer.unwrap_or_default().incidents.iter().map(incident).collect(),
            evaluations: evaluations(&rules),
            decisions: decisions(&rules),
            violations: violations(&rules),
            enforcements: enforcements(&rules),
            limits: breaches(&limits),
            settlements: settlements(&limits),
            captures: captured.answer.unwrap_or_default().evidence.iter().map(capture).collect(),
            ledger: entries.answer.unwrap_or_default().entries.iter().filter_map(entry).collect(),
            contract: promised.answer.and_then(|c| c.contract).map(|c| saga(&c)),
            traces: traces(trace.answer),
            sources,
            complete,
            computed_at: Some(timestamp(self.now())),
        })
    }
}

fn entry(view: &LedgerEntryView) -> Option<contracts_spine::v1::RunEvent> {
    event(view)
}

fn short(name: &str, prefix: &str) -> String {
    name.trim_start_matches(prefix).to_owned()
}

fn incident(of: &Incident) -> EvidenceItem {
    EvidenceItem {
        id: of.incident_id.clone(),
        status: short(of.severity().as_str_name(), "SEVERITY_"),
        reason: of.cause_code.clone(),
        attempt: of.source_attempt,
        step_index: of.source_step_index,
        subject: short(of.status().as_str_name(), "INCIDENT_STATUS_"),
        at: of.opened_at,
    }
}

fn evaluations(of: &GetRunPolicyEvidenceResponse) -> Vec<EvidenceItem> {
    let item = |e: &contracts_policies::v1::Evaluation| EvidenceItem {
        id: e.evaluation_id.clone(),
        status: short(e.outcome().as_str_name(), "EVALUATION_OUTCOME_"),
        reason: e.primary_reason.clone(),
        attempt: e.attempt,
        at: e.evaluated_at,
        subject: if e.superseded { "SUPERSEDED".to_owned() } else { String::new() },
        step_index: None,
    };
    of.evaluations.iter().map(item).collect()
}

fn decisions(of: &GetRunPolicyEvidenceResponse) -> Vec<EvidenceItem> {
    let item = |d: &contracts_policies::v1::Decision| EvidenceItem {
        id: d.decision_id.clone(),
        status: short(d.verdict().as_str_name(), "VERDICT_"),
        reason: d.reasons.first().map(|r| r.code.clone()).unwrap_or_default(),
        attempt: d.attempt,
        step_index: d.step_index,
        subject: d.reasons.first().map(|r| r.source_id.clone()).unwrap_or_default(),
        at: d.decided_at,
    };
    of.decisions.iter().map(item).collect()
}

fn violations(of: &GetRunPolicyEvidenceResponse) -> Vec<EvidenceItem> {
    let item = |v: &contracts_policies::v1::Violation| EvidenceItem {
        id: v.violation_id.clone(),
        status: short(v.severity().as_str_name(), "SEVERITY_"),
        reason: v.rule_code.clone(),
        attempt: v.attempt,
        step_index: v.step_index,
        subject: v.rule_id.clone(),
        at: v.detected_at,
    };
    of.violations.iter().map(item).collect()
}

fn enforcements(of: &GetRunPolicyEvidenceResponse) -> Vec<EvidenceItem> {
    let item = |e: &contracts_policies::v1::Enforcement| EvidenceItem {
        id: e.enforcement_id.clone(),
        status: short(e.action().as_str_name(), "ACTION_TAKEN_"),
        reason: e.decision_id.clone(),
        attempt: e.attempt,
        step_index: e.step_index,
        subject: e.rule_id.clone(),
        at: e.at,
    };
    of.enforcements.iter().map(item).collect()
}

fn breaches(of: &GetRunControlsEvidenceResponse) -> Vec<EvidenceItem> {
    let item = |b: &contracts_controls::v1::Breach| EvidenceItem {
        id: b.breach_id.clone(),
        status: short(b.r#type().as_str_name(), "BREACH_TYPE_"),
        reason: format!("{} of {}", b.value, b.limit_value),
        attempt: b.attempt,
        step_index: b.step_index,
        subject: b.limit_id.clone(),
        at: b.breached_at,
    };
    of.breaches.iter().map(item).collect()
}

fn settlements(of: &GetRunControlsEvidenceResponse) -> Vec<EvidenceItem> {
    let item = |s: &contracts_controls::v1::Settlement| EvidenceItem {
        id: s.settlement_id.clone(),
        status: "SETTLED".to_owned(),
        reason: format!("{} micro-USD unfunded", s.unfunded_microusd),
        attempt: s.attempt,
        at: s.settled_at,
        ..EvidenceItem::default()
    };
    of.settlements.iter().map(item).collect()
}

fn capture(of: &EvidenceView) -> EvidenceItem {
    let item = of.item.clone().unwrap_or_default();
    let kind = match &item.body {
        Some(evidence_item::Body::Environment(_)) => "ENVIRONMENT",
        Some(evidence_item::Body::Activity(_)) => "ACTIVITY",
        Some(evidence_item::Body::Provider(_)) => "PROVIDER",
        Some(evidence_item::Body::PolicyDecision(_)) => "POLICY_DECISION",
        Some(evidence_item::Body::Retrieval(_)) => "RETRIEVAL",
        Some(evidence_item::Body::Integrity(_)) => "INTEGRITY",
        None => "UNKNOWN",
    };
    EvidenceItem {
        status: kind.to_owned(),
        id: item.evidence_id,
        attempt: item.attempt,
        step_index: item.step_index,
        at: item.captured_at,
        ..EvidenceItem::default()
    }
}

fn traces(of: Option<GetTraceResponse>) -> Vec<EvidenceItem> {
    let Some(found) = of else { return Vec::new() };
    let item = |t: &contracts_logs::v1::Trace| {
        let header = t.header.clone().unwrap_or_default();
        EvidenceItem {
            id: header.trace_id,
            status: short(t.state().as_str_name(), "TRACE_STATE_"),
            reason: format!("{} records", t.record_count),
            attempt: header.attempt,
            at: header.started_at,
            ..EvidenceItem::default()
        }
    };
    found.trace.iter().chain(&found.addenda).map(item).collect()
}
