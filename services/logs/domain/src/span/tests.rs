#![allow(clippy::unwrap_used)]

use contracts_common::common::v1::{OutcomeCategory, StepKind, StepOutcome};

use super::*;

fn span(attributes: &[(&str, Value)]) -> Span {
    Span {
        trace_id: vec![1; 16],
        span_id: vec![2; 8],
        parent_id: vec![3; 8],
        name: "a span".into(),
        started_ns: 1_500,
        ended_ns: 9_999,
        attributes: attributes.iter().map(|(n, v)| ((*n).to_owned(), v.clone())).collect(),
        ..Span::default()
    }
}

fn text(text: &str) -> Value {
    Value::Text(text.to_owned())
}

#[test]
fn each_word_of_both_vocabularies_has_its_kind() {
    use StepKind::{CustomStep, DataAccess, LlmCall, SpawnAgent, ToolCall};
    let operations = [
        ("chat", LlmCall),
        ("generate_content", LlmCall),
        ("text_completion", LlmCall),
        ("embeddings", LlmCall),
        ("execute_tool", ToolCall),
        ("retrieval", DataAccess),
        ("invoke_agent", SpawnAgent),
        ("invoke_workflow", SpawnAgent),
        ("create_agent", CustomStep),
        ("plan", CustomStep),
    ];
    let inferred = [
        ("LLM", LlmCall),
        ("EMBEDDING", LlmCall),
        ("tool", ToolCall),
        ("RETRIEVER", DataAccess),
        ("RERANKER", DataAccess),
        ("AGENT", SpawnAgent),
        ("GUARDRAIL", CustomStep),
        ("EVALUATOR", CustomStep),
        ("DECISION", CustomStep),
        ("PROMPT", CustomStep),
    ];
    for (word, kind) in operations {
        assert_eq!(
            Meaning::of(&span(&[("gen_ai.operation.name", text(word))])),
            Meaning::Step(kind),
            "{word}"
        );
    }
    for (word, kind) in inferred {
        let one = span(&[("openinference.span.kind", text(word))]);
        assert_eq!(Meaning::of(&one), Meaning::Step(kind), "{word}");
    }
    let both = span(&[("openinference.span.kind", text("TOOL")), ("gen_ai.operation.name", text("chat"))]);
    assert_eq!(Meaning::of(&both), Meaning::Step(LlmCall));
    assert_eq!(Meaning::of(&span(&[("openinference.span.kind", text("CHAIN"))])), Meaning::Structure);
    assert_eq!(Meaning::of(&span(&[("http.request.method", text("GET"))])), Meaning::Ignored);
    let root = |attributes: &[(&str, Value)]| Span { parent_id: Vec::new(), ..span(attributes) };
    assert_eq!(Meaning::of(&root(&[])), Meaning::Structure);
    assert_eq!(Meaning::of(&root(&[("gen_ai.operation.name", text("invoke_agent"))])), Meaning::Structure);
}

#[test]
fn the_first_attribute_counts_and_the_newer_convention_wins() {
    let both = span(&[
        ("gen_ai.operation.name", text("chat")),
        ("gen_ai.request.model", text("m-1")),
        ("gen_ai.response.model", text("m-1-2026")),
        ("gen_ai.system", text("old")),
        ("gen_ai.provider.name", text("new")),
        ("gen_ai.usage.prompt_tokens", Value::Whole(9)),
        ("llm.token_count.prompt", Value::Whole(8)),
        ("llm.token_count.completion", Value::Real(7.0)),
        ("llm.cost.total", Value::Real(0.000_000_5)),
        ("gen_ai.input.messages", Value::Json("[1]".into())),
        ("gen_ai.system_instructions", text("be kind")),
        ("output.value", text("done")),
    ]);
    let Described { step, content, .. } = Described::of(&both, StepKind::LlmCall).unwrap();
    assert_eq!((step.name.as_str(), step.model.as_str()), ("m-1-2026", "m-1-2026"));
    assert_eq!((step.provider.as_str(), step.operation.as_str()), ("new", "chat"));
    assert_eq!(
        (step.input_tokens, step.output_tokens, step.cost_microusd),
        (9, 7, 1),
        "half a micro is rounded up"
    );
    assert!(!step.cost_estimated);
    assert_eq!((step.started_at.unwrap().nanos, step.duration_us), (1_000, 8), "whole microseconds, floored");
    assert_eq!(step.external_ref, format!("{}:{}", "01".repeat(16), "02".repeat(8)));
    assert_eq!(step.parent_external_ref, format!("{}:{}", "01".repeat(16), "03".repeat(8)));
    assert_eq!(content.input.as_deref(), Some("[1]\nbe kind"));
    assert_eq!(content.output.as_deref(), Some("done"));
    let agent = Described::of(&both, StepKind::SpawnAgent).unwrap().step;
    assert_eq!((agent.input_tokens, agent.cost_microusd), (0, 0), "sums over children are left out");
    assert!(Described::of(&span(&[]), StepKind::LlmCall).unwrap().step.cost_estimated);
}

