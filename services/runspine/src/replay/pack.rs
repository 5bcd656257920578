//! Policy packs: a folder with `pack.toml` and rules, installed before the runs are governed.

use std::{collections::BTreeMap, path::Path};

use contracts_controls::v1::{
    BudgetPeriod, CreateLimitRequest, Enforcement, LimitCategory, LimitScope, LimitSpec, LimitUnit, Overage,
    limit_service_client::LimitServiceClient,
};
use contracts_policies::v1::{
    ActivateRuleRequest, CreateRuleRequest, ListRulesRequest, Rule, RuleCategory, RuleContent, RuleMode,
    RuleScope, RuleState, UpdateRuleRequest, rule_service_client::RuleServiceClient,
};
use runspine_types::new_id;
use serde::Deserialize;

use super::client::Mesh;
use crate::failure::Failure;

/// A pack.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pack {
    /// Its name.
    #[serde(default)]
    pub name: String,
    /// What it is for, said when it is installed.
    #[serde(default)]
    pub description: String,
    #[serde(default)]
    rules: Vec<PackRule>,
    #[serde(default)]
    limits: Vec<PackLimit>,
    /// Arguments of tools that rules may see.
    #[serde(default)]
    pub arguments: BTreeMap<String, Selected>,
    /// What models cost.
    #[serde(default)]
    pub prices: BTreeMap<String, Price>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct PackRule {
    file: String,
    mode: String,
    category: String,
    scope: String,
    #[serde(default)]
    scope_id: String,
    #[serde(skip)]
    cedar: String,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct PackLimit {
    name: String,
    unit: String,
    scope: String,
    #[serde(default)]
    scope_id: String,
    max_value: i64,
    period: String,
    enforcement: String,
    overage: String,
}

/// Selected arguments of a tool.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Selected {
    /// Dotted paths.
    pub select: Vec<String>,
}

/// Price of a model.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Price {
    input_microusd_per_mtok: i64,
    output_microusd_per_mtok: i64,
}

impl Pack {
    /// Reads a pack with its rule texts.
    pub fn read(folder: &Path) -> Result<Self, Failure> {
        let path = folder.join("pack.toml");
        let wrong =
            |path: &Path, what: &dyn std::fmt::Display| Failure::usage(format!("{}: {what}", path.display()));
        let text = std::fs::read_to_string(&path).map_err(|e| wrong(&path, &e))?;
        let mut pack: Self = toml::from_str(&text).map_err(|e| wrong(&path, &e))?;
        for rule in &mut pack.rules {
            let path = folder.join(&rule.file);
            rule.cedar = std::fs::read_to_string(&path).map_err(|e| wrong(&path, &e))?;
        }
        Ok(pack)
    }

    /// Cost of tokens of `model` in micro-USD, rounded up; 0 for a model without a price.
    pub fn cost(&self, model: &str, tokens_input: i64, tokens_output: i64) -> i64 {
        let Some(price) = self.prices.get(model) else { return 0 };
        let parts = i128::from(tokens_input) * i128::from(price.input_microusd_per_mtok)
            + i128::from(tokens_output) * i128::from(price.output_microusd_per_mtok);
        i64::try_from((parts + 999_999) / 1_000_000).unwrap_or(i64::MAX)
    }

