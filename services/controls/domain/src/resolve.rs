//! The resolver once more: from what an admission has read to its answer, without any account. What was recorded of an
//! admission gives its verdict and its reasons again.

use std::collections::HashMap;

use runspine_types::Micros;

use crate::{
    admission::{Answer, Effect, Finding, Phase, combine, effect, failed, under},
    finding::{
        BUDGET_EXCEEDED, Check, DEBT_OUTSTANDING, ShutBreaker, breaker_finding, freeze_order, lapse_finding,
        rate_finding, slot_finding, suspended_finding, threshold_finding,
    },
    freeze::FreezeEffect,
    limit::Limit,
    rate::{Bucket, Short},
    threshold::{Used, passed},
    words::{Category, Profile, Verdict},
};

/// What an admission has read of one limit for one scope id. Of its numbers those count that its category has.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Reading {
    pub limit_id: String,
    pub limit_version: u32,
    pub scope_id: String,
    /// What was needed: an amount, tokens, or a slot.
    pub need: i64,
    /// Nano-tokens in a bucket at the time that counted.
    pub level: i64,
    /// Slots that were taken.
    pub taken: i64,
    /// Whether the holder had one of them.
    pub mine: bool,
    /// What an envelope could give, where that is less than was needed.
    pub could: Option<i64>,
    /// Whether debt stood in the way.
    pub in_debt: bool,
    /// Whether the envelope was suspended.
    pub suspended: bool,
}

/// Everything that an admission has read.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Readings {
    /// Whether it was asked about a start; else about a step.
    pub at_start: bool,
    pub profile: Profile,
    pub now: Micros,
    /// How long the question had been deferred.
    pub waited_ms: i64,
    /// Whether the run's account stood in the way: a lapsed lease, or an account that is ended.
    pub lapsed: bool,
    /// Whether a check could not be made.
    pub failed: bool,
    /// Freezes in scope: id and effect.
    pub freezes: Vec<(String, FreezeEffect)>,
    /// Breakers that did not let it pass.
    pub breakers: Vec<ShutBreaker>,
    pub used: Used,
    pub estimate: Used,
    pub limits: Vec<Reading>,
    /// Values that overrides put in place of limits', by limit and scope id.
    pub overrides: HashMap<(String, String), i64>,
}

/// A limit in a version that was read.
pub type Known<'a> = &'a HashMap<(String, u32), Limit>;

/// The answer that follows; none: a limit that was read is not known.
#[must_use]
pub fn resolve(readings: &Readings, known: Known<'_>) -> Option<Answer> {
    let deny = Effect::Blocks(Verdict::Deny);
    let mut orders: Vec<Finding> =
        readings.freezes.iter().map(|(id, effect)| freeze_order(id, *effect, String::new())).collect();
    if readings.lapsed {
        orders.push(lapse_finding());
    }
    if !orders.is_empty() {
        return Some(combine(orders.into_iter().map(|f| (f, deny)).collect()));
    }
    let phase = if readings.at_start { Phase::Run } else { Phase::Step };
    let shut = |b: &ShutBreaker| (breaker_finding(b), under(readings.profile, b.verdict()));
    let mut findings: Vec<_> = readings.breakers.iter().map(shut).collect();
    for reading in &readings.limits {
        let base = known.get(&(reading.limit_id.clone(), reading.limit_version))?;
        let name = (reading.limit_id.clone(), reading.scope_id.clone());
        let limit = match readings.overrides.get(&name) {
            Some(value) => base.with_value(*value),
            None => base.clone(),
        };
        let effect = effect(&limit, phase, readings.profile, readings.waited_ms);
        findings.extend(findings_of(readings, reading, &limit, effect));
    }
    if readings.failed {
        findings.push(failed(readings.profile));
    }
    Some(combine(findings))
}

fn findings_of(
    readings: &Readings,
    reading: &Reading,
    limit: &Limit,
    effect: Effect,
) -> Vec<(Finding, Effect)> {
    let verdict = effect.verdict();
    match limit.spec.category {
        Category::Rate => {
            let bucket = Bucket { level: reading.level, last: readings.now };
            match bucket.take(limit, reading.need, readings.now) {
                Ok(_) => Vec::new(),
                Err(short) => {
                    let effect = effect.of_bucket(short);
                    vec![(rate_finding(limit, &bucket, reading.need, short, effect.verdict()), effect)]
                }
            }
        }
        Category::Concurrency if reading.mine || reading.taken < limit.spec.max_value => Vec::new(),
        Category::Concurrency => vec![(slot_finding(limit, reading.taken, verdict), effect)],
        Category::Threshold => passed(&limit.spec.params, &readings.used, &readings.estimate)
            .iter()
            .map(|over| (threshold_finding(limit, over, verdict), effect))
            .collect(),
        Category::Budget if reading.suspended => {
            vec![(suspended_finding(limit, &reading.scope_id, verdict), effect)]
        }
        Category::Budget if reading.could.is_some_and(|could| reading.need > could) => {
            let code = if reading.in_debt { DEBT_OUTSTANDING } else { BUDGET_EXCEEDED };
            let numbers = (0, limit.spec.max_value);
            vec![(Finding::of_limit(limit, (Check::Budget, code), verdict, numbers, String::new()), effect)]
        }
        Category::Budget => Vec::new(),
    }
}

impl Effect {
    /// The same for a bucket that gives nothing: where no wait helps, nobody is told to wait.
    #[must_use]
    pub fn of_bucket(self, short: Short) -> Self {
        match (self, short) {
            (Self::Blocks(_), Short::Never) => Self::Blocks(Verdict::Deny),
            (Self::WouldBlock(_), Short::Never) => Self::WouldBlock(Verdict::Deny),
            (effect, _) => effect,
        }
    }
}
