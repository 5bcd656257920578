//! What the spine counts, under the names of its specification. No label has a tenant.

use runspine_telemetry::{Counter, Gauge, Histogram};

/// Starts, by outcome.
pub(crate) static STARTS: Counter = Counter::new("runspine_spine_starts_total", "Starts of runs, by outcome");

/// Decisions on steps, by what was decided and what was told.
pub(crate) static DECISIONS: Counter =
    Counter::new("runspine_spine_decisions_total", "Decisions on steps, by verdict and effective verdict");

/// A decision from its question to its durable answer, and its stages.
pub(crate) static DECISION: Histogram =
    Histogram::seconds("runspine_spine_decision_seconds", "How long a stage of a decision took, by stage");

/// Checks, by how they went.
pub(crate) static CHECKS: Counter =
    Counter::new("runspine_spine_checks_total", "Checks of a decision, by check and status");

/// Decisions made without a decider, by what failed.
pub(crate) static DEGRADED: Counter =
    Counter::new("runspine_spine_degraded_total", "Decisions made without a decider, by failure");

/// Those of them that controls should have decided, under the name of controls: only the spine sees them.
pub(crate) static CONTROLS_DEGRADED: Counter =
    Counter::new("runspine_controls_degraded_total", "Decisions made without controls, by cause");

/// Steps recorded, by outcome.
pub(crate) static STEPS: Counter = Counter::new("runspine_spine_steps_total", "Steps recorded, by outcome");

/// Steps that were recorded without a decision that allows them.
pub(crate) static UNAUTHORIZED: Counter =
    Counter::new("runspine_spine_unauthorized_steps_total", "Steps recorded that no decision allowed");

/// Attempts that ended, by reason.
pub(crate) static TERMINATIONS: Counter =
    Counter::new("runspine_spine_terminations_total", "Attempts that ended, by reason");

/// Attempts beyond the first, by what the one before ended for.
pub(crate) static ATTEMPTS: Counter =
    Counter::new("runspine_spine_attempts_total", "Further attempts made, by the reason of the one before");

/// Sagas, by what a drive of them came to.
pub(crate) static SAGAS: Counter =
    Counter::new("runspine_spine_saga_total", "Drives of sagas, by saga and result");

/// A drive of the completion saga.
pub(crate) static SAGA: Histogram =
    Histogram::seconds("runspine_spine_saga_seconds", "How long a drive of a saga took, by saga");

/// Events carried, by the domain that they came from.
pub(crate) static EVENTS: Counter =
    Counter::new("runspine_spine_events_handled_total", "Events carried to ledger and projection, by domain");

/// How old the oldest event of the last batch was.
pub(crate) static LAG: Gauge =
    Gauge::new("runspine_spine_lag_seconds", "Age of the oldest event of the last batch, by domain");

/// What the reconciler did with what it claimed.
pub(crate) static DRIVES: Counter = Counter::new(
    "runspine_spine_drives_total",
    "Contracts and lapsed runs driven by the reconciler, by result",
);

/// Events that the kernel or a saga reacted to.
pub(crate) static REACTIONS: Counter = Counter::new(
    "runspine_spine_reactions_total",
    "Events that the kernel or a saga reacted to, by reaction",
);

/// Reports of uses that breakers did not get.
pub(crate) static UNREPORTED: Counter =
    Counter::new("runspine_spine_unreported_uses_total", "Reports of uses that breakers did not get");

/// Replays that ended, by what they found.
pub(crate) static REPLAYS: Counter =
    Counter::new("runspine_spine_replays_total", "Replays that ended, by result");

/// Steps of replays that were compared, by what became of them.
pub(crate) static REPLAY_STEPS: Counter =
    Counter::new("runspine_spine_replay_steps_total", "Steps of replays, by verdict");
