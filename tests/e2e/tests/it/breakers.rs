//! Circuit breakers over the whole mesh: what agents report opens them, an incident says so, and its end is theirs.

use std::time::Duration;

use contracts_common::common::v1::{OutcomeCategory, StepOutcome, Verdict};
use contracts_controls::v1::{
    BreakerKind, BreakerState, BreakerTarget, CloseBreakerRequest, ListBreakersRequest,
};
use contracts_incidents::v1::{IncidentStatus, ListIncidentsRequest};
use contracts_spine::v1::RecordStepRequest;
use runspine_e2e::{Agent, Client, Mesh};
use runspine_testkit::until_ok;
use runspine_types::new_id;

use crate::support::{self, effective, primary};

/// Waits until the one breaker of the tenant is in a state.
async fn until_breaker(owner: &Client, wanted: BreakerState) {
    until_ok(Duration::from_secs(60), || async {
        let list = owner.breakers().list_breakers(ListBreakersRequest::default()).await.expect("breakers");
        let found = list.into_inner().breakers;
        if found.len() == 1 && found[0].state() == wanted { Ok(()) } else { Err(found) }
    })
    .await;
}

/// Waits until the incident of the breaker is in a state.
async fn until_incident(owner: &Client, wanted: IncidentStatus) {
    until_ok(Duration::from_secs(60), || async {
        let list =
            owner.incidents().list_incidents(ListIncidentsRequest::default()).await.expect("incidents");
        let found = list.into_inner().incidents;
        let of_breaker = found.iter().find(|i| i.cause_code == "BREAKER_OPEN");
        if of_breaker.is_some_and(|i| i.status() == wanted) { Ok(()) } else { Err(found) }
    })
    .await;
}

#[tokio::test]
async fn a_tool_that_times_out_is_shut_off_until_somebody_lets_it_in_again() {
    let mesh = Mesh::all_in_one().await;
    let owner = mesh.owner();
    support::rules(&owner).await;
    let agent = Agent::start(&owner).await;
    for index in 0..5 {
        let answer = agent.authorize(agent.ask(index, "search")).await.expect("a decision");
        let failed = RecordStepRequest {
            outcome: StepOutcome::Failure.into(),
            outcome_category: OutcomeCategory::Timeout.into(),
            outcome_code: "TIMEOUT".to_owned(),
            ..agent.report(&answer)
        };
        agent.record(failed).await.expect("a record");
    }
    until_breaker(&owner, BreakerState::Open).await;
    until_incident(&owner, IncidentStatus::Open).await;
    let decision = agent.authorize(agent.ask(5, "search")).await.expect("a decision").decision;
    assert_eq!(effective(decision.as_ref()), Verdict::Deny);
    assert_eq!(primary(&decision.unwrap()), "BREAKER_OPEN");
    let other = agent.authorize(agent.ask(6, "fetch")).await.expect("a decision").decision;
    assert_eq!(effective(other.as_ref()), Verdict::Allow, "another tool is not its business");
    let close = CloseBreakerRequest {
        request_id: new_id(),
        kind: BreakerKind::Fault.into(),
        target_type: BreakerTarget::Tool.into(),
        target_id: "search".to_owned(),
        reason: "the tool was repaired".to_owned(),
    };
    owner.breakers().close_breaker(close).await.expect("it closes");
    until_incident(&owner, IncidentStatus::Resolved).await;
    let again = agent.authorize(agent.ask(7, "search")).await.expect("a decision").decision;
    assert_eq!(effective(again.as_ref()), Verdict::Allow);
}
