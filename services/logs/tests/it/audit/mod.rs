//! The audit half, called as the spine calls it, over both engines.

mod checkpoints;
mod claims;
mod contracts;
mod dispatches;
mod evidence;
mod harness;
mod ledger;
mod rebuild;
mod system;
mod watching;
