//! Two attempts, compared step by step.

use contracts_logs::v1::{self as pb, ComparisonResult};
use runspine_testkit::{TestStore, on_both_engines, run};

use crate::traces::harness::{Answer, House, decision, reason, step};

async fn compare(house: &House, left: u64, right: u64) -> Answer<pb::CompareTracesResponse> {
    let side = |number| Some(pb::ComparedTrace { run_id: run(number), attempt: 0 });
    let asked = pb::CompareTracesRequest { left: side(left), right: side(right) };
    let request = house.ask("TraceService/CompareTraces", asked);
    house.traces.clone().compare_traces(request).await.map(tonic::Response::into_inner)
}

/// A run with one step that is called so.
async fn did(house: &House, number: u64, name: &str, output: u8) {
    house.begin(number).await;
    let mut done = step("s1", 0, "d1");
    if let Some(pb::record_item::Body::Step(step)) = &mut done.body {
        step.name = name.into();
        step.output_digest = vec![output; 32].into();
    }
    house.append(number, vec![decision("d1", 0), done]).await.unwrap();
}

on_both_engines! {
    async fn what_was_done_is_compared_and_not_what_came_out(store: TestStore) {
        let house = House::over(store).await;
        did(&house, 1, "weather.get", 1).await;
        did(&house, 2, "weather.get", 2).await;
        did(&house, 3, "weather.set", 1).await;
        house.begin(4).await;
        let same = compare(&house, 1, 2).await.unwrap();
        assert_eq!((same.result(), same.first_divergence), (ComparisonResult::Parity, None));
        assert_eq!((same.left_signature, same.left_steps), (same.right_signature, 1));
        let other = compare(&house, 1, 3).await.unwrap().first_divergence.unwrap();
        assert_eq!((other.place, other.reasons), (0, vec!["NAME".to_owned()]));
        let shorter = compare(&house, 1, 4).await.unwrap();
        assert_eq!(shorter.result(), ComparisonResult::Diverged);
        let found = shorter.first_divergence.unwrap();
        assert_eq!((found.reasons, found.right_step_index), (vec!["LENGTH".to_owned()], None));
        assert_eq!(reason(compare(&house, 1, 9).await), "TRACE_NOT_FOUND");
    }
}
