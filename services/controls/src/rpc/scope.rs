//! ScopeService.

use contracts_controls::v1::{self as pb, scope_service_server::ScopeService};
use runspine_controls_domain::{
    execution::{Risk, ScopeKind, ScopeState, Use},
    reasons,
};
use runspine_errors::{Fault, mesh};
use runspine_rpc::{context, status};
use runspine_types::{Micros, is_uuid};
use tonic::{Request, Response, Status};

use super::{Rpc, after, checks::Checks, cut, keyed, query_of};
use crate::{
    app::scopes::{not_found, scope_to, use_to},
    store::scopes::{self as store, ScopeRow},
};

const CREATE: &str = "runspine.controls.v1.ScopeService/CreateScope";
const CONSUME: &str = "runspine.controls.v1.ScopeService/ConsumeScope";
const SETTLE: &str = "runspine.controls.v1.ScopeService/SettleScopeUse";
const REVOKE: &str = "runspine.controls.v1.ScopeService/RevokeScope";
/// The most that a scope may cost, micro-USD.
const MOST_COST: i64 = 100_000_000;
/// Agents that one scope may name.
const MOST_AGENTS: usize = 64;

#[tonic::async_trait]
impl ScopeService for Rpc {
    async fn create_scope(
        &self,
        request: Request<pb::CreateScopeRequest>,
    ) -> Result<Response<pb::CreateScopeResponse>, Status> {
        let context = context(&request)?;
        let request = request.into_inner();
        let (new, ttl_s) = parse(&request).map_err(status)?;
        let keyed = keyed(&context, CREATE, &request.request_id, &request);
        self.app.create_scope(keyed, new, ttl_s).await.map(Response::new).map_err(status)
    }

    async fn consume_scope(
        &self,
        request: Request<pb::ConsumeScopeRequest>,
    ) -> Result<Response<pb::ConsumeScopeResponse>, Status> {
        let context = context(&request)?;
        let request = request.into_inner();
        let of = parse_use(&request).map_err(status)?;
        if request.scope_id.is_empty() {
            return without_scope(&of).map(Response::new).map_err(status);
        }
        let keyed = keyed(&context, CONSUME, &request.attempt_id, &request);
        self.app.consume_scope(keyed, request.scope_id, of).await.map(Response::new).map_err(status)
    }

    async fn settle_scope_use(
        &self,
        request: Request<pb::SettleScopeUseRequest>,
    ) -> Result<Response<pb::SettleScopeUseResponse>, Status> {
        let context = context(&request)?;
        let request = request.into_inner();
        let mut checks = Checks::default();
        attempt(&mut checks, &request.attempt_id);
        let fits = (0..=1_000_000_000_000_000).contains(&request.actual_microusd);
        checks.require(fits, &reasons::AMOUNT_INVALID, "actual_microusd", "must be 0 to 10^15");
        let known = |code| pb::ScopeUseOutcome::try_from(code).ok().filter(|_| code != 0);
        checks.word("outcome", request.outcome, known);
        checks.done(Some(())).map_err(status)?;
        let keyed = keyed(&context, SETTLE, &request.attempt_id, &request);
        let end = (request.actual_microusd, request.outcome);
        self.app.settle_scope_use(keyed, request.attempt_id, end).await.map(Response::new).map_err(status)
    }

    async fn revoke_scope(
        &self,
        request: Request<pb::RevokeScopeRequest>,
    ) -> Result<Response<pb::RevokeScopeResponse>, Status> {
        let context = context(&request)?;
        let request = request.into_inner();
        let mut checks = Checks::default();
        checks.request_id(&request.request_id);
        checks.id("scope_id", &request.scope_id);
        checks.reason(&request.reason, 10);
        checks.done(Some(())).map_err(status)?;
        let keyed = keyed(&context, REVOKE, &request.request_id, &request);
        let revoked = self.app.revoke_scope(keyed, request.scope_id, request.reason).await;
        revoked.map(Response::new).map_err(status)
    }

    async fn get_scope(
        &self,
        request: Request<pb::GetScopeRequest>,
    ) -> Result<Response<pb::GetScopeResponse>, Status> {
        let context = context(&request)?;
        let request = request.into_inner();
        self.scope(&context.tenant_id, &request.scope_id).await.map(Response::new).map_err(status)
    }

    async fn list_scopes(
        &self,
        request: Request<pb::ListScopesRequest>,
    ) -> Result<Response<pb::ListScopesResponse>, Status> {
        let context = context(&request)?;
        self.scopes(&context.tenant_id, request.into_inner()).await.map(Response::new).map_err(status)
    }
}

impl Rpc {
    async fn scope(&self, tenant: &str, scope_id: &str) -> Result<pb::GetScopeResponse, Fault> {
        let mut checks = Checks::default();
        checks.id("scope_id", scope_id);
        checks.done(Some(()))?;
        let found = store::shown(self.app.db.read(), tenant, scope_id).await?;
        let (row, uses) = found.ok_or_else(not_found)?;
        let scope = Some(scope_to(&row, self.app.clock.now())?);
        Ok(pb::GetScopeResponse {
            scope,
            uses: uses.into_iter().map(|of| use_to(&row.scope_id, of)).collect(),
        })
    }

