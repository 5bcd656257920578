//! The candidate for the next cost model: its settings change what its breaker does, and its status says so.

use std::time::Duration;

use contracts_controls::v1 as pb;
use runspine_controls::app::App;
use runspine_controls_domain::{costsim::CostSimSettings, reasons};
use runspine_errors::mesh;
use runspine_rpc::{details, timestamp};
use runspine_testkit::{TestStore, on_both_engines, tenant, test_id};
use tonic::Status;

use crate::{
    breakers::{GOOD, SCHEMA, drift},
    call,
    harness::{House, inner, refused},
};

use pb::CostSimObstacle::{BreakerOpen, Order, SandboxOff, TriedOut};

const HOUR: Duration = Duration::from_secs(3_600);

impl House {
    async fn costsim(&self) -> pb::CostSimSettings {
        let ask = pb::GetCostSimSettingsRequest::default();
        let got = call!(self, costsim.get_cost_sim_settings, "CostSimService/GetCostSimSettings", ask);
        got.unwrap().settings.unwrap()
    }

    async fn set_costsim(
        &self,
        number: u64,
        settings: pb::CostSimSettings,
    ) -> Result<pb::CostSimSettings, Status> {
        let message = pb::SetCostSimSettingsRequest {
            request_id: test_id(7, number),
            expected_version: settings.version,
            settings: Some(settings),
            reason: "the candidate is to be tried".into(),
        };
        let set = call!(self, costsim.set_cost_sim_settings, "CostSimService/SetCostSimSettings", message)?;
        Ok(set.settings.unwrap())
    }

    /// Changes what is in force.
    async fn tune(&self, number: u64, change: impl FnOnce(&mut pb::CostSimSettings)) -> pb::CostSimSettings {
        let mut settings = self.costsim().await;
        change(&mut settings);
        self.set_costsim(number, settings).await.unwrap()
    }

    async fn standing(&self) -> pb::GetCostSimStatusResponse {
        let ask = pb::GetCostSimStatusRequest::default();
        call!(self, costsim.get_cost_sim_status, "CostSimService/GetCostSimStatus", ask).unwrap()
    }

    async fn is_kept_by(&self, simulation: bool, obstacles: &[pb::CostSimObstacle]) {
        let standing = self.standing().await;
        let found: Vec<pb::CostSimObstacle> = standing.obstacles().collect();
        assert_eq!((standing.simulation_permitted, found.as_slice()), (simulation, obstacles));
        assert_eq!(standing.candidate_permitted, obstacles.is_empty());
    }
}

