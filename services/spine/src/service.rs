//! The spine as a value: its kernel over the mesh, its services, its door and its workers.

use std::sync::Arc;

use contracts_common::common::v1::{Actor, ActorType, CallContext};
use contracts_spine::v1::{
    evidence_capture_service_server::EvidenceCaptureServiceServer,
    governance_service_server::GovernanceServiceServer,
    incident_export_service_server::IncidentExportServiceServer,
    reconciler_service_server::ReconcilerServiceServer,
    replay_coordinator_service_server::ReplayCoordinatorServiceServer,
    run_bundle_service_server::RunBundleServiceServer, run_service_server::RunServiceServer,
    span_ingest_service_server::SpanIngestServiceServer,
};
use runspine_boot::{BootError, Deps, Service};
use runspine_rpc::{Context, Mesh, Registry, Routes, Transport};
use runspine_types::{PLATFORM_TENANT, new_id};

use crate::{
    bridges::{Bridges, LogsSystemBridge, Targets},
    config::Config,
    coordinators::replays::Replays,
    door::{Catalogue, DevelopmentKey, Door, LogsSink},
    kernel::{FreezeView, Kernel, RunOperations},
    prices,
    rpc::{
        BundleServer, EvidenceCaptureServer, Frames, GovernanceServer, IncidentExportServer,
        ReconcilerServer, ReplayServer, RunServer, SpanServer,
    },
    worker::{
        containment::{self, Containment},
        freezes, life,
        reactor::{self, Reactor},
        reconciler::{self, Reconciler, Tally},
        relay::{self, Relay},
        uses,
    },
};

/// Contracts of everything that the spine calls or forwards to.
const DESCRIPTORS: [&[u8]; 6] = [
    contracts_spine::DESCRIPTORS,
    contracts_activity::DESCRIPTORS,
    contracts_incidents::DESCRIPTORS,
    contracts_policies::DESCRIPTORS,
    contracts_logs::DESCRIPTORS,
    contracts_controls::DESCRIPTORS,
];

/// A spine ready to be served.
pub struct Spine {
    /// The service.
    pub service: Service,
    /// The development key, when this start made one: it is shown once and never again.
    pub development_key: Option<DevelopmentKey>,
    /// The kernel, for those who embed the mesh.
    pub kernel: Arc<Kernel>,
}

