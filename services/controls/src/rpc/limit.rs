//! LimitService.

use contracts_controls::v1::{self as pb, limit_service_server::LimitService};
use runspine_controls_domain::{
    limit::{EACH, Limit, LimitChange, LimitSpec},
    reasons,
    words::{
        AmbiguousCharge, Category, Consequence, Enforcement, LimitSource, LimitState, Overage, PeriodKind,
        Scope, Unit,
    },
};
use runspine_errors::{Fault, mesh};
use runspine_rpc::{context, status};
use runspine_types::Digest;
use tonic::{Request, Response, Status};

use super::{Rpc, after, checks::Checks, cut, keyed, query_of};
use crate::{
    app::limits::LimitAct,
    store::{
        caches::ControlSet,
        views::{self, EnvelopeFilter, EnvelopeView},
    },
    words::{degrade_from, limit_to, params_from, spec_from},
};

const CREATE: &str = "runspine.controls.v1.LimitService/CreateLimit";
const UPDATE: &str = "runspine.controls.v1.LimitService/UpdateLimit";
const DISABLE: &str = "runspine.controls.v1.LimitService/DisableLimit";
const ENABLE: &str = "runspine.controls.v1.LimitService/EnableLimit";
/// Most envelopes whose use is summed for one limit.
const MOST_ENVELOPES: i64 = 10_000;

#[tonic::async_trait]
impl LimitService for Rpc {
    async fn create_limit(
        &self,
        request: Request<pb::CreateLimitRequest>,
    ) -> Result<Response<pb::CreateLimitResponse>, Status> {
        let context = context(&request)?;
        let request = request.into_inner();
        let spec = parse_create(&request).map_err(status)?;
        let keyed = keyed(&context, CREATE, &request.request_id, &request);
        self.app.create_limit(keyed, spec).await.map(Response::new).map_err(status)
    }

    async fn update_limit(
        &self,
        request: Request<pb::UpdateLimitRequest>,
    ) -> Result<Response<pb::UpdateLimitResponse>, Status> {
        let context = context(&request)?;
        let request = request.into_inner();
        let change = parse_update(&request).map_err(status)?;
        let keyed = keyed(&context, UPDATE, &request.request_id, &request);
        let (id, seen, act) =
            (request.limit_id, request.expected_version, LimitAct::Change(Box::new(change)));
        self.app.change_limit(keyed, id, seen, act, request.reason).await.map(Response::new).map_err(status)
    }

    async fn disable_limit(
        &self,
        request: Request<pb::DisableLimitRequest>,
    ) -> Result<Response<pb::DisableLimitResponse>, Status> {
        let context = context(&request)?;
        let request = request.into_inner();
        check_turn(&request.request_id, &request.limit_id, &request.reason).map_err(status)?;
        let keyed = keyed(&context, DISABLE, &request.request_id, &request);
        let (id, seen, act) =
            (request.limit_id, request.expected_version, LimitAct::Turn(LimitState::Disabled));
        let turned = self.app.change_limit(keyed, id, seen, act, request.reason).await.map_err(status)?;
        Ok(Response::new(pb::DisableLimitResponse { limit: turned.limit }))
    }

    async fn enable_limit(
        &self,
        request: Request<pb::EnableLimitRequest>,
    ) -> Result<Response<pb::EnableLimitResponse>, Status> {
        let context = context(&request)?;
        let request = request.into_inner();
        check_turn(&request.request_id, &request.limit_id, &request.reason).map_err(status)?;
        let keyed = keyed(&context, ENABLE, &request.request_id, &request);
        let (id, seen, act) =
            (request.limit_id, request.expected_version, LimitAct::Turn(LimitState::Active));
        let turned = self.app.change_limit(keyed, id, seen, act, request.reason).await.map_err(status)?;
        Ok(Response::new(pb::EnableLimitResponse { limit: turned.limit }))
    }

    async fn get_limit(
        &self,
        request: Request<pb::GetLimitRequest>,
    ) -> Result<Response<pb::GetLimitResponse>, Status> {
        let context = context(&request)?;
        self.limit(&context.tenant_id, request.into_inner()).await.map(Response::new).map_err(status)
    }

    async fn get_control_set(
        &self,
        request: Request<pb::GetControlSetRequest>,
    ) -> Result<Response<pb::GetControlSetResponse>, Status> {
        let context = context(&request)?;
        self.control_set(&context.tenant_id, request.into_inner()).await.map(Response::new).map_err(status)
    }

    async fn list_limits(
        &self,
        request: Request<pb::ListLimitsRequest>,
    ) -> Result<Response<pb::ListLimitsResponse>, Status> {
        let context = context(&request)?;
        self.limits(&context.tenant_id, request.into_inner()).await.map(Response::new).map_err(status)
    }
}

