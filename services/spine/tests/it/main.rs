//! The spine over the real domains, as a client of its own stack.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail loudly")]

mod anew;
mod approvals;
mod bypass;
mod contract;
mod deferred;
mod evidence;
mod governance;
mod marked;
mod replays;
mod sagas;
mod taught;
mod told_again;
