//! The archive: a verified bundle beside rows that stay.

use std::time::Duration;

use contracts_logs::v1::{self as pb, TraceState};
use runspine_boot::Deps;
use runspine_db::{AssertSqlSafe, args};
use runspine_logs::Config;
use runspine_logs_domain::{
    bundle::{Options, Verdict, verify_bundle},
    keys::parse_verifier_key,
};
use runspine_testkit::{TestStore, assert_append_only, on_both_engines, run, tenant};
use runspine_types::hash;

use super::harness::{Answer, House, decision, reason, start};

async fn archive(house: &House, who: u64, number: u64) -> Answer<pb::ArchiveTraceResponse> {
    let request = pb::ArchiveTraceRequest { run_id: run(number), attempt: 0 };
    let request = house.ask_as(who, "TraceService/ArchiveTrace", request);
    house.traces.clone().archive_trace(request).await.map(tonic::Response::into_inner)
}

async fn listed(house: &House, state: TraceState) -> Vec<String> {
    let filter = pb::TraceFilter { state: state.into(), ..Default::default() };
    let mut request = pb::ListTracesRequest { filter: Some(filter), page_size: 1, ..Default::default() };
    let mut runs = Vec::new();
    loop {
        let asked = house.ask("TraceService/ListTraces", request.clone());
        let page = house.traces.clone().list_traces(asked).await.unwrap().into_inner();
        runs.extend(page.traces.into_iter().map(|trace| trace.header.unwrap().run_id));
        if page.next_page_token.is_empty() {
            runs.sort_unstable();
            return runs;
        }
        request.page_token = page.next_page_token;
    }
}

on_both_engines! {
    async fn an_archived_attempt_is_in_a_file_that_verifies(store: TestStore) {
        let house = House::over(store).await;
        house.sealed_run(1).await;
        house.sealed_run(2).await;
        house.begin(3).await;
        let four = futures::future::join_all((0..4).map(|_| archive(&house, 1, 1))).await;
        let first = four[0].as_ref().unwrap().clone();
        assert!(four.iter().all(|one| one.as_ref().unwrap() == &first), "asked four times at once, archived once");
        let place = first.archive.clone().unwrap();
        house.advance(1_000);
        assert_eq!(archive(&house, 1, 1).await.unwrap(), first, "what is archived stays where it is");
        assert_eq!(reason(archive(&house, 1, 3).await), "NOT_SEALED");
        assert_eq!(reason(archive(&house, 1, 9).await), "TRACE_NOT_FOUND");
        assert_eq!(reason(archive(&house, 2, 1).await), "TRACE_NOT_FOUND", "another tenant's");
        let folder = house.archive_folder().join(tenant(1));
        assert_eq!(std::fs::read_dir(folder).unwrap().count(), 1, "nothing else is left");
        let file = std::fs::read(house.archive_folder().join(&place.location)).unwrap();
        assert_eq!((hash(&file).to_vec(), file.len() as u64), (place.bundle_digest.to_vec(), place.size));
        let keys = house.ask("KeyService/ListKeys", pb::ListKeysRequest::default());
        let keys = house.keys.clone().list_keys(keys).await.unwrap().into_inner().keys;
        let trusted = keys.iter().map(|key| parse_verifier_key(&key.verifier_key).unwrap()).collect();
        let options = Options { trusted, tenant_id: Some(tenant(1)), against: None };
        assert_eq!(verify_bundle(file.as_slice(), &options).unwrap().verdict, Verdict::Verified);
        let trace = house.trace(1).await.unwrap().trace.unwrap();
        assert_eq!((trace.state(), trace.archive), (TraceState::Archived, Some(place)));
        assert_eq!(listed(&house, TraceState::Archived).await, [run(1)]);
        assert_eq!(listed(&house, TraceState::Sealed).await, [run(2)]);
        assert_eq!(listed(&house, TraceState::Open).await, [run(3)]);
        assert_eq!(listed(&house, TraceState::Unspecified).await.len(), 3);
        let told = house.published().await.into_iter().filter(|e| e.r#type == "logs.TraceArchived").count();
        assert_eq!(told, 1);
        let db = house.db().await;
        assert_append_only(&db, "trace_archives").await;
    }

    /// Section 3: late facts go to an archived trace as they go to a sealed one, and the rows stay readable.
    async fn an_archived_attempt_takes_what_comes_late(store: TestStore) {
        let house = House::over(store).await;
        house.sealed_run(1).await;
        archive(&house, 1, 1).await.unwrap();
        let late = pb::AppendAddendumRequest {
            run_id: run(1),
            attempt: 1,
            reason: "it came late".into(),
            items: vec![decision("late", 9)],
            request_id: runspine_testkit::test_id(33, 1),
        };
        house.late(late).await.unwrap();
        assert_eq!(house.prove(1).await.overall(), pb::ProofStatus::Verified);
        house.declare(1, 2).await;
        house.start(start(1, 2)).await.unwrap();
    }

    /// What does not pass its proof is not archived, and nothing is left of the try.
    async fn a_damaged_trace_is_not_archived(store: TestStore) {
        let house = House::over(store).await;
        house.sealed_run(1).await;
        let db = house.db().await;
        let lift = db.dialect().pick(
            "DROP TRIGGER trace_records_append_only_update",
            "DROP TRIGGER trace_records_append_only_update ON trace_records",
        );
        db.write("damage", move |tx| {
            Box::pin(async move {
                tx.execute(AssertSqlSafe(lift), args![]).await?;
                tx.execute("UPDATE trace_records SET cost_microusd = 1 WHERE position = 2", args![]).await?;
                Ok(())
            })
        })
        .await
        .unwrap();
        assert_eq!(reason(archive(&house, 1, 1).await), "PROOF_NOT_VERIFIED");
        assert!(!house.archive_folder().exists());
    }

    /// Section 21: what was sealed 90 days ago is archived without anybody asking.
    async fn old_traces_are_archived_by_themselves(store: TestStore) {
        let house = House::over(store).await;
        house.sealed_run(1).await;
        house.advance(80 * 24 * 3_600_000);
        house.sealed_run(2).await;
        house.advance(11 * 24 * 3_600_000);
        let folder = tempfile::tempdir().unwrap();
        let mut deps = Deps::for_tests(folder.path()).unwrap().with_clock(house.clock.clone());
        deps.store = house.store.config().clone();
        let mut config = Config::default();
        config.archive.dir = Some(folder.path().join("elsewhere"));
        config.signing.seal_key = Some(house.keys_folder().join("seal.pem"));
        config.signing.checkpoint_key = Some(house.keys_folder().join("checkpoint.pem"));
        config.signing.export_key = Some(house.keys_folder().join("export.pem"));
        config.signing.certificate_key = Some(house.keys_folder().join("certificate.pem"));
        let (done, told) = tokio::sync::oneshot::channel::<()>();
        // Starting a process is no future that can be sent, so it has a thread of its own.
        let serving = tokio::task::spawn_blocking(move || {
            tokio::runtime::Handle::current().block_on(async move {
                let service = runspine_logs::service(config, &deps).await.unwrap();
                let running = runspine_boot::start(vec![service], &deps).await.unwrap();
                told.await.unwrap();
                running.stop().await;
            });
        });
        runspine_testkit::eventually(Duration::from_secs(60), || async {
            listed(&house, TraceState::Archived).await == [run(1)]
        })
        .await;
        done.send(()).unwrap();
        serving.await.unwrap();
        assert_eq!(listed(&house, TraceState::Sealed).await, [run(2)], "it is not old enough");
    }
}
