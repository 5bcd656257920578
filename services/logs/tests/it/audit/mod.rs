//! The audit half, called as the spine calls it, over both engines.

mod claims;
mod contracts;
mod dispatches;
mod evidence;
mod harness;
mod ledger;
mod rebuild;
