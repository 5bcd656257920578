//! What a report of a use does to a breaker.

use runspine_types::Micros;

use super::{
    Breaker, BreakerCause, BreakerKind, BreakerResult, BreakerSeverity, BreakerState, Rules, Transition,
};

/// How far back answers of a wrong form count, milliseconds.
const DAY_MS: i64 = 86_400_000;

/// How uses of a target went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// Well or badly; with a drift, what the drift says counts.
    pub result: BreakerResult,
    /// DRIFT: how far the result was off, per mille.
    pub drift_permille: Option<u32>,
    /// How many uses, 1 or more.
    pub samples: u32,
    /// Who made them, for whoever was granted a trial.
    pub holders: Vec<String>,
}

/// What a report came to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Applied {
    /// Changes of state, in order.
    pub transitions: Vec<Transition>,
    /// Whether somebody should look: it drifts, and not so far that it counts, or it would be open if reports opened it.
    pub warned: bool,
}

/// How a report counts.
enum Counted {
    Good,
    Bad,
    Schema,
    Warning,
}

impl Breaker {
    /// Counts a report.
    pub fn report(&mut self, report: &Report, rules: &Rules, now: Micros) -> Applied {
        let mut applied = Applied { transitions: self.advance(now).into_iter().collect(), warned: false };
        let counted = counted(report, rules);
        if matches!(counted, Counted::Warning) {
            applied.warned = true;
            return applied;
        }
        let next = match (self.stored, self.kind) {
            (_, BreakerKind::Manual) | (BreakerState::Open, _) => None,
            (BreakerState::Closed, BreakerKind::Fault) => self.fault(&counted, report.samples, rules, now),
            (BreakerState::Closed, BreakerKind::Drift) => {
                let cause = self.drift(&counted, report.samples, rules, now);
                applied.warned = cause.is_some() && !rules.opens;
                cause.filter(|_| rules.opens).map(|cause| self.open(rules, cause, now))
            }
            (BreakerState::HalfOpen, _) => self.tried(&counted, report, rules, now),
        };
        applied.transitions.extend(next);
        applied
    }

    fn fault(&mut self, counted: &Counted, samples: u32, rules: &Rules, now: Micros) -> Option<Transition> {
        let good = matches!(counted, Counted::Good);
        self.in_a_row = if good { 0 } else { self.in_a_row.saturating_add(samples) };
        self.counts.note(samples, if good { 0 } else { samples }, now);
        if self.in_a_row >= rules.failures {
            return Some(self.open(rules, (BreakerCause::ConsecutiveFailures, BreakerSeverity::P1), now));
        }
        let (calls, failures) = self.counts.sums(now);
        let share = u64::from(failures) * 1_000 >= u64::from(calls) * u64::from(rules.failure_permille);
        let many = !good && calls >= rules.least_calls && share;
        many.then(|| self.open(rules, (BreakerCause::FailureRate, BreakerSeverity::P1), now))
    }

    /// Counts it, and says what opens the breaker by now.
    fn drift(
        &mut self,
        counted: &Counted,
        samples: u32,
        rules: &Rules,
        now: Micros,
    ) -> Option<(BreakerCause, BreakerSeverity)> {
        match counted {
            Counted::Good => {
                self.in_a_row = 0;
                return None;
            }
            Counted::Bad => self.in_a_row = self.in_a_row.saturating_add(samples),
            Counted::Schema => {
                self.schema_errors.retain(|at| now.millis_since(*at) < DAY_MS);
                let most = samples.min(rules.schema_errors);
                self.schema_errors.extend((0..most).map(|_| now));
                let kept = usize::try_from(rules.schema_errors).unwrap_or(usize::MAX);
                let over = self.schema_errors.len().saturating_sub(kept);
                self.schema_errors.drain(..over);
            }
            Counted::Warning => {}
        }
        if self.in_a_row >= rules.drifts {
            return Some((BreakerCause::Drift, BreakerSeverity::P1));
        }
        let many = self.schema_errors.len() >= usize::try_from(rules.schema_errors).unwrap_or(usize::MAX);
        many.then_some((BreakerCause::SchemaErrors, BreakerSeverity::P3))
    }

    /// A trial. Of calls only the one that was granted it counts: others began before it opened, or without leave.
    fn tried(
        &mut self,
        counted: &Counted,
        report: &Report,
        rules: &Rules,
        now: Micros,
    ) -> Option<Transition> {
        if self.kind == BreakerKind::Fault {
            let probe = self.probe.as_ref()?;
            if !report.holders.contains(&probe.holder) {
                return None;
            }
        }
        self.probe = None;
        match counted {
            Counted::Bad => Some(self.open(rules, (BreakerCause::ProbeFailed, BreakerSeverity::P1), now)),
            Counted::Schema => Some(self.open(rules, (BreakerCause::ProbeFailed, BreakerSeverity::P3), now)),
            Counted::Warning => None,
            Counted::Good => {
                let trials = if self.kind == BreakerKind::Fault { 1 } else { report.samples };
                self.passed = self.passed.saturating_add(trials);
                (self.passed >= rules.probes).then(|| {
                    self.reset();
                    let (from, to) = (BreakerState::HalfOpen, BreakerState::Closed);
                    Transition { from, to, cause: BreakerCause::ProbesPassed }
                })
            }
        }
    }
}

fn counted(report: &Report, rules: &Rules) -> Counted {
    match (report.result, report.drift_permille) {
        (BreakerResult::SchemaError, _) => Counted::Schema,
        (_, Some(drift)) if drift > rules.drift_permille => Counted::Bad,
        (_, Some(drift)) if drift > rules.drift_warning_permille => Counted::Warning,
        (_, Some(_)) | (BreakerResult::Good, None) => Counted::Good,
        (BreakerResult::Bad, None) => Counted::Bad,
    }
}
