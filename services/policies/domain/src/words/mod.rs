//! The closed sets of words of this domain. Codes are those of the contract and of stored rows; they never change.

/// Declares a closed set of words with a code and a text each.
macro_rules! words {
    ($(#[$meta:meta])* $name:ident { $($(#[$doc:meta])* $variant:ident = $code:literal $text:literal,)* }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum $name { $($(#[$doc])* $variant,)* }

        impl $name {
            /// Every word.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The number of this word on the wire and in rows.
            #[must_use]
            pub const fn code(self) -> i32 {
                match self { $(Self::$variant => $code,)* }
            }

            /// The word of a number.
            #[must_use]
            pub const fn from_code(code: i32) -> Option<Self> {
                match code { $($code => Some(Self::$variant),)* _ => None }
            }

            /// The word as text.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }

            /// The word of a text.
            #[must_use]
            pub fn from_text(text: &str) -> Option<Self> {
                match text { $($text => Some(Self::$variant),)* _ => None }
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                s.serialize_str(self.as_str())
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                let text = <std::borrow::Cow<'de, str>>::deserialize(d)?;
                Self::from_text(&text).ok_or_else(|| serde::de::Error::custom("unknown word"))
            }
        }
    };
}

mod approval;
mod lesson;
mod rule;
mod sandbox;
mod sequence;

pub use approval::{ApprovalLevel, ApprovalState, Standing, Unusable};
pub use lesson::{
    Band, EmitResult, LessonSource, LessonState, LessonType, PreventionOutcome, ProposalKind, ProposalState,
};
pub use rule::{
    ArgumentType, Category, DependencyKind, FindingKind, FindingSeverity, Mode, RuleState, RuleType, Scope,
    SnapshotState, Source, TemplateValue,
};
pub use sandbox::{BacktestState, ChangeDimension, NotReplayable, ShadowState};
pub use sequence::{SequenceKind, StateScope};

words! {
    /// What a rule does when it matches, from loose to strict: the order is the order of restrictiveness.
    Outcome {
        /// A grant.
        Grant = 1 "grant",
        /// A warning.
        Warn = 2 "warn",
        /// Obligations.
        Modify = 3 "modify",
        /// Not now.
        Defer = 4 "defer",
        /// Only after approval.
        RequireApproval = 5 "require_approval",
        /// Never.
        Deny = 6 "deny",
    }
}

impl Outcome {
    /// The verdict that this outcome asks for.
    #[must_use]
    pub const fn verdict(self) -> Verdict {
        match self {
            Self::Grant | Self::Warn => Verdict::Allow,
            Self::Modify => Verdict::Modify,
            Self::Defer => Verdict::Defer,
            Self::RequireApproval => Verdict::RequireApproval,
            Self::Deny => Verdict::Deny,
        }
    }
}

words! {
    /// What was decided.
    Verdict {
        /// Go on.
        Allow = 1 "ALLOW",
        /// Do nothing.
        Deny = 2 "DENY",
        /// Go on with every obligation applied.
        Modify = 3 "MODIFY",
        /// Ask again after approval.
        RequireApproval = 4 "REQUIRE_APPROVAL",
        /// Ask again later.
        Defer = 5 "DEFER",
    }
}

impl Verdict {
    /// 0 ALLOW to 5 DENY.
    #[must_use]
    pub const fn restrictiveness(self) -> u8 {
        match self {
            Self::Allow => 0,
            Self::Modify => 2,
            Self::Defer => 3,
            Self::RequireApproval => 4,
            Self::Deny => 5,
        }
    }
}

words! {
    /// What the run is told, from loose to strict.
    Directive {
        /// Go on.
        Continue = 1 "CONTINUE",
        /// Start no step and wait.
        Pause = 2 "PAUSE",
        /// Start no step and complete.
        Terminate = 3 "TERMINATE",
    }
}

words! {
    /// How strictly findings are enforced.
    Profile {
        /// Denies when it can't decide.
        Strict = 1 "STRICT",
        /// Allows and marks when it can't decide.
        Standard = 2 "STANDARD",
        /// Decides and never blocks.
        ObserveOnly = 3 "OBSERVE_ONLY",
    }
}

words! {
    /// When in a run's life something is evaluated.
    Moment {
        /// Before the run.
        RunStart = 1 "RUN_START",
        /// Before a step.
        StepStart = 2 "STEP_START",
        /// After a step.
        StepEnd = 3 "STEP_END",
        /// At the end of the run.
        RunEnd = 4 "RUN_END",
    }
}

words! {
    /// Why it could not be decided properly.
    Failure {
        /// A restriction failed.
        EvaluationError = 1 "EVALUATION_ERROR",
        /// No snapshot to decide under.
        SnapshotUnavailable = 2 "SNAPSHOT_UNAVAILABLE",
        /// The mesh's own data do not fit.
        InvalidContext = 3 "INVALID_CONTEXT",
        /// The time was over.
        Timeout = 4 "TIMEOUT",
        /// The state of a sequence rule can't be read, or is full.
        MonitorUnavailable = 5 "MONITOR_UNAVAILABLE",
    }
}

words! {
    /// What was done because a rule matched.
    ActionTaken {
        /// Denied.
        Blocked = 1 "BLOCKED",
        /// An approval was asked for.
        ApprovalRequired = 2 "APPROVAL_REQUIRED",
        /// Allowed with obligations.
        Modified = 3 "MODIFIED",
        /// Put off.
        Deferred = 4 "DEFERRED",
        /// Warned.
        Warned = 5 "WARNED",
        /// Recorded only.
        Audited = 6 "AUDITED",
        /// An approval was used.
        Approved = 7 "APPROVED",
        /// A bypass covered it.
        Bypassed = 8 "BYPASSED",
        /// OBSERVE_ONLY: would have been enforced.
        WouldBlock = 9 "WOULD_BLOCK",
        /// The rule failed.
        Errored = 10 "ERRORED",
    }
}

words! {
    /// How bad a violation is.
    Severity {
        /// Low.
        Low = 1 "LOW",
        /// Medium.
        Medium = 2 "MEDIUM",
        /// High.
        High = 3 "HIGH",
        /// Critical.
        Critical = 4 "CRITICAL",
    }
}

words! {
    /// What kind of violation.
    ViolationKind {
        /// Tokens.
        TokenLimit = 1 "TOKEN_LIMIT",
        /// Cost.
        CostLimit = 2 "COST_LIMIT",
        /// Rate.
        RateLimit = 3 "RATE_LIMIT",
        /// Content.
        Content = 4 "CONTENT",
        /// Personal data.
        Pii = 5 "PII",
        /// Safety.
        Safety = 6 "SAFETY",
        /// Order of steps.
        Sequence = 7 "SEQUENCE",
        /// An obligation was not met.
        ObligationUnmet = 8 "OBLIGATION_UNMET",
        /// Another action than the authorized one.
        ActionMismatch = 9 "ACTION_MISMATCH",
        /// No decision.
        UnauthorizedStep = 10 "UNAUTHORIZED_STEP",
        /// Two facts at one place.
        HistoryConflict = 11 "HISTORY_CONFLICT",
        /// Of a rule.
        Custom = 12 "CUSTOM",
    }
}

words! {
    /// Where a violation was found.
    ViolationSource {
        /// By a rule.
        Evaluator = 1 "EVALUATOR",
        /// By a sequence rule.
        Sequence = 2 "SEQUENCE",
        /// On the record.
        RecordCheck = 3 "RECORD_CHECK",
        /// It was reported.
        Reported = 4 "REPORTED",
    }
}

words! {
    /// What an attempt came to.
    EvaluationOutcome {
        /// At least one violation.
        Violation = 1 "VIOLATION",
        /// Something was prevented.
        Prevented = 2 "PREVENTED",
        /// Something was noted.
        Advisory = 3 "ADVISORY",
        /// No step was evaluated.
        NotApplicable = 4 "NOT_APPLICABLE",
        /// Nothing to say.
        NoViolation = 5 "NO_VIOLATION",
    }
}

words! {
    /// The kind of a step; each has one action.
    StepKind {
        /// A model.
        LlmCall = 1 "LLM_CALL",
        /// A tool.
        ToolCall = 2 "TOOL_CALL",
        /// Governed data.
        DataAccess = 3 "DATA_ACCESS",
        /// An endpoint.
        ExternalCall = 4 "EXTERNAL_CALL",
        /// Another agent.
        SpawnAgent = 5 "SPAWN_AGENT",
        /// Code.
        ExecuteCode = 6 "EXECUTE_CODE",
        /// A message.
        SendMessage = 7 "SEND_MESSAGE",
        /// Anything else.
        CustomStep = 8 "CUSTOM_STEP",
    }
}

words! {
    /// How a step ended.
    StepOutcome {
        /// Done.
        Success = 1 "SUCCESS",
        /// Failed.
        Failure = 2 "FAILURE",
        /// Not begun.
        Skipped = 3 "SKIPPED",
        /// Tried, another try follows.
        Retried = 4 "RETRIED",
        /// Not known.
        Ambiguous = 5 "AMBIGUOUS",
    }
}

words! {
    /// What kind of thing a step is about.
    ResourceType {
        /// A model.
        Model = 1 "Model",
        /// A tool.
        Tool = 2 "Tool",
        /// Data.
        Data = 3 "Data",
        /// An endpoint.
        Endpoint = 4 "Endpoint",
        /// An agent.
        Agent = 5 "Agent",
        /// A project: what a run is started in.
        Project = 6 "Project",
        /// A run: what ends.
        Run = 7 "Run",
    }
}

impl StepKind {
    /// What kinds of thing a step of this kind can be about; the first is the default.
    #[must_use]
    pub const fn resources(self) -> &'static [ResourceType] {
        match self {
            Self::LlmCall => &[ResourceType::Model],
            Self::DataAccess => &[ResourceType::Data],
            Self::ExternalCall => &[ResourceType::Endpoint],
            Self::SpawnAgent => &[ResourceType::Agent],
            Self::SendMessage => &[ResourceType::Endpoint, ResourceType::Agent],
            Self::ToolCall | Self::ExecuteCode | Self::CustomStep => &[ResourceType::Tool],
        }
    }
}

