//! AnalysisService.

use contracts_policies::v1 as pb;
use contracts_policies::v1::analysis_service_server::AnalysisService;
use prost::Message as _;
use runspine_errors::{Fault, Violations};
use runspine_policies_domain::words::{FindingKind, FindingSeverity};
use tonic::{Request, Response, Status};

use super::{Rpc, answer, page, parse, parse_sandbox};
use crate::app::Who;

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
        let mut v = Violations::new();
        parse::known(&mut v, "kinds", &r.kinds, FindingKind::from_code);
        parse::known(&mut v, "severities", &r.severities, FindingSeverity::from_code);
        answer(match page::filtered(v, "findings", &r.encode_to_vec(), size, &token) {
            Err(fault) => Err(fault),
            Ok(asked) => self.app.findings(&who, &r, asked.page()).await.map(|rows| {
                let (findings, next_page_token) = asked.cut(rows);
                pb::ListFindingsResponse { findings, next_page_token }
            }),
        })
    }

    async fn get_dependencies(
        &self,
        request: Request<pb::GetDependenciesRequest>,
    ) -> Result<Response<pb::GetDependenciesResponse>, Status> {
        let (who, r) = self.open(request)?;
        answer(self.depending(&who, &r).await)
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

impl Rpc {
    async fn depending(
        &self,
        who: &Who,
        r: &pb::GetDependenciesRequest,
    ) -> Result<pb::GetDependenciesResponse, Fault> {
        let set = self.app.set_with(who, &r.rule_id).await?;
        let snapshot_digest = set.digest.to_vec();
        // A token goes on in the set that it was made for, and in no other.
        let filter = [snapshot_digest.as_slice(), r.rule_id.as_bytes()].concat();
        let asked = page::asked("dependencies", &filter, r.page_size, &r.page_token)?;
        let edges = self.app.dependencies(set, &r.rule_id, asked.reach()).await?;
        let (edges, next_page_token) = asked.cut_of(edges);
        Ok(pb::GetDependenciesResponse { edges, next_page_token, snapshot_digest: snapshot_digest.into() })
    }
}
