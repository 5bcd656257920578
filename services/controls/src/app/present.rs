//! What is on the desk, as it travels.

use contracts_controls::v1 as pb;
use runspine_controls_domain::{
    book::Charged,
    hold::Hold,
    limit::{Key, Limit, permille},
    words::LimitState,
};
use runspine_rpc::timestamp;
use runspine_types::Micros;

use crate::{
    store::{desk::Desk, views::EnvelopeView},
    words::{amounts_to, optional},
};

/// An envelope is archived when its limit is disabled for 90 days.
const ARCHIVED_AFTER_MS: i64 = 90 * 86_400_000;

/// Whether the envelopes of a limit are read only.
pub(super) fn is_archived(limit: &Limit, now: Micros) -> bool {
    limit.state == LimitState::Disabled && now.millis_since(limit.updated_at) >= ARCHIVED_AFTER_MS
}

/// An envelope as it travels.
#[must_use]
pub fn envelope_to(view: &EnvelopeView, now: Micros) -> pb::Envelope {
    let (period, limit) = (&view.period, &view.limit);
    let limit_value = period.limit_value(limit);
    let used_permille = permille(view.usage(), limit_value);
    let spent_out = used_permille >= limit.spec.block_permille || view.headroom() == 0;
    let state = match () {
        () if is_archived(limit, now) => pb::EnvelopeState::Archived,
        () if view.suspended => pb::EnvelopeState::Suspended,
        () if spent_out => pb::EnvelopeState::Blocked,
        () if used_permille >= limit.spec.warn_permille => pb::EnvelopeState::Warned,
        () => pb::EnvelopeState::Active,
    };
    pb::Envelope {
        envelope_id: view.envelope.envelope_id.clone(),
        limit_id: limit.id.clone(),
        scope: view.envelope.scope,
        scope_id: view.envelope.scope_id.clone(),
        unit: limit.spec.unit.code(),
        state: state as i32,
        period: Some(pb::EnvelopePeriod {
            start: Some(timestamp(period.key.1)),
            end: optional(period.end),
            limit_value,
            rollover_in: period.rollover_in,
            adjusted: period.adjusted,
            debt_in: period.debt_in,
            settled: period.settled,
            granted: period.granted,
            debt: period.debt,
            unfunded: period.unfunded,
            available: period.available(limit),
            usage: view.usage(),
            used_permille,
        }),
        open_allocations: view.open,
        held: view.held,
    }
}

impl Desk<'_> {
    /// A hold as it travels.
    pub(super) fn hold_to(&self, hold: &Hold) -> pb::Hold {
        let run = self.run_by_key(hold.key.0);
        let lines = hold.lines.iter().filter_map(|line| {
            let (limit, envelope) = self.envelope(line.envelope)?;
            Some(pb::HoldLine {
                envelope_id: envelope.envelope_id.clone(),
                limit_id: limit.id.clone(),
                unit: limit.spec.unit.code(),
                amount: line.amount,
                unfunded: line.unfunded,
            })
        });
        pb::Hold {
            hold_id: hold.id.clone(),
            run_id: run.map_or_else(String::new, |r| r.run_id.clone()),
            attempt: run.map_or(0, |r| r.attempt),
            step_index: u32::try_from(hold.key.1).unwrap_or(0),
            ask: u32::try_from(hold.key.2).unwrap_or(0),
            state: hold.state.code(),
            amounts: Some(amounts_to(&hold.amounts)),
            estimate_source: hold.source.code(),
            lines: lines.collect(),
            released_for: hold.released_for.map_or("", |r| r.name()).to_owned(),
        }
    }

    /// The escrow of a run as it travels.
    pub(super) fn allocations_to(&self, run: Key) -> Vec<pb::AllocationSummary> {
        let rows = self.book.allocations_of(run).filter_map(|a| {
            let (limit, envelope) = self.envelope(a.key.1)?;
            Some(pb::AllocationSummary {
                envelope_id: envelope.envelope_id.clone(),
                limit_id: limit.id.clone(),
                unit: limit.spec.unit.code(),
                granted: a.granted,
                held: a.held,
                spent: a.spent,
                used: a.used,
                unfunded: a.unfunded,
                open: a.open,
            })
        });
        rows.collect()
    }

    /// Charges as they travel.
    pub(super) fn charges_to(&self, charged: &[Charged]) -> Vec<pb::ChargeLine> {
        let rows = charged.iter().filter_map(|c| {
            let (limit, envelope) = self.envelope(c.envelope)?;
            Some(pb::ChargeLine {
                envelope_id: envelope.envelope_id.clone(),
                limit_id: limit.id.clone(),
                unit: limit.spec.unit.code(),
                held: c.held,
                actual: c.actual,
                funded: c.funded,
                debt: c.debt,
                unfunded: c.unfunded,
            })
        });
        rows.collect()
    }

    /// How near the envelope of a charge is to its limit; none: it was not looked at, or it is far.
    pub(super) fn proximity(&self, charged: &Charged) -> Option<pb::LimitProximity> {
        let (limit, envelope) = self.envelope(charged.envelope)?;
        let key = (charged.envelope, charged.period_start);
        let period = self.book.period(key)?;
        let (current, limit_value) = (self.book.usage(key) + period.unfunded, period.limit_value(&limit));
        let near = permille(current, limit_value);
        let level = match () {
            () if charged.unfunded > 0 => pb::ProximityLevel::Violated,
            () if near >= 1_000 => pb::ProximityLevel::Reached,
            () if near >= limit.spec.warn_permille => pb::ProximityLevel::Near,
            () => return None,
        };
        Some(pb::LimitProximity {
            limit_id: limit.id.clone(),
            envelope_id: envelope.envelope_id.clone(),
            unit: limit.spec.unit.code(),
            current,
            limit_value,
            proximity_permille: near,
            level: level as i32,
        })
    }
}