    /// Installs rules and limits; what is there already and equal is left alone. Gives how many of each are in force.
    pub async fn install(&self, mesh: &Mesh) -> Result<(usize, usize), Failure> {
        let mut rules = RuleServiceClient::with_interceptor(mesh.channel(), mesh.credential());
        let request = ListRulesRequest { page_size: 500, ..ListRulesRequest::default() };
        let known = rules.list_rules(request).await?.into_inner().rules;
        for rule in &self.rules {
            let slug = rule.slug()?;
            let existing = known.iter().filter(|k| k.slug == slug).max_by_key(|k| k.version);
            let content = Some(rule.content(&slug)?);
            let stored = match existing {
                Some(same) if same.cedar == rule.cedar && same.state() == RuleState::Active => continue,
                Some(other) => {
                    let request = UpdateRuleRequest {
                        request_id: new_id(),
                        rule_id: other.rule_id.clone(),
                        expected_version: other.revision,
                        content,
                    };
                    let answer = rules.update_rule(request).await?.into_inner();
                    checked(&rule.file, answer.rule, &answer.findings)?
                }
                None => {
                    let request = CreateRuleRequest { request_id: new_id(), content };
                    let answer = rules.create_rule(request).await?.into_inner();
                    checked(&rule.file, answer.rule, &answer.findings)?
                }
            };
            let request = ActivateRuleRequest {
                request_id: new_id(),
                rule_id: stored.rule_id,
                version: stored.version,
                expected_version: stored.revision,
                reason: format!("installed with the pack {}", self.name),
            };
            rules.activate_rule(request).await?;
        }
        let mut limits = LimitServiceClient::with_interceptor(mesh.channel(), mesh.credential());
        for limit in &self.limits {
            let request = CreateLimitRequest { request_id: new_id(), spec: Some(limit.spec()?) };
            match limits.create_limit(request).await {
                Ok(_) => {}
                Err(status) if runspine_rpc::details(&status).reason == "LIMIT_EXISTS" => {}
                Err(status) => return Err(status.into()),
            }
        }
        Ok((self.rules.len(), self.limits.len()))
    }
}

fn checked(
    file: &str,
    rule: Option<Rule>,
    findings: &[contracts_policies::v1::Finding],
) -> Result<Rule, Failure> {
    use contracts_policies::v1::FindingSeverity;
    let blocking: Vec<String> = findings
        .iter()
        .filter(|f| f.severity() == FindingSeverity::Blocking)
        .map(|f| format!("{file}:{}:{}: {}", f.line, f.column, f.message))
        .collect();
    if blocking.is_empty() {
        return rule.ok_or_else(|| Failure::work(format!("{file}: the mesh gave no rule back")));
    }
    Err(Failure::usage(blocking.join("\n")))
}

impl PackRule {
    /// The rule's id, from its `@id` annotation.
    fn slug(&self) -> Result<String, Failure> {
        let missing = || Failure::usage(format!("{}: no @id annotation", self.file));
        let rest = self.cedar.split("@id(\"").nth(1).ok_or_else(missing)?;
        rest.split('"').next().map(str::to_owned).ok_or_else(missing)
    }

    fn content(&self, slug: &str) -> Result<RuleContent, Failure> {
        Ok(RuleContent {
            slug: slug.to_owned(),
            name: slug.to_owned(),
            cedar: self.cedar.clone(),
            scope: word(&self.file, "RULE_SCOPE", &self.scope, RuleScope::from_str_name)?.into(),
            scope_id: self.scope_id.clone(),
            mode: word(&self.file, "RULE_MODE", &self.mode, RuleMode::from_str_name)?.into(),
            category: word(&self.file, "RULE_CATEGORY", &self.category, RuleCategory::from_str_name)?.into(),
            ..RuleContent::default()
        })
    }
}

impl PackLimit {
    fn spec(&self) -> Result<LimitSpec, Failure> {
        let at = &self.name;
        Ok(LimitSpec {
            name: self.name.clone(),
            category: LimitCategory::Budget.into(),
            unit: word(at, "LIMIT_UNIT", &self.unit, LimitUnit::from_str_name)?.into(),
            scope: word(at, "LIMIT_SCOPE", &self.scope, LimitScope::from_str_name)?.into(),
            scope_id: self.scope_id.clone(),
            max_value: self.max_value,
            period: word(at, "BUDGET_PERIOD", &self.period, BudgetPeriod::from_str_name)?.into(),
            enforcement: word(at, "ENFORCEMENT", &self.enforcement, Enforcement::from_str_name)?.into(),
            overage: word(at, "OVERAGE", &self.overage, Overage::from_str_name)?.into(),
            ..LimitSpec::default()
        })
    }
}

fn word<E>(place: &str, prefix: &str, name: &str, parse: impl Fn(&str) -> Option<E>) -> Result<E, Failure> {
    parse(&format!("{prefix}_{name}")).ok_or_else(|| Failure::usage(format!("{place}: {name} is not known")))
}
