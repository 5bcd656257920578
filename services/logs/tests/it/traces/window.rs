//! What happened around the end of an attempt.

use contracts_logs::v1::{self as pb, replay_window_entry::Source};
use runspine_testkit::{TestStore, on_both_engines, run, test_id};

use super::harness::{Answer, House, decision, reason};

async fn window(
    house: &House,
    who: u64,
    request: pb::GetReplayWindowRequest,
) -> Answer<pb::GetReplayWindowResponse> {
    let request = house.ask_as(who, "RecordService/GetReplayWindow", request);
    house.kept.clone().get_replay_window(request).await.map(tonic::Response::into_inner)
}

fn of(number: u64) -> pb::GetReplayWindowRequest {
    pb::GetReplayWindowRequest { run_id: run(number), ..Default::default() }
}

/// What is in a window: `L` for the ledger, `S` for the mesh, `T` for the trace.
fn shape(window: &pb::GetReplayWindowResponse) -> String {
    let letter = |entry: &pb::ReplayWindowEntry| match entry.source {
        Some(Source::Ledger(_)) => 'L',
        Some(Source::System(_)) => 'S',
        Some(Source::Record(_)) => 'T',
        None => '?',
    };
    window.entries.iter().map(letter).collect()
}

on_both_engines! {
    async fn three_sources_in_one_order(store: TestStore) {
        let house = House::over(store).await;
        house.begin(1).await;
        house.one(1, decision("early", 0)).await.unwrap();
        house.advance(60_000);
        house.one(1, decision("late", 1)).await.unwrap();
        house.advance(1_000);
        let killed = pb::SystemRecord {
            component: pb::SystemComponent::Worker.into(),
            event_type: pb::SystemEventType::Error.into(),
            severity: pb::SystemSeverity::Critical.into(),
            instance: "w".into(),
            occurred_at: Some(runspine_rpc::timestamp(super::harness::START.plus_millis(61_000))),
            ..Default::default()
        };
        let killed = pb::AppendSystemRecordRequest { record: Some(killed), request_id: test_id(9, 1) };
        let killed = house.ask("RecordService/AppendSystemRecord", killed);
        house.kept.clone().append_system_record(killed).await.unwrap();
        house.advance(1_000);
        house.settle(1, 1).await;
        house.seal(super::harness::sealing(1, 1)).await.unwrap();
        let found = window(&house, 1, of(1)).await.unwrap();
        assert_eq!(found.end, Some(runspine_rpc::timestamp(super::harness::START.plus_millis(62_000))));
        let told = shape(&found);
        assert!(told.starts_with("TSL") && !told.contains('?'), "the late record, the error, the verdict and seal: {told}");
        assert!(found.truncated.is_empty());
        let times: Vec<_> = found.entries.iter().map(|e| e.occurred_at.unwrap()).collect();
        assert!(times.windows(2).all(|w| (w[0].seconds, w[0].nanos) <= (w[1].seconds, w[1].nanos)));
        let wide = pb::GetReplayWindowRequest { before_ms: Some(120_000), ..of(1) };
        assert!(shape(&window(&house, 1, wide).await.unwrap()).starts_with("TTS"), "the early record, too");
        let narrow = pb::GetReplayWindowRequest { before_ms: Some(0), after_ms: Some(0), ..of(1) };
        assert!(!shape(&window(&house, 1, narrow).await.unwrap()).contains(['T', 'S']));
        assert_eq!(reason(window(&house, 2, of(1)).await), "TRACE_NOT_FOUND");
        let long = pb::GetReplayWindowRequest { after_ms: Some(3_600_001), ..of(1) };
        assert_eq!(reason(window(&house, 1, long).await), "FIELD_INVALID");
    }

    async fn an_open_trace_ends_with_its_last_record(store: TestStore) {
        let house = House::over(store).await;
        house.begin(1).await;
        house.advance(5_000);
        house.one(1, decision("d1", 0)).await.unwrap();
        let found = window(&house, 1, of(1)).await.unwrap();
        assert_eq!(found.end, Some(runspine_rpc::timestamp(super::harness::START.plus_millis(5_000))));
        assert_eq!(shape(&found), "T");
    }
}
