//! AnalysisService.

use contracts_policies::v1 as pb;
use contracts_policies::v1::analysis_service_server::AnalysisService;
use prost::Message as _;
use tonic::{Request, Response, Status};

use super::{Rpc, answer, page, parse, parse_sandbox};

#[tonic::async_trait]
impl AnalysisService for Rpc {
    async fn analyze_policy_set(
        &self,
        request: Request<pb::AnalyzePolicySetRequest>,
    ) -> Result<Response<pb::AnalyzePolicySetResponse>, Status> {
        let (who, r) = self.open(request)?;
        let parsed = parse::request_id(&r.request_id).and(parse_sandbox::candidate(r.candidate.clone()));
        answer(match parsed {
            Ok(candidate) => self.app.analyze_set(&who, &r, candidate).await,
            Err(fault) => Err(fault),
        })
    }

    async fn list_findings(
        &self,
        request: Request<pb::ListFindingsRequest>,
    ) -> Result<Response<pb::ListFindingsResponse>, Status> {
        let (who, mut r) = self.open(request)?;
        let (size, token) = (r.page_size, std::mem::take(&mut r.page_token));
        r.page_size = 0;
        answer(match page::asked("findings", &r.encode_to_vec(), size, &token) {
            Err(fault) => Err(fault),
            Ok(asked) => self.app.findings(&who, &r, asked.page()).await.map(|rows| {
                let (findings, next_page_token) = asked.cut(rows);
                pb::ListFindingsResponse { findings, next_page_token }
            }),
        })
    }

    async fn acknowledge_finding(
        &self,
        request: Request<pb::AcknowledgeFindingRequest>,
    ) -> Result<Response<pb::AcknowledgeFindingResponse>, Status> {
        let (who, r) = self.open(request)?;
        answer(match parse::request_id(&r.request_id) {
            Ok(()) => self.app.acknowledge(&who, &r).await,
            Err(fault) => Err(fault),
        })
    }
}
