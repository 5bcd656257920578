//! What a step is expected to use.

use crate::{
    threshold::Used,
    words::{EstimateSource, StepKind, Unit},
};

/// Amounts of a step or a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Amounts {
    /// Micro-USD.
    pub cost_microusd: i64,
    /// Input tokens.
    pub tokens_input: i64,
    /// Output tokens.
    pub tokens_output: i64,
    /// Milliseconds.
    pub duration_ms: i64,
    /// How many steps and requests it is: 1 for a step, 0 for one that did not begin and for an extension.
    pub count: i64,
}

impl Amounts {
    /// The amount in one unit.
    #[must_use]
    pub fn of(&self, unit: Unit) -> i64 {
        match unit {
            Unit::CostMicrousd => self.cost_microusd,
            Unit::TokensInput => self.tokens_input,
            Unit::TokensOutput => self.tokens_output,
            Unit::TokensTotal => self.tokens_input.saturating_add(self.tokens_output),
            Unit::TimeMs => self.duration_ms,
            Unit::Requests | Unit::Steps => self.count,
            Unit::Runs => 0,
        }
    }

    /// What one step uses, as thresholds count it.
    #[must_use]
    pub fn of_step(&self) -> Used {
        Used::of_step(self.cost_microusd, self.of(Unit::TokensTotal), self.duration_ms)
    }

    /// The sum of two.
    #[must_use]
    pub fn plus(&self, other: &Self) -> Self {
        Self {
            cost_microusd: self.cost_microusd.saturating_add(other.cost_microusd),
            tokens_input: self.tokens_input.saturating_add(other.tokens_input),
            tokens_output: self.tokens_output.saturating_add(other.tokens_output),
            duration_ms: self.duration_ms.saturating_add(other.duration_ms),
            count: self.count.saturating_add(other.count),
        }
    }
}

/// The default of a kind. The tokens of a kind are taken half as input, half as output.
#[must_use]
pub fn default_for(kind: StepKind) -> Amounts {
    let (cost, tokens) = match kind {
        StepKind::LlmCall => (10_000, 4_096),
        StepKind::SpawnAgent => (50_000, 8_192),
        StepKind::ToolCall | StepKind::ExternalCall | StepKind::ExecuteCode => (1_000, 0),
        StepKind::DataAccess | StepKind::SendMessage | StepKind::CustomStep => (0, 0),
    };
    Amounts {
        cost_microusd: cost,
        tokens_input: tokens / 2,
        tokens_output: tokens / 2,
        duration_ms: 1_000,
        count: 1,
    }
}

/// Fills what the client left at 0 with what such steps usually use, else with the default of the kind, and says how
/// certain the result is.
#[must_use]
pub fn fill(stated: Amounts, kind: StepKind, usual: Option<&Amounts>) -> (Amounts, EstimateSource) {
    let default = usual.copied().unwrap_or_else(|| default_for(kind));
    let pick = |stated: i64, default: i64| if stated > 0 { stated } else { default };
    let filled = Amounts {
        cost_microusd: pick(stated.cost_microusd, default.cost_microusd),
        tokens_input: pick(stated.tokens_input, default.tokens_input),
        tokens_output: pick(stated.tokens_output, default.tokens_output),
        duration_ms: pick(stated.duration_ms, default.duration_ms),
        count: 1,
    };
    let all_stated = Amounts { count: 1, ..stated } == filled;
    let source = match usual {
        _ if all_stated => EstimateSource::Client,
        Some(_) => EstimateSource::History,
        None => EstimateSource::Default,
    };
    (filled, source)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_filled_and_marked() {
        let (amounts, source) = fill(of_cost(5), StepKind::LlmCall, None);
        assert_eq!((amounts.cost_microusd, amounts.of(Unit::TokensTotal)), (5, 4_096));
        assert_eq!((amounts.duration_ms, amounts.count), (1_000, 1));
        assert_eq!(source, EstimateSource::Default);
        let stated =
            Amounts { cost_microusd: 1, tokens_input: 2, tokens_output: 3, duration_ms: 4, count: 0 };
        let whole = Amounts { count: 1, ..stated };
        let usual =
            Amounts { cost_microusd: 90, tokens_input: 91, tokens_output: 0, duration_ms: 93, count: 1 };
        for usual in [None, Some(&usual)] {
            assert_eq!(fill(stated, StepKind::LlmCall, usual), (whole, EstimateSource::Client));
        }
        let (amounts, source) = fill(of_cost(5), StepKind::LlmCall, Some(&usual));
        assert_eq!((amounts, source), (Amounts { cost_microusd: 5, ..usual }, EstimateSource::History));
    }

    fn of_cost(cost_microusd: i64) -> Amounts {
        Amounts { cost_microusd, ..Amounts::default() }
    }

    #[test]
    fn every_kind_has_its_default() {
        let cost: Vec<i64> = StepKind::ALL.iter().map(|k| default_for(*k).cost_microusd).collect();
        assert_eq!(cost, [10_000, 1_000, 0, 1_000, 50_000, 1_000, 0, 0]);
        assert_eq!(default_for(StepKind::SpawnAgent).of(Unit::TokensTotal), 8_192);
    }
}
