//! Calls of the last seconds, by the second.

use std::collections::VecDeque;

use runspine_types::Micros;

/// Calls and failures of the last `WINDOW_S` seconds; a breaker looks back a minute.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counts<const WINDOW_S: i64 = 60> {
    /// Second, calls, failures; oldest first.
    slots: VecDeque<(i64, u32, u32)>,
}

impl<const WINDOW_S: i64> Counts<WINDOW_S> {
    /// Notes calls at a time. A clock that goes back counts them now.
    pub fn note(&mut self, calls: u32, failures: u32, now: Micros) {
        self.forget(now);
        let second = now.0.div_euclid(1_000_000);
        match self.slots.back_mut() {
            Some(last) if last.0 >= second => {
                last.1 = last.1.saturating_add(calls);
                last.2 = last.2.saturating_add(failures);
            }
            _ => self.slots.push_back((second, calls, failures)),
        }
    }

    /// Calls and failures that count at a time.
    #[must_use]
    pub fn sums(&self, now: Micros) -> (u32, u32) {
        let first = now.0.div_euclid(1_000_000) - WINDOW_S;
        let live = self.slots.iter().filter(|slot| slot.0 > first);
        live.fold((0, 0), |(calls, failures), slot| {
            (calls.saturating_add(slot.1), failures.saturating_add(slot.2))
        })
    }

    fn forget(&mut self, now: Micros) {
        let first = now.0.div_euclid(1_000_000) - WINDOW_S;
        while self.slots.front().is_some_and(|slot| slot.0 <= first) {
            self.slots.pop_front();
        }
    }

    /// As it is stored: `second:calls:failures`, with spaces between.
    #[must_use]
    pub fn to_text(&self) -> String {
        let slot = |(second, calls, failures): &(i64, u32, u32)| format!("{second}:{calls}:{failures}");
        self.slots.iter().map(slot).collect::<Vec<_>>().join(" ")
    }

    /// From what is stored; none: it can't be read.
    #[must_use]
    pub fn from_text(text: &str) -> Option<Self> {
        let slot = |word: &str| {
            let mut parts = word.split(':');
            let slot =
                (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
            parts.next().is_none().then_some(slot)
        };
        Some(Self { slots: text.split_whitespace().map(slot).collect::<Option<_>>()? })
    }
}
