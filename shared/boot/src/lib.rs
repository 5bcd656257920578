//! How a process of the mesh starts, runs and ends. A service is a value; [`run`] is the only runner.
//!
//! ```no_run
//! use runspine_boot::{BootError, Deps, Service};
//! use runspine_rpc::Routes;
//!
//! # #[derive(Default, serde::Serialize, serde::Deserialize)] struct Config {}
//! async fn service(config: Config, deps: &Deps) -> Result<Service, BootError> {
//!     // The domain opens its store, builds its servers, and names what lives and dies with it.
//!     let routes = Routes::new();
//!     Ok(Service::new("logs", &[], &routes, deps)?.on_stop("store", || async { Ok(()) }))
//! }
//!
//! fn main() -> std::process::ExitCode {
//!     runspine_boot::main(
//!         |settings| settings.section("logs"),
//!         |config, deps| async move { Ok(vec![service(config, &deps).await?]) },
//!     )
//! }
//! ```

mod args;
mod deps;
mod error;
mod health;
mod listen;
mod part;
mod profile;
mod run;
mod scrape;
mod service;
mod settings;
mod telemetry;
mod tls;

pub use args::Args;
pub use deps::{Deps, ServerConfig, default_data};
pub use error::{BootError, ConfigProblem};
pub use part::{Found, Health, Part, PartHealth, Parts};
pub use profile::{OnDeciderFailure, Profile, ProfileConfig, UnauthorizedStep};
pub use run::{Running, main, run, start};
pub use service::{Probe, Service};
pub use settings::{Settings, Source};
pub use telemetry::Telemetry;
pub use tls::{Tls, TlsConfig};
pub use tokio_util::sync::CancellationToken;

/// Of every process of the mesh. A step takes six per cent less time than with the system's, as measured by the load
/// harness.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;
