//! A bypass end to end: two persons let a denied step pass, and nothing beyond it.

use std::time::Duration;

use contracts_common::common::v1::{Actor, ActorType, CallContext, StepKind, Verdict};
use contracts_controls::v1::{
    self as controls, bypass_service_client::BypassServiceClient, freeze_service_client::FreezeServiceClient,
};
use contracts_policies::v1::{self as policies, rule_service_client::RuleServiceClient};
use contracts_spine::v1::{self as pb, run_service_client::RunServiceClient};
use runspine_boot::{Deps, Running, Service};
use runspine_rpc::{Context, Stack, Transport};
use runspine_testkit::until_ok;
use runspine_types::new_id;
use tonic::Request;

use crate::contract::domains;

const WHY: &str = "because the test wants it";
const PATIENCE: Duration = Duration::from_secs(60);

/// A mesh in one process, its workers running, with a rule that forbids paying.
struct House {
    own: Stack,
    domains: Vec<Service>,
    tenant: String,
    running: Running,
    _folder: tempfile::TempDir,
}

impl House {
    async fn open() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let deps = Deps::for_tests(folder.path()).unwrap();
        let domains = domains(&deps).await;
        let mesh = domains.iter().fold(runspine_rpc::Mesh::new(), |mesh, d| mesh.local(&d.stack));
        let spine =
            runspine_spine::service(deps.settings.section("spine").unwrap(), &deps, &mesh).await.unwrap();
        let own = spine.service.stack.clone();
        let running = runspine_boot::start(vec![spine.service], &deps).await.unwrap();
        let house = Self { own, domains, tenant: new_id(), running, _folder: folder };
        house.forbid_paying().await;
        house
    }

    fn stack(&self, domain: &str) -> &Stack {
        &self.domains.iter().find(|d| d.name == domain).unwrap().stack
    }

    fn of<M>(&self, stack: &Stack, operation: &str, who: &str, message: M) -> Request<M> {
        let operation = stack.registry().operation(&format!("runspine.{operation}")).unwrap();
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

    async fn forbid_paying(&self) {
        let forbid = "forbid(principal, action == Runspine::Action::\"tool_call\", resource == Runspine::Tool::\"pay\");";
        let content = policies::RuleContent {
            slug: "pay".to_owned(),
            cedar: format!("@id(\"pay\") @reason(\"NO_PAYMENTS\") @outcome(\"deny\")\n{forbid}"),
            mode: policies::RuleMode::Block.into(),
            ..Default::default()
        };
        let stack = self.stack("policies");
        let mut rules = RuleServiceClient::new(Transport::local(stack));
        let create = policies::CreateRuleRequest { request_id: new_id(), content: Some(content) };
        let create = self.of(stack, "policies.v1.RuleService/CreateRule", "rita", create);
        let rule = rules.create_rule(create).await.unwrap().into_inner().rule.unwrap();
        let activate = policies::ActivateRuleRequest {
            request_id: new_id(),
            rule_id: rule.rule_id,
            version: rule.version,
            expected_version: rule.revision,
            reason: WHY.to_owned(),
        };
        rules
            .activate_rule(self.of(stack, "policies.v1.RuleService/ActivateRule", "rita", activate))
            .await
            .unwrap();
    }

    fn runs(&self) -> RunServiceClient<Transport> {
        RunServiceClient::new(Transport::local(&self.own))
    }

    async fn start(&self) -> (String, u64) {
        let start = pb::StartRunRequest {
            request_id: new_id(),
            run_id: new_id(),
            project_id: "shop".to_owned(),
            agent_id: "agent".to_owned(),
            origin_system_id: "test".to_owned(),
            goal: "Pay a bill.".to_owned(),
            ..Default::default()
        };
        let started = until_ok(PATIENCE, || async {
            self.runs()
                .start_run(self.of(&self.own, "spine.v1.RunService/StartRun", "ada", start.clone()))
                .await
        });
        let started = started.await.into_inner();
        (started.run.unwrap().run_id, started.lease.unwrap().fence)
    }

    async fn pay(&self, run: &(String, u64), step_index: u32) -> pb::Decision {
        let step = pb::AuthorizeStepRequest {
            run_id: run.0.clone(),
            attempt: 1,
            fence: run.1,
            step_index: Some(step_index),
            kind: StepKind::ToolCall.into(),
            name: "pay".to_owned(),
            tool: "pay".to_owned(),
            arguments_digest: vec![3; 32].into(),
            ..Default::default()
        };
        let answer = until_ok(PATIENCE, || async {
            let message = self.of(&self.own, "spine.v1.RunService/AuthorizeStep", "ada", step.clone());
            self.runs().authorize_step(message).await
        });
        answer.await.into_inner().decision.unwrap()
    }

    /// Pays until it is let pass: this replica hears of a bypass a moment after it is approved.
    async fn pay_until_passed(&self, run: &(String, u64), step: &mut u32) -> pb::Decision {
        until_ok(PATIENCE, || {
            *step += 1;
            let index = *step;
            async move {
                let decision = self.pay(run, index).await;
                if decision.bypass.is_some() { Ok(decision) } else { Err(format!("{decision:?}")) }
            }
        })
        .await
    }

    fn bypasses(&self) -> BypassServiceClient<Transport> {
        BypassServiceClient::new(Transport::local(self.stack("controls")))
    }

    async fn bypass(&self) -> controls::Bypass {
        let (stack, mut bypasses) = (self.stack("controls"), self.bypasses());
        let request = controls::RequestBypassRequest {
            request_id: new_id(),
            scope: controls::BypassScope::Agent.into(),
            scope_id: "agent".to_owned(),
            duration_s: 900,
            reason: WHY.to_owned(),
            ticket: "INC-7".to_owned(),
            ..Default::default()
        };
        let request = self.of(stack, "controls.v1.BypassService/RequestBypass", "ada", request);
        let asked = bypasses.request_bypass(request).await.unwrap().into_inner().bypass.unwrap();
        let approve = controls::ApproveBypassRequest {
            request_id: new_id(),
            bypass_id: asked.bypass_id,
            note: String::new(),
        };
        let approve = self.of(stack, "controls.v1.BypassService/ApproveBypass", "bob", approve);
        bypasses.approve_bypass(approve).await.unwrap().into_inner().bypass.unwrap()
    }

    async fn uses(&self, bypass_id: &str) -> Vec<controls::BypassUse> {
        let get = controls::GetBypassRequest { bypass_id: bypass_id.to_owned() };
        let get = self.of(self.stack("controls"), "controls.v1.BypassService/GetBypass", "ada", get);
        self.bypasses().get_bypass(get).await.unwrap().into_inner().uses
    }
}

