//! `runspine serve`.

use std::io::Write as _;

use runspine_boot::{Args, Deps};
use tokio::signal::unix::{SignalKind, signal};

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
    let running = runspine_boot::start(composed.services, &deps).await?;
    let (profile, data) =
        (deps.profile.name.as_str_name().trim_start_matches("GOVERNANCE_PROFILE_"), &deps.data);
    writeln!(out, "profile: {profile}, data: {}", data.display()).map_err(Failure::output)?;
    writeln!(out, "listening on {}", running.address()).map_err(Failure::output)?;
    out.flush().map_err(Failure::output)?;
    running.until(stopped()?).await?;
    Ok(())
}

fn stopped() -> Result<impl Future<Output = ()>, Failure> {
    let failed = |e: std::io::Error| Failure::system("signals can't be watched", &e);
    let mut term = signal(SignalKind::terminate()).map_err(failed)?;
    let mut int = signal(SignalKind::interrupt()).map_err(failed)?;
    Ok(async move {
        tokio::select! {
            _ = term.recv() => {}
            _ = int.recv() => {}
        }
    })
}
