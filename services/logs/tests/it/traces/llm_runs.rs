//! What runs used of language models: one record an attempt, made of the sealed trace.

use contracts_common::common::v1::{RunStatus, StepKind, StepOutcome, TerminationReason};
use contracts_logs::v1::{self as pb, LlmExecutionStatus, LlmRunSource, record_item::Body};
use runspine_testkit::{TestStore, assert_append_only, on_both_engines, run};
use runspine_types::Hasher;
use tonic::Response;

use super::harness::*;

/// A call of a model.
fn call(key: &str, index: u32, model: &str, cost: i64, retry: (u32, StepOutcome)) -> pb::RecordItem {
    let mut item = tried(key, index, &format!("d{index}"), retry.0, retry.1);
    if let Some(Body::Step(step)) = &mut item.body {
        step.kind = StepKind::LlmCall.into();
        step.provider = "example".into();
        step.model = model.into();
        step.cost_microusd = cost;
        step.input_digest = vec![7; 32].into();
    }
    item
}

async fn get(house: &House, who: u64, number: u64) -> Answer<pb::LlmRun> {
    let request = pb::GetLlmRunRequest { run_id: run(number), attempt: 0 };
    let request = house.ask_as(who, "RecordService/GetLlmRun", request);
    house.kept.clone().get_llm_run(request).await.map(|r| r.into_inner().llm_run.unwrap())
}

async fn list(house: &House, filter: pb::LlmRunFilter) -> Vec<pb::LlmRun> {
    let mut request = pb::ListLlmRunsRequest { filter: Some(filter), page_size: 1, ..Default::default() };
    let mut all = Vec::new();
    loop {
        let asked = house.ask("RecordService/ListLlmRuns", request.clone());
        let page = house.kept.clone().list_llm_runs(asked).await.map(Response::into_inner).unwrap();
        all.extend(page.llm_runs);
        if page.next_page_token.is_empty() {
            return all;
        }
        request.page_token = page.next_page_token;
    }
}

on_both_engines! {
    /// Every try counts, the dearest model stands first, and two seals at once leave one record.
    async fn a_sealed_attempt_has_one_record(store: TestStore) {
        let house = House::over(store).await;
        house.begin(1).await;
        let retried = (0, StepOutcome::Retried);
        let items = vec![
            decision("d0", 0), call("a", 0, "small", 100, retried), call("b", 0, "small", 100, (1, StepOutcome::Success)),
            decision("d1", 1), call("c", 1, "large", 900, (0, StepOutcome::Success)),
            decision("d2", 2), step("t", 2, "d2"),
        ];
        house.append(1, items).await.unwrap();
        assert_eq!(reason(get(&house, 1, 1).await), "RECORD_NOT_FOUND", "there is none before the seal");
        house.settle(1, 1).await;
        let (first, second) = tokio::join!(house.seal(sealing(1, 1)), house.seal(sealing(1, 1)));
        assert_eq!(first.unwrap(), second.unwrap());
        let found = get(&house, 1, 1).await.unwrap();
        assert_eq!((found.provider.as_str(), found.model.as_str()), ("example", "large"));
        let models: Vec<_> = found.models.iter().map(|m| (m.model.as_str(), m.calls, m.cost_microusd)).collect();
        assert_eq!(models, [("large", 1, 900), ("small", 2, 200)]);
        assert_eq!((found.cost_microusd, found.input_tokens, found.output_tokens), (2_600, 40, 20), "the whole trace");
        assert_eq!((found.execution_status(), found.source()), (LlmExecutionStatus::Succeeded, LlmRunSource::Sdk));
        let prompts = Hasher::new("runspine.prompts.v1").fixed(&[7; 32]).fixed(&[7; 32]).fixed(&[7; 32]).finish();
        assert_eq!(found.prompt_digest, prompts.to_vec());
        let trace = house.trace(1).await.unwrap();
        assert_eq!(found.trace_id, trace.trace.unwrap().header.unwrap().trace_id);
        assert_eq!(reason(get(&house, 2, 1).await), "RECORD_NOT_FOUND", "another tenant sees nothing");
        assert_append_only(&house.db().await, "llm_run_records").await;
    }

    /// A run without calls has a record with zero counts; records are found by what they say.
    async fn records_are_found(store: TestStore) {
        let house = House::over(store).await;
        house.begin(1).await;
        house.settle(1, 1).await;
        let cancelled = pb::SealTraceRequest {
            run_status: RunStatus::Cancelled.into(),
            termination_reason: TerminationReason::UserAbort.into(),
            ..sealing(1, 1)
        };
        house.seal(cancelled).await.unwrap();
        let empty = get(&house, 1, 1).await.unwrap();
        assert_eq!((empty.models.len(), empty.cost_microusd, empty.prompt_digest.len()), (0, 0, 0));
        house.advance(1_000);
        house.begin(2).await;
        house.append(2, vec![decision("d0", 0), call("a", 0, "small", 1, (0, StepOutcome::Success))]).await.unwrap();
        house.settle(2, 1).await;
        house.seal(sealing(2, 1)).await.unwrap();
        let runs = |found: Vec<pb::LlmRun>| found.into_iter().map(|r| r.run_id).collect::<Vec<_>>();
        let any = pb::LlmRunFilter::default;
        assert_eq!(runs(list(&house, any()).await), [run(2), run(1)], "the newest first");
        assert_eq!(runs(list(&house, pb::LlmRunFilter { model: "small".into(), ..any() }).await), [run(2)]);
        let aborted = pb::LlmRunFilter { status: LlmExecutionStatus::Aborted.into(), ..any() };
        assert_eq!(runs(list(&house, aborted).await), [run(1)]);
        assert!(list(&house, pb::LlmRunFilter { synthetic: Some(true), ..any() }).await.is_empty());
        let named = pb::LlmRunFilter { run_ids: vec![run(1), run(9)], synthetic: Some(false), ..any() };
        assert_eq!(runs(list(&house, named).await), [run(1)]);
        let early = pb::LlmRunFilter { completed_to: Some(runspine_rpc::timestamp(START.plus_millis(1))), ..any() };
        assert_eq!(runs(list(&house, early).await), [run(1)]);
        let many = pb::LlmRunFilter { run_ids: vec!["x".into()], ..any() };
        let asked = house.ask("RecordService/ListLlmRuns", pb::ListLlmRunsRequest { filter: Some(many), ..Default::default() });
        assert_eq!(reason(house.kept.clone().list_llm_runs(asked).await), "FIELD_INVALID");
    }
}
