//! When, and when not yet.

use super::{BASE, EXPIRES, LEVEL, TOOLS, cedar};
use crate::{
    template::{Parameter, Template},
    words::{Category, RuleType},
};

const BASE_OF_TIME: Template =
    Template { rule_type: RuleType::Temporal, category: Category::Operational, ..BASE };
const WEEKDAYS: Parameter =
    Parameter::integer("weekdays", "1 Monday to 7 Sunday, UTC.", (1, 7), &["1", "2", "3", "4", "5"]).up_to(7);
const FROM: Parameter = Parameter::integer("from_hour", "First hour of the day, UTC.", (0, 23), &["8"]);
const UNTIL: Parameter = Parameter::integer(
    "until_hour",
    "Hour of the day at which it is over, UTC; after from_hour.",
    (1, 24),
    &["18"],
);
const RETRY: Parameter = Parameter::integer(
    "retry_after_ms",
    "Milliseconds after which the agent asks again; after 10 times it is denied.",
    (100, 3_600_000),
    &["60000"],
);

pub(super) const TIME_OF_DAY: Template = Template {
    id: "TIME_OF_DAY",
    title: "Working hours",
    description: "Restricts every step outside some hours of some days.",
    reason: "OUTSIDE_HOURS",
    message: "Agents work in working hours only.",
    own: &[
        WEEKDAYS,
        FROM,
        UNTIL,
        Parameter::word(
            "outcome",
            "What a step outside them comes to.",
            &["deny", "require_approval", "warn"],
            &["deny"],
        ),
    ],
    body: cedar!(
        "@outcome(\"{{outcome}}\")"
        "forbid (principal, action in Runspine::Action::\"step\", resource)"
        "unless { [{{weekdays}}].contains(context.now.weekday)"
        "  && context.now.hour >= {{from_hour}} && context.now.hour < {{until_hour}} };"
    ),
    ..BASE_OF_TIME
};

pub(super) const OFF_HOURS_CHANGES: Template = Template {
    id: "OFF_HOURS_CHANGES",
    title: "Changes outside working hours",
    description: "Outside some hours of some days a person has to approve the use of every tool that changes anything. A tool that is not registered is taken to change something.",
    reason: "OFF_HOURS_CHANGE",
    message: "A person has to approve changes outside working hours.",
    own: &[WEEKDAYS, FROM, UNTIL, LEVEL, EXPIRES],
    body: cedar!(
        "@outcome(\"require_approval\")"
        "@obligations(\"level({{level}});expires({{expires_s}})\")"
        "forbid (principal, action == Runspine::Action::\"tool_call\", resource)"
        "when { resource.side_effects }"
        "unless { [{{weekdays}}].contains(context.now.weekday)"
        "  && context.now.hour >= {{from_hour}} && context.now.hour < {{until_hour}} };"
    ),
    ..BASE_OF_TIME
};

pub(super) const DEFER_LOW_PRIORITY: Template = Template {
    id: "DEFER_LOW_PRIORITY",
    title: "Peak hours are for urgent runs",
    description: "Puts off calls of models by runs of low priority in some hours of some days.",
    reason: "PEAK_HOURS",
    message: "Runs of low priority wait in peak hours.",
    own: &[
        Parameter::integer(
            "least_priority",
            "The least priority that does not wait; 9 is the highest.",
            (1, 9),
            &["5"],
        ),
        WEEKDAYS,
        FROM,
        UNTIL,
        RETRY,
    ],
    body: cedar!(
        "@outcome(\"defer\")"
        "@obligations(\"retry_after({{retry_after_ms}})\")"
        "forbid (principal, action == Runspine::Action::\"llm_call\", resource)"
        "when { context.run.priority < {{least_priority}} && [{{weekdays}}].contains(context.now.weekday)"
        "  && context.now.hour >= {{from_hour}} && context.now.hour < {{until_hour}} };"
    ),
    ..BASE_OF_TIME
};

pub(super) const DEFER_UNTIL_ARGUMENT: Template = Template {
    id: "DEFER_UNTIL_ARGUMENT",
    title: "Not before it is known",
    description: "Puts off the use of some tools until the agent names an argument, a text or a number.",
    rule_type: RuleType::Standard,
    reason: "ARGUMENT_NEEDED",
    message: "Ask again with the argument that is needed.",
    own: &[TOOLS.such_as(&["close_ticket"]), Parameter::name("key", "The argument.", &["ticket_id"]), RETRY],
    body: cedar!(
        "@outcome(\"defer\")"
        "@obligations(\"needs({{key}});retry_after({{retry_after_ms}})\")"
        "forbid (principal, action == Runspine::Action::\"tool_call\", resource)"
        "when { {{each tools: resource == Runspine::Tool::{}}} }"
        "unless { context.arguments.text.hasTag(\"{{key}}\") || context.arguments.number.hasTag(\"{{key}}\") };"
    ),
    ..BASE_OF_TIME
};
