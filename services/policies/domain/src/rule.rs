//! Rules: their life, what they may hold, and the bytes that say what they mean.

use runspine_errors::{Fault, Violations, mesh};
use runspine_types::{Digest, Hasher, PLATFORM_TENANT};
use serde::{Deserialize, Serialize};

use crate::{
    reasons,
    sequence::{MAX_RULES, Sequence},
    template,
    text::{self, Checked, is_slug},
    words::{Category, Mode, RuleState, Scope},
};

/// Who moves a version from one state to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Act {
    /// CreateRule, UpdateRule: a version is made.
    Write,
    /// ActivateRule, SetRuleMode.
    Activate,
    /// Another version was activated.
    Supersede,
    /// RetireRule, or a draft that another draft replaced.
    Retire,
}

/// The state after an act, or `None` when the act is illegal there: the whole life of a version.
#[must_use]
pub const fn next_state(from: Option<RuleState>, act: Act) -> Option<RuleState> {
    match (from, act) {
        (None, Act::Write) => Some(RuleState::Draft),
        (Some(RuleState::Draft), Act::Activate) => Some(RuleState::Active),
        (Some(RuleState::Active), Act::Supersede)
        | (Some(RuleState::Draft | RuleState::Active), Act::Retire) => Some(RuleState::Retired),
        _ => None,
    }
}

/// Identity and meaning of a version of a rule: what its digest is over. Keys are in the order of canonical JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Meaning {
    /// What it is about.
    pub category: Category,
    /// The Cedar text.
    pub cedar: String,
    /// Not applied before, microseconds.
    pub effective_from: Option<i64>,
    /// Not applied from then on, microseconds.
    pub effective_until: Option<i64>,
    /// Format of these bytes: 1.
    pub format: u32,
    /// How far it counts.
    pub mode: Mode,
    /// Orders equal outcomes.
    pub precedence: u32,
    /// The rule.
    pub rule_id: String,
    /// What it is bound to.
    pub scope: Scope,
    /// To which one.
    pub scope_id: String,
    /// The body of a sequence rule, which made the Cedar text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sequence: Option<Sequence>,
    /// Its slug.
    pub slug: String,
    /// The tenant whose layer it is in.
    pub tenant_id: String,
    /// The version.
    pub version: u32,
}

impl Meaning {
    /// The bytes that are stored and hashed.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// Reads stored bytes.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        serde_json::from_slice(bytes).ok()
    }

    /// Looks at its text, and at the heads of its sequence.
    #[must_use]
    pub fn check(&self) -> Checked {
        match &self.sequence {
            Some(body) => body.checked(&self.slug, self.mode),
            None => text::check(&self.cedar, Some(&self.slug), self.mode),
        }
    }

    /// Whether it belongs to the layer that every tenant shares.
    #[must_use]
    pub fn is_mesh(&self) -> bool {
        self.scope == Scope::Global
    }

    /// Whether it is in force at `at`, microseconds.
    #[must_use]
    pub fn is_effective(&self, at: i64) -> bool {
        self.effective_from.is_none_or(|from| from <= at)
            && self.effective_until.is_none_or(|until| at < until)
    }
}

/// The digest of stored rule bytes.
#[must_use]
pub fn rule_digest(bytes: &[u8]) -> Digest {
    Hasher::new("runspine.rule.v1").sized(bytes).finish()
}

/// What a caller says about a rule, before defaults.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Content {
    /// Its slug.
    pub slug: String,
    /// For people, at most 120 characters.
    pub name: String,
    /// At most 2,000 characters.
    pub description: String,
    /// The Cedar text; empty for a sequence rule.
    pub cedar: String,
    /// The body of a sequence rule.
    pub sequence: Option<Sequence>,
    /// From what its body was made; none: somebody wrote it.
    pub template: Option<template::Origin>,
    /// Default TENANT.
    pub scope: Option<Scope>,
    /// For the narrower scopes.
    pub scope_id: String,
    /// Default by the settings.
    pub mode: Option<Mode>,
    /// Default CUSTOM.
    pub category: Option<Category>,
    /// Default by the category.
    pub precedence: Option<u32>,
    /// Microseconds.
    pub effective_from: Option<i64>,
    /// Microseconds.
    pub effective_until: Option<i64>,
}

/// Checks what a caller of `tenant` says about a rule; the text itself is the business of [`Meaning::check`].
///
/// # Errors
/// Every wrong field at once, or the reason that has a name of its own.
pub fn check_content(content: &Content, tenant: &str, operator: bool) -> Result<(), Fault> {
    let mut v = Violations::new();
    v.require(is_slug(&content.slug), "content.slug", "SLUG_INVALID", "a slug is [a-z0-9][a-z0-9._-]{0,62}");
    v.require(content.name.chars().count() <= 120, "content.name", "TOO_LONG", "at most 120 characters");
    let fits = content.description.chars().count() <= 2_000;
    v.require(fits, "content.description", "TOO_LONG", "at most 2,000 characters");
    let fits = content.precedence.is_none_or(|p| p <= 10_000);
    v.require(fits, "content.precedence", "OUT_OF_RANGE", "0 to 10,000");
    let ordered = match (content.effective_from, content.effective_until) {
        (Some(from), Some(until)) => from < until,
        _ => true,
    };
    v.require(ordered, "content.effective_until", "OUT_OF_RANGE", "must be after effective_from");
    v.into_result(&mesh::FIELD_INVALID)?;
    check_body(content)?;
    check_scope(content, tenant)?;
    let system = content.category == Some(Category::System);
    if content.precedence.is_some_and(|p| p < 100) && !system {
        let fault = Fault::new(&reasons::PRECEDENCE_RESERVED, "precedence 0 to 99 belongs to SYSTEM rules");
        return Err(fault.field("content.precedence", "PRECEDENCE_RESERVED", "use 100 or more"));
    }
    check_protected(system || content.scope == Some(Scope::Global), operator)
}

