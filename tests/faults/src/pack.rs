//! Installs the sample's policy pack, so that runs meet rules, refusals and budgets.

use std::{fs, path::PathBuf, time::Duration};

use contracts_controls::v1::{
    BudgetPeriod, CreateLimitRequest, Enforcement, LimitCategory, LimitScope, LimitSpec, LimitUnit, Overage,
};
use contracts_policies::v1::{
    ActivateRuleRequest, CreateRuleRequest, RuleCategory, RuleContent, RuleMode, RuleScope,
};
use runspine_e2e::Client;
use runspine_testkit::until_ok;
use runspine_types::new_id;
use serde::Deserialize;

/// How long a domain may take to be reached after its process is ready: the door of six processes asks for it at
/// intervals.
const PATIENCE: Duration = Duration::from_secs(30);

#[derive(Deserialize)]
struct Pack {
    rules: Vec<Rule>,
    limits: Vec<Limit>,
}

#[derive(Deserialize)]
struct Rule {
    file: String,
    mode: String,
    category: String,
    scope: String,
}

#[derive(Deserialize)]
struct Limit {
    name: String,
    unit: String,
    scope: String,
    scope_id: String,
    max_value: i64,
    period: String,
    enforcement: String,
    overage: String,
}

/// Installs `samples/policies`. The limit of an agent a day is raised: a test governs more runs than the sample.
///
/// # Panics
/// When the pack can't be read or a part of it is refused.
pub async fn install(client: &Client) {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../samples/policies");
    let text = fs::read_to_string(folder.join("pack.toml")).expect("the sample's pack");
    let pack: Pack = toml::from_str(&text).expect("a pack");
    for rule in &pack.rules {
        let cedar = fs::read_to_string(folder.join(&rule.file)).expect("a rule");
        activate(client, rule, cedar).await;
    }
    for limit in &pack.limits {
        let request = CreateLimitRequest { request_id: new_id(), spec: Some(limit.spec()) };
        until_ok(PATIENCE, || async { client.limits().create_limit(request.clone()).await }).await;
    }
}

async fn activate(client: &Client, rule: &Rule, cedar: String) {
    let slug = cedar.split("@id(\"").nth(1).and_then(|rest| rest.split('"').next()).expect("an @id");
    let content = RuleContent {
        slug: slug.to_owned(),
        name: slug.to_owned(),
        scope: RuleScope::from_str_name(&format!("RULE_SCOPE_{}", rule.scope)).expect("a scope").into(),
        mode: RuleMode::from_str_name(&format!("RULE_MODE_{}", rule.mode)).expect("a mode").into(),
        category: RuleCategory::from_str_name(&format!("RULE_CATEGORY_{}", rule.category))
            .expect("a category")
            .into(),
        cedar: cedar.clone(),
        ..RuleContent::default()
    };
    let request = CreateRuleRequest { request_id: new_id(), content: Some(content) };
    let made = until_ok(PATIENCE, || async { client.rules().create_rule(request.clone()).await }).await;
    let made = made.into_inner().rule.expect("a rule");
    let request = ActivateRuleRequest {
        request_id: new_id(),
        rule_id: made.rule_id,
        version: made.version,
        expected_version: made.revision,
        reason: "installed for a crash test".to_owned(),
    };
    until_ok(PATIENCE, || async { client.rules().activate_rule(request.clone()).await }).await;
}

impl Limit {
    fn spec(&self) -> LimitSpec {
        let scope = LimitScope::from_str_name(&format!("LIMIT_SCOPE_{}", self.scope)).expect("a scope");
        let many = if scope == LimitScope::Run { 1 } else { 1_000 };
        LimitSpec {
            name: self.name.clone(),
            category: LimitCategory::Budget.into(),
            unit: LimitUnit::from_str_name(&format!("LIMIT_UNIT_{}", self.unit)).expect("a unit").into(),
            scope: scope.into(),
            scope_id: self.scope_id.clone(),
            max_value: self.max_value * many,
            period: BudgetPeriod::from_str_name(&format!("BUDGET_PERIOD_{}", self.period))
                .expect("a period")
                .into(),
            enforcement: Enforcement::from_str_name(&format!("ENFORCEMENT_{}", self.enforcement))
                .expect("an enforcement")
                .into(),
            overage: Overage::from_str_name(&format!("OVERAGE_{}", self.overage)).expect("an overage").into(),
            ..LimitSpec::default()
        }
    }
}
