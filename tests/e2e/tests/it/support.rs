//! What several tests say or ask.

use contracts_common::common::v1::{Amounts, RunPhase, Verdict};
use contracts_controls::v1::{
    BudgetPeriod, CreateLimitRequest, Enforcement, FreezeEffect, FreezeReason, FreezeRequest, FreezeScope,
    GetRunBudgetRequest, GetRunBudgetResponse, LimitCategory, LimitScope, LimitSpec, LimitUnit, Overage,
};
use contracts_policies::v1::{
    ActivateRuleRequest, CreateRuleRequest, CreateRuleResponse, GetPolicySettingsRequest, PolicySettings,
    RuleCategory, RuleContent, RuleMode, RuleScope, SetPolicySettingsRequest,
};
use contracts_spine::v1::{Decision, GetRunResponse, Run};
use runspine_e2e::{Agent, Client};
use runspine_testkit::until_ok;
use runspine_types::new_id;
use tonic::{Code, Status};

/// Grants every step: without a grant STRICT denies all of them.
pub const ALLOW_STEPS: &str = r#"@id("allow-steps")
@reason("GRANTED")
@message("Everything that nothing forbids.")
permit (principal, action, resource);
"#;

/// Forbids one tool.
pub const NO_DELETION: &str = r#"@id("no-deletion")
@reason("NO_DELETION")
@message("Accounts are deleted by people.")
forbid (principal, action == Runspine::Action::"tool_call", resource == Runspine::Tool::"delete_account");
"#;

/// A rule as a tenant writes it.
pub fn rule(slug: &str, cedar: &str) -> CreateRuleRequest {
    let content = RuleContent {
        slug: slug.to_owned(),
        name: slug.to_owned(),
        cedar: cedar.to_owned(),
        scope: RuleScope::Tenant.into(),
        mode: RuleMode::Block.into(),
        category: RuleCategory::Operational.into(),
        ..RuleContent::default()
    };
    CreateRuleRequest { request_id: new_id(), content: Some(content) }
}

/// Stores a rule.
pub async fn create(client: &Client, request: CreateRuleRequest) -> CreateRuleResponse {
    client.rules().create_rule(request).await.expect("the rule is stored").into_inner()
}

/// Stores a rule and brings it into force.
pub async fn install(client: &Client, slug: &str, cedar: &str) {
    let created = create(client, rule(slug, cedar)).await;
    let stored = created.rule.unwrap_or_else(|| panic!("{slug} has findings: {:?}", created.findings));
    let request = ActivateRuleRequest {
        request_id: new_id(),
        rule_id: stored.rule_id,
        version: stored.version,
        expected_version: stored.revision,
        reason: "the test needs this rule".to_owned(),
    };
    let active = client.rules().activate_rule(request).await.expect("the rule comes into force").into_inner();
    assert_eq!(active.snapshot_digest.len(), 32);
}

/// Lets the author of a rule bring it into force, which STRICT leaves to approved proposals.
pub async fn without_proposals(owner: &Client) {
    let read = owner.settings().get_policy_settings(GetPolicySettingsRequest {}).await;
    let settings = read.expect("the settings").into_inner().settings.unwrap_or_default();
    let request = SetPolicySettingsRequest {
        request_id: new_id(),
        expected_version: settings.version,
        settings: Some(PolicySettings { require_proposal: false, ..settings }),
        reason: "the test is about something else".to_owned(),
    };
    owner.settings().set_policy_settings(request).await.expect("the settings are stored");
}

/// Both rules that most tests run under.
pub async fn rules(client: &Client) {
    install(client, "allow-steps", ALLOW_STEPS).await;
    install(client, "no-deletion", NO_DELETION).await;
}

/// A limit of every run for its whole life.
pub fn run_limit() -> LimitSpec {
    LimitSpec {
        name: "run cost".to_owned(),
        category: LimitCategory::Budget.into(),
        unit: LimitUnit::CostMicrousd.into(),
        scope: LimitScope::Run.into(),
        scope_id: "*".to_owned(),
        period: BudgetPeriod::Total.into(),
        enforcement: Enforcement::Block.into(),
        overage: Overage::Reject.into(),
        ..LimitSpec::default()
    }
}

/// Lets every run spend this much.
pub async fn run_budget(client: &Client, max_microusd: i64) {
    let spec = LimitSpec { max_value: max_microusd, ..run_limit() };
    let request = CreateLimitRequest { request_id: new_id(), spec: Some(spec) };
    client.limits().create_limit(request).await.expect("the limit is stored");
}

/// Freezes one run.
pub async fn freeze(client: &Client, run_id: &str, effect: FreezeEffect) {
    let request = FreezeRequest {
        request_id: new_id(),
        scope: FreezeScope::Run.into(),
        scope_id: run_id.to_owned(),
        effect: effect.into(),
        reason_code: FreezeReason::Security.into(),
        note: "the test freezes this run".to_owned(),
        expires_at: None,
    };
    client.freezes().freeze(request).await.expect("the freeze is committed");
}

/// An estimate of this cost.
pub fn cost(microusd: i64) -> Option<Amounts> {
    Some(Amounts { cost_microusd: microusd, ..Amounts::default() })
}

/// The primary reason of a decision.
pub fn primary(decision: &Decision) -> &str {
    decision.reasons.first().map_or("", |r| r.code.as_str())
}

/// What an agent does with it.
pub fn effective(decision: Option<&Decision>) -> Verdict {
    decision.expect("a decision").effective_verdict()
}

/// A refusal as code and reason.
pub fn refusal(status: &Status) -> (Code, String) {
    (status.code(), runspine_rpc::details(status).reason)
}

/// The violated fields of a refusal.
pub fn fields(status: &Status) -> Vec<String> {
    runspine_rpc::details(status).fields.into_iter().map(|(field, _)| field).collect()
}

/// Waits until the run is over and its contract judged, and gives it.
pub async fn ended(agent: &Agent) -> GetRunResponse {
    until(agent, |run| {
        use contracts_common::common::v1::AuditStatus::{Pending, Unspecified};
        matches!(run.phase(), RunPhase::Completed | RunPhase::Failed)
            && !matches!(run.audit_status(), Pending | Unspecified)
    })
    .await
}

/// Waits until the run is as wanted, and gives it.
pub async fn until(agent: &Agent, wanted: impl Fn(&Run) -> bool) -> GetRunResponse {
    until_ok(std::time::Duration::from_secs(60), || async {
        let view = agent.view().await.expect("the run can be read");
        if view.run.as_ref().is_some_and(&wanted) { Ok(view) } else { Err(view) }
    })
    .await
}

/// The budget of a run.
pub async fn budget(agent: &Agent) -> GetRunBudgetResponse {
    let request = GetRunBudgetRequest { run_id: agent.run_id.clone(), attempt: 1 };
    agent.client.budgets().get_run_budget(request).await.expect("the budget can be read").into_inner()
}
