//! All six services in one process: the domains are called in place, and only the door listens.

use runspine_boot::{BootError, ConfigProblem, Deps, Service, Settings};
use runspine_rpc::Mesh;
use runspine_spine::door::DevelopmentKey;
use serde::{Serialize, de::DeserializeOwned};

/// The sections of the six services.
pub struct Sections {
    activity: runspine_activity::Config,
    incidents: runspine_incidents::Config,
    policies: runspine_policies::Config,
    logs: runspine_logs::Config,
    controls: runspine_controls::Config,
    spine: runspine_spine::Config,
}

impl Sections {
    /// Reads them all, and tells everything that is wrong in any of them.
    pub fn read(settings: &Settings) -> Result<Self, BootError> {
        let mut problems = Vec::new();
        let sections = Self {
            activity: section(settings, "activity", &mut problems)?,
            incidents: section(settings, "incidents", &mut problems)?,
            policies: section(settings, "policies", &mut problems)?,
            logs: section(settings, "logs", &mut problems)?,
            controls: section(settings, "controls", &mut problems)?,
            spine: section(settings, "spine", &mut problems)?,
        };
        if problems.is_empty() { Ok(sections) } else { Err(BootError::Config(problems)) }
    }

    /// That of logs alone.
    pub fn logs(self) -> runspine_logs::Config {
        self.logs
    }
}

/// One section; with problems its defaults, so that the sections after it are read too.
fn section<C: Serialize + DeserializeOwned + Default>(
    settings: &Settings,
    name: &str,
    problems: &mut Vec<ConfigProblem>,
) -> Result<C, BootError> {
    match settings.section(name) {
        Err(BootError::Config(more)) => {
            problems.extend(more);
            Ok(C::default())
        }
        read => read,
    }
}

/// The mesh, composed.
pub struct Composed {
    /// The services, the spine last.
    pub services: Vec<Service>,
    /// The development key, when this start made one.
    pub development_key: Option<DevelopmentKey>,
}

/// Composes the mesh from what `deps` configures.
pub async fn compose(deps: &Deps) -> Result<Composed, BootError> {
    let sections = Sections::read(&deps.settings)?;
    let mut services = vec![
        runspine_activity::service(sections.activity, deps).await?,
        runspine_incidents::service(sections.incidents, deps).await?,
        runspine_policies::service(sections.policies, deps).await?,
        runspine_logs::service(sections.logs, deps).await?,
        runspine_controls::service(sections.controls, deps).await?,
    ];
    let mesh = services.iter().fold(Mesh::new(), |mesh, service| mesh.local(&service.stack));
    let spine = runspine_spine::service(sections.spine, deps, &mesh).await?;
    services.push(spine.service);
    Ok(Composed { services, development_key: spine.development_key })
}
