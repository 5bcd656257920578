//! Exports: whether a bundle is complete, what a SOC 2 report says, and how cells are written.

mod completeness;
mod csv;
mod soc2;

pub use completeness::{Checked, RECOMMENDED, REQUIRED, SOC2, check};
pub use csv::line;
pub use soc2::{Facts, Status, category, controls, report};
