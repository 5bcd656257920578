//! Each span is stored once, whatever is sent how often and in what order; what can't be stored is told span by span.

use contracts_common::common::v1::{StepKind, StepOutcome};
use contracts_logs::v1::{self as pb, RecordBody};
use opentelemetry_proto::tonic::{common::v1::any_value::Value, trace::v1::Span};
use runspine_testkit::{TestStore, assert_append_only, on_both_engines};

use super::harness::{attribute, chat, counts, failed, refusals, request, span, text, tool, whole, with};
use crate::traces::harness::{House, reason};

on_both_engines! {
    async fn a_batch_that_is_sent_three_times_is_stored_once(store: TestStore) {
        let house = House::over(store).await;
        house.begin(1).await;
        let batch = || vec![chat(1), tool(2, "search"), span(3, vec![text("http.request.method", "GET")])];
        assert_eq!(counts(&house.spans(1, batch()).await), (2, 0, 0, 1));
        let stored = house.of_run(1).await;
        for _ in 0..2 {
            let again = house.spans(1, batch()).await;
            assert_eq!((counts(&again), again.rejected), ((0, 2, 0, 1), vec![]));
        }
        assert_eq!(house.of_run(1).await, stored);
        // The same in one request, and two requests at once.
        let (one, other) = tokio::join!(house.spans(1, vec![tool(4, "a"), tool(4, "a")]), house.spans(1, vec![tool(4, "a")]));
        assert_eq!((one.stored + other.stored, one.duplicates + other.duplicates), (1, 2));
        assert_eq!(house.steps(1).await.len(), 3);
        let steps = house.steps(1).await;
        assert_eq!(steps[0].1.kind(), StepKind::LlmCall);
        assert_eq!((steps[0].1.input_tokens, steps[0].1.duration_us), (10, 250_000));
        assert!(steps.iter().all(|(_, step)| step.unauthorized), "nothing decided about them");
        assert_append_only(&house.db().await, "otlp_spans").await;
    }

    async fn one_bad_span_of_ten_leaves_nine(store: TestStore) {
        let house = House::over(store).await;
        house.begin(1).await;
        let mut batch: Vec<Span> = (1..=10).map(chat).collect();
        batch[4].end_time_unix_nano = 0;
        let done = house.spans(1, batch).await;
        assert_eq!((done.stored, refusals(&done)), (9, vec![(5, "NO_END")]));
        assert_eq!(house.steps(1).await.len(), 9);
    }

    async fn whatever_order_they_come_in_the_steps_are_the_same(store: TestStore) {
        let house = House::over(store).await;
        let order = |seed: u64| {
            let mut spans: Vec<Span> = (1..=7).map(|n| if n % 2 == 0 { chat(n) } else { tool(n, "search") }).collect();
            // The first two begin together: their ids decide.
            spans[1].start_time_unix_nano = spans[0].start_time_unix_nano;
            let mut state = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            for last in (1..spans.len()).rev() {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                spans.swap(last, (state >> 33) as usize % (last + 1));
            }
            spans.iter_mut().for_each(|span| span.trace_id = u128::from(seed).to_be_bytes().to_vec());
            spans
        };
        let mut first = None;
        for seed in 1..=100 {
            house.begin(seed).await;
            assert_eq!(house.spans(seed, order(seed)).await.stored, 7);
            let behaviour = house.prove(seed).await.proofs.remove(0).behaviour_signature;
            assert_eq!(behaviour.len(), 32);
            assert_eq!(first.get_or_insert_with(|| behaviour.clone()), &behaviour);
        }
        house.begin(101).await;
        house.spans(101, (1..=7).map(chat).collect()).await;
        assert_ne!(first, Some(house.prove(101).await.proofs.remove(0).behaviour_signature));
    }

    async fn what_is_no_span_is_refused_by_its_name(store: TestStore) {
        let house = House::over(store).await;
        house.begin(1).await;
        house.spans(1, vec![chat(1)]).await;
        let many = (0..513).map(|n| whole(&format!("a{n}"), n));
        let long = "x".repeat(70_000);
        let batch = vec![
            with(chat(1), [text("more", "than before")]),
            Span { trace_id: vec![0; 16], ..chat(2) },
            Span { end_time_unix_nano: 1, ..chat(3) },
            with(chat(4), [attribute("gen_ai.usage.input_tokens", Value::IntValue(-1))]),
            with(chat(5), many),
            with(chat(6), [text("runspine.run_id", "01890a5d-ac96-774b-bcce-b302099a8057")]),
            // Whatever is long is cut or digested: a record has its limits.
            with(chat(7), [text("gen_ai.response.model", &long), text("gen_ai.input.messages", &long)]),
            failed(chat(8)),
        ];
        let done = house.spans(1, batch).await;
        let expected = [
            (1, "SPAN_CONFLICT"),
            (2, "BAD_ID"),
            (3, "END_BEFORE_START"),
            (4, "BAD_COUNT"),
            (5, "TOO_MANY_ATTRIBUTES"),
            (6, "UNGOVERNED_RUN"),
        ];
        let mut refused = refusals(&done);
        refused.sort_unstable();
        assert_eq!((done.stored, refused), (2, expected.to_vec()));
        let last = house.steps(1).await.pop().unwrap().1;
        assert_eq!((last.outcome(), last.outcome_code.as_str()), (StepOutcome::Failure, "FAILURE"));

        let broken = pb::AppendSpansRequest { resource_spans: vec![vec![0xff, 0xff].into()], ..Default::default() };
        assert_eq!(reason(house.ingest(1, broken).await), "FIELD_INVALID");
        assert_eq!(reason(house.ingest(1, pb::AppendSpansRequest::default()).await), "FIELD_INVALID");
    }

    async fn a_run_of_another_tenant_is_no_run(store: TestStore) {
        let house = House::over(store).await;
        house.begin(1).await;
        let done = house.ingest(2, request(1, vec![chat(1)])).await.unwrap();
        assert_eq!((done.stored, refusals(&done)), (0, vec![(1, "UNGOVERNED_RUN")]));
        // Their names are their own, too.
        assert_eq!(house.spans(1, vec![chat(1)]).await.stored, 1);
        let published = house.published().await;
        assert!(published.iter().any(|event| event.r#type == "logs.RecordsAppended"));
        assert_eq!(house.of_run(1).await.len(), 1);
        let bodies = pb::ListRecordsRequest {
            run_id: runspine_testkit::run(1),
            attempt: 1,
            bodies: vec![RecordBody::Step.into()],
            ..Default::default()
        };
        assert_eq!(house.records(bodies).await.unwrap().records.len(), 1);
    }
}
