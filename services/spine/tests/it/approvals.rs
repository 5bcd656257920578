//! Approvals end to end: a step and a start that a person has to approve, over the real domains.

use std::{sync::Arc, time::Duration};

use contracts_common::common::v1::{
    Actor, ActorType, CallContext, Directive, RunPhase, RunStatus, StepKind, StepOutcome, Verdict,
};
use contracts_policies::v1::{
    self as policies, approval_service_client::ApprovalServiceClient, rule_service_client::RuleServiceClient,
};
use contracts_spine::v1::{self as pb, run_service_client::RunServiceClient};
use runspine_boot::{CancellationToken, Deps, Service};
use runspine_rpc::{Context, Stack, Transport};
use runspine_spine::{
    Spine,
    bridges::Targets,
    worker::{reactor, reconciler},
};
use runspine_testkit::{eventually, until_ok};
use runspine_types::{Clock, FixedClock, SystemClock, new_id};
use tonic::Request;

use crate::{contract::domains, deferred::written};

const WHY: &str = "because the test wants it";
const PATIENCE: Duration = Duration::from_secs(60);

/// A mesh in one process with the worker that hears of approvals.
struct House {
    spine: Spine,
    domains: Vec<Service>,
    tenant: String,
    stop: CancellationToken,
    _folder: tempfile::TempDir,
}

impl Drop for House {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl House {
    async fn with_rule(slug: &str, policy: &str) -> Self {
        let house = Self::open(Arc::new(SystemClock)).await;
        house.rule(slug, policy).await;
        house
    }

    async fn open(clock: Arc<dyn Clock>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let deps = Deps::for_tests(folder.path()).unwrap().with_clock(clock);
        let domains = domains(&deps).await;
        let mesh = domains.iter().fold(runspine_rpc::Mesh::new(), |mesh, d| mesh.local(&d.stack));
        let spine =
            runspine_spine::service(deps.settings.section("spine").unwrap(), &deps, &mesh).await.unwrap();
        let house =
            Self { spine, domains, tenant: new_id(), stop: CancellationToken::new(), _folder: folder };
        house.listen();
        house
    }

    fn stack(&self, domain: &str) -> &Stack {
        &self.domains.iter().find(|d| d.name == domain).unwrap().stack
    }

