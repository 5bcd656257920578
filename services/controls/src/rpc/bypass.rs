//! BypassService.

use contracts_controls::v1::{self as pb, bypass_service_server::BypassService};
use runspine_controls_domain::bypass::{BypassScope, BypassState, DURATION_S};
use runspine_errors::{Fault, mesh};
use runspine_rpc::{context, status};
use runspine_types::Micros;
use tonic::{Request, Response, Status};

use super::{Rpc, after, checks::Checks, cut, keyed, query_of};
use crate::{
    app::bypasses::{Deed, NewBypass, not_found, present, use_to},
    store::bypasses::{self as store, PassedRow},
};

const REQUEST: &str = "runspine.controls.v1.BypassService/RequestBypass";
const APPROVE: &str = "runspine.controls.v1.BypassService/ApproveBypass";
const REJECT: &str = "runspine.controls.v1.BypassService/RejectBypass";
const REVOKE: &str = "runspine.controls.v1.BypassService/RevokeBypass";
/// Rules that one bypass may name.
const MOST_RULES: usize = 64;
/// Rules that one step may pass.
const MOST_PASSED: usize = 500;

#[tonic::async_trait]
impl BypassService for Rpc {
    async fn request_bypass(
        &self,
        request: Request<pb::RequestBypassRequest>,
    ) -> Result<Response<pb::RequestBypassResponse>, Status> {
        let context = context(&request)?;
        let request = request.into_inner();
        let new = parse(&request).map_err(status)?;
        let keyed = keyed(&context, REQUEST, &request.request_id, &request);
        self.app.request_bypass(keyed, new).await.map(Response::new).map_err(status)
    }

    async fn approve_bypass(
        &self,
        request: Request<pb::ApproveBypassRequest>,
    ) -> Result<Response<pb::ApproveBypassResponse>, Status> {
        let context = context(&request)?;
        let request = request.into_inner();
        let mut checks = named(&request.request_id, &request.bypass_id);
        checks.text("note", &request.note, 500);
        checks.done(Some(())).map_err(status)?;
        let keyed = keyed(&context, APPROVE, &request.request_id, &request);
        let answer = |bypass| pb::ApproveBypassResponse { bypass: Some(bypass) };
        let deed = Deed::Approve(request.note);
        let decided = self.app.decide_bypass(keyed, request.bypass_id, deed, answer).await;
        decided.map(Response::new).map_err(status)
    }

    async fn reject_bypass(
        &self,
        request: Request<pb::RejectBypassRequest>,
    ) -> Result<Response<pb::RejectBypassResponse>, Status> {
        let context = context(&request)?;
        let request = request.into_inner();
        let mut checks = named(&request.request_id, &request.bypass_id);
        checks.reason(&request.reason, 10);
        checks.done(Some(())).map_err(status)?;
        let keyed = keyed(&context, REJECT, &request.request_id, &request);
        let answer = |bypass| pb::RejectBypassResponse { bypass: Some(bypass) };
        let deed = Deed::Reject(request.reason);
        let decided = self.app.decide_bypass(keyed, request.bypass_id, deed, answer).await;
        decided.map(Response::new).map_err(status)
    }

    async fn revoke_bypass(
        &self,
        request: Request<pb::RevokeBypassRequest>,
    ) -> Result<Response<pb::RevokeBypassResponse>, Status> {
        let context = context(&request)?;
        let request = request.into_inner();
        let mut checks = named(&request.request_id, &request.bypass_id);
        checks.reason(&request.reason, 10);
        checks.done(Some(())).map_err(status)?;
        let keyed = keyed(&context, REVOKE, &request.request_id, &request);
        let answer = |bypass| pb::RevokeBypassResponse { bypass: Some(bypass) };
        let deed = Deed::Revoke(request.reason);
        let decided = self.app.decide_bypass(keyed, request.bypass_id, deed, answer).await;
        decided.map(Response::new).map_err(status)
    }

    async fn get_bypass(
        &self,
        request: Request<pb::GetBypassRequest>,
    ) -> Result<Response<pb::GetBypassResponse>, Status> {
        let context = context(&request)?;
        self.bypass(&context.tenant_id, request.into_inner()).await.map(Response::new).map_err(status)
    }

    async fn list_bypasses(
        &self,
        request: Request<pb::ListBypassesRequest>,
    ) -> Result<Response<pb::ListBypassesResponse>, Status> {
        let context = context(&request)?;
        self.bypasses(&context.tenant_id, request.into_inner()).await.map(Response::new).map_err(status)
    }

