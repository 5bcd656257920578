//! A span as the record of a step: field by field, the first attribute that is present.

use contracts_common::common::v1::StepKind;
use contracts_logs::v1::Step;

use runspine_types::Digest;

use super::{Attributes, Prices, Refusal, Span, Value, outcome};
use crate::bytes::timestamp;

/// The longest name of a step.
const MAX_NAME: usize = 256;
/// The longest id.
const MAX_ID: usize = 128;
/// The cost that a step can have at most, in micro-USD.
const MAX_COST: f64 = 9.0e15;

/// What went in and what came out, as the span has it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Content {
    /// What went in.
    pub input: Option<String>,
    /// What came out.
    pub output: Option<String>,
}

/// A step as a span describes it. Whatever only the run's trace and keys can tell is not in it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Described {
    /// The step.
    pub step: Step,
    /// Input and output, to be digested.
    pub content: Content,
    /// The table of prices that its cost was estimated by.
    pub priced: Option<Digest>,
}

impl Described {
    /// The step of this kind that `span` describes.
    ///
    /// # Errors
    /// [`Refusal::BadCount`].
    pub fn of(span: &Span, kind: StepKind) -> Result<Self, Refusal> {
        let a = &span.attributes;
        // What an agent says it used is the sum over the steps below it, which come by themselves.
        let counted = kind != StepKind::SpawnAgent;
        let count = |names: &[&str]| a.whole(names).map(|n| n.filter(|_| counted).unwrap_or(0));
        let cost = cost(a)?.filter(|_| counted);
        let (outcome, category, code) = outcome::of(span);
        let model = model(a);
        let step = Step {
            kind: kind.into(),
            name: cut(name(span, kind, model), MAX_NAME),
            outcome: outcome.into(),
            outcome_category: category.into(),
            outcome_code: code,
            input_tokens: count(&[
                "gen_ai.usage.input_tokens",
                "gen_ai.usage.prompt_tokens",
                "llm.token_count.prompt",
            ])?,
            output_tokens: count(&[
                "gen_ai.usage.output_tokens",
                "gen_ai.usage.completion_tokens",
                "llm.token_count.completion",
            ])?,
            cache_read_tokens: count(&[
                "gen_ai.usage.cache_read.input_tokens",
                "llm.token_count.prompt_details.cache_read",
            ])?,
            cache_write_tokens: count(&[
                "gen_ai.usage.cache_creation.input_tokens",
                "llm.token_count.prompt_details.cache_write",
            ])?,
            reasoning_tokens: count(&[
                "gen_ai.usage.reasoning.output_tokens",
                "llm.token_count.completion_details.reasoning",
            ])?,
            cost_microusd: cost.unwrap_or(0),
            // Nobody said what the call of a model cost: that it is 0 is a guess.
            cost_estimated: cost.is_none() && kind == StepKind::LlmCall,
            duration_us: span.ended_at().0 - span.started_at().0,
            started_at: Some(timestamp(span.started_at())),
            provider: cut(
                a.first(&["gen_ai.provider.name", "gen_ai.system", "llm.provider", "llm.system"])
                    .unwrap_or_default(),
                MAX_ID,
            ),
            model: cut(model.unwrap_or_default(), MAX_ID),
            external_ref: span.external_ref(),
            parent_external_ref: span.parent_ref(),
            operation: cut(&operation(a), MAX_ID),
            ..Step::default()
        };
        Ok(Self { step, content: content(a), priced: None })
    }

    /// The same with its cost estimated, where the span doesn't say it and there is a price.
    #[must_use]
    pub fn priced(mut self, prices: &Prices) -> Self {
        if self.step.cost_estimated
            && let Some(cost) = prices.cost(&self.step)
        {
            self.step.cost_microusd = cost;
            self.priced = Some(prices.digest());
        }
        self
    }
}

fn operation(a: &Attributes) -> String {
    let inferred = || a.text("openinference.span.kind").map(str::to_ascii_lowercase);
    a.text("gen_ai.operation.name").map(str::to_owned).or_else(inferred).unwrap_or_default()
}

fn model(a: &Attributes) -> Option<&str> {
    a.first(&[
        "gen_ai.response.model",
        "gen_ai.request.model",
        "llm.response.model_name",
        "llm.model_name",
        "embedding.model_name",
    ])
}

fn name<'a>(span: &'a Span, kind: StepKind, model: Option<&'a str>) -> &'a str {
    let a = &span.attributes;
    let found = match kind {
        StepKind::LlmCall => model,
        StepKind::ToolCall => a.first(&["gen_ai.tool.name", "tool.name", "tool_call.function.name"]),
        StepKind::DataAccess => a.first(&["gen_ai.data_source.id"]),
        StepKind::SpawnAgent => a.first(&["gen_ai.agent.name", "agent.name"]),
        _ => None,
    };
    found.unwrap_or(&span.name)
}

/// Cost in micro-USD, rounded half up.
fn cost(a: &Attributes) -> Result<Option<i64>, Refusal> {
    #[allow(clippy::cast_precision_loss, reason = "USD")]
    let usd = match a.get("llm.cost.total") {
        None => return Ok(None),
        Some(Value::Real(usd)) => *usd,
        Some(Value::Whole(usd)) => *usd as f64,
        Some(_) => return Err(Refusal::BadCount),
    };
    let micros = (usd * 1e6 + 0.5).floor();
    if usd < 0.0 || !(0.0..MAX_COST).contains(&micros) {
        return Err(Refusal::BadCount);
    }
    #[allow(clippy::cast_possible_truncation, reason = "whole and below 2^53")]
    Ok(Some(micros as i64))
}

fn content(a: &Attributes) -> Content {
    let texts = |names: &[&str]| -> Option<String> {
        let found: Vec<String> = names.iter().filter_map(|n| a.get(n)).map(Value::to_text).collect();
        (!found.is_empty()).then(|| found.join("\n"))
    };
    let arguments = || a.any(&["gen_ai.tool.call.arguments", "tool.parameters"]).map(Value::to_text);
    let first = |names: &[&str]| a.any(names).map(Value::to_text);
    Content {
        input: texts(&["gen_ai.input.messages", "gen_ai.system_instructions"])
            .or_else(arguments)
            .or_else(|| first(&["input.value"])),
        output: first(&["gen_ai.output.messages", "gen_ai.tool.call.result", "output.value"]),
    }
}

/// The longest start of `text` that has at most `most` bytes.
fn cut(text: &str, most: usize) -> String {
    let end = (0..=most.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    text[..end].to_owned()
}
