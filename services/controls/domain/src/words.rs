//! The closed sets of words. Their numbers are those of `runspine.controls.v1` and never change.

/// Declares an enum whose variants carry a stable number and a name.
macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $code:literal $text:literal,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum $name { $($(#[$vdoc])* $variant = $code,)* }

        impl $name {
            /// Every value.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// The stable number.
            #[must_use]
            pub fn code(self) -> i32 {
                self as i32
            }

            /// The value of a number; `None` for 0 and for numbers that this version does not know.
            #[must_use]
            pub fn from_code(code: i32) -> Option<Self> {
                match code { $($code => Some(Self::$variant),)* _ => None }
            }

            /// The name, in upper case.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }
        }
    };
}

pub(crate) use words;

words! {
    /// What kind of bound a limit is.
    Category {
        /// An amount per period.
        Budget = 1 "BUDGET",
        /// An amount per window.
        Rate = 2 "RATE",
        /// A number at one time.
        Concurrency = 3 "CONCURRENCY",
        /// A bound of one run.
        Threshold = 4 "THRESHOLD",
    }
}

words! {
    /// What a limit counts.
    Unit {
        /// Cost in micro-USD.
        CostMicrousd = 1 "COST_MICROUSD",
        /// Input tokens.
        TokensInput = 2 "TOKENS_INPUT",
        /// Output tokens.
        TokensOutput = 3 "TOKENS_OUTPUT",
        /// Input and output tokens.
        TokensTotal = 4 "TOKENS_TOTAL",
        /// Milliseconds.
        TimeMs = 5 "TIME_MS",
        /// Requests.
        Requests = 6 "REQUESTS",
        /// Runs.
        Runs = 7 "RUNS",
        /// Steps.
        Steps = 8 "STEPS",
    }
}

impl Unit {
    /// The largest chunk of escrow that a run is granted beyond its need.
    #[must_use]
    pub fn chunk_max(self) -> i64 {
        match self {
            Self::CostMicrousd => 1_000_000,
            Self::TokensInput | Self::TokensOutput | Self::TokensTotal => 200_000,
            Self::TimeMs => 600_000,
            Self::Requests | Self::Runs | Self::Steps => 1_000,
        }
    }
}

words! {
    /// Whose use a limit counts. Of equal verdicts the one further down wins: see [`Scope::rank`].
    Scope {
        /// The whole mesh.
        Global = 1 "GLOBAL",
        /// The tenant.
        Tenant = 2 "TENANT",
        /// A project.
        Project = 3 "PROJECT",
        /// An agent or a group of agents.
        Agent = 4 "AGENT",
        /// An API key.
        ApiKey = 5 "API_KEY",
        /// A person.
        HumanActor = 6 "HUMAN_ACTOR",
        /// A provider.
        Provider = 7 "PROVIDER",
        /// A model.
        Model = 8 "MODEL",
        /// A tool.
        Tool = 9 "TOOL",
        /// A run.
        Run = 10 "RUN",
    }
}

impl Scope {
    /// Orders equal verdicts: RUN first, GLOBAL last.
    #[must_use]
    pub fn rank(self) -> u8 {
        match self {
            Self::Run => 0,
            Self::Tool => 1,
            Self::Model => 2,
            Self::Provider => 3,
            Self::ApiKey => 4,
            Self::HumanActor => 5,
            Self::Agent => 6,
            Self::Project => 7,
            Self::Tenant => 8,
            Self::Global => 9,
        }
    }
}

words! {
    /// What happens when a limit refuses.
    Enforcement {
        /// Denied.
        Block = 1 "BLOCK",
        /// A start is denied, a step is warned.
        Reject = 2 "REJECT",
        /// Deferred, then denied.
        Queue = 3 "QUEUE",
        /// Allowed with obligations.
        Degrade = 4 "DEGRADE",
        /// Warned.
        Warn = 5 "WARN",
        /// Recorded.
        Alert = 6 "ALERT",
    }
}

words! {
    /// What follows a breach besides the verdict.
    Consequence {
        /// An alert.
        Alert = 1 "ALERT",
        /// An incident.
        Incident = 2 "INCIDENT",
        /// The end of the run, and an incident.
        Abort = 3 "ABORT",
    }
}

words! {
    /// What funds use beyond a hold.
    Overage {
        /// Nothing.
        Reject = 1 "REJECT",
        /// What is available.
        AllowIfAvailable = 2 "ALLOW_IF_AVAILABLE",
        /// What is available, then debt.
        AllowWithOverdraft = 3 "ALLOW_WITH_OVERDRAFT",
    }
}

words! {
    /// What an ambiguous step costs at the end of its run.
    AmbiguousCharge {
        /// Nothing.
        Release = 1 "RELEASE",
        /// What was held for it.
        Estimate = 2 "ESTIMATE",
    }
}

words! {
    /// How long an amount lasts.
    PeriodKind {
        /// From each full hour.
        Hourly = 1 "HOURLY",
        /// From 00:00.
        Daily = 2 "DAILY",
        /// From Monday 00:00.
        Weekly = 3 "WEEKLY",
        /// From the first, 00:00.
        Monthly = 4 "MONTHLY",
        /// From creation, for ever.
        Total = 5 "TOTAL",
    }
}

words! {
    /// Where a limit comes from.
    LimitSource {
        /// An actor.
        Manual = 1 "MANUAL",
        /// The tenant's plan.
        Plan = 2 "PLAN",
        /// The mesh.
        System = 3 "SYSTEM",
        /// A lesson.
        Learned = 4 "LEARNED",
    }
}

words! {
    /// Whether a limit is in force.
    LimitState {
        /// In force.
        Active = 1 "ACTIVE",
        /// Not in force.
        Disabled = 2 "DISABLED",
    }
}

words! {
    /// What became of a hold.
    HoldState {
        /// Held.
        Active = 1 "ACTIVE",
        /// Booked.
        Settled = 2 "SETTLED",
        /// Given back by order.
        Released = 3 "RELEASED",
        /// Given back with the lease.
        Expired = 4 "EXPIRED",
    }
}

words! {
    /// Why a hold is given back.
    ReleaseReason {
        /// A policy denied the step.
        PolicyDenied = 1 "POLICY_DENIED",
        /// The step was skipped.
        StepSkipped = 2 "STEP_SKIPPED",
        /// Another hold took its place.
        Superseded = 3 "SUPERSEDED",
        /// The run ended.
        RunEnded = 4 "RUN_ENDED",
        /// The step was cancelled.
        Cancelled = 5 "CANCELLED",
    }
}

words! {
    /// What kind of movement an entry is.
    EntryKind {
        /// Escrow given to a run.
        Grant = 1 "GRANT",
        /// Escrow given back.
        Return = 2 "RETURN",
        /// Escrow taken back for another run.
        Reclaim = 3 "RECLAIM",
        /// Spent escrow booked to the envelope.
        Checkpoint = 4 "CHECKPOINT",
        /// Use under a hold.
        Charge = 5 "CHARGE",
        /// Use without an active hold.
        LateCharge = 6 "LATE_CHARGE",
        /// A settlement's estimate taken back.
        Reversal = 7 "REVERSAL",
        /// An adjustment.
        Adjust = 8 "ADJUST",
        /// What the last period left.
        RolloverIn = 9 "ROLLOVER_IN",
        /// What the last period owed.
        DebtIn = 10 "DEBT_IN",
        /// Debt paid.
        DebtRepaid = 11 "DEBT_REPAID",
    }
}

words! {
    /// What paid a charge.
    Funding {
        /// The envelope.
        Funded = 1 "FUNDED",
        /// Overdraft.
        Debt = 2 "DEBT",
        /// Nothing.
        Unfunded = 3 "UNFUNDED",
    }
}

words! {
    /// How a limit was breached.
    BreachType {
        /// A limit that does not block was reached.
        Breached = 1 "BREACHED",
        /// A budget refused.
        Exhausted = 2 "EXHAUSTED",
        /// A rate or concurrency limit refused.
        Throttled = 3 "THROTTLED",
        /// Use went past a limit.
        Violated = 4 "VIOLATED",
        /// An override covered it.
        Overridden = 5 "OVERRIDDEN",
    }
}

words! {
    /// How strictly findings are enforced.
    Profile {
        /// Denies when in doubt.
        Strict = 1 "STRICT",
        /// Allows and marks when in doubt.
        Standard = 2 "STANDARD",
        /// Never blocks on a finding.
        ObserveOnly = 3 "OBSERVE_ONLY",
    }
}

words! {
    /// What is decided.
    Verdict {
        /// Go on.
        Allow = 1 "ALLOW",
        /// Do nothing.
        Deny = 2 "DENY",
        /// Go on with the obligations.
        Modify = 3 "MODIFY",
        /// Ask again later.
        Defer = 5 "DEFER",
    }
}

words! {
    /// What the run is told besides.
    Directive {
        /// Go on.
        Continue = 1 "CONTINUE",
        /// Wait.
        Pause = 2 "PAUSE",
        /// End.
        Terminate = 3 "TERMINATE",
    }
}

words! {
    /// What kind of step.
    StepKind {
        /// A language model.
        LlmCall = 1 "LLM_CALL",
        /// A tool.
        ToolCall = 2 "TOOL_CALL",
        /// Governed data.
        DataAccess = 3 "DATA_ACCESS",
        /// An endpoint outside.
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
    /// Where an estimate comes from; the larger is the less certain.
    EstimateSource {
        /// The client.
        Client = 1 "CLIENT",
        /// Earlier steps.
        History = 2 "HISTORY",
        /// The default of the kind.
        Default = 3 "DEFAULT",
    }
}
