//! Acts on incidents.

use contracts_common::common::v1::{RunStatus, TerminationReason};
use contracts_incidents::v1 as pb;
use runspine_types::new_id;

use super::desk::Desk;

const REPORTS: &str = "incidents.v1.IncidentReportService";
const EXPORTS: &str = "incidents.v1.IncidentExportService";
const PEOPLE: &str = "incidents.v1.IncidentService";
const WHY: &str = "because the test wants it";

pub async fn acts(desk: &Desk) {
    reports(desk).await;
    let made = pb::CreateIncidentRequest {
        title: "the tool is broken".into(),
        severity: pb::Severity::Medium.into(),
        category: pb::Category::ExecutionFailure.into(),
        request_id: new_id(),
        ..Default::default()
    };
    let made: pb::CreateIncidentResponse = desk.act(&format!("{PEOPLE}/CreateIncident"), made).await;
    let incident = made.incident.unwrap();
    export(desk, &incident.incident_id).await;
    people(desk, incident).await;
}

async fn export(desk: &Desk, incident_id: &str) {
    let export_id = new_id();
    let prepare = pb::PrepareExportRequest {
        export_id: export_id.clone(),
        incident_id: incident_id.to_owned(),
        kind: pb::IncidentExportKind::Executive.into(),
        reason: WHY.into(),
    };
    let _: pb::PrepareExportResponse = desk.act(&format!("{EXPORTS}/PrepareExport"), prepare).await;
    let complete = pb::CompleteExportRequest {
        export_id,
        content_export_id: new_id(),
        content_digest: vec![7; 32].into(),
        content_size: 1,
    };
    let _: pb::CompleteExportResponse = desk.act(&format!("{EXPORTS}/CompleteExport"), complete).await;
}

async fn reports(desk: &Desk) {
    let run_id = new_id();
    let failed = pb::ReportRunOutcomeRequest {
        run_id: run_id.clone(),
        attempt: 1,
        status: RunStatus::Failed.into(),
        termination_reason: TerminationReason::AgentFailure.into(),
        agent_id: "agent".into(),
        tool_name: "weather.get".into(),
        ..Default::default()
    };
    let reported: pb::ReportRunOutcomeResponse =
        desk.act(&format!("{REPORTS}/ReportRunOutcome"), failed).await;
    let void = pb::VoidIncidentRequest {
        run_id,
        attempt: 1,
        incident_id: reported.incident_id,
        reason: WHY.into(),
        request_id: new_id(),
        ..Default::default()
    };
    let _: pb::VoidIncidentResponse = desk.act(&format!("{REPORTS}/VoidIncident"), void).await;
    let violation = pb::OpenViolationIncidentRequest {
        run_id: new_id(),
        attempt: 1,
        violation_id: new_id(),
        rule_id: "rule".into(),
        rule_code: "TOO_MUCH".into(),
        severity: pb::Severity::High.into(),
        evidence: vec![pb::Evidence { kind: pb::EvidenceKind::Value.into(), ..Default::default() }],
        ..Default::default()
    };
    let _: pb::OpenViolationIncidentResponse =
        desk.act(&format!("{REPORTS}/OpenViolationIncident"), violation).await;
    let fact = pb::ReportIncidentRequest {
        source: pb::IncidentSource::System.into(),
        trigger_type: 12,
        category: 10,
        cause_code: "SYSTEM_FAILURE".into(),
        severity: pb::Severity::High.into(),
        title: "a saga was compensated".into(),
        fact_id: new_id(),
        ..Default::default()
    };
    let _: pb::ReportIncidentResponse = desk.act(&format!("{REPORTS}/ReportIncident"), fact).await;
}

/// Every order of a person, one after the other on the version that the one before left.
async fn people(desk: &Desk, incident: pb::Incident) {
    let id = incident.incident_id;
    macro_rules! order {
        ($version:expr, $request:ident => $response:ident, $rpc:literal, $($field:ident: $value:expr),*) => {{
            let message = pb::$request {
                incident_id: id.clone(),
                expected_version: $version,
                request_id: new_id(),
                $($field: $value),*
            };
            let done: pb::$response = desk.act(&format!("{PEOPLE}/{}", $rpc), message).await;
            done.incident.unwrap().version
        }};
    }
    let v = incident.version;
    let v = order!(v, AcknowledgeIncidentRequest => AcknowledgeIncidentResponse, "AcknowledgeIncident", note: WHY.into());
    let v =
        order!(v, AssignIncidentRequest => AssignIncidentResponse, "AssignIncident", assignee: "bea".into());
    let severity = pb::Severity::Critical.into();
    let v = order!(v, RaiseSeverityRequest => RaiseSeverityResponse, "RaiseSeverity", severity: severity, reason: WHY.into());
    let (method, kind) = (pb::ResolutionMethod::Manual.into(), pb::ResolutionType::Fixed.into());
    let v = order!(
        v, ResolveIncidentRequest => ResolveIncidentResponse, "ResolveIncident",
        resolution_method: method, resolution_type: kind, summary: WHY.into()
    );
    let v = order!(v, ReopenIncidentRequest => ReopenIncidentResponse, "ReopenIncident", reason: WHY.into());
    let reason = pb::CloseReason::Duplicate.into();
    order!(v, CloseIncidentRequest => CloseIncidentResponse, "CloseIncident", reason: reason, note: WHY.into());
}
