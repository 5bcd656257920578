//! ThresholdService.

use contracts_common::common::v1 as common;
use contracts_controls::v1::{self as pb, threshold_service_server::ThresholdService};
use runspine_controls_domain::{
    limit::Limit,
    reasons,
    threshold::{Bound, DEFAULT_NEAR, FAILURE_SIGNAL, NEAR_PERMILLE},
};
use runspine_errors::{Fault, mesh};
use runspine_rpc::{Context, context, status};
use tonic::{Request, Response, Status};

use super::{Rpc, admission::mixed_up, checks::Checks};
use crate::{
    app::{
        accounts::{Call, Out},
        signals::{effective_to, in_scope},
    },
    store::{overrides, rows::LeaseRow, views},
    words::params_from,
};

#[tonic::async_trait]
impl ThresholdService for Rpc {
    async fn get_threshold_defaults(
        &self,
        request: Request<pb::GetThresholdDefaultsRequest>,
    ) -> Result<Response<pb::GetThresholdDefaultsResponse>, Status> {
        context(&request)?;
        Ok(Response::new(pb::GetThresholdDefaultsResponse { thresholds: defaults() }))
    }

    async fn validate_thresholds(
        &self,
        request: Request<pb::ValidateThresholdsRequest>,
    ) -> Result<Response<pb::ValidateThresholdsResponse>, Status> {
        context(&request)?;
        let (params, mut wrong) = params_from(&request.into_inner().params, "");
        wrong.extend(params.violations(""));
        let violation = |(field, reason, message): (String, &'static runspine_errors::Reason, String)| {
            let key = field.trim_start_matches('.').to_owned();
            pb::ThresholdViolation { key, reason: reason.name.to_owned(), message }
        };
        let violations = wrong.into_iter().map(violation).collect();
        Ok(Response::new(pb::ValidateThresholdsResponse { violations }))
    }

    async fn get_effective_thresholds(
        &self,
        request: Request<pb::GetEffectiveThresholdsRequest>,
    ) -> Result<Response<pb::GetEffectiveThresholdsResponse>, Status> {
        let context = context(&request)?;
        self.effective(&context.tenant_id, request.into_inner()).await.map(Response::new).map_err(status)
    }

    async fn evaluate_run_thresholds(
        &self,
        request: Request<pb::EvaluateRunThresholdsRequest>,
    ) -> Result<Response<pb::EvaluateRunThresholdsResponse>, Status> {
        let context = context(&request)?;
        let call = parse(&context, request.into_inner()).map_err(status)?;
        match self.app.accounts.submit(call).await.map_err(status)? {
            Out::Evaluated(response) => Ok(Response::new(response)),
            _ => Err(mixed_up()),
        }
    }
}

impl Rpc {
    async fn effective(
        &self,
        tenant: &str,
        request: pb::GetEffectiveThresholdsRequest,
    ) -> Result<pb::GetEffectiveThresholdsResponse, Fault> {
        let mut checks = Checks::default();
        checks.optional_id("run_id", &request.run_id);
        let named = request.scope.is_some() || !request.run_id.is_empty();
        checks.require(named, &mesh::FIELD_INVALID, "scope", "is required without run_id");
        checks.done(Some(()))?;
        let read = self.app.db.read();
        let lease = if request.run_id.is_empty() {
            let scope = prost::Message::encode_to_vec(&request.scope.unwrap_or_default()).into();
            LeaseRow::of_nobody(tenant, scope)
        } else {
            let lease = views::lease(read, tenant, &request.run_id, 0).await?;
            lease.ok_or_else(|| {
                Fault::new(&reasons::RUN_LEASE_NOT_FOUND, "controls has no lease of this run")
            })?
        };
        let scope = lease.run_scope()?;
        let limits = self.app.limits_of(tenant).await?;
        let active = |l: &&Limit| l.state == runspine_controls_domain::words::LimitState::Active;
        let overrides = overrides::approved_of(read, tenant).await?;
        let now = self.app.clock.now();
        let effective = in_scope(limits.iter().filter(active), &overrides, &scope, now);
        Ok(pb::GetEffectiveThresholdsResponse { thresholds: effective_to(&effective) })
    }
}

fn defaults() -> Vec<pb::ThresholdDefault> {
    let bound = |bound: &Bound| {
        let (least, most) = bound.range();
        let (key, value, unit) = (bound.name().to_owned(), bound.default_value(), bound.unit().code());
        pb::ThresholdDefault { key, value: value.unwrap_or(0), least, most, unit }
    };
    let other = |key: &str, value: i64, least: i64, most: i64| pb::ThresholdDefault {
        key: key.to_owned(),
        value,
        least,
        most,
        unit: 0,
    };
    let others = [other(FAILURE_SIGNAL, 1, 0, 1), other(NEAR_PERMILLE, i64::from(DEFAULT_NEAR), 500, 990)];
    Bound::ALL.iter().map(bound).chain(others).collect()
}

fn parse(context: &Context, request: pb::EvaluateRunThresholdsRequest) -> Result<Call, Fault> {
    let mut checks = Checks::default();
    let run = checks.run(&context.tenant_id, &request.run_id, request.attempt);
    checks.require(request.totals.is_some(), &mesh::FIELD_INVALID, "totals", "is required");
    let known = |code| common::TerminationReason::try_from(code).ok();
    let outcome = checks.optional_word("outcome", request.outcome, known);
    let now = checks.time("now", request.now.as_ref());
    let failed = outcome.is_some_and(failed);
    let totals = request.totals.unwrap_or_default();
    checks.done(Some(Call::Evaluate { caller: context.into(), run, totals, failed, now }))
}

/// Whether a run that ends so has failed.
pub(super) fn failed(outcome: common::TerminationReason) -> bool {
    use common::TerminationReason::{AgentFailure, SystemFailure, Timeout};
    matches!(outcome, AgentFailure | SystemFailure | Timeout)
}
