//! Alert fatigue: what goes out, what is dropped, and that nothing is lost by it.

use std::{collections::BTreeMap, time::Duration};

use contracts_controls::v1 as pb;
use futures::future::join_all;
use pb::AlertResult as Found;
use runspine_controls_domain::reasons;
use runspine_errors::mesh;
use runspine_rpc::details;
use runspine_testkit::{TestStore, on_both_engines, run, tenant, test_id};
use tonic::Status;

use crate::{
    call,
    harness::{House, inner, insist, refused},
};

const OBSERVE_ONLY: i32 = 3;
const DECIDE: &str = "AlertService/DecideAlert";

fn alert(number: u64, kind: &str, limit: &str, domain: &str) -> pb::DecideAlertRequest {
    pb::DecideAlertRequest {
        event_id: test_id(11, number),
        r#type: kind.to_owned(),
        key: Some(pb::AlertKey {
            scope: "tenant".into(),
            limit_id: limit.to_owned(),
            ..pb::AlertKey::default()
        }),
        severity: pb::AlertSeverity::Warning as i32,
        domain: domain.to_owned(),
        ..pb::DecideAlertRequest::default()
    }
}

fn critical(number: u64) -> pb::DecideAlertRequest {
    let severity = pb::AlertSeverity::Critical as i32;
    pb::DecideAlertRequest { severity, ..alert(number, "FROZEN", "freeze", "controls") }
}

impl House {
    async fn alert(&self, message: pb::DecideAlertRequest) -> pb::DecideAlertResponse {
        insist(|| async { call!(self, alerts.decide_alert, "AlertService/DecideAlert", message.clone()) })
            .await
    }

    async fn settings(&self) -> pb::AlertSettings {
        let ask = pb::GetAlertSettingsRequest::default();
        let got = call!(self, alerts.get_alert_settings, "AlertService/GetAlertSettings", ask);
        got.unwrap().settings.unwrap()
    }

    async fn set(&self, number: u64, settings: pb::AlertSettings) -> Result<pb::AlertSettings, Status> {
        let message = pb::SetAlertSettingsRequest {
            request_id: test_id(7, number),
            expected_version: settings.version,
            settings: Some(settings),
            reason: "somebody wants it so".into(),
        };
        let set = call!(self, alerts.set_alert_settings, "AlertService/SetAlertSettings", message)?;
        Ok(set.settings.unwrap())
    }

    async fn use_mode(&self, mode: pb::AlertMode) {
        let now = self.settings().await;
        self.set(900, pb::AlertSettings { mode: mode as i32, ..now }).await.unwrap();
    }

    async fn decisions(&self, filter: pb::ListAlertDecisionsRequest) -> Vec<pb::AlertDecision> {
        let (mut all, mut page_token) = (Vec::new(), String::new());
        loop {
            let message = pb::ListAlertDecisionsRequest { page_token, page_size: 150, ..filter.clone() };
            let page = call!(self, alerts.list_alert_decisions, "AlertService/ListAlertDecisions", message);
            let page = page.unwrap();
            all.extend(page.decisions);
            page_token = page.next_page_token;
            if page_token.is_empty() {
                return all;
            }
        }
    }
}

/// Leaves a decision.
pub async fn decided_once(house: &House) {
    house.alert(alert(990, "T", "l", "logs")).await;
}

/// A part of the script: how long before each alert of it, seconds, and the alerts.
type Part = (u64, Vec<pb::DecideAlertRequest>);

