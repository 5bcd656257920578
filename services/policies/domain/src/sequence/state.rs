//! The state of one monitor: what it knows of the steps so far, kept as small as its kind allows.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::window::Window;
use crate::words::{SequenceKind, StepOutcome};

/// In the place of a step: the start or the end of a run, after every step that is known.
pub const NO_STEP: u32 = u32::MAX;

/// A step, and when it is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct At {
    /// The attempt; 0 where a state is about one attempt only.
    pub run: i64,
    /// The step, or [`NO_STEP`].
    pub step: u32,
    /// Microseconds.
    pub now: i64,
}

/// How far a monitor looks, and what at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// What is asked.
    pub kind: SequenceKind,
    /// How far back.
    pub window: Window,
}

/// A step that was allowed and is not recorded yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Pending(i64, u32, i64, i64);

impl Pending {
    const fn is(&self, at: At) -> bool {
        self.0 == at.run && self.1 == at.step
    }
}

/// Something that has to be led to: the step that opened it, when, and whether it was told that time is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Due(u32, i64, bool);

/// What a monitor knows.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct State {
    /// Steps that matched and are not recorded yet: run, step, time, amount.
    #[serde(rename = "o", skip_serializing_if = "Vec::is_empty")]
    open: Vec<Pending>,
    /// Steps that will close what is due when they succeed.
    #[serde(rename = "c", skip_serializing_if = "Vec::is_empty")]
    closing: Vec<Pending>,
    /// What is due.
    #[serde(rename = "d", skip_serializing_if = "Vec::is_empty")]
    due: Vec<Due>,
    /// What was recorded, by the key of the window.
    #[serde(rename = "p", skip_serializing_if = "BTreeMap::is_empty")]
    past: BTreeMap<i64, i64>,
    /// The step and time of the last event.
    #[serde(rename = "l", skip_serializing_if = "Option::is_none")]
    last: Option<(u32, i64)>,
    /// The newest step and time that it knows: windows end there or later, so that what fell out never comes back.
    #[serde(rename = "n", skip_serializing_if = "Option::is_none")]
    newest: Option<(u32, i64)>,
}

impl State {
    /// Where a window ends that is looked at from `at`.
    fn end(&self, at: At) -> (u32, i64) {
        let asked = if at.step == NO_STEP { 0 } else { at.step };
        let (step, now) = self.newest.unwrap_or((asked, at.now));
        (step.max(asked), now.max(at.now))
    }

    fn advance(&mut self, limits: Limits, at: At) {
        let (step, now) = self.end(at);
        self.newest = Some((step, now));
        self.past.retain(|key, _| limits.window.holds(*key, step, now));
    }

    /// A step that matches the events was allowed.
    pub fn allowed(&mut self, limits: Limits, at: At, amount: i64) {
        self.advance(limits, at);
        self.open.retain(|p| !p.is(at));
        self.open.push(Pending(at.run, at.step, at.now, amount));
        if limits.kind == SequenceKind::MustLeadTo && !self.due.iter().any(|d| d.0 == at.step) {
            self.due.push(Due(at.step, at.now, false));
        }
    }

    /// A question that matches the events was denied, and denied questions count.
    pub fn denied(&mut self, limits: Limits, at: At, amount: i64) {
        self.advance(limits, at);
        self.keep(limits, (at.step, at.now), amount);
    }

    /// A step that closes what is due was allowed.
    pub fn closes(&mut self, limits: Limits, at: At) {
        self.advance(limits, at);
        self.closing.retain(|p| !p.is(at));
        self.closing.push(Pending(at.run, at.step, at.now, 0));
    }

    /// An allowed step was not done after all: the kernel denied it, or it was skipped.
    pub fn withdrawn(&mut self, at: At) {
        self.open.retain(|p| !p.is(at));
        self.closing.retain(|p| !p.is(at));
        self.due.retain(|d| d.0 != at.step);
    }

    /// Whether it waits for the record of a step.
    #[must_use]
    pub fn waits_for(&self, at: At) -> bool {
        self.open.iter().chain(&self.closing).any(|p| p.is(at))
    }

