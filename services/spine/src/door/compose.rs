//! Puts the door before the spine's services.

use std::sync::Arc;

use runspine_boot::{BootError, Deps, Service};
use runspine_rpc::{Mesh, Registry, RegistryError, Routes};

use super::{Catalogue, DevelopmentKey, Door, DoorConfig, LogsSink};

/// The contracts of the whole mesh: the spine's name RPCs of every domain.
pub static CONTRACTS: [&[u8]; 6] = [
    contracts_spine::DESCRIPTORS,
    contracts_activity::DESCRIPTORS,
    contracts_incidents::DESCRIPTORS,
    contracts_policies::DESCRIPTORS,
    contracts_logs::DESCRIPTORS,
    contracts_controls::DESCRIPTORS,
];

/// The registry of the whole mesh, read and checked.
///
/// # Errors
/// With everything that is wrong with the contracts.
pub fn registry() -> Result<Registry, RegistryError> {
    Registry::read(&CONTRACTS)
}

/// The spine as a service with the door before it.
pub struct Composed {
    /// Ready for `boot::run`; workers and stop hooks can be added.
    pub service: Service,
    /// The door itself, for its counters.
    pub door: Door,
    /// Made when there was no key file: whoever starts the mesh shows it once.
    pub made: Option<DevelopmentKey>,
}

/// Composes `routes`, the operation catalogue and the door. `mesh` holds the ways to the domains; `logs` must be among
/// them, because no answer leaves without a record.
///
/// # Errors
/// When a contract is wrong, `logs` can't be reached, or the key file can't be read.
pub async fn compose(
    config: &DoorConfig,
    deps: &Deps,
    routes: Routes,
    mesh: &Mesh,
) -> Result<Composed, BootError> {
    let catalogue = Catalogue::default();
    let routes = routes.add(catalogue.server());
    let service = Service::with_descriptors("spine", &CONTRACTS, &routes, deps)?;
    let sink = LogsSink::new(mesh, service.stack.registry())?.ok_or_else(|| {
        BootError::config(
            "mesh.targets.logs",
            "TARGET_MISSING",
            "the spine needs a way to logs to record its answers",
        )
    })?;
    let (door, made) = Door::open(config, deps, &service.stack, mesh, catalogue, Arc::new(sink)).await?;
    let worker = door.clone();
    let service = service.front(Arc::new(door.clone())).worker("door", move |stop| worker.run(stop));
    Ok(Composed { service, door, made })
}
