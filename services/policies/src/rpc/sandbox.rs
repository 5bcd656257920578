//! SandboxService.

use contracts_policies::v1 as pb;
use contracts_policies::v1::sandbox_service_server::SandboxService;
use prost::Message as _;
use runspine_errors::Violations;
use runspine_policies_domain::words::{BacktestState, Verdict};
use tonic::{Request, Response, Status};

use super::{Rpc, answer, page, parse, parse_sandbox, watch};

#[tonic::async_trait]
impl SandboxService for Rpc {
    async fn dry_run(
        &self,
        request: Request<pb::DryRunRequest>,
    ) -> Result<Response<pb::DryRunResponse>, Status> {
        let (who, r) = self.open(request)?;
        answer(match parse_sandbox::dry_run(&who, r) {
            Ok(ask) => self.app.dry_run(&who, ask).await,
            Err(fault) => Err(fault),
        })
    }

    async fn start_backtest(
        &self,
        request: Request<pb::StartBacktestRequest>,
    ) -> Result<Response<pb::StartBacktestResponse>, Status> {
        let (who, r) = self.open(request)?;
        answer(match parse_sandbox::backtest(&r) {
            Ok(ask) => self.app.start_backtest(&who, &r, ask).await,
            Err(fault) => Err(fault),
        })
    }

    async fn cancel_backtest(
        &self,
        request: Request<pb::CancelBacktestRequest>,
    ) -> Result<Response<pb::CancelBacktestResponse>, Status> {
        let (who, r) = self.open(request)?;
        answer(match parse::request_id(&r.request_id) {
            Ok(()) => self.app.cancel_backtest(&who, &r).await,
            Err(fault) => Err(fault),
        })
    }

    async fn get_backtest(
        &self,
        request: Request<pb::GetBacktestRequest>,
    ) -> Result<Response<pb::GetBacktestResponse>, Status> {
        let (who, r) = self.open(request)?;
        let found = self.app.backtest(&who, &r.backtest_id).await;
        answer(found.map(|b| pb::GetBacktestResponse { backtest: Some(b) }))
    }

    type WatchBacktestStream = watch::Moves;

    async fn watch_backtest(
        &self,
        request: Request<pb::WatchBacktestRequest>,
    ) -> Result<Response<Self::WatchBacktestStream>, Status> {
        let (who, r) = self.open(request)?;
        answer(watch::open(&self.app, who, r.backtest_id).await)
    }

    async fn list_backtests(
        &self,
        request: Request<pb::ListBacktestsRequest>,
    ) -> Result<Response<pb::ListBacktestsResponse>, Status> {
        let (who, mut r) = self.open(request)?;
        let (size, token) = (r.page_size, std::mem::take(&mut r.page_token));
        r.page_size = 0;
        let mut v = Violations::new();
        parse::known(&mut v, "states", &r.states, BacktestState::from_code);
        answer(match page::filtered(v, "backtests", &r.encode_to_vec(), size, &token) {
            Err(fault) => Err(fault),
            Ok(asked) => self.app.backtests(&who, &r.states, asked.page()).await.map(|rows| {
                let (backtests, next_page_token) = asked.cut(rows);
                pb::ListBacktestsResponse { backtests, next_page_token }
            }),
        })
    }

    async fn list_backtest_diffs(
        &self,
        request: Request<pb::ListBacktestDiffsRequest>,
    ) -> Result<Response<pb::ListBacktestDiffsResponse>, Status> {
        let (who, mut r) = self.open(request)?;
        let (size, token) = (r.page_size, std::mem::take(&mut r.page_token));
        r.page_size = 0;
        let mut v = Violations::new();
        for (field, code) in [("recorded", r.recorded), ("candidate", r.candidate)] {
            let known = code == 0 || Verdict::from_code(code).is_some();
            v.require(known, field, "ENUM_UNKNOWN", "a known verdict");
        }
        answer(match page::filtered(v, "backtest_diffs", &r.encode_to_vec(), size, &token) {
            Err(fault) => Err(fault),
            Ok(asked) => self.app.backtest_diffs(&who, &r, asked.page()).await.map(|rows| {
                let (diffs, next_page_token) = asked.cut(rows);
                pb::ListBacktestDiffsResponse { diffs, next_page_token }
            }),
        })
    }

    async fn start_shadow(
        &self,
        request: Request<pb::StartShadowRequest>,
    ) -> Result<Response<pb::StartShadowResponse>, Status> {
        let (who, r) = self.open(request)?;
        answer(match parse_sandbox::shadow(&r) {
            Ok((candidate, ends_at)) => self.app.start_shadow(&who, &r, candidate, ends_at).await,
            Err(fault) => Err(fault),
        })
    }

    async fn stop_shadow(
        &self,
        request: Request<pb::StopShadowRequest>,
    ) -> Result<Response<pb::StopShadowResponse>, Status> {
        let (who, r) = self.open(request)?;
        answer(match parse::request_id(&r.request_id) {
            Ok(()) => self.app.stop_shadow(&who, &r).await,
            Err(fault) => Err(fault),
        })
    }

    async fn get_shadow_report(
        &self,
        request: Request<pb::GetShadowReportRequest>,
    ) -> Result<Response<pb::GetShadowReportResponse>, Status> {
        let (who, r) = self.open(request)?;
        answer(self.app.shadow_report(&who, &r.shadow_id).await)
    }

    async fn list_shadows(
        &self,
        request: Request<pb::ListShadowsRequest>,
    ) -> Result<Response<pb::ListShadowsResponse>, Status> {
        let (who, r) = self.open(request)?;
        answer(match page::asked("shadows", &[], r.page_size, &r.page_token) {
            Err(fault) => Err(fault),
            Ok(asked) => self.app.shadows(&who, asked.page()).await.map(|rows| {
                let (shadows, next_page_token) = asked.cut(rows);
                pb::ListShadowsResponse { shadows, next_page_token }
            }),
        })
    }
}
