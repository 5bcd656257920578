//! One measured point.

use std::{
    error::Error,
    time::{Duration, Instant},
};

use hdrhistogram::Histogram;
use serde::Serialize;
use tokio::task::JoinSet;

use crate::machine::Usage;

/// Whatever ends the harness.
pub type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

/// The longest latency that is told apart, in nanoseconds.
const LONGEST: u64 = 100_000_000_000;

/// Latencies of one caller or of many together.
pub struct Meter {
    nanos: Histogram<u64>,
}

impl Meter {
    /// Two digits are enough, and 256 of them small.
    pub fn new() -> Outcome<Self> {
        Ok(Self { nanos: Histogram::new_with_bounds(1, LONGEST, 2)? })
    }

    /// Takes one latency.
    pub fn record(&mut self, took: Duration) {
        self.nanos.saturating_record(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX));
    }

    /// Takes those of another one.
    pub fn add(&mut self, other: &Self) -> Outcome<()> {
        self.nanos.add(&other.nanos)?;
        Ok(())
    }

    /// How many there are.
    pub fn count(&self) -> u64 {
        self.nanos.len()
    }

    /// A quantile in microseconds.
    pub fn micros(&self, quantile: f64) -> f64 {
        self.nanos.value_at_quantile(quantile) as f64 / 1_000.0
    }
}

/// What was measured at one number of callers.
#[derive(Debug, Clone, Serialize)]
pub struct Point {
    /// What was called.
    pub what: String,
    /// How many callers there were, each with one call at a time unless it says otherwise.
    pub callers: usize,
    /// Calls answered.
    pub operations: u64,
    /// Calls answered a second.
    pub rate: f64,
    /// Median latency in microseconds.
    pub p50_us: f64,
    /// 99th percentile in microseconds.
    pub p99_us: f64,
    /// Processor time of the server for one call in microseconds. The load generator's is not in it.
    pub server_cpu_us: f64,
    /// Share of processor time that other processes took meanwhile.
    pub others_cpu: f64,
    /// Rate as a share of the echo's at the same number of callers.
    pub of_echo: Option<f64>,
}

impl Point {
    /// A point from what its callers measured.
    pub fn new(what: &str, callers: usize, meter: &Meter, took: Duration, usage: &Usage) -> Self {
        let operations = meter.count();
        Self {
            what: what.to_owned(),
            callers,
            operations,
            rate: operations as f64 / took.as_secs_f64().max(1e-9),
            p50_us: meter.micros(0.5),
            p99_us: meter.micros(0.99),
            server_cpu_us: usage.server_us(operations),
            others_cpu: usage.others(),
            of_echo: None,
        }
    }

    /// The point in a line, for who waits for the report.
    pub fn line(&self) -> String {
        let Self { what, callers, rate, server_cpu_us, .. } = self;
        let p50 = self.p50_us / 1_000.0;
        format!(
            "{what}, {callers} callers: {rate:.0} a second, p50 {p50:.2} ms, server {server_cpu_us:.0} µs CPU"
        )
    }
}

/// Lets callers work at once until their time is over, and makes a point of what they measured. `server` is the process
/// that serves them.
pub async fn together<F>(
    what: &str,
    server: u32,
    seconds: f64,
    callers: impl FnOnce(Instant) -> Vec<F>,
) -> Outcome<Point>
where
    F: Future<Output = Outcome<Meter>> + Send + 'static,
{
    let mut usage = Usage::default();
    let stretch = Usage::open(server);
    let begun = Instant::now();
    let mut work = JoinSet::new();
    for caller in callers(begun + Duration::from_secs_f64(seconds)) {
        work.spawn(caller);
    }
    let (count, mut all) = (work.len(), Meter::new()?);
    while let Some(meter) = work.join_next().await {
        all.add(&meter??)?;
    }
    let took = begun.elapsed();
    usage.close(&stretch);
    Ok(Point::new(what, count, &all, took, &usage))
}
