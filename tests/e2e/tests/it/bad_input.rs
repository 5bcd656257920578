//! Bad input gets a documented status that names the reason and every violated field, and changes nothing.

use contracts_common::common::v1::{Amounts, StepOutcome};
use contracts_spine::v1::{
    Argument, AuthorizeStepRequest, CompleteRunRequest, RecordStepRequest, StartRunRequest, argument::Value,
};
use runspine_e2e::{Agent, Mesh};
use tonic::{Code, Status};

use crate::support::{self, fields, refusal};

/// Fails unless the refusal is this one, over at least these fields, with a page that documents it.
fn expect(status: &Status, code: Code, reason: &str, violated: &[&str]) {
    assert_eq!(refusal(status), (code, reason.to_owned()), "{status:?}");
    let found = fields(status);
    for field in violated {
        assert!(found.iter().any(|f| f == field), "{field} is not told of: {found:?}");
    }
    let pages = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/errors");
    let documented =
        std::fs::read_dir(pages).unwrap().flatten().any(|d| d.path().join(format!("{reason}.md")).is_file());
    assert!(documented, "{reason} has no page under docs/errors");
}

/// How many records the trace of a run holds, by its next receipt: nothing that was refused may be among them.
async fn head(agent: &Agent) -> u64 {
    let evidence = contracts_spine::v1::GetRunProofRequest { run_id: agent.run_id.clone(), attempt: 0 };
    let proof = agent.client.runs().get_run_proof(evidence).await.expect("a proof").into_inner();
    proof.traces.first().expect("a trace").record_count
}

#[tokio::test]
async fn a_start_is_told_of_all_its_faults_and_makes_no_run() {
    let mesh = Mesh::all_in_one().await;
    let owner = mesh.owner();
    let bad = StartRunRequest {
        request_id: "one".to_owned(),
        run_id: "NOT-A-UUID".to_owned(),
        project_id: String::new(),
        source: 99,
        priority: Some(10),
        goal: String::new(),
        requested: Some(Amounts { cost_microusd: -1, ..Amounts::default() }),
        lease_ttl_ms: 1,
        synthetic_scenario_id: "x".to_owned(),
        ..Agent::request()
    };
    let status = owner.runs().start_run(bad).await.unwrap_err();
    let all = [
        "request_id",
        "run_id",
        "project_id",
        "source",
        "priority",
        "goal",
        "requested.cost_microusd",
        "lease_ttl_ms",
        "synthetic_scenario_id",
    ];
    expect(&status, Code::InvalidArgument, "FIELD_INVALID", &all);
    let list = contracts_activity::v1::ListRunsRequest { page_size: 10, ..Default::default() };
    assert!(owner.views().list_runs(list).await.unwrap().into_inner().runs.is_empty(), "nothing was made");
}

