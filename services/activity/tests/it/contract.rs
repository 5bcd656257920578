//! The contract: every RPC is served, every reason has a page, the service starts by itself.

use std::{collections::BTreeSet, path::Path};

use contracts_activity::v1 as pb;
use runspine_activity::Config;
use runspine_activity_domain::reasons;
use runspine_boot::Deps;
use runspine_rpc::Registry;
use runspine_testkit::TestStore;
use tonic::{Code, Status};

use crate::{call, harness::House};

macro_rules! answers {
    ($house:expr, $client:ident, $service:literal, $($method:ident: $name:literal => $message:ident),* $(,)?) => {
        vec![$((concat!($service, "/", $name),
            call!($house, $client.$method, $name, pb::$message::default()).err())),*]
    };
}

/// Each RPC of the descriptor set answers with something else than UNIMPLEMENTED or INTERNAL.
#[tokio::test]
async fn every_operation_is_served() {
    let house = House::over(TestStore::start(runspine_testkit::SQLITE).await).await;
    let mut served: Vec<(&str, Option<Status>)> = answers!(house, store, "RunStoreService",
        create_run: "CreateRun" => CreateRunRequest,
        create_attempt: "CreateAttempt" => CreateAttemptRequest,
        transition_run: "TransitionRun" => TransitionRunRequest,
        finish_run: "FinishRun" => FinishRunRequest,
        get_run_state: "GetRunState" => GetRunStateRequest,
        grant_lease: "GrantLease" => GrantLeaseRequest,
        renew_lease: "RenewLease" => RenewLeaseRequest,
        release_lease: "ReleaseLease" => ReleaseLeaseRequest,
        claim_lapsed: "ClaimLapsed" => ClaimLapsedRequest,
        request_stop: "RequestStop" => RequestStopRequest,
        add_pause: "AddPause" => AddPauseRequest,
        extend_pause: "ExtendPause" => ExtendPauseRequest,
        clear_pauses: "ClearPauses" => ClearPausesRequest,
        keep_answer: "KeepAnswer" => KeepAnswerRequest,
        get_answer: "GetAnswer" => GetAnswerRequest,
        apply_facts: "ApplyFacts" => ApplyFactsRequest,
        rebuild_projection: "RebuildProjection" => RebuildProjectionRequest,
    );
    served.extend(answers!(house, query, "RunQueryService",
        list_runs: "ListRuns" => ListRunsRequest,
        get_run_view: "GetRunView" => GetRunViewRequest,
        count_runs: "CountRuns" => CountRunsRequest,
    ));
    served.extend(answers!(house, events, "EventService",
        pull_events: "PullEvents" => PullEventsRequest,
        ack_events: "AckEvents" => AckEventsRequest,
    ));
    let registry = Registry::read(&[contracts_activity::DESCRIPTORS]).unwrap();
    let known: BTreeSet<String> = registry.operations().map(|o| o.name.clone()).collect();
    let called: BTreeSet<String> = served.iter().map(|(n, _)| format!("runspine.activity.v1.{n}")).collect();
    assert_eq!(known, called);
    for (operation, refusal) in served {
        // An empty request is wrong everywhere but where everything is asked for.
        let everything = ["RunQueryService/ListRuns", "RunQueryService/CountRuns"].contains(&operation);
        let expected = (!everything).then_some(Code::InvalidArgument);
        assert_eq!(refusal.map(|status| status.code()), expected, "{operation}");
    }
}

/// The domain starts as the mesh starts it, and refuses settings that make no sense.
#[tokio::test]
async fn the_service_starts() {
    let dir = tempfile::tempdir().unwrap();
    let deps = Deps::for_tests(dir.path()).unwrap();
    let service = runspine_activity::service(Config::default(), &deps).await.unwrap();
    assert_eq!(service.name, "activity");
    let config = Config { orphan_after_minutes: 0 };
    assert!(runspine_activity::service(config, &deps).await.is_err());
    assert!(deps.settings.section::<Config>("activity").is_ok());
}

/// Every violation of a request is told at once; a contradiction in the attribution has its own reason.
#[tokio::test]
async fn violations_are_told_together() {
    let house = House::over(TestStore::start(runspine_testkit::SQLITE).await).await;
    let mut request = crate::harness::new_run(1);
    if let Some(attributes) = request.attributes.as_mut() {
        attributes.actor_id.clear();
        attributes.origin_system_id.clear();
    }
    let status = call!(house, store.create_run, "CreateRun", request.clone()).unwrap_err();
    let told = runspine_rpc::details(&status);
    assert!(told.is(&reasons::ATTRIBUTION_INVALID) && told.fields.len() == 2, "{told:?}");
    request.status = 99;
    let status = call!(house, store.create_run, "CreateRun", request).unwrap_err();
    assert!(runspine_rpc::details(&status).fields.len() >= 3);
}

/// A store that fails answers UNAVAILABLE: never an empty list, never "no run".
#[tokio::test]
async fn a_store_that_fails_is_told() {
    let house = House::over(TestStore::start(runspine_testkit::SQLITE).await).await;
    house.start(1).await;
    house.db.close().await;
    let failures = [
        call!(house, query.list_runs, "ListRuns", pb::ListRunsRequest::default()).map(|_| ()),
        call!(house, query.count_runs, "CountRuns", pb::CountRunsRequest::default()).map(|_| ()),
        call!(house, store.create_run, "CreateRun", crate::harness::new_run(2)).map(|_| ()),
        house.renew(1, 1, 1).await.map(|_| ()),
    ];
    for failure in failures {
        assert_eq!(failure.unwrap_err().code(), Code::Unavailable);
    }
}

/// Each reason of the domain has its page, and each page its reason.
#[test]
fn every_reason_has_a_page() {
    let pages = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/errors/activity");
    let found: BTreeSet<String> = std::fs::read_dir(&pages)
        .unwrap()
        .map(|entry| entry.unwrap().path().file_stem().unwrap().to_string_lossy().into_owned())
        .collect();
    let declared: BTreeSet<String> = reasons::ALL.iter().map(|reason| reason.name.to_owned()).collect();
    assert_eq!(found, declared);
}
