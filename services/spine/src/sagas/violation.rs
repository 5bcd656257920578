//! The saga `violation`: a violation is a fact first; then it has an incident with evidence, a link on the trace, and a
//! check that all of that is true.
//!
//! Declared when the spine hears of the fact, before anything is done about it. Every part has a key, so whoever finds
//! the saga open goes on, and what was done is done once.

use bytes::Bytes;
use contracts_common::common::v1::AckStatus;
use contracts_incidents::v1::{
    Category, Evidence, EvidenceKind, IncidentSource, IncidentStatus, ListRunIncidentsRequest,
    OpenViolationIncidentRequest, OpenViolationIncidentResponse, ReportIncidentRequest, Severity,
    TriggerType, VoidIncidentRequest,
};
use contracts_logs::v1::{AckView, AuditContract, ContractState, LinkIncidentRequest};
use contracts_policies::v1::{GetViolationRequest, Violation};
use contracts_spine::v1::{RunCharter, ViolationPromise, ViolationProof, ViolationTruth};
use prost::Message;
use runspine_errors::{Kind, Outcome};
use runspine_rpc::Context;
use runspine_types::{Hasher, derived_id};

use super::{
    completion::{Driven, Hitch, latest},
    journal::{FINALIZE, Journal, Part, promise},
};
use crate::{
    kernel::{Kernel, charter_of},
    reasons,
};

/// The saga's name.
pub(crate) const SAGA: &str = "violation";

/// How long the incident may take, in milliseconds.
const OPEN_MS: u64 = 5_000;
/// How long the check of it may take, in milliseconds.
const TRUTH_MS: u64 = 10_000;
/// How long the whole of it may take, in milliseconds.
const FINALIZE_MS: u64 = 60_000;

const OPEN: (&str, &str) = ("incidents", "open_violation_incident");
const TRUTH: (&str, &str) = ("orchestrator", "truth_check");

fn journal(violation_id: &str) -> Journal<'_> {
    Journal { saga: SAGA, subject: violation_id, attempt: 1 }
}

/// Why the three things do not belong together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Untrue {
    /// Nobody knows the fact.
    NoFact,
    /// The rule has no incident in the run, or not this one.
    NoIncident,
    /// The incident has no evidence of the fact.
    NoEvidence,
    /// The rule has more than one incident in the run.
    Several,
}

impl Untrue {
    fn name(self) -> &'static str {
        match self {
            Self::NoFact => "FACT_MISSING",
            Self::NoIncident => "INCIDENT_MISSING",
            Self::NoEvidence => "EVIDENCE_MISSING",
            Self::Several => "INCIDENT_NOT_UNIQUE",
        }
    }
}

/// What has become of a violation.
pub(crate) struct Told {
    pub incident_id: String,
    pub evidence_ids: Vec<String>,
    pub truth: ViolationTruth,
    pub is_complete: bool,
}

impl Told {
    /// Nothing but that it is stored.
    pub(crate) fn of_fact() -> Self {
        let truth = ViolationTruth { fact: true, ..ViolationTruth::default() };
        Self { incident_id: String::new(), evidence_ids: Vec::new(), truth, is_complete: false }
    }
}

impl Kernel {
    /// What the journal of a violation says has become of it.
    pub(crate) async fn told_of(&self, context: &Context, violation: &Violation) -> Result<Told, Hitch> {
        let mut told = Told::of_fact();
        let contract = self.read_saga(context, journal(&violation.violation_id)).await?;
        told.is_complete = contract.state() == ContractState::Closed;
        let is_open = |ack: &&AckView| ack.status() == AckStatus::Success;
        let Some(opened) = latest(&contract, OPEN).filter(is_open) else { return Ok(told) };
        told.incident_id.clone_from(&opened.result_id);
        let untrue = match latest(&contract, TRUTH) {
            Some(ack) if ack.status() == AckStatus::Success => None,
            Some(ack) => Some(ack.error_reason.as_str()),
            None => return Ok(told),
        };
        let holds = |of: Untrue| untrue != Some(of.name());
        told.truth = ViolationTruth {
            fact: holds(Untrue::NoFact),
            incident: holds(Untrue::NoIncident),
            evidence: holds(Untrue::NoEvidence),
            unique: holds(Untrue::Several),
        };
        let promise = promised(violation);
        let charter = self.charter_for(context, &promise).await?;
        // The same answer whenever it is asked for: the evidence is named by nothing else.
        told.evidence_ids = self.open_incident(context, &promise, &charter).await?.evidence_ids;
        Ok(told)
    }

