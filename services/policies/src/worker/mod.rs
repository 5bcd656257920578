//! Work that runs beside the calls.

pub(crate) mod backtests;
