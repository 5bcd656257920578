//! The proof that a freeze holds.

use std::time::Duration;

use contracts_controls::v1 as pb;
use futures::StreamExt as _;
use pb::{ContainmentEvidence as Evidence, ContainmentState as State, ContainmentStatus as Status};
use runspine_controls_domain::reasons;
use runspine_rpc::timestamp;
use runspine_testkit::{TestStore, on_both_engines, run, tenant, test_id};
use runspine_types::PLATFORM_TENANT;

use crate::{
    call,
    harness::{House, START, daily, inner, refused, settled, step},
};

async fn freeze(house: &House, number: u64, scope: pb::FreezeScope, scope_id: &str) -> pb::FreezeRecord {
    let message = pb::FreezeRequest {
        request_id: test_id(7, number),
        scope: scope as i32,
        scope_id: scope_id.into(),
        reason_code: 1,
        note: "something is wrong".into(),
        ..pb::FreezeRequest::default()
    };
    call!(house, freezes.freeze, "FreezeService/Freeze", message).unwrap().freeze.unwrap()
}

async fn answer(house: &House, freeze: &pb::FreezeRecord) -> pb::GetContainmentResponse {
    let message = pb::GetContainmentRequest { freeze_id: freeze.freeze_id.clone() };
    call!(house, freezes.get_containment, "FreezeService/GetContainment", message).unwrap()
}

async fn proof(house: &House, freeze: &pb::FreezeRecord) -> pb::ContainmentProof {
    answer(house, freeze).await.proof.unwrap()
}

async fn ack(house: &House, freeze: &pb::FreezeRecord, epoch: u64, runs: &[u64]) -> Status {
    let message = pb::AckContainmentRequest {
        freeze_id: freeze.freeze_id.clone(),
        replica: "spine-1".into(),
        confirmed_epoch: epoch,
        runs: runs.iter().map(|n| pb::RunAcknowledgement { run_id: run(*n), attempt: 1 }).collect(),
    };
    let answer = call!(house, freezes.ack_containment, "FreezeService/AckContainment", message);
    answer.unwrap().status()
}

async fn renew(house: &House, number: u64, expires_at: Option<i64>, freeze_epoch_seen: u64) {
    let message = pb::RenewRunLeaseRequest {
        run_id: run(number),
        attempt: 1,
        fence: 1,
        expires_at: expires_at.map(|ms| timestamp(house.in_ms(ms))),
        freeze_epoch_seen,
    };
    call!(house, admissions.renew_run_lease, "AdmissionService/RenewRunLease", message).unwrap();
}

