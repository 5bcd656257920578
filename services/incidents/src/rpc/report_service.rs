//! IncidentReportService.

use contracts_incidents::v1::{
    OpenViolationIncidentRequest, OpenViolationIncidentResponse, ReportIncidentRequest,
    ReportIncidentResponse, ReportRunOutcomeRequest, ReportRunOutcomeResponse, VoidIncidentRequest,
    VoidIncidentResponse, incident_report_service_server::IncidentReportService,
};
use runspine_rpc::{context, status};
use tonic::{Request, Response, Status};

use super::{Rpc, digest_of, parse, present};

#[tonic::async_trait]
impl IncidentReportService for Rpc {
    async fn report_run_outcome(
        &self,
        request: Request<ReportRunOutcomeRequest>,
    ) -> Result<Response<ReportRunOutcomeResponse>, Status> {
        let act = self.app.act(&context(&request)?);
        let request = request.into_inner();
        let digest = digest_of(&request);
        let report = parse::run_outcome(request, act.now).map_err(status)?;
        let row = self.app.report_outcome(act, report, digest).await.map_err(status)?;
        Ok(Response::new(present::outcome_answer(row)))
    }

    async fn report_incident(
        &self,
        request: Request<ReportIncidentRequest>,
    ) -> Result<Response<ReportIncidentResponse>, Status> {
        let act = self.app.act(&context(&request)?);
        let request = request.into_inner();
        let digest = digest_of(&request);
        let report = parse::fact(request, &act.tenant, act.now).map_err(status)?;
        let row = self.app.report_incident(act, report, digest).await.map_err(status)?;
        Ok(Response::new(present::fact_answer(row)))
    }

    async fn open_violation_incident(
        &self,
        request: Request<OpenViolationIncidentRequest>,
    ) -> Result<Response<OpenViolationIncidentResponse>, Status> {
        let act = self.app.act(&context(&request)?);
        let request = request.into_inner();
        let digest = digest_of(&request);
        let report = parse::violation(request, &act.tenant, act.now).map_err(status)?;
        let answer = self.app.open_violation(act, report, digest).await.map_err(status)?;
        Ok(Response::new(present::violation_answer(answer)))
    }

    async fn void_incident(
        &self,
        request: Request<VoidIncidentRequest>,
    ) -> Result<Response<VoidIncidentResponse>, Status> {
        let act = self.app.act(&context(&request)?);
        let mut request = request.into_inner();
        // A repeat may have another id: the natural key says that it is one.
        request.request_id.clear();
        let digest = digest_of(&request);
        let order = parse::void(request).map_err(status)?;
        let answer = self.app.void(act, order, digest).await.map_err(status)?;
        Ok(Response::new(answer))
    }
}