words! {
    /// The leaf actions of the schema.
    Action {
        /// A model call.
        LlmCall = 0 "llm_call",
        /// A tool call.
        ToolCall = 1 "tool_call",
        /// Data access.
        DataAccess = 2 "data_access",
        /// A call outside.
        ExternalCall = 3 "external_call",
        /// The start of an agent.
        SpawnAgent = 4 "spawn_agent",
        /// Execution of code.
        ExecuteCode = 5 "execute_code",
        /// A message.
        SendMessage = 6 "send_message",
        /// Anything else.
        CustomStep = 7 "custom_step",
        /// The start of the run.
        StartRun = 8 "start_run",
        /// The end of a step.
        StepEnded = 9 "step_ended",
        /// The end of the run.
        EndRun = 10 "end_run",
    }
}

impl Action {
    /// Whether it stands for the start of a step: a member of the group `step`.
    #[must_use]
    pub const fn is_step(self) -> bool {
        self.code() < 8
    }

    /// The action of a step kind.
    #[must_use]
    pub const fn of(kind: StepKind) -> Self {
        match kind {
            StepKind::LlmCall => Self::LlmCall,
            StepKind::ToolCall => Self::ToolCall,
            StepKind::DataAccess => Self::DataAccess,
            StepKind::ExternalCall => Self::ExternalCall,
            StepKind::SpawnAgent => Self::SpawnAgent,
            StepKind::ExecuteCode => Self::ExecuteCode,
            StepKind::SendMessage => Self::SendMessage,
            StepKind::CustomStep => Self::CustomStep,
        }
    }
}
