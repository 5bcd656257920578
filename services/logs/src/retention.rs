//! What an operator does about space while the service is stopped.

use std::sync::Arc;

use contracts_common::common::v1::{Actor, ActorType};
use runspine_boot::{BootError, Deps};
use runspine_db::Db;
use runspine_errors::{Fault, mesh};
use runspine_types::Micros;

pub use crate::app::purge::Purged;
use crate::{Config, app::audit::told::Caused, service::open};

/// Tables that get smaller.
const TABLES: [&str; 3] = ["trace_records", "system_records", "dispatch_records"];

/// Why nothing was dropped, or not everything.
#[derive(Debug, thiserror::Error)]
pub enum RetentionError {
    /// The store or the keys could not be opened.
    #[error(transparent)]
    Boot(#[from] BootError),
    /// It was refused, or failed.
    #[error("{0}")]
    Refused(Fault),
}

impl From<Fault> for RetentionError {
    fn from(fault: Fault) -> Self {
        Self::Refused(fault)
    }
}

/// Drops what ended before `before` on behalf of `operator`, and gives its space back. All of it is refused when a run is
/// held, not archived, or its bundle does not verify now.
///
/// # Errors
/// With everything that stands against it, or when the store or the archive can't be read or written.
pub async fn apply_retention(
    config: Config,
    deps: &Deps,
    before: Micros,
    operator: &str,
) -> Result<Purged, RetentionError> {
    if before > deps.clock.now() {
        let fault = Fault::new(&mesh::FIELD_INVALID, "the date is in the future");
        return Err(fault.field("before", "FIELD_INVALID", "is not in the future").into());
    }
    let parts = open(&config, deps).await?;
    let caused = Caused {
        actor: Some(Actor { r#type: ActorType::Human.into(), id: operator.to_owned() }),
        ..Caused::default()
    };
    let purged = parts.app.purge(before, &caused).await;
    let app = Arc::clone(&parts.app);
    drop(parts);
    app.db.close().await;
    let purged = purged?;
    Db::compact(&deps.store, "logs", &TABLES).await.map_err(Fault::from)?;
    Ok(purged)
}
