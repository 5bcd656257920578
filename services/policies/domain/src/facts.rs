//! What is known when something is decided: request facts, taints, time. The canonical bytes of them are what is stored
//! and hashed, and all that a replay needs. Keys stand in the order of canonical JSON; numbers are integers only.

mod check;

use std::{borrow::Cow, collections::BTreeMap};

use runspine_errors::Fault;
use runspine_types::{Digest, Hasher};
use serde::{Deserialize, Serialize};

use crate::{
    reasons,
    words::{Action, Directive, Profile, ResourceType, Standing, StepKind, StepOutcome, Unusable},
};

pub use check::{check_resource, check_step};

/// The agent that acts.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Agent {
    /// Groups it is in.
    pub groups: Vec<String>,
    /// Its id.
    pub id: String,
    /// Its labels.
    pub labels: Vec<String>,
    /// Who owns it; empty: nobody.
    pub owner: String,
    /// 0 LOW to 3 CRITICAL.
    pub risk: u32,
    /// Its version.
    pub version: String,
}

/// A project or an API key.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Named {
    /// Its id.
    pub id: String,
    /// Its labels.
    pub labels: Vec<String>,
}

/// The person that a run acts for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Human {
    /// The id.
    pub id: String,
    /// Labels.
    pub labels: Vec<String>,
    /// Approval level.
    pub level: u32,
    /// Teams.
    pub teams: Vec<String>,
}

/// For whom a run acts: fixed when the run is bound.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Principal {
    /// The agent.
    pub agent: Agent,
    /// The API key.
    pub api_key: Option<Named>,
    /// The person.
    pub human: Option<Human>,
    /// The project.
    pub project: Named,
    /// The tenant.
    pub tenant_id: String,
}

impl Principal {
    /// Digest of everything in it: what slices are cached by.
    #[must_use]
    pub fn digest(&self) -> Digest {
        runspine_types::hash(&serde_json::to_vec(self).unwrap_or_default())
    }
}

/// What a step is about, with the cautious defaults filled in.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Resource {
    /// Groups, families or domains it is in, nearest first.
    pub groups: Vec<String>,
    /// Endpoints: the host.
    pub host: String,
    /// Its id.
    pub id: String,
    /// What kind of thing.
    pub kind: ResourceType,
    /// Its labels.
    pub labels: Vec<String>,
    /// Models: who offers it.
    pub provider: String,
    /// Tools and agents: 0 LOW to 3 CRITICAL.
    pub risk: u32,
    /// Endpoints: the scheme.
    pub scheme: String,
    /// Data: 0 PUBLIC to 3 RESTRICTED.
    pub sensitivity: u32,
    /// Tools: the server that offers it.
    pub server: String,
    /// Tools: whether it changes anything.
    pub side_effects: bool,
    /// Agents: the version.
    pub version: String,
}

impl Resource {
    /// An unregistered thing: cautious in everything that is not known.
    #[must_use]
    pub fn unregistered(kind: ResourceType, id: &str) -> Self {
        let (scheme, rest) = id.split_once("://").unwrap_or(("", id));
        let host = rest.split(['/', ':', '?']).next().unwrap_or(rest);
        let endpoint = kind == ResourceType::Endpoint;
        Self {
            groups: Vec::new(),
            host: if endpoint { host.to_owned() } else { String::new() },
            id: id.to_owned(),
            kind,
            labels: Vec::new(),
            provider: String::new(),
            risk: if kind == ResourceType::Agent { 1 } else { 2 },
            scheme: if endpoint { scheme.to_owned() } else { String::new() },
            sensitivity: 3,
            server: String::new(),
            side_effects: true,
            version: String::new(),
        }
    }
}

/// Facts of a run that change from step to step.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    /// HUMAN, SYSTEM, AGENT or SERVICE.
    pub actor_type: String,
    /// The attempt.
    pub attempt: u32,
    /// Whether it is marked.
    pub degraded: bool,
    /// Depth of delegation.
    pub delegation_depth: u32,
    /// Running time in milliseconds.
    pub elapsed_ms: i64,
    /// Whether it is synthetic.
    pub is_synthetic: bool,
    /// Labels.
    pub labels: Vec<String>,
    /// 0 to 9.
    pub priority: u32,
    /// The run.
    pub run_id: String,
    /// AGENT, HUMAN, SDK, SCHEDULE, OTLP or REPLAY.
    pub source: String,
    /// Labels gained.
    pub taints: Vec<String>,
}

