//! Words of approvals.

words! {
    /// Where an approval stands.
    ApprovalState {
        /// Waits for votes.
        Pending = 1 "PENDING",
        /// Waits for votes of a higher level than at first.
        Escalated = 2 "ESCALATED",
        /// May be used once, until it lapses.
        Approved = 3 "APPROVED",
        /// Approved without a person, and used in the same commit.
        AutoApproved = 4 "AUTO_APPROVED",
        /// A step was done under it.
        Used = 5 "USED",
        /// A person said no.
        Rejected = 6 "REJECTED",
        /// Nobody decided in time.
        Expired = 7 "EXPIRED",
        /// It was not used in time.
        Lapsed = 8 "LAPSED",
        /// The run ended, or its snapshot was recalled.
        Cancelled = 9 "CANCELLED",
    }
}

words! {
    /// Who may approve, from low to high.
    ApprovalLevel {
        /// The person that the run acts for, and nobody else.
        OneSelf = 1 "SELF",
        /// A member of the team.
        TeamMember = 2 "TEAM_MEMBER",
        /// Who leads the team.
        TeamLead = 3 "TEAM_LEAD",
        /// A manager.
        Manager = 4 "MANAGER",
        /// The owner.
        Owner = 5 "OWNER",
    }
}

words! {
    /// Why an approval that was named was not used.
    Unusable {
        /// The tenant has no such approval.
        NotFound = 1 "NOT_FOUND",
        /// It is for another run, attempt or step.
        OtherStep = 2 "OTHER_STEP",
        /// It is for another action.
        ActionChanged = 3 "ACTION_CHANGED",
        /// It is for a decision under another snapshot.
        SnapshotChanged = 4 "SNAPSHOT_CHANGED",
        /// A rule demands approval now that did not then.
        RulesChanged = 5 "RULES_CHANGED",
        /// It is not approved yet.
        Waiting = 6 "WAITING",
        /// It was used before.
        AlreadyUsed = 7 "ALREADY_USED",
        /// It was rejected.
        Rejected = 8 "REJECTED",
        /// It was not decided in time.
        Expired = 9 "EXPIRED",
        /// It was not used in time.
        Lapsed = 10 "LAPSED",
        /// It was cancelled.
        Cancelled = 11 "CANCELLED",
    }
}

words! {
    /// What a decision that demands approval has at hand.
    Standing {
        /// The named approval fits and is spent by this decision.
        Usable = 1 "USABLE",
        /// Small enough that the rules let it pass without a person.
        Auto = 2 "AUTO",
        /// An approval that fits was given and only has to be named.
        Ready = 3 "READY",
        /// One is waited for.
        Waiting = 4 "WAITING",
        /// The same action was rejected in this attempt.
        Rejected = 5 "REJECTED",
        /// As many requests as a step may make were not decided or not used in time.
        Exhausted = 6 "EXHAUSTED",
        /// The tenant has as many open requests as it may have.
        Full = 7 "FULL",
    }
}
