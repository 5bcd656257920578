//! BreakerService.

use contracts_controls::v1::{self as pb, breaker_service_server::BreakerService};
use runspine_controls_domain::breaker::{BreakerKind, BreakerResult, BreakerState, BreakerTarget, Report};
use runspine_errors::{Fault, mesh};
use runspine_rpc::{context, status, timestamp};
use tonic::{Request, Response, Status};

use super::{Rpc, after, checks::Checks, cut, keyed, query_of};
use crate::{
    app::breakers::{Opening, breaker_to, not_found},
    store::breakers::{self as store, BreakerEventRow, BreakerFilter, BreakerName},
};

const REPORT: &str = "runspine.controls.v1.BreakerService/ReportOutcome";
const OPEN: &str = "runspine.controls.v1.BreakerService/OpenBreaker";
const CLOSE: &str = "runspine.controls.v1.BreakerService/CloseBreaker";
/// Uses that one report may speak of.
const MOST_SAMPLES: u32 = 1_000;
/// Holders that one report may name.
const MOST_HOLDERS: usize = 64;

#[tonic::async_trait]
impl BreakerService for Rpc {
    async fn report_outcome(
        &self,
        request: Request<pb::ReportOutcomeRequest>,
    ) -> Result<Response<pb::ReportOutcomeResponse>, Status> {
        let context = context(&request)?;
        let request = request.into_inner();
        let (name, report) = parse_report(&context.tenant_id, &request).map_err(status)?;
        let keyed = keyed(&context, REPORT, &request.report_id, &request);
        self.app.report_outcome(keyed, name, report).await.map(Response::new).map_err(status)
    }

    async fn check_breaker(
        &self,
        request: Request<pb::CheckBreakerRequest>,
    ) -> Result<Response<pb::CheckBreakerResponse>, Status> {
        let context = context(&request)?;
        let request = request.into_inner();
        let mut checks = Checks::default();
        let target = (request.target_type, request.target_id.as_str());
        let name = reported(&mut checks, &context.tenant_id, request.kind, target);
        checks.words_of("holder", &request.holder, 1, 128);
        let name = checks.done(name).map_err(status)?;
        let checked = self.app.check_breaker((&context).into(), name, request.holder).await;
        checked.map(Response::new).map_err(status)
    }

    async fn open_breaker(
        &self,
        request: Request<pb::OpenBreakerRequest>,
    ) -> Result<Response<pb::OpenBreakerResponse>, Status> {
        let context = context(&request)?;
        let request = request.into_inner();
        let now = self.app.clock.now();
        let (name, opening) = parse_opening(&context.tenant_id, &request, now).map_err(status)?;
        let keyed = keyed(&context, OPEN, &request.request_id, &request);
        self.app.open_breaker(keyed, name, opening).await.map(Response::new).map_err(status)
    }

    async fn close_breaker(
        &self,
        request: Request<pb::CloseBreakerRequest>,
    ) -> Result<Response<pb::CloseBreakerResponse>, Status> {
        let context = context(&request)?;
        let request = request.into_inner();
        let mut checks = Checks::default();
        checks.request_id(&request.request_id);
        let target = (request.target_type, request.target_id.as_str());
        let name = named(&mut checks, &context.tenant_id, request.kind, target);
        checks.reason(&request.reason, 10);
        let name = checks.done(name).map_err(status)?;
        let keyed = keyed(&context, CLOSE, &request.request_id, &request);
        self.app.close_breaker(keyed, name, request.reason).await.map(Response::new).map_err(status)
    }

    async fn get_breaker(
        &self,
        request: Request<pb::GetBreakerRequest>,
    ) -> Result<Response<pb::GetBreakerResponse>, Status> {
        let context = context(&request)?;
        self.breaker(&context.tenant_id, &request.into_inner()).await.map(Response::new).map_err(status)
    }

    async fn list_breakers(
        &self,
        request: Request<pb::ListBreakersRequest>,
    ) -> Result<Response<pb::ListBreakersResponse>, Status> {
        let context = context(&request)?;
        self.breakers(&context.tenant_id, request.into_inner()).await.map(Response::new).map_err(status)
    }
}

impl Rpc {
    async fn breaker(
        &self,
        tenant: &str,
        request: &pb::GetBreakerRequest,
    ) -> Result<pb::GetBreakerResponse, Fault> {
        let mut checks = Checks::default();
        let target = (request.target_type, request.target_id.as_str());
        let name = named(&mut checks, tenant, request.kind, target);
        let name = checks.done(name)?;
        let (row, events) = store::shown(self.app.db.read(), &name).await?.ok_or_else(not_found)?;
        let events = events.into_iter().map(event_to).collect();
        Ok(pb::GetBreakerResponse { breaker: Some(breaker_to(&row, self.app.clock.now())?), events })
    }

    async fn breakers(
        &self,
        tenant: &str,
        request: pb::ListBreakersRequest,
    ) -> Result<pb::ListBreakersResponse, Fault> {
        let mut checks = Checks::default();
        checks.filter("kinds", &request.kinds, BreakerKind::from_code);
        checks.optional_word("target_type", request.target_type, BreakerTarget::from_code);
        checks.text("target_id", &request.target_id, 256);
        checks.filter("states", &request.states, BreakerState::from_code);
        let size = checks.page_size(request.page_size);
        let size = checks.done(size)?;
        let bare = pb::ListBreakersRequest { page_size: 0, page_token: String::new(), ..request.clone() };
        let query = query_of("breakers", tenant, &bare);
        let before = after(&request.page_token, query, i64::MAX)?;
        let filter = BreakerFilter {
            kinds: request.kinds,
            target_type: request.target_type,
            target_id: request.target_id,
            states: request.states,
        };
        let (read, now) = (self.app.db.read(), self.app.clock.now());
        let mut rows = store::list(read, tenant, &filter, before, now, size.probe()).await?;
        let next_page_token = cut(&mut rows, size, query, |row| row.breaker_key);
        let breakers = rows.iter().map(|row| breaker_to(row, now)).collect::<Result<_, Fault>>()?;
        Ok(pb::ListBreakersResponse { breakers, next_page_token })
    }
}

