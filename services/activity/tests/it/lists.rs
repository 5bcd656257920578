//! Lists: every old row exactly once, filters that agree with what is shown.

use std::collections::BTreeSet;

use contracts_activity::v1::{self as pb, RunSort};
use contracts_common::common::v1::{RunEvent as E, RunPhase as P, RunStatus as S, TerminationReason as R};
use runspine_activity_domain::reasons;
use runspine_errors::mesh;
use runspine_testkit::{TestStore, on_both_engines, run};

use crate::{
    call,
    harness::{House, attributes, failure, new_run, refused},
};

const SORTS: [RunSort; 8] = [
    RunSort::StartedAtDesc,
    RunSort::StartedAtAsc,
    RunSort::CreatedAtDesc,
    RunSort::CompletedAtDesc,
    RunSort::DurationDesc,
    RunSort::CostDesc,
    RunSort::RiskDesc,
    RunSort::LastSeenDesc,
];

async fn list(
    house: &House,
    filter: pb::RunFilter,
    sort: RunSort,
    size: i32,
    token: &str,
) -> pb::ListRunsResponse {
    let message = pb::ListRunsRequest {
        filter: Some(filter),
        sort: sort as i32,
        page_size: size,
        page_token: token.to_owned(),
    };
    call!(house, query.list_runs, "ListRuns", message).unwrap()
}

/// Runs in every state: waiting, running, paused, ended well and badly.
async fn crowd(house: &House, count: u64) {
    for number in 1..=count {
        let agent = pb::RunAttributes { agent_id: format!("agent-{}", number % 3), ..attributes() };
        let message = pb::CreateRunRequest { attributes: Some(agent), ..new_run(number) };
        call!(house, store.create_run, "CreateRun", message).unwrap();
        if number % 5 == 0 {
            continue;
        }
        house.go(number, 1, E::Authorize, P::Authorized, S::Queued).await.unwrap();
        if number % 7 == 0 {
            house.finish(failure(number, 1, S::Cancelled, R::Frozen, E::Refuse)).await.unwrap();
            continue;
        }
        house.transition(crate::harness::claim(number, 1, 2)).await.unwrap();
        house.after_ms(number % 3 * 40_000);
        match number % 4 {
            0 => drop(house.complete(number).await),
            1 => drop(house.pause(number, pb::PauseReason::ManualPause, 1_000 + number).await),
            _ => {}
        }
    }
}

