//! Which spans are steps. Two vocabularies are known: the conventions for generative AI of OpenTelemetry, and
//! `OpenInference`; the first wins where a span has both.

use contracts_common::common::v1::StepKind;

use super::Span;

/// What a span is to a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Meaning {
    /// A step of this kind.
    Step(StepKind),
    /// It holds others together; the root gives the run its start, end and outcome.
    Structure,
    /// Nothing that a run is made of: HTTP, a database.
    Ignored,
}

impl Meaning {
    /// What `span` is.
    #[must_use]
    pub fn of(span: &Span) -> Self {
        let operation = span.attributes.text("gen_ai.operation.name").and_then(|op| operation(op, span));
        let kind = || span.attributes.text("openinference.span.kind").and_then(|kind| inferred(kind, span));
        let unknown = if span.is_root() { Self::Structure } else { Self::Ignored };
        operation.or_else(kind).unwrap_or(unknown)
    }
}

fn operation(name: &str, span: &Span) -> Option<Meaning> {
    Some(match name {
        "chat" | "generate_content" | "text_completion" | "embeddings" => Meaning::Step(StepKind::LlmCall),
        "execute_tool" => Meaning::Step(StepKind::ToolCall),
        "retrieval" => Meaning::Step(StepKind::DataAccess),
        "invoke_agent" | "invoke_workflow" => spawned(span),
        "create_agent" | "plan" => Meaning::Step(StepKind::CustomStep),
        _ => return None,
    })
}

fn inferred(kind: &str, span: &Span) -> Option<Meaning> {
    Some(match kind.to_ascii_uppercase().as_str() {
        "LLM" | "EMBEDDING" => Meaning::Step(StepKind::LlmCall),
        "TOOL" => Meaning::Step(StepKind::ToolCall),
        "RETRIEVER" | "RERANKER" => Meaning::Step(StepKind::DataAccess),
        "AGENT" => spawned(span),
        "GUARDRAIL" | "EVALUATOR" | "DECISION" | "PROMPT" => Meaning::Step(StepKind::CustomStep),
        "CHAIN" => Meaning::Structure,
        _ => return None,
    })
}

/// An agent that nobody called is the run itself.
fn spawned(span: &Span) -> Meaning {
    if span.is_root() { Meaning::Structure } else { Meaning::Step(StepKind::SpawnAgent) }
}
