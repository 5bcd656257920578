//! What goes in and out: content of arguments, data, labels.

use super::{BASE, MODES, STEP_ACTION, cedar};
use crate::{
    template::{Body, Parameter, Template},
    words::{Category, RuleType},
};

const PATTERNS: Parameter =
    Parameter::pattern("patterns", "What the text is compared with, whole; `*` stands for anything.", &[])
        .up_to(64);
const MATCHES: Body = cedar!(
    "@severity(\"HIGH\")"
    "forbid (principal, action == Runspine::Action::\"{{action}}\", resource)"
    "when { context.arguments.text.hasTag(\"{{key}}\")"
    "  && {{each patterns: context.arguments.text.getTag(\"{{key}}\") like {}}} };"
);

pub(super) const PATTERN_BLOCK: Template = Template {
    id: "PATTERN_BLOCK",
    title: "Block content",
    description: "Denies steps of a kind whose text argument looks like one of some patterns. Only selected arguments are seen.",
    reason: "CONTENT_BLOCKED",
    message: "The content of this step is not allowed.",
    own: &[
        STEP_ACTION,
        Parameter::name("key", "The selected argument.", &["text"]),
        PATTERNS.such_as(&["*drop table*", "rm -rf *"]),
    ],
    body: MATCHES,
    ..BASE
};

pub(super) const PII_CONTENT_BLOCK: Template = Template {
    id: "PII_CONTENT_BLOCK",
    title: "Block personal data and secrets",
    description: "Denies steps of a kind whose text argument shows signs of personal data or secrets. Only selected arguments are seen.",
    category: Category::Privacy,
    reason: "PII_BLOCKED",
    message: "The content of this step looks like personal data or a secret.",
    own: &[
        Parameter { default: &["llm_call"], example: &["llm_call"], ..STEP_ACTION },
        Parameter::name("key", "The selected argument.", &["text"]),
        Parameter::pattern(
            "patterns",
            "What the text is compared with, whole; `*` stands for anything.",
            &["*@*.*", "*BEGIN*PRIVATE KEY*", "*password*", "*passport*", "*ssn*"],
        )
        .up_to(64),
    ],
    body: MATCHES,
    ..BASE
};

pub(super) const VALUE_BLOCK: Template = Template {
    id: "VALUE_BLOCK",
    title: "Block values of a list",
    description: "Denies steps of a kind whose list argument has one of some values. Only selected arguments are seen.",
    reason: "VALUE_BLOCKED",
    message: "A value of this step is not allowed.",
    own: &[
        STEP_ACTION,
        Parameter::name("key", "The selected argument, a list.", &["recipients"]),
        Parameter::text("values", "The values.", 128, &[]).up_to(32).such_as(&["all@example.com"]),
    ],
    body: cedar!(
        "forbid (principal, action == Runspine::Action::\"{{action}}\", resource)"
        "when { context.arguments.list.hasTag(\"{{key}}\")"
        "  && context.arguments.list.getTag(\"{{key}}\").containsAny([{{values}}]) };"
    ),
    ..BASE
};

pub(super) const REDACT_ARGUMENTS: Template = Template {
    id: "REDACT_ARGUMENTS",
    title: "Redact arguments",
    description: "Steps of a kind go on with some of their arguments redacted by the agent.",
    category: Category::Privacy,
    reason: "REDACTION_REQUIRED",
    message: "Redact the named arguments.",
    own: &[
        STEP_ACTION,
        Parameter::name("paths", "Paths of the arguments, with dots.", &[])
            .up_to(32)
            .such_as(&["customer.email"]),
    ],
    body: cedar!(
        "@outcome(\"modify\")"
        "@obligations(\"redact({{paths}})\")"
        "forbid (principal, action == Runspine::Action::\"{{action}}\", resource);"
    ),
    ..BASE
};

pub(super) const SENSITIVE_DATA: Template = Template {
    id: "SENSITIVE_DATA",
    title: "Sensitive data marks the run",
    description: "Access to data of some sensitivity is restricted, and marks the run: other rules read the mark, such as EGRESS_AFTER_TAINT.",
    category: Category::Privacy,
    reason: "SENSITIVE_DATA",
    message: "This data is sensitive.",
    own: &[
        Parameter::integer(
            "least_sensitivity",
            "0 PUBLIC, 1 INTERNAL, 2 CONFIDENTIAL, 3 RESTRICTED; data of unknown sensitivity has 3.",
            (0, 3),
            &["2"],
        ),
        MODES,
        Parameter::word(
            "outcome",
            "What the access comes to.",
            &["warn", "require_approval", "deny"],
            &["warn"],
        ),
        Parameter::name("labels", "Labels that the run gets.", &["sensitive"]).up_to(8),
    ],
    body: cedar!(
        "@outcome(\"{{outcome}}\")"
        "@obligations(\"taint({{labels}})\")"
        "forbid (principal, action == Runspine::Action::\"data_access\", resource)"
        "when { resource.sensitivity >= {{least_sensitivity}}"
        "  && (if context has mode then {{each modes: context.mode == \"{}\"}} else true) };"
    ),
    ..BASE
};

pub(super) const EGRESS_AFTER_TAINT: Template = Template {
    id: "EGRESS_AFTER_TAINT",
    title: "No way out for marked runs",
    description: "Denies calls and messages out of a run that is marked, but to some hosts.",
    category: Category::Privacy,
    reason: "EGRESS_AFTER_TAINT",
    message: "A run that has seen this data talks to known hosts only.",
    own: &[
        Parameter::text("labels", "Marks of runs; one of them is enough.", 64, &["sensitive"]).up_to(16),
        Parameter::text("hosts", "Hosts that are known.", 128, &[]).up_to(32).such_as(&["api.example.com"]),
    ],
    body: cedar!(
        "@severity(\"HIGH\")"
        "forbid (principal, action in [Runspine::Action::\"external_call\", Runspine::Action::\"send_message\"],"
        "  resource is Runspine::Endpoint)"
        "when { context.run.taints.containsAny([{{labels}}]) }"
        "unless { [{{hosts}}].contains(resource.host) };"
    ),
    ..BASE
};

pub(super) const LABEL_GUARD: Template = Template {
    id: "LABEL_GUARD",
    title: "Labels of a classifier",
    description: "A run whose step had an output with one of some labels is paused or ended. The labels come from a classifier outside, as facts of the step.",
    rule_type: RuleType::Ethical,
    reason: "OUTPUT_LABELLED",
    message: "The output of a step was labelled by the classifier.",
    own: &[
        Parameter::text("labels", "Labels of outputs; one of them is enough.", 64, &[])
            .up_to(16)
            .such_as(&["toxic"]),
        Parameter::word("directive", "What the run is told.", &["pause", "terminate"], &["pause"]),
    ],
    body: cedar!(
        "@run(\"{{directive}}\")"
        "@violation(\"on_step_end\")"
        "@severity(\"HIGH\")"
        "forbid (principal, action == Runspine::Action::\"step_ended\", resource)"
        "when { context.output_labels.containsAny([{{labels}}]) };"
    ),
    ..BASE
};