on_both_engines! {
    /// Pages of 7, with runs made in between, give each old run exactly once, in every order.
    async fn pages_are_exact(store: TestStore) {
        let house = House::over(store).await;
        crowd(&house, 45).await;
        for (index, sort) in (0..).zip(SORTS) {
            let whole: Vec<String> =
                list(&house, pb::RunFilter::default(), sort, 500, "").await.runs.into_iter().map(|r| r.run_id).collect();
            let old: BTreeSet<String> = whole.iter().cloned().collect();
            let (mut seen, mut token, mut made) = (Vec::new(), String::new(), 0);
            loop {
                let page = list(&house, pb::RunFilter::default(), sort, 7, &token).await;
                seen.extend(page.runs.into_iter().map(|r| r.run_id).filter(|id| old.contains(id)));
                token = page.next_page_token;
                if token.is_empty() {
                    break;
                }
                made += 1;
                house.create(1_000 + index * 100 + made).await;
            }
            assert_eq!(seen, whole, "{sort:?}");
        }
    }

    /// A list filtered by what is derived at read equals the rows that read so.
    async fn filters_agree_with_what_is_shown(store: TestStore) {
        let house = House::over(store).await;
        crowd(&house, 40).await;
        house.after_ms(25_000);
        let all = list(&house, pb::RunFilter::default(), RunSort::CreatedAtDesc, 500, "").await;
        assert_eq!((all.runs.len(), all.total_estimate), (40, 40));
        let ids = |runs: &[pb::Run], keep: &dyn Fn(&pb::Run) -> bool| -> Vec<String> {
            runs.iter().filter(|r| keep(r)).map(|r| r.run_id.clone()).collect()
        };
        let mut hits = 0;
        for value in 1..=3 {
            let by_speed = pb::RunFilter { latency_buckets: vec![value], ..Default::default() };
            let by_evidence = pb::RunFilter { evidence_health: vec![value], ..Default::default() };
            let speed = list(&house, by_speed, RunSort::CreatedAtDesc, 500, "").await.runs;
            let evidence = list(&house, by_evidence, RunSort::CreatedAtDesc, 500, "").await.runs;
            assert_eq!(ids(&speed, &|_| true), ids(&all.runs, &|r| r.latency_bucket == value));
            assert_eq!(ids(&evidence, &|_| true), ids(&all.runs, &|r| r.evidence_health == value));
            hits += speed.len() + evidence.len();
        }
        assert_eq!(hits, 80);
        let live = pb::RunFilter { state: 1, agent_ids: vec!["agent-1".into(), "agent-2".into()], ..Default::default() };
        let found = list(&house, live.clone(), RunSort::CreatedAtDesc, 500, "").await.runs;
        let wanted = |r: &pb::Run| r.state == 1 && r.attributes.as_ref().unwrap().agent_id != "agent-0";
        assert_eq!(ids(&found, &|_| true), ids(&all.runs, &wanted));
        let counted = call!(house, query.count_runs, "CountRuns", pb::CountRunsRequest { filter: Some(live) }).unwrap();
        assert_eq!(counted.total, i64::try_from(found.len()).unwrap());
        assert_eq!(counted.statuses.iter().map(|s| s.count).sum::<i64>(), counted.total);
        let prefix = pb::RunFilter { text: "agent-2".into(), ..Default::default() };
        assert!(!list(&house, prefix, RunSort::StartedAtDesc, 500, "").await.runs.is_empty());
    }

    /// Text of the caller is never more than text.
    async fn hostile_text_is_text(store: TestStore) {
        let house = House::over(store).await;
        crowd(&house, 3).await;
        for text in ["' OR 1=1 --", "%%%%", "____", "'; DROP TABLE runs; --", "\\\\\\\\"] {
            let filter = pb::RunFilter { text: text.into(), ..Default::default() };
            assert!(list(&house, filter, RunSort::StartedAtDesc, 10, "").await.runs.is_empty());
            let filter = pb::RunFilter { agent_ids: vec![text.into()], ..Default::default() };
            assert!(list(&house, filter, RunSort::StartedAtDesc, 10, "").await.runs.is_empty());
        }
        assert_eq!(list(&house, pb::RunFilter::default(), RunSort::StartedAtDesc, 10, "").await.runs.len(), 3);
    }

    /// A token goes with its own filter and order only; unknown values are refused.
    async fn tokens_and_values_are_checked(store: TestStore) {
        let house = House::over(store).await;
        crowd(&house, 9).await;
        let page = list(&house, pb::RunFilter::default(), RunSort::CreatedAtDesc, 2, "").await;
        let ask = |sort: i32, token: &str, statuses: Vec<i32>| pb::ListRunsRequest {
            filter: Some(pb::RunFilter { statuses, ..Default::default() }), sort, page_size: 2, page_token: token.into(),
        };
        for request in [ask(2, &page.next_page_token, vec![]), ask(3, &page.next_page_token, vec![1]), ask(3, "zz", vec![])] {
            refused(call!(house, query.list_runs, "ListRuns", request), &mesh::PAGE_TOKEN_MISMATCH);
        }
        refused(call!(house, query.list_runs, "ListRuns", ask(99, "", vec![])), &reasons::SORT_KEY_UNKNOWN);
        refused(call!(house, query.list_runs, "ListRuns", ask(3, "", vec![99])), &mesh::ENUM_UNKNOWN);
        refused(call!(house, query.get_run_view, "GetRunView", pb::GetRunViewRequest { run_id: run(99) }), &reasons::RUN_NOT_FOUND);
    }
}