    fn listen(&self) {
        let way = |domain| Transport::local(self.stack(domain));
        let targets = Targets {
            activity: way("activity"),
            incidents: way("incidents"),
            policies: way("policies"),
            logs: way("logs"),
            controls: way("controls"),
        };
        let calls = [reactor::CALLS, reconciler::CALLS].concat();
        let operation = self.spine.service.stack.registry().worker("reactor", &calls).unwrap();
        let call = CallContext {
            tenant_id: runspine_types::PLATFORM_TENANT.to_owned(),
            actor: Some(Actor { r#type: ActorType::System.into(), id: "spine".to_owned() }),
            correlation_id: new_id(),
            ..CallContext::default()
        };
        let context = Context::serving(&operation, call, None);
        let worker = reactor::Reactor::new(Arc::clone(&self.spine.kernel), context, &targets);
        tokio::spawn(worker.run(self.stop.clone()));
    }

    /// A request of a person of the tenant.
    fn of<M>(&self, stack: &Stack, operation: &str, who: &str, message: M) -> Request<M> {
        let operation = stack.registry().operation(operation).unwrap();
        let call = CallContext {
            tenant_id: self.tenant.clone(),
            actor: Some(Actor { r#type: ActorType::Human.into(), id: who.to_owned() }),
            credential_id: who.to_owned(),
            roles: vec!["OWNER".to_owned()],
            correlation_id: new_id(),
            profile: 2,
            config_digest: vec![7; 32].into(),
            ..CallContext::default()
        };
        Context::serving(operation, call, None).request(message)
    }

    fn ask<M>(&self, operation: &str, message: M) -> Request<M> {
        let operation = format!("runspine.spine.v1.RunService/{operation}");
        self.of(&self.spine.service.stack, &operation, "ada", message)
    }

    fn judge<M>(&self, operation: &str, who: &str, message: M) -> Request<M> {
        self.of(self.stack("policies"), &format!("runspine.policies.v1.{operation}"), who, message)
    }

    fn runs(&self) -> RunServiceClient<Transport> {
        RunServiceClient::new(Transport::local(&self.spine.service.stack))
    }

    fn approvals(&self) -> ApprovalServiceClient<Transport> {
        ApprovalServiceClient::new(Transport::local(self.stack("policies")))
    }

    async fn rule(&self, slug: &str, policy: &str) {
        self.rule_that(slug, "@outcome(\"require_approval\")", policy).await;
    }

    async fn rule_that(&self, slug: &str, outcome: &str, policy: &str) {
        let content = policies::RuleContent {
            slug: slug.to_owned(),
            cedar: format!("@id(\"{slug}\") @reason(\"NEEDS_A_PERSON\") {outcome}\n{policy}"),
            mode: policies::RuleMode::Block.into(),
            ..Default::default()
        };
        let mut rules = RuleServiceClient::new(Transport::local(self.stack("policies")));
        let create = policies::CreateRuleRequest { request_id: new_id(), content: Some(content) };
        let made = rules.create_rule(self.judge("RuleService/CreateRule", "rita", create)).await.unwrap();
        let rule = made.into_inner().rule.unwrap();
        let activate = policies::ActivateRuleRequest {
            request_id: new_id(),
            rule_id: rule.rule_id,
            version: rule.version,
            expected_version: rule.revision,
            reason: WHY.to_owned(),
        };
        rules.activate_rule(self.judge("RuleService/ActivateRule", "rita", activate)).await.unwrap();
    }

    async fn start(&self) -> pb::StartRunResponse {
        let start = pb::StartRunRequest {
            request_id: new_id(),
            run_id: new_id(),
            project_id: "shop".to_owned(),
            agent_id: "agent".to_owned(),
            origin_system_id: "test".to_owned(),
            goal: "Pay a bill.".to_owned(),
            ..Default::default()
        };
        // A start whose time was over on a busy machine goes on where it stopped.
        until_ok(PATIENCE, || async {
            self.runs().start_run(self.ask("StartRun", start.clone())).await.map(tonic::Response::into_inner)
        })
        .await
    }

    async fn pay(&self, run_id: &str, fence: u64, ask: u32, approval_id: &str) -> pb::Decision {
        let step = pb::AuthorizeStepRequest {
            run_id: run_id.to_owned(),
            attempt: 1,
            fence,
            ask,
            step_index: Some(0),
            kind: StepKind::ToolCall.into(),
            name: "pay".to_owned(),
            tool: "pay".to_owned(),
            arguments_digest: vec![3; 32].into(),
            approval_id: approval_id.to_owned(),
            ..Default::default()
        };
        let answer = until_ok(PATIENCE, || async {
            self.runs().authorize_step(self.ask("AuthorizeStep", step.clone())).await
        })
        .await;
        answer.into_inner().decision.unwrap()
    }

    async fn approval(&self, id: &str) -> policies::Approval {
        let get = policies::GetApprovalRequest { approval_id: id.to_owned() };
        let found =
            self.approvals().get_approval(self.judge("ApprovalService/GetApproval", "bob", get)).await;
        found.unwrap().into_inner().approval.unwrap()
    }

    async fn approve(&self, id: &str) {
        let action_digest = self.approval(id).await.action_digest;
        let vote = policies::ApproveRequest {
            request_id: new_id(),
            approval_id: id.to_owned(),
            action_digest,
            note: String::new(),
        };
        self.approvals().approve(self.judge("ApprovalService/Approve", "bob", vote)).await.unwrap();
    }

    async fn run(&self, run_id: &str) -> pb::Run {
        let get = pb::GetRunRequest { run_id: run_id.to_owned(), ..Default::default() };
        let found = self.runs().get_run(self.ask("GetRun", get)).await.unwrap();
        found.into_inner().run.unwrap()
    }

    async fn until(&self, run_id: &str, phase: RunPhase, status: RunStatus) {
        eventually(PATIENCE, || async {
            let run = self.run(run_id).await;
            (run.phase(), run.status()) == (phase, status)
        })
        .await;
    }

    async fn claim(&self, run_id: &str) -> u64 {
        self.try_claim(run_id).await.lease.expect("a lease").fence
    }

    async fn try_claim(&self, run_id: &str) -> pb::RenewLeaseResponse {
        let claim = pb::RenewLeaseRequest {
            request_id: new_id(),
            run_id: run_id.to_owned(),
            attempt: 1,
            claim: true,
            ..Default::default()
        };
        self.runs().renew_lease(self.ask("RenewLease", claim)).await.unwrap().into_inner()
    }
}

const PAY: &str =
    "forbid(principal, action == Runspine::Action::\"tool_call\", resource == Runspine::Tool::\"pay\");";
const START: &str = "forbid(principal, action == Runspine::Action::\"start_run\", resource);";

/// The run pauses for the approval, goes on when it is given, and the step is done under it once.
#[tokio::test(flavor = "multi_thread")]
async fn a_step_waits_for_a_person() {
    let house = House::with_rule("pay", PAY).await;
    let started = house.start().await;
    let (run_id, fence) = (started.run.unwrap().run_id, started.lease.unwrap().fence);
    let asked = house.pay(&run_id, fence, 0, "").await;
    assert_eq!((asked.effective_verdict(), asked.directive()), (Verdict::RequireApproval, Directive::Pause));
    assert!(!asked.approval_id.is_empty());
    house.until(&run_id, RunPhase::Executing, RunStatus::Paused).await;
    house.approve(&asked.approval_id).await;
    house.until(&run_id, RunPhase::Executing, RunStatus::Running).await;
    let fence = house.claim(&run_id).await;
    let done = house.pay(&run_id, fence, 1, &asked.approval_id).await;
    assert_eq!((done.effective_verdict(), done.directive()), (Verdict::Allow, Directive::Continue));
    assert_eq!(done.approval_id, asked.approval_id);
    assert_eq!(house.approval(&asked.approval_id).await.state(), policies::ApprovalState::Used);
}

/// What a run waits for ends with the run.
#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_asked_about_a_run_that_ended() {
    let house = House::with_rule("pay", PAY).await;
    let started = house.start().await;
    let (run_id, fence) = (started.run.unwrap().run_id, started.lease.unwrap().fence);
    let asked = house.pay(&run_id, fence, 0, "").await;
    let end = pb::CompleteRunRequest {
        run_id: run_id.clone(),
        attempt: 1,
        fence,
        outcome: StepOutcome::Failure.into(),
        error_code: "GAVE_UP".to_owned(),
        ..Default::default()
    };
    until_ok(PATIENCE, || async { complete(&house, end.clone()).await }).await;
    assert_eq!(house.approval(&asked.approval_id).await.state(), policies::ApprovalState::Cancelled);
}

async fn complete(house: &House, end: pb::CompleteRunRequest) -> Result<(), String> {
    let done = house.runs().complete_run(house.ask("CompleteRun", end)).await;
    let saga = done.map_err(|s| s.to_string())?.into_inner().saga.unwrap_or_default();
    if saga.is_complete { Ok(()) } else { Err(format!("{saga:?}")) }
}

/// A start waits for a person, and then for a worker; one that is rejected ends.
#[tokio::test(flavor = "multi_thread")]
async fn a_start_waits_for_a_person() {
    let house = House::with_rule("start", START).await;
    let (first, second) = (house.start().await, house.start().await);
    for started in [&first, &second] {
        assert_eq!(started.outcome(), pb::StartOutcome::Waiting, "{started:?}");
        assert_eq!(started.run.as_ref().unwrap().status(), RunStatus::PendingApproval);
    }
    let of = |s: &pb::StartRunResponse| {
        (s.run.as_ref().unwrap().run_id.clone(), s.decision.as_ref().unwrap().approval_id.clone())
    };
    let ((run_id, approval_id), (other, rejected)) = (of(&first), of(&second));
    house.approve(&approval_id).await;
    house.until(&run_id, RunPhase::Authorized, RunStatus::Queued).await;
    assert_eq!(house.approval(&approval_id).await.state(), policies::ApprovalState::Used);
    assert!(house.claim(&run_id).await >= 1);
    house.until(&run_id, RunPhase::Executing, RunStatus::Running).await;
    let action_digest = house.approval(&rejected).await.action_digest;
    let vote = policies::RejectRequest {
        request_id: new_id(),
        approval_id: rejected.clone(),
        action_digest,
        reason: WHY.to_owned(),
    };
    house.approvals().reject(house.judge("ApprovalService/Reject", "bob", vote)).await.unwrap();
    house.until(&other, RunPhase::Failed, RunStatus::FailedPolicy).await;
}

/// A start that was put off until it needs a person: each question about it has a number of its own.
#[tokio::test(flavor = "multi_thread")]
async fn a_start_that_was_put_off_waits_for_a_person() {
    let clock = Arc::new(FixedClock::at(SystemClock.now()));
    let house = House::open(Arc::clone(&clock) as Arc<dyn Clock>).await;
    let over = written(clock.now().plus_millis(1_500));
    let start = START.trim_end_matches(';');
    let later = "@outcome(\"defer\") @obligations(\"retry_after(1000)\")";
    house.rule_that("later", later, &format!("{start} when {{ context.now.at < {over} }};")).await;
    house.rule("start", &format!("{start} when {{ context.now.at >= {over} }};")).await;
    let run_id = house.start().await.run.unwrap().run_id;
    for status in [RunStatus::Queued, RunStatus::PendingApproval] {
        clock.advance(Duration::from_millis(1_000));
        assert!(house.try_claim(&run_id).await.lease.is_none());
        house.until(&run_id, RunPhase::Created, status).await;
    }
    let approvals = policies::ListApprovalsRequest { run_id: run_id.clone(), ..Default::default() };
    let listed = house.judge("ApprovalService/ListApprovals", "bob", approvals);
    let asked = house.approvals().list_approvals(listed).await.unwrap().into_inner().approvals;
    let [approval] = asked.as_slice() else { panic!("{asked:?}") };
    house.approve(&approval.approval_id).await;
    house.until(&run_id, RunPhase::Authorized, RunStatus::Queued).await;
    assert!(house.claim(&run_id).await >= 1);
}
