//! A report that is told again gets its first answer, wherever the run stands by then.

use contracts_common::common::v1::{Directive, StepKind, StepOutcome};
use contracts_spine::v1 as pb;
use runspine_types::new_id;

use crate::sagas::house::House;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_report_told_again_gets_its_first_answer() {
    let house = House::open().await;
    let (run_id, fence) = house.run(1).await;
    let ask = pb::AuthorizeStepRequest {
        run_id: run_id.clone(),
        attempt: 1,
        fence,
        step_index: Some(0),
        kind: StepKind::ToolCall.into(),
        name: "search".to_owned(),
        tool: "search".to_owned(),
        arguments_digest: vec![3; 32].into(),
        ..Default::default()
    };
    let answer: pb::AuthorizeStepResponse = house.ask("spine.v1.RunService/AuthorizeStep", ask).await;
    let report = pb::RecordStepRequest {
        run_id: run_id.clone(),
        attempt: 1,
        fence,
        step_index: 0,
        decision_id: answer.decision.unwrap().decision_id,
        outcome: StepOutcome::Success.into(),
        input_digest: vec![1; 32].into(),
        output_digest: vec![2; 32].into(),
        cost_microusd: Some(5),
        ..Default::default()
    };
    let record = "spine.v1.RunService/RecordStep";
    let first: pb::RecordStepResponse = house.ask(record, report.clone()).await;
    assert_eq!(first.directive(), Directive::Continue);
    let pause = pb::PauseRunRequest {
        request_id: new_id(),
        run_id: run_id.clone(),
        note: "somebody looks into it".to_owned(),
        ..Default::default()
    };
    let _: pb::PauseRunResponse = house.ask("spine.v1.RunService/PauseRun", pause).await;
    let paused: pb::RecordStepResponse = house.ask(record, report.clone()).await;
    assert_eq!(paused, first, "the run is paused by now, and the report was not");
    let cancel = pb::CancelRunRequest {
        request_id: new_id(),
        run_id,
        note: "nobody needs it any more".to_owned(),
        mode: pb::CancelMode::Now.into(),
        ..Default::default()
    };
    let _: pb::CancelRunResponse = house.ask("spine.v1.RunService/CancelRun", cancel).await;
    let ended: pb::RecordStepResponse = house.ask(record, report).await;
    assert_eq!(ended, first, "nor was it late");
}
