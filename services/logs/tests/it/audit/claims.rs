//! Claims: one worker a contract, under a fence that only grows.

use std::collections::{BTreeMap, BTreeSet};

use contracts_logs::v1::{self as pb, DriveResult, ReconcilePass};
use runspine_db::{Db, args};
use runspine_rpc::details;
use runspine_testkit::{TestStore, on_both_engines};

use super::harness::*;

fn wanted(number: u64, limit: u32) -> pb::ClaimOverdueRequest {
    pb::ClaimOverdueRequest {
        worker_id: format!("worker-{number}"),
        limit,
        lease_ms: 30_000,
        request_id: call(number),
    }
}

fn given_back(claim: &pb::ContractClaim, result: DriveResult, why: &str) -> pb::ReleaseClaimRequest {
    pb::ReleaseClaimRequest {
        key: claim.contract.as_ref().unwrap().key.clone(),
        fence: claim.fence,
        drive_result: result.into(),
        error_reason: why.into(),
    }
}

/// Copies the contract of run 1 until there are `count` overdue ones: only their working rows matter to a claim.
async fn many(db: &Db, count: i64) {
    db.write("many", move |tx| {
        Box::pin(async move {
            let sql = "INSERT INTO contract_index (tenant_id, saga, subject_id, attempt, state, declared_at, verdict, \
                       last_seq, last_link, next_deadline) \
                       WITH RECURSIVE n (i) AS (SELECT CAST(1 AS BIGINT) UNION ALL SELECT i + 1 FROM n WHERE i < $1) \
                       SELECT tenant_id, saga, 'copy-' || i, attempt, state, declared_at, verdict, last_seq, last_link, \
                       next_deadline + i FROM contract_index, n";
            tx.execute(sql, args![count]).await?;
            Ok(())
        })
    })
    .await
    .unwrap();
}

