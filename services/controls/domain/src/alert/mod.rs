//! Alert fatigue: which alerts go out, and how many each of them stands for.
//!
//! An alert goes through eight stages, and the first that objects decides what it is found to be. The mode decides what
//! comes of that: a finding may drop the alert, or only be noted. Dropping an alert never touches what it is about.

mod settings;
mod stages;
#[cfg(test)]
mod tests;

use runspine_types::Micros;

use crate::words::words;

pub use settings::AlertSettings;

words! {
    /// What an alert was found to be, or what came of it.
    AlertResult {
        /// It goes out.
        Allowed = 1 "ALLOWED",
        /// It goes out with a mark: a stage objected, and the mode is WARN.
        Warned = 2 "WARNED",
        /// Stage 1: the same was let through just before.
        Duplicate = 3 "DUPLICATE",
        /// Stage 2: the run had one of this type just before, or as many as it may.
        RunCeiling = 4 "RUN_CEILING",
        /// Stage 3: the domain has spoken about this key just before.
        Cooldown = 5 "COOLDOWN",
        /// Stage 4: too many of one key within a minute.
        RateLimited = 6 "RATE_LIMITED",
        /// Stage 5: nobody does anything about this key.
        Suppressed = 7 "SUPPRESSED",
        /// Stage 6: it is told of with the next one of its type.
        Aggregated = 8 "AGGREGATED",
        /// Stage 7: the tenant had so many that it gets none for a while.
        CoolingDown = 9 "COOLING_DOWN",
        /// Stage 8: the tenant had as many within the hour as it may.
        TenantRateLimit = 10 "TENANT_RATE_LIMIT",
        /// The tenant does not want alerts of this kind.
        NotWanted = 11 "NOT_WANTED",
    }
}

words! {
    /// What comes of an objection.
    AlertMode {
        /// It is counted, and the alert goes out.
        Monitor = 1 "MONITOR",
        /// The alert goes out with a mark.
        Warn = 2 "WARN",
        /// The alert is dropped.
        Enforce = 3 "ENFORCE",
        /// The alert is dropped, and of one type one goes out within a minute instead of two.
        Aggregate = 4 "AGGREGATE",
    }
}

words! {
    /// How bad it is.
    AlertSeverity {
        /// Good to know.
        Info = 1 "INFO",
        /// Somebody should look at it.
        Warning = 2 "WARNING",
        /// Something is wrong.
        Error = 3 "ERROR",
        /// A freeze, a bypass, a containment that is not confirmed, a parked saga, an integrity mismatch.
        Critical = 4 "CRITICAL",
    }
}

words! {
    /// A way to people.
    AlertChannel {
        /// The panels.
        Ui = 1 "UI",
        /// A call of the tenant's own.
        Webhook = 2 "WEBHOOK",
        /// Mail.
        Email = 3 "EMAIL",
        /// Slack.
        Slack = 4 "SLACK",
    }
}

/// What an alert is about: alerts of one key are about one thing.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AlertKey {
    /// The scope, e.g. `project/p-1`.
    pub scope: String,
    /// The limit; empty: none.
    pub limit_id: String,
    /// The agent; empty: none.
    pub agent_id: String,
}

/// An alert that wants to go out.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Alert {
    pub kind: String,
    pub key: AlertKey,
    /// Empty: none.
    pub run_id: String,
    pub severity: AlertSeverity,
    /// Whose alert it is, e.g. `incidents`.
    pub domain: String,
    /// For one about a limit: how near it is; 1,000 and above is a breach.
    pub proximity_permille: Option<u32>,
    /// Whether it says that what the key is about is over.
    pub resolves: bool,
}

/// What was decided before, as far as it concerns one alert. An alert "counts" when no stage objected to it and it was
/// not CRITICAL: the stages speak of these, whatever the mode made of them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct History {
    /// When an alert of the same type, scope, limit and run had no objection last, if within the last minute.
    pub same_at: Option<Micros>,
    /// When one of the same run and type counted last.
    pub run_at: Option<Micros>,
    /// How many of the same run and type have counted.
    pub run_count: u32,
    /// When one of the same domain and key counted last.
    pub domain_at: Option<Micros>,
    /// How many of the key arrived within the last minute, up to [`KEY_RATE`].
    pub arrived: u32,
    /// When one of the key counted last.
    pub key_at: Option<Micros>,
    /// How many of the key have counted since one said that it is over.
    pub unresolved: u32,
    /// How many of the type counted within the last minute, up to [`TYPE_RATE`].
    pub of_type: u32,
    /// How many of the tenant counted within the last 600 s, up to [`BURST`].
    pub burst: u32,
    /// How many of the tenant counted within the last hour, up to [`HOUR_RATE`].
    pub hour: u32,
    /// Until when the tenant gets none.
    pub cooling_until: Option<Micros>,
    /// How many of the type were dropped and not told of yet.
    pub pending: u64,
}

/// What is known after an alert, for the next one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct After {
    /// Whether it counts.
    pub counts: bool,
    /// As [`History::run_count`].
    pub run_count: u32,
    /// As [`History::key_at`].
    pub key_at: Option<Micros>,
    /// As [`History::unresolved`].
    pub unresolved: u32,
    /// As [`History::cooling_until`].
    pub cooling_until: Option<Micros>,
    /// As [`History::pending`].
    pub pending: u64,
}

/// What is done with an alert.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// What the stages found it to be: ALLOWED when none objects.
    pub finding: AlertResult,
    /// What came of it under the mode.
    pub result: AlertResult,
    /// The mode.
    pub mode: AlertMode,
    /// How many alerts it stands for: itself, and those of its type that were dropped since one was let through. 0: it is
    /// dropped itself.
    pub count: u64,
    /// What the next one has to know.
    pub after: After,
}

impl AlertResult {
    /// Whether the alert goes out.
    #[must_use]
    pub fn goes_out(self) -> bool {
        matches!(self, Self::Allowed | Self::Warned)
    }
}

/// Two alerts of the same type, scope, limit and run within this time are one, milliseconds.
pub const SAME_MS: i64 = 60_000;
/// How far back arrivals of a key and alerts of a type are looked for, milliseconds.
pub const MINUTE_MS: i64 = 60_000;
/// Alerts of one key that may arrive within a minute.
pub const KEY_RATE: u32 = 10;
/// Alerts of one key that go out until somebody has to do something about it.
pub const UNRESOLVED: u32 = 5;
/// How long a key is silent then, milliseconds.
pub const SILENCE_MS: i64 = 300_000;
/// Alerts of one type that go out within a minute; one in mode AGGREGATE.
pub const TYPE_RATE: u32 = 2;
/// Alerts of a tenant within [`BURST_MS`] after which it gets none for as long.
pub const BURST: u32 = 20;
/// See [`BURST`], milliseconds.
pub const BURST_MS: i64 = 600_000;
/// Alerts of a tenant that go out within an hour.
pub const HOUR_RATE: u32 = 100;
/// An hour, milliseconds.
pub const HOUR_MS: i64 = 3_600_000;

/// How long a domain says nothing more about a key, milliseconds.
#[must_use]
pub fn cooldown_ms(domain: &str) -> i64 {
    match domain {
        "policies" => 600_000,
        "logs" | "controls" => 60_000,
        // incidents, spine, audit, and whatever is not named.
        _ => 300_000,
    }
}
