//! Readiness as `grpc.health.v1`, and reflection, for every service of the process.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use futures::future::join_all;
use runspine_rpc::Routes;
use tokio_util::sync::CancellationToken;
use tonic_health::{
    ServingStatus,
    pb::health_server::HealthServer,
    server::{HealthReporter, HealthService},
};
use tonic_reflection::server::Builder;

use crate::{BootError, Probe, Service};

const ASK_EVERY: Duration = Duration::from_secs(1);
const PATIENCE: Duration = Duration::from_secs(2);

/// Which names answer SERVING when which probes hold.
pub(crate) struct Readiness {
    reporter: HealthReporter,
    parts: Vec<Part>,
    ready: AtomicBool,
}

struct Part {
    names: Vec<String>,
    probes: Vec<(String, Probe)>,
}

impl Readiness {
    pub async fn of(services: &[Service]) -> Self {
        let reporter = HealthReporter::new();
        let part = |service: &Service| {
            let mut names = service.stack.services();
            names.push(service.name.clone());
            Part { names, probes: service.probes.clone() }
        };
        let parts = services.iter().map(part).collect();
        let this = Self { reporter, parts, ready: AtomicBool::new(false) };
        this.none().await;
        this
    }

    /// Health and reflection as routes.
    pub fn routes(&self, services: &[Service]) -> Result<Routes, BootError> {
        let health = HealthServer::new(HealthService::from_health_reporter(self.reporter.clone()));
        let failed = |e: tonic_reflection::server::Error| {
            BootError::system("the reflection service can't be built", std::io::Error::other(e))
        };
        let v1 = reflected(services).build_v1().map_err(failed)?;
        let v1alpha = reflected(services).build_v1alpha().map_err(failed)?;
        Ok(Routes::new().add(health).add(v1).add(v1alpha))
    }

    /// Asks every probe once and tells the result. The process is ready when every part is.
    pub async fn ask(&self) -> bool {
        let parts = join_all(self.parts.iter().map(|part| self.ask_part(part))).await;
        let all = parts.into_iter().all(|ready| ready);
        self.reporter.set_service_status("", serving(all)).await;
        self.ready.store(all, Ordering::Release);
        all
    }

    async fn ask_part(&self, part: &Part) -> bool {
        let mut ready = true;
        for (name, probe) in &part.probes {
            match tokio::time::timeout(PATIENCE, probe()).await {
                Ok(Ok(())) => {}
                Ok(Err(fault)) => {
                    tracing::warn!(probe = name, %fault, "not ready");
                    ready = false;
                }
                Err(_) => {
                    tracing::warn!(probe = name, "not ready: the probe did not answer in time");
                    ready = false;
                }
            }
        }
        for name in &part.names {
            self.reporter.set_service_status(name, serving(ready)).await;
        }
        ready
    }

    /// What the last question showed.
    pub fn is_ready(&self) -> bool {
        self.ready.load(Ordering::Acquire)
    }

    /// Keeps asking until the process stops.
    pub async fn keep_asking(self: Arc<Self>, stop: CancellationToken) {
        while stop.run_until_cancelled(tokio::time::sleep(ASK_EVERY)).await.is_some() {
            self.ask().await;
        }
    }

    /// Nobody is ready: before the start and from the beginning of the drain.
    pub async fn none(&self) {
        self.ready.store(false, Ordering::Release);
        let names = self.parts.iter().flat_map(|p| p.names.iter().map(String::as_str));
        for name in names.chain([""]) {
            self.reporter.set_service_status(name, ServingStatus::NotServing).await;
        }
    }
}

fn serving(ready: bool) -> ServingStatus {
    if ready { ServingStatus::Serving } else { ServingStatus::NotServing }
}

/// Every package with its imports, and the messages of error details, so that tools can show them.
fn reflected(services: &[Service]) -> Builder<'static> {
    let sets = services.iter().flat_map(|s| s.descriptors.iter().copied());
    let builder = Builder::configure()
        .register_encoded_file_descriptor_set(tonic_types::pb::FILE_DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET);
    sets.fold(builder, Builder::register_encoded_file_descriptor_set)
}
