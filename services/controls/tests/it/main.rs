//! The controls service through its RPCs, on both engines.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod accounts;
mod adjustments;
mod alerts;
mod breakers;
mod bypasses;
mod concurrency;
mod containment;
mod contract;
mod coordination;
mod costsim;
mod entries;
mod estimates;
mod evaluations;
mod evidence;
mod freezes;
mod guardrails;
mod harness;
mod health;
mod histories;
mod leases;
mod limits;
mod metrics;
mod order;
mod overrides;
mod rates;
mod replicas;
mod schema;
mod scopes;
mod signals;
mod undecided;
