//! Exports: whether a bundle is complete, what its documents say, and how cells and pages are written.

mod completeness;
mod csv;
mod formats;
mod incident;
mod paper;
mod parts;
mod pdf;
mod soc2;
mod winansi;

pub use completeness::{Checked, RECOMMENDED, REQUIRED, SOC2, check};
pub use csv::line;
pub use formats::{file_name, formats};
pub use incident::{Struck, agrees, incident_fields, incident_summary, without_soc2};
pub use paper::{Paper, Row, Section, executive_paper, report_paper};
pub use parts::{Part, bundled, complete_with, evidence, executive, failed, figure, given, sources};
pub use pdf::pdf;
pub use soc2::{Facts, Status, category, controls, report};