/// 200 alerts that meet every stage.
fn script() -> Vec<Part> {
    let of_run = |number, kind: &str, limit: &str| pb::DecideAlertRequest {
        run_id: run(1),
        ..alert(number, kind, limit, "controls")
    };
    let named = |prefix: &str, n: u64| format!("{prefix}{n}");
    let each = |numbers: std::ops::Range<u64>, make: &dyn Fn(u64) -> pb::DecideAlertRequest| -> Vec<_> {
        numbers.map(make).collect()
    };
    let burst = |numbers: std::ops::Range<u64>| {
        each(numbers, &|n| alert(n, &named("G", n), &named("g", n), "controls"))
    };
    let mut parts = vec![
        // The same, eight times.
        (1, each(0..8, &|n| of_run(n, "A", "a"))),
        // One type of one run about five limits.
        (1, each(8..13, &|n| of_run(n, "B", &named("b", n)))),
        // The same, a minute apart: the eleventh is one too many.
        (61, each(13..23, &|n| of_run(n, "B", &named("b", n)))),
        // Five types about one key of policies.
        (1, each(23..28, &|n| alert(n, &named("C", n), "c", "policies"))),
        // One key, loud: another domain is not heard about it.
        (1, each(28..39, &|n| alert(n, &named("D", n), "d", "policies"))),
        (1, each(39..42, &|n| alert(n, &named("D", n), "d", "logs"))),
        // One key that nobody does anything about.
        (61, each(42..52, &|n| alert(n, "E", "e", "controls"))),
        // One type about eight keys.
        (1, each(52..60, &|n| alert(n, "F", &named("f", n), "controls"))),
        // Five bursts of a tenant, the first of them too long.
        (3_600, burst(60..61)),
        (1, burst(61..80)),
        (1, burst(80..83)),
        (1, vec![critical(83)]),
    ];
    for first in [84, 104, 124, 144] {
        parts.push((601, burst(first..first + 1)));
        parts.push((1, burst(first + 1..first + 20)));
    }
    // A hundred were heard of within the hour.
    parts.push((601, burst(164..165)));
    parts.push((1, burst(165..199)));
    parts.push((1, vec![critical(199)]));
    parts
}

/// What the stages find in the script; `of_type` of one type go out within a minute.
fn expected(of_type: usize) -> BTreeMap<&'static str, usize> {
    let f = of_type.min(8);
    let allowed = 1 + 1 + 9 + 1 + 1 + 6 + f + 20 + 80 + 2;
    BTreeMap::from([
        (Found::Allowed.as_str_name(), allowed),
        (Found::Duplicate.as_str_name(), 7),
        (Found::RunCeiling.as_str_name(), 4 + 1),
        (Found::Cooldown.as_str_name(), 4 + 10),
        (Found::RateLimited.as_str_name(), 3),
        (Found::Suppressed.as_str_name(), 4),
        (Found::Aggregated.as_str_name(), 8 - f),
        (Found::CoolingDown.as_str_name(), 3),
        (Found::TenantRateLimit.as_str_name(), 35),
    ])
}

impl House {
    /// Plays the script: what each alert was found to be, and what came of it.
    async fn play(&self) -> Vec<pb::DecideAlertResponse> {
        let mut answers = Vec::new();
        for (wait_s, alerts) in script() {
            for message in alerts {
                self.clock.advance(Duration::from_secs(wait_s));
                answers.push(self.alert(message).await);
            }
        }
        answers
    }
}

fn counted(of: impl Iterator<Item = Found>) -> BTreeMap<&'static str, usize> {
    let mut counts = BTreeMap::new();
    for found in of {
        *counts.entry(found.as_str_name()).or_default() += 1;
    }
    counts
}

