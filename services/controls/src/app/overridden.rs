//! What an override changed: found by asking its limit once more as it is without it.

use contracts_controls::v1 as pb;
use runspine_controls_domain::{
    hold::Line,
    limit::Limit,
    signal::RiskLevel,
    threshold::passed,
    words::{BreachType, Category},
};
use runspine_errors::Fault;
use runspine_types::Micros;

use super::{admit::Case, gates::tokens, records::NewBreach};
use crate::store::{
    desk::{Desk, Overridden},
    overrides::NewUse,
    rows::EnvelopeRow,
};

/// How a limit answers with an override and without it.
struct Compared {
    with: bool,
    without: bool,
    /// What is compared with the limit's own value.
    value: i64,
    /// The limit's own value.
    limit_value: i64,
    /// Begin of a budget's period; else 0.
    period_start: Micros,
}

impl Desk<'_> {
    /// Overrides in force on the limits that are looked at.
    pub(super) fn overrides_of(&self, case: &Case<'_>) -> Vec<pb::OverrideInForce> {
        let rows = case.limits.iter().filter_map(|(limit, row)| {
            let of = self.overridden.get(&row.envelope_key)?;
            Some(pb::OverrideInForce {
                override_id: of.override_id.clone(),
                limit_id: limit.id.clone(),
                scope_id: row.scope_id.clone(),
                value: of.with.spec.max_value,
            })
        });
        rows.collect()
    }

    /// Their ids, each once.
    pub(super) fn override_ids(&self, case: &Case<'_>) -> Vec<String> {
        let mut ids: Vec<String> = self.overrides_of(case).into_iter().map(|o| o.override_id).collect();
        ids.sort_unstable();
        ids.dedup();
        ids
    }

    /// What a raised limit makes available pays debt first.
    pub(super) async fn repay_overridden(&mut self, case: &Case<'_>) -> Result<(), Fault> {
        for (_, row) in case.budgets() {
            let envelope = row.envelope_key;
            if self.overridden.contains_key(&envelope) {
                let period = self.with_book(|book| book.current(envelope, case.now)).await?;
                if self.book.period(period).is_some_and(|p| p.debt > 0) {
                    self.with_book(|book| book.limit_changed(period)).await?;
                }
            }
        }
        Ok(())
    }

    /// Notes each override without which its limit would have answered otherwise.
    pub(super) async fn note_uses(&mut self, case: &Case<'_>, lines: Option<&[Line]>) -> Result<(), Fault> {
        for (limit, row) in &case.limits {
            let Some(of) = self.overridden.get(&row.envelope_key).cloned() else { continue };
            let compared = match limit.spec.category {
                Category::Budget => self.compare_budget(case, row, &of, lines).await?,
                _ if !case.ask.full => None,
                Category::Rate => self.compare_rate(case, row, &of, lines.is_some()),
                Category::Concurrency => Some(self.compare_slots(case, row, &of)),
                Category::Threshold => compare_threshold(case, &of),
            };
            let Some(compared) = compared.filter(|c| c.with != c.without) else { continue };
            if compared.with {
                self.cover(case, row, &of, &compared);
            }
            self.uses.push(NewUse {
                key: of.key,
                override_id: of.override_id,
                run: case.key.0,
                step: case.key.1,
                value_without: of.base.spec.max_value,
                value_with: of.with.spec.max_value,
                at: case.now,
            });
        }
        Ok(())
    }

    async fn compare_budget(
        &mut self,
        case: &Case<'_>,
        row: &EnvelopeRow,
        of: &Overridden,
        lines: Option<&[Line]>,
    ) -> Result<Option<Compared>, Fault> {
        let (envelope, now) = (row.envelope_key, case.now);
        let need = case.amounts.of(of.with.spec.unit);
        if need == 0 || self.set(&case.scope.tenant_id).suspended.contains(&envelope) {
            return Ok(None);
        }
        let period = self.with_book(|book| book.current(envelope, now)).await?;
        let standing = self.with_book(|book| book.standing(envelope, now)).await?;
        // What was held for this answer is in the standing already.
        let line = lines.and_then(|l| l.iter().find(|l| l.envelope == envelope));
        let held = line.filter(|_| case.ask.step.is_some()).map_or(0, |l| l.amount);
        let value = standing.usage + standing.held - held + need;
        let limit_value = standing.limit_value - of.with.spec.max_value + of.base.spec.max_value;
        Ok(Some(Compared {
            with: value <= of.with.ceiling(standing.limit_value),
            without: value <= of.base.ceiling(limit_value),
            value,
            limit_value,
            period_start: period.1,
        }))
    }

    /// Beside the bucket goes one that is taken from as far as the limit itself lets it.
    fn compare_rate(
        &mut self,
        case: &Case<'_>,
        row: &EnvelopeRow,
        of: &Overridden,
        taken: bool,
    ) -> Option<Compared> {
        let (envelope, now) = (row.envelope_key, case.now);
        let need = tokens(of.base.spec.unit, case.ask.kind, &case.amounts);
        if need == 0 {
            return None;
        }
        let with = self.gates.bucket(envelope, &of.with, now).take(&of.with, need, now).is_ok();
        let base = self.gates.base(envelope, &of.base, now).at(&of.base, now);
        let next = base.take(&of.base, need, now);
        if taken {
            self.gates.put_base(envelope, Some(next.unwrap_or(base)));
        }
        let spec = &of.base.spec;
        Some(Compared {
            with,
            without: next.is_ok(),
            value: spec.burst - base.tokens() + need,
            limit_value: spec.burst,
            period_start: Micros(0),
        })
    }

    fn compare_slots(&self, case: &Case<'_>, row: &EnvelopeRow, of: &Overridden) -> Compared {
        let (taken, mine) = self.gates.slots(row.envelope_key, (case.key.0, case.key.1));
        let taken = i64::try_from(taken).unwrap_or(i64::MAX);
        Compared {
            with: mine || taken < of.with.spec.max_value,
            without: mine || taken < of.base.spec.max_value,
            value: taken.saturating_add(1),
            limit_value: of.base.spec.max_value,
            period_start: Micros(0),
        }
    }

    /// The breach that would have been, and what it puts at risk.
    fn cover(&mut self, case: &Case<'_>, row: &EnvelopeRow, of: &Overridden, compared: &Compared) {
        let Compared { value, limit_value, period_start, .. } = *compared;
        self.breach(NewBreach {
            envelope: row.envelope_key,
            period_start,
            run: case.key.0,
            step: case.ask.step,
            kind: BreachType::Overridden,
            value,
            limit_value,
            override_id: Some(of.override_id.clone()),
            orders: false,
            at: case.now,
        });
        self.signal_limit(case.moment(), &of.base, RiskLevel::AtRisk, (value, limit_value, period_start));
    }
}

fn compare_threshold(case: &Case<'_>, of: &Overridden) -> Option<Compared> {
    case.ask.step?;
    let (used, estimate) = (case.ask.used(), case.estimate());
    let over = |limit: &Limit| passed(&limit.spec.params, &used, &estimate);
    let (with, without) = (over(&of.with), over(&of.base));
    let first = without.first().or_else(|| with.first())?;
    Some(Compared {
        with: with.is_empty(),
        without: without.is_empty(),
        value: first.would_be,
        limit_value: first.limit_value,
        period_start: Micros(0),
    })
}
