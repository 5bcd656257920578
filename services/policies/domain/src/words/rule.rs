//! Words about rules and snapshots.

words! {
    /// State of a version of a rule.
    RuleState {
        /// Written, not in force.
        Draft = 1 "DRAFT",
        /// In force.
        Active = 2 "ACTIVE",
        /// Out of force, for good.
        Retired = 3 "RETIRED",
    }
}

words! {
    /// How far a rule that matches counts.
    Mode {
        /// With its own outcome.
        Block = 1 "BLOCK",
        /// As a warning.
        Warn = 2 "WARN",
        /// Recorded only.
        Audit = 3 "AUDIT",
        /// Not in snapshots.
        Disabled = 4 "DISABLED",
    }
}

words! {
    /// What a rule is bound to.
    Scope {
        /// Every run of every tenant.
        Global = 1 "GLOBAL",
        /// Every run of the tenant.
        Tenant = 2 "TENANT",
        /// Runs of a project.
        Project = 3 "PROJECT",
        /// Runs of an agent or of an agent group.
        Agent = 4 "AGENT",
        /// Runs of an API key.
        ApiKey = 5 "API_KEY",
        /// Runs of a person or of a team.
        HumanActor = 6 "HUMAN_ACTOR",
    }
}

words! {
    /// What a rule is about.
    Category {
        /// The mesh itself.
        System = 1 "SYSTEM",
        /// Safety.
        Safety = 2 "SAFETY",
        /// Privacy.
        Privacy = 3 "PRIVACY",
        /// Compliance.
        Compliance = 4 "COMPLIANCE",
        /// Operations.
        Operational = 5 "OPERATIONAL",
        /// Cost.
        Cost = 6 "COST",
        /// Routing.
        Routing = 7 "ROUTING",
        /// Anything else.
        Custom = 8 "CUSTOM",
    }
}

impl Category {
    /// The precedence of a rule that names none.
    #[must_use]
    pub const fn precedence(self) -> u32 {
        match self {
            Self::System => 50,
            Self::Safety => 100,
            Self::Privacy => 200,
            Self::Compliance => 300,
            Self::Operational => 500,
            Self::Cost => 600,
            Self::Routing => 700,
            Self::Custom => 900,
        }
    }
}

words! {
    /// The kind of a rule, for panels and filters.
    RuleType {
        /// Of the mesh.
        System = 1 "SYSTEM",
        /// Keeps harm away.
        Safety = 2 "SAFETY",
        /// Acts on labels of a classifier outside.
        Ethical = 3 "ETHICAL",
        /// Acts on time.
        Temporal = 4 "TEMPORAL",
        /// Anything else.
        Standard = 5 "STANDARD",
    }
}

words! {
    /// Where a rule comes from.
    Source {
        /// Somebody wrote it.
        Manual = 1 "MANUAL",
        /// The mesh made it.
        System = 2 "SYSTEM",
        /// Learned from runs.
        Learned = 3 "LEARNED",
        /// Expanded from a template.
        Template = 4 "TEMPLATE",
    }
}

words! {
    /// What kind of thing was found in a rule.
    FindingKind {
        /// No Cedar policy, or not of the schema.
        RuleTextInvalid = 1 "RULE_TEXT_INVALID",
        /// No such annotation.
        AnnotationUnknown = 2 "ANNOTATION_UNKNOWN",
        /// A wrong or missing annotation.
        AnnotationInvalid = 3 "ANNOTATION_INVALID",
        /// A wrong obligation.
        ObligationInvalid = 4 "OBLIGATION_INVALID",
        /// A grant can't have this mode.
        ModeInvalidForGrant = 5 "MODE_INVALID_FOR_GRANT",
        /// Can never match.
        Impossible = 6 "IMPOSSIBLE",
        /// Too many rules for one request.
        SliceTooLarge = 7 "SLICE_TOO_LARGE",
        /// A grant that is denied wherever it grants, or obligations that can't be met together.
        Contradiction = 8 "CONTRADICTION",
        /// Another rule that is as strict always matches too.
        Shadowed = 9 "SHADOWED",
        /// Its time is over, or nothing that it restricts is granted.
        Unreachable = 10 "UNREACHABLE",
        /// Another rule does the same.
        Duplicate = 11 "DUPLICATE",
        /// Bounds of one attribute far apart, with different outcomes.
        ThresholdContradiction = 12 "THRESHOLD_CONTRADICTION",
        /// Rules of different scopes meet with different outcomes.
        ScopeOverlap = 13 "SCOPE_OVERLAP",
        /// Ids decide which rule is the reason.
        PrecedenceTie = 14 "PRECEDENCE_TIE",
        /// Not everything can be told.
        AnalysisIncomplete = 15 "ANALYSIS_INCOMPLETE",
        /// A window that is never reached before another one.
        TemporalConflict = 16 "TEMPORAL_CONFLICT",
        /// A total is read whose metric is not monitored.
        MetricUnmonitored = 17 "METRIC_UNMONITORED",
    }
}

words! {
    /// What a finding means.
    FindingSeverity {
        /// For information.
        Info = 1 "INFO",
        /// Worth a look.
        Warning = 2 "WARNING",
        /// Can't become active.
        Blocking = 3 "BLOCKING",
    }
}

words! {
    /// State of a snapshot.
    SnapshotState {
        /// New runs are bound to it.
        Active = 1 "ACTIVE",
        /// A newer one is active.
        Superseded = 2 "SUPERSEDED",
        /// Its compiled form was dropped.
        Archived = 3 "ARCHIVED",
        /// Can't be trusted.
        Invalid = 4 "INVALID",
    }
}

words! {
    /// What an argument is.
    ArgumentType {
        /// A text.
        Text = 1 "TEXT",
        /// An integer.
        Number = 2 "NUMBER",
        /// A list of texts.
        List = 3 "LIST",
        /// A boolean.
        Flag = 4 "FLAG",
    }
}

words! {
    /// Why a rule depends on another.
    DependencyKind {
        /// It reads the other's monitor.
        Explicit = 1 "EXPLICIT",
        /// Their scopes overlap and differ.
        ImplicitScope = 2 "IMPLICIT_SCOPE",
        /// They read the same attribute.
        ImplicitAttribute = 3 "IMPLICIT_ATTRIBUTE",
    }
}

words! {
    /// What fills a place of a template.
    TemplateValue {
        /// An integer.
        Integer = 1 "INTEGER",
        /// One of a few words.
        Word = 2 "WORD",
        /// A text.
        Text = 3 "TEXT",
        /// The name of an argument, or a label.
        Name = 4 "NAME",
        /// A text with `*` for anything.
        Pattern = 5 "PATTERN",
        /// Code of a reason.
        Reason = 6 "REASON",
        /// A window of steps or time.
        Window = 7 "WINDOW",
        /// A Cedar head with conditions.
        Head = 8 "HEAD",
        /// A Cedar expression.
        Condition = 9 "CONDITION",
    }
}
