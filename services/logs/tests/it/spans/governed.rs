//! Spans of a governed run: what was recorded is described, not counted again.

use contracts_common::common::v1::{GovernanceProfile, Verdict};
use contracts_logs::v1::{self as pb, ProofStatus, record_item::Body};
use opentelemetry_proto::tonic::trace::v1::Span;
use runspine_db::{AssertSqlSafe, args};
use runspine_logs_domain::chain::payload_digest;
use runspine_testkit::{TestStore, assert_append_only, on_both_engines, run};

use super::harness::{chat, counts, refusals, text, tool, whole, with};
use crate::traces::harness::{House, decided, decision, sealing, step};

/// A tool call under a decision, as the span of one.
fn under(span: Span, decision_id: &str) -> Span {
    with(span, [text("runspine.decision_id", decision_id)])
}

/// A step that was recorded under a reference.
fn referred(key: &str, step_index: u32, decision_id: &str, reference: &str) -> pb::RecordItem {
    let mut item = step(key, step_index, decision_id);
    if let Some(Body::Step(step)) = &mut item.body {
        step.external_ref = reference.to_owned();
    }
    item
}

on_both_engines! {
    async fn a_recorded_step_is_described_and_not_doubled(store: TestStore) {
        let house = House::over(store).await;
        house.begin(1).await;
        let named = referred("s2", 1, "d2", "call-7");
        house.append(1, vec![decision("d1", 0), step("s1", 0, "d1"), decision("d2", 1), named]).await.unwrap();
        let same = [whole("gen_ai.usage.input_tokens", 10), whole("gen_ai.usage.output_tokens", 5)];
        let batch = vec![
            under(with(tool(1, "weather.get"), same.clone()), "d1"),
            under(with(tool(2, "weather.get"), [whole("gen_ai.usage.input_tokens", 11)]), "d1"),
            with(tool(3, "weather.get"), [text("gen_ai.tool.call.id", "call-7")]),
        ];
        assert_eq!(counts(&house.spans(1, batch).await), (3, 0, 0, 0));
        assert_eq!(house.steps(1).await.len(), 2, "no step was added");
        let links: Vec<_> =
            house.links(1).await.into_iter().map(|(index, l)| (index, l.step_position, l.disagrees)).collect();
        assert_eq!(links, [(0, 2, false), (0, 2, true), (1, 4, false)]);
        house.settle(1, 1).await;
        let seal = house.seal(sealing(1, 1)).await.unwrap().seal.unwrap();
        let seal = <pb::TraceSeal as prost::Message>::decode(seal.seal_bytes).unwrap();
        assert_eq!((seal.cost_microusd, seal.input_tokens, seal.record_count), (3_000, 20, 7));
        assert_eq!(house.prove(1).await.overall(), ProofStatus::Verified);
    }

    async fn what_a_step_is_found_by_is_no_part_of_its_proof(store: TestStore) {
        let house = House::over(store).await;
        house.begin(1).await;
        let named = referred("s1", 0, "d1", "call-7");
        house.append(1, vec![decision("d1", 0), named, decision("d2", 1), step("s2", 1, "d2")]).await.unwrap();
        let db = house.db().await;
        let rows = "SELECT external_ref, position FROM step_references";
        let found: Vec<(String, u64)> = db.read().fetch_all(rows, args![]).await.unwrap();
        assert_eq!(found, [("call-7".to_owned(), 2)], "a step without a reference has no row");
        assert_append_only(&db, "step_references").await;
        // As a folder of before has it: the record, and no row by which it is found.
        let open = db.dialect().pick(
            "DROP TRIGGER step_references_append_only_delete",
            "DROP TRIGGER step_references_append_only_update ON step_references",
        );
        for sql in [open, "DELETE FROM step_references"] {
            let act = |sql: &'static str| db.write("before", move |tx| {
                Box::pin(async move { Ok(tx.execute(AssertSqlSafe(sql.to_owned()), args![]).await?) })
            });
            act(sql).await.unwrap();
        }
        let named = with(tool(1, "weather.get"), [text("gen_ai.tool.call.id", "call-7")]);
        assert_eq!(counts(&house.spans(1, vec![named]).await), (1, 0, 0, 0));
        assert_eq!((house.steps(1).await.len(), house.links(1).await.len()), (3, 0));
        house.settle(1, 1).await;
        house.seal(sealing(1, 1)).await.unwrap();
        assert_eq!(house.prove(1).await.overall(), ProofStatus::Verified);
    }

    async fn a_span_of_a_decided_step_records_it(store: TestStore) {
        let house = House::over(store).await;
        let started = house.begin(1).await;
        let denied = decided("d2", Some(1), Verdict::Deny);
        house.append(1, vec![decision("d1", 0), denied]).await.unwrap();
        let said = with(tool(1, "weather.get"), [text("gen_ai.tool.call.arguments", "{\"city\":\"Rome\"}")]);
        let batch = vec![under(said, "d1"), under(tool(2, "weather.get"), "d2"), under(tool(3, "other"), "d9")];
        assert_eq!(house.spans(1, batch).await.stored, 3);
        let steps = house.steps(1).await;
        let told: Vec<_> = steps.iter().map(|(i, s)| (*i, s.decision_id.as_str(), s.unauthorized)).collect();
        assert_eq!(told, [(0, "d1", false), (1, "d2", true), (2, "", true)]);
        let digest = payload_digest(&started.digest_salt, b"{\"city\":\"Rome\"}");
        assert_eq!(steps[0].1.input_digest, digest.to_vec());
        // The next span of the same step describes it.
        house.spans(1, vec![under(chat(4), "d1")]).await;
        assert_eq!(house.links(1).await[0].0, 0);
    }

    async fn strict_takes_no_step_that_nothing_decided_about(store: TestStore) {
        let house = House::under(store, GovernanceProfile::Strict).await;
        house.begin_as(1, GovernanceProfile::Strict).await;
        house.append(1, vec![decision("d1", 0), decided("d2", Some(1), Verdict::Deny)]).await.unwrap();
        let batch = vec![under(tool(1, "weather.get"), "d1"), under(tool(2, "weather.get"), "d2"), tool(3, "other")];
        let done = house.spans(1, batch).await;
        assert_eq!(done.stored, 1);
        assert_eq!(refusals(&done), [(2, "UNGOVERNED_STEP"), (3, "UNGOVERNED_STEP")]);
    }

    async fn a_late_span_leaves_the_seal_alone(store: TestStore) {
        let house = House::over(store).await;
        house.sealed_run(1).await;
        let before = house.prove(1).await;
        let batch = || vec![under(tool(1, "weather.get"), "d1"), tool(2, "other"), tool(3, "another")];
        assert_eq!(counts(&house.spans(1, batch()).await), (3, 0, 3, 0));
        assert_eq!(counts(&house.spans(1, batch()).await), (0, 3, 0, 0));
        assert_eq!(counts(&house.spans(1, vec![tool(4, "later still")]).await), (1, 0, 1, 0));
        let proof = house.prove(1).await;
        assert_eq!(proof.overall(), ProofStatus::Verified);
        assert_eq!(proof.proofs[0], before.proofs[0]);
        assert_eq!(proof.proofs.len(), 3, "the main trace and two addenda");
        assert!(house.published().await.iter().any(|event| event.r#type == "logs.AddendumSealed"));
        let request = pb::ListRecordsRequest { run_id: run(1), attempt: 1, addendum: 1, ..Default::default() };
        let records = house.records(request).await.unwrap().records;
        let indices: Vec<_> = records.iter().map(|r| r.record.as_ref().unwrap().step_index).collect();
        assert_eq!(indices, [Some(0), Some(2), Some(3)]);
    }

    async fn spans_name_their_attempt_or_mean_the_latest(store: TestStore) {
        let house = House::over(store).await;
        house.sealed_run(1).await;
        house.declare(1, 2).await;
        house.start(crate::traces::harness::start(1, 2)).await.unwrap();
        let first = with(tool(1, "a"), [whole("runspine.attempt", 1)]);
        assert_eq!(counts(&house.spans(1, vec![first, tool(2, "b")]).await), (2, 0, 1, 0));
        let root = Span { parent_span_id: Vec::new(), ..tool(3, "c") };
        let chain = with(super::harness::span(4, vec![]), [text("openinference.span.kind", "CHAIN")]);
        assert_eq!(counts(&house.spans(1, vec![root, chain]).await), (2, 0, 0, 0));
    }
}
