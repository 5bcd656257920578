//! One governed run, the same over the all-in-one and over six processes.

use contracts_common::common::v1::{RunPhase, StepOutcome};
use runspine_e2e::{Agent, Mesh, Shape};

#[tokio::test]
async fn all_in_one() {
    scenario(Mesh::start(Shape::AllInOne).await).await;
}

#[tokio::test]
async fn six_processes() {
    scenario(Mesh::start(Shape::Separate).await).await;
}

async fn scenario(mesh: Mesh) {
    let owner = mesh.owner();
    let agent = Agent::start(&owner).await;
    agent.take(0, "search").await.expect("a step");
    let done = agent.complete(StepOutcome::Success).await.expect("the end");
    assert_eq!(done.run.expect("a run").phase(), RunPhase::Completed);
}
