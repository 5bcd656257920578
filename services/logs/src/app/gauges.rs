//! What is looked at from time to time for whoever reads metrics.

use runspine_db::Db;
use runspine_errors::Fault;
use runspine_telemetry::is_read;
use runspine_types::Micros;

use crate::{
    metrics,
    store::{
        checkpoint,
        contract::{self, ClaimScope},
    },
};

/// Looks at the contracts and the ledgers of the mesh in the store of logs, when somebody reads metrics.
///
/// # Errors
/// When the store can't be read.
#[allow(clippy::cast_precision_loss, reason = "numbers of contracts, and a time")]
pub async fn sample_metrics(db: &Db, now: Micros) -> Result<(), Fault> {
    if !is_read() {
        return Ok(());
    }
    let (overdue, _, parked) = contract::backlog(db.read(), &ClaimScope::Every, now).await?;
    metrics::CONTRACTS_OPEN.set(contract::open(db.read()).await? as f64, &[]);
    metrics::CONTRACTS_OVERDUE.set(overdue as f64, &[]);
    metrics::CONTRACTS_PARKED.set(parked as f64, &[]);
    let uncovered = checkpoint::uncovered(db.read()).await?;
    let oldest = uncovered.iter().filter_map(|row| row.since).min();
    let age = oldest.map_or(0, |since| now.millis_since(since).max(0));
    metrics::CHECKPOINT_AGE.set(age as f64 / 1_000.0, &[]);
    Ok(())
}
