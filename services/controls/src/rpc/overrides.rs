//! OverrideService.

use contracts_controls::v1::{self as pb, override_service_server::OverrideService};
use runspine_controls_domain::overrides::{OverrideState, Wanted};
use runspine_errors::{Fault, mesh};
use runspine_rpc::{context, status};
use tonic::{Request, Response, Status};

use super::{Rpc, after, checks::Checks, cut, keyed, query_of};
use crate::{
    app::overrides::{Act, not_found, present, use_to},
    store::overrides as store,
};

const REQUEST: &str = "runspine.controls.v1.OverrideService/RequestOverride";
const APPROVE: &str = "runspine.controls.v1.OverrideService/ApproveOverride";
const REJECT: &str = "runspine.controls.v1.OverrideService/RejectOverride";
const CANCEL: &str = "runspine.controls.v1.OverrideService/CancelOverride";

#[tonic::async_trait]
impl OverrideService for Rpc {
    async fn request_override(
        &self,
        request: Request<pb::RequestOverrideRequest>,
    ) -> Result<Response<pb::RequestOverrideResponse>, Status> {
        let context = context(&request)?;
        let request = request.into_inner();
        let wanted = parse(&request).map_err(status)?;
        let keyed = keyed(&context, REQUEST, &request.request_id, &request);
        let made = self.app.request_override(keyed, request.limit_id, wanted, request.reason).await;
        made.map(Response::new).map_err(status)
    }

    async fn approve_override(
        &self,
        request: Request<pb::ApproveOverrideRequest>,
    ) -> Result<Response<pb::ApproveOverrideResponse>, Status> {
        let context = context(&request)?;
        let request = request.into_inner();
        let mut checks = named(&request.request_id, &request.override_id);
        expect_version(&mut checks, request.expected_version);
        checks.text("note", &request.note, 500);
        checks.done(Some(())).map_err(status)?;
        let keyed = keyed(&context, APPROVE, &request.request_id, &request);
        let act = Act::Approve { seen: request.expected_version, note: request.note };
        let answer = |shown| pb::ApproveOverrideResponse { r#override: Some(shown) };
        let decided = self.app.decide_override(keyed, request.override_id, act, answer).await;
        decided.map(Response::new).map_err(status)
    }

    async fn reject_override(
        &self,
        request: Request<pb::RejectOverrideRequest>,
    ) -> Result<Response<pb::RejectOverrideResponse>, Status> {
        let context = context(&request)?;
        let request = request.into_inner();
        let mut checks = named(&request.request_id, &request.override_id);
        expect_version(&mut checks, request.expected_version);
        checks.reason(&request.reason, 10);
        checks.done(Some(())).map_err(status)?;
        let keyed = keyed(&context, REJECT, &request.request_id, &request);
        let act = Act::Reject { seen: request.expected_version, reason: request.reason };
        let answer = |shown| pb::RejectOverrideResponse { r#override: Some(shown) };
        let decided = self.app.decide_override(keyed, request.override_id, act, answer).await;
        decided.map(Response::new).map_err(status)
    }

    async fn cancel_override(
        &self,
        request: Request<pb::CancelOverrideRequest>,
    ) -> Result<Response<pb::CancelOverrideResponse>, Status> {
        let context = context(&request)?;
        let request = request.into_inner();
        let mut checks = named(&request.request_id, &request.override_id);
        checks.reason(&request.reason, 10);
        checks.done(Some(())).map_err(status)?;
        let keyed = keyed(&context, CANCEL, &request.request_id, &request);
        let act = Act::Cancel { reason: request.reason };
        let answer = |shown| pb::CancelOverrideResponse { r#override: Some(shown) };
        let decided = self.app.decide_override(keyed, request.override_id, act, answer).await;
        decided.map(Response::new).map_err(status)
    }

    async fn get_override(
        &self,
        request: Request<pb::GetOverrideRequest>,
    ) -> Result<Response<pb::GetOverrideResponse>, Status> {
        let context = context(&request)?;
        self.shown(&context.tenant_id, request.into_inner()).await.map(Response::new).map_err(status)
    }

    async fn list_overrides(
        &self,
        request: Request<pb::ListOverridesRequest>,
    ) -> Result<Response<pb::ListOverridesResponse>, Status> {
        let context = context(&request)?;
        self.overrides(&context.tenant_id, request.into_inner()).await.map(Response::new).map_err(status)
    }
}

impl Rpc {
    async fn shown(
        &self,
        tenant: &str,
        request: pb::GetOverrideRequest,
    ) -> Result<pb::GetOverrideResponse, Fault> {
        let mut checks = Checks::default();
        checks.id("override_id", &request.override_id);
        checks.done(Some(()))?;
        let found = store::shown(self.app.db.read(), tenant, &request.override_id).await?;
        let (row, said, uses) = found.ok_or_else(not_found)?;
        let shown = present(&row, &said, self.app.clock.now())?;
        let uses = uses.into_iter().map(use_to).collect();
        Ok(pb::GetOverrideResponse { r#override: Some(shown), uses })
    }

    async fn overrides(
        &self,
        tenant: &str,
        request: pb::ListOverridesRequest,
    ) -> Result<pb::ListOverridesResponse, Fault> {
        let mut checks = Checks::default();
        checks.filter("states", &request.states, OverrideState::from_code);
        checks.optional_id("limit_id", &request.limit_id);
        let size = checks.page_size(request.page_size);
        let size = checks.done(size)?;
        let bare = pb::ListOverridesRequest { page_size: 0, page_token: String::new(), ..request.clone() };
        let query = query_of("overrides", tenant, &bare);
        let before = after(&request.page_token, query, i64::MAX)?;
        let now = self.app.clock.now();
        let mut rows = store::list(self.app.db.read(), tenant, &request, before, now, size.probe()).await?;
        let next_page_token = cut(&mut rows, size, query, |row| row.override_key);
        let overrides = rows.iter().map(|row| present(row, &[], now)).collect::<Result<_, Fault>>()?;
        Ok(pb::ListOverridesResponse { overrides, next_page_token })
    }
}

fn named(request_id: &str, override_id: &str) -> Checks {
    let mut checks = Checks::default();
    checks.request_id(request_id);
    checks.id("override_id", override_id);
    checks
}

fn expect_version(checks: &mut Checks, version: u32) {
    checks.require(version > 0, &mesh::FIELD_INVALID, "expected_version", "must be 1 or more");
}

fn parse(request: &pb::RequestOverrideRequest) -> Result<Wanted, Fault> {
    let mut checks = Checks::default();
    checks.request_id(&request.request_id);
    checks.id("limit_id", &request.limit_id);
    checks.text("scope_id", &request.scope_id, 128);
    checks.reason(&request.reason, 10);
    let starts_at = checks.time("starts_at", request.starts_at.as_ref());
    let ends_at = checks.time("ends_at", request.ends_at.as_ref());
    checks.require(request.ends_at.is_some(), &mesh::FIELD_INVALID, "ends_at", "is required");
    let wanted = ends_at.map(|ends_at| Wanted {
        scope_id: request.scope_id.clone(),
        value: request.value,
        starts_at,
        ends_at,
    });
    checks.done(wanted)
}