    async fn record_bypass_use(
        &self,
        request: Request<pb::RecordBypassUseRequest>,
    ) -> Result<Response<pb::RecordBypassUseResponse>, Status> {
        let context = context(&request)?;
        let request = request.into_inner();
        let mut checks = Checks::default();
        checks.id("bypass_id", &request.bypass_id);
        let run = checks.run(&context.tenant_id, &request.run_id, request.attempt);
        checks.text("decision_id", &request.decision_id, 128);
        let some = (1..=MOST_PASSED).contains(&request.rule_ids.len());
        checks.require(some, &mesh::FIELD_INVALID, "rule_ids", "has 1 to 500");
        check_rules(&mut checks, &request.rule_ids);
        checks.done(Some(())).map_err(status)?;
        let step = PassedRow {
            run_id: run.run_id,
            attempt: run.attempt,
            step_index: request.step_index,
            ask: request.ask,
            decision_id: request.decision_id,
            rule_ids: request.rule_ids.join("\n"),
            at: Micros(0),
        };
        let noted = self.app.record_bypass_use((&context).into(), request.bypass_id, step).await;
        noted.map(Response::new).map_err(status)
    }
}

impl Rpc {
    async fn bypass(
        &self,
        tenant: &str,
        request: pb::GetBypassRequest,
    ) -> Result<pb::GetBypassResponse, Fault> {
        let mut checks = Checks::default();
        checks.id("bypass_id", &request.bypass_id);
        checks.done(Some(()))?;
        let found = store::shown(self.app.db.read(), tenant, &request.bypass_id).await?;
        let (row, deeds, uses) = found.ok_or_else(not_found)?;
        let bypass = present(&row, &deeds, self.app.clock.now())?;
        let uses = uses.into_iter().map(|passed| use_to(&row.bypass_id, passed)).collect();
        Ok(pb::GetBypassResponse { bypass: Some(bypass), uses })
    }

    async fn bypasses(
        &self,
        tenant: &str,
        request: pb::ListBypassesRequest,
    ) -> Result<pb::ListBypassesResponse, Fault> {
        let mut checks = Checks::default();
        checks.filter("states", &request.states, BypassState::from_code);
        let size = checks.page_size(request.page_size);
        let size = checks.done(size)?;
        let bare = pb::ListBypassesRequest { page_size: 0, page_token: String::new(), ..request.clone() };
        let query = query_of("bypasses", tenant, &bare);
        let before = after(&request.page_token, query, i64::MAX)?;
        let (read, now) = (self.app.db.read(), self.app.clock.now());
        let mut rows = store::list(read, tenant, &request.states, before, now, size.probe()).await?;
        let next_page_token = cut(&mut rows, size, query, |row| row.bypass_key);
        let keys: Vec<i64> = rows.iter().map(|row| row.bypass_key).collect();
        let deeds = store::deeds_of(read, &keys).await?;
        let bypasses = rows.iter().map(|row| present(row, &deeds, now)).collect::<Result<_, Fault>>()?;
        Ok(pb::ListBypassesResponse { bypasses, next_page_token })
    }
}

fn named(request_id: &str, bypass_id: &str) -> Checks {
    let mut checks = Checks::default();
    checks.request_id(request_id);
    checks.id("bypass_id", bypass_id);
    checks
}

fn check_rules(checks: &mut Checks, rule_ids: &[String]) {
    for (place, id) in rule_ids.iter().enumerate() {
        let plain = (1..=128).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_graphic());
        let field = format!("rule_ids[{place}]");
        checks.require(plain, &mesh::FIELD_INVALID, &field, "has 1 to 128 printable characters");
    }
}

fn parse(request: &pb::RequestBypassRequest) -> Result<NewBypass, Fault> {
    let mut checks = Checks::default();
    checks.request_id(&request.request_id);
    let scope = checks.word("scope", request.scope, BypassScope::from_code);
    match scope {
        Some(BypassScope::Run) => checks.id("scope_id", &request.scope_id),
        _ => checks.words_of("scope_id", &request.scope_id, 1, 128),
    }
    let few = request.rule_ids.len() <= MOST_RULES;
    checks.require(few, &mesh::FIELD_INVALID, "rule_ids", "has at most 64");
    check_rules(&mut checks, &request.rule_ids);
    let lasts = DURATION_S.contains(&request.duration_s);
    checks.require(
        lasts,
        &runspine_controls_domain::reasons::DURATION_INVALID,
        "duration_s",
        "must be 60 to 900",
    );
    checks.reason(&request.reason, 20);
    checks.words_of("ticket", &request.ticket, 1, 128);
    let new = scope.map(|scope| NewBypass {
        scope,
        scope_id: request.scope_id.clone(),
        rule_ids: request.rule_ids.clone(),
        duration_s: request.duration_s,
        reason: request.reason.clone(),
        ticket: request.ticket.clone(),
    });
    checks.done(new)
}
