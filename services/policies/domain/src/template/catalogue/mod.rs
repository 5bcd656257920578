//! Every template there is, by what its rules are about. A template's id and parameters keep their meaning for ever; its
//! text may become better, for a rule holds the text that it was made with.

mod access;
mod content;
mod sequences;
mod spend;
mod time;

use super::{Body, Parameter, Template};
use crate::words::Category;

/// A Cedar text with the annotations that every rule has.
macro_rules! cedar {
    ($($line:literal)*) => {
        $crate::template::Body::Cedar(concat!(
            "@id({{slug}})\n@reason({{reason}})\n@message({{message}})\n", $($line, "\n",)*
        ))
    };
}
pub(super) use cedar;

/// Every template, in the order in which they are listed.
pub static TEMPLATES: &[Template] = &[
    access::ACTION_BLOCK,
    access::GROUP_BLOCK,
    access::TOOL_ALLOW_LIST,
    access::TOOL_GRANT,
    access::MODEL_ALLOW_LIST,
    access::HOST_ALLOW_LIST,
    access::ENVIRONMENT_GATE,
    access::PROD_DATA_ACCESS,
    access::DELEGATION_DEPTH,
    access::ESCALATION_REQUIRED,
    access::SANDBOX_CODE,
    content::PATTERN_BLOCK,
    content::PII_CONTENT_BLOCK,
    content::VALUE_BLOCK,
    content::REDACT_ARGUMENTS,
    content::SENSITIVE_DATA,
    content::EGRESS_AFTER_TAINT,
    content::LABEL_GUARD,
    spend::SPEND_CEILING,
    spend::TOKEN_CEILING,
    spend::SPEND_APPROVAL,
    spend::REFUND_CEILING,
    spend::REFUND_TOTAL_DAILY,
    spend::TOKEN_CAP,
    spend::CUMULATIVE_DAILY,
    spend::CUMULATIVE_WEEKLY,
    time::TIME_OF_DAY,
    time::OFF_HOURS_CHANGES,
    time::DEFER_LOW_PRIORITY,
    time::DEFER_UNTIL_ARGUMENT,
    sequences::SLIDING_WINDOW,
    sequences::BURST_LIMIT,
    sequences::COOLDOWN,
    sequences::TOOL_AFTER_TOOL,
    sequences::TOOL_LEADS_TO_TOOL,
    sequences::TAINT_BLOCK,
    sequences::HARD_STOP,
];

/// The tools of a rule.
const TOOLS: Parameter = Parameter::text("tools", "Ids of the tools.", 128, &[]).up_to(32);
/// What the tools of a rule are used for.
const TOOL_ACTION: Parameter = Parameter::word(
    "action",
    "What the tool is used for.",
    &["tool_call", "execute_code", "custom_step"],
    &["tool_call"],
);
/// The actions of steps.
const STEP_ACTION: Parameter = Parameter::word(
    "action",
    "The kind of step.",
    &[
        "llm_call",
        "tool_call",
        "data_access",
        "external_call",
        "spawn_agent",
        "execute_code",
        "send_message",
        "custom_step",
    ],
    &["tool_call"],
);
/// The level of the person who approves.
const LEVEL: Parameter = Parameter::word(
    "level",
    "The least level of a person who may approve.",
    &["TEAM_MEMBER", "TEAM_LEAD", "MANAGER", "OWNER"],
    &["TEAM_LEAD"],
);
/// How long an approval is waited for.
const EXPIRES: Parameter =
    Parameter::integer("expires_s", "Seconds for which votes are taken.", (60, 86_400), &["3600"]);
/// What a step does to data.
const MODES: Parameter = Parameter::word(
    "modes",
    "What is done with the data; a step that does not say it is taken to do all of it.",
    &["READ", "WRITE", "DELETE"],
    &["READ", "WRITE", "DELETE"],
)
.up_to(3);
/// The largest amount.
const MOST: i64 = i64::MAX / 4;

/// What templates have in common; each says the rest itself.
const BASE: Template = Template {
    id: "",
    title: "",
    description: "",
    rule_type: crate::words::RuleType::Safety,
    category: Category::Safety,
    reason: "",
    message: "",
    own: &[],
    body: Body::Cedar(""),
};
