//! Every operation of a domain that writes is on record: an entry of the governance ledger that leaves with its own
//! commit, or a reason why it needs none.

use std::collections::{BTreeMap, BTreeSet};

use contracts_common::contract::v1::{Commit, Ledger};
use runspine_rpc::{Operation, Registry};

use crate::{DOMAINS, Inspection};

/// Where it stands what an operation did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Record {
    /// On the ledger: this event, in the operation's own commit.
    Entry(&'static str),
    /// Not on the ledger, because of this.
    Elsewhere(&'static str),
}

use Record::{Elsewhere, Entry};

const PLACE: &str = "moves a consumer's place in the outbox, which is no state of the domain";
const TRACE: &str =
    "is a record of the run's trace, chained there and witnessed by the entry of its seal (logs.TraceSealed)";
const JOURNAL: &str = "is an entry of the audit contract's own chain, and the ledger witnesses each of its verdicts \
                       (logs.ContractReconciled)";
const HOLD: &str = "moves what a run holds inside its budget: an append-only entry of the envelope's book each, and the \
                    ledger has their sum (controls.RunSettled)";
const LEASE: &str =
    "is a heartbeat; grants are part of transitions, and a lapse is told (activity.LeaseLapsed)";
const LEASE_OF_SCHEDULE: &str =
    "says which replica of the spine does a schedule's work; the work has records of its own";
const DERIVED: &str = "derives from events that are recorded, and can be built from them again";
const TRIAL: &str = "tries rules out: it touches neither a run nor a rule in force";

/// The record of every operation that writes.
pub const RECORDS: &[(&str, Record)] = &[
    ("activity.v1.EventService/AckEvents", Elsewhere(PLACE)),
    ("activity.v1.RunStoreService/AddPause", Entry("activity.PauseAdded")),
    ("activity.v1.RunStoreService/ApplyFacts", Elsewhere(DERIVED)),
    ("activity.v1.RunStoreService/ClaimLapsed", Entry("activity.LeaseLapsed")),
    ("activity.v1.RunStoreService/ClearPauses", Entry("activity.PausesCleared")),
    ("activity.v1.RunStoreService/CreateAttempt", Entry("activity.AttemptCreated")),
    ("activity.v1.RunStoreService/CreateRun", Entry("activity.RunCreated")),
    ("activity.v1.RunStoreService/ExtendPause", Entry("activity.PauseExtended")),
    ("activity.v1.RunStoreService/FinishRun", Entry("activity.RunFinished")),
    ("activity.v1.RunStoreService/GrantLease", Elsewhere(LEASE)),
    (
        "activity.v1.RunStoreService/KeepAnswer",
        Elsewhere("keeps the bytes of an answer whose act has a record of its own"),
    ),
    ("activity.v1.RunStoreService/RebuildProjection", Elsewhere(DERIVED)),
    ("activity.v1.RunStoreService/ReleaseLease", Elsewhere(LEASE)),
    ("activity.v1.RunStoreService/RenewLease", Elsewhere(LEASE)),
    ("activity.v1.RunStoreService/RequestStop", Entry("activity.StopRequested")),
    ("activity.v1.RunStoreService/TransitionRun", Entry("activity.RunTransitioned")),
    ("controls.v1.AdmissionService/AdmitRun", Entry("controls.AdmissionDenied")),
    ("controls.v1.AdmissionService/AdmitStep", Entry("controls.AdmissionDenied")),
    ("controls.v1.AdmissionService/RenewRunLease", Elsewhere(LEASE)),
    (
        "controls.v1.AlertService/DecideAlert",
        Elsewhere(
            "is an append-only row about telling people of something; what it is about has a record of its own",
        ),
    ),
    ("controls.v1.AlertService/SetAlertSettings", Entry("controls.AlertSettingsChanged")),
    ("controls.v1.BreakerService/CheckBreaker", Elsewhere("grants a trial of 30 s, whose outcome is told")),
    ("controls.v1.BreakerService/CloseBreaker", Entry("controls.BreakerClosed")),
    ("controls.v1.BreakerService/OpenBreaker", Entry("controls.BreakerOpened")),
    ("controls.v1.BreakerService/ReportOutcome", Entry("controls.BreakerOpened")),
    ("controls.v1.BudgetService/AdjustEnvelope", Entry("controls.EnvelopeAdjusted")),
    ("controls.v1.BudgetService/ApproveAdjustment", Entry("controls.EnvelopeAdjusted")),
    ("controls.v1.BudgetService/Extend", Elsewhere(HOLD)),
    ("controls.v1.BudgetService/Release", Elsewhere(HOLD)),
    ("controls.v1.BudgetService/Reserve", Elsewhere(HOLD)),
    ("controls.v1.BudgetService/ResumeEnvelope", Entry("controls.EnvelopeResumed")),
    ("controls.v1.BudgetService/ReverseSettlement", Entry("controls.SettlementReversed")),
    ("controls.v1.BudgetService/Settle", Elsewhere(HOLD)),
    ("controls.v1.BudgetService/SettleRun", Entry("controls.RunSettled")),
    ("controls.v1.BudgetService/SuspendEnvelope", Entry("controls.EnvelopeSuspended")),
    ("controls.v1.BypassService/ApproveBypass", Entry("controls.BypassActivated")),
    ("controls.v1.BypassService/RecordBypassUse", Entry("controls.BypassUsed")),
    ("controls.v1.BypassService/RejectBypass", Entry("controls.BypassRejected")),
    ("controls.v1.BypassService/RequestBypass", Entry("controls.BypassRequested")),
    ("controls.v1.BypassService/RevokeBypass", Entry("controls.BypassEnded")),
    ("controls.v1.CoordinationService/AcquireLease", Elsewhere(LEASE_OF_SCHEDULE)),
    ("controls.v1.CoordinationService/ReleaseLease", Elsewhere(LEASE_OF_SCHEDULE)),
    ("controls.v1.CoordinationService/RenewLease", Elsewhere(LEASE_OF_SCHEDULE)),
    ("controls.v1.CostSimService/SetCostSimSettings", Entry("controls.CostSimSettingsChanged")),
    ("controls.v1.EventService/AckEvents", Elsewhere(PLACE)),
    (
        "controls.v1.FreezeService/AckContainment",
        Elsewhere(
            "is one answer among those that the freeze's proof is made of; the proof is told \
             (controls.ContainmentReached, controls.ContainmentUnconfirmed)",
        ),
    ),
    ("controls.v1.FreezeService/ApproveUnfreeze", Entry("controls.FreezeLifted")),
    ("controls.v1.FreezeService/Freeze", Entry("controls.FreezeActivated")),
    ("controls.v1.FreezeService/RequestUnfreeze", Entry("controls.UnfreezeRequested")),
    (
        "controls.v1.GuardrailService/ReportSteps",
        Elsewhere("counts outcomes that traces hold; what trips by it is told (controls.LimitBreached)"),
    ),
    ("controls.v1.GuardrailService/SetGuardrail", Entry("controls.LimitUpdated")),
    ("controls.v1.LimitService/CreateLimit", Entry("controls.LimitCreated")),
    ("controls.v1.LimitService/DisableLimit", Entry("controls.LimitDisabled")),
    ("controls.v1.LimitService/EnableLimit", Entry("controls.LimitEnabled")),
    ("controls.v1.LimitService/UpdateLimit", Entry("controls.LimitUpdated")),
    ("controls.v1.OverrideService/ApproveOverride", Entry("controls.OverrideApproved")),
    ("controls.v1.OverrideService/CancelOverride", Entry("controls.OverrideCancelled")),
    ("controls.v1.OverrideService/RejectOverride", Entry("controls.OverrideRejected")),
    ("controls.v1.OverrideService/RequestOverride", Entry("controls.OverrideRequested")),
    ("controls.v1.RateService/ResetBucket", Entry("controls.BucketReset")),
    ("controls.v1.ScopeService/ConsumeScope", Entry("controls.ScopeConsumed")),
    ("controls.v1.ScopeService/CreateScope", Entry("controls.ScopeCreated")),
    ("controls.v1.ScopeService/RevokeScope", Entry("controls.ScopeRevoked")),
    ("controls.v1.ScopeService/SettleScopeUse", Entry("controls.ScopeSettled")),
    (
        "controls.v1.SignalService/LinkBreachIncident",
        Elsewhere("repeats what the incident's own entry says (incidents.IncidentOpened, IncidentLinked)"),
    ),
    (
        "controls.v1.ThresholdService/EvaluateRunThresholds",
        Elsewhere("stores where a run stands; what crosses a threshold is told (controls.SignalRaised)"),
    ),
    ("incidents.v1.EventService/AckEvents", Elsewhere(PLACE)),
    ("incidents.v1.IncidentExportService/CompleteExport", Entry("incidents.IncidentExported")),
    (
        "incidents.v1.IncidentExportService/FailExport",
        Elsewhere(
            "says that nothing left the house; the promise of it is closed in the chain of its contract",
        ),
    ),
    (
        "incidents.v1.IncidentExportService/PrepareExport",
        Elsewhere(
            "freezes what is known for a file; the file is told with both digests (incidents.IncidentExported)",
        ),
    ),
    ("incidents.v1.IncidentReportService/OpenViolationIncident", Entry("incidents.IncidentOpened")),
    ("incidents.v1.IncidentReportService/ReportIncident", Entry("incidents.IncidentOpened")),
    ("incidents.v1.IncidentReportService/ReportRunOutcome", Entry("incidents.IncidentLinked")),
    ("incidents.v1.IncidentReportService/VoidIncident", Entry("incidents.IncidentVoided")),
    ("incidents.v1.IncidentService/AcknowledgeIncident", Entry("incidents.IncidentAcknowledged")),
    (
        "incidents.v1.IncidentService/AddNote",
        Elsewhere("is an entry of the incident's append-only history and changes nothing about it"),
    ),
    ("incidents.v1.IncidentService/AssignIncident", Entry("incidents.IncidentAssigned")),
    ("incidents.v1.IncidentService/CloseIncident", Entry("incidents.IncidentClosed")),
    ("incidents.v1.IncidentService/CreateIncident", Entry("incidents.IncidentOpened")),
    ("incidents.v1.IncidentService/RaiseSeverity", Entry("incidents.SeverityRaised")),
    ("incidents.v1.IncidentService/ReopenIncident", Entry("incidents.IncidentReopened")),
    ("incidents.v1.IncidentService/ResolveIncident", Entry("incidents.IncidentResolved")),
    ("logs.v1.AuditContractService/Acknowledge", Elsewhere(JOURNAL)),
    ("logs.v1.AuditContractService/AppendIntent", Elsewhere(JOURNAL)),
    (
        "logs.v1.AuditContractService/ClaimOverdue",
        Elsewhere(
            "fences the workers among themselves; what the claimed contract is driven to is in its chain",
        ),
    ),
    ("logs.v1.AuditContractService/DeclareExpectations", Elsewhere(JOURNAL)),
    ("logs.v1.AuditContractService/MoveDeadline", Elsewhere(JOURNAL)),
    ("logs.v1.AuditContractService/Reconcile", Entry("logs.ContractReconciled")),
    ("logs.v1.AuditContractService/ReleaseClaim", Entry("logs.ContractParked")),
    ("logs.v1.AuditContractService/UnparkContract", Entry("logs.ContractUnparked")),
    ("logs.v1.CertificateService/IssueCertificate", Entry("logs.CertificateIssued")),
    ("logs.v1.CertificateService/RevokeCertificate", Entry("logs.CertificateRevoked")),
    ("logs.v1.EventService/AckEvents", Elsewhere(PLACE)),
    (
        "logs.v1.EvidenceService/CaptureEvidence",
        Elsewhere("is a row of append-only evidence with a digest of its own, linked to the run's trace"),
    ),
    ("logs.v1.EvidenceService/ComputeIntegrity", Entry("logs.EvidenceGraded")),
    (
        "logs.v1.ExportService/AddExportPart",
        Elsewhere("brings what is exported; the file is told with its digest (logs.ExportCompleted)"),
    ),
    (
        "logs.v1.ExportService/CreateExport",
        Elsewhere("orders a file; the file is told with its digest when it is made (logs.ExportCompleted)"),
    ),
    ("logs.v1.ExportService/DownloadExport", Entry("logs.ExportDelivered")),
    ("logs.v1.KeyService/RevokeKey", Entry("logs.KeyRevoked")),
    ("logs.v1.KeyService/RotateKey", Entry("logs.KeyRotated")),
    ("logs.v1.LedgerService/AddCosignature", Entry("logs.WitnessAdded")),
    ("logs.v1.LedgerService/AppendEntries", Elsewhere("is the ledger")),
    (
        "logs.v1.LedgerService/CreateCheckpoint",
        Elsewhere("signs the ledger: an entry about it would be one that it does not sign"),
    ),
    ("logs.v1.MismatchService/ReportMismatch", Entry("logs.MismatchReported")),
    ("logs.v1.MismatchService/ResolveMismatch", Entry("logs.MismatchResolved")),
    ("logs.v1.PayloadService/ErasePayloads", Entry("logs.PayloadErased")),
    ("logs.v1.PayloadService/SetLegalHold", Entry("logs.LegalHoldSet")),
    (
        "logs.v1.RecordService/AppendDispatches",
        Elsewhere("is the door's own record of each call: append-only, and refusals are on the ledger"),
    ),
    (
        "logs.v1.RecordService/AppendSystemRecord",
        Elsewhere("is an append-only record of what the mesh did itself, and changes nothing in it"),
    ),
    ("logs.v1.SpanService/AppendSpans", Elsewhere(TRACE)),
    ("logs.v1.SpanService/ClaimObservedRuns", Entry("logs.ObservedRunQuiet")),
    ("logs.v1.TraceService/AppendAddendum", Entry("logs.AddendumSealed")),
    ("logs.v1.TraceService/AppendRecords", Elsewhere(TRACE)),
    ("logs.v1.TraceService/ArchiveTrace", Entry("logs.TraceArchived")),
    (
        "logs.v1.ReplayService/CheckReplaySteps",
        Elsewhere(
            "is an append-only note of what somebody did again; what it shows is told when the replay ends (logs.ReplayFinished)",
        ),
    ),
    ("logs.v1.ReplayService/FinishReplay", Entry("logs.ReplayFinished")),
    (
        "logs.v1.ReplayService/StartReplay",
        Elsewhere(
            "opens a comparison that touches no run; what it finds is told when it ends (logs.ReplayFinished)",
        ),
    ),
    (
        "logs.v1.TraceService/LinkIncident",
        Elsewhere("repeats what the incident's own entry says (incidents.IncidentLinked)"),
    ),
    ("logs.v1.TraceService/SealTrace", Entry("logs.TraceSealed")),
    ("logs.v1.TraceService/StartTrace", Elsewhere(TRACE)),
    ("policies.v1.AnalysisService/AcknowledgeFinding", Entry("policies.FindingAcknowledged")),
    ("policies.v1.AnalysisService/AnalyzePolicySet", Elsewhere(TRIAL)),
    ("policies.v1.ApprovalService/Approve", Entry("policies.ApprovalVoted")),
    ("policies.v1.ApprovalService/CancelApprovals", Entry("policies.ApprovalResolved")),
    ("policies.v1.ApprovalService/Escalate", Entry("policies.ApprovalEscalated")),
    ("policies.v1.ApprovalService/Reject", Entry("policies.ApprovalResolved")),
    ("policies.v1.DecisionService/EvaluateRun", Entry("policies.EnforcementRecorded")),
    ("policies.v1.DecisionService/EvaluateStep", Entry("policies.EnforcementRecorded")),
    ("policies.v1.DecisionService/ObserveSteps", Elsewhere(DERIVED)),
    ("policies.v1.DecisionService/RecordEvaluation", Entry("policies.EvaluationRecorded")),
    ("policies.v1.DecisionService/SupersedeEvaluation", Entry("policies.EvaluationSuperseded")),
    ("policies.v1.EventService/AckEvents", Elsewhere(PLACE)),
    ("policies.v1.LessonService/ConvertLesson", Entry("policies.LessonConverted")),
    ("policies.v1.LessonService/DeferLesson", Entry("policies.LessonMoved")),
    ("policies.v1.LessonService/DismissLesson", Entry("policies.LessonMoved")),
    ("policies.v1.LessonService/EmitLesson", Entry("policies.LessonCreated")),
    ("policies.v1.LessonService/ReactivateLesson", Entry("policies.LessonMoved")),
    ("policies.v1.ProposalService/ApproveProposal", Entry("policies.ProposalApproved")),
    ("policies.v1.ProposalService/CreateProposal", Entry("policies.ProposalCreated")),
    ("policies.v1.ProposalService/RejectProposal", Entry("policies.ProposalRejected")),
    ("policies.v1.ProposalService/UpdateProposal", Entry("policies.ProposalRevised")),
    ("policies.v1.ProposalService/WithdrawProposal", Entry("policies.ProposalEnded")),
    ("policies.v1.RuleService/ActivateRule", Entry("policies.RuleActivated")),
    ("policies.v1.RuleService/CreateRule", Entry("policies.RuleCreated")),
    ("policies.v1.RuleService/RetireRule", Entry("policies.RuleRetired")),
    ("policies.v1.RuleService/SetRuleMode", Entry("policies.RuleModeChanged")),
    ("policies.v1.RuleService/UpdateRule", Entry("policies.RuleCreated")),
    ("policies.v1.SandboxService/CancelBacktest", Elsewhere(TRIAL)),
    ("policies.v1.SandboxService/StartBacktest", Elsewhere(TRIAL)),
    ("policies.v1.SandboxService/StartShadow", Elsewhere(TRIAL)),
    ("policies.v1.SandboxService/StopShadow", Elsewhere(TRIAL)),
    ("policies.v1.SettingsService/SetPolicySettings", Entry("policies.SettingsChanged")),
    ("policies.v1.SnapshotService/RecallSnapshot", Entry("policies.SnapshotRecalled")),
    (
        "policies.v1.SnapshotService/VerifySnapshot",
        Elsewhere("notes the outcome of a check beside the snapshot; it changes no rule and stops no run"),
    ),
    ("policies.v1.ViolationService/RecordPreventionOutcome", Entry("policies.PreventionRecorded")),
    ("policies.v1.ViolationService/ReportViolation", Entry("policies.ViolationReported")),
];

/// Every operation of a domain that writes has a row in `records`, and every row an operation; an entry's event is one
/// that goes to the ledger. Inspects operations.
#[must_use]
pub fn complete(registry: &Registry, records: &[(&str, Record)]) -> Inspection {
    let mut seen = Inspection::default();
    let ledger: BTreeMap<&str, Ledger> = registry.events().map(|e| (e.name.as_str(), e.ledger)).collect();
    for operation in writing(registry) {
        let rows: Vec<Record> =
            records.iter().filter(|(name, _)| *name == short(operation)).map(|(_, record)| *record).collect();
        match rows.as_slice() {
            [Entry(event)] => {
                let kept =
                    ledger.get(event).is_some_and(|l| !matches!(l, Ledger::None | Ledger::Unspecified));
                seen.require(kept, || format!("{}: {event} does not go to the ledger", operation.name));
            }
            [Elsewhere(why)] => {
                seen.require(why.len() > 12, || format!("{} is excused without a reason", operation.name));
            }
            found => seen.require(false, || {
                format!("{} writes, and {} rows say where its record is", operation.name, found.len())
            }),
        }
    }
    let known: BTreeSet<String> = writing(registry).map(short).collect();
    for (name, _) in records.iter().filter(|(name, _)| !known.contains(*name)) {
        seen.object(format!("{name} is in the list of records and writes nothing"));
    }
    seen
}

/// Whoever owes an entry made it: `made` holds the ledger events that each operation published in its own commit.
/// Inspects the operations that owe one.
#[must_use]
pub fn written(records: &[(&str, Record)], made: &BTreeMap<String, BTreeSet<String>>) -> Inspection {
    let mut seen = Inspection::default();
    let none = BTreeSet::new();
    for (name, record) in records {
        let Entry(event) = record else { continue };
        let found = made.get(*name).unwrap_or(&none);
        seen.require(found.contains(*event), || format!("{name} owes {event} and published {found:?}"));
    }
    seen
}

fn writing(registry: &Registry) -> impl Iterator<Item = &Operation> {
    let domains = |op: &&Operation| DOMAINS.contains(&op.domain.as_str());
    registry.operations().map(AsRef::as_ref).filter(domains).filter(|op| op.commit == Commit::Owns)
}

/// The name of an operation without the house's.
fn short(operation: &Operation) -> String {
    operation.name.trim_start_matches("runspine.").to_owned()
}
