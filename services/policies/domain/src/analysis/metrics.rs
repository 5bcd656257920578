//! What rules read of an attempt's totals, and which metric that is.

use crate::compile::CompiledRule;

use super::dependencies::reads;

/// The metric that a total belongs to.
const METRICS: [(&str, &str); 8] = [
    ("context.totals.cost_microusd", "cost"),
    ("context.totals.duration_ms", "latency"),
    ("context.totals.llm_calls", "step_count"),
    ("context.totals.steps", "step_count"),
    ("context.totals.tokens", "token_usage"),
    ("context.totals.tokens_input", "token_usage"),
    ("context.totals.tokens_output", "token_usage"),
    ("context.totals.tool_calls", "step_count"),
];

/// The first total that a rule reads and whose metric is not monitored, with that metric.
pub(super) fn unmonitored(rule: &CompiledRule, monitored: &[String]) -> Option<(&'static str, &'static str)> {
    let read = reads(&rule.policy);
    let off = |metric: &str| !monitored.iter().any(|m| m == metric);
    METRICS.into_iter().find(|(path, metric)| off(metric) && read.contains(*path))
}
