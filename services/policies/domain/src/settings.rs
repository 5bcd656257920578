//! The settings of a tenant: part of its snapshots.

use std::collections::BTreeMap;

use runspine_errors::{Fault, Violations, mesh};
use serde::{Deserialize, Serialize};

use crate::{
    approval::Defaults,
    facts::{Arguments, StepQuestion},
    words::{ArgumentType, Mode, Profile, ResourceType},
};

/// Metrics that can be monitored.
pub const METRICS: [&str; 7] =
    ["token_usage", "cost", "token_per_step", "burn_rate", "rag_access", "latency", "step_count"];

/// What may be done with payloads; nothing by default. Keys are in the order of canonical JSON.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Inspection {
    /// Secrets may be read.
    pub access_secret: bool,
    /// Personal data may be captured.
    pub capture_pii: bool,
    /// Prompts may be stored.
    pub log_prompt: bool,
    /// Responses may be stored.
    pub log_response: bool,
}

/// An argument that rules may read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Selected {
    /// What it is.
    pub kind: ArgumentType,
    /// Whether its value is kept from those who approve.
    pub redact: bool,
}

/// The arguments of a tool that rules may read, by key.
pub type ToolArguments = BTreeMap<String, Selected>;

/// The settings. Keys are in the order of canonical JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The terms of an approval that no rule states.
    #[serde(default, skip_serializing_if = "Defaults::is_default")]
    pub approval_defaults: Defaults,
    /// Adds the grant `sys.baseline`.
    pub baseline_grant: bool,
    /// Mode of a restriction made without one.
    pub default_rule_mode: Mode,
    /// What may be done with payloads.
    pub inspection: Inspection,
    /// Words allowed in `intent`.
    pub intents: Vec<String>,
    /// Metrics that are monitored.
    pub monitored_metrics: Vec<String>,
    /// Rules come into force through approved proposals only.
    #[serde(default, skip_serializing_if = "is_off")]
    pub require_proposal: bool,
    /// Per tool: the arguments that rules may read.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub selected_arguments: BTreeMap<String, ToolArguments>,
}

/// Settings from before a switch existed have the bytes that they had.
#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde asks by reference")]
const fn is_off(switch: &bool) -> bool {
    !*switch
}

impl Settings {
    /// The defaults of a profile.
    #[must_use]
    pub fn of(profile: Profile) -> Self {
        Self {
            approval_defaults: Defaults::default(),
            baseline_grant: profile != Profile::Strict,
            default_rule_mode: Mode::Warn,
            inspection: Inspection::default(),
            intents: Vec::new(),
            monitored_metrics: vec!["cost".to_owned(), "token_usage".to_owned()],
            require_proposal: profile == Profile::Strict,
            selected_arguments: BTreeMap::new(),
        }
    }

    /// The same settings in one order, so that equal settings have equal bytes.
    #[must_use]
    pub fn normalized(mut self) -> Self {
        for list in [&mut self.intents, &mut self.monitored_metrics] {
            list.sort();
            list.dedup();
        }
        self
    }

    /// Checks what a caller wants.
    ///
    /// # Errors
    /// Every wrong field at once; SYSTEM_RULE_PROTECTED when somebody but an operator opens STRICT.
    pub fn check(&self, profile: Profile, operator: bool) -> Result<(), Fault> {
        let mut v = Violations::new();
        let known = self.monitored_metrics.iter().all(|m| METRICS.contains(&m.as_str()));
        v.require(known, "settings.monitored_metrics", "METRIC_UNKNOWN", "a metric that does not exist");
        let fits = self.intents.len() <= 256
            && self.intents.iter().all(|i| (1..=64).contains(&i.len()) && !i.contains(char::is_whitespace));
        v.require(fits, "settings.intents", "OUT_OF_RANGE", "at most 256 words of 1 to 64 characters");
        let fits = self.default_rule_mode != Mode::Disabled;
        v.require(fits, "settings.default_rule_mode", "OUT_OF_RANGE", "BLOCK, WARN or AUDIT");
        let known = |(key, _): (&String, &Selected)| (1..=128).contains(&key.len());
        let of_tool = |(tool, arguments): (&String, &ToolArguments)| {
            (1..=256).contains(&tool.len()) && arguments.len() <= 64 && arguments.iter().all(known)
        };
        let fits = self.selected_arguments.len() <= 1_000 && self.selected_arguments.iter().all(of_tool);
        let most =
            "at most 1,000 tools of 1 to 256 characters, with at most 64 keys of 1 to 128 characters each";
        v.require(fits, "settings.selected_arguments", "OUT_OF_RANGE", most);
        self.approval_defaults.check(&mut v, "settings.approval_defaults");
        v.into_result(&mesh::FIELD_INVALID)?;
        crate::rule::check_protected(profile == Profile::Strict && self.baseline_grant, operator)
    }
}

