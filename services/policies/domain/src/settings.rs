//! The settings of a tenant: part of its snapshots.

use runspine_errors::{Fault, Violations, mesh};
use serde::{Deserialize, Serialize};

use crate::words::{Mode, Profile};

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

/// The settings. Keys are in the order of canonical JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
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
            baseline_grant: profile != Profile::Strict,
            default_rule_mode: Mode::Warn,
            inspection: Inspection::default(),
            intents: Vec::new(),
            monitored_metrics: vec!["cost".to_owned(), "token_usage".to_owned()],
            require_proposal: profile == Profile::Strict,
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
        v.into_result(&mesh::FIELD_INVALID)?;
        crate::rule::check_protected(profile == Profile::Strict && self.baseline_grant, operator)
    }
}
