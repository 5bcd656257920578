//! Exports: whether a bundle is complete, what its documents say, and how cells and pages are written.

mod completeness;
mod csv;
mod formats;
mod paper;
mod parts;
mod pdf;
mod soc2;
mod winansi;

pub use completeness::{Checked, RECOMMENDED, REQUIRED, SOC2, check};
pub use csv::line;
pub use formats::{file_name, formats};
pub use paper::{Paper, Row, Section, executive_paper, report_paper};
pub use parts::{Part, complete_with, evidence, executive, failed, figure, given, sources};
pub use pdf::pdf;
pub use soc2::{Facts, Status, category, controls, report};
