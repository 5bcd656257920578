//! FreezeService.

use contracts_controls::v1::{self as pb, freeze_service_server::FreezeService};
use runspine_controls_domain::freeze::{FreezeEffect, FreezeReason, FreezeScope, FreezeState};
use runspine_errors::{Fault, mesh};
use runspine_rpc::{context, status};
use runspine_types::Micros;
use tonic::{Request, Response, Status};

use super::{Rpc, after, checks::Checks, cut, keyed, query_of};
use crate::{
    app::{
        epochs::Epochs,
        freezes::{NewFreeze, not_found, record},
    },
    store::{freezes::WishRow, views},
};

const FREEZE: &str = "runspine.controls.v1.FreezeService/Freeze";
const REQUEST: &str = "runspine.controls.v1.FreezeService/RequestUnfreeze";
const APPROVE: &str = "runspine.controls.v1.FreezeService/ApproveUnfreeze";

#[tonic::async_trait]
impl FreezeService for Rpc {
    type WatchEpochStream = Epochs;

    async fn freeze(
        &self,
        request: Request<pb::FreezeRequest>,
    ) -> Result<Response<pb::FreezeResponse>, Status> {
        let context = context(&request)?;
        let request = request.into_inner();
        let new = parse_freeze(&request, self.app.clock.now()).map_err(status)?;
        let keyed = keyed(&context, FREEZE, &request.request_id, &request);
        self.app.freeze(keyed, new).await.map(Response::new).map_err(status)
    }

    async fn request_unfreeze(
        &self,
        request: Request<pb::RequestUnfreezeRequest>,
    ) -> Result<Response<pb::RequestUnfreezeResponse>, Status> {
        let context = context(&request)?;
        let request = request.into_inner();
        let mut checks = Checks::default();
        checks.request_id(&request.request_id);
        checks.id("freeze_id", &request.freeze_id);
        checks.reason(&request.reason, 10);
        checks.done(Some(())).map_err(status)?;
        let keyed = keyed(&context, REQUEST, &request.request_id, &request);
        let lifted = self.app.request_unfreeze(keyed, request.freeze_id, request.reason).await;
        lifted.map(Response::new).map_err(status)
    }

    async fn approve_unfreeze(
        &self,
        request: Request<pb::ApproveUnfreezeRequest>,
    ) -> Result<Response<pb::ApproveUnfreezeResponse>, Status> {
        let context = context(&request)?;
        let request = request.into_inner();
        let mut checks = Checks::default();
        checks.request_id(&request.request_id);
        checks.id("freeze_id", &request.freeze_id);
        checks.id("unfreeze_id", &request.unfreeze_id);
        checks.done(Some(())).map_err(status)?;
        let keyed = keyed(&context, APPROVE, &request.request_id, &request);
        let lifted = self.app.approve_unfreeze(keyed, request.freeze_id, request.unfreeze_id).await;
        lifted.map(Response::new).map_err(status)
    }

    async fn get_freeze(
        &self,
        request: Request<pb::GetFreezeRequest>,
    ) -> Result<Response<pb::GetFreezeResponse>, Status> {
        let context = context(&request)?;
        self.show(&context.tenant_id, request.into_inner()).await.map(Response::new).map_err(status)
    }

    async fn list_freezes(
        &self,
        request: Request<pb::ListFreezesRequest>,
    ) -> Result<Response<pb::ListFreezesResponse>, Status> {
        let context = context(&request)?;
        self.list(&context.tenant_id, request.into_inner()).await.map(Response::new).map_err(status)
    }

    async fn get_containment(
        &self,
        request: Request<pb::GetContainmentRequest>,
    ) -> Result<Response<pb::GetContainmentResponse>, Status> {
        let context = context(&request)?;
        let request = request.into_inner();
        let mut checks = Checks::default();
        checks.id("freeze_id", &request.freeze_id);
        checks.done(Some(())).map_err(status)?;
        let proof = self.app.containment(&context.tenant_id, &request.freeze_id).await;
        proof.map(Response::new).map_err(status)
    }

