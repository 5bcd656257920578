//! Contracts through their RPCs.

use contracts_common::common::v1::{AckStatus, AuditStatus, ContractVerdict, RunPhase};
use contracts_logs::v1::{self as pb, ReconcilePass};
use prost::Message as _;
use runspine_rpc::details;
use runspine_testkit::{
    TestStore, assert_append_only, assert_append_only_tables, assert_prepares, on_both_engines,
};
use tonic::Code;

use super::harness::*;

on_both_engines! {
    /// The same promises again give the same answer whatever happened since; others are refused and write nothing.
    async fn declaring_is_keyed(store: TestStore) {
        let house = House::over(store).await;
        let key = key(1);
        let first = house.declare(of_a_run(&key)).await.unwrap();
        let contract = first.contract.clone().unwrap();
        assert_eq!(contract.expectations.len(), 6);
        assert_eq!(contract.expectations[5].deadline_ms, 305_000);
        house.advance(900);
        house.acknowledge(ack(&key, "logs", "start_trace", "t1")).await.unwrap();
        let again = house.declare(of_a_run(&key)).await.unwrap();
        assert_eq!(first.encode_to_vec(), again.encode_to_vec());
        let mut other = of_a_run(&key);
        other.expectations[1].deadline_ms = 6_000;
        assert_eq!(reason(house.declare(other).await), "IDEMPOTENCY_MISMATCH");
        assert_eq!(house.get(&key).await.unwrap().last_seq, 7);
    }

    /// A fresh replica finds everything that driving needs, and the chain goes on.
    async fn a_contract_can_be_driven_from_what_is_stored(store: TestStore) {
        let house = House::over(store).await;
        let key = key(1);
        house.declare(of_a_run(&key)).await.unwrap();
        house.intend(completion(&key, b"how it ended", 0)).await.unwrap();
        house.acknowledge(ack(&key, "controls", "settle_budget", "s1")).await.unwrap();
        let mut replica = house.replica().await;
        let message = pb::GetAuditContractRequest { key: Some(key.clone()) };
        let request = house.ask("AuditContractService/GetAuditContract", message);
        let contract = replica.get_audit_contract(request).await.unwrap().into_inner().contract.unwrap();
        assert_eq!(contract.expectations[1].input.as_ref(), b"input of create_incident");
        assert_eq!(contract.intents[0].payload.as_ref(), b"how it ended");
        assert_eq!(contract.acks[0].result_id, "s1");
        assert_eq!(contract.audit_status, i32::from(AuditStatus::Pending));
        let request = house.ask("AuditContractService/Acknowledge", ack(&key, "policies", "evaluate_policy", "e1"));
        let answer = replica.acknowledge(request).await.unwrap().into_inner();
        assert_eq!(answer.acks[0].seq, 9);
        // The first process remembers an older fold; the row's link tells it so.
        let answer = house.acknowledge(ack(&key, "incidents", "create_incident", "i1")).await.unwrap();
        assert_eq!(answer.acks[0].seq, 10);
    }

    /// The first intent wins; the loser is told what won.
    async fn the_first_intent_wins(store: TestStore) {
        let house = House::over(store).await;
        let key = key(1);
        let unknown = house.intend(completion(&key, b"a", 0)).await;
        assert_eq!(reason(unknown), "CONTRACT_NOT_FOUND");
        house.declare(of_a_run(&key)).await.unwrap();
        let racers = (0..8_u8).map(|n| {
            let payload: &'static [u8] = if n % 2 == 0 { b"success" } else { b"cancel" };
            house.intend(completion(&key, payload, 0))
        });
        let answers = futures::future::join_all(racers).await;
        let won: Vec<_> = answers.iter().filter_map(|a| a.as_ref().ok()).collect();
        assert_eq!(won.len(), 4);
        assert_eq!(won.iter().filter(|a| !a.existing).count(), 1);
        let lost = answers.iter().find_map(|a| a.as_ref().err()).unwrap();
        let told = details(lost);
        assert_eq!((lost.code(), told.reason.as_str()), (Code::AlreadyExists, "INTENT_EXISTS"));
        let payload = won[0].intent.clone().unwrap().payload;
        assert_eq!(told.metadata["payload"], base64_of(&payload));
        assert_eq!(told.metadata["seq"], "7");
    }

    /// A call of several facts is stored whole or not at all, each fact once.
    async fn acknowledging_is_keyed_and_whole(store: TestStore) {
        let house = House::over(store).await;
        let key = key(1);
        house.declare(of_a_run(&key)).await.unwrap();
        let mut two = ack(&key, "logs", "start_trace", "t1");
        two.acks.extend(ack(&key, "policies", "evaluate_policy", "e1").acks);
        two.acks[1].status = AckStatus::NotApplicable.into();
        assert_eq!(reason(house.acknowledge(two.clone()).await), "ACK_CONTRADICTORY");
        assert_eq!(house.get(&key).await.unwrap().last_seq, 6);
        two.acks[1].status = AckStatus::Success.into();
        let first = house.acknowledge(two.clone()).await.unwrap();
        assert_eq!(first, house.acknowledge(two.clone()).await.unwrap());
        two.acks[1].result_id = "e2".into();
        assert_eq!(reason(house.acknowledge(two).await), "IDEMPOTENCY_MISMATCH");
        let mut undone = ack(&key, "controls", "settle_budget", "s1");
        undone.acks[0].status = AckStatus::RolledBack.into();
        assert_eq!(reason(house.acknowledge(undone.clone()).await), "ACK_CONTRADICTORY");
        undone.acks[0].error_reason = "COMPENSATED".into();
        assert_eq!(reason(house.acknowledge(undone).await), "ACK_ORDER");
        assert_eq!(house.get(&key).await.unwrap().last_seq, 8);
    }

    /// What nobody declared is stored as drift and never complete.
    async fn an_undeclared_fact_is_drift(store: TestStore) {
        let house = House::over(store).await;
        let key = key(1);
        house.acknowledge(ack(&key, "logs", "export_trace", "x")).await.unwrap();
        let judged = house.reconcile(&key, ReconcilePass::Check).await.unwrap();
        assert_eq!(judged.verdict, i32::from(ContractVerdict::NotDeclared));
        assert_eq!(judged.findings[0].code, "DRIFT");
        let nothing = house.reconcile(&super::harness::key(2), ReconcilePass::Final).await.unwrap();
        assert_eq!((nothing.verdict, nothing.seq), (i32::from(ContractVerdict::NotDeclared), 0));
        assert_eq!(reason(house.get(&super::harness::key(2)).await), "CONTRACT_NOT_FOUND");
    }

    /// A verdict is written, published and put on the ledger once per change.
    async fn a_verdict_is_told_once(store: TestStore) {
        let house = House::over(store).await;
        let key = key(1);
        house.declare(of_a_run(&key)).await.unwrap();
        assert!(house.reconcile(&key, ReconcilePass::Check).await.unwrap().pending);
        house.advance(5_001);
        let first = house.reconcile(&key, ReconcilePass::Check).await.unwrap();
        house.advance(5_000);
        let again = house.reconcile(&key, ReconcilePass::Check).await.unwrap();
        assert_eq!((first.seq, &first), (7, &again));
        assert_eq!(first.findings[0].code, "MISSING");
        assert_eq!(reason(house.reconcile(&key, ReconcilePass::Final).await), "NOT_SEALED");
        let events = house.pull().await;
        assert_eq!(events.iter().map(|e| e.r#type.as_str()).collect::<Vec<_>>(), ["logs.ContractReconciled"]);
        let message = pb::GetEntryRequest { seq: 0, event_id: events[0].id.clone() };
        let request = house.ask("LedgerService/GetEntry", message);
        let entry = house.ledger.clone().get_entry(request).await.unwrap().into_inner().entry.unwrap();
        let contract = house.get(&key).await.unwrap();
        assert_eq!(entry.entry.unwrap().after_digest, contract.last_link, "the ledger witnesses the verdict");
    }

    /// Another saga is closed by the FINAL pass; a fact after that is added with a fresh verdict.
    async fn other_sagas_close_by_themselves(store: TestStore) {
        let house = House::over(store).await;
        let key = pb::ContractKey { saga: "violation".into(), subject_id: "v-1".into(), attempt: 1 };
        let expectations = vec![
            spec("incidents", "open_violation_incident", RunPhase::Created, 5_000),
            spec("orchestrator", "finalize_saga", RunPhase::Created, 60_000),
        ];
        let request = pb::DeclareExpectationsRequest { key: Some(key.clone()), expectations, run_timeout_ms: 0 };
        house.declare(request).await.unwrap();
        house.acknowledge(ack(&key, "incidents", "open_violation_incident", "i1")).await.unwrap();
        house.acknowledge(ack(&key, "orchestrator", "finalize_saga", "v-1")).await.unwrap();
        let judged = house.reconcile(&key, ReconcilePass::Final).await.unwrap();
        assert_eq!(judged.verdict, i32::from(ContractVerdict::Complete));
        let contract = house.get(&key).await.unwrap();
        assert_eq!((contract.state, contract.next_deadline), (i32::from(pb::ContractState::Closed), None));
        assert_eq!(reason(house.intend(completion(&key, b"late", 0)).await), "CONTRACT_CLOSED");
        house.acknowledge(ack(&key, "logs", "export_trace", "x")).await.unwrap();
        let contract = house.get(&key).await.unwrap();
        assert_eq!(contract.verdicts.len(), 2);
        assert_eq!(contract.audit_status, i32::from(AuditStatus::Incomplete));
    }

    /// A clock can stand still and go on, never back.
    async fn deadlines_move_on(store: TestStore) {
        let house = House::over(store).await;
        let key = key(1);
        house.declare(of_a_run(&key)).await.unwrap();
        house.acknowledge(ack(&key, "logs", "start_trace", "t1")).await.unwrap();
        let mut order = pb::MoveDeadlineRequest {
            key: Some(key.clone()),
            domain: "orchestrator".into(),
            action: "finalize_run".into(),
            new_deadline: None,
            reason: "paused".into(),
            fence: 0,
            request_id: call(1),
        };
        let first = house.move_deadline(order.clone()).await.unwrap();
        assert!(first.expectation.as_ref().unwrap().suspended);
        assert_eq!(first, house.move_deadline(order.clone()).await.unwrap());
        house.advance(3_600_000);
        assert!(house.reconcile(&key, ReconcilePass::Check).await.unwrap().pending);
        order.request_id = call(2);
        order.new_deadline = Some(runspine_rpc::timestamp(START));
        assert_eq!(reason(house.move_deadline(order.clone()).await), "DEADLINE_BACKWARD");
        order.new_deadline = Some(runspine_rpc::timestamp(house.now().plus_millis(200_000)));
        house.move_deadline(order.clone()).await.unwrap();
        order.reason = "another".into();
        assert_eq!(reason(house.move_deadline(order.clone()).await), "IDEMPOTENCY_MISMATCH");
        order.request_id = call(3);
        order.action = "nothing".into();
        assert_eq!(reason(house.move_deadline(order).await), "EXPECTATION_NOT_FOUND");
        house.advance(200_001);
        let judged = house.reconcile(&key, ReconcilePass::Check).await.unwrap();
        assert_eq!(judged.verdict, i32::from(ContractVerdict::Stale));
    }

    /// Lists page through everything once, per tenant.
    async fn lists_page_through_everything(store: TestStore) {
        let house = House::over(store).await;
        for number in 1..=7 {
            house.declare(of_a_run(&key(number))).await.unwrap();
            house.advance(10);
        }
        for order in [pb::ContractOrder::NextDeadline, pb::ContractOrder::DeclaredAt] {
            let mut request =
                pb::ListAuditContractsRequest { order: order.into(), page_size: 3, ..Default::default() };
            let (mut seen, mut pages) = (Vec::new(), 0);
            loop {
                let page = house.list(Who::Tenant(1), request.clone()).await.unwrap();
                pages += 1;
                seen.extend(page.contracts.into_iter().map(|c| c.key.unwrap().subject_id));
                if page.next_page_token.is_empty() {
                    break;
                }
                request.page_token = page.next_page_token;
            }
            let mut expected: Vec<_> = (1..=7).map(runspine_testkit::run).collect();
            if order == pb::ContractOrder::DeclaredAt {
                expected.reverse();
            }
            assert_eq!((pages, seen), (3, expected), "{order:?}");
        }
        let filter = pb::ContractFilter { subject_ids: vec![runspine_testkit::run(3)], saga: "run".into(), ..Default::default() };
        let request = pb::ListAuditContractsRequest { filter: Some(filter), ..Default::default() };
        assert_eq!(house.list(Who::Tenant(1), request.clone()).await.unwrap().contracts.len(), 1);
        assert_eq!(house.list(Who::Tenant(2), request).await.unwrap().contracts.len(), 0);
    }

    /// Requests are refused with every violation.
    async fn wrong_requests_are_refused(store: TestStore) {
        let house = House::over(store).await;
        let mut request = of_a_run(&key(1));
        request.key.as_mut().unwrap().saga = "Run".into();
        request.expectations[0].due_phase = 0;
        request.expectations[1].due_phase = 99;
        request.expectations[2].due_phase = RunPhase::Executing.into();
        let refused = house.declare(request).await.unwrap_err();
        assert_eq!((refused.code(), details(&refused).fields.len()), (Code::InvalidArgument, 4));
        let mut request = of_a_run(&key(1));
        request.expectations[0].input = vec![0; 16 * 1024 + 1].into();
        assert_eq!(reason(house.declare(request).await), "RECORD_TOO_LARGE");
        assert_eq!(reason(house.get(&key(1)).await), "CONTRACT_NOT_FOUND");
    }

    /// Entries can't be changed, and a contract can't be renamed or forgotten.
    async fn contracts_are_append_only(store: TestStore) {
        let house = House::over(store).await;
        house.declare(of_a_run(&key(1))).await.unwrap();
        let db = house.db().await;
        assert_append_only_tables(&db, &runspine_logs::MIGRATIONS).await;
        assert_append_only(&db, "contract_entries").await;
        for sql in ["UPDATE contract_index SET subject_id = 'x'", "DELETE FROM contract_index"] {
            let refused = db
                .write("change", move |tx| {
                    Box::pin(async move { Ok(tx.execute(sql, runspine_db::args![]).await?) })
                })
                .await;
            assert_eq!(refused.unwrap_err().reason().name, "IMMUTABLE_ROW", "{sql}");
        }
        assert_prepares(&db, &["SELECT entry FROM contract_entries WHERE contract_id = $1"]).await;
    }
}

fn base64_of(bytes: &[u8]) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(bytes)
}
