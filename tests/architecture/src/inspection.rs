//! What a check looked at and what it found.

/// The outcome of a check.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Inspection {
    /// How many things were looked at. A check that looked at nothing proves nothing.
    pub inspected: usize,
    /// What is wrong, one line each.
    pub violations: Vec<String>,
}

impl Inspection {
    /// Counts one more thing.
    pub fn saw(&mut self) {
        self.inspected += 1;
    }

    /// Notes a violation.
    pub fn object(&mut self, what: impl Into<String>) {
        self.violations.push(what.into());
    }

    /// Counts a thing and notes a violation unless it holds.
    pub fn require(&mut self, holds: bool, what: impl FnOnce() -> String) {
        self.saw();
        if !holds {
            self.object(what());
        }
    }

    /// Both together.
    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        self.inspected += other.inspected;
        self.violations.extend(other.violations);
        self
    }

    /// Whether a violation contains every one of `words`.
    #[must_use]
    pub fn found(&self, words: &[&str]) -> bool {
        self.violations.iter().any(|line| words.iter().all(|word| line.contains(word)))
    }
}
