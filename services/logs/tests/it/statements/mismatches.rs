//! Mismatches: reported, listed, explained once.

use contracts_logs::v1::{
    self as pb, MismatchState as State, mismatch_service_client::MismatchServiceClient,
};
use runspine_db::args;
use runspine_rpc::Transport;
use runspine_testkit::{TestStore, assert_append_only, on_both_engines, run, test_id};

use crate::traces::harness::{Answer, House, reason};

fn client(house: &House) -> MismatchServiceClient<Transport> {
    MismatchServiceClient::new(house.way.clone())
}

fn found(id: u64, number: u64, code: &str) -> pb::ReportMismatchRequest {
    pb::ReportMismatchRequest {
        request_id: test_id(30, id),
        run_id: run(number),
        attempt: 1,
        step_index: Some(0),
        reason: code.into(),
        expected_digest: vec![1; 32].into(),
        actual_digest: vec![2; 32].into(),
        details: "differs for jane@example.com".into(),
        ..Default::default()
    }
}

async fn report(house: &House, request: pb::ReportMismatchRequest) -> Answer<pb::Mismatch> {
    let request = house.ask("MismatchService/ReportMismatch", request);
    client(house).report_mismatch(request).await.map(|r| r.into_inner().mismatch.unwrap())
}

async fn resolve(house: &House, id: u64, mismatch_id: &str) -> Answer<pb::Mismatch> {
    let request = pb::ResolveMismatchRequest {
        request_id: test_id(31, id),
        mismatch_id: mismatch_id.into(),
        note: "a clock of the tool was wrong".into(),
    };
    let request = house.ask("MismatchService/ResolveMismatch", request);
    client(house).resolve_mismatch(request).await.map(|r| r.into_inner().mismatch.unwrap())
}

async fn list(house: &House, who: u64, request: pb::ListMismatchesRequest) -> pb::ListMismatchesResponse {
    let request = house.ask_as(who, "MismatchService/ListMismatches", request);
    client(house).list_mismatches(request).await.unwrap().into_inner()
}

on_both_engines! {
    async fn a_mismatch_is_explained_once(store: TestStore) {
        let house = House::over(store).await;
        house.begin(1).await;
        let first = report(&house, found(1, 1, "OUTPUT")).await.unwrap();
        assert_eq!((first.state(), first.reporter.as_str()), (State::Open, "agent-7"));
        assert_eq!(first.details, "differs for [REDACTED:PII.EMAIL]");
        assert_eq!(report(&house, found(1, 1, "OUTPUT")).await.unwrap(), first);
        assert_eq!(reason(report(&house, found(1, 1, "NAME")).await), "IDEMPOTENCY_MISMATCH");
        house.advance(1_000);
        let settled = resolve(&house, 1, &first.mismatch_id).await.unwrap();
        assert_eq!((settled.state(), settled.resolved_by.as_str()), (State::Resolved, "agent-7"));
        assert_eq!(resolve(&house, 1, &first.mismatch_id).await.unwrap(), settled);
        assert_eq!(reason(resolve(&house, 2, &first.mismatch_id).await), "MISMATCH_RESOLVED");
        assert_eq!(reason(resolve(&house, 3, &test_id(32, 1)).await), "MISMATCH_NOT_FOUND");
        let again = pb::ReportMismatchRequest { previous_id: first.mismatch_id.clone(), ..found(2, 1, "OUTPUT") };
        let again = report(&house, again).await.unwrap();
        assert_eq!((again.state(), again.previous_id.as_str()), (State::Open, first.mismatch_id.as_str()));
        let sql = "SELECT event_type FROM ledger WHERE event_type LIKE 'logs.Mismatch%' ORDER BY seq";
        let entries: Vec<(String,)> = house.db().await.read().fetch_all(sql, args![]).await.unwrap();
        let names: Vec<_> = entries.iter().map(|(name,)| name.as_str()).collect();
        assert_eq!(names, ["logs.MismatchReported", "logs.MismatchResolved", "logs.MismatchReported"]);
        let db = house.db().await;
        assert_append_only(&db, "mismatches").await;
        assert_append_only(&db, "mismatch_events").await;
    }

    async fn mismatches_are_listed_by_what_they_have_in_common(store: TestStore) {
        let house = House::over(store).await;
        for number in [1, 2] {
            house.begin(number).await;
        }
        assert_eq!(reason(report(&house, found(9, 7, "OUTPUT")).await), "TRACE_NOT_FOUND");
        let orphan = pb::ReportMismatchRequest { previous_id: test_id(32, 2), ..found(8, 1, "OUTPUT") };
        assert_eq!(reason(report(&house, orphan).await), "MISMATCH_NOT_FOUND");
        let wrong = pb::ReportMismatchRequest { reason: "not a code".into(), expected_digest: vec![1].into(), ..found(7, 1, "X") };
        assert_eq!(reason(report(&house, wrong).await), "FIELD_INVALID");
        for (id, number, code) in [(1, 1, "OUTPUT"), (2, 1, "NAME"), (3, 2, "OUTPUT")] {
            report(&house, found(id, number, code)).await.unwrap();
            house.advance(1_000);
        }
        let everything = list(&house, 1, pb::ListMismatchesRequest::default()).await.mismatches;
        assert!(everything.len() == 3 && everything[0].run_id == run(2), "the newest is first");
        resolve(&house, 1, &everything[2].mismatch_id).await.unwrap();
        let open = pb::ListMismatchesRequest { state: State::Open.into(), ..Default::default() };
        assert_eq!(list(&house, 1, open).await.mismatches.len(), 2);
        let named = pb::ListMismatchesRequest { run_id: run(1), reason: "OUTPUT".into(), state: State::Resolved.into(), ..Default::default() };
        assert_eq!(list(&house, 1, named).await.mismatches.len(), 1);
        let early = pb::ListMismatchesRequest { reported_to: everything[0].reported_at, ..Default::default() };
        assert_eq!(list(&house, 1, early).await.mismatches.len(), 2);
        let mut page = pb::ListMismatchesRequest { page_size: 2, ..Default::default() };
        let first = list(&house, 1, page.clone()).await;
        page.page_token = first.next_page_token.clone();
        let rest = list(&house, 1, page).await;
        assert_eq!((first.mismatches.len(), rest.mismatches.len(), rest.next_page_token.len()), (2, 1, 0));
        assert!(list(&house, 2, pb::ListMismatchesRequest::default()).await.mismatches.is_empty());
    }
}
