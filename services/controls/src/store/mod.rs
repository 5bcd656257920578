//! The store of `controls`. Nothing is decided here.

pub mod adjustments;
pub mod alerts;
pub mod breakers;
pub mod bypasses;
pub mod caches;
pub mod containment;
pub mod coordination;
pub mod desk;
pub mod envelopes;
mod evaluations;
pub mod events;
pub mod evidence;
mod flush;
pub mod gates;
pub mod guardrails;
pub mod health;
pub mod histories;

pub mod freezes;
mod holds;
pub mod limits;
mod lists;
pub mod locks;
pub mod met;
pub mod overrides;
pub mod rates;
pub mod rows;
pub mod scopes;
pub mod settings;
pub mod signals;
mod tally;
mod undecided;
pub mod views;

use runspine_db::Migrations;

/// The schema.
pub const MIGRATIONS: Migrations = runspine_db::migrations! {
    steps: [
        1 => "0001_budgets", 2 => "0002_freezes", 3 => "0003_rates", 4 => "0004_signals", 5 => "0005_adjustments",
        6 => "0006_containment", 7 => "0007_overrides", 8 => "0008_named_leases", 9 => "0009_bypasses", 10 => "0010_evidence_of_tenant",
        11 => "0011_breakers", 12 => "0012_scopes", 13 => "0013_alerts", 14 => "0014_costsim", 15 => "0015_health",
        16 => "0016_guardrails", 17 => "0017_evaluations", 18 => "0018_holds_in_order",
        19 => "0019_one_index_by_run", 20 => "0020_step_histories",
    ],
    append_only: [
        "limit_versions", "hold_transitions", "budget_entries", "settlements", "settlement_reversals", "evidence",
        "breaches", "freeze_events", "unfreeze_requests", "control_sets", "signals", "breach_recoveries",
        "breach_incidents", "adjustments", "adjustment_approvals", "freeze_runs", "freeze_replicas",
        "containment_acks", "containments", "override_events", "override_uses", "bypass_events", "bypass_uses",
        "breaker_events", "scope_uses", "scope_use_ends", "alert_decisions",
    ],
};
