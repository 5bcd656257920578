//! All the chance of a test, from seeds that can be given again.

use std::{
    env,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

/// The seeds of a test, one for each round: the first from `RUNSPINE_FAULTS_SEED`, or from the clock, each further one
/// the number after it. So a round that failed is repeated alone by giving the seed that it printed.
#[derive(Debug, Clone)]
pub struct Seeds {
    name: String,
    next: u64,
}

impl Seeds {
    /// The seeds of the test `name`.
    ///
    /// # Panics
    /// When the seed that was given is no number: another one would be thrown without anybody noticing.
    #[must_use]
    pub fn of(name: &str) -> Self {
        Self { name: name.to_owned(), next: number("RUNSPINE_FAULTS_SEED").unwrap_or_else(from_clock) }
    }

    /// The dice of the next round. Its seed is printed.
    pub fn round(&mut self) -> Dice {
        let seed = self.next;
        self.next = seed.wrapping_add(1);
        eprintln!("{}: RUNSPINE_FAULTS_SEED={seed}", self.name);
        let mut dice = Dice(seed);
        for byte in self.name.bytes() {
            dice.0 = dice.0.wrapping_add(u64::from(byte));
            dice.next();
        }
        dice
    }
}

/// Dice that fall the same way for the same seed (SplitMix64).
#[derive(Debug, Clone)]
pub struct Dice(u64);

impl Dice {
    /// The dice of the test `name`, which has one round.
    #[must_use]
    pub fn of(name: &str) -> Self {
        Seeds::of(name).round()
    }

    /// Dice of their own, for a part that runs beside the others.
    #[must_use]
    pub fn fork(&mut self) -> Self {
        Self(self.next())
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number below `end`.
    pub fn below(&mut self, end: u64) -> u64 {
        self.next() % end.max(1)
    }

    /// A number of the range.
    pub fn within(&mut self, range: std::ops::Range<u64>) -> u64 {
        range.start + self.below(range.end - range.start)
    }

    /// True in `permille` of 1,000 throws.
    pub fn chance(&mut self, permille: u64) -> bool {
        self.below(1_000) < permille
    }

    /// A time of the range, in microseconds.
    pub fn micros(&mut self, range: std::ops::Range<u64>) -> Duration {
        Duration::from_micros(self.within(range))
    }
}

fn from_clock() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("the clock is past 1970");
    u64::try_from(now.as_micros()).unwrap_or(0)
}

/// How often a process is killed: `RUNSPINE_FAULTS_KILLS`, or as often as the test does by itself.
///
/// # Panics
/// When that is no number.
#[must_use]
pub fn kills(default: u64) -> u64 {
    number("RUNSPINE_FAULTS_KILLS").unwrap_or(default)
}

/// Whether `process`, e.g. `runspine-logs`, is to be killed: one of those that `RUNSPINE_FAULTS_PROCESS` names with
/// commas between them, or any when it names none.
#[must_use]
pub fn is_chosen(process: &str) -> bool {
    let chosen = env::var("RUNSPINE_FAULTS_PROCESS").unwrap_or_default();
    chosen.is_empty() || chosen.split(',').any(|name| name.trim() == process)
}

fn number(variable: &str) -> Option<u64> {
    let given = env::var(variable).ok()?;
    Some(given.parse().unwrap_or_else(|_| panic!("{variable} is {given:?}, which is no number")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn throws(mut dice: Dice) -> Vec<u64> {
        (0..20).map(|_| dice.below(1_000)).collect()
    }

    #[test]
    fn a_round_is_repeated_by_its_own_seed() {
        let mut seeds = Seeds { name: "test".to_owned(), next: 41 };
        let rounds: Vec<_> = (0..3).map(|_| throws(seeds.round())).collect();
        assert_ne!(rounds[0], rounds[1]);
        let mut again = Seeds { name: "test".to_owned(), next: 43 };
        assert_eq!(throws(again.round()), rounds[2]);
        let mut other = Seeds { name: "other".to_owned(), next: 43 };
        assert_ne!(throws(other.round()), rounds[2], "each test throws its own");
    }
}
