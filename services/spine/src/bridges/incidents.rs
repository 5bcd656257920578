//! The spine's view of incidents.

use contracts_incidents::v1::{
    GetIncidentRequest, GetIncidentResponse, ListRunIncidentsRequest, ListRunIncidentsResponse,
    OpenViolationIncidentRequest, OpenViolationIncidentResponse, ReportIncidentRequest,
    ReportIncidentResponse, ReportRunOutcomeRequest, ReportRunOutcomeResponse, ResolveIncidentRequest,
    ResolveIncidentResponse, VoidIncidentRequest, VoidIncidentResponse,
    incident_report_service_client::IncidentReportServiceClient,
    incident_service_client::IncidentServiceClient,
};

use super::bridge;

bridge! {
    /// Incidents.
    IncidentsBridge {
        /// Reports how an attempt ended.
        report_outcome: IncidentReportServiceClient.report_run_outcome(ReportRunOutcomeRequest)
            -> ReportRunOutcomeResponse;
        /// Opens the incident of a violation, with its evidence.
        open_violation: IncidentReportServiceClient.open_violation_incident(OpenViolationIncidentRequest)
            -> OpenViolationIncidentResponse;
        /// Reports anything else.
        report: IncidentReportServiceClient.report_incident(ReportIncidentRequest) -> ReportIncidentResponse;
        /// Undoes a report.
        void: IncidentReportServiceClient.void_incident(VoidIncidentRequest) -> VoidIncidentResponse;
        /// Incidents of a run.
        for_run: IncidentServiceClient.list_run_incidents(ListRunIncidentsRequest) -> ListRunIncidentsResponse;
    }
}

bridge! {
    /// Ends of incidents whose cause is gone.
    IncidentsEndBridge {
        /// One incident.
        get: IncidentServiceClient.get_incident(GetIncidentRequest) -> GetIncidentResponse;
        /// Ends an incident.
        resolve: IncidentServiceClient.resolve_incident(ResolveIncidentRequest) -> ResolveIncidentResponse;
    }
}
