//! Traces, called as the spine calls them, over both engines.

mod append;
mod archiving;
pub mod bundles;
pub mod harness;
mod heads;
mod integrity;
mod keys;
mod llm_runs;
mod proofs;
mod purging;
mod sealing;
mod tamper;
mod watching;
mod window;
