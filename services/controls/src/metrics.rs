//! What controls counts, under the names of its specification. No label has a tenant.

use runspine_telemetry::{Counter, Gauge, Histogram};

/// Admissions that were decided; one that is answered again counts once.
pub(crate) static ADMISSIONS: Counter =
    Counter::new("runspine_controls_admissions_total", "Admissions decided, by what was asked and verdict");

/// How long an admission took, with the commit that it waited for.
pub(crate) static ADMISSION: Histogram = Histogram::seconds(
    "runspine_controls_admission_seconds",
    "How long an admission took, by what was asked",
);

/// Holds that are ACTIVE; the other states are final and only grow.
pub(crate) static HOLDS: Gauge = Gauge::new("runspine_controls_holds", "Holds now, by state");

/// How old the oldest hold is that is ACTIVE.
pub(crate) static HOLD_AGE: Gauge =
    Gauge::new("runspine_controls_hold_age_seconds", "Age of the oldest active hold");

/// Grants of escrow.
pub(crate) static GRANTS: Counter =
    Counter::new("runspine_controls_grants_total", "Grants of escrow, by what is granted");

/// Free escrow that was taken back from other runs.
pub(crate) static RECLAIMS: Counter =
    Counter::new("runspine_controls_reclaims_total", "Free escrow taken back for another run");

/// Cost that happened and that no envelope could fund.
pub(crate) static UNFUNDED: Counter =
    Counter::new("runspine_controls_unfunded_microusd_total", "Cost that could not be funded, micro-USD");

/// Steps that were charged without a hold or after its end.
pub(crate) static LATE_CHARGES: Counter =
    Counter::new("runspine_controls_late_charges_total", "Steps charged without an active hold");

/// Holds that ended with the lease of their run.
pub(crate) static EXPIRED_HOLDS: Counter =
    Counter::new("runspine_controls_expired_holds_total", "Holds that expired with their run's lease");

/// Breaches.
pub(crate) static BREACHES: Counter = Counter::new("runspine_controls_breaches_total", "Breaches, by type");

/// Freezes that hold.
pub(crate) static FREEZES_ACTIVE: Gauge =
    Gauge::new("runspine_controls_freezes_active", "Freezes that hold now, by scope");

/// From the commit of a freeze to the proof that it is contained.
pub(crate) static CONTAINMENT: Histogram =
    Histogram::seconds("runspine_controls_containment_seconds", "How long a freeze took to be contained");

/// Steps that a bypass let pass.
pub(crate) static BYPASS_USES: Counter =
    Counter::new("runspine_controls_bypass_uses_total", "Steps that a bypass let pass");

/// Changes of state of breakers.
pub(crate) static BREAKER_TRANSITIONS: Counter = Counter::new(
    "runspine_controls_breaker_transitions_total",
    "Changes of state of breakers, by kind and to",
);

/// What was decided about alerts.
pub(crate) static ALERT_DECISIONS: Counter =
    Counter::new("runspine_controls_alert_decisions_total", "Alerts that were decided about, by result");

/// How far comparisons of the candidate for the next cost model were off, per mille.
pub(crate) static COSTSIM_DRIFT: Histogram = Histogram::with_bounds(
    "runspine_costsim_drift",
    "Drift of comparisons of the candidate, per mille",
    "",
    &[10.0, 25.0, 50.0, 100.0, 150.0, 200.0, 300.0, 500.0, 1_000.0],
);

/// Comparisons whose answer had a wrong form.
pub(crate) static COSTSIM_SCHEMA_ERRORS: Counter =
    Counter::new("runspine_costsim_schema_errors_total", "Answers of a wrong form of the candidate");

/// Breakers of candidates, by where they stand.
pub(crate) static COSTSIM_BREAKER_STATE: Gauge =
    Gauge::new("runspine_costsim_breaker_state", "Breakers of the candidate now, by state");

/// What a start is counted as.
pub(crate) const RUN: &str = "RUN";
/// What a step is counted as.
pub(crate) const STEP: &str = "STEP";

/// What the writes of one transaction come to, counted once all of them went through.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    /// What was asked, and the verdict.
    pub(crate) admissions: Vec<(&'static str, &'static str)>,
    /// What was granted, by its unit.
    pub(crate) grants: Vec<&'static str>,
    pub(crate) reclaims: u64,
    pub(crate) unfunded_microusd: u64,
    pub(crate) late_charges: u64,
    pub(crate) expired_holds: u64,
}

impl Tally {
    /// Counts it.
    pub(crate) fn count(self) {
        for (what, verdict) in self.admissions {
            ADMISSIONS.increment(&[("what", what), ("verdict", verdict)]);
        }
        for kind in self.grants {
            GRANTS.increment(&[("kind", kind)]);
        }
        for (counter, count) in [
            (&RECLAIMS, self.reclaims),
            (&UNFUNDED, self.unfunded_microusd),
            (&LATE_CHARGES, self.late_charges),
            (&EXPIRED_HOLDS, self.expired_holds),
        ] {
            if count > 0 {
                counter.add(count, &[]);
            }
        }
    }
}
