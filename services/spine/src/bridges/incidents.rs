//! The spine's view of incidents.

use contracts_incidents::v1::{
    CompleteExportRequest, CompleteExportResponse, FailExportRequest, FailExportResponse,
    GetIncidentExportRequest, GetIncidentExportResponse, GetIncidentRequest, GetIncidentResponse,
    ListRunIncidentsRequest, ListRunIncidentsResponse, OpenViolationIncidentRequest,
    OpenViolationIncidentResponse, PrepareExportRequest, PrepareExportResponse, ReportIncidentRequest,
    ReportIncidentResponse, ReportRunOutcomeRequest, ReportRunOutcomeResponse, ResolveIncidentRequest,
    ResolveIncidentResponse, VoidIncidentRequest, VoidIncidentResponse,
    incident_export_service_client::IncidentExportServiceClient,
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

bridge! {
    /// What incidents give to exports.
    IncidentsExportBridge {
        /// Freezes what is known of one.
        prepare: IncidentExportServiceClient.prepare_export(PrepareExportRequest) -> PrepareExportResponse;
        /// Says that the content is made.
        complete: IncidentExportServiceClient.complete_export(CompleteExportRequest) -> CompleteExportResponse;
        /// Says that it can't be made.
        fail: IncidentExportServiceClient.fail_export(FailExportRequest) -> FailExportResponse;
        /// What was frozen.
        frozen: IncidentExportServiceClient.get_incident_export(GetIncidentExportRequest)
            -> GetIncidentExportResponse;
    }
}
