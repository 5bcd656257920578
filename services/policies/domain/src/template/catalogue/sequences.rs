//! What depends on the steps before.

use super::{BASE, cedar};
use crate::{
    template::{Body, Fields, Parameter, Template},
    words::{Category, RuleType, SequenceKind},
};

const BASE_OF_RATE: Template =
    Template { rule_type: RuleType::Temporal, category: Category::Operational, ..BASE };
const EVENTS: Parameter = Parameter::head(
    "events",
    "The steps that are counted: a Cedar head with conditions.",
    &["(principal, action == Runspine::Action::\"tool_call\", resource)"],
);
const SHARED: Parameter = Parameter::word(
    "state_scope",
    "Whose steps are counted together.",
    &["RUN", "AGENT", "API_KEY", "HUMAN_ACTOR", "TENANT"],
    &["RUN"],
);
const WITHIN: Parameter = Parameter::window(
    "window",
    "How far back is looked: steps:n (1 to 10,000), time:s (1 to 2,592,000) or run.",
    &["run"],
);
const COUNT: Fields =
    Fields { window: "time:{{window_s}}", max: "{{max}}", state_scope: "{{state_scope}}", ..Fields::OF };

pub(super) const SLIDING_WINDOW: Template = Template {
    id: "SLIDING_WINDOW",
    title: "So many in a window",
    description: "Denies a step when as many like it lie in the window. For a rate that decays make one rule for each window.",
    reason: "TOO_MANY_STEPS",
    message: "As many steps of this kind were made as may be.",
    own: &[
        EVENTS,
        Parameter::integer("window_s", "Seconds that are looked back.", (1, 2_592_000), &["3600"]),
        Parameter::integer("max", "The most steps in the window; 0: none.", (0, 1_000_000), &["100"]),
        SHARED,
    ],
    body: Body::Sequence(COUNT),
    ..BASE_OF_RATE
};

pub(super) const BURST_LIMIT: Template = Template {
    id: "BURST_LIMIT",
    title: "No bursts",
    description: "Denies a step when as many like it were made within seconds.",
    reason: "BURST",
    message: "Too many steps of this kind at once.",
    own: &[
        EVENTS,
        Parameter::integer("window_s", "Seconds that are looked back.", (1, 60), &["10"]),
        Parameter::integer("max", "The most steps in the window; 0: none.", (0, 1_000_000), &["20"]),
        SHARED,
    ],
    body: Body::Sequence(COUNT),
    ..BASE_OF_RATE
};

pub(super) const COOLDOWN: Template = Template {
    id: "COOLDOWN",
    title: "A pause after each",
    description: "Denies a step for some seconds after another like it.",
    reason: "COOLDOWN",
    message: "Wait before this is done again.",
    own: &[
        EVENTS,
        Parameter::integer("seconds", "Seconds between two of them.", (1, 2_592_000), &["60"]),
        SHARED,
    ],
    body: Body::Sequence(Fields {
        kind: SequenceKind::MustNotFollow,
        trigger: "{{events}}",
        window: "time:{{seconds}}",
        state_scope: "{{state_scope}}",
        ..Fields::OF
    }),
    ..BASE_OF_RATE
};

pub(super) const TOOL_AFTER_TOOL: Template = Template {
    id: "TOOL_AFTER_TOOL",
    title: "One tool after another",
    description: "Denies the use of a tool unless another one was used before, with success.",
    rule_type: RuleType::Safety,
    category: Category::Compliance,
    reason: "OUT_OF_ORDER",
    message: "Another tool has to be used first.",
    own: &[
        Parameter::text("first", "Id of the tool that comes first.", 128, &[]).such_as(&["verify_customer"]),
        Parameter::text("then", "Id of the tool that comes after it.", 128, &[]).such_as(&["issue_refund"]),
        WITHIN,
    ],
    body: Body::Sequence(Fields {
        kind: SequenceKind::MustFollow,
        events: "(principal, action == Runspine::Action::\"tool_call\", resource == Runspine::Tool::{{first}})",
        trigger: "(principal, action == Runspine::Action::\"tool_call\", resource == Runspine::Tool::{{then}})",
        window: "{{window}}",
        ..Fields::OF
    }),
};

pub(super) const TOOL_LEADS_TO_TOOL: Template = Template {
    id: "TOOL_LEADS_TO_TOOL",
    title: "What is opened is closed",
    description: "After the use of a tool another one has to be used, with success; what is overdue or open at the end of the run is a violation.",
    rule_type: RuleType::Standard,
    category: Category::Compliance,
    reason: "LEFT_OPEN",
    message: "What was opened has to be closed.",
    own: &[
        Parameter::text("opens", "Id of the tool that opens.", 128, &[]).such_as(&["open_ticket"]),
        Parameter::text("closes", "Id of the tool that closes.", 128, &[]).such_as(&["close_ticket"]),
        Parameter { description: "Within which it has to be closed: steps:n, time:s or run.", ..WITHIN },
    ],
    body: Body::Sequence(Fields {
        kind: SequenceKind::MustLeadTo,
        events: "(principal, action == Runspine::Action::\"tool_call\", resource == Runspine::Tool::{{opens}})",
        closes: "(principal, action == Runspine::Action::\"tool_call\", resource == Runspine::Tool::{{closes}})",
        window: "{{window}}",
        ..Fields::OF
    }),
};

pub(super) const TAINT_BLOCK: Template = Template {
    id: "TAINT_BLOCK",
    title: "No such step after such input",
    description: "Some steps mark the run and the runs that it starts; a marked run can't make some other steps.",
    category: Category::Privacy,
    reason: "RUN_IS_TAINTED",
    message: "The run has seen what forbids this step.",
    own: &[
        Parameter::head(
            "events",
            "The steps that mark the run: a Cedar head with conditions.",
            &[
                "(principal, action == Runspine::Action::\"data_access\", resource) when { resource.sensitivity >= 2 }",
            ],
        ),
        Parameter::name("labels", "The marks.", &["sensitive"]).up_to(8),
        Parameter::head(
            "trigger",
            "The steps that a marked run can't make: a Cedar head with conditions.",
            &["(principal, action == Runspine::Action::\"external_call\", resource)"],
        ),
    ],
    body: Body::Sequence(Fields {
        kind: SequenceKind::Taint,
        trigger: "{{trigger}}",
        labels: "labels",
        severity: "HIGH",
        ..Fields::OF
    }),
    ..BASE
};

pub(super) const HARD_STOP: Template = Template {
    id: "HARD_STOP",
    title: "Hard stop",
    description: "Ends a run for which a condition holds, as a critical violation.",
    reason: "HARD_STOP",
    message: "The run was ended.",
    own: &[Parameter::condition(
        "condition",
        "When the run is ended: a Cedar expression over principal, resource and the context of a step.",
        &["context.totals.failures >= 20"],
    )],
    body: cedar!(
        "@run(\"terminate\")"
        "@severity(\"CRITICAL\")"
        "forbid (principal, action in Runspine::Action::\"step\", resource)"
        "when {"
        "  {{condition}}"
        "};"
    ),
    ..BASE
};