    async fn ack_containment(
        &self,
        request: Request<pb::AckContainmentRequest>,
    ) -> Result<Response<pb::AckContainmentResponse>, Status> {
        let context = context(&request)?;
        let request = request.into_inner();
        let mut checks = Checks::default();
        checks.id("freeze_id", &request.freeze_id);
        checks.words_of("replica", &request.replica, 1, 128);
        checks.require(request.runs.len() <= 1_000, &mesh::FIELD_INVALID, "runs", "has at most 1,000");
        for run in &request.runs {
            checks.run(&context.tenant_id, &run.run_id, run.attempt);
        }
        checks.done(Some(())).map_err(status)?;
        let acknowledged = self.app.acknowledge(&context.tenant_id, request).await;
        acknowledged.map(Response::new).map_err(status)
    }

    async fn watch_epoch(&self, request: Request<pb::WatchEpochRequest>) -> Result<Response<Epochs>, Status> {
        context(&request)?;
        let request = request.into_inner();
        let mut checks = Checks::default();
        checks.words_of("replica", &request.replica, 1, 128);
        checks.done(Some(())).map_err(status)?;
        Ok(Response::new(crate::app::epochs::open(self.app.clone(), &request.replica)))
    }
}

impl Rpc {
    async fn show(
        &self,
        tenant: &str,
        request: pb::GetFreezeRequest,
    ) -> Result<pb::GetFreezeResponse, Fault> {
        let mut checks = Checks::default();
        checks.id("freeze_id", &request.freeze_id);
        checks.done(Some(()))?;
        let read = self.app.db.read();
        let row = views::freeze(read, tenant, &request.freeze_id).await?.ok_or_else(not_found)?;
        let wish: Option<WishRow> = views::wish(read, &request.freeze_id).await?;
        let wish = wish.filter(|_| row.lifted_at.is_none());
        Ok(pb::GetFreezeResponse { freeze: Some(record(&row, wish.as_ref(), self.app.clock.now())?) })
    }

    async fn list(
        &self,
        tenant: &str,
        request: pb::ListFreezesRequest,
    ) -> Result<pb::ListFreezesResponse, Fault> {
        let mut checks = Checks::default();
        checks.filter("states", &request.states, FreezeState::from_code);
        checks.filter("scopes", &request.scopes, FreezeScope::from_code);
        let size = checks.page_size(request.page_size);
        let size = checks.done(size)?;
        let bare = pb::ListFreezesRequest { page_size: 0, page_token: String::new(), ..request.clone() };
        let query = query_of("freezes", tenant, &bare);
        let before = after(&request.page_token, query, i64::MAX)?;
        let now = self.app.clock.now();
        let mut rows =
            views::freezes(self.app.db.read(), tenant, &request, before, now, size.probe()).await?;
        let epoch = |row: &crate::store::rows::FreezeRow| i64::try_from(row.epoch).unwrap_or(i64::MAX);
        let next_page_token = cut(&mut rows, size, query, epoch);
        let freezes = rows.iter().map(|row| record(row, None, now)).collect::<Result<_, Fault>>()?;
        Ok(pb::ListFreezesResponse { freezes, next_page_token })
    }
}

fn parse_freeze(request: &pb::FreezeRequest, now: Micros) -> Result<NewFreeze, Fault> {
    let mut checks = Checks::default();
    checks.request_id(&request.request_id);
    let scope = checks.word("scope", request.scope, FreezeScope::from_code);
    let effect = checks.optional_word("effect", request.effect, FreezeEffect::from_code);
    let reason = checks.word("reason_code", request.reason_code, FreezeReason::from_code);
    checks.words_of("note", &request.note, 10, 500);
    match scope {
        Some(FreezeScope::Mesh | FreezeScope::Tenant) => {
            let empty = request.scope_id.is_empty();
            checks.require(empty, &mesh::FIELD_INVALID, "scope_id", "is empty for MESH and TENANT");
        }
        Some(FreezeScope::Run) => checks.id("scope_id", &request.scope_id),
        _ => checks.words_of("scope_id", &request.scope_id, 1, 128),
    }
    let expires_at = checks.time("expires_at", request.expires_at.as_ref());
    let future = expires_at.is_none_or(|at| at > now);
    checks.require(future, &mesh::FIELD_INVALID, "expires_at", "must be in the future");
    let new = scope.zip(reason).map(|(scope, reason)| NewFreeze {
        scope,
        scope_id: request.scope_id.clone(),
        effect: effect.unwrap_or(FreezeEffect::Terminate).code(),
        reason: reason.code(),
        note: request.note.clone(),
        expires_at,
    });
    checks.done(new)
}
