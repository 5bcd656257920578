//! BudgetService: the part that moves amounts parses here; what looks on is in `budget_views`.

use std::sync::Arc;

use contracts_common::common::v1 as common;
use contracts_controls::v1::{self as pb, budget_service_server::BudgetService};
use runspine_controls_domain::{
    reasons,
    words::{EstimateSource, Profile, ReleaseReason, StepKind},
};
use runspine_errors::{Fault, mesh};
use runspine_rpc::{Context, context, status};
use tonic::{Request, Response, Status};

use super::{Rpc, admission::mixed_up, checks::Checks, digest_of, keyed, threshold::failed};
use crate::app::accounts::{Ask, Call, Out, Target};

const ADJUST: &str = "runspine.controls.v1.BudgetService/AdjustEnvelope";
const APPROVE: &str = "runspine.controls.v1.BudgetService/ApproveAdjustment";
const SUSPEND: &str = "runspine.controls.v1.BudgetService/SuspendEnvelope";
const RESUME: &str = "runspine.controls.v1.BudgetService/ResumeEnvelope";

/// Submits a call and takes the answer of its kind.
macro_rules! submit {
    ($self:ident, $call:expr, $out:ident) => {
        match $self.app.accounts.submit($call.map_err(status)?).await.map_err(status)? {
            Out::$out(response) => Ok(Response::new(response)),
            _ => Err(mixed_up()),
        }
    };
}

#[tonic::async_trait]
impl BudgetService for Rpc {
    async fn reserve(
        &self,
        request: Request<pb::ReserveRequest>,
    ) -> Result<Response<pb::ReserveResponse>, Status> {
        let context = context(&request)?;
        let call = parse_reserve(&context, request.into_inner()).map_err(status)?;
        match self.app.accounts.submit(call).await.map_err(status)? {
            Out::Step(pb::AdmitStepResponse { admission, hold }) => {
                Ok(Response::new(pb::ReserveResponse { admission, hold }))
            }
            _ => Err(mixed_up()),
        }
    }

    async fn extend(
        &self,
        request: Request<pb::ExtendRequest>,
    ) -> Result<Response<pb::ExtendResponse>, Status> {
        let context = context(&request)?;
        submit!(self, parse_extend(&context, request.into_inner()), Extend)
    }

    async fn settle(
        &self,
        request: Request<pb::SettleRequest>,
    ) -> Result<Response<pb::SettleResponse>, Status> {
        let context = context(&request)?;
        submit!(self, parse_settle(&context, request.into_inner()), Settle)
    }

    async fn release(
        &self,
        request: Request<pb::ReleaseRequest>,
    ) -> Result<Response<pb::ReleaseResponse>, Status> {
        let context = context(&request)?;
        submit!(self, parse_release(&context, request.into_inner()), Release)
    }

    async fn settle_run(
        &self,
        request: Request<pb::SettleRunRequest>,
    ) -> Result<Response<pb::SettleRunResponse>, Status> {
        let context = context(&request)?;
        submit!(self, parse_settle_run(&context, request.into_inner()), SettleRun)
    }

    async fn reverse_settlement(
        &self,
        request: Request<pb::ReverseSettlementRequest>,
    ) -> Result<Response<pb::ReverseSettlementResponse>, Status> {
        let context = context(&request)?;
        submit!(self, parse_reverse(&context, request.into_inner()), Reverse)
    }

    async fn get_run_budget(
        &self,
        request: Request<pb::GetRunBudgetRequest>,
    ) -> Result<Response<pb::GetRunBudgetResponse>, Status> {
        let context = context(&request)?;
        self.run_budget(&context.tenant_id, request.into_inner()).await.map(Response::new).map_err(status)
    }

    async fn get_envelope(
        &self,
        request: Request<pb::GetEnvelopeRequest>,
    ) -> Result<Response<pb::GetEnvelopeResponse>, Status> {
        let context = context(&request)?;
        self.envelope(&context.tenant_id, request.into_inner()).await.map(Response::new).map_err(status)
    }

    async fn list_envelopes(
        &self,
        request: Request<pb::ListEnvelopesRequest>,
    ) -> Result<Response<pb::ListEnvelopesResponse>, Status> {
        let context = context(&request)?;
        self.envelopes(&context.tenant_id, request.into_inner()).await.map(Response::new).map_err(status)
    }

    async fn list_budget_entries(
        &self,
        request: Request<pb::ListBudgetEntriesRequest>,
    ) -> Result<Response<pb::ListBudgetEntriesResponse>, Status> {
        let context = context(&request)?;
        self.entries(&context.tenant_id, request.into_inner()).await.map(Response::new).map_err(status)
    }