on_both_engines! {
    /// A run whose agent is silent is UNKNOWN and the freeze UNCONFIRMED after 30 s; when its lease has run out it is
    /// LAPSED and the freeze CONTAINED. Each is told once.
    async fn a_silent_run_is_unknown_until_its_lease_ends(store: TestStore) {
        let house = House::over(store).await;
        house.admit(1).await.unwrap();
        renew(&house, 1, Some(60_000), 0).await;
        let frozen = freeze(&house, 2, pb::FreezeScope::Agent, "agent").await;
        let first = proof(&house, &frozen).await;
        assert_eq!((first.status(), first.unknown_runs, first.epoch), (Status::Containing, 1, frozen.epoch));
        assert_eq!((first.runs[0].state(), first.runs[0].run_id.as_str()), (State::Unknown, run(1).as_str()));
        let before = first.last_authorization.unwrap();
        assert_eq!((before.run_id, before.step_index, before.epoch), (run(1), None, 0));
        house.clock.advance(Duration::from_millis(29_999));
        house.app.judge_all(START).await.unwrap();
        assert_eq!(proof(&house, &frozen).await.status(), Status::Containing);
        house.clock.advance(Duration::from_millis(1));
        for _ in 0..2 {
            house.app.judge_all(START).await.unwrap();
        }
        assert_eq!(proof(&house, &frozen).await.status(), Status::Unconfirmed);
        house.clock.advance(Duration::from_secs(30));
        for _ in 0..2 {
            house.app.judge_all(START).await.unwrap();
        }
        let last = answer(&house, &frozen).await;
        assert_eq!(last.proof_digest.len(), 32);
        let last = last.proof.unwrap();
        assert_eq!((last.status(), last.lapsed_runs, last.unknown_runs), (Status::Contained, 1, 0));
        assert_eq!(last.time_to_containment_ms, 60_000);
        let kinds = house.kinds().await;
        let told = |name: &str| kinds.iter().filter(|k| *k == name).count();
        assert_eq!((told("ContainmentUnconfirmed"), told("ContainmentReached")), (1, 1));
    }

    /// Every way in which a run and a replica answer; a step in flight keeps the freeze open.
    async fn runs_and_replicas_answer(store: TestStore) {
        let house = House::over(store).await;
        house.create(1, daily("day", 1_000)).await;
        for number in 1..=4 {
            house.admit(number).await.unwrap();
        }
        house.step(step(1, 0, 10)).await.unwrap();
        let message = pb::WatchEpochRequest { replica: "spine-1".into(), from_epoch: 0 };
        let mut watch = call!(house, freezes.watch_epoch, "FreezeService/WatchEpoch", message).unwrap();
        watch.next().await.unwrap().unwrap();
        let frozen = freeze(&house, 2, pb::FreezeScope::Project, "project").await;
        let first = proof(&house, &frozen).await;
        assert_eq!((first.unknown_runs, first.in_flight_steps), (4, 1));
        assert_eq!(first.in_flight[0].run_id, run(1));
        assert_eq!((first.replicas.len(), first.replicas[0].state()), (1, State::Unknown));
        assert_eq!(ack(&house, &frozen, 0, &[]).await, Status::Containing, "an older epoch confirms nothing");
        assert_eq!(proof(&house, &frozen).await.replicas[0].state(), State::Unknown);
        ack(&house, &frozen, frozen.epoch, &[1, 9]).await;
        renew(&house, 2, Some(30_000), frozen.epoch).await;
        renew(&house, 3, None, 0).await;
        assert_eq!(house.settle_run(4, 1).await.unwrap().attempt, 1);
        let known = proof(&house, &frozen).await;
        let evidence: Vec<Evidence> = (1..=4)
            .map(|n| known.runs.iter().find(|r| r.run_id == run(n)).unwrap().evidence())
            .collect();
        let all = [Evidence::StreamConfirmed, Evidence::LeaseRenewedAtEpoch, Evidence::Paused, Evidence::Terminal];
        assert_eq!(evidence, all);
        assert_eq!((known.status(), known.replicas[0].state()), (Status::Containing, State::Acknowledged));
        house.settle(settled(1, 0, 5)).await.unwrap();
        assert_eq!(ack(&house, &frozen, frozen.epoch, &[]).await, Status::Contained);
        let kept = answer(&house, &frozen).await;
        assert_eq!(kept.proof.as_ref().unwrap().acknowledged_runs, 4);
        assert_eq!(answer(&house, &frozen).await, kept);
    }

    /// What is admitted after a freeze has ended is not held against it; another scope never is.
    async fn only_what_was_allowed_while_it_held_counts(store: TestStore) {
        let house = House::over(store).await;
        house.admit(1).await.unwrap();
        let other = pb::AdmitRunRequest {
            scope: Some(pb::ScopeTuple { project_id: "project".into(), agent_id: "other".into(), ..Default::default() }),
            ..house.start(2)
        };
        call!(house, admissions.admit_run, "AdmissionService/AdmitRun", other).unwrap();
        let frozen = freeze(&house, 2, pb::FreezeScope::Agent, "agent").await;
        house.step(step(1, 0, 1)).await.unwrap();
        assert!(house.step(step(2, 0, 1)).await.unwrap().hold.is_some());
        let proof_now = proof(&house, &frozen).await;
        assert_eq!((proof_now.authorizations_after, proof_now.runs.len()), (0, 1));
        let lift = pb::RequestUnfreezeRequest {
            request_id: test_id(7, 3), freeze_id: frozen.freeze_id.clone(), reason: "it is repaired".into(),
        };
        call!(house, freezes.request_unfreeze, "FreezeService/RequestUnfreeze", lift).unwrap();
        assert!(house.step(step(1, 1, 1)).await.unwrap().hold.is_some());
        assert_eq!(proof(&house, &frozen).await.authorizations_after, 0);
        // A row that says otherwise is found, whatever was kept.
        let lie = "UPDATE freezes SET lifted_epoch = 0, lifted_at = NULL";
        house.db.write("by_hand", move |tx| Box::pin(async move {
            Ok::<_, runspine_errors::Fault>(tx.execute(lie, runspine_db::args![]).await?)
        })).await.unwrap();
        let found = proof(&house, &frozen).await;
        assert_eq!(found.authorizations_after, 1);
        assert_ne!(found.status(), Status::Contained);
    }

    /// A tenant sees its own part of a freeze of the mesh, and nothing of another's freeze.
    async fn a_tenant_sees_its_own_part(store: TestStore) {
        let house = House::over(store).await;
        house.admit(1).await.unwrap();
        let message = pb::FreezeRequest {
            request_id: test_id(7, 1), scope: 1, reason_code: 1, note: "maintenance of the mesh".into(),
            ..pb::FreezeRequest::default()
        };
        let operator = house.ask_as(PLATFORM_TENANT, "op", "FreezeService/Freeze", message);
        let frozen = inner(house.freezes.clone().freeze(operator).await).unwrap().freeze.unwrap();
        assert_eq!(proof(&house, &frozen).await.runs.len(), 1);
        let message = pb::GetContainmentRequest { freeze_id: frozen.freeze_id.clone() };
        let stranger = house.ask_as(&tenant(2), "lee", "FreezeService/GetContainment", message.clone());
        assert!(inner(house.freezes.clone().get_containment(stranger).await).unwrap().proof.unwrap().runs.is_empty());
        let operator = house.ask_as(PLATFORM_TENANT, "op", "FreezeService/GetContainment", message);
        assert_eq!(inner(house.freezes.clone().get_containment(operator).await).unwrap().proof.unwrap().runs.len(), 1);
        let own = freeze(&house, 2, pb::FreezeScope::Run, &run(1)).await;
        let message = pb::GetContainmentRequest { freeze_id: own.freeze_id };
        let stranger = house.ask_as(&tenant(2), "lee", "FreezeService/GetContainment", message);
        refused(house.freezes.clone().get_containment(stranger).await, &reasons::FREEZE_NOT_FOUND);
    }
}
