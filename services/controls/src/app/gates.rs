//! Rates, numbers at one time and thresholds: the checks of an admission before its budget.

use std::sync::Arc;

use contracts_controls::v1 as pb;
use runspine_controls_domain::{
    admission::{self, Effect, Finding, Phase, rate_finding, slot_finding, threshold_finding},
    estimate::Amounts,
    hold::HoldKey,
    limit::{Key, Limit, permille},
    rate::Bucket,
    signal::RiskLevel,
    threshold::{Used, passed},
    words::{BreachType, Category, StepKind, Unit},
};
use runspine_types::Micros;

use super::{admit::Case, records::NewBreach, signals::Moment};
use crate::store::{desk::Desk, envelopes::Applicable};

/// What an admission takes besides its hold, when it is given.
#[derive(Debug, Default)]
pub(super) struct Takings {
    buckets: Vec<(Key, Bucket, Option<i64>)>,
    slots: Vec<Key>,
    /// What is used of limits once this is taken, and the most.
    used: Vec<(Arc<Limit>, Key, i64, i64)>,
    /// What was found, before anything was taken.
    pub numbers: Vec<pb::GateNumbers>,
    /// Breakers that it may try out.
    pub probes: Vec<Key>,
    /// Breakers that were met, and not closed.
    pub breakers: Vec<pb::BreakerMet>,
    /// Envelopes that can't give what is needed: what they could, and whether debt stands in the way.
    pub shorts: Vec<(Key, i64, bool)>,
}

impl Takings {
    fn uses(&mut self, (limit, row): &Applicable, used: i64, most: i64) {
        self.used.push((limit.clone(), row.envelope_key, used, most));
    }
}

/// Tokens that a run or a step takes of a bucket.
pub(super) fn tokens(unit: Unit, kind: StepKind, amounts: &Amounts) -> i64 {
    match unit {
        Unit::Requests | Unit::Steps | Unit::Runs => 1,
        Unit::TokensInput | Unit::TokensOutput | Unit::TokensTotal if kind == StepKind::LlmCall => {
            amounts.of(unit)
        }
        _ => 0,
    }
}

fn counts_tokens(unit: Unit) -> bool {
    matches!(unit, Unit::TokensInput | Unit::TokensOutput | Unit::TokensTotal)
}

impl Case<'_> {
    pub(super) fn moment(&self) -> Moment {
        Moment { run: self.key.0, step: self.ask.step, at: self.now }
    }

    /// What the step may use.
    pub(super) fn estimate(&self) -> Used {
        self.amounts.of_step()
    }

    pub(super) fn effect(&self, limit: &Limit) -> Effect {
        let phase = if self.ask.step.is_some() { Phase::Step } else { Phase::Run };
        admission::effect(limit, phase, self.ask.profile, self.waited_ms)
    }
}

