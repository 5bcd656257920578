//! What people do to incidents.

use contracts_common::common::v1::ActorType;
use contracts_incidents::v1::{self as pb, CloseReason, IncidentStatus, Severity};
use runspine_errors::mesh;
use runspine_incidents_domain::reasons;
use runspine_testkit::{TestStore, on_both_engines, run, test_id};
use tonic::Status;

use crate::harness::{House, failed, refused, request_id};

async fn acknowledge(
    house: &House,
    actor: &str,
    id: &str,
    version: i64,
    call: u64,
) -> Result<pb::Incident, Status> {
    let message = pb::AcknowledgeIncidentRequest {
        incident_id: id.to_owned(),
        expected_version: version,
        note: "mine".into(),
        request_id: request_id(call),
    };
    let request = house.ask_as(1, actor, "IncidentService/AcknowledgeIncident", message);
    Ok(house.incidents.clone().acknowledge_incident(request).await?.into_inner().incident.unwrap())
}

async fn resolve(house: &House, id: &str, version: i64, call: u64) -> Result<pb::Incident, Status> {
    let message = pb::ResolveIncidentRequest {
        incident_id: id.to_owned(),
        expected_version: version,
        resolution_method: 2,
        resolution_type: 1,
        summary: "the tool works again".into(),
        request_id: request_id(call),
    };
    let request = house.ask("IncidentService/ResolveIncident", message);
    Ok(house.incidents.clone().resolve_incident(request).await?.into_inner().incident.unwrap())
}

/// Ends it by itself, as who is of a kind.
async fn end_by_itself(house: &House, kind: ActorType, id: &str) -> Result<pb::Incident, Status> {
    let message = pb::ResolveIncidentRequest {
        incident_id: id.to_owned(),
        expected_version: 1,
        resolution_method: pb::ResolutionMethod::Auto as i32,
        resolution_type: pb::ResolutionType::Recovered as i32,
        summary: "its breaker closed".into(),
        request_id: request_id(1),
    };
    let request = house.ask_of(1, (kind, "x"), "IncidentService/ResolveIncident", message);
    Ok(house.incidents.clone().resolve_incident(request).await?.into_inner().incident.unwrap())
}

async fn close(house: &House, id: &str, version: i64, call: u64) -> Result<pb::Incident, Status> {
    let message = pb::CloseIncidentRequest {
        incident_id: id.to_owned(),
        expected_version: version,
        reason: CloseReason::Duplicate as i32,
        note: String::new(),
        request_id: request_id(call),
    };
    let request = house.ask("IncidentService/CloseIncident", message);
    Ok(house.incidents.clone().close_incident(request).await?.into_inner().incident.unwrap())
}

async fn reopen(house: &House, id: &str, version: i64, call: u64) -> Result<pb::Incident, Status> {
    let message = pb::ReopenIncidentRequest {
        incident_id: id.to_owned(),
        expected_version: version,
        reason: "it is back".into(),
        request_id: request_id(call),
    };
    let request = house.ask("IncidentService/ReopenIncident", message);
    Ok(house.incidents.clone().reopen_incident(request).await?.into_inner().incident.unwrap())
}

async fn raise(
    house: &House,
    id: &str,
    version: i64,
    severity: Severity,
    call: u64,
) -> Result<pb::Incident, Status> {
    let message = pb::RaiseSeverityRequest {
        incident_id: id.to_owned(),
        expected_version: version,
        severity: severity as i32,
        reason: "customers see it".into(),
        request_id: request_id(call),
    };
    let request = house.ask("IncidentService/RaiseSeverity", message);
    Ok(house.incidents.clone().raise_severity(request).await?.into_inner().incident.unwrap())
}

