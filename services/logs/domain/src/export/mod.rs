//! Exports: whether a bundle is complete, what its documents say, and how cells are written.

mod completeness;
mod csv;
mod parts;
mod soc2;

pub use completeness::{Checked, RECOMMENDED, REQUIRED, SOC2, check};
pub use csv::line;
pub use parts::{Part, complete_with, evidence, executive, failed, figure, sources};
pub use soc2::{Facts, Status, category, controls, report};
