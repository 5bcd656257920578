//! Circuit breakers: what opens them, for how long, and who may try whether the target works again.

mod counts;
mod report;
#[cfg(test)]
mod tests;

use runspine_types::Micros;

use crate::words::words;

pub use counts::Counts;
pub use report::{Applied, Report};

words! {
    /// What makes a breaker open.
    BreakerKind {
        /// Calls of a target that fail.
        Fault = 1 "FAULT",
        /// A feature whose results drift from what they should be.
        Drift = 2 "DRIFT",
        /// An order.
        Manual = 3 "MANUAL",
    }
}

words! {
    /// What is behind a breaker.
    BreakerTarget {
        /// A provider of models.
        Provider = 1 "PROVIDER",
        /// A model.
        Model = 2 "MODEL",
        /// A tool.
        Tool = 3 "TOOL",
        /// A connector.
        Connector = 4 "CONNECTOR",
        /// A feature of the mesh itself.
        Feature = 5 "FEATURE",
    }
}

words! {
    /// Whether what is behind a breaker may be used.
    BreakerState {
        /// It may.
        Closed = 1 "CLOSED",
        /// It may not.
        Open = 2 "OPEN",
        /// It is tried out.
        HalfOpen = 3 "HALF_OPEN",
    }
}

words! {
    /// How bad an opening is.
    BreakerSeverity {
        /// What is behind it fails or drifts.
        P1 = 1 "P1",
        /// A person wanted it.
        P2 = 2 "P2",
        /// Its answers have not the form that they should have.
        P3 = 3 "P3",
    }
}

words! {
    /// How one use of the target went.
    BreakerResult {
        /// Well.
        Good = 1 "GOOD",
        /// Badly.
        Bad = 2 "BAD",
        /// Its answer has not the form that it should have.
        SchemaError = 3 "SCHEMA_ERROR",
    }
}

words! {
    /// Why a breaker changed its state.
    BreakerCause {
        /// Failures without a success between them.
        ConsecutiveFailures = 1 "CONSECUTIVE_FAILURES",
        /// Too many failures among the calls of a minute.
        FailureRate = 2 "FAILURE_RATE",
        /// Reports in a row that drift too far.
        Drift = 3 "DRIFT",
        /// Too many answers of a wrong form in a day.
        SchemaErrors = 4 "SCHEMA_ERRORS",
        /// A trial failed.
        ProbeFailed = 5 "PROBE_FAILED",
        /// The trials went well.
        ProbesPassed = 6 "PROBES_PASSED",
        /// The time for which it was open is over.
        TimeOver = 7 "TIME_OVER",
        /// An order.
        Order = 8 "ORDER",
    }
}

/// How long whoever was granted a trial may take, milliseconds.
pub const PROBE_MS: i64 = 30_000;

/// The numbers by which breakers open and close.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Rules {
    /// FAULT: failures in a row that open it.
    pub failures: u32,
    /// FAULT: calls of the window from which their share of failures counts.
    pub least_calls: u32,
    /// FAULT: the share that opens it, per mille.
    pub failure_permille: u32,
    /// DRIFT: reports in a row above `drift_permille` that open it.
    pub drifts: u32,
    /// DRIFT: above this a report is bad.
    pub drift_permille: u32,
    /// DRIFT: above this a report warns, and counts neither way.
    pub drift_warning_permille: u32,
    /// DRIFT: answers of a wrong form in 24 h that open it at once.
    pub schema_errors: u32,
    /// DRIFT: how long it is open at first, milliseconds.
    pub drift_open_ms: i64,
    /// Good trials that close it.
    pub probes: u32,
    /// DRIFT: whether reports open it while it is closed.
    pub opens: bool,
    /// DRIFT: whether it is tried out by itself when its time is over; else it stays open until an order closes it.
    pub recovers: bool,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            failures: 5,
            least_calls: 20,
            failure_permille: 500,
            drifts: 3,
            drift_permille: 200,
            drift_warning_permille: 150,
            schema_errors: 5,
            drift_open_ms: 24 * 3_600_000,
            probes: 3,
            opens: true,
            recovers: true,
        }
    }
}

impl Rules {
    /// How long a breaker is open at first, and at most, milliseconds.
    fn open_ms(&self, kind: BreakerKind) -> (i64, i64) {
        match kind {
            BreakerKind::Fault | BreakerKind::Manual => (30_000, 600_000),
            BreakerKind::Drift => (self.drift_open_ms, 168 * 3_600_000),
        }
    }
}

/// A trial under way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probe {
    /// Who makes it.
    pub holder: String,
    /// When somebody else may.
    pub until: Micros,
}

/// A breaker.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Breaker {
    pub kind: BreakerKind,
    /// As it was seen last: see [`Breaker::state`].
    pub stored: BreakerState,
    pub severity: BreakerSeverity,
    /// Why it opened last.
    pub cause: BreakerCause,
    /// When it opened last.
    pub opened_at: Micros,
    /// When it is tried out, or MANUAL: when it closes. None: never by itself.
    pub until: Option<Micros>,
    /// How long it was open the last time, milliseconds; 0: it was closed since.
    pub open_ms: i64,
    /// How often it has opened.
    pub openings: u32,
    /// Bad reports in a row.
    pub in_a_row: u32,
    /// FAULT: calls of the last minute.
    pub counts: Counts,
    /// DRIFT: times of answers of a wrong form.
    pub schema_errors: Vec<Micros>,
    /// Good trials since it is tried out.
    pub passed: u32,
    pub probe: Option<Probe>,
}