impl Rpc {
    async fn limit(&self, tenant: &str, request: pb::GetLimitRequest) -> Result<pb::GetLimitResponse, Fault> {
        let mut checks = Checks::default();
        checks.id("limit_id", &request.limit_id);
        checks.done(Some(()))?;
        let read = self.app.db.read();
        let limit = views::limit(read, tenant, &request.limit_id).await?;
        let limit = limit.ok_or_else(|| Fault::new(&reasons::LIMIT_NOT_FOUND, "no such limit"))?;
        let usage = self.usage_of(tenant, &limit).await?;
        Ok(pb::GetLimitResponse { limit: Some(limit_to(&limit)), usage: Some(usage) })
    }

    async fn usage_of(&self, tenant: &str, limit: &Limit) -> Result<pb::LimitUsage, Fault> {
        let filter = EnvelopeFilter {
            limit_id: Some(limit.id.clone()),
            limit: MOST_ENVELOPES,
            ..EnvelopeFilter::default()
        };
        let most = limit.spec.max_value;
        if limit.spec.category != Category::Budget {
            let rows = self.rate_views(tenant, &filter).await?;
            let now = self.app.clock.now();
            let used = rows.iter().map(|row| row.used(now));
            return Ok(pb::LimitUsage {
                envelopes: i64::try_from(rows.len()).unwrap_or(i64::MAX),
                usage: used.clone().sum(),
                held: 0,
                unfunded: 0,
                headroom: used.map(|used| (limit.spec.burst.max(most) - used).max(0)).min().unwrap_or(most),
            });
        }
        let envelopes = self.envelope_views(tenant, &filter).await?;
        Ok(pb::LimitUsage {
            envelopes: i64::try_from(envelopes.len()).unwrap_or(i64::MAX),
            usage: envelopes.iter().map(EnvelopeView::usage).sum(),
            held: envelopes.iter().map(|v| v.held).sum(),
            unfunded: envelopes.iter().map(|v| v.period.unfunded).sum(),
            headroom: envelopes.iter().map(EnvelopeView::headroom).min().unwrap_or(most),
        })
    }

    async fn control_set(
        &self,
        tenant: &str,
        request: pb::GetControlSetRequest,
    ) -> Result<pb::GetControlSetResponse, Fault> {
        let mut checks = Checks::default();
        let length = matches!(request.digest.len(), 0 | 32);
        checks.require(length, &mesh::FIELD_INVALID, "digest", "must be 32 bytes, or empty");
        checks.done(Some(()))?;
        let read = self.app.db.read();
        let (digest, content) = if request.digest.is_empty() {
            let set = ControlSet::new(self.app.limits_of(tenant).await?);
            (set.digest.to_vec(), set.content)
        } else {
            let kept = views::control_set(read, tenant, &request.digest).await?;
            let none = || Fault::new(&reasons::LIMIT_NOT_FOUND, "no admission was stamped with this set");
            (request.digest.to_vec(), kept.ok_or_else(none)?)
        };
        let entries = content.lines().filter_map(set_entry).collect();
        Ok(pb::GetControlSetResponse { digest: digest.into(), content: content.into_bytes().into(), entries })
    }

    async fn limits(
        &self,
        tenant: &str,
        request: pb::ListLimitsRequest,
    ) -> Result<pb::ListLimitsResponse, Fault> {
        let mut checks = Checks::default();
        checks.filter("scopes", &request.scopes, Scope::from_code);
        checks.filter("states", &request.states, LimitState::from_code);
        checks.filter("categories", &request.categories, Category::from_code);
        checks.filter("sources", &request.sources, LimitSource::from_code);
        let size = checks.page_size(request.page_size);
        let size = checks.done(size)?;
        let bare = pb::ListLimitsRequest { page_size: 0, page_token: String::new(), ..request.clone() };
        let query = query_of("limits", tenant, &bare);
        let behind = after(&request.page_token, query, 0)?;
        let mut rows = views::limits(self.app.db.read(), tenant, &request, behind, size.probe()).await?;
        let next_page_token = cut(&mut rows, size, query, |limit| limit.key);
        Ok(pb::ListLimitsResponse { limits: rows.iter().map(limit_to).collect(), next_page_token })
    }
}

/// A line of a control set: id, version, digest of the spec.
fn set_entry(line: &str) -> Option<pb::ControlSetEntry> {
    let mut parts = line.split(':');
    let (limit_id, version) = (parts.next()?.to_owned(), parts.next()?.parse().ok()?);
    let spec_digest = Digest::from_hex(parts.next()?)?.to_vec().into();
    Some(pb::ControlSetEntry { limit_id, version, spec_digest })
}

