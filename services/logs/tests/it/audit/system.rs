//! System records: what the mesh itself did, kept once and found again.

use contracts_logs::v1::{
    self as pb, SystemComponent as Component, SystemEventType as Kind, SystemSeverity as Severity,
};
use runspine_testkit::{TestStore, assert_append_only, on_both_engines};
use tonic::Status;

use super::harness::*;

fn record(house: &House, component: Component, event_type: Kind, instance: &str) -> pb::SystemRecord {
    pb::SystemRecord {
        component: component.into(),
        event_type: event_type.into(),
        severity: Severity::Info.into(),
        instance: instance.into(),
        version: "0.1.0".into(),
        summary: "began with password=hunter2hunter2".into(),
        correlation_id: format!("corr-{instance}"),
        occurred_at: Some(runspine_rpc::timestamp(house.now())),
        ..Default::default()
    }
}

async fn append(
    house: &House,
    id: u64,
    record: pb::SystemRecord,
) -> Result<pb::AppendSystemRecordResponse, Status> {
    let message = pb::AppendSystemRecordRequest { record: Some(record), request_id: call(id) };
    let request = house.ask_as(Who::Platform, "RecordService/AppendSystemRecord", message);
    house.records.clone().append_system_record(request).await.map(tonic::Response::into_inner)
}

async fn list(house: &House, who: Who, filter: pb::SystemRecordFilter) -> Vec<pb::SystemRecord> {
    let mut request =
        pb::ListSystemRecordsRequest { filter: Some(filter), page_size: 2, ..Default::default() };
    let mut all = Vec::new();
    loop {
        let asked = house.ask_as(who, "RecordService/ListSystemRecords", request.clone());
        let page = house.records.clone().list_system_records(asked).await.unwrap().into_inner();
        all.extend(page.records);
        if page.next_page_token.is_empty() {
            return all;
        }
        request.page_token = page.next_page_token;
    }
}

on_both_engines! {
    /// Section 11: an instance that begins without having ended is a RESTART; each instance has a life of its own.
    async fn a_beginning_behind_a_beginning_is_a_restart(store: TestStore) {
        let house = House::over(store).await;
        let mut told = Vec::new();
        for (id, (component, kind, instance)) in [
            (Component::Logs, Kind::Startup, "a"),
            (Component::Logs, Kind::Startup, "b"),
            (Component::Spine, Kind::Startup, "a"),
            (Component::Logs, Kind::Migration, "a"),
            (Component::Logs, Kind::Startup, "a"),
            (Component::Logs, Kind::Startup, "a"),
            (Component::Logs, Kind::Shutdown, "a"),
            (Component::Logs, Kind::Startup, "a"),
        ].into_iter().enumerate() {
            house.advance(1_000);
            let answer = append(&house, id as u64, record(&house, component, kind, instance)).await.unwrap();
            told.push(answer.event_type());
        }
        use Kind::{Migration, Restart, Shutdown, Startup};
        assert_eq!(told, [Startup, Startup, Startup, Migration, Restart, Restart, Shutdown, Startup]);
        let restarts = pb::SystemRecordFilter { event_type: Restart.into(), ..Default::default() };
        let restarts = list(&house, Who::Platform, restarts).await;
        assert_eq!(restarts.len(), 2);
        assert!(restarts.iter().all(|r| r.severity() == Severity::Warn && !r.summary.contains("hunter2")));
        let by_all = pb::SystemRecordFilter {
            component: Component::Logs.into(),
            severity: Severity::Info.into(),
            caused_by: pb::SystemCause::System.into(),
            correlation_id: "corr-a".into(),
            occurred_from: Some(runspine_rpc::timestamp(START.plus_millis(2_000))),
            occurred_to: Some(runspine_rpc::timestamp(START.plus_millis(8_000))),
            ..Default::default()
        };
        let found: Vec<_> = list(&house, Who::Platform, by_all).await.iter().map(pb::SystemRecord::event_type).collect();
        assert_eq!(found, [Shutdown, Migration], "the newest first");
        assert!(list(&house, Who::Tenant(1), pb::SystemRecordFilter::default()).await.is_empty(), "another tenant's");
        let db = house.db().await;
        assert_append_only(&db, "system_records").await;
    }

    /// An instance that begins under other settings than the last time says so, each time once.
    async fn a_beginning_under_other_settings_is_a_change(store: TestStore) {
        let house = House::over(store).await;
        for (id, (kind, settings)) in [
            (Kind::Startup, 1), (Kind::Shutdown, 1), (Kind::Startup, 2), (Kind::Startup, 2), (Kind::Startup, 1),
        ].into_iter().enumerate() {
            house.advance(1_000);
            let told = pb::SystemRecord {
                config_digest: vec![settings; 32].into(),
                ..record(&house, Component::Controls, kind, "a")
            };
            for _ in 0..2 {
                append(&house, id as u64, told.clone()).await.unwrap();
            }
        }
        let mut found = list(&house, Who::Platform, pb::SystemRecordFilter::default()).await;
        found.reverse();
        let seen: Vec<_> = found.iter().map(|r| (r.event_type(), r.config_digest[0])).collect();
        use Kind::{ConfigChange, Restart, Shutdown, Startup};
        assert_eq!(seen, [
            (Startup, 1), (Shutdown, 1), (ConfigChange, 2), (Startup, 2), (Restart, 2), (ConfigChange, 1), (Restart, 1),
        ]);
        let ids: std::collections::BTreeSet<_> = found.iter().map(|r| &r.id).collect();
        assert_eq!(ids.len(), found.len());
    }

    /// Section 11: the relay delivering a record twice stores one.
    async fn a_record_is_kept_once(store: TestStore) {
        let house = House::over(store).await;
        let first = record(&house, Component::Db, Kind::Error, "a");
        let answers = futures::future::join_all((0..8).map(|_| append(&house, 1, first.clone()))).await;
        assert!(answers.iter().all(|a| a.as_ref().unwrap() == answers[0].as_ref().unwrap()));
        house.advance(48 * 3_600_000);
        assert_eq!(append(&house, 1, first.clone()).await.unwrap(), *answers[0].as_ref().unwrap(), "days later, too");
        assert_eq!(list(&house, Who::Platform, pb::SystemRecordFilter::default()).await.len(), 1);
        let other = pb::SystemRecord { instance: "b".into(), ..first.clone() };
        assert_eq!(reason(append(&house, 1, other).await), "IDEMPOTENCY_MISMATCH");
        let wrong = pb::SystemRecord { event_type: Kind::Restart.into(), instance: String::new(), ..first };
        let refused = append(&house, 2, wrong).await.unwrap_err();
        assert_eq!(runspine_rpc::details(&refused).fields.len(), 2, "every violation at once");
    }
}
