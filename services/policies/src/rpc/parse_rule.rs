//! Rules and settings into domain types.

use std::collections::BTreeMap;

use contracts_policies::v1 as pb;
use runspine_errors::{Fault, Violations, mesh};
use runspine_policies_domain::{
    rule::Content,
    sequence::Sequence,
    settings::{Inspection, Selected, Settings, ToolArguments},
    words::{ArgumentType, Category, Mode, RuleType, Scope},
};

use crate::present_sequence;

/// A word of an enum field that may be left out.
fn word<T>(v: &mut Violations, field: &str, code: i32, of: fn(i32) -> Option<T>) -> Option<T> {
    let word = of(code);
    v.require(code == 0 || word.is_some(), field, "ENUM_UNKNOWN", "a known value");
    word
}

/// The content of a rule, and its type.
pub(super) fn content(c: Option<pb::RuleContent>) -> Result<(Content, RuleType), Fault> {
    let mut v = Violations::new();
    v.require(c.is_some(), "content", "REQUIRED", "the rule");
    let c = c.unwrap_or_default();
    let sequence = c.sequence.map(|body| present_sequence::parsed(&mut v, "content.sequence", body));
    let content = Content {
        scope: word(&mut v, "content.scope", c.scope, Scope::from_code),
        mode: word(&mut v, "content.mode", c.mode, Mode::from_code),
        category: word(&mut v, "content.category", c.category, Category::from_code),
        slug: c.slug,
        name: c.name,
        description: c.description,
        cedar: c.cedar,
        sequence,
        scope_id: c.scope_id,
        precedence: c.precedence,
        effective_from: c.effective_from.as_ref().map(|t| runspine_rpc::micros(t).0),
        effective_until: c.effective_until.as_ref().map(|t| runspine_rpc::micros(t).0),
    };
    let rule_type = word(&mut v, "content.rule_type", c.rule_type, RuleType::from_code);
    v.into_result(&mesh::FIELD_INVALID)?;
    Ok((content, rule_type.unwrap_or(RuleType::Standard)))
}

/// The body of a sequence rule, alone.
pub(super) fn sequence(body: pb::SequenceBody) -> Result<Sequence, Fault> {
    let mut v = Violations::new();
    let sequence = present_sequence::parsed(&mut v, "sequence", body);
    v.into_result(&mesh::FIELD_INVALID)?;
    sequence.check()?;
    Ok(sequence)
}

/// A mode that must be named.
pub(super) fn mode(code: i32) -> Result<Mode, Fault> {
    Mode::from_code(code).ok_or_else(|| {
        let reason = if code == 0 { &mesh::ENUM_UNSPECIFIED } else { &mesh::ENUM_UNKNOWN };
        Fault::new(reason, "the mode is not known").field(
            "mode",
            reason.name,
            "BLOCK, WARN, AUDIT or DISABLED",
        )
    })
}

/// Settings; `version` is ignored.
pub(super) fn settings(s: Option<pb::PolicySettings>) -> Result<Settings, Fault> {
    let mut v = Violations::new();
    v.require(s.is_some(), "settings", "REQUIRED", "the settings");
    let s = s.unwrap_or_default();
    let mode = word(&mut v, "settings.default_rule_mode", s.default_rule_mode, Mode::from_code);
    let selected_arguments = selected(&mut v, s.selected_arguments);
    v.into_result(&mesh::FIELD_INVALID)?;
    let i = s.inspection.unwrap_or_default();
    Ok(Settings {
        baseline_grant: s.baseline_grant,
        default_rule_mode: mode.unwrap_or(Mode::Warn),
        inspection: Inspection {
            access_secret: i.access_secret,
            capture_pii: i.capture_pii,
            log_prompt: i.log_prompt,
            log_response: i.log_response,
        },
        intents: s.intents,
        monitored_metrics: s.monitored_metrics,
        require_proposal: s.require_proposal,
        selected_arguments,
    })
}

fn selected(v: &mut Violations, tools: Vec<pb::ToolArguments>) -> BTreeMap<String, ToolArguments> {
    let (field, mut all) = ("settings.selected_arguments", BTreeMap::new());
    for tool in tools {
        let mut by = ToolArguments::new();
        for a in tool.arguments {
            let kind = word(v, field, a.r#type, ArgumentType::from_code);
            v.require(a.r#type != 0, field, "ENUM_UNSPECIFIED", "the type of each argument");
            let selected = kind.map(|kind| Selected { kind, redact: a.redact });
            let known = selected.and_then(|s| by.insert(a.key, s));
            v.require(known.is_none(), field, "NOT_UNIQUE", "each key of a tool once");
        }
        let known = all.insert(tool.tool_id, by);
        v.require(known.is_none(), field, "NOT_UNIQUE", "each tool once");
    }
    all
}
