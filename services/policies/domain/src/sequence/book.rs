//! The states that a question is decided with: read, moved by facts and by the decision, and written back with it.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use serde::{Deserialize, Serialize};

use super::{
    monitor::{Hit, Monitor, Role, run_holder},
    state::{At, State},
};
use crate::{
    facts::{Arguments, EndedQuestion, Estimate, Principal, StepQuestion},
    words::{Action, StepOutcome, Verdict},
};

/// The most that one holder's states may come to, bytes.
pub const MAX_HELD: usize = 64 * 1024;

/// The states of one holder: by the keys of their monitors.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held(BTreeMap<String, State>);

impl Held {
    /// The bytes that are stored.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// Reads stored bytes; none: they are not ours.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        if bytes.is_empty() { Some(Self::default()) } else { serde_json::from_slice(bytes).ok() }
    }
}

/// A step that had to lead to something and did not.
#[derive(Debug, Clone)]
pub struct Open {
    /// The monitor.
    pub monitor: Arc<Monitor>,
    /// The step.
    pub step: u32,
}

/// Which step of which attempt, and when it is looked at.
#[derive(Debug, Clone, Copy)]
pub struct Place<'a> {
    /// For whom.
    pub principal: &'a Principal,
    /// The step.
    pub step: u32,
    /// Microseconds.
    pub now: i64,
}

/// The states at hand. A monitor whose holder was not read is not at hand.
#[derive(Debug, Clone, Default)]
pub struct Book {
    run_key: i64,
    monitors: Vec<Arc<Monitor>>,
    held: BTreeMap<String, Held>,
    changed: BTreeSet<String>,
}

impl Book {
    /// For the monitors that watch an attempt.
    #[must_use]
    pub fn new(run_key: i64, monitors: Vec<Arc<Monitor>>) -> Self {
        Self { run_key, monitors, ..Self::default() }
    }

