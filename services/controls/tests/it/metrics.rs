//! Every metric of the specification is moved by what it counts.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use contracts_controls::v1 as pb;
use opentelemetry::KeyValue;
use opentelemetry_sdk::{
    error::OTelSdkResult,
    metrics::{
        PeriodicReader, SdkMeterProvider, Temporality,
        data::{AggregatedMetrics, MetricData, ResourceMetrics},
        exporter::PushMetricExporter,
    },
};
use parking_lot::Mutex;
use runspine_controls::worker::sweep_once;
use runspine_testkit::{TestStore, test_id};

use crate::{
    breakers::{GOOD, SCHEMA, drift},
    call,
    harness::{House, daily, settled, step},
};

/// Name and values of the labels, and the number: the sum of a counter, the last of a gauge, how many of a histogram.
type Read = BTreeMap<String, f64>;

/// Keeps what was read last.
#[derive(Clone, Default)]
struct Meter(Arc<Mutex<Read>>);

impl PushMetricExporter for Meter {
    async fn export(&self, metrics: &ResourceMetrics) -> OTelSdkResult {
        let read = &mut *self.0.lock();
        for metric in metrics.scope_metrics().flat_map(|s| s.metrics()) {
            let mut note = |labels: Vec<&KeyValue>, value: f64| {
                let mut labels: Vec<String> = labels.iter().map(|l| l.value.to_string()).collect();
                labels.sort();
                let name = metric.name().trim_start_matches("runspine_");
                read.insert(format!("{name}{{{}}}", labels.join(",")), value);
            };
            match metric.data() {
                AggregatedMetrics::U64(MetricData::Sum(sum)) => {
                    sum.data_points().for_each(|p| note(p.attributes().collect(), p.value() as f64));
                }
                AggregatedMetrics::F64(MetricData::Gauge(gauge)) => {
                    gauge.data_points().for_each(|p| note(p.attributes().collect(), p.value()));
                }
                AggregatedMetrics::F64(MetricData::Histogram(values)) => {
                    values.data_points().for_each(|p| note(p.attributes().collect(), p.count() as f64));
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    fn shutdown_with_timeout(&self, _timeout: Duration) -> OTelSdkResult {
        Ok(())
    }

    fn temporality(&self) -> Temporality {
        Temporality::Cumulative
    }
}

/// A meter that is read, and how to read it.
fn meter() -> impl Fn() -> Read {
    let meter = Meter::default();
    let provider =
        SdkMeterProvider::builder().with_reader(PeriodicReader::builder(meter.clone()).build()).build();
    opentelemetry::global::set_meter_provider(provider.clone());
    runspine_telemetry::readers_exist();
    move || {
        provider.force_flush().unwrap();
        meter.0.lock().clone()
    }
}

/// One test: what is read is the process's.
#[tokio::test]
async fn what_is_counted_is_moved_by_what_it_counts() {
    let house = House::over(TestStore::start(runspine_testkit::SQLITE).await).await;
    let values = meter();
    house.create(1, daily("day", 1_000)).await;
    house.create(2, daily("same", 1_000)).await;
    for _ in 0..2 {
        house.admit(1).await.unwrap();
        house.step(step(1, 0, 400)).await.unwrap();
    }
    house.clock.advance(Duration::from_secs(2));
    house.app.sample().await.unwrap();
    let read = values();
    assert_eq!(
        read["controls_admissions_total{ALLOW,RUN}"], 1.0,
        "an answer that is given again counts once"
    );
    assert_eq!(read["controls_admissions_total{ALLOW,STEP}"], 1.0);
    assert_eq!(read["controls_admission_seconds{STEP}"], 2.0, "and takes its time each time");
    assert_eq!(read["controls_holds{ACTIVE}"], 1.0);
    assert_eq!(read["controls_hold_age_seconds{}"], 2.0);
    assert!(read["controls_grants_total{COST_MICROUSD}"] >= 2.0, "{read:?}");
    assert_eq!(read["controls_freezes_active{TENANT}"], 0.0);

    // A refusal, a cost that nobody can fund in two envelopes, a step without a hold, and a lease that lapses.
    house.step(step(1, 1, 5_000)).await.unwrap();
    house.settle(settled(1, 0, 1_500)).await.unwrap();
    house.settle(settled(1, 7, 100)).await.unwrap();
    house.admit(2).await.unwrap();
    house.clock.advance(Duration::from_secs(86_400));
    house.admit(3).await.unwrap();
    house.step(step(3, 0, 10)).await.unwrap();
    house.clock.advance(Duration::from_secs(60));
    sweep_once(&house.app).await.unwrap();
    let read = values();
    assert_eq!(read["controls_admissions_total{DENY,STEP}"], 1.0);
    assert_eq!(
        read["controls_unfunded_microusd_total{}"], 600.0,
        "500 of the step and 100 of the late one, once"
    );
    assert_eq!(read["controls_late_charges_total{}"], 1.0);
    assert_eq!(read["controls_expired_holds_total{}"], 1.0);
    assert!(
        read.iter().any(|(name, count)| name.starts_with("controls_breaches_total{") && *count >= 1.0),
        "{read:?}"
    );

    crate::bypasses::used_once(&house, 4).await;
    let watch = house.app.watchers.enter("spine-1");
    house.freeze_and_contain().await;
    drop(watch);
    house.app.sample().await.unwrap();
    for (number, permille) in [(1, 201), (2, 201), (3, 201)] {
        house.report(drift(number, GOOD, Some(permille))).await;
    }
    house.report(drift(4, SCHEMA, None)).await;
    crate::alerts::decided_once(&house).await;
    house.app.sample().await.unwrap();
    let read = values();
    assert_eq!(read["costsim_breaker_state{OPEN}"], 1.0);
    assert_eq!((read["costsim_breaker_state{CLOSED}"], read["costsim_breaker_state{HALF_OPEN}"]), (0.0, 0.0));
    assert_eq!(read["controls_bypass_uses_total{}"], 1.0);
    assert_eq!(read["controls_containment_seconds{}"], 1.0);
    assert_eq!(read["controls_freezes_active{TENANT}"], 1.0);
    assert_eq!(read["controls_breaker_transitions_total{DRIFT,OPEN}"], 1.0);
    assert_eq!((read["costsim_drift{}"], read["costsim_schema_errors_total{}"]), (3.0, 1.0));
    assert_eq!(read["controls_alert_decisions_total{ALLOWED}"], 1.0);

    // A run that needs what others have free takes it back.
    let house = House::over(TestStore::start(runspine_testkit::SQLITE).await).await;
    house.create(1, daily("day", 1_000)).await;
    for number in 1..=2 {
        house.admit(number).await.unwrap();
        house.step(step(number, 0, 100)).await.unwrap();
        house.settle(settled(number, 0, 10)).await.unwrap();
    }
    house.admit(3).await.unwrap();
    house.step(step(3, 0, 950)).await.unwrap();
    assert!(values()["controls_reclaims_total{}"] >= 1.0);
}

impl House {
    /// A freeze of the tenant that nothing stands in the way of.
    async fn freeze_and_contain(&self) {
        let message = pb::FreezeRequest {
            request_id: test_id(7, 60),
            scope: pb::FreezeScope::Tenant as i32,
            reason_code: 1,
            note: "something is wrong".into(),
            ..pb::FreezeRequest::default()
        };
        let frozen = call!(self, freezes.freeze, "FreezeService/Freeze", message).unwrap().freeze.unwrap();
        let message = pb::AckContainmentRequest {
            freeze_id: frozen.freeze_id.clone(),
            replica: "spine-1".into(),
            confirmed_epoch: frozen.epoch,
            runs: vec![],
        };
        let answer = call!(self, freezes.ack_containment, "FreezeService/AckContainment", message).unwrap();
        assert_eq!(answer.status(), pb::ContainmentStatus::Contained);
    }
}
