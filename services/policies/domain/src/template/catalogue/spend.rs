//! What runs may cost, and what they may pay.

use super::{BASE, EXPIRES, LEVEL, MOST, TOOLS, cedar};
use crate::{
    template::{Body, Fields, Parameter, Template},
    words::{Category, RuleType, SequenceKind},
};

const BASE_OF_COST: Template = Template { rule_type: RuleType::Standard, category: Category::Cost, ..BASE };
const AMOUNT: Parameter =
    Parameter::name("key", "The selected argument that holds the amount, an integer.", &["amount_microusd"]);

pub(super) const SPEND_CEILING: Template = Template {
    id: "SPEND_CEILING",
    title: "Ceiling of a run",
    description: "Denies a step that would bring its run over a ceiling, or is itself over one.",
    reason: "SPEND_CEILING",
    message: "The run has used as much as it may.",
    own: &[
        Parameter::word(
            "measure",
            "What is measured: micro-USD, or milliseconds.",
            &["cost_microusd", "duration_ms"],
            &["cost_microusd"],
        ),
        Parameter::integer("max_run", "Most of a run, in the measure.", (0, MOST), &["5000000"]),
        Parameter::integer("max_step", "Most of a step, in the measure.", (0, MOST), &["1000000"]),
    ],
    body: cedar!(
        "forbid (principal, action in Runspine::Action::\"step\", resource)"
        "when { context.estimate.{{measure}} > {{max_step}}"
        "  || context.totals.{{measure}} + context.estimate.{{measure}} > {{max_run}} };"
    ),
    ..BASE_OF_COST
};

pub(super) const TOKEN_CEILING: Template = Template {
    id: "TOKEN_CEILING",
    title: "Ceiling of a run's tokens",
    description: "Denies a step that would bring its run over a ceiling of input and output tokens.",
    reason: "TOKEN_CEILING",
    message: "The run has used as many tokens as it may.",
    own: &[Parameter::integer("max_run", "Most of a run, in tokens.", (0, MOST), &["1000000"])],
    body: cedar!(
        "forbid (principal, action in Runspine::Action::\"step\", resource)"
        "when { context.totals.tokens + context.estimate.tokens_input + context.estimate.tokens_output > {{max_run}} };"
    ),
    ..BASE_OF_COST
};

pub(super) const SPEND_APPROVAL: Template = Template {
    id: "SPEND_APPROVAL",
    title: "Approval above an amount",
    description: "A person has to approve every step of a run that has cost more than an amount.",
    reason: "SPEND_NEEDS_APPROVAL",
    message: "The run costs more than it may without a person.",
    own: &[
        Parameter::integer(
            "above_microusd",
            "What a run may cost without a person, micro-USD.",
            (0, MOST),
            &["5000000"],
        ),
        LEVEL,
        EXPIRES,
    ],
    body: cedar!(
        "@outcome(\"require_approval\")"
        "@obligations(\"level({{level}});expires({{expires_s}})\")"
        "forbid (principal, action in Runspine::Action::\"step\", resource)"
        "when { context.totals.cost_microusd + context.estimate.cost_microusd > {{above_microusd}} };"
    ),
    ..BASE_OF_COST
};

pub(super) const REFUND_CEILING: Template = Template {
    id: "REFUND_CEILING",
    title: "Ceiling of one refund",
    description: "Denies a call of some tools with an amount over a ceiling, or with none that can be seen.",
    category: Category::Compliance,
    reason: "REFUND_TOO_LARGE",
    message: "The amount is more than an agent may give back at once.",
    own: &[
        TOOLS.such_as(&["issue_refund"]),
        AMOUNT,
        Parameter::integer("max", "The most at once, in the unit of the argument.", (0, MOST), &["50000000"]),
    ],
    body: cedar!(
        "@severity(\"HIGH\")"
        "forbid (principal, action == Runspine::Action::\"tool_call\", resource)"
        "when { {{each tools: resource == Runspine::Tool::{}}}"
        "  && (if context.arguments.number.hasTag(\"{{key}}\")"
        "      then context.arguments.number.getTag(\"{{key}}\") > {{max}} else true) };"
    ),
    ..BASE_OF_COST
};

