//! Instruments that are made when they are first used, and cost nothing while nobody reads them.

use std::{
    sync::{
        OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};

use opentelemetry::{KeyValue, global, metrics};

/// Name and value of a label, both from the source: [`crate`] says why.
pub type Label = (&'static str, &'static str);

const SCOPE: &str = "runspine";

/// Seconds: from a commit of 100 µs to a saga of a minute.
const SECONDS: [f64; 16] =
    [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 15.0, 60.0];
const SIZES: [f64; 12] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 1_024.0, 4_096.0, 16_384.0];

static READ: AtomicBool = AtomicBool::new(false);

/// Told once by the process when its meter provider has a reader; before that nothing is counted.
pub fn readers_exist() {
    READ.store(true, Ordering::Release);
}

/// Whether anybody reads metrics.
#[must_use]
pub fn is_read() -> bool {
    READ.load(Ordering::Relaxed)
}

/// A number that only grows.
pub struct Counter {
    name: &'static str,
    description: &'static str,
    instrument: OnceLock<metrics::Counter<u64>>,
}

impl Counter {
    /// A counter; its name ends in `_total`.
    #[must_use]
    pub const fn new(name: &'static str, description: &'static str) -> Self {
        Self { name, description, instrument: OnceLock::new() }
    }

    /// One more.
    pub fn increment(&self, labels: &[Label]) {
        self.add(1, labels);
    }

    /// `count` more.
    pub fn add(&self, count: u64, labels: &[Label]) {
        if is_read() {
            labelled(labels, |labels| self.instrument().add(count, labels));
        }
    }

    /// `count` more, under labels that were prepared: for names that come from descriptors, never from a request.
    pub fn add_prepared(&self, count: u64, labels: &[KeyValue]) {
        if is_read() {
            self.instrument().add(count, labels);
        }
    }

    fn instrument(&self) -> &metrics::Counter<u64> {
        self.instrument.get_or_init(|| {
            global::meter(SCOPE).u64_counter(self.name).with_description(self.description).build()
        })
    }
}

/// How values are spread.
pub struct Histogram {
    name: &'static str,
    description: &'static str,
    unit: &'static str,
    bounds: &'static [f64],
    instrument: OnceLock<metrics::Histogram<f64>>,
}

impl Histogram {
    /// Durations; its name ends in `_seconds`.
    #[must_use]
    pub const fn seconds(name: &'static str, description: &'static str) -> Self {
        Self::with_bounds(name, description, "", &SECONDS)
    }

    /// Durations under a name of OpenTelemetry's conventions, whose unit is not part of the name.
    #[must_use]
    pub const fn conventional_seconds(name: &'static str, description: &'static str) -> Self {
        Self::with_bounds(name, description, "s", &SECONDS)
    }

    /// Counts of things, from one to 16,384.
    #[must_use]
    pub const fn sizes(name: &'static str, description: &'static str) -> Self {
        Self::with_bounds(name, description, "", &SIZES)
    }

    /// Any values, by the upper bounds of their buckets.
    #[must_use]
    pub const fn with_bounds(
        name: &'static str,
        description: &'static str,
        unit: &'static str,
        bounds: &'static [f64],
    ) -> Self {
        Self { name, description, unit, bounds, instrument: OnceLock::new() }
    }

    /// One value.
    pub fn record(&self, value: f64, labels: &[Label]) {
        if is_read() {
            labelled(labels, |labels| self.instrument().record(value, labels));
        }
    }

    /// The time since `begun`.
    pub fn since(&self, begun: Instant, labels: &[Label]) {
        if is_read() {
            self.record(begun.elapsed().as_secs_f64(), labels);
        }
    }

    /// One value, under labels that were prepared: for names that come from descriptors, never from a request.
    pub fn record_prepared(&self, value: f64, labels: &[KeyValue]) {
        if is_read() {
            self.instrument().record(value, labels);
        }
    }

    fn instrument(&self) -> &metrics::Histogram<f64> {
        self.instrument.get_or_init(|| {
            let meter = global::meter(SCOPE);
            let builder = meter.f64_histogram(self.name).with_description(self.description);
            let builder = if self.unit.is_empty() { builder } else { builder.with_unit(self.unit) };
            builder.with_boundaries(self.bounds.to_vec()).build()
        })
    }
}

/// A number that was last seen somewhere.
pub struct Gauge {
    name: &'static str,
    description: &'static str,
    instrument: OnceLock<metrics::Gauge<f64>>,
}

