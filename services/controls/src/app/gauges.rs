//! What is looked at from time to time for whoever reads metrics.

use runspine_controls_domain::freeze::{FreezeScope, FreezeState};
use runspine_errors::Fault;
use runspine_telemetry::is_read;

use super::App;
use crate::{
    metrics,
    store::{health, views},
};

impl App {
    /// Looks at the holds and freezes of the mesh, when somebody reads it.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn sample(&self) -> Result<(), Fault> {
        if !is_read() {
            return Ok(());
        }
        let now = self.clock.now();
        let (active, oldest) = health::active_holds(self.db.read()).await?;
        metrics::HOLDS.set(active as f64, &[("state", "ACTIVE")]);
        metrics::HOLD_AGE.set(oldest.map_or(0, |begun| now.millis_since(begun).max(0)) as f64 / 1_000.0, &[]);
        let (_, rows) = views::watch(self.db.read()).await?;
        let mut freezes = Vec::with_capacity(rows.len());
        for row in &rows {
            freezes.push(row.freeze()?);
        }
        for scope in FreezeScope::ALL {
            let holding = freezes.iter().filter(|f| f.scope == *scope && f.state(now) == FreezeState::Active);
            metrics::FREEZES_ACTIVE.set(holding.count() as f64, &[("scope", scope.name())]);
        }
        Ok(())
    }
}