on_both_engines! {
    /// A16.1, as far as it is decided here: off, nothing is compared; open, the candidate is not used, and the status
    /// says why.
    async fn the_status_says_why_not(store: TestStore) {
        let house = House::over(store).await;
        house.is_kept_by(false, &[SandboxOff]).await;
        house.tune(1, |s| s.sandbox_enabled = true).await;
        house.is_kept_by(true, &[]).await;
        for number in 1..=3 {
            house.report(drift(number, GOOD, Some(201))).await;
        }
        house.is_kept_by(false, &[BreakerOpen]).await;
        let standing = house.standing().await;
        let breaker = standing.breaker.unwrap();
        assert_eq!((breaker.cause(), breaker.drift_permille), (pb::BreakerCause::Drift, Some(201)));
        assert_eq!(breaker.reported_at, Some(timestamp(house.in_ms(0))));
        assert_eq!((standing.settings_version, standing.ordered), (1, None));
        let order = pb::OpenBreakerRequest {
            request_id: test_id(7, 50), target_type: pb::BreakerTarget::Feature as i32,
            target_id: "cost_model_candidate".into(), reason: "it is not to be trusted".into(),
            ..pb::OpenBreakerRequest::default()
        };
        call!(house, breakers.open_breaker, "BreakerService/OpenBreaker", order).unwrap();
        house.is_kept_by(false, &[BreakerOpen, Order]).await;
        assert_eq!(house.standing().await.ordered.unwrap().kind(), pb::BreakerKind::Manual);
        let close = pb::CloseBreakerRequest {
            request_id: test_id(7, 51), kind: pb::BreakerKind::Manual as i32,
            target_type: pb::BreakerTarget::Feature as i32, target_id: "cost_model_candidate".into(),
            reason: "it may be tried again".into(),
        };
        call!(house, breakers.close_breaker, "BreakerService/CloseBreaker", close).unwrap();
        house.clock.advance(24 * HOUR);
        house.is_kept_by(true, &[TriedOut]).await;
        for number in 11..=13 {
            house.report(drift(number, GOOD, Some(150))).await;
        }
        house.is_kept_by(true, &[]).await;
        let other = house.ask_as(&tenant(2), "lee", "CostSimService/GetCostSimStatus", pb::GetCostSimStatusRequest {});
        let other = inner(house.costsim.clone().get_cost_sim_status(other).await).unwrap();
        assert_eq!(other.obstacles().collect::<Vec<_>>(), [SandboxOff], "another tenant has its own");
        assert_eq!(other.breaker.unwrap().breaker_id, "");
    }

    /// Thresholds and times are those of the settings, from the next report on, and only for the candidate.
    async fn the_settings_are_the_rules(store: TestStore) {
        let house = House::over(store).await;
        house.tune(1, |s| {
            (s.drift_permille, s.drift_warning_permille, s.failure_threshold) = (50, 20, 2);
            (s.schema_error_threshold, s.disable_ttl_hours) = (1, 100);
        }).await;
        assert_eq!(house.report(drift(1, GOOD, Some(51))).await.in_a_row, 1);
        house.report(drift(2, GOOD, Some(21))).await;
        let open = house.report(drift(3, GOOD, Some(60))).await;
        assert_eq!((open.state(), open.cause()), (pb::BreakerState::Open, pb::BreakerCause::Drift));
        assert_eq!(open.open_until, Some(timestamp(house.in_ms(100 * 3_600_000))));
        house.clock.advance(100 * HOUR);
        let again = house.report(drift(4, GOOD, Some(51))).await;
        assert_eq!(again.open_until, Some(timestamp(house.in_ms(168 * 3_600_000))), "twice as long, and 168 h at most");
        let feature = |number, result, permille| pb::ReportOutcomeRequest {
            target_id: "another_feature".into(), ..drift(number, result, permille)
        };
        assert_eq!(house.report(feature(5, GOOD, Some(150))).await.in_a_row, 0);
        for number in 10..14 {
            assert_eq!(house.report(feature(number, SCHEMA, None)).await.state(), pb::BreakerState::Closed);
        }
    }

    /// With `auto_disable` off what would open it is an event; turned on again, the next bad report opens it.
    async fn reports_that_may_not_disable(store: TestStore) {
        let house = House::over(store).await;
        house.tune(1, |s| (s.sandbox_enabled, s.auto_disable) = (true, false)).await;
        let mut breaker = pb::Breaker::default();
        for number in 1..=4 {
            breaker = house.report(drift(number, GOOD, Some(400))).await;
        }
        assert_eq!((breaker.state(), breaker.in_a_row), (pb::BreakerState::Closed, 4));
        assert_eq!(house.shown(&breaker).await.unwrap().events.len(), 2, "the third and the fourth");
        house.is_kept_by(true, &[]).await;
        house.tune(2, |s| s.auto_disable = true).await;
        assert_eq!(house.report(drift(5, GOOD, Some(400))).await.state(), pb::BreakerState::Open);
    }

    /// `auto_recover` holds at once, for a breaker that is open too.
    async fn what_may_not_recover(store: TestStore) {
        let house = House::over(store).await;
        house.tune(1, |s| (s.sandbox_enabled, s.auto_recover) = (true, false)).await;
        for number in 1..=3 {
            house.report(drift(number, GOOD, Some(400))).await;
        }
        house.clock.advance(1_000 * HOUR);
        house.is_kept_by(false, &[BreakerOpen]).await;
        assert_eq!(house.app.tell_breakers().await.unwrap(), 0, "its time is never over");
        house.tune(2, |s| s.auto_recover = true).await;
        house.is_kept_by(true, &[TriedOut]).await;
        house.tune(3, |s| s.auto_recover = false).await;
        house.is_kept_by(true, &[TriedOut]).await;
    }

    /// Settings are versioned, told with before and after, and the configuration has the defaults.
    async fn settings_are_versioned(store: TestStore) {
        let house = House::over(store).await;
        let usual = house.costsim().await;
        assert_eq!(usual, pb::CostSimSettings {
            version: 0, sandbox_enabled: false, drift_permille: 200, drift_warning_permille: 150, failure_threshold: 3,
            schema_error_threshold: 5, auto_disable: true, auto_recover: true, disable_ttl_hours: 24,
            canary_enabled: Some(true), canary_samples: Some(100), canary_parallel: Some(4), canary_timeout_s: Some(300),
            outlier_drift_permille: Some(500), max_outlier_permille: Some(50), kl_divergence_max_permille: Some(200),
            max_major_drift_permille: Some(100), provenance_enabled: Some(true), provenance_compress: Some(true),
            adapter_version: Some("2.0.0".into()), model_version: Some("2.0.0".into()),
        });
        let wish = pb::CostSimSettings {
            sandbox_enabled: true, canary_samples: Some(200), model_version: Some("2.1.0".into()), adapter_version: None,
            ..usual.clone()
        };
        let set = house.set_costsim(1, wish.clone()).await.unwrap();
        let whole = pb::CostSimSettings { version: 1, adapter_version: usual.adapter_version.clone(), ..wish.clone() };
        assert_eq!(set, whole, "what is absent has its default");
        assert_eq!(house.costsim().await, whole);
        assert_eq!(house.set_costsim(1, wish.clone()).await.unwrap(), set);
        refused(house.set_costsim(2, wish).await, &reasons::VERSION_CONFLICT);
        refused(house.set_costsim(1, usual).await, &mesh::IDEMPOTENCY_MISMATCH);
        let told = house.published().await;
        assert_eq!(told.len(), 1);
        assert_eq!(told[0].r#type, "controls.CostSimSettingsChanged");
        assert!(told[0].before_state.contains("\"sandbox_enabled\":false"));
        assert!(told[0].after_state.contains("\"sandbox_enabled\":true"));
        assert!(told[0].before_state.contains("\"canary_samples\":100"));
        assert!(told[0].after_state.contains("\"canary_samples\":200"));
        assert!(told[0].after_state.contains("\"model_version\":\"2.1.0\""));
        let defaults = CostSimSettings { sandbox_enabled: true, drift_permille: 300, ..CostSimSettings::default() };
        let app = App::new(house.db.clone(), house.clock.clone(), None).with_costsim(defaults);
        assert_eq!(app.costsim_settings(&tenant(1)).await.unwrap(), set, "what a tenant has set wins");
        let other = app.costsim_settings(&tenant(2)).await.unwrap();
        assert_eq!((other.version, other.sandbox_enabled, other.drift_permille), (0, true, 300));
    }
}

/// Everything that is wrong is told at once.
#[tokio::test]
async fn wrong_settings_are_told_of_whole() {
    let house = House::over(TestStore::start(runspine_testkit::SQLITE).await).await;
    let wish = pb::CostSimSettings {
        canary_parallel: Some(0),
        model_version: Some("new".into()),
        ..pb::CostSimSettings::default()
    };
    let status = house.set_costsim(1, wish).await.unwrap_err();
    let fields: Vec<String> = details(&status).fields.into_iter().map(|f| f.0).collect();
    let expected = [
        "settings.drift_permille",
        "settings.drift_warning_permille",
        "settings.failure_threshold",
        "settings.schema_error_threshold",
        "settings.disable_ttl_hours",
        "settings.canary_parallel",
        "settings.model_version",
    ];
    assert_eq!(fields, expected);
}
