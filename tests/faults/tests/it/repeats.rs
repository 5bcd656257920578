//! The same completion, asked for by many at once.

use contracts_common::common::v1::{RunPhase, RunStatus, StepOutcome};
use contracts_spine::v1::CompleteRunResponse;
use futures::future::join_all;
use runspine_e2e::{Agent, Shape};
use runspine_faults::{contract, install, quiet, setup};
use std::time::Duration;
use tonic::{Code, Status};

const CALLERS: usize = 8;
const RUNS: usize = 20;

fn told(answers: Vec<Result<CompleteRunResponse, Status>>) -> Vec<CompleteRunResponse> {
    answers.into_iter().map(|a| a.expect("every caller is answered")).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn eight_callers_of_one_completion_are_told_the_same_and_nothing_is_done_twice() {
    let mesh = setup(Shape::Separate).start().await;
    let owner = mesh.owner();
    install(&owner).await;
    for n in 0..RUNS {
        let outcome = if n % 2 == 0 { StepOutcome::Success } else { StepOutcome::Failure };
        let agent = Agent::start(&owner).await;
        agent.take(0, "find_order").await.expect("a step");
        let answers = told(join_all((0..CALLERS).map(|_| agent.complete(outcome))).await);
        for answer in &answers {
            let saga = answer.saga.as_ref().expect("a saga");
            assert!(saga.is_complete && saga.all_domains_succeeded, "{saga:?}");
            assert_eq!(Some(saga), answers[0].saga.as_ref());
            let status = answer.run.as_ref().map(contracts_spine::v1::Run::status);
            let expected = if n % 2 == 0 { RunStatus::Succeeded } else { RunStatus::Failed };
            assert_eq!(status, Some(expected));
        }
        let again = agent.complete(outcome).await.expect("an answer").saga;
        assert_eq!(again, answers[0].saga, "the same question later");
        let contract = contract(&owner, &agent.run_id).await;
        let once = contract.acks.iter().filter(|a| !a.duplicate).count();
        assert_eq!(once, 6, "{:?}", contract.acks);
    }
    assert_eq!(usize::try_from(quiet(&mesh, Duration::from_secs(20)).await).ok(), Some(RUNS));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_ends_the_first_wins_and_all_are_told() {
    let mesh = setup(Shape::AllInOne).start().await;
    let owner = mesh.owner();
    install(&owner).await;
    for _ in 0..RUNS {
        let agent = Agent::start(&owner).await;
        let ends = (0..CALLERS)
            .map(|n| agent.complete(if n % 2 == 0 { StepOutcome::Success } else { StepOutcome::Failure }));
        let answers = join_all(ends).await;
        let view = agent.view().await.expect("the run").run.expect("the run");
        assert!(matches!(view.phase(), RunPhase::Completed | RunPhase::Failed), "{view:?}");
        for answer in answers {
            match answer {
                Ok(answer) => assert_eq!(answer.run.map(|r| r.status), Some(view.status)),
                Err(status) => {
                    assert_eq!(status.code(), Code::AlreadyExists, "{status:?}");
                    let details = runspine_rpc::details(&status);
                    assert_eq!(details.reason, "COMPLETION_EXISTS");
                }
            }
        }
    }
    quiet(&mesh, Duration::from_secs(20)).await;
}