#[test]
fn failures_have_codes_and_categories() {
    let of = |attributes: &[(&str, Value)], status| {
        let step = Described::of(&Span { status, ..span(attributes) }, StepKind::ToolCall).unwrap().step;
        (step.outcome(), step.outcome_category(), step.outcome_code)
    };
    let failed = |error: &str| of(&[("error.type", text(error))], Status::Unset);
    let expected = |category, code: &str| (StepOutcome::Failure, category, code.to_owned());
    assert_eq!(failed("429"), expected(OutcomeCategory::RateLimit, "429"));
    assert_eq!(failed("503"), expected(OutcomeCategory::Provider, "503"));
    assert_eq!(
        failed("java.net.SocketTimeout"),
        expected(OutcomeCategory::Timeout, "JAVA_NET_SOCKETTIMEOUT")
    );
    assert_eq!(of(&[], Status::Error), expected(OutcomeCategory::Execution, "FAILURE"));
    let filtered = [("gen_ai.response.finish_reasons", Value::Json("[\"content_filter\"]".into()))];
    assert_eq!(of(&filtered, Status::Ok).2, "CONTENT_FILTER");
    assert_eq!(of(&[], Status::Unset).0, StepOutcome::Success);
}

#[test]
fn what_no_span_can_be_is_refused() {
    assert_eq!(span(&[]).check(), Ok(()));
    let cases = [
        (Span { trace_id: vec![0; 16], ..span(&[]) }, Refusal::BadId),
        (Span { span_id: vec![1; 7], ..span(&[]) }, Refusal::BadId),
        (Span { parent_id: vec![0; 8], ..span(&[]) }, Refusal::BadId),
        (Span { ended_ns: 0, ..span(&[]) }, Refusal::NoEnd),
        (Span { ended_ns: 1_499, ..span(&[]) }, Refusal::EndBeforeStart),
        (Span { attribute_count: 513, ..span(&[]) }, Refusal::TooManyAttributes),
    ];
    for (span, refusal) in cases {
        assert_eq!(span.check(), Err(refusal));
    }
    let counts = [Value::Whole(-1), Value::Real(1.5), Value::Real(f64::NAN), text("7")];
    for count in counts {
        let one = span(&[("gen_ai.usage.input_tokens", count)]);
        assert_eq!(Described::of(&one, StepKind::LlmCall), Err(Refusal::BadCount));
    }
    for cost in [Value::Real(-0.1), Value::Real(f64::INFINITY), Value::Real(f64::NAN), text("1")] {
        let one = span(&[("llm.cost.total", cost)]);
        assert_eq!(Described::of(&one, StepKind::LlmCall), Err(Refusal::BadCount));
    }
}

#[test]
fn the_span_names_its_run_before_its_resource_does() {
    let (own, shared) = ("01890a5d-ac96-774b-bcce-b302099a8057", "01890a5d-ac96-774b-bcce-b302099a8058");
    let resource: Attributes = [("runspine.run_id".to_owned(), text(shared))].into_iter().collect();
    let with = |attributes: &[(&str, Value)]| Span {
        resource: std::sync::Arc::new(resource.clone()),
        ..span(attributes)
    };
    assert_eq!(with(&[("runspine.run_id", text(own))]).run_id(), Some(own));
    assert_eq!(with(&[]).run_id(), Some(shared));
    assert_eq!(span(&[("runspine.run_id", text("not an id"))]).run_id(), None);
}
