//! What of a run is compared with its limits: at an admission what it has used, at a settlement with what the step really
//! used, and at its end.

use std::collections::BTreeMap;

use runspine_controls_domain::{
    account::PeriodKey,
    evaluation::{Compared, nearest},
    limit::{Key, Limit},
    threshold::Used,
    words::Category,
};

use super::{admit::Case, signals::Moment};
use crate::store::{desk::Desk, envelopes::Applicable};

impl Desk<'_> {
    /// A value of a limit that is compared with its own, or with that of an override.
    pub(super) fn compare(&mut self, moment: Moment, envelope: Key, actual: i64, value: i64) {
        let own = |limit: &Limit| match limit.spec.category {
            Category::Rate => limit.spec.burst,
            _ => limit.spec.max_value,
        };
        // In a period the value may be more than the limit's: the difference stays.
        let base = self.overridden.get(&envelope).map_or(value, |of| value - own(&of.with) + own(&of.base));
        let compared = Compared { actual, value: Some(value), base };
        self.evaluated(moment.run, envelope, compared, moment.step, moment.at);
    }

    /// The thresholds of an attempt.
    pub(super) fn compare_thresholds(&mut self, moment: Moment, limits: &[Applicable], used: &Used) {
        for (limit, row) in limits.iter().filter(|(l, _)| l.spec.category == Category::Threshold) {
            match nearest(limit, used) {
                Some((actual, value)) => self.compare(moment, row.envelope_key, actual, value),
                None => {
                    let nothing = Compared { actual: 0, value: None, base: 0 };
                    self.evaluated(moment.run, row.envelope_key, nothing, moment.step, moment.at);
                }
            }
        }
    }

    /// The budgets of an admission, of which this run has escrow.
    pub(super) fn compare_budgets(&mut self, case: &Case<'_>) {
        let of_run: BTreeMap<Key, PeriodKey> =
            self.book.allocations_of(case.key.0).map(|a| (a.key.1, a.period())).collect();
        for (_, row) in case.budgets() {
            if let Some(period) = of_run.get(&row.envelope_key) {
                self.compare_period(case.moment(), *period);
            }
        }
    }

    /// The period of an envelope, when it is on the desk: a step that fits its chunk reads none.
    pub(super) fn compare_period(&mut self, moment: Moment, key: PeriodKey) {
        let Some((limit, _)) = self.envelope(key.0) else { return };
        let Some(period) = self.book.period(key) else { return };
        let (actual, value) = (self.book.usage(key) + period.unfunded, period.limit_value(&limit));
        self.compare(moment, key.0, actual, value);
    }
}
