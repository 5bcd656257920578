//! The parts of a domain, probed for real when an operator asks how it is.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use runspine_errors::Fault;
use runspine_types::Micros;

/// What a probe may take: the answer is due within two seconds, whatever stands still.
const PATIENCE: Duration = Duration::from_millis(1_500);

/// How a part is. The numbers are those of `HealthStatus` in the contracts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Health {
    /// It works.
    Available = 1,
    /// Slower or later than it should.
    Degraded = 2,
    /// It does not work.
    Unavailable = 3,
}

/// What a probe that went through found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// That it works, and what else there is to say.
    Works(String),
    /// It works, but something is wrong with it.
    Flawed(String),
    /// How long the oldest waits, and how long it may, microseconds.
    Waiting {
        /// `None`: nothing waits.
        us: Option<i64>,
        /// Beyond this it is late.
        most_us: i64,
    },
}

/// A part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Part {
    /// Its name.
    pub name: &'static str,
    /// Microseconds from which on its probe is too slow; `None`: its time says nothing.
    pub slow_us: Option<i64>,
}

/// A part and how it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartHealth {
    /// Its name.
    pub name: &'static str,
    /// How it is.
    pub health: Health,
    /// How long the probe took, milliseconds, rounded up.
    pub latency_ms: i64,
    /// When a probe of this process last found it not UNAVAILABLE; `None`: never.
    pub last_success: Option<Micros>,
    /// What was found, for a person.
    pub detail: String,
}

/// Probes parts, and remembers when each of them worked last.
#[derive(Debug, Default)]
pub struct Parts {
    last: Mutex<BTreeMap<&'static str, Micros>>,
}

impl Parts {
    /// Probes a part for 1,500 ms at most.
    pub async fn probe(
        &self,
        part: Part,
        at: Micros,
        ask: impl Future<Output = Result<Found, Fault>>,
    ) -> PartHealth {
        let begun = Instant::now();
        let found = match tokio::time::timeout(PATIENCE, ask).await {
            Ok(found) => found.map_err(|fault| fault.to_string()),
            Err(_) => Err(format!("no answer within {} ms", PATIENCE.as_millis())),
        };
        let took_us = i64::try_from(begun.elapsed().as_micros()).unwrap_or(i64::MAX);
        let (health, detail) = part.grade(took_us, found);
        let last_success = {
            let mut last = self.last.lock();
            if health != Health::Unavailable {
                last.insert(part.name, at);
            }
            last.get(part.name).copied()
        };
        let latency_ms = took_us.saturating_add(999) / 1_000;
        PartHealth { name: part.name, health, latency_ms, last_success, detail }
    }
}

impl Part {
    /// How a part is after a probe that took so many microseconds, and why. An error is what the probe failed with.
    fn grade(&self, took_us: i64, found: Result<Found, String>) -> (Health, String) {
        let found = match found {
            Ok(found) => found,
            Err(why) => return (Health::Unavailable, why),
        };
        if let Some(most) = self.slow_us.filter(|most| took_us > *most) {
            return (Health::Degraded, format!("the probe took {took_us} µs, more than {most}"));
        }
        match found {
            Found::Works(text) => (Health::Available, text),
            Found::Flawed(text) => (Health::Degraded, text),
            Found::Waiting { us: None, .. } => (Health::Available, "nothing waits".to_owned()),
            Found::Waiting { us: Some(us), most_us } => {
                let health = if us <= most_us { Health::Available } else { Health::Degraded };
                (health, format!("the oldest waits for {} ms", us / 1_000))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    const QUICK: Part = Part { name: "quick", slow_us: Some(1_000) };
    const ANY: Part = Part { name: "any", slow_us: None };

    #[test]
    fn a_part_is_graded_by_what_was_found_and_how_long_it_took() {
        let works = || Ok(Found::Works(String::new()));
        let waits = |us| Ok(Found::Waiting { us, most_us: 10 });
        let table = [
            (QUICK, 1_000, works(), Health::Available),
            (QUICK, 1_001, works(), Health::Degraded),
            (ANY, i64::MAX, works(), Health::Available),
            (ANY, 0, Ok(Found::Flawed("torn".to_owned())), Health::Degraded),
            (ANY, 0, waits(None), Health::Available),
            (ANY, 0, waits(Some(10)), Health::Available),
            (ANY, 0, waits(Some(11)), Health::Degraded),
            (QUICK, 0, Err("gone".to_owned()), Health::Unavailable),
        ];
        for (part, took_us, found, expected) in table {
            let said = format!("{part:?} {took_us} {found:?}");
            assert_eq!(part.grade(took_us, found).0, expected, "{said}");
        }
    }

    #[tokio::test]
    async fn what_does_not_answer_is_unavailable_and_its_last_success_stays() {
        let parts = Parts::default();
        let fine = parts.probe(ANY, Micros(7), async { Ok(Found::Works("2 follow".to_owned())) }).await;
        assert_eq!(
            (fine.health, fine.last_success, fine.detail.as_str()),
            (Health::Available, Some(Micros(7)), "2 follow")
        );
        let stuck = parts.probe(ANY, Micros(9), std::future::pending()).await;
        assert_eq!((stuck.health, stuck.last_success), (Health::Unavailable, Some(Micros(7))));
        let gone = Fault::new(&runspine_errors::mesh::STORE_UNAVAILABLE, "it is gone");
        let never = parts.probe(QUICK, Micros(9), async { Err(gone) }).await;
        assert_eq!((never.health, never.last_success), (Health::Unavailable, None));
    }
}
