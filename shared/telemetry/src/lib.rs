//! Named metrics in one line each, and trace context across processes.
//!
//! A metric is a static beside the code that counts, under the name that the specification gives it:
//!
//! ```
//! use runspine_telemetry::{Counter, Histogram};
//!
//! static ADMISSIONS: Counter = Counter::new("runspine_demo_admissions_total", "Admissions, by verdict");
//! static ADMISSION: Histogram = Histogram::seconds("runspine_demo_admission_seconds", "How long an admission took");
//!
//! ADMISSIONS.increment(&[("verdict", "ALLOW")]);
//! ADMISSION.since(std::time::Instant::now(), &[]);
//! ```
//!
//! The values of labels are `&'static str`: what is not known at compile time can't become one, so no tenant, run or
//! other id ever multiplies the series. Without a reader (OTLP or `--metrics-listen`) counting is one relaxed load.
//! What exists anyway, such as the length of a queue, is not counted but asked for when somebody reads: [`observe`].

mod metrics;
mod trace;

pub use metrics::{Counter, Gauge, Histogram, Label, Observed, is_read, observe, readers_exist};
pub use opentelemetry::KeyValue;
pub use trace::{continue_trace, inject_trace, is_traced, tracers_exist};
