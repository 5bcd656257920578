//! Starting and appending.

use std::collections::BTreeSet;

use bytes::Bytes;
use contracts_common::common::v1::{GovernanceProfile, RunStatus, StepOutcome, TerminationReason, Verdict};
use contracts_logs::v1::{self as pb, record_item::Body};
use prost::Message as _;
use runspine_db::{AssertSqlSafe, args};
use runspine_testkit::{TestStore, assert_append_only, assert_append_only_tables, on_both_engines, run};
use runspine_types::{Digest, hash};

use super::harness::{House, decided, decision, item, reason, sealing, start, step, tried};

fn conclusion(outcome: StepOutcome, position: u64) -> pb::RecordItem {
    let body = pb::Resolution {
        resolves_position: position,
        outcome: outcome.into(),
        reason: "the provider's log says so".into(),
        ..Default::default()
    };
    item(&format!("resolve-{position}"), None, Body::Resolution(body))
}

on_both_engines! {
    async fn a_start_is_repeated_and_never_replaced(store: TestStore) {
        let house = House::over(store).await;
        let first = house.begin(1).await;
        assert_eq!(first.digest_salt.len(), 32);
        house.advance(5_000);
        assert_eq!(house.start(start(1, 1)).await.unwrap(), first, "the same request, the first answer");
        let other = pb::StartTraceRequest { agent_id: "agent-8".into(), ..start(1, 1) };
        assert_eq!(reason(house.start(other).await), "IDEMPOTENCY_MISMATCH");
        assert_eq!(reason(house.start(start(1, 2)).await), "PREVIOUS_ATTEMPT_OPEN");
        let trace = house.trace(1).await.unwrap().trace.unwrap();
        assert_eq!(trace.header.unwrap().seed, 42);
        assert_eq!(trace.last_link, first.link_0);
        let events = house.published().await;
        let started = events.iter().filter(|e| e.r#type == "logs.TraceStarted").count();
        assert_eq!(started, 1, "the repeat published nothing");
    }

    async fn records_are_chained_and_repeats_find_the_first(store: TestStore) {
        let house = House::over(store).await;
        house.begin(1).await;
        let items = || vec![decision("d1", 0), step("s1", 0, "d1")];
        let first = house.append(1, items()).await.unwrap();
        assert_eq!(first.iter().map(|r| r.position).collect::<Vec<_>>(), [1, 2]);
        let mut mixed = items();
        mixed.push(decision("d2", 1));
        let again = house.append(1, mixed).await.unwrap();
        assert_eq!(again.iter().map(|r| (r.position, r.duplicate)).collect::<Vec<_>>(), [(1, true), (2, true), (3, false)]);
        assert_eq!((&again[1].link, &again[1].record_id), (&first[1].link, &first[1].record_id));
        let other = pb::RecordItem { step_index: Some(5), ..decision("d1", 0) };
        assert_eq!(reason(house.one(1, other).await), "IDEMPOTENCY_MISMATCH");
        let page = house.records(pb::ListRecordsRequest { run_id: run(1), ..Default::default() }).await.unwrap();
        let mut link = Digest::from_slice(&house.trace(1).await.unwrap().trace.unwrap().link_0).unwrap();
        for record in &page.records {
            link = runspine_logs_domain::chain::trace_link(&link, &record.record_bytes);
            assert_eq!(record.link, link.as_bytes());
            assert_eq!(record.record.as_ref().unwrap().encode_to_vec(), record.record_bytes);
        }
        assert_eq!(page.records.len(), 3);
    }

    async fn the_callers_digest_decides_what_a_repeat_is(store: TestStore) {
        let house = House::over(store).await;
        house.begin(1).await;
        let ask = |at: i64, digest: &[u8], answer: &'static str| pb::RecordItem {
            occurred_at: Some(prost_types::Timestamp { seconds: 1_767_323_045 + at, nanos: 0 }),
            request_digest: Bytes::copy_from_slice(hash(digest).as_bytes()),
            answer: Bytes::from_static(answer.as_bytes()),
            ..decided("d1", None, Verdict::Allow)
        };
        let first = house.one(1, ask(0, b"request", "first answer")).await.unwrap();
        assert_eq!((first.step_index, first.duplicate), (Some(0), false), "logs gives the index");
        let again = house.one(1, ask(7, b"request", "second answer")).await.unwrap();
        assert!(again.duplicate, "another time, the same request");
        assert_eq!((again.link.clone(), again.answer.as_ref()), (first.link, b"first answer".as_ref()));
        assert_eq!(reason(house.one(1, ask(0, b"other request", "")).await), "IDEMPOTENCY_MISMATCH");
        let request = pb::GetReceiptRequest { run_id: run(1), attempt: 1, idempotency_key: "key-d1".into() };
        let kept = house.traces.clone().get_receipt(house.ask("TraceService/GetReceipt", request.clone())).await;
        let kept = kept.unwrap().into_inner();
        assert_eq!(kept.receipt.unwrap().answer.as_ref(), b"first answer");
        assert_eq!(kept.request_digest, hash(b"request").as_bytes());
        assert_eq!(kept.record.unwrap().position, 1);
        let unknown = pb::GetReceiptRequest { idempotency_key: "never".into(), ..request };
        let unknown = house.traces.clone().get_receipt(house.ask("TraceService/GetReceipt", unknown)).await;
        assert_eq!(reason(unknown), "RECORD_NOT_FOUND");
    }

    async fn order_is_ruled_by_profile(store: TestStore) {
        let house = House::over(store).await;
        house.begin_as(1, GovernanceProfile::Strict).await;
        house.begin_as(2, GovernanceProfile::ObserveOnly).await;
        assert_eq!(reason(house.one(1, decision("d1", 3)).await), "STEP_GAP");
        assert!(house.one(2, decision("d1", 3)).await.unwrap().gap);
        assert!(!house.one(2, decision("d0", 1)).await.unwrap().gap, "an index in a hole");
        assert_eq!(reason(house.one(2, step("s1", 3, "nowhere")).await), "DECISION_UNKNOWN");
        assert!(house.one(2, step("s0", 0, "")).await.unwrap().unauthorized, "without a decision");
        assert!(house.one(2, step("s1", 1, "d1")).await.unwrap().unauthorized, "the decision of another step");
        house.one(2, decided("d4", Some(4), Verdict::Deny)).await.unwrap();
        let skipped = tried("s4", 4, "d4", 0, StepOutcome::Skipped);
        assert!(!house.one(2, skipped).await.unwrap().unauthorized, "denied and not done");
        house.one(2, decided("d5", Some(5), Verdict::Deny)).await.unwrap();
        assert!(house.one(2, step("s5", 5, "d5")).await.unwrap().unauthorized, "denied and done");
    }

    /// Each cell of the table of gaps and orders, in each profile; what STRICT asks of a step the spine refuses before it
    /// comes here, so that here a fact is a fact.
    async fn every_cell_of_the_table_of_order(store: TestStore) {
        let house = House::over(store).await;
        let profiles = [GovernanceProfile::Strict, GovernanceProfile::Standard, GovernanceProfile::ObserveOnly];
        for (number, profile) in (1..).zip(profiles) {
            house.begin_as(number, profile).await;
            let given = |n: u32| decided(&format!("d{n}"), None, Verdict::Allow);
            assert_eq!(house.one(number, given(0)).await.unwrap().step_index, Some(0), "the first is 0");
            assert_eq!(house.one(number, given(1)).await.unwrap().step_index, Some(1), "largest + 1");
            assert!(!house.one(number, decision("d2", 2)).await.unwrap().gap, "largest + 1 by name");
            let ahead = house.one(number, decision("d4", 4)).await;
            let leaps = house.one(number, step("leap", 9, "")).await;
            if profile == GovernanceProfile::Strict {
                assert_eq!([reason(ahead), reason(leaps)], ["STEP_GAP", "STEP_GAP"], "a step leaps no further");
            } else {
                assert!(ahead.unwrap().gap && leaps.unwrap().gap, "{profile:?}");
                assert!(!house.one(number, decision("d3", 3)).await.unwrap().gap, "an index in a hole");
                let proof = house.prove(number).await;
                let gap = proof.proofs[0].findings.iter().find(|found| found.code == "STEP_GAP").unwrap();
                assert_eq!((gap.at, gap.count), (5, 4), "5 to 8 are missing");
            }
            assert_eq!(reason(house.one(number, step("s", 0, "elsewhere")).await), "DECISION_UNKNOWN");
            assert!(house.one(number, step("bare", 0, "")).await.unwrap().unauthorized, "nobody decided");
            let index = if profile == GovernanceProfile::Strict { 3 } else { 10 };
            house.one(number, decided("no", Some(index), Verdict::Deny)).await.unwrap();
            let skipped = tried("skipped", index, "no", 0, StepOutcome::Skipped);
            assert!(!house.one(number, skipped).await.unwrap().unauthorized, "denied and not done");
            assert!(!house.one(number, step("s1", 1, "d1")).await.unwrap().unauthorized);
            // A step that is unknown at the end does not keep a trace from being sealed.
            house.one(number, tried("s2", 2, "d2", 0, StepOutcome::Ambiguous)).await.unwrap();
            house.settle(number, 1).await;
            let failed = pb::SealTraceRequest {
                run_status: RunStatus::Failed.into(),
                termination_reason: TerminationReason::SystemFailure.into(),
                ..sealing(number, 1)
            };
            let sealed = house.seal(failed).await.unwrap();
            assert!(sealed.findings.iter().any(|found| found.code == "AMBIGUOUS_STEPS"), "{profile:?}");
        }
    }

    async fn tries_follow_one_another(store: TestStore) {
        let house = House::over(store).await;
        for (run, profile) in
            [(1, GovernanceProfile::Strict), (2, GovernanceProfile::Standard), (3, GovernanceProfile::ObserveOnly)]
        {
            house.begin_as(run, profile).await;
            house.append(run, vec![decision("d0", 0), decision("d1", 1)]).await.unwrap();
            let hole = tried("a", 0, "d0", 1, StepOutcome::Success);
            assert_eq!(reason(house.one(run, hole).await), "RETRY_GAP");
            house.one(run, tried("a0", 0, "d0", 0, StepOutcome::Retried)).await.unwrap();
            house.one(run, tried("a1", 0, "d0", 1, StepOutcome::Success)).await.unwrap();
            let more = tried("a2", 0, "d0", 2, StepOutcome::Success);
            assert_eq!(reason(house.one(run, more).await), "STEP_FINAL");
            let other = tried("a3", 0, "d0", 1, StepOutcome::Failure);
            assert_eq!(reason(house.one(run, other).await), "STEP_CONFLICT", "another truth about one try");

            let unknown = house.one(run, tried("b0", 1, "d1", 0, StepOutcome::Ambiguous)).await.unwrap();
            let blind = tried("b1", 1, "d1", 1, StepOutcome::Success);
            assert_eq!(reason(house.one(run, blind.clone()).await), "STEP_AMBIGUOUS");
            assert_eq!(reason(house.one(run, conclusion(StepOutcome::Failure, 1)).await), "STEP_FINAL");
            assert_eq!(reason(house.one(run, conclusion(StepOutcome::Failure, 99)).await), "RECORD_NOT_FOUND");
            let settled = house.one(run, conclusion(StepOutcome::Failure, unknown.position)).await.unwrap();
            assert_eq!(settled.step_index, Some(1), "logs knows the step");
            house.one(run, blind).await.unwrap();
        }
    }

    async fn a_call_is_all_or_none(store: TestStore) {
        let house = House::over(store).await;
        house.begin(1).await;
        let spoilt = vec![decision("d0", 0), step("s0", 0, "nowhere")];
        assert_eq!(reason(house.append(1, spoilt).await), "DECISION_UNKNOWN");
        assert_eq!(house.trace(1).await.unwrap().trace.unwrap().record_count, 0);
        let wrong = vec![pb::RecordItem { actor: None, ..decision("", 0) }];
        let status = house.append(1, wrong).await.unwrap_err();
        let told = runspine_rpc::details(&status);
        assert_eq!(told.reason, "FIELD_INVALID");
        assert_eq!(status.code(), tonic::Code::InvalidArgument);
        let long = pb::Decision { reason: "R".into(), name: "n".repeat(257), ..Default::default() };
        let many = house.one(1, item("k", Some(0), Body::Decision(long))).await.unwrap_err();
        assert!(many.message().contains("field"), "{many:?}");
    }

    async fn another_tenant_sees_nothing(store: TestStore) {
        let house = House::over(store).await;
        house.begin(1).await;
        assert_eq!(reason(house.append_as(2, 1, vec![decision("d0", 0)]).await), "TRACE_NOT_FOUND");
        let request = pb::GetTraceRequest { run_id: run(1), attempt: 0 };
        let found = house.traces.clone().get_trace(house.ask_as(2, "TraceService/GetTrace", request)).await;
        assert_eq!(reason(found), "TRACE_NOT_FOUND");
        let all = house.ask_as(2, "TraceService/ListTraces", pb::ListTracesRequest::default());
        assert!(house.traces.clone().list_traces(all).await.unwrap().into_inner().traces.is_empty());
        let proof = house.ask_as(2, "TraceService/VerifyTrace", pb::VerifyTraceRequest { run_id: run(1), attempt: 0 });
        let proof = house.traces.clone().verify_trace(proof).await.unwrap().into_inner();
        assert_eq!(proof.overall(), pb::ProofStatus::NoTrace);
    }

    async fn many_writers_make_one_dense_chain(store: TestStore) {
        let house = std::sync::Arc::new(House::over(store).await);
        house.begin(1).await;
        let (writers, each) = (32, 25);
        let tasks: Vec<_> = (0..writers)
            .map(|writer| {
                let house = std::sync::Arc::clone(&house);
                tokio::spawn(async move {
                    let mut seen = Vec::new();
                    for n in 0..each {
                        let id = format!("{writer}-{n}");
                        let receipt = house.one(1, decided(&id, None, Verdict::Allow)).await.unwrap();
                        seen.push((receipt.position, receipt.step_index.unwrap()));
                    }
                    assert!(seen.is_sorted(), "what one writer wrote stands in its order");
                    seen
                })
            })
            .collect();
        let (mut positions, mut steps) = (BTreeSet::new(), BTreeSet::new());
        for task in tasks {
            for (position, step) in task.await.unwrap() {
                assert!(positions.insert(position) && steps.insert(step), "each is given once");
            }
        }
        assert_eq!(positions, (1..=writers * each).collect());
        let proof = house.prove(1).await;
        assert_eq!(proof.overall(), pb::ProofStatus::Unsealed, "{proof:?}");
        assert_eq!(proof.proofs[0].record_count, writers * each);
    }

    async fn the_same_call_twice_at_once_is_stored_once(store: TestStore) {
        let house = House::over(store).await;
        house.begin(1).await;
        let items = || vec![decision("d0", 0), step("s0", 0, "d0")];
        let (a, b) = tokio::join!(house.append(1, items()), house.append(1, items()));
        let (a, b) = (a.unwrap(), b.unwrap());
        let links = |r: &[pb::Receipt]| r.iter().map(|r| (r.position, r.link.clone())).collect::<Vec<_>>();
        assert_eq!(links(&a), links(&b));
        assert!(a[0].duplicate != b[0].duplicate);
        assert_eq!(house.trace(1).await.unwrap().trace.unwrap().record_count, 2);
    }

    async fn projections_are_told_once_for_each_trace_and_commit(store: TestStore) {
        let house = House::over(store).await;
        house.begin(1).await;
        house.append(1, vec![decision("d0", 0), step("s0", 0, "d0")]).await.unwrap();
        house.append(1, vec![decision("d0", 0)]).await.unwrap();
        let events = house.published().await;
        let told: Vec<_> = events.iter().filter(|e| e.r#type == "logs.RecordsAppended").collect();
        assert_eq!(told.len(), 1, "a duplicate is no news");
        let data = pb::RecordsAppended::decode(told[0].data.clone()).unwrap();
        assert_eq!((data.last_position, data.facts.len()), (2, 2));
        assert_eq!((data.facts[1].cost_microusd, data.facts[1].decision_id.as_str()), (1_500, "d0"));
        assert_eq!(told[0].correlation_id, "");
        assert!(data.facts.iter().all(|f| !f.degraded));

        let mut unsure = decision("d1", 1);
        if let Some(pb::record_item::Body::Decision(decision)) = &mut unsure.body {
            decision.degraded = true;
        }
        house.append(1, vec![unsure]).await.unwrap();
        let events = house.published().await;
        let last = events.iter().rfind(|e| e.r#type == "logs.RecordsAppended").unwrap();
        let facts = pb::RecordsAppended::decode(last.data.clone()).unwrap().facts;
        assert_eq!(facts.iter().map(|f| (f.position, f.degraded)).collect::<Vec<_>>(), [(3, true)]);
    }

    async fn lists_are_paged_and_filtered(store: TestStore) {
        let house = House::over(store).await;
        for number in 1..=5 {
            house.begin(number).await;
            house.advance(1_000);
        }
        let mut request = pb::ListTracesRequest { page_size: 2, ..Default::default() };
        let mut seen = Vec::new();
        loop {
            let ask = house.ask("TraceService/ListTraces", request.clone());
            let page = house.traces.clone().list_traces(ask).await.unwrap().into_inner();
            seen.extend(page.traces.into_iter().map(|t| t.header.unwrap().run_id));
            if page.next_page_token.is_empty() {
                break;
            }
            request.page_token = page.next_page_token;
        }
        assert_eq!(seen, (1..=5).rev().map(run).collect::<Vec<_>>(), "newest first, each once");
        let filter = pb::TraceFilter { run_ids: vec![run(2), run(9)], state: 1, ..Default::default() };
        let ask = pb::ListTracesRequest { filter: Some(filter), ..Default::default() };
        let ask = house.ask("TraceService/ListTraces", ask);
        assert_eq!(house.traces.clone().list_traces(ask).await.unwrap().into_inner().traces.len(), 1);

        house.append(1, (0..7).map(|n| decision(&format!("d{n}"), n)).collect()).await.unwrap();
        house.one(1, step("s0", 0, "d0")).await.unwrap();
        let mut request = pb::ListRecordsRequest {
            run_id: run(1),
            bodies: vec![pb::RecordBody::Decision.into()],
            page_size: 3,
            ..Default::default()
        };
        let mut positions = Vec::new();
        loop {
            let page = house.records(request.clone()).await.unwrap();
            positions.extend(page.records.iter().map(|r| r.record.as_ref().unwrap().position));
            if page.next_page_token.is_empty() {
                break;
            }
            request.page_token = page.next_page_token;
        }
        assert_eq!(positions, [1, 2, 3, 4, 5, 6, 7]);
        let started = pb::ListRecordsRequest {
            order: pb::RecordOrder::StartedAt.into(),
            page_token: String::new(),
            bodies: Vec::new(),
            ..request
        };
        let page = house.records(started.clone()).await.unwrap();
        assert_eq!(page.records.len(), 3);
        let next = pb::ListRecordsRequest { page_token: page.next_page_token, ..started };
        assert_eq!(house.records(next.clone()).await.unwrap().records.len(), 3);
        let moved = pb::ListRecordsRequest { after_position: 1, ..next };
        assert_eq!(reason(house.records(moved).await), "PAGE_TOKEN_MISMATCH");
    }

    async fn a_full_trace_takes_what_ends_a_run(store: TestStore) {
        let mut config = runspine_logs::Config::default();
        config.trace.max_records = 32;
        let house = House::with(store, config).await;
        house.begin(1).await;
        house.append(1, (0..16).map(|n| decision(&format!("d{n}"), n)).collect()).await.unwrap();
        assert_eq!(reason(house.one(1, decision("d16", 16)).await), "TRACE_FULL");
        let cancel = pb::Control { action: pb::ControlAction::CancelRequested.into(), ..Default::default() };
        house.one(1, item("cancel", None, Body::Control(cancel))).await.unwrap();
    }

    async fn the_engine_keeps_what_is_written(store: TestStore) {
        let house = House::over(store).await;
        house.sealed_run(1).await;
        let link = pb::LinkIncidentRequest { run_id: run(1), attempt: 1, incident_id: "in-1".into(), step_index: None };
        house.traces.clone().link_incident(house.ask("TraceService/LinkIncident", link)).await.unwrap();
        let db = house.db().await;
        assert_append_only_tables(&db, &runspine_logs::MIGRATIONS).await;
        for table in ["trace_records", "trace_seals", "trace_links"] {
            assert_append_only(&db, table).await;
        }
        // Foreign keys point at these, so that PostgreSQL refuses a plain TRUNCATE for another reason first.
        for table in ["traces", "signing_keys"] {
            let mut statements = vec![format!("UPDATE {table} SET created_at = 0"), format!("DELETE FROM {table}")];
            if db.dialect() == runspine_db::Dialect::Postgres {
                statements.push(format!("TRUNCATE {table} CASCADE"));
            }
            for sql in statements {
                let refused = db.write("change", move |tx| {
                    Box::pin(async move { Ok(tx.execute(AssertSqlSafe(sql), args![]).await?) })
                });
                assert!(refused.await.unwrap_err().is(&runspine_errors::mesh::IMMUTABLE_ROW), "{table}");
            }
        }
    }
}
