//! The RPCs: parse, call the use case, present. Holds no rule.

mod admission;
mod alert;
mod breaker;
mod budget;
pub mod budget_views;
mod bypass;
mod checks;
mod coordination;
mod costsim;
mod effective;
mod events;
mod evidence;
mod freeze;
mod guardrail;
mod limit;
mod overrides;
mod rate;
mod scope;
mod signal;
mod threshold;

use std::sync::Arc;

use contracts_controls::v1::{
    admission_service_server::AdmissionServiceServer, alert_service_server::AlertServiceServer,
    breaker_service_server::BreakerServiceServer, budget_service_server::BudgetServiceServer,
    bypass_service_server::BypassServiceServer, coordination_service_server::CoordinationServiceServer,
    cost_sim_service_server::CostSimServiceServer, event_service_server::EventServiceServer,
    freeze_service_server::FreezeServiceServer, guardrail_service_server::GuardrailServiceServer,
    limit_service_server::LimitServiceServer, override_service_server::OverrideServiceServer,
    rate_service_server::RateServiceServer, scope_service_server::ScopeServiceServer,
    signal_service_server::SignalServiceServer, threshold_service_server::ThresholdServiceServer,
};
use prost::Message;
use runspine_errors::{Fault, mesh};
use runspine_rpc::{Context, Routes};
use runspine_types::{Digest, Hasher, PageSize, PageToken, hash};

use crate::app::{App, limits::Keyed};

/// Serves the use cases.
#[derive(Clone)]
pub struct Rpc {
    app: App,
}

/// Every service of the domain.
#[must_use]
pub fn routes(app: App) -> Routes {
    let rpc = Arc::new(Rpc { app });
    Routes::new()
        .add(AdmissionServiceServer::from_arc(rpc.clone()))
        .add(AlertServiceServer::from_arc(rpc.clone()))
        .add(BudgetServiceServer::from_arc(rpc.clone()))
        .add(LimitServiceServer::from_arc(rpc.clone()))
        .add(GuardrailServiceServer::from_arc(rpc.clone()))
        .add(RateServiceServer::from_arc(rpc.clone()))
        .add(FreezeServiceServer::from_arc(rpc.clone()))
        .add(BreakerServiceServer::from_arc(rpc.clone()))
        .add(BypassServiceServer::from_arc(rpc.clone()))
        .add(OverrideServiceServer::from_arc(rpc.clone()))
        .add(CoordinationServiceServer::from_arc(rpc.clone()))
        .add(CostSimServiceServer::from_arc(rpc.clone()))
        .add(ScopeServiceServer::from_arc(rpc.clone()))
        .add(SignalServiceServer::from_arc(rpc.clone()))
        .add(ThresholdServiceServer::from_arc(rpc.clone()))
        .add(EventServiceServer::from_arc(rpc))
}

/// Digest of a request: what "the same body" means.
fn digest_of(request: &impl Message) -> Digest {
    hash(&request.encode_to_vec())
}

/// What a page token is bound to: the list, the tenant and the filter.
fn query_of(list: &str, tenant: &str, filter: &impl Message) -> Digest {
    let filter = filter.encode_to_vec();
    Hasher::new("runspine.page.v1").sized(list.as_bytes()).sized(tenant.as_bytes()).sized(&filter).finish()
}

fn keyed(context: &Context, operation: &'static str, request_id: &str, request: &impl Message) -> Keyed {
    let (caller, key) = (context.into(), request_id.to_owned());
    Keyed { caller, operation, key, digest: digest_of(request) }
}

/// Where a list goes on: the integer key of the last row, bound to the tenant and the filter.
fn after(token: &str, query: Digest, first: i64) -> Result<i64, Fault> {
    let key = after_text(token, query)?;
    if key.is_empty() {
        return Ok(first);
    }
    key.parse().map_err(|_| Fault::new(&mesh::PAGE_TOKEN_MISMATCH, "the page token is malformed"))
}

/// The same for a list in the order of a text; empty: from the beginning.
fn after_text(token: &str, query: Digest) -> Result<String, Fault> {
    let malformed = |_| Fault::new(&mesh::PAGE_TOKEN_MISMATCH, "the page token is of another list");
    let keys = PageToken::decode(token, query).map_err(malformed)?.unwrap_or_default();
    Ok(keys.into_iter().next().unwrap_or_default())
}

/// Cuts the probe row off and says where the next page begins.
fn cut<T>(rows: &mut Vec<T>, size: PageSize, query: Digest, key: impl Fn(&T) -> i64) -> String {
    cut_text(rows, size, query, |row| key(row).to_string())
}

/// The same for a list in the order of a text.
fn cut_text<T>(rows: &mut Vec<T>, size: PageSize, query: Digest, key: impl Fn(&T) -> String) -> String {
    size.cut(rows, query, |row| vec![key(row)])
}