    /// A step that it waits for was recorded; `amount`: what it came to, when the record tells.
    pub fn recorded(&mut self, limits: Limits, at: At, outcome: StepOutcome, amount: Option<i64>) {
        match outcome {
            // Another try of the same step follows.
            StepOutcome::Retried => return,
            StepOutcome::Skipped => return self.withdrawn(at),
            StepOutcome::Success | StepOutcome::Failure | StepOutcome::Ambiguous => {}
        }
        self.advance(limits, at);
        if let Some(place) = self.open.iter().position(|p| p.is(at)) {
            let Pending(_, step, then, expected) = self.open.remove(place);
            match limits.kind {
                SequenceKind::CountInWindow | SequenceKind::RunningTotal => {
                    self.keep(limits, (step, then), amount.unwrap_or(expected));
                }
                // What may have happened counts where an event forbids, and not where it is demanded.
                SequenceKind::MustNotFollow => self.follow(limits, at),
                SequenceKind::MustFollow if outcome == StepOutcome::Success => self.follow(limits, at),
                SequenceKind::MustFollow | SequenceKind::MustLeadTo | SequenceKind::Taint => {}
            }
        }
        if let Some(place) = self.closing.iter().position(|p| p.is(at)) {
            self.closing.remove(place);
            if outcome == StepOutcome::Success {
                // A step answers for all that was opened before it.
                self.due.retain(|d| d.0 >= at.step);
            }
        }
    }

    fn keep(&mut self, limits: Limits, of: (u32, i64), amount: i64) {
        let (step, now) = self.newest.unwrap_or(of);
        let key = limits.window.key(of.0, of.1);
        if limits.window.holds(key, step, now) {
            let kept = self.past.entry(key).or_default();
            *kept = kept.saturating_add(amount);
        }
    }

    fn follow(&mut self, limits: Limits, at: At) {
        let by = |(step, now): (u32, i64)| {
            if matches!(limits.window, Window::Time(_)) { now } else { step.into() }
        };
        let this = (at.step, at.now);
        self.last = Some(self.last.filter(|last| by(*last) > by(this)).unwrap_or(this));
    }

    /// The value for a question about the step `at`, which itself is not counted; none: no event so far.
    #[must_use]
    pub fn value(&self, limits: Limits, at: At) -> Option<i64> {
        let (step, now) = self.end(at);
        match limits.kind {
            SequenceKind::CountInWindow | SequenceKind::RunningTotal => {
                let holds = |key: i64| limits.window.holds(key, step, now);
                let past = self.past.iter().filter(|(key, _)| holds(**key)).map(|(_, n)| *n);
                let open = self.open.iter().filter(|p| !p.is(at) && holds(limits.window.key(p.1, p.2)));
                Some(past.chain(open.map(|p| p.3)).fold(0, i64::saturating_add))
            }
            SequenceKind::MustFollow => self.last.map(|last| since(limits, last, (step, now))),
            SequenceKind::MustNotFollow => {
                let open = self.open.iter().filter(|p| !p.is(at)).map(|p| (p.1, p.2));
                open.chain(self.last).map(|event| since(limits, event, (step, now))).min()
            }
            SequenceKind::MustLeadTo => {
                Some(i64::try_from(self.due.iter().filter(|d| d.0 != at.step).count()).unwrap_or(i64::MAX))
            }
            SequenceKind::Taint => None,
        }
    }

    /// Steps that had to lead to something by now and did not, each told once. A step that is on its way to close them
    /// in time is waited for.
    pub fn overdue(&mut self, limits: Limits, at: At) -> Vec<u32> {
        if limits.kind != SequenceKind::MustLeadTo {
            return Vec::new();
        }
        let (step, now) = self.end(at);
        let over = |due: &Due, step: u32, now: i64| match limits.window {
            Window::Run => false,
            Window::Steps(n) => step.saturating_sub(due.0) > n,
            Window::Time(s) => now - due.1 > s * 1_000_000,
        };
        let closing = self.closing.clone();
        let in_time = |due: &Due| closing.iter().any(|p| p.1 > due.0 && !over(due, p.1, p.2));
        let mut told = Vec::new();
        for due in self.due.iter_mut().filter(|d| !d.2) {
            if over(due, step, now) && !in_time(due) {
                due.2 = true;
                told.push(due.0);
            }
        }
        told
    }

    /// Steps that have led to nothing so far.
    pub fn still_due(&self) -> impl Iterator<Item = u32> + '_ {
        self.due.iter().map(|d| d.0)
    }
}

/// Steps, or milliseconds where the window is one of time, between an event and the end of the window.
fn since(limits: Limits, event: (u32, i64), end: (u32, i64)) -> i64 {
    match limits.window {
        Window::Time(_) => (end.1 - event.1).max(0).saturating_add(999) / 1_000,
        Window::Run | Window::Steps(_) => end.0.saturating_sub(event.0).into(),
    }
}