    /// Promises the incident of a violation, and does as much about it as can be done now: whoever reads the journal
    /// later does the rest.
    ///
    /// # Errors
    /// When it can't be promised: nothing was done, and it is to be told again.
    pub async fn violation_reported(&self, context: &Context, violation: &Violation) -> Outcome<Driven> {
        self.promise_violation(context, violation).await?;
        let driven = self.drive_violation(context, &violation.violation_id).await;
        Ok(driven.unwrap_or_else(|fault| Driven::Open(fault.to_string())))
    }

    /// Promises the incident of a violation. From then on it can't be forgotten, whatever happens to this replica.
    async fn promise_violation(&self, context: &Context, violation: &Violation) -> Outcome<()> {
        let whole = promised(violation).encode_to_vec();
        let parts = vec![
            promise(OPEN, OPEN_MS, Bytes::new()),
            promise(TRUTH, TRUTH_MS, Bytes::new()),
            promise(FINALIZE, FINALIZE_MS, whole),
        ];
        let promised = self.promise_saga(context, journal(&violation.violation_id), parts, FINALIZE_MS).await;
        promised.map_err(|miss| miss.into_fault(&reasons::RECORD_UNAVAILABLE))
    }

    /// Does what is left of a promised violation, once.
    ///
    /// # Errors
    /// When the journal can't be read.
    pub(crate) async fn drive_violation(&self, context: &Context, violation_id: &str) -> Outcome<Driven> {
        self.drive_saga(context, journal(violation_id), |contract| async move {
            self.advance_violation(context, violation_id, &contract).await
        })
        .await
    }

    async fn advance_violation(
        &self,
        context: &Context,
        violation_id: &str,
        contract: &AuditContract,
    ) -> Result<(), Hitch> {
        if contract.state() == ContractState::Closed {
            return Ok(());
        }
        let Some(promise) = promise_in(contract) else {
            return Err(Hitch::stuck("the promise of the violation can't be read"));
        };
        let context = context.for_run(&promise.run_id);
        let charter = self.charter_for(&context, &promise).await?;
        let opened = self.open_incident(&context, &promise, &charter).await?;
        if latest(contract, OPEN).is_none_or(|ack| ack.status() != AckStatus::Success) {
            self.note_saga(&context, journal(violation_id), &[(OPEN, Part::Done(&opened.incident_id))])
                .await?;
        }
        match self.truth(&context, &promise, &opened).await? {
            None => {
                self.link_on_trace(&context, &promise, &opened.incident_id).await?;
                self.note_saga(&context, journal(violation_id), &[(TRUTH, Part::Done(&opened.incident_id))])
                    .await?;
            }
            Some(untrue) => self.undo_untrue(&context, &promise, &charter, &opened, untrue).await?,
        }
        self.note_saga(&context, journal(violation_id), &[(FINALIZE, Part::Done(violation_id))]).await?;
        self.judge_saga(&context, journal(violation_id)).await
    }

    /// What the run was started with. A run that the mesh did not start has none: its incident names no agent.
    async fn charter_for(&self, context: &Context, promise: &ViolationPromise) -> Result<RunCharter, Hitch> {
        match self.contract(context, &promise.run_id, promise.attempt).await {
            Ok(contract) => Ok(charter_of(&contract).unwrap_or_default()),
            Err(fault) if fault.reason().kind == Kind::NotFound => Ok(RunCharter::default()),
            Err(fault) => Err(fault.into()),
        }
    }

