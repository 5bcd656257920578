//! What a desk is about to write, as it is counted.

use std::collections::{BTreeMap, BTreeSet};

use runspine_controls_domain::words::{EntryKind, Funding, HoldState, Unit, Verdict};
use runspine_telemetry::is_read;

use super::desk::Desk;
use crate::metrics::{RUN, STEP, Tally};

impl Desk<'_> {
    /// Nothing while nobody reads.
    pub(super) fn tally(&self) -> Tally {
        if !is_read() {
            return Tally::default();
        }
        let entries = || self.book.entries().iter();
        let admission = |step: i64, verdict: i32| {
            (if step < 0 { RUN } else { STEP }, Verdict::from_code(verdict).map_or("UNKNOWN", Verdict::name))
        };
        let grants = entries().filter(|e| e.kind == EntryKind::Grant);
        let unit = |envelope| self.envelope(envelope).map_or("UNKNOWN", |(limit, _)| limit.spec.unit.name());
        let late = entries().filter(|e| e.kind == EntryKind::LateCharge).map(|e| (e.run, e.step));
        let expired = HoldState::Expired.code();
        let count = |number: usize| u64::try_from(number).unwrap_or(u64::MAX);
        Tally {
            admissions: self.evidence.iter().map(|e| admission(e.key.1, e.verdict)).collect(),
            grants: grants.map(|e| unit(e.period.0)).collect(),
            reclaims: count(entries().filter(|e| e.kind == EntryKind::Reclaim).count()),
            unfunded_microusd: self.unfunded(),
            // A step is charged in each of its envelopes, and late once.
            late_charges: count(late.collect::<BTreeSet<_>>().len()),
            expired_holds: count(self.transitions.iter().filter(|moved| moved.3 == expired).count()),
        }
    }

    /// Cost that was not funded: of a step that several envelopes could not fund, what the worst of them could not.
    fn unfunded(&self) -> u64 {
        let mut of_envelopes = BTreeMap::<_, i64>::new();
        for entry in self.book.entries() {
            let charges = matches!(entry.kind, EntryKind::Charge | EntryKind::LateCharge);
            let cost = |envelope| {
                self.envelope(envelope).is_some_and(|(limit, _)| limit.spec.unit == Unit::CostMicrousd)
            };
            if charges && entry.funding == Some(Funding::Unfunded) && cost(entry.period.0) {
                *of_envelopes.entry((entry.run, entry.step, entry.period.0)).or_default() += entry.amount;
            }
        }
        let mut of_steps = BTreeMap::<_, i64>::new();
        for ((run, step, _), amount) in of_envelopes {
            let worst = of_steps.entry((run, step)).or_default();
            *worst = amount.max(*worst);
        }
        of_steps.into_values().map(|amount| u64::try_from(amount).unwrap_or(0)).sum()
    }
}