pub(super) const REFUND_TOTAL_DAILY: Template = Template {
    id: "REFUND_TOTAL_DAILY",
    title: "Ceiling of the refunds of a day",
    description: "Denies a call of a tool when the amounts of the last 24 hours and its own come to more than a ceiling. Needs the amount to be a selected argument.",
    category: Category::Compliance,
    rule_type: RuleType::Temporal,
    reason: "REFUND_TOTAL_DAILY",
    message: "As much was given back in 24 hours as may be.",
    own: &[
        Parameter::text("tool", "Id of the tool.", 128, &[]).such_as(&["issue_refund"]),
        AMOUNT,
        Parameter::integer(
            "max",
            "The most in 24 hours, in the unit of the argument.",
            (0, MOST),
            &["500000000"],
        ),
        Parameter::word(
            "state_scope",
            "Whose refunds are counted together.",
            &["AGENT", "API_KEY", "HUMAN_ACTOR", "TENANT"],
            &["AGENT"],
        ),
    ],
    body: Body::Sequence(Fields {
        kind: SequenceKind::RunningTotal,
        events: "(principal, action == Runspine::Action::\"tool_call\", resource == Runspine::Tool::{{tool}})",
        window: "time:86400",
        measure: "number:{{key}}",
        max: "{{max}}",
        state_scope: "{{state_scope}}",
        severity: "HIGH",
        ..Fields::OF
    }),
};

pub(super) const TOKEN_CAP: Template = Template {
    id: "TOKEN_CAP",
    title: "Cap of output tokens",
    description: "Calls of models go on with at most so many output tokens.",
    reason: "TOKENS_CAPPED",
    message: "Ask the model for no more output tokens than this.",
    own: &[Parameter::integer("max_tokens", "Output tokens of one call.", (1, 10_000_000), &["4096"])],
    body: cedar!(
        "@outcome(\"modify\")"
        "@obligations(\"cap_tokens({{max_tokens}})\")"
        "forbid (principal, action == Runspine::Action::\"llm_call\", resource);"
    ),
    ..BASE_OF_COST
};

const TOTAL: Fields = Fields {
    kind: SequenceKind::RunningTotal,
    measure: "{{measure}}",
    max: "{{max}}",
    state_scope: "AGENT",
    ..Fields::OF
};
const EVENTS: Parameter = Parameter::head(
    "events",
    "The steps that are added up: a Cedar head with conditions.",
    &["(principal, action in Runspine::Action::\"step\", resource)"],
);
const MEASURE: Parameter = Parameter::word(
    "measure",
    "What is added up: micro-USD, tokens or milliseconds.",
    &["cost_microusd", "tokens", "duration_ms"],
    &["cost_microusd"],
);

pub(super) const CUMULATIVE_DAILY: Template = Template {
    id: "CUMULATIVE_DAILY",
    title: "Ceiling of an agent's day",
    description: "Denies a step when the steps of the agent's last 24 hours and it itself come to more than a ceiling.",
    rule_type: RuleType::Temporal,
    reason: "DAILY_TOTAL",
    message: "The agent has used as much in 24 hours as it may.",
    own: &[EVENTS, MEASURE, Parameter::integer("max", "The most, in the measure.", (0, MOST), &["50000000"])],
    body: Body::Sequence(Fields { window: "time:86400", ..TOTAL }),
    ..BASE_OF_COST
};

pub(super) const CUMULATIVE_WEEKLY: Template = Template {
    id: "CUMULATIVE_WEEKLY",
    title: "Ceiling of an agent's week",
    description: "Denies a step when the steps of the agent's last 7 days and it itself come to more than a ceiling.",
    rule_type: RuleType::Temporal,
    reason: "WEEKLY_TOTAL",
    message: "The agent has used as much in 7 days as it may.",
    own: &[
        EVENTS,
        MEASURE,
        Parameter::integer("max", "The most, in the measure.", (0, MOST), &["200000000"]),
    ],
    body: Body::Sequence(Fields { window: "time:604800", ..TOTAL }),
    ..BASE_OF_COST
};
