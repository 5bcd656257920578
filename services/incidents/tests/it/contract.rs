//! The contract: every RPC is served, every reason has a page, the service starts by itself.

use std::{collections::BTreeSet, path::Path};

use contracts_incidents::v1 as pb;
use runspine_boot::Deps;
use runspine_incidents::Config;
use runspine_incidents_domain::reasons;
use runspine_rpc::Registry;
use runspine_testkit::{TestStore, test_id};
use tonic::{Code, Status};

use crate::harness::House;

/// Calls an RPC with an empty request and says whether somebody answered.
macro_rules! answers {
    ($house:expr, $client:ident, $service:literal, $($method:ident: $name:literal => $message:ident),* $(,)?) => {{
        let mut served = Vec::new();
        $(
            let operation = concat!($service, "/", $name);
            let request = $house.ask(operation, pb::$message::default());
            let answer = $house.$client.clone().$method(request).await;
            served.push((operation, answer.err()));
        )*
        served
    }};
}

/// Each RPC of the descriptor set answers with something else than UNIMPLEMENTED or INTERNAL.
#[tokio::test]
async fn every_operation_is_served() {
    let house = House::over(TestStore::start(runspine_testkit::SQLITE).await).await;
    let mut served: Vec<(&str, Option<Status>)> = answers!(house, reports, "IncidentReportService",
        report_run_outcome: "ReportRunOutcome" => ReportRunOutcomeRequest,
        report_incident: "ReportIncident" => ReportIncidentRequest,
        open_violation_incident: "OpenViolationIncident" => OpenViolationIncidentRequest,
        void_incident: "VoidIncident" => VoidIncidentRequest,
    );
    served.extend(answers!(house, incidents, "IncidentService",
        create_incident: "CreateIncident" => CreateIncidentRequest,
        acknowledge_incident: "AcknowledgeIncident" => AcknowledgeIncidentRequest,
        resolve_incident: "ResolveIncident" => ResolveIncidentRequest,
        close_incident: "CloseIncident" => CloseIncidentRequest,
        reopen_incident: "ReopenIncident" => ReopenIncidentRequest,
        raise_severity: "RaiseSeverity" => RaiseSeverityRequest,
        assign_incident: "AssignIncident" => AssignIncidentRequest,
        add_note: "AddNote" => AddNoteRequest,
        get_incident: "GetIncident" => GetIncidentRequest,
        list_incidents: "ListIncidents" => ListIncidentsRequest,
        list_run_incidents: "ListRunIncidents" => ListRunIncidentsRequest,
        list_incident_events: "ListIncidentEvents" => ListIncidentEventsRequest,
    ));
    served.extend(answers!(house, events, "EventService",
        pull_events: "PullEvents" => PullEventsRequest,
        ack_events: "AckEvents" => AckEventsRequest,
    ));
    served.extend(answers!(house, exports, "IncidentExportService",
        prepare_export: "PrepareExport" => PrepareExportRequest,
        complete_export: "CompleteExport" => CompleteExportRequest,
        fail_export: "FailExport" => FailExportRequest,
        get_incident_export: "GetIncidentExport" => GetIncidentExportRequest,
        list_incident_exports: "ListIncidentExports" => ListIncidentExportsRequest,
    ));
    let registry = Registry::read(&[contracts_incidents::DESCRIPTORS]).unwrap();
    let known: BTreeSet<String> = registry.operations().map(|o| o.name.clone()).collect();
    let called: BTreeSet<String> = served.iter().map(|(n, _)| format!("runspine.incidents.v1.{n}")).collect();
    assert_eq!(known, called);
    for (operation, refusal) in served {
        // An empty request is wrong everywhere but in the lists of everything.
        let lists = ["IncidentService/ListIncidents", "IncidentExportService/ListIncidentExports"];
        let expected = (!lists.contains(&operation)).then_some(Code::InvalidArgument);
        assert_eq!(refusal.map(|status| status.code()), expected, "{operation}");
    }
}

/// The domain starts as the mesh starts it, and refuses settings that make no sense.
#[tokio::test]
async fn the_service_starts() {
    let dir = tempfile::tempdir().unwrap();
    let deps = Deps::for_tests(dir.path()).unwrap();
    let service = runspine_incidents::service(Config::default(), &deps).await.unwrap();
    assert_eq!(service.name, "incidents");
    let config = Config { window_seconds: 0, ..Config::default() };
    assert!(runspine_incidents::service(config, &deps).await.is_err());
    assert!(deps.settings.section::<Config>("incidents").is_ok());
}

/// A store that fails answers UNAVAILABLE: never an empty list, never "no incident".
#[tokio::test]
async fn a_store_that_fails_is_told() {
    let house = House::over(TestStore::start(runspine_testkit::SQLITE).await).await;
    house.db.close().await;
    let failures = [
        house.report(crate::harness::failed(1)).await.map(|_| ()),
        house.void(crate::harness::void(1, "X")).await.map(|_| ()),
        {
            let request = house.ask("IncidentService/ListIncidents", pb::ListIncidentsRequest::default());
            house.incidents.clone().list_incidents(request).await.map(|_| ())
        },
        {
            let message = pb::GetIncidentRequest { incident_id: test_id(8, 1) };
            let request = house.ask("IncidentService/GetIncident", message);
            house.incidents.clone().get_incident(request).await.map(|_| ())
        },
        {
            let message = pb::ListRunIncidentsRequest { run_id: test_id(2, 1) };
            let request = house.ask("IncidentService/ListRunIncidents", message);
            house.incidents.clone().list_run_incidents(request).await.map(|_| ())
        },
    ];
    for failure in failures {
        assert_eq!(failure.unwrap_err().code(), Code::Unavailable);
    }
}

/// Each reason of the domain has its page.
#[test]
fn every_reason_has_a_page() {
    let pages = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/errors/incidents");
    assert_eq!(reasons::ALL.len(), 13);
    for reason in reasons::ALL {
        let page = std::fs::read_to_string(pages.join(format!("{}.md", reason.name))).unwrap_or_default();
        assert!(page.starts_with(&format!("# {}\n", reason.name)), "{} has no page", reason.name);
    }
}
