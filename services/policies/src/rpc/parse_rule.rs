//! Rules and settings into domain types.

use std::collections::BTreeMap;

use contracts_policies::v1 as pb;
use runspine_errors::{Fault, Violations, mesh};
use runspine_policies_domain::{
    approval::Defaults,
    rule::Content,
    settings::{Inspection, Selected, Settings, ToolArguments},
    template::Expanded,
    words::{ApprovalLevel, ArgumentType, Category, Mode, RuleType, Scope},
};

use crate::{present_sequence, present_template};

/// A word of an enum field that may be left out.
fn word<T>(v: &mut Violations, field: &str, code: i32, of: fn(i32) -> Option<T>) -> Option<T> {
    let word = of(code);
    v.require(code == 0 || word.is_some(), field, "ENUM_UNKNOWN", "a known value");
    word
}

/// The content of a rule, and its type.
pub(super) fn content(c: Option<pb::RuleContent>) -> Result<(Content, RuleType), Fault> {
    stored(Some(written(c)?))
}

/// A content as it is kept: a template has made its body, and what it was made from stays beside it.
pub(super) fn written(c: Option<pb::RuleContent>) -> Result<pb::RuleContent, Fault> {
    let mut v = Violations::new();
    v.require(c.is_some(), "content", "REQUIRED", "the rule");
    let mut c = c.unwrap_or_default();
    if let Some(template) = c.template.take()
        && let Some((template, origin)) = present_template::asked(&mut v, "content.template", template)
        && v.is_empty()
    {
        let given = (std::mem::take(&mut c.cedar), c.sequence.take());
        c = present_template::written(c, template, &origin);
        let fits = given == (String::new(), None) || (&given.0, &given.1) == (&c.cedar, &c.sequence);
        let what = "the body beside a template is the one that it makes, or none";
        v.require(fits, "content.template", "OUT_OF_RANGE", what);
    }
    v.into_result(&mesh::FIELD_INVALID)?;
    Ok(c)
}

/// A content that was [`written`] before.
pub(super) fn stored(c: Option<pb::RuleContent>) -> Result<(Content, RuleType), Fault> {
    let mut v = Violations::new();
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
        template: c.template.map(present_template::origin),
        scope_id: c.scope_id,
        precedence: c.precedence,
        effective_from: c.effective_from.as_ref().map(|t| runspine_rpc::micros(t).0),
        effective_until: c.effective_until.as_ref().map(|t| runspine_rpc::micros(t).0),
    };
    let rule_type = word(&mut v, "content.rule_type", c.rule_type, RuleType::from_code);
    v.into_result(&mesh::FIELD_INVALID)?;
    Ok((content, rule_type.unwrap_or(RuleType::Standard)))
}

/// A body that belongs to no rule yet and is looked at as that of a rule named `slug`, in its mode.
pub(super) fn body(r: pb::ValidateRuleRequest, slug: &str) -> Result<(Expanded, Mode), Fault> {
    let mut v = Violations::new();
    let mode = word(&mut v, "mode", r.mode, Mode::from_code).unwrap_or(Mode::Block);
    word(&mut v, "scope", r.scope, Scope::from_code);
    let bodies = [!r.cedar.is_empty(), r.sequence.is_some(), r.template.is_some()];
    let one = bodies.into_iter().filter(|given| *given).count() <= 1;
    v.require(one, "cedar", "NOT_UNIQUE", "one of cedar, sequence and template");
    let sequence = r.sequence.map(|body| present_sequence::parsed(&mut v, "sequence", body));
    let template = r.template.and_then(|body| present_template::asked(&mut v, "template", body));
    v.into_result(&mesh::FIELD_INVALID)?;
    let body = match (sequence, template) {
        (Some(body), _) => Expanded::Sequence(Box::new(body)),
        (None, Some((template, origin))) => {
            template.expand(slug, &origin.arguments).learned_from(&origin.learned_from)
        }
        (None, None) => Expanded::Cedar(r.cedar),
    };
    if let Expanded::Sequence(body) = &body {
        body.check()?;
    }
    Ok((body, mode))
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
    let approval_defaults = approval_defaults(&mut v, s.approval_defaults.unwrap_or_default());
    v.into_result(&mesh::FIELD_INVALID)?;
    let i = s.inspection.unwrap_or_default();
    Ok(Settings {
        approval_defaults,
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

/// What is not stated is as nobody set it.
fn approval_defaults(v: &mut Violations, asked: pb::ApprovalDefaults) -> Defaults {
    let plain = Defaults::default();
    let or = |asked: i64, default: i64| if asked == 0 { default } else { asked };
    let level = word(v, "settings.approval_defaults.level", asked.level, ApprovalLevel::from_code);
    Defaults {
        escalates_s: or(asked.escalates_s, plain.escalates_s),
        expires_s: or(asked.expires_s, plain.expires_s),
        level: level.unwrap_or(plain.level),
        quorum: if asked.quorum == 0 { plain.quorum } else { asked.quorum },
        use_within_s: or(asked.use_within_s, plain.use_within_s),
    }
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
