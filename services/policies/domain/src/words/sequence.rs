//! Words of sequence rules.

words! {
    /// What a sequence rule asks of the steps of a run.
    SequenceKind {
        /// How often steps happen in a window.
        CountInWindow = 1 "COUNT_IN_WINDOW",
        /// How much steps sum up to in a window.
        RunningTotal = 2 "RUNNING_TOTAL",
        /// A step only after another one succeeded.
        MustFollow = 3 "MUST_FOLLOW",
        /// No step after another one.
        MustNotFollow = 4 "MUST_NOT_FOLLOW",
        /// A step that another one has to follow in time.
        MustLeadTo = 5 "MUST_LEAD_TO",
        /// A step that marks the run.
        Taint = 6 "TAINT",
    }
}

words! {
    /// Whose steps one state of a sequence rule is about.
    StateScope {
        /// Of one attempt of a run.
        Run = 1 "RUN",
        /// Of every run of an agent.
        Agent = 2 "AGENT",
        /// Of every run of an API key.
        ApiKey = 3 "API_KEY",
        /// Of every run of a person.
        HumanActor = 4 "HUMAN_ACTOR",
        /// Of every run of the tenant.
        Tenant = 5 "TENANT",
    }
}