impl Settings {
    /// Leaves the arguments of a step that rules may read, where the tenant says which those are.
    ///
    /// # Errors
    /// FIELD_INVALID for each of another type.
    pub fn select_arguments(&self, step: &mut StepQuestion) -> Result<(), Fault> {
        let listed = self.selected_arguments.get(&step.resource.id);
        if let Some(by) = listed.filter(|_| step.resource.kind == ResourceType::Tool) {
            step.arguments = select(std::mem::take(&mut step.arguments), by)?;
        }
        Ok(())
    }
}

/// The arguments that rules may read; the others are in the digest only.
///
/// # Errors
/// FIELD_INVALID for each that is of another type than it is registered with: it must not slip past the rules about it.
fn select(given: Arguments, by: &ToolArguments) -> Result<Arguments, Fault> {
    let mut v = Violations::new();
    let mut listed = |key: &str, is: ArgumentType| {
        let Some(selected) = by.get(key) else { return false };
        let text = format!("{}, as the tool is registered", selected.kind.as_str());
        v.require(selected.kind == is, &format!("arguments.{key}"), "NOT_OF_TYPE", &text);
        true
    };
    let selected = Arguments {
        flags: given.flags.into_iter().filter(|k| listed(k, ArgumentType::Flag)).collect(),
        list: given.list.into_iter().filter(|(k, _)| listed(k, ArgumentType::List)).collect(),
        number: given.number.into_iter().filter(|(k, _)| listed(k, ArgumentType::Number)).collect(),
        text: given.text.into_iter().filter(|(k, _)| listed(k, ArgumentType::Text)).collect(),
    };
    v.into_result(&mesh::FIELD_INVALID)?;
    Ok(selected)
}

/// Arguments as approvers see them, and the keys of those that they don't.
#[must_use]
pub fn shown(mut given: Arguments, by: &ToolArguments) -> (Arguments, Vec<String>) {
    let mut hidden: Vec<String> = by.iter().filter(|(_, s)| s.redact).map(|(k, _)| k.clone()).collect();
    hidden.retain(|key| {
        let before = given.len();
        given.flags.retain(|k| k != key);
        given.list.remove(key);
        given.number.remove(key);
        given.text.remove(key);
        given.len() < before
    });
    (given, hidden)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given() -> Arguments {
        Arguments {
            flags: vec!["force".into()],
            list: BTreeMap::from([("to".into(), vec!["a".into()])]),
            number: BTreeMap::from([("amount".into(), 7)]),
            text: BTreeMap::from([("iban".into(), "x".into()), ("note".into(), "y".into())]),
        }
    }

    fn listed(keys: &[(&str, ArgumentType, bool)]) -> ToolArguments {
        keys.iter()
            .map(|(k, kind, redact)| ((*k).to_owned(), Selected { kind: *kind, redact: *redact }))
            .collect()
    }

    #[test]
    fn what_is_not_listed_is_not_read() {
        let by = listed(&[("amount", ArgumentType::Number, false), ("iban", ArgumentType::Text, true)]);
        let selected = select(given(), &by).unwrap();
        assert_eq!((selected.number.len(), selected.text.len(), selected.list.len()), (1, 1, 0));
        assert!(selected.flags.is_empty() && !selected.text.contains_key("note"));
        let (seen, hidden) = shown(selected, &by);
        assert_eq!((seen.len(), hidden), (1, vec!["iban".to_owned()]));
    }

    #[test]
    fn another_type_is_refused_not_dropped() {
        let by = listed(&[("amount", ArgumentType::Text, false), ("force", ArgumentType::Number, false)]);
        assert_eq!(select(given(), &by).unwrap_err().fields().len(), 2);
    }
}
