//! Thresholds, signals, breaches and their end.

use contracts_common::common::v1::Totals;
use contracts_controls::v1 as pb;
use runspine_controls_domain::reasons;
use runspine_errors::mesh;
use runspine_testkit::{TestStore, on_both_engines, run, test_id};

use crate::{
    call,
    harness::{House, daily, refused, settled, step},
};

fn threshold(key: &str, value: i64) -> pb::LimitSpec {
    let params = vec![pb::ThresholdValue { key: key.to_owned(), value }];
    pb::LimitSpec { category: 4, unit: 0, max_value: 0, period: 0, params, ..daily(key, 0) }
}

fn steps(steps: i64) -> Option<Totals> {
    Some(Totals { steps, ..Totals::default() })
}

impl House {
    async fn signals(&self, number: u64) -> Vec<(String, i32, u32)> {
        let message = pb::ListSignalsRequest { run_id: run(number), ..Default::default() };
        let page = call!(self, signals.list_signals, "SignalService/ListSignals", message).unwrap();
        page.signals.into_iter().map(|s| (s.source, s.level, s.proximity_permille)).collect()
    }

    async fn breaches(&self, number: u64) -> Vec<pb::Breach> {
        let message = pb::ListBreachesRequest { run_id: run(number), ..Default::default() };
        call!(self, signals.list_breaches, "SignalService/ListBreaches", message).unwrap().breaches
    }

    async fn evaluate(&self, number: u64, total: i64) -> Vec<pb::ThresholdLevel> {
        let message = pb::EvaluateRunThresholdsRequest {
            run_id: run(number),
            attempt: 1,
            totals: steps(total),
            ..Default::default()
        };
        let operation = "ThresholdService/EvaluateRunThresholds";
        let request = self.ask(operation, message);
        self.thresholds.clone().evaluate_run_thresholds(request).await.unwrap().into_inner().levels
    }
}

