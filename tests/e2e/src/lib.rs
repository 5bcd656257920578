//! The mesh as its users meet it: real processes on loopback ports, spoken to over gRPC with an API key.
//!
//! A [`Mesh`] is the all-in-one or six processes over one temporary data folder. It can be killed and started again part
//! by part, and it ends with the test. An [`Agent`] governs one run over it.
//!
//! For tests only, so it panics with a message where a test should fail.
#![allow(clippy::panic, clippy::expect_used, clippy::unwrap_used)]

mod agent;
mod binaries;
mod client;
mod mesh;
mod process;

pub use agent::{Agent, step};
pub use binaries::binary;
pub use client::{Client, Credential, Way};
pub use mesh::{DOMAINS, Mesh, Setup, Shape};
pub use process::Process;
