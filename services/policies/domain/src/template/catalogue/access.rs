//! Who may use what.

use super::{BASE, EXPIRES, LEVEL, MODES, TOOL_ACTION, TOOLS, cedar};
use crate::{
    template::{Parameter, Template},
    words::{Category, RuleType},
};

pub(super) const ACTION_BLOCK: Template = Template {
    id: "ACTION_BLOCK",
    title: "Block tools",
    description: "Denies the use of some tools.",
    reason: "TOOL_BLOCKED",
    message: "This tool is blocked.",
    own: &[TOOL_ACTION, TOOLS.such_as(&["shell", "delete_account"])],
    body: cedar!(
        "forbid (principal, action == Runspine::Action::\"{{action}}\", resource)"
        "when { {{each tools: resource == Runspine::Tool::{}}} };"
    ),
    ..BASE
};

pub(super) const GROUP_BLOCK: Template = Template {
    id: "GROUP_BLOCK",
    title: "Block groups of tools",
    description: "Denies the use of every tool of some groups.",
    reason: "TOOL_GROUP_BLOCKED",
    message: "Tools of this group are blocked.",
    own: &[
        TOOL_ACTION,
        Parameter::text("groups", "Ids of the tool groups.", 128, &[]).up_to(32).such_as(&["payments"]),
    ],
    body: cedar!(
        "forbid (principal, action == Runspine::Action::\"{{action}}\", resource)"
        "when { {{each groups: resource in Runspine::ToolGroup::{}}} };"
    ),
    ..BASE
};

pub(super) const TOOL_ALLOW_LIST: Template = Template {
    id: "TOOL_ALLOW_LIST",
    title: "Only these tools",
    description: "Denies the use of every tool that is not on the list. It grants nothing: what is on the list still needs a grant.",
    reason: "TOOL_NOT_ON_LIST",
    message: "This tool is not on the list of allowed tools.",
    own: &[TOOL_ACTION, TOOLS.such_as(&["search", "read_ticket"])],
    body: cedar!(
        "forbid (principal, action == Runspine::Action::\"{{action}}\", resource)"
        "unless { {{each tools: resource == Runspine::Tool::{}}} };"
    ),
    ..BASE
};

pub(super) const TOOL_GRANT: Template = Template {
    id: "TOOL_GRANT",
    title: "Grant tools",
    description: "Grants the use of some tools, for a tenant whose baseline grant is off.",
    rule_type: RuleType::Standard,
    category: Category::Operational,
    reason: "TOOL_GRANTED",
    message: "This tool is granted.",
    own: &[TOOL_ACTION, TOOLS.such_as(&["search", "read_ticket"])],
    body: cedar!(
        "permit (principal, action == Runspine::Action::\"{{action}}\", resource)"
        "when { {{each tools: resource == Runspine::Tool::{}}} };"
    ),
};

pub(super) const MODEL_ALLOW_LIST: Template = Template {
    id: "MODEL_ALLOW_LIST",
    title: "Only these models",
    description: "Denies calls of every model that is not on the list.",
    category: Category::Compliance,
    reason: "MODEL_NOT_ON_LIST",
    message: "This model is not on the list of allowed models.",
    own: &[Parameter::text("models", "Ids of the models.", 128, &[])
        .up_to(32)
        .such_as(&["gpt-4.1", "claude-4"])],
    body: cedar!(
        "forbid (principal, action == Runspine::Action::\"llm_call\", resource)"
        "unless { {{each models: resource == Runspine::Model::{}}} };"
    ),
    ..BASE
};

pub(super) const HOST_ALLOW_LIST: Template = Template {
    id: "HOST_ALLOW_LIST",
    title: "Only these hosts",
    description: "Denies calls to every host that is not on the list.",
    reason: "HOST_NOT_ON_LIST",
    message: "This host is not on the list of allowed hosts.",
    own: &[Parameter::text("hosts", "Names of the hosts, as the endpoint has them.", 128, &[])
        .up_to(32)
        .such_as(&["api.example.com"])],
    body: cedar!(
        "forbid (principal, action == Runspine::Action::\"external_call\", resource)"
        "unless { [{{hosts}}].contains(resource.host) };"
    ),
    ..BASE
};

