//! All the chance of a test, from one seed.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Dice that fall the same way for the same seed (SplitMix64).
#[derive(Debug, Clone)]
pub struct Dice(u64);

impl Dice {
    /// The dice of the test `name`: from `RUNSPINE_FAULTS_SEED`, or from the clock. The seed is printed either way.
    #[must_use]
    pub fn of(name: &str) -> Self {
        let given = std::env::var("RUNSPINE_FAULTS_SEED").ok();
        let seed = given.and_then(|seed| seed.parse().ok()).unwrap_or_else(from_clock);
        eprintln!("{name}: RUNSPINE_FAULTS_SEED={seed}");
        let mut dice = Self(seed);
        for byte in name.bytes() {
            dice.0 = dice.0.wrapping_add(u64::from(byte));
            dice.next();
        }
        dice
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

/// How often the all-in-one is killed: `RUNSPINE_FAULTS_KILLS`, or 50.
#[must_use]
pub fn kills() -> u64 {
    std::env::var("RUNSPINE_FAULTS_KILLS").ok().and_then(|n| n.parse().ok()).unwrap_or(50)
}