on_both_engines! {
    /// A15.1: 200 alerts give the stated counts per stage, and what is dropped is counted in the next of its type.
    async fn two_hundred_alerts_in_enforce(store: TestStore) {
        let house = House::over(store).await;
        let answers = house.play().await;
        assert_eq!(answers.len(), 200);
        assert_eq!(counted(answers.iter().map(|a| a.result())), expected(2));
        assert!(answers.iter().all(|a| a.result == a.finding && a.mode() == pb::AlertMode::Enforce));
        for a in &answers {
            let out = a.result() == Found::Allowed;
            assert_eq!((a.count > 0, a.channels.as_slice()), (out, if out { &[1_i32][..] } else { &[] }), "{a:?}");
        }
        assert_eq!(answers[13].count, 5, "itself, and the four of its type before it");
        assert_eq!((answers[50].result(), answers[51].result()), (Found::Suppressed, Found::Allowed));
        assert_eq!(answers[51].count, 5);
        assert_eq!((answers[80].result(), answers[83].result()), (Found::CoolingDown, Found::Allowed));

        let all = house.decisions(pb::ListAlertDecisionsRequest::default()).await;
        assert_eq!(all.len(), 200, "every decision is a row");
        let told: u64 = all.iter().map(|d| d.count).sum();
        let mut waiting = 0;
        for kind in all.iter().map(|d| d.r#type.as_str()).collect::<std::collections::BTreeSet<_>>() {
            waiting += all.iter().filter(|d| d.r#type == kind).take_while(|d| d.count == 0).count() as u64;
        }
        assert_eq!(told + waiting, 200, "none is lost");
        let limited = Found::TenantRateLimit as i32;
        let filter = pb::ListAlertDecisionsRequest { results: vec![limited], ..Default::default() };
        assert_eq!(house.decisions(filter).await.len(), 35);
        let filter = pb::ListAlertDecisionsRequest { run_id: run(1), r#type: "A".into(), ..Default::default() };
        let of_run = house.decisions(filter).await;
        assert_eq!(of_run.len(), 8);
        assert_eq!(of_run[7].event_id, test_id(11, 0), "newest first");
        assert_eq!(of_run[0].event_id, test_id(11, 7));
    }

    /// A15.1: MONITOR counts and delivers, WARN delivers and marks; both find what ENFORCE finds. OBSERVE_ONLY is MONITOR.
    async fn two_hundred_alerts_that_all_go_out(store: TestStore) {
        let house = House::over(store).await;
        house.use_mode(pb::AlertMode::Warn).await;
        let answers = house.play().await;
        assert_eq!(counted(answers.iter().map(|a| a.finding())), expected(2));
        let allowed = expected(2)["ALERT_RESULT_ALLOWED"];
        let out = [(Found::Allowed.as_str_name(), allowed), (Found::Warned.as_str_name(), 200 - allowed)];
        assert_eq!(counted(answers.iter().map(|a| a.result())), BTreeMap::from(out));
        assert!(answers.iter().all(|a| a.count == 1), "none was dropped");
    }

    async fn two_hundred_alerts_in_monitor(store: TestStore) {
        let house = House::over(store).await;
        house.use_mode(pb::AlertMode::Monitor).await;
        let answers = house.play().await;
        assert_eq!(counted(answers.iter().map(|a| a.finding())), expected(2));
        assert!(answers.iter().all(|a| a.result() == Found::Allowed && a.count == 1));
    }

    async fn two_hundred_alerts_in_aggregate(store: TestStore) {
        let house = House::over(store).await;
        house.use_mode(pb::AlertMode::Aggregate).await;
        let answers = house.play().await;
        assert_eq!(counted(answers.iter().map(|a| a.result())), expected(1));
    }

    /// Under OBSERVE_ONLY nothing is dropped, whatever the mode is.
    async fn what_only_observes_drops_nothing(store: TestStore) {
        let house = House::over(store).await;
        for number in 0..3 {
            let request = house.ask_under(OBSERVE_ONLY, DECIDE, alert(number, "T", "l", "logs"));
            let answer = inner(house.alerts.clone().decide_alert(request).await).unwrap();
            assert_eq!((answer.result(), answer.mode()), (Found::Allowed, pb::AlertMode::Monitor));
            assert_eq!(answer.finding(), if number == 0 { Found::Allowed } else { Found::Duplicate });
        }
    }

    /// The same event gets the same answer, byte for byte, and weighs once; another body is refused.
    async fn an_event_is_decided_once(store: TestStore) {
        let house = House::over(store).await;
        let first = house.alert(alert(1, "T", "l", "logs")).await;
        house.clock.advance(Duration::from_secs(3_600));
        assert_eq!(house.alert(alert(1, "T", "l", "logs")).await, first);
        assert_eq!(house.decisions(pb::ListAlertDecisionsRequest::default()).await.len(), 1);
        let other = call!(house, alerts.decide_alert, "AlertService/DecideAlert", alert(1, "U", "l", "logs"));
        refused(other, &mesh::IDEMPOTENCY_MISMATCH);
        let foreign = house.ask_as(&tenant(2), "lee", DECIDE, alert(1, "T", "l", "logs"));
        let foreign = inner(house.alerts.clone().decide_alert(foreign).await).unwrap();
        assert_eq!((foreign.result(), foreign.count), (Found::Allowed, 1), "another tenant's alerts are its own");
        assert_eq!(house.decisions(pb::ListAlertDecisionsRequest::default()).await.len(), 1);
    }

    /// Of many that arrive at once no stage lets more through than it may.
    async fn many_at_once(store: TestStore) {
        let house = House::over(store).await;
        let asked = (0..40).map(|n| house.alert(alert(n, &format!("T{n}"), &format!("l{n}"), "controls")));
        let answers = join_all(asked).await;
        let found = counted(answers.iter().map(|a| a.result()));
        let twenty = [(Found::Allowed.as_str_name(), 20), (Found::CoolingDown.as_str_name(), 20)];
        assert_eq!(found, BTreeMap::from(twenty));
    }

    /// What is over is heard of, and ends the silence of its key.
    async fn what_is_over_ends_the_silence(store: TestStore) {
        let house = House::over(store).await;
        let mut last = Found::Unspecified;
        for number in 0..6 {
            house.clock.advance(Duration::from_secs(60));
            last = house.alert(alert(number, "T", "l", "logs")).await.result();
        }
        assert_eq!(last, Found::Suppressed);
        house.clock.advance(Duration::from_secs(60));
        let over = pb::DecideAlertRequest { resolves: true, ..alert(6, "OVER", "l", "logs") };
        assert_eq!(house.alert(over).await.result(), Found::Allowed);
        house.clock.advance(Duration::from_secs(60));
        let next = house.alert(alert(7, "T", "l", "logs")).await;
        assert_eq!((next.result(), next.count), (Found::Allowed, 2));
    }

    /// Settings have defaults, are changed by whoever has read them, hold from the next alert on, and are told.
    async fn settings_hold_from_the_next_alert_on(store: TestStore) {
        let house = House::over(store).await;
        let usual = house.settings().await;
        assert_eq!((usual.version, usual.near, usual.near_permille, usual.breaches), (0, true, 800, true));
        assert_eq!((usual.channels.as_slice(), usual.min_interval_s, usual.max_per_run), (&[1_i32][..], 60, 10));
        assert_eq!(usual.mode(), pb::AlertMode::Enforce);
        let near = |number, permille| pb::DecideAlertRequest {
            proximity_permille: Some(permille),
            ..alert(number, &format!("T{number}"), &format!("l{number}"), "controls")
        };
        assert_eq!(house.alert(near(1, 799)).await.result(), Found::NotWanted);
        assert_eq!(house.alert(near(2, 800)).await.result(), Found::Allowed);
        let wish = pb::AlertSettings { near: false, channels: vec![2, 4], ..usual.clone() };
        let set = house.set(1, wish.clone()).await.unwrap();
        assert_eq!(set, pb::AlertSettings { version: 1, ..wish.clone() });
        assert_eq!(house.set(1, wish.clone()).await.unwrap(), set, "the same call, the same answer");
        refused(house.set(2, wish.clone()).await, &reasons::VERSION_CONFLICT);
        let other = pb::AlertSettings { near_permille: 700, ..wish };
        refused(house.set(1, other).await, &mesh::IDEMPOTENCY_MISMATCH);
        assert_eq!(house.settings().await, set);
        assert_eq!(house.alert(near(3, 999)).await.result(), Found::NotWanted);
        let breach = house.alert(near(4, 1_000)).await;
        assert_eq!((breach.result(), breach.channels), (Found::Allowed, vec![2, 4]));
        let of_other = house.ask_as(&tenant(2), "lee", "AlertService/GetAlertSettings", pb::GetAlertSettingsRequest {});
        let of_other = inner(house.alerts.clone().get_alert_settings(of_other).await).unwrap();
        assert_eq!(of_other.settings.unwrap(), usual, "another tenant's are its own");
        let told = house.published().await;
        assert_eq!(told.len(), 1, "once, and decisions are told to nobody");
        assert_eq!((told[0].r#type.as_str(), told[0].entity_type.as_str()), ("controls.AlertSettingsChanged", "alert_settings"));
        assert!(told[0].before_state.contains("\"near\":true") && told[0].after_state.contains("\"WEBHOOK\",\"SLACK\""));
    }
}

/// Everything that is wrong is told at once.
#[tokio::test]
async fn wrong_requests_are_told_of_whole() {
    let house = House::over(TestStore::start(runspine_testkit::SQLITE).await).await;
    let wrong = pb::AlertSettings { near_permille: 1_000, channels: vec![1, 1, 9], ..Default::default() };
    let status = house.set(1, wrong).await.unwrap_err();
    let fields: Vec<String> = details(&status).fields.into_iter().map(|f| f.0).collect();
    let expected = [
        "settings.mode",
        "settings.channels[2]",
        "settings.near_permille",
        "settings.channels",
        "settings.min_interval_s",
        "settings.max_per_run",
    ];
    assert_eq!(fields, expected);
    let message = pb::DecideAlertRequest { proximity_permille: Some(1_000_001), ..Default::default() };
    let answer = call!(house, alerts.decide_alert, "AlertService/DecideAlert", message);
    let status = answer.unwrap_err();
    let fields: Vec<String> = details(&status).fields.into_iter().map(|f| f.0).collect();
    assert_eq!(fields, ["event_id", "type", "key.scope", "severity", "domain", "proximity_permille"]);
}
