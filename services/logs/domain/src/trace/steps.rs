//! Which steps a trace has, as ranges of their indices, so that a dense trace costs nothing.

use std::collections::BTreeMap;

/// Indices as ranges.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StepIndices {
    ranges: BTreeMap<u32, u32>,
}

impl StepIndices {
    /// Adds one.
    pub fn insert(&mut self, index: u32) {
        let before = self.ranges.range(..=index).next_back().map(|(from, to)| (*from, *to));
        let (mut from, mut to) = (index, index);
        if let Some((start, end)) = before {
            if end >= index {
                return;
            }
            if end.checked_add(1) == Some(index) {
                from = start;
            }
        }
        if let Some(next) = index.checked_add(1)
            && let Some(end) = self.ranges.remove(&next)
        {
            to = end;
        }
        self.ranges.insert(from, to);
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.ranges.iter().map(|(from, to)| u64::from(*to) - u64::from(*from) + 1).sum()
    }

    /// The first index that is missing below the largest, and how many are.
    #[must_use]
    pub fn missing(&self) -> Option<(u32, u64)> {
        let mut expected: u64 = 0;
        let (mut first, mut count) = (None, 0);
        for (from, to) in &self.ranges {
            let gap = u64::from(*from).saturating_sub(expected);
            if gap > 0 {
                first.get_or_insert(expected);
                count += gap;
            }
            expected = u64::from(*to) + 1;
        }
        Some((u32::try_from(first?).ok()?, count))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holes_between_steps_are_counted() {
        let mut steps = StepIndices::default();
        for index in [0, 2, 1, 7, 5, 5] {
            steps.insert(index);
        }
        assert_eq!(steps.missing(), Some((3, 3)), "3, 4 and 6 are missing");
        assert_eq!(steps.count(), 5);
        for index in [3, 4, 6] {
            steps.insert(index);
        }
        assert_eq!(steps.missing(), None);
        assert_eq!(steps.ranges.len(), 1);
    }
}
