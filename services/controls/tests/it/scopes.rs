//! Execution scopes: bounded permissions for one recovery action.

use std::time::Duration;

use contracts_controls::v1 as pb;
use futures::future::join_all;
use runspine_controls_domain::reasons;
use runspine_errors::mesh;
use runspine_rpc::timestamp;
use runspine_testkit::{TestStore, on_both_engines, tenant, test_id};
use tonic::{Code, Status};

use crate::{
    call,
    harness::{House, inner, refused},
};

const MEDIUM: i32 = pb::ActionRisk::Medium as i32;
const HIGH: i32 = pb::ActionRisk::High as i32;

fn wanted(number: u64) -> pb::CreateScopeRequest {
    pb::CreateScopeRequest {
        request_id: test_id(7, number),
        incident_id: test_id(3, 1),
        action: "restart".into(),
        intent: "bring the worker back".into(),
        risk: MEDIUM,
        max_cost_microusd: 100,
        ..pb::CreateScopeRequest::default()
    }
}

fn using(scope: &pb::ExecutionScope, number: u64, estimate: i64) -> pb::ConsumeScopeRequest {
    pb::ConsumeScopeRequest {
        scope_id: scope.scope_id.clone(),
        attempt_id: test_id(8, number),
        incident_id: test_id(3, 1),
        action: "restart".into(),
        risk: MEDIUM,
        estimate_microusd: estimate,
    }
}

impl House {
    async fn scope(&self, message: pb::CreateScopeRequest) -> pb::ExecutionScope {
        call!(self, scopes.create_scope, "ScopeService/CreateScope", message).unwrap().scope.unwrap()
    }

    async fn consume(&self, message: pb::ConsumeScopeRequest) -> Result<pb::ConsumeScopeResponse, Status> {
        call!(self, scopes.consume_scope, "ScopeService/ConsumeScope", message)
    }

    async fn settle_use(&self, number: u64, actual: i64) -> Result<pb::ExecutionScope, Status> {
        let message = pb::SettleScopeUseRequest {
            attempt_id: test_id(8, number),
            actual_microusd: actual,
            outcome: pb::ScopeUseOutcome::Success as i32,
        };
        let settled = call!(self, scopes.settle_scope_use, "ScopeService/SettleScopeUse", message)?;
        Ok(settled.scope.unwrap())
    }

    async fn shown_scope(&self, scope: &pb::ExecutionScope) -> pb::GetScopeResponse {
        let message = pb::GetScopeRequest { scope_id: scope.scope_id.clone() };
        call!(self, scopes.get_scope, "ScopeService/GetScope", message).unwrap()
    }
}

/// Leaves a row in every table of scopes.
pub async fn settled_once(house: &House) {
    let scope = house.scope(wanted(91)).await;
    house.consume(using(&scope, 91, 10)).await.unwrap();
    house.settle_use(91, 10).await.unwrap();
}