/// Cost, tokens and time of a step or run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Estimate {
    /// Micro-USD.
    pub cost_microusd: i64,
    /// Milliseconds.
    pub duration_ms: i64,
    /// Input tokens.
    pub tokens_input: i64,
    /// Output tokens.
    pub tokens_output: i64,
}

/// What an attempt has used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Totals {
    /// Micro-USD.
    pub cost_microusd: i64,
    /// Steps denied.
    pub denials: i64,
    /// Milliseconds.
    pub duration_ms: i64,
    /// Steps failed.
    pub failures: i64,
    /// LLM calls.
    pub llm_calls: i64,
    /// Steps.
    pub steps: i64,
    /// Input tokens.
    pub tokens_input: i64,
    /// Output tokens.
    pub tokens_output: i64,
    /// Tool calls.
    pub tool_calls: i64,
}

/// Selected arguments.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Arguments {
    /// Names of true booleans.
    pub flags: Vec<String>,
    /// Lists.
    pub list: BTreeMap<String, Vec<String>>,
    /// Numbers.
    pub number: BTreeMap<String, i64>,
    /// Texts.
    pub text: BTreeMap<String, String>,
}

impl Arguments {
    /// Whether none was selected.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.flags.is_empty() && self.list.is_empty() && self.number.is_empty() && self.text.is_empty()
    }

    /// How many were selected.
    #[must_use]
    pub fn len(&self) -> usize {
        self.flags.len() + self.list.len() + self.number.len() + self.text.len()
    }

    /// Checks the limits: more is refused, never cut.
    ///
    /// # Errors
    /// ARGUMENTS_TOO_LARGE.
    pub fn check(&self) -> Result<(), Fault> {
        let keys = self.len();
        let texts: usize = self.text.iter().map(|(k, v)| k.len() + v.len()).sum();
        let lists: usize =
            self.list.iter().map(|(k, v)| k.len() + v.iter().map(String::len).sum::<usize>()).sum();
        let numbers: usize = self.number.keys().map(|k| k.len() + 8).sum();
        let flags: usize = self.flags.iter().map(String::len).sum();
        let found = if keys > 64 {
            "more than 64 selected arguments"
        } else if self.text.values().any(|v| v.len() > 1_024) {
            "a text argument is longer than 1,024 bytes"
        } else if self.list.values().any(|v| v.len() > 64) {
            "a list argument has more than 64 values"
        } else if texts + lists + numbers + flags > 16 * 1024 {
            "the selected arguments are larger than 16 KiB"
        } else {
            return Ok(());
        };
        Err(Fault::new(&reasons::ARGUMENTS_TOO_LARGE, found).field("arguments", "ARGUMENTS_TOO_LARGE", found))
    }
}

/// May the run start.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StartQuestion {
    /// How often it was asked.
    pub ask: u32,
    /// Tools that it says it will use.
    pub declared_tools: Vec<String>,
    /// Digest of the goal in hex.
    pub goal_digest: String,
    /// What it asks for.
    pub requested: Estimate,
}

/// May the step happen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepQuestion {
    /// Selected arguments.
    pub arguments: Arguments,
    /// Digest of all arguments in hex.
    pub arguments_digest: String,
    /// Size of all arguments.
    pub arguments_size: i64,
    /// How often it was asked.
    pub ask: u32,
    /// What it will take.
    pub estimate: Estimate,
    /// A word of the tenant's list.
    pub intent: String,
    /// The kind.
    pub kind: StepKind,
    /// HTTP or RPC verb.
    pub method: String,
    /// READ, WRITE or DELETE.
    pub mode: String,
    /// Its name.
    pub name: String,
    /// What it is about.
    pub resource: Resource,
    /// The step.
    pub step_index: u32,
    /// What the attempt has used.
    pub totals: Totals,
}