    /// The incident with its evidence: one commit of its domain, and the same answer whenever it is asked for.
    async fn open_incident(
        &self,
        context: &Context,
        promise: &ViolationPromise,
        charter: &RunCharter,
    ) -> Result<OpenViolationIncidentResponse, Hitch> {
        let request = OpenViolationIncidentRequest {
            run_id: promise.run_id.clone(),
            attempt: promise.attempt,
            step_index: promise.step_index,
            violation_id: promise.violation_id.clone(),
            rule_id: promise.rule_id.clone(),
            rule_code: promise.rule_code.clone(),
            rule_slug: promise.rule_slug.clone(),
            kind: promise.kind.clone(),
            severity: severity(&promise.severity).into(),
            value: promise.value.clone(),
            threshold: promise.threshold.clone(),
            reason: promise.reason.clone(),
            evidence: evidence(promise),
            occurred_at: promise.detected_at,
            agent_id: charter.agent_id.clone(),
            project_id: charter.project_id.clone(),
            synthetic: charter.is_synthetic,
            synthetic_scenario_id: charter.synthetic_scenario_id.clone(),
        };
        match self.bridges.incidents.open_violation(context, request).await {
            Ok(opened) => Ok(opened),
            Err(miss) if miss.is_refusal() => {
                let reason = miss.reason();
                self.note_saga(context, journal(&promise.violation_id), &[(OPEN, Part::Failed(&reason))])
                    .await?;
                Err(Hitch::Stuck(reason))
            }
            Err(miss) => Err(Hitch::forward(&miss)),
        }
    }

    /// Fact, incident and evidence exist, and the rule has this incident alone in the run.
    async fn truth(
        &self,
        context: &Context,
        promise: &ViolationPromise,
        opened: &OpenViolationIncidentResponse,
    ) -> Result<Option<Untrue>, Hitch> {
        let get = GetViolationRequest { violation_id: promise.violation_id.clone() };
        match self.bridges.violations.violation(context, get).await {
            Ok(_) => {}
            Err(miss) if miss.is_not_found() => return Ok(Some(Untrue::NoFact)),
            Err(miss) => return Err(Hitch::forward(&miss)),
        }
        if opened.evidence_ids.is_empty() {
            return Ok(Some(Untrue::NoEvidence));
        }
        let list = ListRunIncidentsRequest { run_id: promise.run_id.clone() };
        let found = self.bridges.incidents.for_run(context, list).await;
        let found = found.map_err(|miss| Hitch::forward(&miss))?;
        let of_rule: Vec<&str> = found
            .incidents
            .iter()
            .filter(|i| i.trigger_type() == TriggerType::PolicyViolation && i.rule_id == promise.rule_id)
            .filter(|i| i.status() != IncidentStatus::Voided)
            .map(|i| i.incident_id.as_str())
            .collect();
        Ok(match of_rule.as_slice() {
            [only] if *only == opened.incident_id => None,
            [] | [_] => Some(Untrue::NoIncident),
            _ => Some(Untrue::Several),
        })
    }

    /// An incident without its fact is voided, as far as nothing else holds it up; what is left is told as a failure of
    /// the record.
    async fn undo_untrue(
        &self,
        context: &Context,
        promise: &ViolationPromise,
        charter: &RunCharter,
        opened: &OpenViolationIncidentResponse,
        untrue: Untrue,
    ) -> Result<(), Hitch> {
        let id = &promise.violation_id;
        tracing::error!(violation_id = id, ?untrue, alert = "INTEGRITY_MISMATCH", "a violation is not true");
        if untrue == Untrue::NoFact && !opened.existing {
            let void = VoidIncidentRequest {
                run_id: promise.run_id.clone(),
                attempt: promise.attempt,
                cause: String::new(),
                incident_id: opened.incident_id.clone(),
                reason: "nobody knows the violation that it was opened for".to_owned(),
                request_id: derived_id(Hasher::new("runspine.saga.v1").sized(id.as_bytes()).finish()),
            };
            self.bridges.incidents.void(context, void).await.map_err(|miss| Hitch::forward(&miss))?;
            self.note_saga(context, journal(id), &[(OPEN, Part::Undone(&opened.incident_id))]).await?;
        }
        let report = ReportIncidentRequest {
            source: IncidentSource::Integrity.into(),
            trigger_type: TriggerType::IntegrityFailure.into(),
            category: Category::Integrity.into(),
            cause_code: untrue.name().to_owned(),
            severity: Severity::Critical.into(),
            title: "A violation and its incident do not belong together".to_owned(),
            run_id: promise.run_id.clone(),
            attempt: promise.attempt,
            fact_id: format!("{SAGA}/{id}"),
            occurred_at: promise.detected_at,
            agent_id: charter.agent_id.clone(),
            project_id: charter.project_id.clone(),
            ..ReportIncidentRequest::default()
        };
        self.bridges.incidents.report(context, report).await.map_err(|miss| Hitch::forward(&miss))?;
        self.note_saga(context, journal(id), &[(TRUTH, Part::Failed(untrue.name()))]).await
    }

