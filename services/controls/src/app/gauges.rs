//! What is looked at from time to time for whoever reads metrics.

use runspine_controls_domain::{
    breaker::BreakerState,
    costsim::CANDIDATE,
    freeze::{FreezeScope, FreezeState},
};
use runspine_errors::Fault;
use runspine_telemetry::is_read;
use runspine_types::Micros;

use super::App;
use crate::{
    metrics,
    store::{breakers, health, views},
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
        self.sample_candidates(now).await
    }

    /// Where the candidates of all tenants stand.
    async fn sample_candidates(&self, now: Micros) -> Result<(), Fault> {
        let rows = breakers::of_feature(self.db.read(), CANDIDATE).await?;
        let mut states = Vec::with_capacity(rows.len());
        for row in &rows {
            states.push(row.subject()?.state(now));
        }
        for state in BreakerState::ALL {
            let there = states.iter().filter(|found| *found == state).count();
            metrics::COSTSIM_BREAKER_STATE.set(there as f64, &[("state", state.name())]);
        }
        Ok(())
    }
}