/// Composes the spine over the domains of `mesh`.
///
/// # Errors
/// When a setting or the file of prices is wrong, a domain is missing from the mesh, a contract is wrong, or the key file
/// can't be read or made.
pub async fn service(config: Config, deps: &Deps, mesh: &Mesh) -> Result<Spine, BootError> {
    config.otlp.check()?;
    let prices = Arc::new(prices::read(config.otlp.prices.as_deref())?);
    let targets = targets(mesh)?;
    let replica = new_id();
    let freezes = Arc::new(FreezeView::default());
    let bridges = Bridges::new(&targets);
    let kernel =
        Arc::new(Kernel::new(bridges, config.kernel.clone(), Arc::clone(&freezes), Arc::clone(&deps.clock)));
    let (tally, catalogue, runs) =
        (Arc::new(Tally::default()), Catalogue::default(), RunOperations::default());
    let frames = Frames::new(runs.clone());
    let replays = Replays::new(Arc::clone(&kernel), runs.clone(), config.replay.timeout_ms);
    let routes = Routes::new()
        .add(RunServiceServer::new(RunServer::new(Arc::clone(&kernel), frames, targets.logs.clone())))
        .add(RunBundleServiceServer::new(BundleServer::new(Arc::clone(&kernel), targets.logs.clone())))
        .add(EvidenceCaptureServiceServer::new(EvidenceCaptureServer::new(Arc::clone(&kernel))))
        .add(GovernanceServiceServer::new(GovernanceServer::new(Arc::clone(&kernel))))
        .add(IncidentExportServiceServer::new(IncidentExportServer::new(Arc::clone(&kernel))))
        .add(ReconcilerServiceServer::new(ReconcilerServer::new(Arc::clone(&kernel), Arc::clone(&tally))))
        .add(ReplayCoordinatorServiceServer::new(ReplayServer::new(replays)))
        .add(
            SpanIngestServiceServer::new(SpanServer::new(Arc::clone(&kernel), prices))
                .max_decoding_message_size(config.otlp.max_message_bytes()),
        )
        .add(catalogue.server());
    let service = Service::with_descriptors("spine", &DESCRIPTORS, &routes, deps)?;
    let own = service.stack.clone();
    let registry = own.registry();
    if !runs.bind(registry) {
        return Err(BootError::config("spine", "CONFIG_UNKNOWN", "the contract of RunService is incomplete"));
    }
    let sink = LogsSink::new(mesh, registry)?.ok_or_else(|| missing("logs"))?;
    let sink = Arc::new(sink);
    let (door, development_key) = Door::open(
        (&config.door, config.otlp.max_message_bytes()),
        deps,
        &own,
        mesh,
        catalogue,
        Arc::clone(&freezes),
        sink,
    )
    .await?;
    let follow = worker_context(registry, deps, "freezes", freezes::CALLS)?;
    let containing = worker_context(registry, deps, "containment", containment::CALLS)?;
    let containment = Containment::new(Arc::clone(&kernel), containing, replica.clone());
    let reconciling = worker_context(registry, deps, "reconciler", reconciler::CALLS)?;
    let living = worker_context(registry, deps, "life", life::CALLS)?;
    let using = worker_context(registry, deps, "uses", uses::CALLS)?;
    let relaying = worker_context(registry, deps, "relay", relay::CALLS)?;
    let reacting = worker_context(registry, deps, "reactor", &[reactor::CALLS, reconciler::CALLS].concat())?;
    let reactor = Reactor::new(Arc::clone(&kernel), reacting, &targets);
    let worker = Reconciler::new(
        Arc::clone(&kernel),
        reconciling,
        config.reconciler.clone(),
        replica.clone(),
        Arc::clone(&tally),
    );
    let relay =
        Relay::new(&targets, relaying, config.relay.clone(), registry, tally, Arc::clone(&deps.clock));
    let user = Arc::clone(&kernel);
    let (controls, clock) = (targets.controls.clone(), Arc::clone(&deps.clock));
    let (system, told, instance) =
        (LogsSystemBridge::new(targets.logs.clone()), Arc::clone(&deps.clock), deps.instance());
    let doorkeeper = door.clone();
    let service = service
        .front(Arc::new(door))
        .worker("door", move |stop| doorkeeper.run(stop))
        .worker("freezes", move |stop| freezes::follow(follow, controls, freezes, clock, replica, stop))
        .worker("containment", move |stop| containment.run(stop))
        .worker("reconciler", move |stop| worker.run(stop))
        .worker("reactor", move |stop| reactor.run(stop))
        .worker("life", move |stop| life::tell(system, living, told, instance, stop))
        .worker("uses", move |stop| uses::report(user, using, stop))
        .worker("relay", move |stop| relay.run(stop));
    Ok(Spine { service, development_key, kernel })
}

fn targets(mesh: &Mesh) -> Result<Targets, BootError> {
    let way = |domain: &str| -> Result<Transport, BootError> {
        mesh.get(domain).cloned().ok_or_else(|| missing(domain))
    };
    Ok(Targets {
        activity: way("activity")?,
        incidents: way("incidents")?,
        policies: way("policies")?,
        logs: way("logs")?,
        controls: way("controls")?,
    })
}

fn missing(domain: &str) -> BootError {
    BootError::config(format!("mesh.{domain}"), "CONFIG_UNKNOWN", "no way to this domain")
}

/// A worker acts as the mesh itself, under an operation of its own that declares what it calls.
pub(crate) fn worker_context(
    registry: &Registry,
    deps: &Deps,
    name: &str,
    calls: &[&str],
) -> Result<Context, BootError> {
    let operation = registry.worker(name, calls)?;
    let call = CallContext {
        tenant_id: PLATFORM_TENANT.to_owned(),
        actor: Some(Actor { r#type: ActorType::System.into(), id: "spine".to_owned() }),
        correlation_id: new_id(),
        profile: deps.profile.name.into(),
        config_version: deps.profile.version.clone(),
        config_digest: deps.profile.digest.to_vec().into(),
        ..CallContext::default()
    };
    Ok(Context::serving(&operation, call, None))
}