on_both_engines! {
    /// Of a hundred that use a scope of one attempt at once one may.
    async fn one_of_a_hundred(store: TestStore) {
        let house = House::over(store).await;
        let scope = house.scope(wanted(1)).await;
        let uses = (0..100).map(|number| {
            let (house, message) = (&house, using(&scope, number, 60));
            async move {
                loop {
                    match house.consume(message.clone()).await {
                        Err(late) if matches!(late.code(), Code::DeadlineExceeded | Code::Unavailable) => {}
                        answer => return answer,
                    }
                }
            }
        });
        let answers = join_all(uses).await;
        let begun: Vec<u64> = (0..100).filter(|n| answers[usize::try_from(*n).unwrap()].is_ok()).collect();
        assert_eq!(begun.len(), 1);
        for refusal in answers.into_iter().filter_map(Result::err) {
            refused::<()>(Err(refusal), &reasons::SCOPE_EXHAUSTED);
        }
        let after = house.settle_use(begun[0], 90).await.unwrap();
        assert_eq!((after.settled_microusd, after.held_microusd, after.attempts), (90, 0, 1));
    }

    /// The sum of what was settled never passes the most by more than what the last use cost beyond its estimate.
    async fn the_cost_is_bounded(store: TestStore) {
        let house = House::over(store).await;
        let scope = house.scope(pb::CreateScopeRequest { max_attempts: 10, ..wanted(1) }).await;
        let mut settled = 0;
        for (number, (estimate, actual)) in [(40, 30), (40, 45), (20, 25), (25, 90), (1, 1)].into_iter().enumerate() {
            let number = number as u64;
            match house.consume(using(&scope, number, estimate)).await {
                Ok(_) => {
                    assert!(settled + estimate <= 100);
                    let other = house.consume(using(&scope, 50 + number, 0)).await;
                    refused(other, &reasons::SCOPE_COST_EXCEEDED);
                    settled += actual;
                    assert_eq!(house.settle_use(number, actual).await.unwrap().settled_microusd, settled);
                }
                Err(status) => {
                    let exhausted = settled >= 100;
                    let reason = if exhausted { &reasons::SCOPE_EXHAUSTED } else { &reasons::SCOPE_COST_EXCEEDED };
                    refused::<()>(Err(status), reason);
                }
            }
        }
        assert_eq!(settled, 100, "30, 45 and 25; nothing fits any more");
    }

    /// A use that nobody settles has spent its attempt, and gives its cost back; settled late it is booked in full.
    async fn a_killed_use(store: TestStore) {
        let house = House::over(store).await;
        let scope = house.scope(pb::CreateScopeRequest { max_attempts: 3, ..wanted(1) }).await;
        let first = house.consume(using(&scope, 1, 100)).await.unwrap();
        assert_eq!(house.consume(using(&scope, 1, 100)).await.unwrap(), first, "a repeat consumes nothing");
        refused(house.consume(using(&scope, 1, 99)).await, &mesh::IDEMPOTENCY_MISMATCH);
        assert_eq!(house.shown_scope(&scope).await.scope.unwrap().held_microusd, 100);
        house.clock.advance(Duration::from_secs(60));
        let shown = house.shown_scope(&scope).await;
        let after = shown.scope.unwrap();
        assert_eq!((after.attempts, after.held_microusd, after.state()), (1, 0, pb::ExecutionScopeState::Active));
        assert_eq!(shown.uses[0].actual_microusd, None);
        house.consume(using(&scope, 2, 100)).await.unwrap();
        let late = house.settle_use(1, 7).await.unwrap();
        assert_eq!((late.settled_microusd, late.held_microusd), (7, 100), "the hold of the second use stays");
        assert_eq!(house.settle_use(1, 7).await.unwrap(), late, "settled once");
        let uses = house.shown_scope(&scope).await.uses;
        assert_eq!(uses.iter().map(|u| (u.number, u.actual_microusd)).collect::<Vec<_>>(), [(1, Some(7)), (2, None)]);
        refused(house.settle_use(99, 1).await, &reasons::SCOPE_USE_NOT_FOUND);
    }

    /// Each refusal has its reason, and an end is final.
    async fn what_a_scope_refuses(store: TestStore) {
        let house = House::over(store).await;
        let scope = house.scope(pb::CreateScopeRequest { max_attempts: 9, ..wanted(1) }).await;
        assert_eq!(scope.expires_at, Some(timestamp(house.in_ms(300_000))));
        let none = pb::ConsumeScopeRequest { scope_id: String::new(), ..using(&scope, 1, 1) };
        refused(house.consume(none.clone()).await, &reasons::SCOPE_REQUIRED);
        let low = pb::ConsumeScopeRequest { risk: pb::ActionRisk::Low as i32, ..none };
        assert_eq!(house.consume(low).await.unwrap().r#use, None, "what can do no harm needs none");
        let unknown = pb::ConsumeScopeRequest { scope_id: test_id(2, 2), ..using(&scope, 1, 1) };
        refused(house.consume(unknown).await, &reasons::SCOPE_NOT_FOUND);
        let other = pb::ConsumeScopeRequest { incident_id: test_id(3, 2), ..using(&scope, 1, 1) };
        refused(house.consume(other).await, &reasons::SCOPE_INCIDENT_MISMATCH);
        let other = pb::ConsumeScopeRequest { action: "delete".into(), ..using(&scope, 1, 1) };
        refused(house.consume(other).await, &reasons::SCOPE_ACTION_MISMATCH);
        let riskier = pb::ConsumeScopeRequest { risk: HIGH, ..using(&scope, 1, 1) };
        refused(house.consume(riskier).await, &reasons::SCOPE_ACTION_MISMATCH);
        refused(house.consume(using(&scope, 1, 101)).await, &reasons::SCOPE_COST_EXCEEDED);
        let revoke = |number| pb::RevokeScopeRequest {
            request_id: test_id(7, number), scope_id: scope.scope_id.clone(), reason: "it is not needed".into(),
        };
        let revoked = call!(house, scopes.revoke_scope, "ScopeService/RevokeScope", revoke(20)).unwrap();
        assert_eq!(call!(house, scopes.revoke_scope, "ScopeService/RevokeScope", revoke(20)).unwrap(), revoked);
        refused(call!(house, scopes.revoke_scope, "ScopeService/RevokeScope", revoke(21)), &reasons::SCOPE_REVOKED);
        refused(house.consume(using(&scope, 1, 1)).await, &reasons::SCOPE_REVOKED);
        let short = house.scope(pb::CreateScopeRequest { ttl_s: 10, ..wanted(2) }).await;
        house.clock.advance(Duration::from_secs(10));
        refused(house.consume(using(&short, 2, 1)).await, &reasons::SCOPE_EXPIRED);
        let told: Vec<String> = house.kinds().await.into_iter().filter(|k| k.starts_with("Scope")).collect();
        assert_eq!(told, ["ScopeCreated", "ScopeRevoked", "ScopeCreated"]);
    }

    /// What could do much harm is a person's, with its agents named; another tenant finds nothing.
    async fn who_makes_a_scope(store: TestStore) {
        let house = House::over(store).await;
        let high = pb::CreateScopeRequest { risk: HIGH, agent_ids: vec!["agent".into()], ..wanted(1) };
        let by_machine = house.ask_machine("ScopeService/CreateScope", high.clone());
        refused(inner(house.scopes.clone().create_scope(by_machine).await), &reasons::HUMAN_REQUIRED);
        let nobody = pb::CreateScopeRequest { agent_ids: vec![], ..high.clone() };
        refused(call!(house, scopes.create_scope, "ScopeService/CreateScope", nobody), &mesh::FIELD_INVALID);
        let scope = house.scope(high).await;
        let get = pb::GetScopeRequest { scope_id: scope.scope_id.clone() };
        let get = house.ask_as(&tenant(2), "lee", "ScopeService/GetScope", get);
        refused(inner(house.scopes.clone().get_scope(get).await), &reasons::SCOPE_NOT_FOUND);
        let consume = house.ask_as(&tenant(2), "lee", "ScopeService/ConsumeScope", using(&scope, 1, 1));
        refused(inner(house.scopes.clone().consume_scope(consume).await), &reasons::SCOPE_NOT_FOUND);
        let list = |states| pb::ListScopesRequest { states, ..pb::ListScopesRequest::default() };
        let found = call!(house, scopes.list_scopes, "ScopeService/ListScopes", list(vec![1])).unwrap().scopes;
        assert_eq!(found, std::slice::from_ref(&scope));
        let found = call!(house, scopes.list_scopes, "ScopeService/ListScopes", list(vec![2, 3, 4])).unwrap().scopes;
        assert!(found.is_empty());
        let other = house.ask_as(&tenant(2), "lee", "ScopeService/ListScopes", list(vec![]));
        assert!(inner(house.scopes.clone().list_scopes(other).await).unwrap().scopes.is_empty());
    }
}
