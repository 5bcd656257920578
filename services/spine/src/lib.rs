//! The spine: the one door of the mesh, the run kernel, the sagas and the coordinators. It keeps no database; what it
//! says is durable in the domains before it says it.

pub mod bridges;
pub mod config;
pub mod coordinators;
pub mod door;
pub mod kernel;
mod metrics;
mod prices;
pub mod reasons;
pub mod rpc;
pub mod sagas;
mod service;
pub mod worker;

pub use config::Config;
pub use service::{Spine, service};
