//! How much, how fast, and stop: the arithmetic and the rules of `controls`, without I/O, clock or randomness.
//!
//! [`book::Book`] is the heart: the part of the accounts that a transaction works on. Its operations either change it as
//! a whole, refuse and change nothing, or name what has to be loaded first.

pub mod account;
pub mod admission;
pub mod alert;
pub mod book;
pub mod breaker;
pub mod bypass;
pub mod containment;
pub mod coordination;
pub mod costsim;
pub mod estimate;
pub mod evaluation;
pub mod execution;
pub mod finding;
pub mod freeze;
pub mod guardrail;
pub mod history;
pub mod hold;
pub mod limit;
pub mod overrides;
pub mod period;
pub mod rate;
pub mod reasons;
pub mod resolve;
pub mod signal;
pub mod threshold;
pub mod verify;
pub mod words;