on_both_engines! {
    /// From 0 to 120 % of one threshold that does not block: one NEAR, one REACHED, one BREACHED, and all of it over with
    /// the run. Another run has none of it.
    async fn each_level_is_said_once(store: TestStore) {
        let house = House::over(store).await;
        let limit = house.create(1, threshold("max_steps", 20)).await;
        house.admit(1).await.unwrap();
        house.admit(2).await.unwrap();
        for index in 0..24_u32 {
            let message = pb::AdmitStepRequest { totals: steps(i64::from(index)), ..step(1, index, 0) };
            assert!(house.step(message).await.unwrap().hold.is_some());
            let end = pb::SettleRequest { totals: steps(i64::from(index) + 1), ..settled(1, index, 0) };
            house.settle(end).await.unwrap();
        }
        let said = vec![(limit.limit_id.clone(), 1, 800), (limit.limit_id.clone(), 2, 1_000)];
        assert_eq!(house.signals(1).await, said);
        let breaches = house.breaches(1).await;
        assert_eq!(breaches.len(), 1);
        assert_eq!((breaches[0].r#type, breaches[0].limit_id.as_str()), (1, limit.limit_id.as_str()));
        assert_eq!((breaches[0].recovery.as_str(), breaches[0].envelope_id.as_str()), ("", ""));
        let link = |incident: &str| pb::LinkBreachIncidentRequest {
            breach_id: breaches[0].breach_id.clone(), incident_id: incident.to_owned(),
        };
        for _ in 0..2 {
            call!(house, signals.link_breach_incident, "SignalService/LinkBreachIncident", link("i-1")).unwrap();
        }
        let other = call!(house, signals.link_breach_incident, "SignalService/LinkBreachIncident", link("i-2"));
        refused(other, &mesh::IDEMPOTENCY_MISMATCH);
        let nothing = pb::LinkBreachIncidentRequest { breach_id: test_id(9, 9), incident_id: "i".into() };
        let none = call!(house, signals.link_breach_incident, "SignalService/LinkBreachIncident", nothing);
        refused(none, &reasons::BREACH_NOT_FOUND);
        house.settle_run(1, 1).await.unwrap();
        let over = house.breaches(1).await;
        assert_eq!((over[0].recovery.as_str(), over[0].incident_id.as_str()), ("RUN_ENDED", "i-1"));
        assert_eq!((house.signals(2).await.len(), house.breaches(2).await.len()), (0, 0));
        let events = house.published().await;
        let raised: Vec<_> = events.iter().filter(|e| e.r#type == "controls.SignalRaised").collect();
        assert!(raised.len() == 2 && raised.iter().all(|e| e.run_id == run(1)));
        assert_eq!(events.iter().filter(|e| e.r#type == "controls.LimitRecovered").count(), 1);
    }

    /// 799, 800, 999 and 1,000 per mille are OK, NEAR, NEAR and REACHED, at a step and at the end.
    async fn levels_begin_where_the_table_says(store: TestStore) {
        let house = House::over(store).await;
        let limit = house.create(1, pb::LimitSpec { scope: 2, ..threshold("max_steps", 1_000) }).await;
        // The default of 200 steps is tighter, so the limit is compared by itself through its own kind of bound.
        house.create(2, threshold("max_tokens", 1_000)).await;
        for (number, (total, level)) in (1..).zip([(799, 0), (800, 1), (999, 1), (1_000, 2)]) {
            house.admit(number).await.unwrap();
            let totals = Some(Totals { tokens_input: total, ..Totals::default() });
            house.step(pb::AdmitStepRequest { totals, ..step(number, 0, 0) }).await.unwrap();
            let live: Vec<i32> = house.signals(number).await.into_iter().map(|s| s.1).collect();
            assert_eq!(live, if level == 0 { vec![] } else { vec![level] }, "{total}");
            let message = pb::EvaluateRunThresholdsRequest {
                run_id: run(number), attempt: 1, totals, outcome: 1, ..Default::default()
            };
            let request = house.ask("ThresholdService/EvaluateRunThresholds", message);
            let ended = house.thresholds.clone().evaluate_run_thresholds(request).await.unwrap().into_inner();
            assert_eq!(ended.levels.first().map_or(0, |l| l.level), level, "{total}");
            assert_eq!(house.signals(number).await.len(), live.len(), "nothing is said twice");
        }
        let levels = house.evaluate(1, 200).await;
        assert_eq!((levels[0].key.as_str(), levels[0].source.as_str(), levels[0].level), ("max_steps", "", 2));
        let message = pb::GetEffectiveThresholdsRequest { run_id: run(1), ..Default::default() };
        let operation = "ThresholdService/GetEffectiveThresholds";
        let request = house.ask(operation, message);
        let rows = house.thresholds.clone().get_effective_thresholds(request).await.unwrap().into_inner().thresholds;
        let of = |key: &str| rows.iter().find(|r| r.key == key).cloned().unwrap();
        assert_eq!((of("max_steps").value, of("max_steps").source.as_str()), (200, "default"));
        assert_eq!(of("max_steps").shadowed, [limit.limit_id]);
        assert_eq!((of("max_tokens").value, of("failure_signal").value, of("near_permille").value), (1_000, 1, 800));
    }

    /// Three failed steps in a row are said once; a budget that warns and one that is used up are said with their run.
    async fn failures_and_budgets_are_signalled(store: TestStore) {
        let house = House::over(store).await;
        let limit = house.create(1, daily("day", 100)).await;
        house.admit(1).await.unwrap();
        for (index, outcome) in (0..).zip([2, 2, 1, 2, 2, 2, 2]) {
            house.step(step(1, index, 1)).await.unwrap();
            house.settle(pb::SettleRequest { outcome, ..settled(1, index, 1) }).await.unwrap();
        }
        assert_eq!(house.signals(1).await, [("failure_signal".to_owned(), 2, 1_000)]);
        house.step(step(1, 10, 93)).await.unwrap();
        house.settle(settled(1, 10, 93)).await.unwrap();
        house.step(step(1, 11, 50)).await.unwrap();
        let message = pb::ListSignalsRequest { limit_id: limit.limit_id.clone(), ..Default::default() };
        let page = call!(house, signals.list_signals, "SignalService/ListSignals", message).unwrap();
        let mut said: Vec<(i32, i32)> = page.signals.iter().map(|s| (s.r#type, s.level)).collect();
        said.sort_unstable();
        assert_eq!(said, [(1, 2), (7, 1), (8, 2)]);
        let raised = pb::UpdateLimitRequest {
            request_id: test_id(7, 5), limit_id: limit.limit_id, expected_version: 1, max_value: Some(1_000),
            reason: "the campaign goes on".into(), ..Default::default()
        };
        call!(house, limits.update_limit, "LimitService/UpdateLimit", raised).unwrap();
        assert_eq!(house.breaches(1).await[0].recovery, "BELOW_WARNING");
    }

    /// The defaults are shown, and what a limit may not state is named.
    async fn thresholds_are_validated(store: TestStore) {
        let house = House::over(store).await;
        let request = house.ask("ThresholdService/GetThresholdDefaults", pb::GetThresholdDefaultsRequest {});
        let shown = house.thresholds.clone().get_threshold_defaults(request).await.unwrap().into_inner().thresholds;
        let values: Vec<(&str, i64)> = shown.iter().map(|t| (t.key.as_str(), t.value)).collect();
        assert_eq!(values, [
            ("max_cost_microusd", 1_000_000), ("max_tokens", 8_192), ("max_execution_time_ms", 60_000),
            ("max_steps", 200), ("max_step_cost_microusd", 0), ("max_step_tokens", 0), ("max_repeats", 0),
            ("failure_signal", 1), ("near_permille", 800),
        ]);
        let value = |key: &str, value: i64| pb::ThresholdValue { key: key.to_owned(), value };
        let params = vec![value("max_steps", 0), value("near_permille", 991), value("speed", 1), value("max_tokens", 256)];
        let request = house.ask("ThresholdService/ValidateThresholds", pb::ValidateThresholdsRequest { params });
        let wrong = house.thresholds.clone().validate_thresholds(request).await.unwrap().into_inner().violations;
        let mut keys: Vec<(&str, &str)> = wrong.iter().map(|v| (v.key.as_str(), v.reason.as_str())).collect();
        keys.sort_unstable();
        assert_eq!(keys, [
            ("max_steps", "THRESHOLD_OUT_OF_RANGE"), ("near_permille", "THRESHOLD_OUT_OF_RANGE"),
            ("speed", "THRESHOLD_UNKNOWN_KEY"),
        ]);
    }
}