    /// Whether nothing watches.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.monitors.is_empty()
    }

    /// Whose states have to be read for steps of these actions (bit n: action n) and for what is read of monitors.
    #[must_use]
    pub fn holders(&self, p: &Principal, actions: u16, read: &[Arc<Monitor>]) -> BTreeSet<String> {
        let own = run_holder(self.run_key);
        let is_read = |m: &Monitor| read.iter().any(|r| r.key == m.key);
        let with_state = self.monitors.iter().filter(|m| m.has_state());
        let named = with_state.map(|m| (m.holder(p, self.run_key), m));
        let needed = named.filter(|(holder, m)| *holder == own || m.actions() & actions != 0 || is_read(m));
        needed.map(|(holder, _)| holder).collect()
    }

    /// What was read of a holder.
    pub fn put(&mut self, holder: String, held: Held) {
        self.held.insert(holder, held);
    }

    /// The states that were moved, so far.
    pub fn changes(&self) -> impl Iterator<Item = &Held> {
        self.changed.iter().filter_map(|holder| self.held.get(holder))
    }

    /// The states that were moved.
    #[must_use]
    pub fn changed(self) -> Vec<(String, Held)> {
        let Self { mut held, changed, .. } = self;
        changed.into_iter().filter_map(|holder| held.remove(&holder).map(|h| (holder, h))).collect()
    }

    fn at(&self, holder: &str, place: Place<'_>) -> At {
        let own = holder == run_holder(self.run_key);
        At { run: if own { 0 } else { self.run_key }, step: place.step, now: place.now }
    }

    /// The values for a question about a step.
    #[must_use]
    pub fn values(&self, monitors: &[Arc<Monitor>], place: Place<'_>) -> BTreeMap<String, i64> {
        let none = State::default();
        let one = |m: &Arc<Monitor>| {
            let holder = m.holder(place.principal, self.run_key);
            let held = self.held.get(&holder)?;
            let state = held.0.get(&m.key).unwrap_or(&none);
            Some((m.name.clone(), state.value(m.limits, self.at(&holder, place))?))
        };
        monitors.iter().filter(|m| m.is_effective(place.now)).filter_map(one).collect()
    }

    /// The values of every monitor at hand.
    #[must_use]
    pub fn all_values(&self, place: Place<'_>) -> BTreeMap<String, i64> {
        self.values(&self.monitors, place)
    }

    fn change(&mut self, monitor: &Monitor, place: Place<'_>, change: impl FnOnce(&mut State, At)) {
        if !monitor.has_state() {
            return;
        }
        let holder = monitor.holder(place.principal, self.run_key);
        let at = self.at(&holder, place);
        let Some(held) = self.held.get_mut(&holder) else { return };
        let state = held.0.entry(monitor.key.clone()).or_default();
        let before = state.clone();
        change(state, at);
        if *state != before {
            self.changed.insert(holder);
        }
    }

    /// A question was decided: what of it counts.
    pub fn decided(&mut self, hits: &[Hit], question: &StepQuestion, place: Place<'_>, verdict: Verdict) {
        let allowed = matches!(verdict, Verdict::Allow | Verdict::Modify);
        for Hit { monitor: m, role } in hits {
            let amount = m.measure.expected(&question.estimate, &question.arguments);
            match role {
                Role::Events if allowed => self.change(m, place, |s, at| s.allowed(m.limits, at, amount)),
                Role::Closes if allowed => self.change(m, place, |s, at| s.closes(m.limits, at)),
                Role::Events if m.count_denied && verdict == Verdict::Deny => {
                    self.change(m, place, |s, at| s.denied(m.limits, at, amount));
                }
                _ => {}
            }
        }
    }

    /// The kernel denied steps after all.
    pub fn withdrawn(&mut self, steps: &[u32], principal: &Principal, now: i64) {
        for monitor in self.monitors.clone() {
            for step in steps {
                let place = Place { principal, step: *step, now };
                self.change(&monitor, place, |s, at| {
                    if s.waits_for(at) {
                        s.withdrawn(at)
                    }
                });
            }
        }
    }

    /// A step was recorded that monitors wait for.
    pub fn recorded(&mut self, fact: &EndedQuestion, place: Place<'_>) {
        for m in self.monitors.clone() {
            let amount = m.measure.recorded(fact);
            self.change(&m, place, |s, at| {
                if s.waits_for(at) {
                    s.recorded(m.limits, at, fact.outcome, amount);
                }
            });
        }
    }

    /// A step was recorded that was not decided here, or that a head selects by its record: it counts as it is.
    pub fn happened(&mut self, hits: &[Hit], fact: &EndedQuestion, place: Place<'_>) {
        if matches!(fact.outcome, StepOutcome::Skipped | StepOutcome::Retried) {
            return;
        }
        for Hit { monitor: m, role } in hits {
            let expected = m.measure.expected(&estimate(fact), &Arguments::default());
            let amount = Some(m.measure.recorded(fact).unwrap_or(expected));
            self.change(m, place, |s, at| {
                match role {
                    Role::Events => s.allowed(m.limits, at, expected),
                    Role::Closes => s.closes(m.limits, at),
                }
                s.recorded(m.limits, at, fact.outcome, amount);
            });
        }
    }

    /// What had to be led to by now and was not, each told once.
    pub fn overdue(&mut self, place: Place<'_>) -> Vec<Open> {
        let mut found = Vec::new();
        for m in self.monitors.clone() {
            let mut steps = Vec::new();
            self.change(&m, place, |s, at| steps = s.overdue(m.limits, at));
            found.extend(steps.into_iter().map(|step| Open { monitor: Arc::clone(&m), step }));
        }
        found
    }

    /// What has led to nothing at the end of the run.
    #[must_use]
    pub fn still_due(&self, principal: &Principal) -> Vec<Open> {
        let of = |m: &Arc<Monitor>| {
            let held = self.held.get(&m.holder(principal, self.run_key))?;
            let steps: Vec<u32> = held.0.get(&m.key)?.still_due().collect();
            Some(steps.into_iter().map(|step| Open { monitor: Arc::clone(m), step }).collect::<Vec<_>>())
        };
        self.monitors.iter().filter_map(of).flatten().collect()
    }
}

fn estimate(fact: &EndedQuestion) -> Estimate {
    Estimate {
        cost_microusd: fact.cost_microusd,
        duration_ms: fact.duration_ms,
        tokens_input: fact.tokens_input,
        tokens_output: fact.tokens_output,
    }
}

/// The question that a recorded step would have been, as far as its record tells: arguments it does not tell.
#[must_use]
pub fn synthesized(fact: &EndedQuestion) -> StepQuestion {
    StepQuestion {
        arguments: Arguments::default(),
        arguments_digest: fact.input_digest.clone(),
        arguments_size: 0,
        ask: 0,
        estimate: estimate(fact),
        intent: String::new(),
        kind: fact.kind,
        method: String::new(),
        mode: String::new(),
        name: String::new(),
        resource: fact.resource.clone(),
        step_index: fact.step_index,
        totals: fact.totals,
    }
}

/// Bit n: action n is that of a recorded step, or its end.
#[must_use]
pub fn actions_of(fact: &EndedQuestion) -> u16 {
    1 << Action::of(fact.kind).code() | 1 << Action::StepEnded.code()
}