#[tokio::test]
async fn bad_steps_are_refused_and_leave_no_record() {
    let mesh = Mesh::all_in_one().await;
    let agent = Agent::start(&mesh.owner()).await;
    let before = head(&agent).await;
    let bad = AuthorizeStepRequest {
        kind: 77,
        name: String::new(),
        arguments_digest: vec![1, 2, 3].into(),
        estimate: Some(Amounts { cost_microusd: i64::MIN, tokens_input: -1, ..Amounts::default() }),
        ..agent.ask(0, "search")
    };
    let status = agent.authorize(bad).await.unwrap_err();
    let violated = ["kind", "name", "arguments_digest", "estimate.cost_microusd", "estimate.tokens_input"];
    expect(&status, Code::InvalidArgument, "FIELD_INVALID", &violated);

    let malformed = AuthorizeStepRequest { run_id: "run-1".to_owned(), ..agent.ask(0, "search") };
    expect(
        &agent.authorize(malformed).await.unwrap_err(),
        Code::InvalidArgument,
        "FIELD_INVALID",
        &["run_id"],
    );
    let unknown = AuthorizeStepRequest { run_id: runspine_types::new_id(), ..agent.ask(0, "search") };
    expect(&agent.authorize(unknown).await.unwrap_err(), Code::NotFound, "RUN_NOT_FOUND", &[]);
    let stale = AuthorizeStepRequest { fence: agent.fence + 1, ..agent.ask(0, "search") };
    expect(&agent.authorize(stale).await.unwrap_err(), Code::Aborted, "STALE_FENCE", &[]);
    let early = AuthorizeStepRequest { ask: 1, ..agent.ask(0, "search") };
    expect(&agent.authorize(early).await.unwrap_err(), Code::InvalidArgument, "ASK_INVALID", &["ask"]);

    let text = Argument { key: "body".to_owned(), value: Some(Value::Text("x".repeat(1_025))) };
    let large = AuthorizeStepRequest { arguments: vec![text; 65], ..agent.ask(0, "search") };
    let status = agent.authorize(large).await.unwrap_err();
    expect(&status, Code::InvalidArgument, "FIELD_INVALID", &["arguments", "arguments[0]", "arguments[64]"]);
    let huge = AuthorizeStepRequest { intent: "x".repeat(5 << 20), ..agent.ask(0, "search") };
    expect(&agent.authorize(huge).await.unwrap_err(), Code::ResourceExhausted, "MESSAGE_TOO_LARGE", &[]);
    assert_eq!(head(&agent).await, before, "nothing that was refused is on the trace");
}

#[tokio::test]
async fn bad_reports_are_refused_and_leave_no_record() {
    let mesh = Mesh::setup(runspine_e2e::Shape::AllInOne).profile("STRICT").start().await;
    let owner = mesh.owner();
    support::without_proposals(&owner).await;
    support::rules(&owner).await;
    let agent = Agent::start(&owner).await;
    let allowed = agent.authorize(agent.ask(0, "search")).await.expect("a decision");
    assert_eq!(support::effective(allowed.decision.as_ref()), contracts_common::common::v1::Verdict::Allow);
    let gap = agent.authorize(agent.ask(5, "search")).await.unwrap_err();
    expect(&gap, Code::FailedPrecondition, "STEP_GAP", &[]);
    let before = head(&agent).await;
    let bad = RecordStepRequest {
        outcome: 42,
        input_digest: vec![0; 31].into(),
        tokens_input: -5,
        cost_microusd: Some(-1),
        outcome_code: "lower case".to_owned(),
        ..agent.report(&allowed)
    };
    let status = agent.record(bad).await.unwrap_err();
    let violated = ["outcome", "input_digest", "tokens_input", "cost_microusd", "outcome_code"];
    expect(&status, Code::InvalidArgument, "FIELD_INVALID", &violated);
    let elsewhere = RecordStepRequest { decision_id: runspine_types::new_id(), ..agent.report(&allowed) };
    let status = agent.record(elsewhere).await.unwrap_err();
    expect(&status, Code::FailedPrecondition, "STEP_NOT_AUTHORIZED", &[]);
    assert_eq!(head(&agent).await, before);

    agent.record(agent.report(&allowed)).await.expect("the step itself");
    let other = agent.authorize(agent.ask(0, "refund")).await.unwrap_err();
    expect(&other, Code::AlreadyExists, "IDEMPOTENCY_MISMATCH", &[]);
    let nameless = CompleteRunRequest { error_code: String::new(), ..agent.end(StepOutcome::Failure) };
    let status = agent.client.runs().complete_run(nameless).await.unwrap_err();
    expect(&status, Code::InvalidArgument, "FIELD_INVALID", &["error_code"]);
    agent.complete(StepOutcome::Success).await.expect("the end");
    let late = agent.authorize(agent.ask(1, "search")).await.unwrap_err();
    expect(&late, Code::FailedPrecondition, "RUN_ENDED", &[]);
}
