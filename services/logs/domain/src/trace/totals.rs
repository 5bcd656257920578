//! Sums over a trace: every try counts, and every correction.

use super::{Body, Columns, steps::StepIndices};

/// Sums over the records read so far.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Totals {
    /// Input tokens.
    pub input_tokens: i64,
    /// Output tokens.
    pub output_tokens: i64,
    /// Cost in micro-USD.
    pub cost_microusd: i64,
    /// Decisions.
    pub decisions: u64,
    steps: StepIndices,
}

impl Totals {
    /// Takes one record.
    pub fn add(&mut self, columns: &Columns<'_>) {
        if columns.body == Body::Decision as i32 {
            self.decisions += 1;
        }
        if columns.body == Body::Step as i32
            && let Some(index) = columns.step_index
        {
            self.steps.insert(index);
        }
        self.input_tokens = self.input_tokens.saturating_add(columns.input_tokens);
        self.output_tokens = self.output_tokens.saturating_add(columns.output_tokens);
        self.cost_microusd = self.cost_microusd.saturating_add(columns.cost_microusd);
    }

    /// Distinct step indices with at least one try.
    #[must_use]
    pub fn steps(&self) -> u64 {
        self.steps.count()
    }
}