/// A step that rules deny passes under a bypass, its answer says who let it and what would have been; after the revocation
/// not one more does, and a freeze in the same scope denies all the same.
#[tokio::test(flavor = "multi_thread")]
async fn two_persons_let_a_step_pass() {
    let house = House::open().await;
    let run = house.start().await;
    let mut step = 0;
    let denied = house.pay(&run, step).await;
    assert_eq!((denied.effective_verdict(), denied.bypass), (Verdict::Deny, None));
    let bypass = house.bypass().await;
    let passed = house.pay_until_passed(&run, &mut step).await;
    assert_eq!(passed.effective_verdict(), Verdict::Allow);
    let by = passed.bypass.unwrap();
    assert_eq!((by.bypass_id.as_str(), by.verdict()), (bypass.bypass_id.as_str(), Verdict::Deny));
    assert_eq!((by.requested_by.as_str(), by.approved_by.as_str(), by.rule_ids.len()), ("ada", "bob", 1));
    let uses = house.uses(&bypass.bypass_id).await;
    assert_eq!(uses.iter().map(|u| (u.step_index, &u.rule_ids)).collect::<Vec<_>>(), [(step, &by.rule_ids)]);
    assert_eq!(uses[0].decision_id, passed.decision_id);

    let controls = house.stack("controls");
    let revoke = controls::RevokeBypassRequest {
        request_id: new_id(),
        bypass_id: bypass.bypass_id.clone(),
        reason: WHY.to_owned(),
    };
    let revoke = house.of(controls, "controls.v1.BypassService/RevokeBypass", "bob", revoke);
    house.bypasses().revoke_bypass(revoke).await.unwrap();
    let after = house.pay(&run, step + 1).await;
    assert_eq!((after.effective_verdict(), after.bypass), (Verdict::Deny, None), "at once");
    assert_eq!(after.reasons[0].code, "NO_PAYMENTS");
    assert_eq!(house.uses(&bypass.bypass_id).await.len(), 1);

    step += 1;
    house.bypass().await;
    house.pay_until_passed(&run, &mut step).await;
    let freeze = controls::FreezeRequest {
        request_id: new_id(),
        scope: controls::FreezeScope::Agent.into(),
        scope_id: "agent".to_owned(),
        effect: controls::FreezeEffect::Pause.into(),
        reason_code: controls::FreezeReason::Manual.into(),
        note: WHY.to_owned(),
        ..Default::default()
    };
    let freeze = house.of(controls, "controls.v1.FreezeService/Freeze", "bob", freeze);
    FreezeServiceClient::new(Transport::local(controls)).freeze(freeze).await.unwrap();
    let frozen = house.pay(&run, step + 1).await;
    assert_eq!((frozen.effective_verdict(), &frozen.bypass), (Verdict::Deny, &None));
    assert!(frozen.reasons.iter().any(|r| r.code == "FROZEN"), "{frozen:?}");
    house.running.stop().await;
}
