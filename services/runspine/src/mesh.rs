//! All six services in one process: the domains are called in place, and only the door listens.

use runspine_boot::{BootError, Deps, Service};
use runspine_rpc::Mesh;
use runspine_spine::door::DevelopmentKey;

/// The mesh, composed.
pub struct Composed {
    /// The services, the spine last.
    pub services: Vec<Service>,
    /// The development key, when this start made one.
    pub development_key: Option<DevelopmentKey>,
}

/// Composes the mesh from what `deps` configures.
pub async fn compose(deps: &Deps) -> Result<Composed, BootError> {
    let s = &deps.settings;
    let mut services = vec![
        runspine_activity::service(s.section("activity")?, deps).await?,
        runspine_incidents::service(s.section("incidents")?, deps).await?,
        runspine_policies::service(s.section("policies")?, deps).await?,
        runspine_logs::service(s.section("logs")?, deps).await?,
        runspine_controls::service(s.section("controls")?, deps).await?,
    ];
    let mesh = services.iter().fold(Mesh::new(), |mesh, service| mesh.local(&service.stack));
    let spine = runspine_spine::service(s.section("spine")?, deps, &mesh).await?;
    services.push(spine.service);
    Ok(Composed { services, development_key: spine.development_key })
}