impl Gauge {
    /// A gauge.
    #[must_use]
    pub const fn new(name: &'static str, description: &'static str) -> Self {
        Self { name, description, instrument: OnceLock::new() }
    }

    /// What it is now.
    pub fn set(&self, value: f64, labels: &[Label]) {
        if is_read() {
            labelled(labels, |labels| self.instrument().record(value, labels));
        }
    }

    fn instrument(&self) -> &metrics::Gauge<f64> {
        self.instrument.get_or_init(|| {
            global::meter(SCOPE).f64_gauge(self.name).with_description(self.description).build()
        })
    }
}

/// Takes the values of an observed gauge.
pub struct Observed<'a>(&'a dyn metrics::AsyncInstrument<f64>);

impl Observed<'_> {
    /// The value under these labels now.
    #[allow(clippy::cast_precision_loss, reason = "beyond 2^53 a queue has other problems")]
    pub fn value(&self, value: u64, labels: &[Label]) {
        labelled(labels, |labels| self.0.observe(value as f64, labels));
    }

    /// The value under labels that were prepared.
    #[allow(clippy::cast_precision_loss, reason = "beyond 2^53 a queue has other problems")]
    pub fn prepared(&self, value: u64, labels: &[KeyValue]) {
        self.0.observe(value as f64, labels);
    }
}

/// A gauge that is asked for when somebody reads, for as long as the process lives. `ask` gives no value, or one per
/// set of labels; it must not wait. Of several observers of one name each has its own labels.
pub fn observe(
    name: &'static str,
    description: &'static str,
    ask: impl Fn(&Observed<'_>) + Send + Sync + 'static,
) {
    if is_read() {
        let meter = global::meter(SCOPE);
        let builder = meter.f64_observable_gauge(name).with_description(description);
        let _ = builder.with_callback(move |observer| ask(&Observed(observer))).build();
    }
}

/// Up to four labels need no allocation.
fn labelled(labels: &[Label], count: impl FnOnce(&[KeyValue])) {
    let value = |(name, value): &Label| KeyValue::new(*name, *value);
    match labels {
        [] => count(&[]),
        [a] => count(&[value(a)]),
        [a, b] => count(&[value(a), value(b)]),
        [a, b, c] => count(&[value(a), value(b), value(c)]),
        more => count(&more.iter().map(value).collect::<Vec<_>>()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use opentelemetry_sdk::metrics::{
        InMemoryMetricExporter, PeriodicReader, SdkMeterProvider,
        data::{AggregatedMetrics, MetricData},
    };

    use super::*;

    static CALLS: Counter = Counter::new("runspine_test_calls_total", "Calls");
    static SIZE: Histogram = Histogram::sizes("runspine_test_size", "Sizes");

    /// One test: what is read is the process's.
    #[test]
    fn nothing_is_counted_before_somebody_reads_and_everything_after() {
        CALLS.increment(&[("verdict", "ALLOW")]);
        let exporter = InMemoryMetricExporter::default();
        let reader = PeriodicReader::builder(exporter.clone()).build();
        let provider = SdkMeterProvider::builder().with_reader(reader).build();
        global::set_meter_provider(provider.clone());
        readers_exist();
        CALLS.add(2, &[("verdict", "DENY")]);
        CALLS.increment(&[("verdict", "DENY")]);
        SIZE.record(5.0, &[]);
        observe("runspine_test_waiting", "Waiting", |o| o.value(7, &[("queue", "in")]));
        provider.force_flush().unwrap();
        let seen = exporter.get_finished_metrics().unwrap();
        let metrics: Vec<_> = seen.iter().flat_map(|r| r.scope_metrics()).flat_map(|s| s.metrics()).collect();
        let named = |name: &str| metrics.iter().find(|m| m.name() == name).unwrap().data();
        let AggregatedMetrics::U64(MetricData::Sum(calls)) = named("runspine_test_calls_total") else {
            unreachable!()
        };
        let points: Vec<_> = calls.data_points().map(|p| (p.attributes().count(), p.value())).collect();
        assert_eq!(points, [(1, 3)], "the first call had no reader");
        let AggregatedMetrics::F64(MetricData::Histogram(size)) = named("runspine_test_size") else {
            unreachable!()
        };
        assert_eq!(size.data_points().map(|p| (p.count(), p.sum() as u64)).collect::<Vec<_>>(), [(1, 5)]);
        let AggregatedMetrics::F64(MetricData::Gauge(waiting)) = named("runspine_test_waiting") else {
            unreachable!()
        };
        assert_eq!(waiting.data_points().map(|p| p.value() as u64).collect::<Vec<_>>(), [7]);
    }
}
