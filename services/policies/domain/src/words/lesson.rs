//! Words of lessons and proposals.

words! {
    /// What a lesson is about.
    LessonType {
        /// A run failed.
        Failure = 1 "FAILURE",
        /// Something came near its limit.
        NearThreshold = 2 "NEAR_THRESHOLD",
        /// A run succeeded well within its means.
        CriticalSuccess = 3 "CRITICAL_SUCCESS",
    }
}

words! {
    /// State of a lesson.
    LessonState {
        /// Nobody decided about it yet.
        Pending = 1 "PENDING",
        /// A proposal was made of it.
        Converted = 2 "CONVERTED",
        /// Put off.
        Deferred = 3 "DEFERRED",
        /// Not wanted.
        Dismissed = 4 "DISMISSED",
    }
}

words! {
    /// How near something is to its limit.
    Band {
        /// 850 to 899 per mille.
        B85 = 1 "B85",
        /// 900 to 949 per mille.
        B90 = 2 "B90",
        /// 950 to 999 per mille.
        B95 = 3 "B95",
    }
}

words! {
    /// What became of something that was seen.
    EmitResult {
        /// A new lesson.
        Created = 1 "CREATED",
        /// Counted on a lesson that there is.
        Merged = 2 "MERGED",
        /// Too far from the limit.
        BelowBand = 3 "BELOW_BAND",
        /// A breach, which is no lesson.
        AtLimit = 4 "AT_LIMIT",
        /// No success to learn from.
        NotEligible = 5 "NOT_ELIGIBLE",
    }
}

words! {
    /// What an event that taught something was.
    LessonSource {
        /// A run.
        Run = 1 "RUN",
        /// An incident.
        Incident = 2 "INCIDENT",
        /// A signal of controls.
        Signal = 3 "SIGNAL",
    }
}

words! {
    /// What a proposal answers to.
    ProposalKind {
        /// The same again and again.
        RetryStorm = 1 "RETRY_STORM",
        /// It cost much at once.
        CostSpike = 2 "COST_SPIKE",
        /// It took too long.
        Timeout = 3 "TIMEOUT",
        /// It broke.
        Crash = 4 "CRASH",
        /// Too much in too little time.
        RateLimit = 5 "RATE_LIMIT",
        /// A tool was used as it should not be.
        ToolMisuse = 6 "TOOL_MISUSE",
        /// It fails in one way again and again.
        FailurePattern = 7 "FAILURE_PATTERN",
        /// Anything else.
        Custom = 8 "CUSTOM",
    }
}

words! {
    /// State of a proposal.
    ProposalState {
        /// Nobody decided about it yet.
        Draft = 1 "DRAFT",
        /// A rule was made of it.
        Approved = 2 "APPROVED",
        /// Not wanted.
        Rejected = 3 "REJECTED",
        /// Its author took it back.
        Withdrawn = 4 "WITHDRAWN",
        /// Nobody touched it for 30 days.
        Expired = 5 "EXPIRED",
    }
}

words! {
    /// What a rule that was learned from something came to.
    PreventionOutcome {
        /// It blocked.
        Prevented = 1 "PREVENTED",
        /// It changed what was done, or let a person reject it.
        Mitigated = 2 "MITIGATED",
        /// It happened in the run all the same.
        Failed = 3 "FAILED",
    }
}
