//! What a run is marked with is known to the rules: that a decider could not decide, and the labels of who spawned it.

use contracts_common::common::v1::{StepKind, Verdict};
use contracts_spine::v1 as pb;

use crate::sagas::{house::House, tap::Plan};

fn call(run_id: &str, fence: u64, step_index: u32, tool: &str) -> pb::AuthorizeStepRequest {
    pb::AuthorizeStepRequest {
        run_id: run_id.to_owned(),
        attempt: 1,
        fence,
        step_index: Some(step_index),
        kind: StepKind::ToolCall.into(),
        name: tool.to_owned(),
        tool: tool.to_owned(),
        arguments_digest: vec![3; 32].into(),
        ..Default::default()
    }
}

/// Steps that a busy machine may leave undecided before one is decided.
const TRIES: u32 = 4;

impl House {
    /// What was decided about a step from this index on. One that a busy decider had no time for is asked anew as another.
    async fn called(&self, run: &(String, u64), first: u32, tool: &str) -> pb::Decision {
        let mut decision = pb::Decision::default();
        for step_index in first..first + TRIES {
            let ask = call(&run.0, run.1, step_index, tool);
            let answer: pb::AuthorizeStepResponse = self.ask("spine.v1.RunService/AuthorizeStep", ask).await;
            decision = answer.decision.unwrap();
            if !decision.degraded {
                break;
            }
        }
        decision
    }

    async fn spawned_by(&self, parent: &str) -> (String, u64) {
        let start = pb::StartRunRequest { parent_run_id: parent.to_owned(), ..self.request(1) };
        let started: pb::StartRunResponse = self.ask("spine.v1.RunService/StartRun", start).await;
        (started.run.unwrap().run_id, started.lease.unwrap().fence)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rules_know_that_a_run_is_degraded() {
    let house = House::open().await;
    let doubt =
        "forbid(principal, action in Runspine::Action::\"step\", resource) when { context.run.degraded };";
    house.rule("doubt", doubt).await;
    let run = house.run(1).await;
    let kernel = house.kernel();
    house.tap.plan(Plan::Down("policies"));
    let silent = kernel.authorize_step(&house.hurried(), call(&run.0, run.1, 0, "search")).await.unwrap();
    let silent = silent.decision.unwrap();
    assert_eq!((silent.verdict(), silent.degraded), (Verdict::Allow, true));
    house.tap.plan(Plan::Calm);
    let mut step = 0;
    let next = loop {
        step += 1;
        let asked = call(&run.0, run.1, step, "search");
        let next = kernel.authorize_step(&house.patient(), asked).await.unwrap().decision.unwrap();
        if !next.degraded || step == TRIES {
            break next;
        }
    };
    assert_eq!((next.verdict(), next.reasons[0].code.as_str()), (Verdict::Deny, "TEST_RULE"));
    let read_again = house.called(&run, 20, "search").await;
    assert_eq!(read_again.verdict(), Verdict::Deny, "another replica reads the trace");
    // Another run is not marked, unless a busy machine kept a decider silent when it started.
    let other = house.run(1).await;
    let marked = house.get(&other.0).await.run.unwrap().degraded;
    let first = house.ask::<_, pb::AuthorizeStepResponse>(
        "spine.v1.RunService/AuthorizeStep",
        call(&other.0, other.1, 0, "search"),
    );
    let first = first.await.decision.unwrap();
    assert!(first.degraded || (first.verdict() == Verdict::Deny) == marked, "{first:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_spawned_run_carries_the_labels_of_its_parent() {
    let house = House::open().await;
    let on = |tool: &str| {
        format!(
            "forbid(principal, action == Runspine::Action::\"tool_call\", resource == Runspine::Tool::\"{tool}\")"
        )
    };
    let reads = format!("@outcome(\"warn\") @obligations(\"taint(pii)\") {};", on("read"));
    house.rule("reads", &reads).await;
    house.rule("sends", &format!("{} when {{ context.run.taints.contains(\"pii\") }};", on("send"))).await;
    let parent = house.run(1).await;
    let before = house.spawned_by(&parent.0).await;
    assert_eq!(house.called(&parent, 0, "read").await.verdict(), Verdict::Allow);
    let after = house.spawned_by(&parent.0).await;
    assert_eq!(house.called(&before, 0, "send").await.verdict(), Verdict::Allow);
    assert_eq!(house.called(&after, 0, "send").await.verdict(), Verdict::Deny);
    let grandchild = house.spawned_by(&after.0).await;
    assert_eq!(house.called(&grandchild, 0, "send").await.verdict(), Verdict::Deny);
}