/// Reads the words, fills the defaults in, and has the rules say what is wrong with the limit, all at once.
fn parse_create(request: &pb::CreateLimitRequest) -> Result<LimitSpec, Fault> {
    let mut checks = Checks::default();
    checks.request_id(&request.request_id);
    checks.require(request.spec.is_some(), &mesh::FIELD_INVALID, "spec", "is required");
    let mut spec = request.spec.clone().unwrap_or_default();
    fill(&mut spec);
    check_words(&mut checks, &spec);
    let spec = checks.done(spec_from(&spec))?;
    spec.validate()?;
    Ok(spec)
}

fn check_words(checks: &mut Checks, spec: &pb::LimitSpec) {
    checks.word("spec.category", spec.category, Category::from_code);
    checks.word("spec.unit", spec.unit, Unit::from_code);
    checks.word("spec.scope", spec.scope, Scope::from_code);
    for (field, reason, what) in params_from(&spec.params, "spec.params").1 {
        checks.require(false, reason, &field, &what);
    }
    checks.optional_word("spec.period", spec.period, PeriodKind::from_code);
    checks.optional_word("spec.enforcement", spec.enforcement, Enforcement::from_code);
    checks.optional_word("spec.consequence", spec.consequence, Consequence::from_code);
    checks.optional_word("spec.overage", spec.overage, Overage::from_code);
    checks.optional_word("spec.ambiguous_charge", spec.ambiguous_charge, AmbiguousCharge::from_code);
}

fn fill(spec: &mut pb::LimitSpec) {
    let word = |word: &mut i32, default: i32| {
        if *word == 0 {
            *word = default;
        }
    };
    let category = Category::from_code(spec.category);
    let enforcement = match category {
        Some(Category::Rate) => Enforcement::Queue,
        Some(Category::Threshold) => Enforcement::Warn,
        _ => Enforcement::Block,
    };
    word(&mut spec.enforcement, enforcement.code());
    word(&mut spec.consequence, Consequence::Alert.code());
    word(&mut spec.overage, Overage::AllowIfAvailable.code());
    word(&mut spec.ambiguous_charge, AmbiguousCharge::Release.code());
    if category == Some(Category::Rate) && spec.burst == 0 {
        spec.burst = spec.max_value;
    }
    if category == Some(Category::Threshold)
        && let Some((unit, value)) = params_from(&spec.params, "").0.primary()
    {
        word(&mut spec.unit, unit.code());
        spec.max_value = if spec.max_value == 0 { value } else { spec.max_value };
    }
    let permille = |value: &mut u32, default: u32| {
        if *value == 0 {
            *value = default;
        }
    };
    permille(&mut spec.block_permille, 1_000);
    let warn = spec.block_permille.min(800);
    permille(&mut spec.warn_permille, warn);
    if spec.scope == Scope::Run.code() && spec.scope_id.is_empty() {
        EACH.clone_into(&mut spec.scope_id);
    }
}

fn parse_update(request: &pb::UpdateLimitRequest) -> Result<LimitChange, Fault> {
    let mut checks = Checks::default();
    checks.request_id(&request.request_id);
    checks.id("limit_id", &request.limit_id);
    checks.reason(&request.reason, 10);
    let (params, wrong) = params_from(&request.params, "params");
    for (field, reason, what) in wrong {
        checks.require(false, reason, &field, &what);
    }
    let change = LimitChange {
        max_value: request.max_value,
        warn_permille: request.warn_permille,
        block_permille: request.block_permille,
        enforcement: request
            .enforcement
            .and_then(|code| checks.word("enforcement", code, Enforcement::from_code)),
        consequence: request
            .consequence
            .and_then(|code| checks.word("consequence", code, Consequence::from_code)),
        overage: request.overage.and_then(|code| checks.word("overage", code, Overage::from_code)),
        overdraft_limit: request.overdraft_limit,
        max_wait_s: request.max_wait_s,
        params: (!request.params.is_empty()).then_some(params),
        burst: request.burst,
        degrade: request.degrade.as_ref().map(|degrade| degrade_from(Some(degrade))),
    };
    checks.require(change != LimitChange::default(), &mesh::FIELD_INVALID, "max_value", "nothing is changed");
    checks.done(Some(change))
}

fn check_turn(request_id: &str, limit_id: &str, reason: &str) -> Result<(), Fault> {
    let mut checks = Checks::default();
    checks.request_id(request_id);
    checks.id("limit_id", limit_id);
    checks.reason(reason, 10);
    checks.done(Some(()))
}
