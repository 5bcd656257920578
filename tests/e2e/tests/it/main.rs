//! The mesh from outside: what an agent, an operator and an auditor may expect of it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod access;
mod attempts;
mod bad_input;
mod breakers;
mod contracts;
mod exports;
mod freezes;
mod govern;
mod guardrails;
mod instances;
mod keyed;
mod lifecycle;
mod profiles;
mod scenario;
mod spans;
mod story;
mod support;
