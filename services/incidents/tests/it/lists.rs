//! Filters, orders and pages.

use std::time::Duration;

use contracts_incidents::v1::{IncidentFilter, IncidentOrder, ListIncidentsRequest, Topic};
use runspine_errors::mesh;
use runspine_testkit::{TestStore, on_both_engines, run};

use crate::harness::{House, failed_with, refused, succeeded};

async fn all(house: &House, filter: IncidentFilter, order: IncidentOrder, size: i32) -> Vec<String> {
    let (mut found, mut token) = (Vec::new(), String::new());
    loop {
        let message = ListIncidentsRequest {
            filter: Some(filter.clone()),
            order: order as i32,
            page_size: size,
            page_token: token,
        };
        let request = house.ask("IncidentService/ListIncidents", message);
        let page = house.incidents.clone().list_incidents(request).await.unwrap().into_inner();
        assert!(page.incidents.len() <= usize::try_from(size).unwrap());
        found.extend(page.incidents.into_iter().map(|i| i.cause_code));
        token = page.next_page_token;
        if token.is_empty() {
            return found;
        }
    }
}

/// Five incidents a second apart: two of them MEDIUM, A resolved, C seen last.
async fn five(house: &House) {
    for (number, code) in [(1, "A"), (2, "B"), (3, "C"), (4, "AGENT_CRASH"), (5, "STEP_FAILURE")] {
        house.report(failed_with(number, code)).await.unwrap();
        house.after(Duration::from_secs(1));
    }
    house.report(succeeded(1, 2)).await.unwrap();
    house.after(Duration::from_secs(1));
    house.report(failed_with(6, "C")).await.unwrap();
}

on_both_engines! {
    /// Each order, whole and in pages of every size: no incident twice, none lost.
    async fn orders_and_pages(store: TestStore) {
        let house = House::over(store).await;
        five(&house).await;
        let orders = [
            (IncidentOrder::OpenedDesc, vec!["STEP_FAILURE", "AGENT_CRASH", "C", "B", "A"]),
            (IncidentOrder::SeverityDesc, vec!["AGENT_CRASH", "STEP_FAILURE", "C", "B", "A"]),
            (IncidentOrder::LastOccurrenceDesc, vec!["C", "STEP_FAILURE", "AGENT_CRASH", "B", "A"]),
            (IncidentOrder::ResolvedDesc, vec!["A"]),
        ];
        for (order, expected) in orders {
            for size in [1, 2, 3, 50] {
                assert_eq!(all(&house, IncidentFilter::default(), order, size).await, expected, "{order:?} {size}");
            }
        }
    }

    /// Each filter alone, and two together.
    async fn filters(store: TestStore) {
        let house = House::over(store).await;
        five(&house).await;
        let any = IncidentFilter::default;
        let at = |seconds: i64| Some(prost_types::Timestamp { seconds: 1_767_323_045 + seconds, nanos: 0 });
        let cases = [
            (IncidentFilter { topic: Topic::Resolved as i32, ..any() }, vec!["A"]),
            (IncidentFilter { topic: Topic::Resolved as i32, statuses: vec![1], ..any() }, vec![]),
            (IncidentFilter { statuses: vec![3], ..any() }, vec!["A"]),
            (IncidentFilter { severities: vec![3, 4], ..any() }, vec!["STEP_FAILURE", "AGENT_CRASH"]),
            (IncidentFilter { cause_codes: vec!["B".into(), "C".into()], ..any() }, vec!["C", "B"]),
            (IncidentFilter { run_id: run(6), ..any() }, vec!["C"]),
            (IncidentFilter { categories: vec![9], ..any() }, vec![]),
            (IncidentFilter { triggers: vec![1], severities: vec![4], ..any() }, vec!["AGENT_CRASH"]),
            (IncidentFilter { cause_type: 2, ..any() }, vec![]),
            (IncidentFilter { agent_id: "agent-8".into(), ..any() }, vec![]),
            (IncidentFilter { is_synthetic: true, ..any() }, vec![]),
            (IncidentFilter { opened_from: at(1), opened_to: at(3), ..any() }, vec!["C", "B"]),
            (IncidentFilter { resolved_from: at(5), resolved_to: at(6), ..any() }, vec!["A"]),
        ];
        for (filter, expected) in cases {
            assert_eq!(all(&house, filter.clone(), IncidentOrder::OpenedDesc, 2).await, expected, "{filter:?}");
        }
    }

    /// A token is of no use in another list, nor when somebody wrote it.
    async fn tokens_belong_to_their_list(store: TestStore) {
        let house = House::over(store).await;
        five(&house).await;
        let first = ListIncidentsRequest { page_size: 2, ..ListIncidentsRequest::default() };
        let list = |message: ListIncidentsRequest| {
            let request = house.ask("IncidentService/ListIncidents", message);
            let mut client = house.incidents.clone();
            async move { client.list_incidents(request).await.map(tonic::Response::into_inner) }
        };
        let page_token = list(first.clone()).await.unwrap().next_page_token;
        // Another page size is the same list.
        let more = ListIncidentsRequest { page_size: 9, page_token: page_token.clone(), ..first.clone() };
        assert_eq!(list(more).await.unwrap().incidents.len(), 3);
        let sorted = ListIncidentsRequest { order: 2, page_token, ..first.clone() };
        refused(list(sorted).await, &mesh::PAGE_TOKEN_MISMATCH);
        let forged = ListIncidentsRequest { page_token: "00".into(), ..first.clone() };
        refused(list(forged).await, &mesh::PAGE_TOKEN_MISMATCH);
        refused(list(ListIncidentsRequest { order: 7, ..first.clone() }).await, &mesh::ENUM_UNKNOWN);
        refused(list(ListIncidentsRequest { page_size: -1, ..first }).await, &mesh::FIELD_INVALID);
    }
}