    async fn adjust_envelope(
        &self,
        request: Request<pb::AdjustEnvelopeRequest>,
    ) -> Result<Response<pb::AdjustEnvelopeResponse>, Status> {
        let context = context(&request)?;
        let request = request.into_inner();
        let mut checks = Checks::default();
        checks.request_id(&request.request_id);
        checks.id("envelope_id", &request.envelope_id);
        let fits = request.amount != 0 && request.amount.unsigned_abs() <= 1_000_000_000_000_000;
        checks.require(fits, &reasons::AMOUNT_INVALID, "amount", "is not 0, and at most 10^15 either way");
        checks.reason(&request.reason, 10);
        checks.done(Some(())).map_err(status)?;
        let keyed = keyed(&context, ADJUST, &request.request_id, &request);
        let (id, amount, reason) = (request.envelope_id, request.amount, request.reason);
        self.app.adjust_envelope(keyed, id, amount, reason).await.map(Response::new).map_err(status)
    }

    async fn approve_adjustment(
        &self,
        request: Request<pb::ApproveAdjustmentRequest>,
    ) -> Result<Response<pb::ApproveAdjustmentResponse>, Status> {
        let context = context(&request)?;
        let request = request.into_inner();
        let mut checks = Checks::default();
        checks.request_id(&request.request_id);
        checks.id("adjustment_id", &request.adjustment_id);
        checks.done(Some(())).map_err(status)?;
        let keyed = keyed(&context, APPROVE, &request.request_id, &request);
        self.app.approve_adjustment(keyed, request.adjustment_id).await.map(Response::new).map_err(status)
    }

    async fn suspend_envelope(
        &self,
        request: Request<pb::SuspendEnvelopeRequest>,
    ) -> Result<Response<pb::SuspendEnvelopeResponse>, Status> {
        let context = context(&request)?;
        let request = request.into_inner();
        check_order(&request.request_id, &request.envelope_id, &request.reason).map_err(status)?;
        let keyed = keyed(&context, SUSPEND, &request.request_id, &request);
        let envelope = self.app.suspend_envelope(keyed, request.envelope_id, true, request.reason).await;
        Ok(Response::new(pb::SuspendEnvelopeResponse { envelope: Some(envelope.map_err(status)?) }))
    }

    async fn resume_envelope(
        &self,
        request: Request<pb::ResumeEnvelopeRequest>,
    ) -> Result<Response<pb::ResumeEnvelopeResponse>, Status> {
        let context = context(&request)?;
        let request = request.into_inner();
        check_order(&request.request_id, &request.envelope_id, &request.reason).map_err(status)?;
        let keyed = keyed(&context, RESUME, &request.request_id, &request);
        let envelope = self.app.suspend_envelope(keyed, request.envelope_id, false, request.reason).await;
        Ok(Response::new(pb::ResumeEnvelopeResponse { envelope: Some(envelope.map_err(status)?) }))
    }

    async fn verify_envelope(
        &self,
        request: Request<pb::VerifyEnvelopeRequest>,
    ) -> Result<Response<pb::VerifyEnvelopeResponse>, Status> {
        let context = context(&request)?;
        self.verify(&context.tenant_id, request.into_inner()).await.map(Response::new).map_err(status)
    }
}

fn check_order(request_id: &str, envelope_id: &str, reason: &str) -> Result<(), Fault> {
    let mut checks = Checks::default();
    checks.request_id(request_id);
    checks.id("envelope_id", envelope_id);
    checks.reason(reason, 10);
    checks.done(Some(()))
}

fn parse_reserve(context: &Context, request: pb::ReserveRequest) -> Result<Call, Fault> {
    let mut checks = Checks::default();
    let run = checks.run(&context.tenant_id, &request.run_id, request.attempt);
    checks.require(request.fence > 0, &mesh::FIELD_INVALID, "fence", "must be 1 or more");
    let kind = checks.word("kind", request.kind, StepKind::from_code);
    checks.amounts("amounts", request.amounts.as_ref());
    let source = checks.optional_word("estimate_source", request.estimate_source, EstimateSource::from_code);
    let profile = checks.word("profile", request.profile, Profile::from_code);
    let now = checks.time("now", request.now.as_ref());
    let body = pb::ReserveRequest { fence: 0, profile: 0, now: None, ..request.clone() };
    let ask = kind.zip(profile).map(|(kind, profile)| Ask {
        caller: context.into(),
        run,
        step: Some(request.step_index),
        ask: request.ask,
        decision_id: String::new(),
        digest: digest_of(&body),
        scope: None,
        fence: request.fence,
        expires_at: None,
        amounts: request.amounts,
        source: source.unwrap_or(EstimateSource::Client),
        kind,
        resource: String::new(),
        place: Default::default(),
        totals: None,
        repeats: 0,
        profile,
        now,
        bypass_id: String::new(),
        full: false,
    });
    Ok(Call::Ask(Arc::new(checks.done(ask)?)))
}

