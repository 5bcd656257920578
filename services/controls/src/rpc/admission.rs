//! AdmissionService.

use std::time::Instant;

use contracts_controls::v1::{self as pb, admission_service_server::AdmissionService};
use runspine_controls_domain::words::{EstimateSource, Profile, StepKind};
use runspine_errors::{Fault, mesh};
use runspine_rpc::{Context, context, status};
use tonic::{Request, Response, Status};

use super::{Rpc, checks::Checks, digest_of};
use crate::{
    app::accounts::{Ask, Call, Out},
    metrics::{ADMISSION, RUN, STEP},
};

/// What came back is not the answer of the call.
pub(super) fn mixed_up() -> Status {
    status(Fault::new(&mesh::INTERNAL, "the answer is of another call"))
}

#[tonic::async_trait]
impl AdmissionService for Rpc {
    async fn admit_run(
        &self,
        request: Request<pb::AdmitRunRequest>,
    ) -> Result<Response<pb::AdmitRunResponse>, Status> {
        let context = context(&request)?;
        let ask = parse_run(&context, request.into_inner()).map_err(status)?;
        let begun = Instant::now();
        let out = self.app.ask(ask).await.map_err(status)?;
        ADMISSION.since(begun, &[("what", RUN)]);
        match out {
            Out::Run(response) => Ok(Response::new(response)),
            _ => Err(mixed_up()),
        }
    }

    async fn admit_step(
        &self,
        request: Request<pb::AdmitStepRequest>,
    ) -> Result<Response<pb::AdmitStepResponse>, Status> {
        let context = context(&request)?;
        let ask = parse_step(&context, request.into_inner()).map_err(status)?;
        let begun = Instant::now();
        let out = self.app.ask(ask).await.map_err(status)?;
        ADMISSION.since(begun, &[("what", STEP)]);
        match out {
            Out::Step(response) => Ok(Response::new(response)),
            _ => Err(mixed_up()),
        }
    }

    async fn renew_run_lease(
        &self,
        request: Request<pb::RenewRunLeaseRequest>,
    ) -> Result<Response<pb::RenewRunLeaseResponse>, Status> {
        let context = context(&request)?;
        let request = request.into_inner();
        let mut checks = Checks::default();
        let run = checks.run(&context.tenant_id, &request.run_id, request.attempt);
        checks.require(request.fence > 0, &mesh::FIELD_INVALID, "fence", "must be 1 or more");
        let expires_at = checks.time("expires_at", request.expires_at.as_ref());
        let (run, fence) = checks.done(Some((run, request.fence))).map_err(status)?;
        let epoch_seen = request.freeze_epoch_seen;
        let call = Call::Renew { caller: (&context).into(), run, fence, expires_at, epoch_seen };
        match self.app.accounts.submit(call).await.map_err(status)? {
            Out::Renew(response) => Ok(Response::new(response)),
            _ => Err(mixed_up()),
        }
    }

    async fn simulate_admission(
        &self,
        request: Request<pb::SimulateAdmissionRequest>,
    ) -> Result<Response<pb::SimulateAdmissionResponse>, Status> {
        let context = context(&request)?;
        let ask = parse_simulation(&context, request.into_inner()).map_err(status)?;
        self.app.simulate(ask).await.map(Response::new).map_err(status)
    }

    async fn get_controls_health(
        &self,
        request: Request<pb::GetControlsHealthRequest>,
    ) -> Result<Response<pb::GetControlsHealthResponse>, Status> {
        context(&request)?;
        Ok(Response::new(self.app.health().await))
    }
}

fn parse_run(context: &Context, request: pb::AdmitRunRequest) -> Result<Ask, Fault> {
    let mut checks = Checks::default();
    let run = checks.run(&context.tenant_id, &request.run_id, request.attempt);
    checks.text("decision_id", &request.decision_id, 128);
    check_scope(&mut checks, request.scope.as_ref());
    checks.amounts("requested", request.requested.as_ref());
    let lease = request.lease.clone().unwrap_or_default();
    checks.require(lease.fence > 0, &mesh::FIELD_INVALID, "lease.fence", "must be 1 or more");
    let expires_at = checks.time("lease.expires_at", lease.expires_at.as_ref());
    let profile = checks.word("profile", request.profile, Profile::from_code);
    let now = checks.time("now", request.now.as_ref());
    let body = pb::AdmitRunRequest {
        decision_id: String::new(),
        lease: None,
        profile: 0,
        now: None,
        ..request.clone()
    };
    let ask = profile.map(|profile| Ask {
        caller: context.into(),
        run,
        step: None,
        ask: request.ask,
        decision_id: request.decision_id,
        digest: digest_of(&body),
        scope: request.scope,
        fence: lease.fence,
        expires_at,
        amounts: request.requested,
        source: EstimateSource::Client,
        kind: StepKind::LlmCall,
        resource: String::new(),
        place: Default::default(),
        totals: None,
        repeats: 0,
        profile,
        now,
        bypass_id: String::new(),
        full: true,
    });
    checks.done(ask)
}

