//! How far back a monitor looks, and what it sums up.

use crate::facts::{Arguments, EndedQuestion, Estimate};

/// The longest window of time that is kept event by event, seconds. Longer ones are kept in buckets.
const EXACT_S: i64 = 600;
/// Buckets of a long window.
const BUCKETS: i64 = 60;

/// How far back a monitor looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Window {
    /// To the start of the run.
    Run,
    /// So many steps of the run.
    Steps(u32),
    /// So many seconds.
    Time(i64),
}

impl Window {
    /// Reads `steps:n` (1 to 10,000), `time:s` (1 to 2,592,000 seconds) or `run`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        if text == "run" {
            return Some(Self::Run);
        }
        let (unit, count) = text.split_once(':')?;
        if !count.bytes().all(|b| b.is_ascii_digit()) {
            return None;
        }
        match unit {
            "steps" => count.parse().ok().filter(|n| (1..=10_000).contains(n)).map(Self::Steps),
            "time" => count.parse().ok().filter(|s| (1..=2_592_000).contains(s)).map(Self::Time),
            _ => None,
        }
    }

    /// The most that a value of a "since" monitor may be inside it, in the unit of the value; none: any.
    #[must_use]
    pub const fn bound(self) -> Option<i64> {
        match self {
            Self::Run => None,
            Self::Steps(n) => Some(n as i64),
            Self::Time(s) => Some(s * 1_000),
        }
    }

    /// Where an event is kept: events of one key are one.
    pub(super) const fn key(self, step: u32, at: i64) -> i64 {
        match self {
            Self::Run => 0,
            Self::Steps(_) => step as i64,
            Self::Time(s) if s <= EXACT_S => at,
            Self::Time(s) => at.div_euclid(width(s)),
        }
    }

    /// Whether any of what is kept under a key lies in the window that ends here: a bucket counts as long as any part
    /// of it does, so that nothing is ever counted too little.
    pub(super) const fn holds(self, key: i64, step: u32, now: i64) -> bool {
        match self {
            Self::Run => true,
            Self::Steps(n) => step as i64 - key <= n as i64,
            Self::Time(s) if s <= EXACT_S => key >= now - s * 1_000_000,
            Self::Time(s) => (key + 1) * width(s) > now - s * 1_000_000,
        }
    }
}

/// The width of a bucket, microseconds.
const fn width(seconds: i64) -> i64 {
    (seconds + BUCKETS - 1) / BUCKETS * 1_000_000
}

/// What a step adds to a total.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Measure {
    /// One.
    Count,
    /// Its cost in micro-USD.
    Cost,
    /// Its tokens, in and out.
    Tokens,
    /// Its milliseconds.
    Duration,
    /// A selected argument that is a number.
    Number(String),
}

impl Measure {
    /// Reads `cost_microusd`, `tokens`, `duration_ms` or `number:<argument>`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "cost_microusd" => Self::Cost,
            "tokens" => Self::Tokens,
            "duration_ms" => Self::Duration,
            other => {
                let name = other.strip_prefix("number:")?;
                let fits = (1..=128).contains(&name.len())
                    && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'));
                Self::Number(fits.then(|| name.to_owned())?)
            }
        })
    }

    /// What a step is expected to add.
    #[must_use]
    pub fn expected(&self, estimate: &Estimate, arguments: &Arguments) -> i64 {
        match self {
            Self::Count => 1,
            Self::Cost => estimate.cost_microusd,
            Self::Tokens => estimate.tokens_input.saturating_add(estimate.tokens_output),
            Self::Duration => estimate.duration_ms,
            Self::Number(name) => arguments.number.get(name).copied().unwrap_or(0),
        }
    }

    /// What a step did add; none: what was expected, which the record does not tell.
    #[must_use]
    pub fn recorded(&self, fact: &EndedQuestion) -> Option<i64> {
        match self {
            Self::Count | Self::Number(_) => None,
            Self::Cost => Some(fact.cost_microusd),
            Self::Tokens => Some(fact.tokens_input.saturating_add(fact.tokens_output)),
            Self::Duration => Some(fact.duration_ms),
        }
    }

    /// The same as an expression over the context of a question.
    pub(super) fn expression(&self) -> String {
        match self {
            Self::Count => "1".to_owned(),
            Self::Cost => "context.estimate.cost_microusd".to_owned(),
            Self::Tokens => "context.estimate.tokens_input + context.estimate.tokens_output".to_owned(),
            Self::Duration => "context.estimate.duration_ms".to_owned(),
            Self::Number(name) => format!(
                "(if context.arguments.number.hasTag(\"{name}\") \
                 then context.arguments.number.getTag(\"{name}\") else 0)"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_are_read_strictly() {
        let good = ["run", "steps:1", "steps:10000", "time:1", "time:2592000"];
        assert!(good.iter().all(|t| Window::parse(t).is_some()));
        let bad =
            ["", "steps", "steps:0", "steps:10001", "time:0", "time:2592001", "time:+5", "hours:1", "run:1"];
        assert!(bad.iter().all(|t| Window::parse(t).is_none()));
    }

    #[test]
    fn a_bucket_counts_as_long_as_any_of_it_lies_in_the_window() {
        let hour = Window::Time(3_600);
        let second = 1_000_000;
        let key = hour.key(0, 59 * second);
        assert!(hour.holds(key, 0, 3_659 * second), "its last microsecond is inside");
        assert!(!hour.holds(key, 0, 3_660 * second));
        let minute = Window::Time(60);
        assert!(minute.holds(minute.key(0, 5 * second), 0, 65 * second));
        assert!(!minute.holds(minute.key(0, 5 * second), 0, 65 * second + 1));
        assert!(Window::Steps(2).holds(3, 5, 0) && !Window::Steps(2).holds(3, 6, 0));
    }
}
