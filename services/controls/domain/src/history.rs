//! What earlier steps of one kind really used: the estimate of the next one that says nothing itself.

use std::collections::VecDeque;

use crate::{estimate::Amounts, words::StepKind};

/// Steps that are looked back at.
pub const REMEMBERED: usize = 200;
/// With fewer steps nothing is estimated.
pub const LEAST: usize = 20;

/// Which steps are alike: of one agent, kind and resource.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[allow(missing_docs)]
pub struct StepName {
    pub tenant_id: String,
    pub agent_id: String,
    pub kind: StepKind,
    pub resource: String,
}

/// What the last steps of one name used: cost, input tokens, output tokens, duration.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct History {
    /// Oldest first.
    steps: VecDeque<[i64; 4]>,
}

impl History {
    /// Notes what one more step used.
    pub fn push(&mut self, used: &Amounts) {
        if self.steps.len() == REMEMBERED {
            self.steps.pop_front();
        }
        let Amounts { cost_microusd, tokens_input, tokens_output, duration_ms, .. } = *used;
        self.steps.push_back([cost_microusd, tokens_input, tokens_output, duration_ms]);
    }

    /// The 90th percentile of each amount, by nearest rank; none: too few steps were recorded.
    #[must_use]
    pub fn usual(&self) -> Option<Amounts> {
        if self.steps.len() < LEAST {
            return None;
        }
        let rank = (self.steps.len() * 9).div_ceil(10) - 1;
        let of = |amount: usize| {
            let mut all: Vec<i64> = self.steps.iter().filter_map(|step| step.get(amount).copied()).collect();
            *all.select_nth_unstable(rank).1
        };
        let [cost_microusd, tokens_input, tokens_output, duration_ms] = [of(0), of(1), of(2), of(3)];
        Some(Amounts { cost_microusd, tokens_input, tokens_output, duration_ms, count: 1 })
    }

    /// As it is stored: `cost:input:output:duration`, with spaces between.
    #[must_use]
    pub fn to_text(&self) -> String {
        let one = |[cost, input, output, ms]: &[i64; 4]| format!("{cost}:{input}:{output}:{ms}");
        self.steps.iter().map(one).collect::<Vec<_>>().join(" ")
    }

    /// From what is stored; none: it can't be read.
    #[must_use]
    pub fn from_text(text: &str) -> Option<Self> {
        let one = |word: &str| {
            let parts: Option<Vec<i64>> = word.split(':').map(|part| part.parse().ok()).collect();
            parts?.try_into().ok()
        };
        let steps: VecDeque<[i64; 4]> = text.split_whitespace().map(one).collect::<Option<_>>()?;
        (steps.len() <= REMEMBERED).then_some(Self { steps })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of_cost(cost_microusd: i64) -> Amounts {
        Amounts { cost_microusd, tokens_input: 2 * cost_microusd, count: 1, ..Amounts::default() }
    }

    fn after(costs: impl Iterator<Item = i64>) -> History {
        let mut history = History::default();
        costs.for_each(|cost| history.push(&of_cost(cost)));
        history
    }

    #[test]
    fn twenty_steps_are_enough_and_nineteen_are_not() {
        assert_eq!(after(1..=19).usual(), None);
        assert_eq!(after(1..=20).usual(), Some(of_cost(18)), "the 18th of 20");
        assert_eq!(after((1..=20).rev()).usual(), Some(of_cost(18)), "in whatever order");
        assert_eq!(after(1..=21).usual(), Some(of_cost(19)), "the rank is rounded up");
    }

    #[test]
    fn only_the_last_two_hundred_count() {
        assert_eq!(after(1..=200).usual(), Some(of_cost(180)));
        assert_eq!(after(1..=300).usual(), Some(of_cost(280)));
    }

    #[test]
    fn what_is_stored_is_read_again() {
        let history = after(1..=250);
        assert_eq!(History::from_text(&history.to_text()), Some(history));
        assert_eq!(History::from_text(""), Some(History::default()));
        for wrong in ["1", "1:2:3", "1:2:3:4:5", "1:2:3:x"] {
            assert_eq!(History::from_text(wrong), None, "{wrong}");
        }
        assert_eq!(History::from_text(&"1:1:1:1 ".repeat(201)), None);
    }
}