    async fn scopes(
        &self,
        tenant: &str,
        request: pb::ListScopesRequest,
    ) -> Result<pb::ListScopesResponse, Fault> {
        let mut checks = Checks::default();
        checks.optional_id("incident_id", &request.incident_id);
        checks.filter("states", &request.states, ScopeState::from_code);
        let size = checks.page_size(request.page_size);
        let size = checks.done(size)?;
        let bare = pb::ListScopesRequest { page_size: 0, page_token: String::new(), ..request.clone() };
        let query = query_of("scopes", tenant, &bare);
        let before = after(&request.page_token, query, i64::MAX)?;
        let (read, now) = (self.app.db.read(), self.app.clock.now());
        let (incident, states) = (request.incident_id.as_str(), &request.states);
        let mut rows = store::list(read, tenant, incident, states, before, now, size.probe()).await?;
        let next_page_token = cut(&mut rows, size, query, |row| row.scope_key);
        let scopes = rows.iter().map(|row| scope_to(row, now)).collect::<Result<_, Fault>>()?;
        Ok(pb::ListScopesResponse { scopes, next_page_token })
    }
}

/// An action that names no scope: only one that can do no harm goes on.
fn without_scope(of: &Use) -> Result<pb::ConsumeScopeResponse, Fault> {
    if !of.risk.needs_scope() {
        return Ok(pb::ConsumeScopeResponse { r#use: None });
    }
    let text = format!("an action of risk {} runs under a scope only", of.risk.name());
    let fault = Fault::new(&reasons::SCOPE_REQUIRED, &text);
    Err(fault.precondition(format!("incidents/{}", of.incident_id), text))
}

fn attempt(checks: &mut Checks, attempt_id: &str) {
    let plain = is_uuid(attempt_id);
    checks.require(plain, &mesh::REQUEST_ID_REQUIRED, "attempt_id", "must be a UUID in lower case");
}

fn parse_use(request: &pb::ConsumeScopeRequest) -> Result<Use, Fault> {
    let mut checks = Checks::default();
    attempt(&mut checks, &request.attempt_id);
    checks.optional_id("scope_id", &request.scope_id);
    checks.id("incident_id", &request.incident_id);
    checks.words_of("action", &request.action, 1, 64);
    let risk = checks.word("risk", request.risk, Risk::from_code);
    let fits = (0..=MOST_COST).contains(&request.estimate_microusd);
    checks.require(fits, &reasons::AMOUNT_INVALID, "estimate_microusd", "must be 0 to 100,000,000");
    checks.done(risk.map(|risk| Use {
        attempt_id: request.attempt_id.clone(),
        incident_id: request.incident_id.clone(),
        action: request.action.clone(),
        risk,
        estimate: request.estimate_microusd,
    }))
}

/// The row of a new scope, and how long it lasts, seconds.
fn parse(request: &pb::CreateScopeRequest) -> Result<(ScopeRow, u32), Fault> {
    let mut checks = Checks::default();
    checks.request_id(&request.request_id);
    checks.id("incident_id", &request.incident_id);
    checks.words_of("action", &request.action, 1, 64);
    checks.words_of("intent", &request.intent, 10, 500);
    let kind = checks.optional_word("kind", request.kind, ScopeKind::from_code).unwrap_or(ScopeKind::DryRun);
    let shared = matches!(kind, ScopeKind::RequestSample | ScopeKind::BudgetFraction);
    let fraction = match request.fraction_permille {
        0 if shared => 100,
        stated => stated,
    };
    let fits = if shared { (10..=1_000).contains(&fraction) } else { fraction == 0 };
    let what = "is 10 to 1,000 for REQUEST_SAMPLE and BUDGET_FRACTION, and for nothing else";
    checks.require(fits, &mesh::FIELD_INVALID, "fraction_permille", what);
    let risk = checks.word("risk", request.risk, Risk::from_code);
    let some = kind == ScopeKind::AgentSubset || risk.is_some_and(Risk::needs_person);
    let count = usize::from(some)..=MOST_AGENTS;
    let fits = count.contains(&request.agent_ids.len());
    checks.require(
        fits,
        &mesh::FIELD_INVALID,
        "agent_ids",
        "has at most 64, and one for HIGH, CRITICAL, AGENT_SUBSET",
    );
    for (place, id) in request.agent_ids.iter().enumerate() {
        let plain = (1..=128).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_graphic());
        let field = format!("agent_ids[{place}]");
        checks.require(plain, &mesh::FIELD_INVALID, &field, "has 1 to 128 printable characters");
    }
    let max_cost = if request.max_cost_microusd == 0 { 500_000 } else { request.max_cost_microusd };
    let fits = (1..=MOST_COST).contains(&max_cost);
    checks.require(fits, &reasons::AMOUNT_INVALID, "max_cost_microusd", "must be 1 to 100,000,000");
    let max_attempts = request.max_attempts.max(1);
    checks.require(max_attempts <= 10, &mesh::FIELD_INVALID, "max_attempts", "must be 1 to 10");
    let ttl_s = if request.ttl_s == 0 { 300 } else { request.ttl_s };
    let fits = (10..=3_600).contains(&ttl_s);
    checks.require(fits, &reasons::DURATION_INVALID, "ttl_s", "must be 10 to 3,600");
    let row = risk.map(|risk| ScopeRow {
        scope_key: 0,
        scope_id: String::new(),
        tenant_id: String::new(),
        incident_id: request.incident_id.clone(),
        action: request.action.clone(),
        intent: request.intent.clone(),
        kind: kind.code(),
        fraction_permille: fraction,
        risk: risk.code(),
        agent_ids: request.agent_ids.join("\n"),
        max_cost,
        max_attempts,
        created_by: String::new(),
        created_at: Micros(0),
        expires_at: Micros(0),
        attempts: 0,
        settled: 0,
        held: 0,
        held_for: String::new(),
        held_until: None,
        revoked_by: String::new(),
        revoked_at: None,
        revoke_reason: String::new(),
    });
    checks.done(row.map(|row| (row, ttl_s)))
}