/// A finished step, as the trace tells it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndedQuestion {
    /// Whether it was done under a decision.
    pub authorized: bool,
    /// Micro-USD.
    pub cost_microusd: i64,
    /// The decision; empty: none.
    pub decision_id: String,
    /// Milliseconds.
    pub duration_ms: i64,
    /// Code of a failure; empty: none.
    pub error_code: String,
    /// Digest of the arguments used, in hex; empty: not known.
    pub input_digest: String,
    /// The kind.
    pub kind: StepKind,
    /// The model that answered; empty: none.
    pub model: String,
    /// Names of the obligations applied.
    pub obligations_applied: Vec<String>,
    /// When it ended, microseconds; 0: not known.
    pub occurred_at: i64,
    /// How it ended.
    pub outcome: StepOutcome,
    /// Labels of the output.
    pub output_labels: Vec<String>,
    /// Bytes.
    pub output_size: i64,
    /// What it was about.
    pub resource: Resource,
    /// Try of the step.
    pub retry_count: u32,
    /// Position in the trace.
    pub seq: u64,
    /// The step.
    pub step_index: u32,
    /// Input tokens.
    pub tokens_input: i64,
    /// Output tokens.
    pub tokens_output: i64,
    /// What the attempt had used then.
    pub totals: Totals,
}

impl EndedQuestion {
    /// The bytes that are stored, and that a repeat is compared by.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }
}

/// What did the run come to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndQuestion {
    /// Status.
    pub outcome: String,
    /// Why.
    pub termination_reason: String,
    /// What it used.
    pub totals: Totals,
}

/// The question.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(clippy::large_enum_variant, reason = "made once per decision and never moved in bulk")]
pub enum Question {
    /// At the start of the run.
    Start(StartQuestion),
    /// Before a step.
    Step(StepQuestion),
    /// After a step.
    Ended(EndedQuestion),
    /// At the end of the run.
    End(EndQuestion),
}

impl Question {
    /// The action of the schema.
    #[must_use]
    pub const fn action(&self) -> Action {
        match self {
            Self::Start(_) => Action::StartRun,
            Self::Step(q) => Action::of(q.kind),
            Self::Ended(_) => Action::StepEnded,
            Self::End(_) => Action::EndRun,
        }
    }

    /// How often it was put before.
    #[must_use]
    pub const fn ask(&self) -> u32 {
        match self {
            Self::Start(q) => q.ask,
            Self::Step(q) => q.ask,
            Self::Ended(_) | Self::End(_) => 0,
        }
    }
}

/// A bypass that controls granted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bypass {
    /// When it ends, microseconds.
    pub expires_at: i64,
    /// Its id.
    pub id: String,
    /// The rules it covers; empty: every rule of the tenant in BLOCK mode.
    pub rule_ids: Vec<String>,
}

/// What is known of an approval when a decision demands one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApprovalFacts {
    /// The approval; empty: there is none.
    pub approval_id: String,
    /// The rules that it answers for, sorted.
    pub rules: Vec<String>,
    /// What the decision has at hand.
    pub standing: Standing,
    /// Why the approval that the question names was not used.
    pub unusable: Option<Unusable>,
}

/// Everything that a decision is made of, besides the snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inputs<'a> {
    /// The approval, when the rules demand one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approval: Option<ApprovalFacts>,
    /// The bypass, if any.
    pub bypass: Option<Bypass>,
    /// How often the question was put off; none: not more often than it was put.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deferrals: Option<u32>,
    /// Format of these bytes: 1.
    pub format: u32,
    /// The values of the monitors that the rules read, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub monitors: BTreeMap<String, i64>,
    /// The time of the question, microseconds.
    pub now: i64,
    /// What the observed steps led to.
    pub observed_directive: Directive,
    /// For whom.
    pub principal: Cow<'a, Principal>,
    /// The profile.
    pub profile: Profile,
    /// The question.
    pub question: Question,
    /// The run.
    pub run: Run,
    /// The snapshot in hex.
    pub snapshot: String,
    /// Steps that were allowed here and denied after all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub withdrawn: Vec<u32>,
}

impl Inputs<'_> {
    /// The bytes that are stored and hashed.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// Reads stored bytes.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Inputs<'static>> {
        serde_json::from_slice(bytes).ok()
    }
}

/// The digest of stored inputs: the trace's `facts_digest`.
#[must_use]
pub fn inputs_digest(bytes: &[u8]) -> Digest {
    Hasher::new("runspine.policyinput.v1").sized(bytes).finish()
}