on_both_engines! {
    /// Eight workers of three replicas claim 2,001 overdue contracts: each is given to one of them, oldest first.
    async fn each_contract_is_claimed_by_one(store: TestStore) {
        let house = House::over(store).await;
        house.declare(of_a_run(&key(1))).await.unwrap();
        many(&house.db().await, 2_000).await;
        house.advance(60_000);
        let (one, two) = (house.replica().await, house.replica().await);
        let clients = [house.contracts.clone(), one, two];
        let workers = (0..8_u64).map(|worker| {
            let mut client = clients[usize::try_from(worker).unwrap() % 3].clone();
            let house = &house;
            async move {
                let mut mine = Vec::new();
                for round in 0.. {
                    let message = wanted(worker * 1_000 + round, 50);
                    let request = house.ask_as(Who::Platform, "AuditContractService/ClaimOverdue", message);
                    let claims = client.claim_overdue(request).await.unwrap().into_inner().claims;
                    if claims.is_empty() {
                        return mine;
                    }
                    let due: Vec<_> = claims.iter().map(due_of).collect();
                    assert!(due.is_sorted(), "oldest deadline first");
                    mine.extend(claims.into_iter().map(|c| (c.contract.unwrap().key.unwrap().subject_id, c.fence)));
                }
                mine
            }
        });
        let claimed: Vec<_> = futures::future::join_all(workers).await.into_iter().flatten().collect();
        let distinct: BTreeSet<_> = claimed.iter().map(|(subject, _)| subject).collect();
        assert_eq!((claimed.len(), distinct.len()), (2_001, 2_001));
        assert!(claimed.iter().all(|(_, fence)| *fence == 1));
    }

    /// Who lost the claim gives no more orders, but its facts are facts.
    async fn a_lost_claim_is_fenced_off(store: TestStore) {
        let house = House::over(store).await;
        let key = key(1);
        house.declare(of_a_run(&key)).await.unwrap();
        house.advance(5_000);
        let first = house.claim(Who::Tenant(1), wanted(1, 50)).await.unwrap();
        assert_eq!(first.len(), 1);
        assert_eq!(first[0].overdue[0].action, "start_trace");
        let again = house.claim(Who::Tenant(1), wanted(1, 50)).await.unwrap();
        assert_eq!(first, again, "the same call gives the same claims");
        assert_eq!(house.claim(Who::Tenant(1), wanted(2, 50)).await.unwrap().len(), 0);
        assert_eq!(house.claim(Who::Tenant(2), wanted(2, 50)).await.unwrap().len(), 0);
        house.advance(30_000);
        let second = house.claim(Who::Platform, wanted(3, 50)).await.unwrap();
        assert_eq!(second[0].fence, 2);
        let refused = house.intend(completion(&key, b"late", 1)).await.unwrap_err();
        assert_eq!((details(&refused).reason.as_str(), details(&refused).metadata["fence"].as_str()), ("STALE_FENCE", "2"));
        let late = given_back(&first[0], DriveResult::Driven, "");
        assert_eq!(reason(house.release(late).await), "STALE_FENCE");
        house.acknowledge(ack(&key, "logs", "start_trace", "t1")).await.unwrap();
        assert!(!house.intend(completion(&key, b"mine", 2)).await.unwrap().existing);
    }

    /// A contract that was left half done comes up 2 s after its last entry, before what it owes is late.
    async fn a_half_done_contract_comes_up_soon(store: TestStore) {
        let house = House::over(store).await;
        let key = key(1);
        house.declare(of_a_run(&key)).await.unwrap();
        house.acknowledge(ack(&key, "logs", "start_trace", "t1")).await.unwrap();
        house.advance(60_000);
        assert_eq!(house.claim(Who::Platform, wanted(1, 50)).await.unwrap().len(), 0);
        house.intend(completion(&key, b"done", 0)).await.unwrap();
        for (domain, action) in
            [("incidents", "create_incident"), ("policies", "evaluate_policy"), ("controls", "settle_budget")]
        {
            house.acknowledge(ack(&key, domain, action, "r")).await.unwrap();
        }
        assert!(house.reconcile(&key, ReconcilePass::PreFinalize).await.unwrap().clean);
        house.advance(1_999);
        assert_eq!(house.claim(Who::Platform, wanted(2, 50)).await.unwrap().len(), 0);
        house.advance(1);
        let claims = house.claim(Who::Platform, wanted(3, 50)).await.unwrap();
        assert_eq!(claims.len(), 1);
        assert!(claims[0].contract.as_ref().unwrap().finalizing_at.is_some());
        let back = house.release(given_back(&claims[0], DriveResult::Driven, "")).await.unwrap();
        assert!(back.next_attempt_at.is_some(), "overdue still: not again at once");
        assert_eq!(house.claim(Who::Platform, wanted(4, 50)).await.unwrap().len(), 0);
        house.advance(5_000);
        assert_eq!(house.claim(Who::Platform, wanted(5, 50)).await.unwrap().len(), 1);
    }

    /// The pauses grow, the twentieth failure parks, and only a person lets it go on.
    async fn failures_park_in_the_end(store: TestStore) {
        let house = House::over(store).await;
        let key = key(1);
        house.declare(of_a_run(&key)).await.unwrap();
        house.advance(5_000);
        let mut pauses = BTreeMap::new();
        for round in 1..=20_u64 {
            let claims = house.claim(Who::Platform, wanted(round, 50)).await.unwrap();
            assert_eq!((claims.len(), claims.first().map(|c| c.fence)), (1, Some(round)));
            let request = given_back(&claims[0], DriveResult::Retry, "NODE_DOWN");
            let back = house.release(request.clone()).await.unwrap();
            assert_eq!(back, house.release(request).await.unwrap(), "the same call gives the same answer");
            if let Some(at) = back.next_attempt_at {
                let pause = runspine_rpc::micros(&at).millis_since(house.now());
                pauses.insert(round, pause);
                house.advance(pause.unsigned_abs() + 1);
            }
            assert_eq!(back.parked, round == 20);
        }
        for (round, pause) in pauses {
            let base = (1_000_i64 << round.min(20)).min(300_000);
            assert!((base * 8 / 10..=base * 12 / 10).contains(&pause), "round {round}: {pause} ms");
        }
        house.advance(3_600_000);
        assert_eq!(house.claim(Who::Platform, wanted(99, 50)).await.unwrap().len(), 0);
        let backlog = house.backlog(Who::Platform).await;
        assert_eq!((backlog.overdue, backlog.oldest_overdue_at, backlog.parked), (0, None, 1));
        let names: Vec<_> = house.pull().await.into_iter().map(|e| e.r#type).collect();
        assert_eq!(names, ["logs.ContractParked"]);
        let filter = pb::ContractFilter { parked: Some(true), ..Default::default() };
        let request = pb::ListAuditContractsRequest { filter: Some(filter), ..Default::default() };
        let parked = house.list(Who::Tenant(1), request).await.unwrap().contracts;
        assert_eq!((parked.len(), parked[0].parked_reason.as_str()), (1, "NODE_DOWN"));
        let request = pb::UnparkContractRequest { key: Some(key.clone()), reason: "fixed".into(), request_id: call(500) };
        let unpark = || house.ask("AuditContractService/UnparkContract", request.clone());
        let first = house.contracts.clone().unpark_contract(unpark()).await.unwrap().into_inner();
        let again = house.contracts.clone().unpark_contract(unpark()).await.unwrap().into_inner();
        assert_eq!(first, again);
        let free = first.contract.unwrap();
        assert!(!free.parked);
        let backlog = |overdue, oldest_overdue_at| pb::GetContractBacklogResponse { overdue, oldest_overdue_at, parked: 0 };
        assert_eq!(house.backlog(Who::Platform).await, backlog(1, free.next_deadline));
        assert_eq!(house.backlog(Who::Tenant(1)).await, backlog(1, free.next_deadline));
        assert_eq!(house.backlog(Who::Tenant(2)).await, backlog(0, None), "what others owe is not told");
        assert_eq!(house.claim(Who::Platform, wanted(100, 50)).await.unwrap().len(), 1);
        assert_eq!(house.pull().await.len(), 2);
    }
}

fn due_of(claim: &pb::ContractClaim) -> (i64, i32) {
    let at = claim.contract.as_ref().unwrap().next_deadline.unwrap();
    (at.seconds, at.nanos)
}
