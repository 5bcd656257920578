//! Traces, called as the spine calls them, over both engines.

mod append;
mod bundles;
mod harness;
mod proofs;
mod sealing;
mod watching;
