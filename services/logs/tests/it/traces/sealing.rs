//! Sealing, addenda, attempts.

use contracts_common::common::v1::{ContractVerdict, StepOutcome, TerminationReason};
use contracts_logs::v1 as pb;
use prost::Message as _;
use runspine_db::args;
use runspine_logs_domain::keys::{Signed, seal_digest, verify};
use runspine_testkit::{TestStore, on_both_engines, run, test_id};

use super::harness::{House, decision, reason, sealing, start, step, tried};

fn late(number: u64, items: Vec<pb::RecordItem>) -> pb::AppendAddendumRequest {
    pb::AppendAddendumRequest {
        request_id: test_id(9, number),
        run_id: run(number),
        attempt: 1,
        reason: "reported after the end".into(),
        items,
    }
}

on_both_engines! {
    async fn a_seal_says_what_the_records_say(store: TestStore) {
        let house = House::over(store).await;
        let sealed = house.sealed_run(1).await;
        assert_eq!(sealed.verdict, i32::from(ContractVerdict::Complete));
        let signed = sealed.seal.clone().unwrap();
        let seal = signed.seal.clone().unwrap();
        assert_eq!(pb::TraceSeal::decode(signed.seal_bytes.clone()).unwrap(), seal);
        assert_eq!((seal.record_count, seal.step_count, seal.decision_count), (5, 2, 2));
        assert_eq!((seal.input_tokens, seal.cost_microusd), (30, 4_500), "every try counts");
        assert_eq!(seal_digest(&signed.seal_bytes).as_bytes(), signed.seal_digest);
        let mut client = house.keys.clone();
    let keys = client.list_keys(house.ask("KeyService/ListKeys", pb::ListKeysRequest::default()));
        let keys = keys.await.unwrap().into_inner().keys;
        assert_eq!(keys.len(), 4);
        let key = keys.iter().find(|k| k.key_id == seal.key_id).unwrap();
        assert_eq!(key.purpose(), pb::KeyPurpose::Seal);
        let public: [u8; 32] = key.public_key.as_ref().try_into().unwrap();
        assert!(verify(&public, Signed::Seal, &signed.seal_bytes, &signed.signature));

        let again = pb::SealTraceRequest { fence: 0, ..sealing(1, 1) };
        assert_eq!(house.seal(again).await.unwrap(), sealed, "the same request, the first answer");
        let other = pb::SealTraceRequest { termination_reason: TerminationReason::Timeout.into(), ..sealing(1, 1) };
        assert_eq!(reason(house.seal(other).await), "TRACE_SEALED");
        assert_eq!(reason(house.one(1, decision("d9", 2)).await), "TRACE_SEALED");
        assert!(house.one(1, step("s1", 0, "d1")).await.unwrap().duplicate, "a repeat finds its receipt");

        let request = pb::GetAuditContractRequest { key: Some(super::harness::key(1, 1)) };
        let request = house.ask("AuditContractService/GetAuditContract", request);
        let contract = house.contracts.clone().get_audit_contract(request).await.unwrap().into_inner().contract.unwrap();
        assert_eq!(contract.last_seq, seal.contract_entry_count);
        let db = house.db().await;
        let sql = "SELECT event_type, after_digest FROM ledger WHERE run_id = $1 ORDER BY seq";
        let entries: Vec<(String, Vec<u8>)> = db.read().fetch_all(sql, args![run(1)]).await.unwrap();
        let kinds: Vec<_> = entries.iter().map(|(kind, _)| kind.as_str()).collect();
        assert_eq!(kinds, ["logs.ContractReconciled", "logs.TraceSealed"]);
        assert_eq!(entries[1].1, signed.seal_digest);
        let totals = house.trace(1).await.unwrap().totals.unwrap();
        assert_eq!((totals.cost_microusd, totals.step_count, totals.decision_count), (4_500, 2, 2));
    }

    async fn nothing_is_sealed_before_its_time(store: TestStore) {
        let house = House::over(store).await;
        assert_eq!(reason(house.seal(sealing(1, 1)).await), "TRACE_NOT_FOUND");
        house.begin(1).await;
        assert_eq!(reason(house.seal(sealing(1, 1)).await), "INTENT_MISSING");
        let intent = pb::AppendIntentRequest {
            key: Some(super::harness::key(1, 1)),
            kind: "COMPLETION".into(),
            payload: "done".into(),
            ..Default::default()
        };
        let intent = house.ask("AuditContractService/AppendIntent", intent);
        house.contracts.clone().append_intent(intent).await.unwrap();
        let status = house.seal(sealing(1, 1)).await.unwrap_err();
        let told = runspine_rpc::details(&status);
        assert_eq!(told.reason, "CONTRACT_INCOMPLETE");
        let trace = house.trace(1).await.unwrap().trace.unwrap();
        assert_eq!(trace.state(), pb::TraceState::Open, "nothing of it exists");
        let accepted = pb::SealTraceRequest {
            accept_incomplete: true,
            incomplete_reason: "policies is gone for good".into(),
            ..sealing(1, 1)
        };
        let sealed = house.seal(accepted).await.unwrap();
        assert_eq!(sealed.verdict, i32::from(ContractVerdict::Incomplete), "auditors don't forgive");
    }

    async fn a_stale_worker_seals_nothing(store: TestStore) {
        let house = House::over(store).await;
        house.begin(1).await;
        house.settle(1, 1).await;
        house.advance(60_000);
        let claim = pb::ClaimOverdueRequest {
            request_id: test_id(9, 1),
            worker_id: "w1".into(),
            limit: 10,
            lease_ms: 30_000,
        };
        let claim = house.ask("AuditContractService/ClaimOverdue", claim);
        let claims = house.contracts.clone().claim_overdue(claim).await.unwrap().into_inner().claims;
        assert_eq!(claims[0].fence, 1);
        assert_eq!(reason(house.seal(sealing(1, 1)).await), "STALE_FENCE");
        house.seal(pb::SealTraceRequest { fence: 1, ..sealing(1, 1) }).await.unwrap();
    }

    async fn what_is_open_is_found_at_the_end(store: TestStore) {
        let house = House::over(store).await;
        house.begin(1).await;
        let ambiguous = tried("s0", 0, "d0", 0, StepOutcome::Ambiguous);
        house.append(1, vec![decision("d0", 0), ambiguous]).await.unwrap();
        let event = |event: pb::McpEventKind| pb::McpEvent {
            event: event.into(),
            call_id: "c1".into(),
            tool_name: "weather.get".into(),
            ..Default::default()
        };
        let mcp = |key: &str, kind| {
            super::harness::item(key, None, pb::record_item::Body::Mcp(event(kind)))
        };
        assert!(!house.one(1, mcp("m1", pb::McpEventKind::Requested)).await.unwrap().unauthorized);
        assert!(house.one(1, mcp("m2", pb::McpEventKind::Started)).await.unwrap().unauthorized, "it was not allowed");
        house.settle(1, 1).await;
        let sealed = house.seal(sealing(1, 1)).await.unwrap();
        let codes: Vec<_> = sealed.findings.iter().map(|f| (f.code.as_str(), f.at, f.count)).collect();
        assert_eq!(codes, [("AMBIGUOUS_STEPS", 2, 1), ("TOOL_CALL_OPEN", 4, 1), ("UNAUTHORIZED_STEPS", 4, 1)]);
    }

    async fn late_facts_become_an_addendum(store: TestStore) {
        let house = House::over(store).await;
        house.begin(1).await;
        assert_eq!(reason(house.late(late(1, vec![step("x", 0, "")])).await), "NOT_SEALED");
        house.settle(1, 1).await;
        let sealed = house.seal(sealing(1, 1)).await.unwrap().seal.unwrap();
        let first = house.late(late(1, vec![step("x", 0, ""), step("y", 7, "")])).await.unwrap();
        assert_eq!((first.addendum, first.receipts.len()), (1, 2));
        house.advance(1_000);
        assert_eq!(house.late(late(1, vec![step("x", 0, ""), step("y", 7, "")])).await.unwrap(), first);
        assert_eq!(reason(house.late(late(1, vec![step("z", 0, "")])).await), "IDEMPOTENCY_MISMATCH");
        let second = pb::AppendAddendumRequest { request_id: test_id(9, 77), ..late(1, vec![step("x", 1, "")]) };
        assert_eq!(house.late(second).await.unwrap().addendum, 2);
        let view = house.trace(1).await.unwrap();
        assert_eq!(view.trace.unwrap().seal.unwrap(), sealed, "the main seal is untouched");
        let named: Vec<_> = view.addenda.iter().map(|a| a.header.clone().unwrap().previous_seal_digest).collect();
        assert_eq!(named, [sealed.seal_digest, first.seal.unwrap().seal_digest]);
        let proof = house.prove(1).await;
        assert_eq!(proof.overall(), pb::ProofStatus::Verified, "{proof:?}");
        assert_eq!(proof.proofs.len(), 3);
    }

    async fn an_attempt_names_the_seal_before_it(store: TestStore) {
        let house = House::over(store).await;
        let sealed = house.sealed_run(1).await.seal.unwrap();
        house.declare(1, 2).await;
        house.start(start(1, 2)).await.unwrap();
        let trace = house.trace(1).await.unwrap().trace.unwrap();
        let header = trace.header.unwrap();
        assert_eq!((header.attempt, header.previous_seal_digest), (2, sealed.seal_digest));
        house.settle(1, 2).await;
        house.seal(sealing(1, 2)).await.unwrap();
        assert_eq!(house.prove(1).await.overall(), pb::ProofStatus::Verified);
    }

    async fn a_racing_append_is_before_the_seal_or_refused(store: TestStore) {
        let house = House::over(store).await;
        for number in 1..=8 {
            house.begin(number).await;
            house.settle(number, 1).await;
            let appends = (0..8).map(|n| house.one(number, decision(&format!("d{n}"), n)));
            let (sealed, appended) =
                tokio::join!(house.seal(sealing(number, 1)), futures::future::join_all(appends));
            let stored = appended.iter().filter(|a| a.is_ok()).count() as u64;
            for refused in appended.into_iter().filter(Result::is_err) {
                assert_eq!(reason(refused), "TRACE_SEALED");
            }
            assert_eq!(sealed.unwrap().seal.unwrap().seal.unwrap().record_count, stored);
            assert_eq!(house.prove(number).await.overall(), pb::ProofStatus::Verified);
        }
    }

    async fn an_incident_is_tied_once(store: TestStore) {
        let house = House::over(store).await;
        house.begin(1).await;
        let tie = |step_index| {
            let link = pb::LinkIncidentRequest { run_id: run(1), attempt: 1, incident_id: "in-1".into(), step_index };
            let link = house.ask("TraceService/LinkIncident", link);
            let mut traces = house.traces.clone();
            async move { traces.link_incident(link).await.map(tonic::Response::into_inner) }
        };
        let first = tie(Some(1)).await.unwrap();
        assert_eq!(tie(Some(1)).await.unwrap(), first);
        assert_eq!(reason(tie(None).await), "IDEMPOTENCY_MISMATCH");
        assert_eq!(house.trace(1).await.unwrap().incident_ids, ["in-1"]);
        let filter = pb::TraceFilter { incident_id: "in-1".into(), ..Default::default() };
        let list = pb::ListTracesRequest { filter: Some(filter), ..Default::default() };
        let list = house.traces.clone().list_traces(house.ask("TraceService/ListTraces", list)).await.unwrap();
        assert_eq!(list.into_inner().traces.len(), 1);
    }
}
