//! The spine as a process of its own; `mesh.targets` names the domains' addresses.

use std::io::Write as _;

use runspine_boot::{BootError, Deps, Service};
use runspine_spine::{Config, door};

fn main() -> std::process::ExitCode {
    runspine_boot::main(|settings| settings.section("spine"), services)
}

async fn services(config: Config, deps: Deps) -> Result<Vec<Service>, BootError> {
    let mesh = deps.remote_mesh(&door::registry()?)?;
    let spine = runspine_spine::service(config, &deps, &mesh).await?;
    if let Some(made) = spine.development_key {
        let (key, tenant) = (made.key, made.tenant);
        writeln!(std::io::stderr(), "development key, shown once: {key} (tenant {tenant}, role OWNER)")
            .map_err(|e| BootError::system("the development key could not be shown", e))?;
    }
    Ok(vec![spine.service])
}
