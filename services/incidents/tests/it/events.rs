//! The outbox as the spine sees it.

use contracts_incidents::v1::{AckEventsRequest, IncidentOpened, PullEventsRequest};
use prost::Message;
use runspine_errors::mesh;
use runspine_rpc::Registry;
use runspine_testkit::{TestStore, on_both_engines, run, tenant};

use crate::harness::{House, failed, refused};

on_both_engines! {
    /// Events carry what a subscriber needs, are dense, and are gone for who acknowledged them.
    async fn events_are_pulled_and_acknowledged(store: TestStore) {
        let house = House::over(store).await;
        let answer = house.report(failed(1)).await.unwrap();
        let events = house.published().await;
        assert_eq!(events.iter().map(|e| e.sequence).collect::<Vec<_>>(), [1, 2]);
        let opened = &events[0];
        assert_eq!((opened.tenant_id.clone(), opened.run_id.clone(), opened.attempt), (tenant(1), run(1), 1));
        assert_eq!((opened.entity_id.as_str(), opened.correlation_id.as_str()), (answer.incident_id.as_str(), "corr"));
        assert_eq!(opened.data_type, "runspine.incidents.v1.IncidentOpened");
        let data = IncidentOpened::decode(opened.data.clone()).unwrap();
        assert_eq!((data.incident_id, data.cause_code.as_str()), (answer.incident_id, "STEP_FAILURE"));
        for sequence in [2, 1, 2] {
            let message = AckEventsRequest { consumer: "test".into(), sequence };
            house.events.clone().ack_events(house.ask("EventService/AckEvents", message)).await.unwrap();
        }
        assert_eq!(house.published().await, vec![]);
        let pull = |limit| house.ask("EventService/PullEvents", PullEventsRequest { consumer: "other".into(), limit });
        let page = house.events.clone().pull_events(pull(1)).await.unwrap().into_inner();
        assert_eq!((page.events.len(), page.head), (1, 2));
        refused(house.events.clone().pull_events(pull(501)).await, &mesh::FIELD_INVALID);
    }
}

/// Every event that is published is in the catalogue, and the other way round.
#[test]
fn the_catalogue_names_every_event() {
    let registry = Registry::read(&[contracts_incidents::DESCRIPTORS]).unwrap();
    let names: Vec<_> = registry.events().map(|e| e.name.replace("incidents.", "")).collect();
    assert_eq!(
        names,
        [
            "IncidentAcknowledged",
            "IncidentAssigned",
            "IncidentClosed",
            "IncidentExported",
            "IncidentLinked",
            "IncidentOpened",
            "IncidentReopened",
            "IncidentResolved",
            "IncidentVoided",
            "InstanceChanged",
            "SeverityRaised",
        ]
    );
}