pub(super) const ENVIRONMENT_GATE: Template = Template {
    id: "ENVIRONMENT_GATE",
    title: "Tools of an environment",
    description: "Denies the use of some tools to runs that have none of some labels.",
    rule_type: RuleType::Standard,
    category: Category::Operational,
    reason: "WRONG_ENVIRONMENT",
    message: "Runs without the label of the environment can't use this tool.",
    own: &[
        TOOLS.such_as(&["deploy"]),
        Parameter::text("labels", "Labels of runs; one of them is enough.", 64, &["env:prod"]).up_to(16),
    ],
    body: cedar!(
        "forbid (principal, action == Runspine::Action::\"tool_call\", resource)"
        "when { {{each tools: resource == Runspine::Tool::{}}} }"
        "unless { context.run.labels.containsAny([{{labels}}]) };"
    ),
};

pub(super) const PROD_DATA_ACCESS: Template = Template {
    id: "PROD_DATA_ACCESS",
    title: "Production data by environment",
    description: "Denies access to data with some labels, unless the run has a label that stands for the permission.",
    category: Category::Privacy,
    reason: "PROD_DATA_GUARDED",
    message: "Data of this environment is for runs that were let in.",
    own: &[
        Parameter::text("data_labels", "Labels of the data.", 64, &["env:prod"]).up_to(16),
        Parameter { default: &["WRITE", "DELETE"], example: &["WRITE", "DELETE"], ..MODES },
        Parameter::text("run_labels", "Labels of runs that are let in.", 64, &["change-approved"]).up_to(16),
    ],
    body: cedar!(
        "forbid (principal, action == Runspine::Action::\"data_access\", resource)"
        "when { resource.labels.containsAny([{{data_labels}}])"
        "  && (if context has mode then {{each modes: context.mode == \"{}\"}} else true) }"
        "unless { context.run.labels.containsAny([{{run_labels}}]) };"
    ),
    ..BASE
};

pub(super) const DELEGATION_DEPTH: Template = Template {
    id: "DELEGATION_DEPTH",
    title: "Depth of delegation",
    description: "Denies a run to start another agent when it is itself as many delegations away from the first run.",
    reason: "DELEGATION_TOO_DEEP",
    message: "The chain of delegated runs is as long as it may be.",
    own: &[Parameter::integer("max_depth", "Delegations in a row that may be; 0: none.", (0, 16), &["3"])],
    body: cedar!(
        "forbid (principal, action == Runspine::Action::\"spawn_agent\", resource)"
        "when { context.run.delegation_depth >= {{max_depth}} };"
    ),
    ..BASE
};

pub(super) const ESCALATION_REQUIRED: Template = Template {
    id: "ESCALATION_REQUIRED",
    title: "Tools that need approval",
    description: "A person has to approve each use of some tools.",
    reason: "APPROVAL_NEEDED",
    message: "A person has to approve the use of this tool.",
    own: &[
        TOOL_ACTION,
        TOOLS.such_as(&["issue_refund"]),
        LEVEL,
        Parameter::integer("quorum", "Different people who have to approve.", (1, 5), &["1"]),
        EXPIRES,
    ],
    body: cedar!(
        "@outcome(\"require_approval\")"
        "@obligations(\"level({{level}});quorum({{quorum}});expires({{expires_s}})\")"
        "forbid (principal, action == Runspine::Action::\"{{action}}\", resource)"
        "when { {{each tools: resource == Runspine::Tool::{}}} };"
    ),
    ..BASE
};

pub(super) const SANDBOX_CODE: Template = Template {
    id: "SANDBOX_CODE",
    title: "Code runs in a sandbox",
    description: "Code may be executed in a sandbox of a profile only.",
    reason: "SANDBOX_REQUIRED",
    message: "Execute this in the sandbox.",
    own: &[Parameter::word(
        "profile",
        "What the sandbox allows, from strict to loose.",
        &["RESTRICTED", "STANDARD", "PERMISSIVE"],
        &["RESTRICTED"],
    )],
    body: cedar!(
        "@outcome(\"modify\")"
        "@obligations(\"sandbox({{profile}})\")"
        "forbid (principal, action == Runspine::Action::\"execute_code\", resource);"
    ),
    ..BASE
};
