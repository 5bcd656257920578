//! VoidIncident: the undo of the completion saga.

use contracts_incidents::v1::{IncidentStatus, VoidIncidentRequest};
use runspine_errors::mesh;
use runspine_incidents_domain::reasons;
use runspine_testkit::{TestStore, on_both_engines};

use crate::harness::{House, failed, failed_with, refused, request_id, system_fact, void};

on_both_engines! {
    /// The only occurrence voided voids the incident; twice is one event and the same answer.
    async fn voiding_the_only_occurrence_voids_the_incident(store: TestStore) {
        let house = House::over(store).await;
        let report = house.report(failed(1)).await.unwrap();
        let first = house.void(void(1, &report.cause_code)).await.unwrap();
        assert_eq!(first.voided_occurrences, 1);
        assert_eq!(first.incident.as_ref().unwrap().status, IncidentStatus::Voided as i32);
        let again = VoidIncidentRequest { request_id: request_id(77), ..void(1, &report.cause_code) };
        assert_eq!(house.void(again).await.unwrap(), first);
        let voids = house.history(&report.incident_id).await.iter().filter(|e| e.kind == 14).count();
        assert_eq!(voids, 1);
        assert!(house.of_run(1).await.occurrences[0].voided);
        // The report itself keeps its first answer.
        assert_eq!(house.report(failed(1)).await.unwrap(), report);
        let kinds = house.published_kinds().await;
        assert_eq!(kinds, ["IncidentOpened", "IncidentLinked", "IncidentVoided"]);
        let other = VoidIncidentRequest { reason: "another".into(), ..void(1, &report.cause_code) };
        refused(house.void(other).await, &mesh::IDEMPOTENCY_MISMATCH);
    }

    /// One of five grouped runs voided leaves the incident ACTIVE with count 4, by incident id too.
    async fn voiding_one_of_five_leaves_four(store: TestStore) {
        let house = House::over(store).await;
        let mut incident_id = String::new();
        for number in 1..=5 {
            incident_id = house.report(failed(number)).await.unwrap().incident_id;
        }
        let order = VoidIncidentRequest { cause: String::new(), incident_id, ..void(3, "") };
        let answer = house.void(order).await.unwrap();
        let incident = answer.incident.unwrap();
        assert_eq!((answer.voided_occurrences, incident.occurrence_count), (1, 4));
        assert_eq!((incident.status, incident.cost_impact_microusd), (IncidentStatus::Open as i32, 400));
        assert_eq!(house.get(&incident.incident_id).await.run_ids.len(), 4);
    }

    /// The undo of a report that never arrived is harmless, and the late report is refused.
    async fn a_late_report_is_refused(store: TestStore) {
        let house = House::over(store).await;
        let answer = house.void(void(1, "STEP_FAILURE")).await.unwrap();
        assert_eq!((answer.voided_occurrences, answer.incident.clone()), (0, None));
        assert_eq!(house.void(void(1, "STEP_FAILURE")).await.unwrap(), answer);
        refused(house.report(failed(1)).await, &reasons::ALREADY_VOIDED);
        assert_eq!(house.count("incidents").await, 0);
        // Another attempt is another matter.
        house.report(contracts_incidents::v1::ReportRunOutcomeRequest { attempt: 2, ..failed(1) }).await.unwrap();
    }

    /// After the undo, the spine's own report of the compensated run stands, though cause and run are the same.
    async fn a_compensated_run_gets_an_incident_of_its_own(store: TestStore) {
        let house = House::over(store).await;
        let report = house.report(failed_with(1, "SYSTEM_FAILURE")).await.unwrap();
        house.void(void(1, &report.cause_code)).await.unwrap();
        let mut fact = system_fact(1);
        (fact.run_id, fact.attempt) = (runspine_testkit::run(1), 1);
        let own = house.fact(fact).await.unwrap();
        assert!(own.created && own.incident_id != report.incident_id);
        let found = house.of_run(1).await;
        assert_eq!(found.incidents.len(), 2);
        assert_eq!(found.occurrences.iter().filter(|o| !o.voided).count(), 1);
    }
}
