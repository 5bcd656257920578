//! Words about what is tried out.

words! {
    /// State of a back-test.
    BacktestState {
        /// Waiting for a worker.
        Queued = 1 "QUEUED",
        /// Being worked on.
        Running = 2 "RUNNING",
        /// Done.
        Completed = 3 "COMPLETED",
        /// It could not be done.
        Failed = 4 "FAILED",
        /// Somebody ended it.
        Cancelled = 5 "CANCELLED",
        /// Done, but not to be relied on.
        Invalid = 6 "INVALID",
    }
}

words! {
    /// Why a recorded decision was not decided again.
    NotReplayable {
        /// Its inputs were erased.
        InputsErased = 1 "INPUTS_ERASED",
        /// Its inputs are not stored, or are not those that were decided on.
        InputsMissing = 2 "INPUTS_MISSING",
        /// Its inputs lack what the candidate's schema asks for.
        SchemaIncompatible = 3 "SCHEMA_INCOMPATIBLE",
        /// It was not made by rules.
        DegradedOriginal = 4 "DEGRADED_ORIGINAL",
        /// It spent an approval that the candidate's rules did not ask for.
        ApprovalDependent = 5 "APPROVAL_DEPENDENT",
        /// What the candidate remembers of the run began before what is known.
        MonitorHistoryIncomplete = 6 "MONITOR_HISTORY_INCOMPLETE",
        /// Its snapshot can't be loaded.
        SnapshotMissing = 7 "SNAPSHOT_MISSING",
        /// Its snapshot was recalled.
        RecalledOriginal = 8 "RECALLED_ORIGINAL",
    }
}

words! {
    /// What changed decisions are counted by.
    ChangeDimension {
        /// The rule that is the reason.
        Rule = 1 "RULE",
        /// The agent.
        Agent = 2 "AGENT",
        /// What the step was about.
        Resource = 3 "RESOURCE",
    }
}

words! {
    /// State of a shadow.
    ShadowState {
        /// It looks at what is decided.
        Active = 1 "ACTIVE",
        /// Its time is over.
        Ended = 2 "ENDED",
        /// Somebody stopped it.
        Stopped = 3 "STOPPED",
    }
}