fn parse_step(context: &Context, request: pb::AdmitStepRequest) -> Result<Ask, Fault> {
    let mut checks = Checks::default();
    let run = checks.run(&context.tenant_id, &request.run_id, request.attempt);
    checks.text("decision_id", &request.decision_id, 128);
    checks.require(request.fence > 0, &mesh::FIELD_INVALID, "fence", "must be 1 or more");
    checks.optional_id("bypass_id", &request.bypass_id);
    let kind = checks.word("kind", request.kind, StepKind::from_code);
    for (field, text) in [
        ("resource", &request.resource),
        ("provider", &request.provider),
        ("model", &request.model),
        ("tool", &request.tool),
    ] {
        checks.text(field, text, 256);
    }
    let digest = matches!(request.arguments_digest.len(), 0 | 32);
    checks.require(digest, &mesh::FIELD_INVALID, "arguments_digest", "must be 32 bytes, or empty");
    checks.amounts("estimate", request.estimate.as_ref());
    let profile = checks.word("profile", request.profile, Profile::from_code);
    let now = checks.time("now", request.now.as_ref());
    let body = pb::AdmitStepRequest {
        decision_id: String::new(),
        fence: 0,
        totals: None,
        repeats: 0,
        profile: 0,
        now: None,
        bypass_id: String::new(),
        ..request.clone()
    };
    let ask = kind.zip(profile).map(|(kind, profile)| Ask {
        caller: context.into(),
        run,
        step: Some(request.step_index),
        ask: request.ask,
        decision_id: request.decision_id,
        digest: digest_of(&body),
        scope: None,
        fence: request.fence,
        expires_at: None,
        amounts: request.estimate,
        source: EstimateSource::Client,
        kind,
        resource: request.resource,
        place: [request.provider, request.model, request.tool],
        totals: request.totals,
        repeats: request.repeats,
        profile,
        now,
        bypass_id: request.bypass_id,
        full: true,
    });
    checks.done(ask)
}

fn parse_simulation(context: &Context, request: pb::SimulateAdmissionRequest) -> Result<Ask, Fault> {
    let mut checks = Checks::default();
    check_scope(&mut checks, request.scope.as_ref());
    checks.amounts("amounts", request.amounts.as_ref());
    let now = checks.time("at", request.at.as_ref());
    let stated = if request.profile == 0 { context.profile } else { request.profile };
    let profile = checks.optional_word("profile", stated, Profile::from_code);
    let ask = Ask {
        caller: context.into(),
        run: crate::store::desk::RunRef {
            tenant_id: context.tenant_id.clone(),
            run_id: runspine_types::new_id(),
            attempt: 1,
        },
        step: None,
        ask: 0,
        decision_id: String::new(),
        digest: digest_of(&request),
        scope: request.scope,
        fence: 1,
        expires_at: None,
        amounts: request.amounts,
        source: EstimateSource::Client,
        kind: StepKind::LlmCall,
        resource: String::new(),
        place: Default::default(),
        totals: None,
        repeats: 0,
        profile: profile.unwrap_or(Profile::Standard),
        now,
        bypass_id: String::new(),
        full: true,
    };
    checks.done(Some(ask))
}

fn check_scope(checks: &mut Checks, scope: Option<&pb::ScopeTuple>) {
    checks.require(scope.is_some(), &mesh::FIELD_INVALID, "scope", "is required");
    let Some(scope) = scope else { return };
    for (field, text) in [
        ("scope.project_id", &scope.project_id),
        ("scope.agent_id", &scope.agent_id),
        ("scope.api_key_id", &scope.api_key_id),
        ("scope.human_actor_id", &scope.human_actor_id),
        ("scope.provider", &scope.provider),
        ("scope.model", &scope.model),
    ] {
        checks.text(field, text, 128);
    }
    let groups = scope.agent_groups.len() <= 32;
    checks.require(groups, &mesh::FIELD_INVALID, "scope.agent_groups", "has at most 32");
    for group in &scope.agent_groups {
        checks.text("scope.agent_groups", group, 128);
    }
}