/// The breaker that a request names.
fn named(
    checks: &mut Checks,
    tenant: &str,
    kind: i32,
    (target_type, target_id): (i32, &str),
) -> Option<BreakerName> {
    let kind = checks.word("kind", kind, BreakerKind::from_code);
    let target = checks.word("target_type", target_type, BreakerTarget::from_code);
    checks.words_of("target_id", target_id, 1, 256);
    let (kind, target) = kind.zip(target)?;
    Some(BreakerName { tenant_id: tenant.to_owned(), kind, target, target_id: target_id.to_owned() })
}

/// The same for one that reports open: features drift, everything else fails.
fn reported(checks: &mut Checks, tenant: &str, kind: i32, target: (i32, &str)) -> Option<BreakerName> {
    let name = named(checks, tenant, kind, target)?;
    let by_report = name.kind != BreakerKind::Manual;
    checks.require(by_report, &mesh::FIELD_INVALID, "kind", "must be FAULT or DRIFT");
    let fits = !by_report || (name.kind == BreakerKind::Drift) == (name.target == BreakerTarget::Feature);
    checks.require(fits, &mesh::FIELD_INVALID, "target_type", "is FEATURE for DRIFT, and for nothing else");
    Some(name)
}

fn parse_report(tenant: &str, request: &pb::ReportOutcomeRequest) -> Result<(BreakerName, Report), Fault> {
    let mut checks = Checks::default();
    let plain = runspine_types::is_uuid(&request.report_id);
    checks.require(plain, &mesh::REQUEST_ID_REQUIRED, "report_id", "must be a UUID in lower case");
    let target = (request.target_type, request.target_id.as_str());
    let name = reported(&mut checks, tenant, request.kind, target);
    let result = checks.word("result", request.result, BreakerResult::from_code);
    let drifts = name.as_ref().is_some_and(|name| name.kind == BreakerKind::Drift);
    let of_kind = drifts || (request.drift_permille.is_none() && result != Some(BreakerResult::SchemaError));
    checks.require(of_kind, &mesh::FIELD_INVALID, "result", "a drift or a wrong form is of DRIFT only");
    let few = request.sample_count <= MOST_SAMPLES;
    checks.require(few, &mesh::FIELD_INVALID, "sample_count", "must be 0 to 1,000");
    let few = request.holders.len() <= MOST_HOLDERS;
    checks.require(few, &mesh::FIELD_INVALID, "holders", "has at most 64");
    for (place, holder) in request.holders.iter().enumerate() {
        checks.words_of(&format!("holders[{place}]"), holder, 1, 128);
    }
    let parsed = name.zip(result).map(|(name, result)| {
        let report = Report {
            result,
            drift_permille: request.drift_permille,
            samples: request.sample_count.max(1),
            holders: request.holders.clone(),
        };
        (name, report)
    });
    checks.done(parsed)
}

fn parse_opening(
    tenant: &str,
    request: &pb::OpenBreakerRequest,
    now: runspine_types::Micros,
) -> Result<(BreakerName, Opening), Fault> {
    let mut checks = Checks::default();
    checks.request_id(&request.request_id);
    let kind = if request.kind == 0 { BreakerKind::Manual.code() } else { request.kind };
    let target = (request.target_type, request.target_id.as_str());
    let name = named(&mut checks, tenant, kind, target);
    let manual = name.as_ref().is_none_or(|name| name.kind == BreakerKind::Manual);
    checks.require(
        manual,
        &mesh::FIELD_INVALID,
        "kind",
        "must be MANUAL: the others open by what is reported",
    );
    checks.reason(&request.reason, 10);
    let until = checks.time("open_until", request.open_until.as_ref());
    let future = until.is_none_or(|at| at > now);
    checks.require(future, &mesh::FIELD_INVALID, "open_until", "must be in the future");
    checks.text("fallback_model", &request.fallback_model, 256);
    let model = name.as_ref().is_none_or(|name| name.target == BreakerTarget::Model);
    let fits = request.fallback_model.is_empty() || model;
    checks.require(fits, &mesh::FIELD_INVALID, "fallback_model", "is of MODEL only");
    let other = request.fallback_model.is_empty() || request.fallback_model != request.target_id;
    checks.require(other, &mesh::FIELD_INVALID, "fallback_model", "must be another model");
    let (reason, fallback_model) = (request.reason.clone(), request.fallback_model.clone());
    checks.done(name.map(|name| (name, Opening { reason, until, fallback_model })))
}

fn event_to(row: BreakerEventRow) -> pb::BreakerEvent {
    pb::BreakerEvent {
        seq: row.seq,
        from_state: row.from_state,
        to_state: row.to_state,
        cause: row.cause,
        actor_id: row.actor_id,
        note: row.note,
        drift_permille: row.drift_permille,
        at: Some(timestamp(row.at)),
    }
}