fn parse_extend(context: &Context, request: pb::ExtendRequest) -> Result<Call, Fault> {
    let mut checks = Checks::default();
    let target = parse_target(&mut checks, context, request.hold.as_ref(), false);
    checks.amounts("extra", request.extra.as_ref());
    let call = target.map(|target| Call::Extend {
        caller: context.into(),
        target,
        ask: request.ask,
        extra: request.extra.unwrap_or_default(),
        digest: digest_of(&request),
    });
    checks.done(call)
}

fn parse_settle(context: &Context, request: pb::SettleRequest) -> Result<Call, Fault> {
    let mut checks = Checks::default();
    let target = parse_target(&mut checks, context, request.hold.as_ref(), false);
    checks.amounts("actual", request.actual.as_ref());
    let outcome = checks.word("outcome", request.outcome, |code| common::StepOutcome::try_from(code).ok());
    let retried = outcome == Some(common::StepOutcome::Retried);
    let what = "a try that another one follows is booked by Extend";
    checks.require(!retried, &mesh::FIELD_INVALID, "outcome", what);
    let kind = checks.optional_word("kind", request.kind, StepKind::from_code);
    checks.text("resource", &request.resource, 256);
    // The same step named by id or by place is the same request.
    let body = pb::SettleRequest { actual: request.actual, outcome: request.outcome, ..Default::default() };
    let digest = digest_of(&body);
    let call = target.zip(outcome).map(|(target, outcome)| Call::Settle {
        caller: context.into(),
        target,
        actual: request.actual.unwrap_or_default(),
        outcome,
        totals: request.totals,
        did: kind.map(|kind| (kind, request.resource)),
        digest,
    });
    checks.done(call)
}

fn parse_release(context: &Context, request: pb::ReleaseRequest) -> Result<Call, Fault> {
    let mut checks = Checks::default();
    let target = parse_target(&mut checks, context, request.hold.as_ref(), true);
    let reason = checks.word("reason", request.reason, ReleaseReason::from_code);
    let call =
        target.zip(reason).map(|(target, reason)| Call::Release { caller: context.into(), target, reason });
    checks.done(call)
}

fn parse_settle_run(context: &Context, request: pb::SettleRunRequest) -> Result<Call, Fault> {
    let mut checks = Checks::default();
    let run = checks.run(&context.tenant_id, &request.run_id, request.attempt);
    let outcome =
        checks.word("outcome", request.outcome, |code| common::TerminationReason::try_from(code).ok());
    let call = outcome.map(|outcome| Call::SettleRun {
        caller: context.into(),
        run,
        outcome: outcome as i32,
        totals: request.totals,
        failed: failed(outcome),
    });
    checks.done(call)
}

fn parse_reverse(context: &Context, request: pb::ReverseSettlementRequest) -> Result<Call, Fault> {
    let mut checks = Checks::default();
    checks.id("settlement_id", &request.settlement_id);
    checks.words_of("saga_id", &request.saga_id, 1, 128);
    checks.reason(&request.reason, 10);
    checks.done(Some(Call::Reverse {
        caller: context.into(),
        settlement_id: request.settlement_id,
        saga_id: request.saga_id,
        reason: request.reason,
    }))
}

fn parse_target(
    checks: &mut Checks,
    context: &Context,
    hold: Option<&pb::HoldRef>,
    run_alone: bool,
) -> Option<Target> {
    checks.require(hold.is_some(), &mesh::FIELD_INVALID, "hold", "is required");
    let hold = hold?;
    if !hold.hold_id.is_empty() {
        checks.id("hold.hold_id", &hold.hold_id);
        return Some(Target::Id(hold.hold_id.clone()));
    }
    let run = checks.run(&context.tenant_id, &hold.run_id, hold.attempt);
    match hold.step_index {
        Some(step) => Some(Target::Step(run, step)),
        None if run_alone => Some(Target::Run(run)),
        None => {
            checks.require(false, &mesh::FIELD_INVALID, "hold.step_index", "is required without hold_id");
            None
        }
    }
}