/// Whether the target may be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Passage {
    /// It may.
    Free,
    /// It may, by whoever asks alone: a trial.
    Probe,
    /// It may not; after so many milliseconds asking again can help. None: that is not known.
    Shut(Option<i64>),
}

/// A change of state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Transition {
    /// From.
    pub from: BreakerState,
    /// To.
    pub to: BreakerState,
    /// Why.
    pub cause: BreakerCause,
}

impl Breaker {
    /// One that nothing was ever said about.
    #[must_use]
    pub fn new(kind: BreakerKind) -> Self {
        Self {
            kind,
            stored: BreakerState::Closed,
            severity: BreakerSeverity::P1,
            cause: BreakerCause::ProbesPassed,
            opened_at: Micros(0),
            until: None,
            open_ms: 0,
            openings: 0,
            in_a_row: 0,
            counts: Counts::default(),
            schema_errors: Vec::new(),
            passed: 0,
            probe: None,
        }
    }

    /// Its state at a time; the end of its time needs no worker.
    #[must_use]
    pub fn state(&self, now: Micros) -> BreakerState {
        match (self.stored, self.until) {
            (BreakerState::Open, Some(until)) if now >= until => match self.kind {
                BreakerKind::Manual => BreakerState::Closed,
                BreakerKind::Fault | BreakerKind::Drift => BreakerState::HalfOpen,
            },
            (stored, _) => stored,
        }
    }

    /// Takes over the state that the time has brought.
    pub fn advance(&mut self, now: Micros) -> Option<Transition> {
        let to = self.state(now);
        let from = self.stored;
        if to == from {
            return None;
        }
        match to {
            BreakerState::Closed => self.reset(),
            BreakerState::Open | BreakerState::HalfOpen => {
                self.stored = to;
                (self.passed, self.probe) = (0, None);
            }
        }
        Some(Transition { from, to, cause: BreakerCause::TimeOver })
    }

    /// Whether `holder` may use the target. Changes nothing: see [`Breaker::grant`].
    #[must_use]
    pub fn passage(&self, holder: &str, now: Micros) -> Passage {
        let wait = |until: Micros| now.millis_since(until).saturating_neg().max(1);
        match self.state(now) {
            BreakerState::Closed => Passage::Free,
            BreakerState::Open => Passage::Shut(self.until.map(wait)),
            // A feature that drifts is compared, not relied upon: its trials are the reports themselves.
            BreakerState::HalfOpen if self.kind == BreakerKind::Drift => Passage::Probe,
            BreakerState::HalfOpen => match &self.probe {
                Some(probe) if now < probe.until && probe.holder != holder => {
                    Passage::Shut(Some(wait(probe.until)))
                }
                _ => Passage::Probe,
            },
        }
    }

    /// Takes over the state that the time has brought, and gives `holder` the trial. It ends with its report, or after
    /// 30 s.
    pub fn grant(&mut self, holder: &str, now: Micros) -> Option<Transition> {
        let moved = self.advance(now);
        if self.kind == BreakerKind::Fault {
            self.probe = Some(Probe { holder: holder.to_owned(), until: now.plus_millis(PROBE_MS) });
        }
        moved
    }

    /// Opens by order, until a time or until it is closed by order.
    pub fn order_open(&mut self, until: Option<Micros>, now: Micros) -> Transition {
        let from = self.state(now);
        self.shut(BreakerCause::Order, BreakerSeverity::P2, now);
        self.until = until;
        Transition { from, to: BreakerState::Open, cause: BreakerCause::Order }
    }

    /// Closes by order; none: it is closed.
    pub fn order_close(&mut self, now: Micros) -> Option<Transition> {
        let from = self.state(now);
        if from == BreakerState::Closed {
            return None;
        }
        self.reset();
        Some(Transition { from, to: BreakerState::Closed, cause: BreakerCause::Order })
    }

    /// Whether a breaker of drift that is open is tried out by itself when its time is over.
    pub fn recover(&mut self, recovers: bool) {
        if self.kind == BreakerKind::Drift && self.stored == BreakerState::Open {
            self.until = recovers.then(|| self.opened_at.plus_millis(self.open_ms));
        }
    }

    fn shut(&mut self, cause: BreakerCause, severity: BreakerSeverity, now: Micros) {
        self.stored = BreakerState::Open;
        (self.cause, self.severity) = (cause, severity);
        self.opened_at = now;
        self.openings = self.openings.saturating_add(1);
        (self.in_a_row, self.passed, self.probe) = (0, 0, None);
        self.counts = Counts::default();
        self.schema_errors.clear();
    }

    /// Opens for a time: twice as long as before, when it was not closed since.
    fn open(
        &mut self,
        rules: &Rules,
        (cause, severity): (BreakerCause, BreakerSeverity),
        now: Micros,
    ) -> Transition {
        let from = self.stored;
        let (first, most) = rules.open_ms(self.kind);
        self.open_ms = if self.open_ms == 0 { first } else { self.open_ms.saturating_mul(2).min(most) };
        self.shut(cause, severity, now);
        self.until = Some(now.plus_millis(self.open_ms));
        self.recover(rules.recovers);
        Transition { from, to: BreakerState::Open, cause }
    }

    fn reset(&mut self) {
        let kept = (self.severity, self.cause, self.opened_at, self.openings);
        *self = Self::new(self.kind);
        (self.severity, self.cause, self.opened_at, self.openings) = kept;
    }
}
