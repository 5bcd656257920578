//! How often slices were found in memory during the last minutes.

use std::time::Instant;

use parking_lot::Mutex;

/// Minutes that are looked at.
const MINUTES: usize = 5;

#[derive(Clone, Copy, Default)]
struct Minute {
    number: u64,
    asked: u64,
    hit: u64,
}

/// Counts of the last five minutes, minute by minute.
pub(crate) struct Hits {
    began: Instant,
    minutes: Mutex<[Minute; MINUTES]>,
}

impl Hits {
    pub(crate) fn new() -> Self {
        Self { began: Instant::now(), minutes: Mutex::new([Minute::default(); MINUTES]) }
    }

    fn minute(&self) -> u64 {
        self.began.elapsed().as_secs() / 60
    }

    /// A slice was asked for.
    pub(crate) fn add(&self, was_kept: bool) {
        note(&mut self.minutes.lock(), self.minute(), was_kept);
    }

    /// How many were asked for, and how many of them were kept.
    pub(crate) fn recent(&self) -> (u64, u64) {
        sum(&self.minutes.lock(), self.minute())
    }
}

fn note(minutes: &mut [Minute; MINUTES], number: u64, was_kept: bool) {
    let place = usize::try_from(number % MINUTES as u64).unwrap_or(0);
    let minute = &mut minutes[place];
    if minute.number != number {
        *minute = Minute { number, ..Minute::default() };
    }
    minute.asked += 1;
    minute.hit += u64::from(was_kept);
}

fn sum(minutes: &[Minute; MINUTES], now: u64) -> (u64, u64) {
    let recent = minutes.iter().filter(|m| m.number + MINUTES as u64 > now);
    recent.fold((0, 0), |(asked, hit), m| (asked + m.asked, hit + m.hit))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_older_than_five_minutes_does_not_count() {
        let mut minutes = [Minute::default(); MINUTES];
        note(&mut minutes, 0, false);
        note(&mut minutes, 3, true);
        note(&mut minutes, 4, true);
        assert_eq!(sum(&minutes, 4), (3, 2));
        assert_eq!(sum(&minutes, 5), (2, 2));
        note(&mut minutes, 5, false);
        assert_eq!(sum(&minutes, 7), (3, 2));
        assert_eq!(sum(&minutes, 60), (0, 0));
    }
}