/// Which version of which rule.
#[derive(Debug, Clone, Copy)]
pub struct Identity<'a> {
    /// The rule.
    pub rule_id: &'a str,
    /// The version.
    pub version: u32,
    /// The tenant whose layer it is in.
    pub tenant: &'a str,
}

/// The meaning of a content, with every default filled in; `default_mode` is that of a restriction which names none.
///
/// # Errors
/// MODE_INVALID_FOR_GRANT.
pub fn meaning_of(content: Content, of: Identity<'_>, default_mode: Mode) -> Result<Meaning, Fault> {
    let cedar = content.sequence.as_ref().map_or(content.cedar, |s| s.cedar(&content.slug));
    let found = text::check(&cedar, Some(&content.slug), Mode::Block);
    let grant = found.policy.as_ref().is_some_and(|p| p.effect() == text::GRANT);
    let mode = content.mode.unwrap_or(if grant { Mode::Block } else { default_mode });
    if grant && mode == Mode::Warn {
        return Err(warn_on_grant("content.mode"));
    }
    let category = content.category.unwrap_or(Category::Custom);
    Ok(Meaning {
        category,
        cedar,
        effective_from: content.effective_from,
        effective_until: content.effective_until,
        format: 1,
        mode,
        precedence: content.precedence.unwrap_or_else(|| category.precedence()),
        rule_id: of.rule_id.to_owned(),
        scope: content.scope.unwrap_or(Scope::Tenant),
        scope_id: content.scope_id,
        sequence: content.sequence,
        slug: content.slug,
        tenant_id: of.tenant.to_owned(),
        version: of.version,
    })
}

/// Refused: a grant in mode WARN.
#[must_use]
pub fn warn_on_grant(field: &str) -> Fault {
    let fault = Fault::new(&reasons::MODE_INVALID_FOR_GRANT, "a grant can't be in mode WARN");
    fault.field(field, "MODE_INVALID_FOR_GRANT", "BLOCK, AUDIT or DISABLED")
}

/// Refused: too many rules of the tenant watch steps.
#[must_use]
pub fn sequence_quota() -> Fault {
    let text = format!("the tenant has {MAX_RULES} sequence rules in force, as many as it may have");
    Fault::new(&reasons::SEQUENCE_QUOTA, text.clone()).quota("sequence rules in force", text)
}

/// SYSTEM rules and the mesh layer are for operators.
///
/// # Errors
/// SYSTEM_RULE_PROTECTED for anybody else.
pub fn check_protected(protected: bool, operator: bool) -> Result<(), Fault> {
    if protected && !operator {
        let text = "rules of category SYSTEM and of scope GLOBAL are changed by operators only";
        return Err(Fault::new(&reasons::SYSTEM_RULE_PROTECTED, text));
    }
    Ok(())
}

/// One body: a text, or the parameters of a sequence.
fn check_body(content: &Content) -> Result<(), Fault> {
    let Some(sequence) = &content.sequence else { return check_text_size(&content.cedar) };
    if content.cedar.is_empty() {
        return sequence.check();
    }
    let fault = Fault::new(&mesh::FIELD_INVALID, "1 field(s) of the request are invalid");
    Err(fault.field("content.cedar", "OUT_OF_RANGE", "a sequence rule makes its own text"))
}

fn check_text_size(cedar: &str) -> Result<(), Fault> {
    let found = match cedar.len() {
        0 => "the text is empty",
        n if n > text::MAX_TEXT => "the text is longer than 16 KiB",
        _ => return Ok(()),
    };
    Err(Fault::new(&reasons::RULE_TEXT_INVALID, found).field("content.cedar", "RULE_TEXT_INVALID", found))
}

fn check_scope(content: &Content, tenant: &str) -> Result<(), Fault> {
    let scope = content.scope.unwrap_or(Scope::Tenant);
    let needs_id = !matches!(scope, Scope::Global | Scope::Tenant);
    let found = if needs_id && !(1..=128).contains(&content.scope_id.len()) {
        "this scope needs a scope_id of 1 to 128 characters"
    } else if !needs_id && !content.scope_id.is_empty() {
        "this scope takes no scope_id"
    } else if scope == Scope::Global && tenant != PLATFORM_TENANT {
        "GLOBAL rules belong to the platform tenant"
    } else {
        return Ok(());
    };
    Err(Fault::new(&reasons::SCOPE_INVALID, found).field("content.scope", "SCOPE_INVALID", found))
}

/// Checks the reason of an act on a rule or a snapshot.
///
/// # Errors
/// REASON_REQUIRED unless it has 10 to 500 characters.
pub fn check_reason(reason: &str) -> Result<(), Fault> {
    if (10..=500).contains(&reason.chars().count()) {
        return Ok(());
    }
    let fault = Fault::new(&reasons::REASON_REQUIRED, "a reason of 10 to 500 characters is required");
    Err(fault.field("reason", "REASON_REQUIRED", "10 to 500 characters"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_moves_only_as_the_table_says() {
        let states = [None, Some(RuleState::Draft), Some(RuleState::Active), Some(RuleState::Retired)];
        let acts = [Act::Write, Act::Activate, Act::Supersede, Act::Retire];
        let legal: Vec<_> = states
            .iter()
            .flat_map(|s| acts.iter().map(move |a| (*s, *a)))
            .filter_map(|(s, a)| next_state(s, a).map(|n| (s, a, n)))
            .collect();
        assert_eq!(legal.len(), 5, "{legal:?}");
        assert!(legal.iter().all(|(s, ..)| *s != Some(RuleState::Retired)));
    }
}