on_both_engines! {
    /// From opening to the end and back, each step with its event, history entry and version.
    async fn a_whole_life(store: TestStore) {
        let house = House::over(store).await;
        let id = house.report(failed(1)).await.unwrap().incident_id;
        let taken = acknowledge(&house, "kim", &id, 1, 1).await.unwrap();
        assert_eq!((taken.status, taken.version, taken.acknowledged_by.as_str()), (2, 2, "kim"));
        let raised = raise(&house, &id, 2, Severity::Critical, 2).await.unwrap();
        assert_eq!((raised.severity, raised.version), (4, 3));
        let resolved = resolve(&house, &id, 3, 3).await.unwrap();
        assert_eq!((resolved.status, resolved.topic, resolved.resolved_by.as_str()), (3, 2, "kim"));
        let reopened = reopen(&house, &id, 4, 4).await.unwrap();
        assert_eq!((reopened.status, reopened.resolved_at, reopened.resolution_method), (1, None, 0));
        let closed = close(&house, &id, 5, 5).await.unwrap();
        assert_eq!((closed.status, closed.closed_reason), (4, CloseReason::Duplicate as i32));
        let history = house.history(&id).await;
        assert_eq!(history.iter().map(|e| e.kind).collect::<Vec<_>>(), [1, 4, 3, 9, 12, 11]);
        assert_eq!(history.iter().map(|e| e.seq).collect::<Vec<_>>(), [1, 2, 3, 4, 5, 6]);
        assert!(history[1..].iter().all(|e| e.actor.as_ref().unwrap().id == "kim"));
        assert_eq!(house.published_kinds().await, [
            "IncidentOpened", "IncidentLinked", "IncidentAcknowledged", "SeverityRaised", "IncidentResolved",
            "IncidentReopened", "IncidentClosed",
        ]);
    }

    /// AUTO is the word of the mesh alone.
    async fn nobody_says_that_it_ended_by_itself(store: TestStore) {
        let house = House::over(store).await;
        let id = house.report(failed(1)).await.unwrap().incident_id;
        for kind in [ActorType::Human, ActorType::Service, ActorType::Agent] {
            refused(end_by_itself(&house, kind, &id).await, &mesh::FIELD_INVALID);
        }
        let ended = end_by_itself(&house, ActorType::System, &id).await.unwrap();
        assert_eq!((ended.status, ended.resolution_method), (3, pb::ResolutionMethod::Auto as i32));
        let kinds: Vec<_> = house.history(&id).await.iter().map(|e| e.kind).collect();
        assert_eq!(kinds, [1, 10], "OPENED, AUTO_RESOLVED");
    }

    /// The same call again has the first answer, another body is refused, and an old version too.
    async fn calls_are_keyed_and_versions_compared(store: TestStore) {
        let house = House::over(store).await;
        let id = house.report(failed(1)).await.unwrap().incident_id;
        let first = acknowledge(&house, "kim", &id, 1, 1).await.unwrap();
        resolve(&house, &id, 2, 2).await.unwrap();
        assert_eq!(acknowledge(&house, "kim", &id, 1, 1).await.unwrap(), first);
        refused(acknowledge(&house, "kim", &id, 3, 1).await, &mesh::IDEMPOTENCY_MISMATCH);
        let status = refused(reopen(&house, &id, 2, 3).await, &reasons::VERSION_MOVED);
        assert_eq!(runspine_rpc::details(&status).metadata["version"], "3");
        refused(resolve(&house, &id, 3, 4).await, &reasons::INVALID_TRANSITION);
    }

    /// One person takes it twice: unchanged. Another one: refused.
    async fn taking_twice(store: TestStore) {
        let house = House::over(store).await;
        let id = house.report(failed(1)).await.unwrap().incident_id;
        let first = acknowledge(&house, "kim", &id, 1, 1).await.unwrap();
        assert_eq!(acknowledge(&house, "kim", &id, 1, 2).await.unwrap(), first);
        refused(acknowledge(&house, "lee", &id, 2, 3).await, &reasons::INVALID_TRANSITION);
        refused(raise(&house, &id, 2, Severity::High, 4).await, &reasons::SEVERITY_ONLY_RISES);
    }

    /// Of 16 people who take it at once, one does.
    async fn one_of_many_takes_it(store: TestStore) {
        let house = House::over(store).await;
        let id = house.report(failed(1)).await.unwrap().incident_id;
        let names: Vec<String> = (0..16).map(|n| format!("person-{n}")).collect();
        let calls = names.iter().zip(1..).map(|(name, call)| acknowledge(&house, name, &id, 1, call));
        let answers = futures::future::join_all(calls).await;
        assert_eq!(answers.iter().filter(|a| a.is_ok()).count(), 1);
        assert_eq!(house.incident(&id).await.version, 2);
    }

    /// A person opens one with runs and evidence; nothing joins it by itself.
    async fn opened_by_hand(store: TestStore) {
        let house = House::over(store).await;
        let message = pb::CreateIncidentRequest {
            title: "answers without grounds".into(),
            severity: 2,
            category: 11,
            run_ids: vec![run(1), run(2)],
            evidence: vec![pb::Evidence { kind: 2, value: "\"…\"".into(), ..pb::Evidence::default() }],
            request_id: request_id(1),
            ..pb::CreateIncidentRequest::default()
        };
        let ask = |message: pb::CreateIncidentRequest| house.ask("IncidentService/CreateIncident", message);
        let mut client = house.incidents.clone();
        let first = client.create_incident(ask(message.clone())).await.unwrap().into_inner();
        assert_eq!(client.create_incident(ask(message.clone())).await.unwrap().into_inner(), first);
        let incident = first.incident.unwrap();
        assert_eq!((incident.trigger_type, incident.cause_type, incident.occurrence_count), (17, 3, 2));
        assert!(incident.aware_at.is_some());
        let detail = house.get(&incident.incident_id).await;
        assert_eq!((detail.evidence_count, detail.links.len(), detail.run_ids.len()), (1, 2, 2));
        assert_eq!(house.published_kinds().await, ["IncidentOpened", "IncidentLinked", "IncidentLinked"]);
        let aware_at = Some(prost_types::Timestamp { seconds: 4_000_000_000, nanos: 0 });
        let early = pb::CreateIncidentRequest { aware_at, request_id: request_id(2), ..message };
        refused(client.create_incident(ask(early)).await, &reasons::AWARE_IN_FUTURE);
    }

    /// Assigning and notes change the history, and what is missing is refused by name.
    async fn notes_and_reasons(store: TestStore) {
        let house = House::over(store).await;
        let id = house.report(failed(1)).await.unwrap().incident_id;
        let mut client = house.incidents.clone();
        let assign = pb::AssignIncidentRequest {
            incident_id: id.clone(), expected_version: 1, assignee: "lee".into(), request_id: request_id(1),
        };
        let incident = client.assign_incident(house.ask("IncidentService/AssignIncident", assign)).await.unwrap();
        assert_eq!(incident.into_inner().incident.unwrap().assignee, "lee");
        let note = pb::AddNoteRequest {
            incident_id: id.clone(), expected_version: 2, text: "looking".into(), request_id: request_id(2),
        };
        client.add_note(house.ask("IncidentService/AddNote", note)).await.unwrap();
        assert_eq!(house.history(&id).await.last().unwrap().note, "looking");
        let silent = pb::CloseIncidentRequest {
            incident_id: id.clone(), expected_version: 3, request_id: request_id(3), ..pb::CloseIncidentRequest::default()
        };
        let call = house.ask("IncidentService/CloseIncident", silent.clone());
        refused(client.close_incident(call).await, &reasons::REASON_REQUIRED);
        let other = pb::CloseIncidentRequest { reason: 4, ..silent };
        refused(client.close_incident(house.ask("IncidentService/CloseIncident", other)).await, &reasons::REASON_REQUIRED);
        let unknown = pb::ReopenIncidentRequest {
            incident_id: test_id(8, 1), expected_version: 1, reason: "x".into(), request_id: request_id(5),
        };
        let call = house.ask("IncidentService/ReopenIncident", unknown);
        refused(client.reopen_incident(call).await, &reasons::INCIDENT_NOT_FOUND);
        assert_eq!(house.incident(&id).await.status, IncidentStatus::Open as i32);
    }

    /// Another tenant sees nothing and changes nothing.
    async fn tenants_are_apart(store: TestStore) {
        let house = House::over(store).await;
        let id = house.report(failed(1)).await.unwrap().incident_id;
        let mut client = house.incidents.clone();
        let get = house.ask_as(2, "kim", "IncidentService/GetIncident", pb::GetIncidentRequest { incident_id: id.clone() });
        refused(client.get_incident(get).await, &reasons::INCIDENT_NOT_FOUND);
        let events = pb::ListIncidentEventsRequest { incident_id: id.clone(), ..Default::default() };
        let events = house.ask_as(2, "kim", "IncidentService/ListIncidentEvents", events);
        refused(client.list_incident_events(events).await, &reasons::INCIDENT_NOT_FOUND);
        let note = pb::AddNoteRequest {
            incident_id: id.clone(), expected_version: 1, text: "x".into(), request_id: request_id(1),
        };
        let note = house.ask_as(2, "kim", "IncidentService/AddNote", note);
        refused(client.add_note(note).await, &reasons::INCIDENT_NOT_FOUND);
        let list = house.ask_as(2, "kim", "IncidentService/ListIncidents", pb::ListIncidentsRequest::default());
        assert!(client.list_incidents(list).await.unwrap().into_inner().incidents.is_empty());
        // The same run of another tenant is another run.
        let report = house.ask_as(2, "kim", "IncidentReportService/ReportRunOutcome", failed(1));
        let other = house.reports.clone().report_run_outcome(report).await.unwrap().into_inner();
        assert_ne!(other.incident_id, id);
        assert_eq!(house.incident(&id).await.version, 1);
    }
}