impl Desk<'_> {
    /// Looks at every bucket and every slot; nothing is taken yet.
    pub(super) fn pass_gates(&mut self, case: &Case<'_>, findings: &mut Vec<(Finding, Effect)>) -> Takings {
        let mut takings = Takings::default();
        for gate in &case.limits {
            let found = match gate.0.spec.category {
                Category::Rate => self.pass_bucket(case, gate, &mut takings),
                Category::Concurrency => self.pass_slot(case, gate, &mut takings),
                _ => continue,
            };
            let Some((finding, effect)) = found else { continue };
            let (value, most) = finding.numbers.map_or((0, 0), |n| (n.0, n.1));
            self.note_refusal(case, gate, effect, (BreachType::Throttled, value.saturating_add(1), most));
            self.signal_refusal(case.moment(), &gate.0, &finding, effect);
            findings.push((finding, effect));
        }
        takings
    }

    fn pass_bucket(
        &mut self,
        case: &Case<'_>,
        gate: &Applicable,
        takings: &mut Takings,
    ) -> Option<(Finding, Effect)> {
        let (limit, row) = gate;
        // A start takes no steps: it is only asked whether one could be taken.
        let looks = case.ask.step.is_none() && limit.spec.unit != Unit::Runs;
        let need = if looks { 1 } else { tokens(limit.spec.unit, case.ask.kind, &case.amounts) };
        if need == 0 {
            return None;
        }
        let bucket = self.gates.bucket(row.envelope_key, limit, case.now).at(limit, case.now);
        takings.numbers.push(numbers(&(limit.clone(), row.clone()), need, bucket.level, (0, false)));
        match bucket.take(limit, need, case.now) {
            Ok(_) if looks => None,
            Ok(next) => {
                let noted = counts_tokens(limit.spec.unit).then_some(need);
                takings.buckets.push((row.envelope_key, next, noted));
                takings.uses(gate, limit.spec.burst - next.tokens(), limit.spec.burst);
                None
            }
            Err(short) => {
                let burst = limit.spec.burst;
                self.compare(case.moment(), row.envelope_key, burst - bucket.tokens(), burst);
                let effect = case.effect(limit).of_bucket(short);
                Some((rate_finding(limit, &bucket, need, short, effect.verdict()), effect))
            }
        }
    }

    fn pass_slot(
        &mut self,
        case: &Case<'_>,
        gate: &Applicable,
        takings: &mut Takings,
    ) -> Option<(Finding, Effect)> {
        let (limit, row) = gate;
        let (taken, mine) = self.gates.slots(row.envelope_key, (case.key.0, case.key.1));
        let taken = i64::try_from(taken).unwrap_or(i64::MAX);
        takings.numbers.push(numbers(&(limit.clone(), row.clone()), 1, 0, (taken, mine)));
        if mine || taken < limit.spec.max_value {
            takings.slots.push(row.envelope_key);
            takings.uses(gate, taken + i64::from(!mine), limit.spec.max_value);
            return None;
        }
        self.compare(case.moment(), row.envelope_key, taken, limit.spec.max_value);
        let effect = case.effect(limit);
        Some((slot_finding(limit, taken, effect.verdict()), effect))
    }

    /// Compares what the attempt has used, with what the step may use, with every threshold.
    pub(super) fn pass_thresholds(&mut self, case: &Case<'_>, findings: &mut Vec<(Finding, Effect)>) {
        if case.ask.step.is_none() {
            return;
        }
        let used = case.ask.used();
        self.watch_thresholds(case.moment(), &case.limits, &used);
        self.compare_thresholds(case.moment(), &case.limits, &used);
        let estimate = case.estimate();
        for gate in case.limits.iter().filter(|(l, _)| l.spec.category == Category::Threshold) {
            for over in passed(&gate.0.spec.params, &used, &estimate) {
                let effect = case.effect(&gate.0);
                let finding = threshold_finding(&gate.0, &over, effect.verdict());
                // What does not stop a step is said of what was used, not of what may be.
                if !matches!(effect, Effect::Warns | Effect::Silent) {
                    let breach = (BreachType::Violated, over.would_be, over.limit_value);
                    self.note_refusal(case, gate, effect, breach);
                    self.signal_refusal(case.moment(), &gate.0, &finding, effect);
                }
                findings.push((finding, effect));
            }
        }
    }

    /// The breach of a limit that refuses: of its own type when it blocks, BREACHED when it does not.
    fn note_refusal(
        &mut self,
        case: &Case<'_>,
        (_, row): &Applicable,
        effect: Effect,
        (kind, value, limit_value): (BreachType, i64, i64),
    ) {
        let blocks = matches!(effect, Effect::Blocks(_) | Effect::WouldBlock(_));
        self.breach(NewBreach {
            envelope: row.envelope_key,
            period_start: Micros(0),
            run: case.key.0,
            step: case.ask.step,
            kind: if blocks { kind } else { BreachType::Breached },
            value,
            limit_value,
            override_id: None,
            orders: effect.blocks(),
            at: case.now,
        });
    }

    /// Takes what was found free.
    pub(super) fn take_gates(&mut self, case: &Case<'_>, takings: &Takings) {
        let key = case.key;
        for (limit, envelope, used, most) in &takings.used {
            self.compare(case.moment(), *envelope, *used, *most);
            if permille(*used, *most) >= limit.spec.warn_permille {
                self.signal_limit(case.moment(), limit, RiskLevel::NearThreshold, (*used, *most, Micros(0)));
            }
        }
        for (envelope, bucket, noted) in &takings.buckets {
            self.gates.put_bucket(*envelope, *bucket);
            if !self.overridden.contains_key(envelope) {
                self.gates.put_base(*envelope, None);
            }
            if let Some(tokens) = noted {
                self.gates.note_take(key, *envelope, *tokens);
            }
        }
        for envelope in &takings.slots {
            self.gates.take_slot(*envelope, (key.0, key.1));
        }
    }

    /// Corrects the buckets that a step took its estimate of.
    pub(super) fn correct_rates(&mut self, key: HoldKey, actual: &Amounts, now: Micros) {
        for (envelope, taken) in self.gates.takes(key) {
            let Some((limit, _)) = self.envelope(envelope) else { continue };
            let more = actual.of(limit.spec.unit).saturating_sub(taken);
            if more != 0 {
                let bucket = self.gates.bucket(envelope, &limit, now).correct(&limit, more, now);
                if let Some(of) = self.overridden.get(&envelope) {
                    let base = self.gates.base(envelope, &of.base, now).correct(&of.base, more, now);
                    self.gates.put_base(envelope, Some(base));
                }
                self.gates.put_bucket(envelope, bucket);
            }
        }
    }

    /// Frees the slots of a step that is over; step -1: of a run that waits.
    pub(super) fn free_step(&mut self, run: Key, step: i64) {
        let unit = if step < 0 { Unit::Runs } else { Unit::Steps };
        if self.has_slots(run, &[unit]) {
            self.gates.free_step(run, step);
        }
    }

    /// Frees every slot of a run.
    pub(super) fn free_run(&mut self, run: Key) {
        if self.has_slots(run, &[Unit::Steps, Unit::Runs]) {
            self.gates.free_run(run);
        }
    }

    fn has_slots(&self, run: Key, units: &[Unit]) -> bool {
        let lease = self.run_by_key(run);
        lease.is_some_and(|r| self.set(&r.tenant_id).has(Category::Concurrency, units))
    }
}

fn numbers((limit, row): &Applicable, need: i64, level: i64, (taken, mine): (i64, bool)) -> pb::GateNumbers {
    pb::GateNumbers {
        limit_id: limit.id.clone(),
        limit_version: limit.version,
        scope_id: row.scope_id.clone(),
        need,
        level,
        taken,
        mine,
    }
}
