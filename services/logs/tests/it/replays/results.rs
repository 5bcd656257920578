//! What a replay finds as a whole.

use std::time::Duration;

use contracts_logs::v1::{
    self as pb, ComparisonResult, ReplayBehaviour as Does, ReplayLevel as Level, ReplayResult as Result,
    ReplayState as State, certificate_service_client::CertificateServiceClient,
};
use runspine_db::args;
use runspine_testkit::{TestStore, assert_append_only, eventually, on_both_engines, run, test_id};

use super::harness::*;
use crate::traces::harness::{Answer, House, decision, reason, step};

async fn certify(house: &House, id: u64, replay_id: &str) -> Answer<pb::Certificate> {
    let asked = pb::IssueCertificateRequest {
        request_id: test_id(52, id),
        kind: pb::CertificateKind::ReplayProof.into(),
        replay_id: replay_id.to_owned(),
        ..Default::default()
    };
    let request = house.ask("CertificateService/IssueCertificate", asked);
    let mut client = CertificateServiceClient::new(house.way.clone());
    client.issue_certificate(request).await.map(|r| r.into_inner().certificate.unwrap())
}

on_both_engines! {
    /// A10.2, A10.6: an identical run is PARITY at STRICT, is certified, and leaves the record as it was.
    async fn an_identical_run_is_in_parity(store: TestStore) {
        let house = House::over(store).await;
        let sealed = recorded(&house, 1).await;
        let before = house.trace(1).await.unwrap();
        let started = begin(&house, pb::StartReplayRequest { seed: Some(42), ..order(1, 1, Level::Strict) }).await.unwrap();
        assert_eq!(started.plan.len(), 3);
        assert!(started.plan.iter().all(|planned| planned.behaviour() == Does::Check && planned.output_ref.len() == 32));
        let replay = started.replay.clone().unwrap();
        assert_eq!((replay.mode(), replay.driven_run_id.as_str()), (pb::ReplayMode::Observe, ""));
        let made: Vec<_> = started.plan.iter().flat_map(|p| &p.decisions).map(|d| d.decision_id.as_str()).collect();
        assert_eq!(made, ["d0", "d1"], "whoever replays can have the decisions made again");
        assert_eq!(get(&house, 1, &replay.replay_id).await.unwrap().plan, started.plan);
        assert_eq!((replay.state(), replay.level(), replay.attempt), (State::Running, Level::Strict, 1));
        assert_eq!(replay.seal_digest, sealed.seal.as_ref().unwrap().seal_digest);
        assert_eq!(begin(&house, pb::StartReplayRequest { seed: Some(42), ..order(1, 1, Level::Strict) }).await.unwrap(), started);
        assert_eq!(reason(begin(&house, order(1, 1, Level::Logical)).await), "IDEMPOTENCY_MISMATCH");
        let id = replay.replay_id;
        assert_eq!(reason(certify(&house, 1, &id).await), "REPLAY_NOT_PARITY");
        check(&house, &id, (0..3).map(again).collect()).await.unwrap();
        house.advance(1_000);
        let found = finish(&house, 1, &id).await.unwrap();
        assert_eq!((found.result(), found.behaviour(), found.timed_out), (Result::Parity, ComparisonResult::Parity, false));
        assert_eq!(found.totals.unwrap(), pb::ReplayTotals { steps: 3, checked: 3, matched: 3, ..Default::default() });
        let seal = sealed.seal.unwrap().seal.unwrap();
        assert_eq!(found.recorded_signature, seal.behaviour_signature);
        assert!(found.first_divergence.is_none() && found.drift.is_empty() && found.mismatch_id.is_empty());
        assert_eq!(finish(&house, 1, &id).await.unwrap(), found, "a repeat gets the first answer");
        assert_eq!(reason(finish(&house, 2, &id).await), "REPLAY_CLOSED");
        assert_eq!(reason(check(&house, &id, vec![again(0)]).await), "REPLAY_CLOSED");
        assert_eq!(get(&house, 1, &id).await.unwrap().replay.unwrap(), found);
        assert_eq!(house.trace(1).await.unwrap(), before, "the record is as it was");
        let certificate = certify(&house, 2, &id).await.unwrap();
        assert_eq!((certificate.run_id, certificate.attempt, &certificate.replay_id), (run(1), 1, &id));
        assert!(certificate.payload_json.contains(&format!("\"replay_id\":\"{id}\"")), "{}", certificate.payload_json);
        let told = house.published().await;
        assert_eq!(told.iter().filter(|event| event.r#type == "logs.ReplayFinished").count(), 1);
    }

    /// A10.2: a changed output is PARITY of behaviour and a mismatch; it is filed once, at the first place.
    async fn the_first_divergence_is_kept_and_filed(store: TestStore) {
        let house = House::over(store).await;
        recorded(&house, 1).await;
        let id = begun(&house, order(1, 1, Level::Strict)).await;
        let steps = vec![again(0), otherwise(1, "another"), otherwise(2, "another")];
        check(&house, &id, steps).await.unwrap();
        let found = finish(&house, 1, &id).await.unwrap();
        assert_eq!((found.result(), found.behaviour()), (Result::Diverged, ComparisonResult::Parity));
        let divergence = found.first_divergence.clone().unwrap();
        assert_eq!((divergence.step_index, divergence.reasons), (1, vec!["OUTPUT".to_owned()]));
        assert_eq!(reason(certify(&house, 1, &id).await), "REPLAY_NOT_PARITY");
        let asked = pb::ListMismatchesRequest { run_id: run(1), ..Default::default() };
        let request = house.ask("MismatchService/ListMismatches", asked);
        let mut client = pb::mismatch_service_client::MismatchServiceClient::new(house.way.clone());
        let filed = client.list_mismatches(request).await.unwrap().into_inner().mismatches;
        assert_eq!(filed.len(), 1);
        assert_eq!((&filed[0].mismatch_id, &filed[0].replay_id), (&found.mismatch_id, &id));
        assert_eq!((filed[0].step_index, filed[0].reason.as_str()), (Some(1), "OUTPUT"));
        assert!(filed[0].expected_digest.len() == 32 && filed[0].actual_digest.len() == 32);
        let sql = "SELECT event_type FROM ledger WHERE event_type LIKE 'logs.Mismatch%' OR event_type LIKE 'logs.Replay%' ORDER BY seq";
        let entries: Vec<(String,)> = house.db().await.read().fetch_all(sql, args![]).await.unwrap();
        let names: Vec<_> = entries.iter().map(|(name,)| name.as_str()).collect();
        assert_eq!(names, ["logs.MismatchReported", "logs.ReplayFinished"]);
    }

    /// A10.2: a changed parameter diverges at its index, also where a step is done again and not compared.
    async fn a_changed_parameter_diverges_at_its_step(store: TestStore) {
        let house = House::over(store).await;
        recorded(&house, 1).await;
        for (id, does) in [(1, Does::Check), (2, Does::Execute)] {
            let every = pb::ReplayRule { behaviour: does.into(), ..Default::default() };
            let replay = begun(&house, pb::StartReplayRequest { rules: vec![every], ..order(id, 1, Level::Logical) }).await;
            let changed = pb::ReplayedStep { parameters_json: r#"{"cents":1}"#.into(), ..again(1) };
            check(&house, &replay, vec![again(0), changed, again(2)]).await.unwrap();
            let found = finish(&house, id, &replay).await.unwrap();
            assert_eq!((found.result(), found.behaviour()), (Result::Diverged, ComparisonResult::Diverged), "{does:?}");
            let divergence = found.first_divergence.unwrap();
            assert_eq!((divergence.step_index, divergence.reasons), (1, vec!["PARAMETERS".to_owned()]), "{does:?}");
        }
    }

    async fn what_was_not_done_is_incomplete_and_never_parity(store: TestStore) {
        let house = House::over(store).await;
        recorded(&house, 1).await;
        let id = begun(&house, order(1, 1, Level::Strict)).await;
        check(&house, &id, vec![again(0), again(2)]).await.unwrap();
        let found = finish(&house, 1, &id).await.unwrap();
        assert_eq!((found.result(), found.totals.unwrap().unreported), (Result::Incomplete, 1));
        assert!(found.first_divergence.is_none(), "what is missing does not differ");
        let rules = vec![rule(1, Does::Skip)];
        let id = begun(&house, pb::StartReplayRequest { rules, ..order(2, 1, Level::Strict) }).await;
        check(&house, &id, vec![again(0), pb::ReplayedStep { step_index: 1, ..Default::default() }, again(2)]).await.unwrap();
        let found = finish(&house, 2, &id).await.unwrap();
        assert_eq!((found.result(), found.totals.unwrap().skipped), (Result::Parity, 1), "a step that is skipped is as recorded");
        let id = begun(&house, order(3, 1, Level::Strict)).await;
        let beyond = pb::ReplayedStep { step_index: 3, ..again(2) };
        check(&house, &id, vec![again(0), again(1), again(2), beyond]).await.unwrap();
        let found = finish(&house, 3, &id).await.unwrap();
        let divergence = found.first_divergence.clone().unwrap();
        assert_eq!((found.result(), divergence.step_index, divergence.reasons), (Result::Diverged, 3, vec!["INDEX".to_owned()]));
    }

    async fn circumstances_that_drift_fail_nothing(store: TestStore) {
        let house = House::over(store).await;
        recorded(&house, 1).await;
        let id = begun(&house, pb::StartReplayRequest { seed: Some(7), ..order(1, 1, Level::Strict) }).await;
        let other = |index| pb::ReplayedStep { provider: "provider-1".into(), model: "model-2".into(), ..again(index) };
        check(&house, &id, vec![other(0), again(1), again(2)]).await.unwrap();
        let found = finish(&house, 1, &id).await.unwrap();
        let drift: Vec<_> = found.drift.iter().map(|d| (d.step_index, d.what.as_str(), d.replayed.as_str())).collect();
        assert_eq!(drift, [(None, "SEED", "7"), (Some(0), "MODEL", "model-2")]);
        assert_eq!(found.result(), Result::Parity);
    }

    /// A replay whose client is gone is ended by its timeout, also by a process that starts later.
    async fn a_vanished_client_leaves_it_incomplete(store: TestStore) {
        let house = House::over(store).await;
        recorded(&house, 1).await;
        let id = begun(&house, pb::StartReplayRequest { timeout_ms: 1_000, ..order(1, 1, Level::Strict) }).await;
        check(&house, &id, (0..3).map(again).collect()).await.unwrap();
        house.advance(1_000);
        assert_eq!(reason(check(&house, &id, vec![again(0)]).await), "REPLAY_CLOSED");
        let mut deps = runspine_boot::Deps::for_tests(house.keys_folder().parent().unwrap()).unwrap().with_clock(house.clock.clone());
        deps.store = house.store.config().clone();
        let service = runspine_logs::service(runspine_logs::Config::default(), &deps).await.unwrap();
        // Starting is not `Send`.
        let started = tokio::task::spawn_blocking(move || {
            tokio::runtime::Handle::current().block_on(runspine_boot::start(vec![service], &deps))
        });
        let running = started.await.unwrap().unwrap();
        eventually(Duration::from_secs(30), || async {
            get(&house, 1, &id).await.unwrap().replay.unwrap().state() == State::Finished
        })
        .await;
        running.until(std::future::ready(())).await.unwrap();
        let found = get(&house, 1, &id).await.unwrap().replay.unwrap();
        assert_eq!((found.result(), found.timed_out), (Result::Incomplete, true), "nobody said that this was all");
    }

    async fn one_mismatch_may_end_a_stream(store: TestStore) {
        let house = House::over(store).await;
        recorded(&house, 1).await;
        let stops = pb::StartReplayRequest { stop_on_mismatch: true, ..order(1, 1, Level::Strict) };
        let id = begun(&house, stops).await;
        let answers = check(&house, &id, vec![again(0), otherwise(1, "x"), again(2)]).await.unwrap();
        assert_eq!(answers.len(), 2);
        let goes_on = begun(&house, order(2, 1, Level::Strict)).await;
        let answers = check(&house, &goes_on, vec![again(0), otherwise(1, "x"), again(2)]).await.unwrap();
        assert_eq!(answers.len(), 3);
    }

    async fn only_a_proved_attempt_is_replayed(store: TestStore) {
        let house = House::over(store).await;
        assert_eq!(reason(begin(&house, order(1, 9, Level::Strict)).await), "TRACE_NOT_FOUND");
        house.begin(1).await;
        house.append(1, vec![decision("d1", 0), step("s1", 0, "d1")]).await.unwrap();
        assert_eq!(reason(begin(&house, order(2, 1, Level::Strict)).await), "NOT_SEALED");
        let wrong = pb::StartReplayRequest {
            timeout_ms: 1,
            level: 9,
            rules: vec![pb::ReplayRule { step_index: Some(1), kind: 2, behaviour: 0 }],
            driven_run_id: run(1),
            ..order(3, 1, Level::Strict)
        };
        let refused = begin(&house, wrong).await.unwrap_err();
        let fields: Vec<_> = runspine_rpc::details(&refused).fields.into_iter().map(|(field, _)| field).collect();
        for field in ["level", "timeout_ms", "rules[0].behaviour", "rules[0].kind", "driven_run_id"] {
            assert!(fields.iter().any(|found| found == field), "{field} in {fields:?}");
        }
        recorded(&house, 2).await;
        let id = begun(&house, order(4, 2, Level::Strict)).await;
        let both = pb::ReplayedStep { output_digest: vec![1; 31].into(), outcome: 4, ..again(0) };
        assert_eq!(reason(check(&house, &id, vec![both]).await), "FIELD_INVALID");
    }

    /// Replays are their tenant's, listed by what they found, and never changed.
    async fn replays_are_listed_to_their_tenant(store: TestStore) {
        let house = House::over(store).await;
        for number in [1, 2] {
            recorded(&house, number).await;
        }
        let mut ids = Vec::new();
        for (id, number) in [(1, 1), (2, 1), (3, 2)] {
            ids.push(begun(&house, order(id, number, Level::Strict)).await);
            house.advance(1_000);
        }
        check(&house, &ids[0], (0..3).map(again).collect()).await.unwrap();
        finish(&house, 1, &ids[0]).await.unwrap();
        finish(&house, 2, &ids[1]).await.unwrap();
        let found = async |asked: pb::ListReplaysRequest| -> Vec<String> {
            list(&house, 1, asked).await.replays.into_iter().map(|replay| replay.replay_id).collect()
        };
        assert_eq!(found(pb::ListReplaysRequest::default()).await, [ids[2].clone(), ids[1].clone(), ids[0].clone()]);
        assert_eq!(found(pb::ListReplaysRequest { run_id: run(1), ..Default::default() }).await.len(), 2);
        let running = pb::ListReplaysRequest { state: State::Running.into(), ..Default::default() };
        assert_eq!(found(running).await, [ids[2].clone()]);
        let parity = pb::ListReplaysRequest { result: Result::Parity.into(), ..Default::default() };
        assert_eq!(found(parity).await, [ids[0].clone()]);
        let mut page = pb::ListReplaysRequest { page_size: 2, ..Default::default() };
        let first = list(&house, 1, page.clone()).await;
        page.page_token = first.next_page_token.clone();
        let rest = list(&house, 1, page).await;
        assert_eq!((first.replays.len(), rest.replays.len(), rest.next_page_token.len()), (2, 1, 0));
        assert!(list(&house, 2, pb::ListReplaysRequest::default()).await.replays.is_empty());
        assert_eq!(reason(get(&house, 2, &ids[0]).await), "REPLAY_NOT_FOUND");
        assert_eq!(reason(check_as(&house, 2, &ids[2], vec![again(0)]).await), "REPLAY_NOT_FOUND");
        assert_eq!(reason(finish(&house, 9, &test_id(53, 1)).await), "REPLAY_NOT_FOUND");
        let db = house.db().await;
        for table in ["replays", "replay_checks", "replay_ends"] {
            assert_append_only(&db, table).await;
        }
    }
}
