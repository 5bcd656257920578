//! Work that runs beside the calls.

pub(crate) mod approvals;
pub(crate) mod backtests;
pub(crate) mod learning;
pub(crate) mod shadows;
pub(crate) mod snapshots;
