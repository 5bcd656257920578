//! `runspine serve`.

use std::io::Write as _;

use runspine_boot::{Args, Deps};

use crate::{failure::Failure, mesh};

/// Serves the mesh until SIGTERM or SIGINT.
pub async fn serve(args: Args) -> Result<(), Failure> {
    let deps = Deps::load(&args)?;
    let composed = mesh::compose(&deps).await?;
    let mut out = std::io::stdout();
    // Before anything that can fail: a key that was made and not shown would be lost.
    if let Some(made) = composed.development_key {
        let (key, tenant) = (made.key, made.tenant);
        writeln!(out, "development key (shown once): {key}\ntenant: {tenant}").map_err(Failure::output)?;
    }
    runspine_boot::run(composed.services, &deps).await?;
    Ok(())
}
