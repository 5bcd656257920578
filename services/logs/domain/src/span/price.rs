//! What a step cost by a table of prices, where its span doesn't say it.

use std::collections::HashMap;

use contracts_logs::v1::{ModelPrice, PriceTable, Step};
use runspine_types::Digest;

/// Tokens that a price is for.
const MILLION: i128 = 1_000_000;

/// Prices by provider and model.
#[derive(Debug, Clone, Default)]
pub struct Prices {
    digest: Digest,
    table: HashMap<(String, String), ModelPrice>,
}

impl Prices {
    /// Those of a table.
    #[must_use]
    pub fn of(table: PriceTable) -> Self {
        let digest = table.digest.as_ref().try_into().map(Digest).unwrap_or_default();
        let named = |price: ModelPrice| ((price.provider.clone(), price.model.clone()), price);
        Self { digest, table: table.prices.into_iter().map(named).collect() }
    }

    /// Names the version of the table.
    #[must_use]
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// The cost of a step in micro-USD, rounded half up; `None`: there is no price for its model. Tokens of a cache are
    /// among those that went in.
    #[must_use]
    pub fn cost(&self, step: &Step) -> Option<i64> {
        let price = self.table.get(&(step.provider.clone(), step.model.clone()))?;
        let cached = step.cache_read_tokens.saturating_add(step.cache_write_tokens);
        let parts = [
            (step.input_tokens.saturating_sub(cached).max(0), price.input_microusd),
            (step.cache_read_tokens, price.cache_read_microusd),
            (step.cache_write_tokens, price.cache_write_microusd),
            (step.output_tokens, price.output_microusd),
        ];
        let sum: i128 = parts.iter().map(|(tokens, price)| i128::from(*tokens) * i128::from(*price)).sum();
        Some(i64::try_from((sum + MILLION / 2) / MILLION).unwrap_or(i64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_cost_what_their_model_does() {
        let price = ModelPrice {
            provider: "p".into(),
            model: "m".into(),
            input_microusd: 2_000_000,
            output_microusd: 500_000,
            cache_read_microusd: 100_000,
            cache_write_microusd: 3_000_000,
        };
        let prices = Prices::of(PriceTable { digest: vec![7; 32].into(), prices: vec![price] });
        let step = |input, read, write, output| Step {
            provider: "p".into(),
            model: "m".into(),
            input_tokens: input,
            cache_read_tokens: read,
            cache_write_tokens: write,
            output_tokens: output,
            ..Step::default()
        };
        let cases = [
            (step(10, 0, 0, 3), 22),
            (step(10, 4, 1, 0), 13),
            (step(0, 0, 0, 1), 1),
            (step(2, 5, 0, 0), 1),
            (step(0, 0, 0, 0), 0),
            (step(i64::MAX, 0, 0, i64::MAX), i64::MAX),
        ];
        for (step, cost) in cases {
            assert_eq!(prices.cost(&step), Some(cost), "{step:?}");
        }
        assert_eq!(prices.cost(&Step { model: "n".into(), ..step(1, 0, 0, 0) }), None);
        assert_eq!((prices.digest().0, Prices::default().cost(&step(1, 0, 0, 0))), ([7; 32], None));
    }
}
