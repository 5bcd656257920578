//! Guardrails over the whole mesh: agents trip them, an incident says so, and who fails too often pauses.

use std::time::Duration;

use contracts_common::common::v1::{OutcomeCategory, StepOutcome, Verdict};
use contracts_controls::v1::{ListBreachesRequest, ListFreezesRequest, ListGuardrailsRequest};
use contracts_incidents::v1::ListIncidentsRequest;
use contracts_spine::v1::RecordStepRequest;
use runspine_e2e::{Agent, Client, Mesh, Shape};
use runspine_testkit::until_ok;

use crate::support::{self, effective, primary};

/// Waits until the breach of a limit has its incident.
async fn until_incident(owner: &Client, limit: &str) {
    until_ok(Duration::from_secs(60), || async {
        let page = owner.signals().list_breaches(ListBreachesRequest::default()).await.expect("breaches");
        let breaches = page.into_inner().breaches;
        let linked = breaches.iter().find(|b| b.limit_name == limit && !b.incident_id.is_empty()).cloned();
        let linked = linked.ok_or_else(|| format!("{breaches:?}"))?;
        let list =
            owner.incidents().list_incidents(ListIncidentsRequest::default()).await.expect("incidents");
        let found = list.into_inner().incidents;
        let mine =
            found.iter().any(|i| i.incident_id == linked.incident_id && i.cause_code == "LIMIT_BREACHED");
        if mine { Ok(()) } else { Err(format!("{found:?}")) }
    })
    .await;
}

#[tokio::test]
async fn an_agent_that_goes_round_in_circles_is_stopped_there() {
    let mesh = Mesh::setup(Shape::AllInOne).set("controls.guardrails.run_loop", 3).start().await;
    let owner = mesh.owner();
    support::rules(&owner).await;
    let agent = Agent::start(&owner).await;
    for index in 0..3 {
        agent.take(index, "search").await.expect("a record");
    }
    let decision = agent.authorize(agent.ask(3, "search")).await.expect("a decision").decision;
    assert_eq!(effective(decision.as_ref()), Verdict::Deny);
    assert_eq!(primary(&decision.unwrap()), "THRESHOLD_EXCEEDED");
    let other = agent.authorize(agent.ask(4, "fetch")).await.expect("a decision").decision;
    assert_eq!(effective(other.as_ref()), Verdict::Allow, "something else may be done");
    until_incident(&owner, "g.run.loop").await;
    let table =
        owner.guardrails().list_guardrails(ListGuardrailsRequest::default()).await.expect("guardrails");
    assert_eq!(table.into_inner().guardrails.len(), 9);
}

#[tokio::test]
async fn an_agent_that_only_fails_is_frozen() {
    let mesh = Mesh::setup(Shape::AllInOne).set("controls.guardrails.agent_failures", 3).start().await;
    let owner = mesh.owner();
    support::rules(&owner).await;
    let agent = Agent::start(&owner).await;
    for index in 0..3 {
        let answer = agent.authorize(agent.ask(index, "search")).await.expect("a decision");
        let failed = RecordStepRequest {
            outcome: StepOutcome::Failure.into(),
            outcome_category: OutcomeCategory::Execution.into(),
            outcome_code: "BROKEN".to_owned(),
            ..agent.report(&answer)
        };
        agent.record(failed).await.expect("a record");
    }
    until_ok(Duration::from_secs(60), || async {
        let list = owner.freezes().list_freezes(ListFreezesRequest::default()).await.expect("freezes");
        let found = list.into_inner().freezes;
        if found.len() == 1 && found[0].auto { Ok(()) } else { Err(found) }
    })
    .await;
    until_incident(&owner, "g.agent.failures").await;
    // The door's replica follows the epoch: at the latest the admission knows it.
    let decision = agent.authorize(agent.ask(3, "search")).await.expect("a decision").decision;
    assert_eq!(effective(decision.as_ref()), Verdict::Deny);
}
