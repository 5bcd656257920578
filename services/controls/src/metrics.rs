//! What controls counts, under the names of its specification. No label has a tenant.

use runspine_telemetry::Counter;

/// Changes of state of breakers.
pub(crate) static BREAKER_TRANSITIONS: Counter = Counter::new(
    "runspine_controls_breaker_transitions_total",
    "Changes of state of breakers, by kind and to",
);

/// What was decided about alerts.
pub(crate) static ALERT_DECISIONS: Counter =
    Counter::new("runspine_controls_alert_decisions_total", "Alerts that were decided about, by result");
