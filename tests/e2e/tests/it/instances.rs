//! The lives of the mesh's instances, as who runs the platform reads them.

use std::{collections::BTreeMap, time::Duration};

use contracts_logs::v1::{
    ListSystemRecordsRequest, SystemComponent, SystemEventType, SystemRecord, SystemRecordFilter,
    SystemSeverity,
};
use runspine_e2e::{Client, Mesh};
use runspine_testkit::until_ok;

const COMPONENTS: [SystemComponent; 6] = [
    SystemComponent::Spine,
    SystemComponent::Activity,
    SystemComponent::Incidents,
    SystemComponent::Policies,
    SystemComponent::Logs,
    SystemComponent::Controls,
];

async fn records(operator: &Client, event_type: SystemEventType) -> Vec<SystemRecord> {
    let filter = SystemRecordFilter { event_type: event_type.into(), ..SystemRecordFilter::default() };
    let request = ListSystemRecordsRequest { filter: Some(filter), ..ListSystemRecordsRequest::default() };
    operator.records().list_system_records(request).await.expect("records").into_inner().records
}

/// Waits until each component has as many records of a kind.
async fn until_each(operator: &Client, event_type: SystemEventType, wanted: usize) -> Vec<SystemRecord> {
    until_ok(Duration::from_secs(60), || async {
        let found = records(operator, event_type).await;
        let mut counts = BTreeMap::new();
        for record in &found {
            *counts.entry(record.component).or_insert(0) += 1;
        }
        let all = COMPONENTS.iter().all(|c| counts.get(&(*c).into()) == Some(&wanted));
        if all { Ok(found) } else { Err(counts) }
    })
    .await
}

#[tokio::test]
async fn an_instance_that_was_killed_is_recorded_as_restarted() {
    let mut mesh = Mesh::all_in_one().await;
    let operator = mesh.platform().await;
    let begun = until_each(&operator, SystemEventType::Startup, 1).await;
    assert!(begun.iter().all(|r| r.severity() == SystemSeverity::Info && !r.version.is_empty()), "{begun:?}");
    let migrated = records(&operator, SystemEventType::Migration).await;
    assert_eq!(migrated.len(), 5, "every store, and the spine has none: {migrated:?}");

    mesh.kill("runspine");
    mesh.restart("runspine").await;
    let again = until_each(&operator, SystemEventType::Restart, 1).await;
    assert!(again.iter().all(|r| r.severity() == SystemSeverity::Warn), "{again:?}");

    assert!(mesh.process("runspine").terminate().await.success());
    mesh.restart("runspine").await;
    until_each(&operator, SystemEventType::Shutdown, 1).await;
    until_each(&operator, SystemEventType::Startup, 2).await;
    assert_eq!(records(&operator, SystemEventType::Migration).await.len(), 5, "nothing was left to migrate");
    assert!(records(&operator, SystemEventType::ConfigChange).await.is_empty());
    let other = records(&mesh.owner(), SystemEventType::Startup).await;
    assert!(other.is_empty(), "the platform's records are nobody else's: {other:?}");
}
