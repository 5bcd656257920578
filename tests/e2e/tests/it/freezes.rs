//! The kill switch over the whole mesh: agents that say nothing are stopped too, and the proof says so.

use std::time::Duration;

use contracts_common::common::v1::{RunStatus, TerminationReason};
use contracts_controls::v1::{
    ContainmentProof, ContainmentStatus, FreezeEffect, FreezeReason, FreezeRecord, FreezeRequest,
    FreezeScope, GetContainmentRequest, RequestUnfreezeRequest,
};
use contracts_spine::v1::{CancelMode, CancelRunRequest, StartRunRequest};
use runspine_e2e::{Agent, Client, Mesh};
use runspine_testkit::until_ok;
use runspine_types::new_id;
use tonic::Code;

use crate::support::{self, refusal};

async fn freeze(owner: &Client, scope: FreezeScope, scope_id: &str, effect: FreezeEffect) -> FreezeRecord {
    let request = FreezeRequest {
        request_id: new_id(),
        scope: scope.into(),
        scope_id: scope_id.to_owned(),
        effect: effect.into(),
        reason_code: FreezeReason::Manual.into(),
        note: "the test freezes it".to_owned(),
        expires_at: None,
    };
    owner.freezes().freeze(request).await.expect("a freeze").into_inner().freeze.unwrap()
}

async fn lift(owner: &Client, freeze: &FreezeRecord) {
    let request = RequestUnfreezeRequest {
        request_id: new_id(),
        freeze_id: freeze.freeze_id.clone(),
        reason: "the test is done with it".to_owned(),
    };
    let lifted = owner.freezes().request_unfreeze(request).await.expect("a lift").into_inner();
    assert!(!lifted.second_person_required);
}

/// Waits until the freeze is contained, and gives the proof.
async fn contained(owner: &Client, freeze: &FreezeRecord) -> ContainmentProof {
    until_ok(Duration::from_secs(60), || async {
        let request = GetContainmentRequest { freeze_id: freeze.freeze_id.clone() };
        let proof =
            owner.freezes().get_containment(request).await.expect("a proof").into_inner().proof.unwrap();
        if proof.status() == ContainmentStatus::Contained { Ok(proof) } else { Err(proof) }
    })
    .await
}

/// An agent that never speaks again, with a lease that outlives the test.
async fn silent(owner: &Client) -> Agent {
    Agent::start_with(owner, StartRunRequest { lease_ttl_ms: 300_000, ..Agent::request() }).await
}

#[tokio::test]
async fn a_frozen_run_ends_as_frozen_though_its_agent_is_silent() {
    let mesh = Mesh::all_in_one().await;
    let owner = mesh.owner();
    let (idle, busy) = (silent(&owner).await, silent(&owner).await);
    busy.authorize(busy.ask(0, "search")).await.expect("a decision");
    let frozen = freeze(&owner, FreezeScope::Tenant, "", FreezeEffect::Terminate).await;
    for agent in [&idle, &busy] {
        let run = support::ended(agent).await.run.unwrap();
        assert_eq!(
            (run.status(), run.termination_reason()),
            (RunStatus::Cancelled, TerminationReason::Frozen)
        );
        assert_eq!(run.error_code, "FROZEN");
    }
    let proof = contained(&owner, &frozen).await;
    assert_eq!((proof.authorizations_after, proof.unknown_runs, proof.in_flight_steps), (0, 0, 0));
    assert_eq!((proof.runs.len(), proof.replicas.len()), (2, 1), "{proof:?}");
    let refused =
        owner.limits().create_limit(contracts_controls::v1::CreateLimitRequest::default()).await.unwrap_err();
    assert_eq!(refusal(&refused), (Code::FailedPrecondition, "TENANT_NOT_ACTIVE".to_owned()));
}

#[tokio::test]
async fn a_freeze_pauses_a_silent_run_and_its_lift_lets_it_go_on() {
    let mesh = Mesh::all_in_one().await;
    let owner = mesh.owner();
    let agent = silent(&owner).await;
    let frozen = freeze(&owner, FreezeScope::Run, &agent.run_id, FreezeEffect::Pause).await;
    let view = support::until(&agent, |run| run.status() == RunStatus::Paused).await;
    assert!(view.pauses.iter().all(|p| p.reason == "FREEZE") && view.pauses.len() == 1, "{:?}", view.pauses);
    contained(&owner, &frozen).await;
    lift(&owner, &frozen).await;
    support::until(&agent, |run| run.status() == RunStatus::Running).await;
}

#[tokio::test]
async fn a_cancelled_run_with_nothing_in_flight_does_not_drain() {
    let mesh = Mesh::all_in_one().await;
    let owner = mesh.owner();
    let agent = silent(&owner).await;
    let request = CancelRunRequest {
        request_id: new_id(),
        run_id: agent.run_id.clone(),
        note: "nobody waits for it".to_owned(),
        mode: CancelMode::Drain.into(),
        drain_ms: Some(60_000),
    };
    let begun = std::time::Instant::now();
    owner.runs().cancel_run(request).await.expect("the cancel");
    let run = support::ended(&agent).await.run.unwrap();
    assert!(begun.elapsed() < Duration::from_secs(50), "{:?}", begun.elapsed());
    assert_eq!((run.status(), run.error_code.as_str()), (RunStatus::Cancelled, "CANCELLED"));
}