    /// Whoever reads the trace finds the incident. A run without a trace has nothing to tie it to.
    async fn link_on_trace(
        &self,
        context: &Context,
        promise: &ViolationPromise,
        incident_id: &str,
    ) -> Result<(), Hitch> {
        let link = LinkIncidentRequest {
            run_id: promise.run_id.clone(),
            attempt: promise.attempt,
            incident_id: incident_id.to_owned(),
            step_index: promise.step_index,
        };
        match self.bridges.ledger.link_incident(context, link).await {
            Ok(_) => Ok(()),
            // Tied already, at the step of an earlier violation of the rule.
            Err(miss) if miss.is("IDEMPOTENCY_MISMATCH") || miss.is("TRACE_NOT_FOUND") => Ok(()),
            Err(miss) => Err(Hitch::forward(&miss)),
        }
    }
}

fn promised(v: &Violation) -> ViolationPromise {
    ViolationPromise {
        violation_id: v.violation_id.clone(),
        run_id: v.run_id.clone(),
        attempt: v.attempt,
        step_index: v.step_index,
        rule_id: v.rule_id.clone(),
        rule_code: v.rule_code.clone(),
        rule_slug: v.rule_slug.clone(),
        kind: v.kind().as_str_name().trim_start_matches("VIOLATION_KIND_").to_owned(),
        severity: v.severity().as_str_name().trim_start_matches("SEVERITY_").to_owned(),
        value: v.value.clone(),
        threshold: v.threshold.clone(),
        reason: v.reason.clone(),
        proofs: v
            .evidence
            .iter()
            .map(|e| ViolationProof { digest: e.digest.clone(), kind: e.kind.clone(), note: e.note.clone() })
            .collect(),
        detected_at: v.detected_at,
    }
}

fn promise_in(contract: &AuditContract) -> Option<ViolationPromise> {
    let whole = contract.expectations.iter().find(|e| (e.domain.as_str(), e.action.as_str()) == FINALIZE)?;
    ViolationPromise::decode(whole.input.clone()).ok()
}

/// A severity that nobody knows is never taken for a small one.
fn severity(name: &str) -> Severity {
    Severity::from_str_name(&format!("SEVERITY_{name}"))
        .filter(|s| *s != Severity::Unspecified)
        .unwrap_or(Severity::Critical)
}

/// What was found against what is allowed, then what whoever reported it showed.
fn evidence(promise: &ViolationPromise) -> Vec<Evidence> {
    let found = Evidence {
        kind: EvidenceKind::Value.into(),
        rule_id: promise.rule_id.clone(),
        value: promise.value.clone(),
        condition: promise.threshold.clone(),
        step_index: promise.step_index,
        ..Evidence::default()
    };
    let shown = promise.proofs.iter().map(|proof| Evidence {
        kind: EvidenceKind::Digest.into(),
        rule_id: promise.rule_id.clone(),
        value: if proof.note.is_empty() {
            proof.kind.clone()
        } else {
            format!("{}: {}", proof.kind, proof.note)
        },
        digest: proof.digest.clone(),
        step_index: promise.step_index,
        ..Evidence::default()
    });
    std::iter::once(found).chain(shown).collect()
}
