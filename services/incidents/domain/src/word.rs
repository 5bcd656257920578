//! The closed sets of words. A word's number is what the contract, the store and the hashes use; it never changes.

/// Declares an enum whose variants have a number and a name, and lists them all.
macro_rules! words {
    ($($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $number:literal $text:literal,)* })*) => {
        $($(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name { $($(#[$vdoc])* $variant = $number,)* }

        impl $name {
            /// Every word of the set, by number.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// The number.
            #[must_use]
            pub const fn code(self) -> i32 {
                self as i32
            }

            /// The word with this number.
            #[must_use]
            pub const fn of(code: i32) -> Option<Self> {
                match code {
                    $($number => Some(Self::$variant),)*
                    _ => None,
                }
            }

            /// The word as the contract spells it, without its prefix.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $text,)*
                }
            }
        })*
    };
}

words! {
    /// How bad it is.
    Severity {
        /// Worth knowing.
        Low = 1 "LOW",
        /// Worth a look today.
        Medium = 2 "MEDIUM",
        /// Worth a look now.
        High = 3 "HIGH",
        /// Somebody must act at once.
        Critical = 4 "CRITICAL",
    }
    /// What kind of trouble it is.
    Category {
        /// A run failed by itself.
        ExecutionFailure = 1 "EXECUTION_FAILURE",
        /// A budget was spent.
        BudgetExceeded = 2 "BUDGET_EXCEEDED",
        /// Too fast.
        RateLimit = 3 "RATE_LIMIT",
        /// A resource other than money ran out.
        ResourceExhaustion = 4 "RESOURCE_EXHAUSTION",
        /// A policy was violated.
        PolicyViolation = 5 "POLICY_VIOLATION",
        /// A person stopped it.
        Manual = 6 "MANUAL",
        /// Cost behaves oddly.
        CostAnomaly = 7 "COST_ANOMALY",
        /// A security finding.
        Security = 8 "SECURITY",
        /// A record does not prove.
        Integrity = 9 "INTEGRITY",
        /// The mesh itself.
        System = 10 "SYSTEM",
        /// An answer without grounds.
        Hallucination = 11 "HALLUCINATION",
        /// Content that may not leave.
        Content = 12 "CONTENT",
    }
    /// What opens an incident.
    Trigger {
        /// A run attempt did not succeed.
        RunFailure = 1 "RUN_FAILURE",
        /// A policy was violated.
        PolicyViolation = 2 "POLICY_VIOLATION",
        /// A budget was breached.
        BudgetBreach = 3 "BUDGET_BREACH",
        /// Somebody pulled the kill switch.
        Freeze = 4 "FREEZE",
        /// A proof failed.
        IntegrityFailure = 5 "INTEGRITY_FAILURE",
        /// Failures grew suddenly.
        FailureSpike = 6 "FAILURE_SPIKE",
        /// Content broke a policy.
        ContentPolicy = 7 "CONTENT_POLICY",
        /// A tool is not what it says.
        ToolSecurity = 8 "TOOL_SECURITY",
        /// More new incidents in an hour than the cap allows.
        Overflow = 9 "OVERFLOW",
        /// A rate limit was hit.
        RateLimit = 10 "RATE_LIMIT",
        /// A limit other than a budget was breached.
        LimitBreach = 11 "LIMIT_BREACH",
        /// The mesh failed.
        System = 12 "SYSTEM",
        /// Cost jumped.
        CostSpike = 13 "COST_SPIKE",
        /// Cost drifts.
        CostDrift = 14 "COST_DRIFT",
        /// Cost is odd in another way.
        CostAnomaly = 15 "COST_ANOMALY",
        /// A signal was escalated.
        Signal = 16 "SIGNAL",
        /// A person opened it.
        Human = 17 "HUMAN",
    }
    /// The state of an incident.
    Status {
        /// Nobody has taken it yet.
        Open = 1 "OPEN",
        /// Somebody works on it.
        Acknowledged = 2 "ACKNOWLEDGED",
        /// It is over.
        Resolved = 3 "RESOLVED",
        /// A person closed it without a resolution.
        ClosedManually = 4 "CLOSED_MANUALLY",
        /// It never was. Terminal.
        Voided = 5 "VOIDED",
    }
    /// The heap that a state belongs to.
    Topic {
        /// OPEN and ACKNOWLEDGED.
        Active = 1 "ACTIVE",
        /// RESOLVED and CLOSED_MANUALLY.
        Resolved = 2 "RESOLVED",
        /// VOIDED.
        Voided = 3 "VOIDED",
    }
    /// What kind of cause an incident has.
    CauseType {
        /// A run.
        Run = 1 "RUN",
        /// The mesh, a limit, a freeze, an anomaly.
        System = 2 "SYSTEM",
        /// A person.
        Human = 3 "HUMAN",
    }
    /// Where a report comes from.
    Source {
        /// A limit.
        Limit = 1 "LIMIT",
        /// A freeze.
        Freeze = 2 "FREEZE",
        /// An anomaly.
        Anomaly = 3 "ANOMALY",
        /// A signal.
        Signal = 4 "SIGNAL",
        /// A proof.
        Integrity = 5 "INTEGRITY",
        /// A tool check.
        Tool = 6 "TOOL",
        /// The mesh itself.
        System = 7 "SYSTEM",
        /// The outcome of a run attempt.
        Run = 8 "RUN",
        /// A person.
        Human = 9 "HUMAN",
    }
    /// How an incident ended.
    ResolutionMethod {
        /// By itself.
        Auto = 1 "AUTO",
        /// By a person.
        Manual = 2 "MANUAL",
        /// By taking a change back.
        Rollback = 3 "ROLLBACK",
    }
    /// What the end means.
    ResolutionType {
        /// The cause is gone.
        Fixed = 1 "FIXED",
        /// The cause no longer hurts.
        Workaround = 2 "WORKAROUND",
        /// It went away.
        Recovered = 3 "RECOVERED",
        /// Nothing was to be done.
        NoAction = 4 "NO_ACTION",
        /// It was none.
        FalsePositive = 5 "FALSE_POSITIVE",
    }
    /// Why an incident was closed without a resolution.
    CloseReason {
        /// Another incident tells of the same.
        Duplicate = 1 "DUPLICATE",
        /// It is none.
        NotAnIncident = 2 "NOT_AN_INCIDENT",
        /// The risk is accepted.
        AcceptedRisk = 3 "ACCEPTED_RISK",
        /// Anything else.
        Other = 4 "OTHER",
    }
    /// What a report led to.
    Disposition {
        /// The attempt succeeded.
        NotApplicable = 1 "NOT_APPLICABLE",
        /// A prevention record stands in place of an incident.
        Suppressed = 2 "SUPPRESSED",
        /// An active incident took it.
        Joined = 3 "JOINED",
        /// The overflow incident took it.
        Overflowed = 4 "OVERFLOWED",
        /// A new incident was opened.
        Opened = 5 "OPENED",
    }
    /// What kind of evidence it is.
    EvidenceKind {
        /// A value that was measured.
        Value = 1 "VALUE",
        /// A redacted part of a text.
        Excerpt = 2 "EXCERPT",
        /// A digest of something stored elsewhere.
        Digest = 3 "DIGEST",
        /// A reference to a document.
        DocumentRef = 4 "DOCUMENT_REF",
    }
    /// What happened to an incident.
    EventKind {
        /// It was opened.
        Opened = 1 "OPENED",
        /// Another occurrence joined it.
        Joined = 2 "JOINED",
        /// Its severity rose.
        SeverityRaised = 3 "SEVERITY_RAISED",
        /// Somebody took it.
        Acknowledged = 4 "ACKNOWLEDGED",
        /// It was given to somebody.
        Assigned = 5 "ASSIGNED",
        /// A note was added.
        Note = 6 "NOTE",
        /// Evidence was captured.
        EvidenceCaptured = 7 "EVIDENCE_CAPTURED",
        /// Something was linked to it.
        Linked = 8 "LINKED",
        /// A person resolved it.
        Resolved = 9 "RESOLVED",
        /// It resolved by itself.
        AutoResolved = 10 "AUTO_RESOLVED",
        /// A person closed it.
        Closed = 11 "CLOSED",
        /// A person reopened it.
        Reopened = 12 "REOPENED",
        /// It came back within the flap window.
        Flapped = 13 "FLAPPED",
        /// An occurrence of it was voided.
        Voided = 14 "VOIDED",
    }
    /// What an incident can be linked to.
    LinkType {
        /// A run.
        Run = 1 "RUN",
        /// A trace.
        Trace = 2 "TRACE",
        /// A violation fact.
        Violation = 3 "VIOLATION",
        /// An enforcement.
        Enforcement = 4 "ENFORCEMENT",
        /// A breach of a limit.
        LimitBreach = 5 "LIMIT_BREACH",
        /// A freeze.
        Freeze = 6 "FREEZE",
        /// A prevention record.
        Prevention = 7 "PREVENTION",
        /// A signal.
        Signal = 8 "SIGNAL",
        /// An anomaly.
        Anomaly = 9 "ANOMALY",
        /// A policy proposal.
        Proposal = 10 "PROPOSAL",
        /// A lesson.
        Lesson = 11 "LESSON",
        /// A postmortem.
        Postmortem = 12 "POSTMORTEM",
        /// An export.
        Export = 13 "EXPORT",
        /// The incident that this one repeats.
        DuplicateOf = 14 "DUPLICATE_OF",
        /// The earlier incident of the same grouping key.
        RecurrenceOf = 15 "RECURRENCE_OF",
        /// The incident that caused this one.
        CausedBy = 16 "CAUSED_BY",
    }
    /// How a run attempt ended; the numbers are those of `runspine.common.v1.RunStatus`.
    RunStatus {
        /// Done.
        Succeeded = 5 "SUCCEEDED",
        /// Failed.
        Failed = 6 "FAILED",
        /// Ended by a policy.
        FailedPolicy = 7 "FAILED_POLICY",
        /// Cancelled by a person or a freeze.
        Cancelled = 8 "CANCELLED",
        /// This attempt failed and another was made.
        Retry = 9 "RETRY",
    }
    /// Why a run ended; the numbers are those of `runspine.common.v1.TerminationReason`.
    Termination {
        /// The agent completed it.
        Completed = 1 "COMPLETED",
        /// A policy blocked it.
        PolicyBlock = 2 "POLICY_BLOCK",
        /// A budget was spent.
        BudgetExceeded = 3 "BUDGET_EXCEEDED",
        /// A rate or concurrency limit ended it.
        RateLimited = 4 "RATE_LIMITED",
        /// Its running time passed.
        Timeout = 5 "TIMEOUT",
        /// A person cancelled it.
        UserAbort = 6 "USER_ABORT",
        /// The mesh or the agent's process failed.
        SystemFailure = 7 "SYSTEM_FAILURE",
        /// The agent reported a failure.
        AgentFailure = 8 "AGENT_FAILURE",
        /// A freeze stopped it.
        Frozen = 9 "FROZEN",
    }
}

impl Status {
    /// The heap that the state belongs to.
    #[must_use]
    pub const fn topic(self) -> Topic {
        match self {
            Self::Open | Self::Acknowledged => Topic::Active,
            Self::Resolved | Self::ClosedManually => Topic::Resolved,
            Self::Voided => Topic::Voided,
        }
    }

    /// Whether it is OPEN or ACKNOWLEDGED.
    #[must_use]
    pub const fn is_active(self) -> bool {
        matches!(self.topic(), Topic::Active)
    }
}

impl Topic {
    /// The states of the heap.
    #[must_use]
    pub fn statuses(self) -> Vec<Status> {
        Status::ALL.iter().copied().filter(|s| s.topic() == self).collect()
    }
}
