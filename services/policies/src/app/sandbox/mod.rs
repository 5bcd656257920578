//! The sandbox: candidates against one question, and against what was recorded. Nothing here is bound to a run.

pub(crate) mod backtests;
pub(crate) mod candidate;
pub(crate) mod dry_run;
mod explain;
pub(crate) mod feed;
pub(crate) mod look;
pub(crate) mod replay;
pub(crate) mod run;
pub(crate) mod shadows;
pub(crate) mod tap;
