//! Views of limits as they hold: with the values of overrides in force.

use std::borrow::Cow;

use runspine_controls_domain::{limit::Limit, overrides};
use runspine_errors::Fault;
use runspine_types::Micros;

use super::Rpc;
use crate::store::{
    overrides as store,
    rates::{self, RateView},
    views::{self, EnvelopeFilter, EnvelopeView},
};

impl Rpc {
    /// Envelopes with their limits as they hold at the time that is asked for.
    pub(super) async fn envelope_views(
        &self,
        tenant: &str,
        filter: &EnvelopeFilter,
    ) -> Result<Vec<EnvelopeView>, Fault> {
        let mut rows = views::envelopes(self.app.db.read(), tenant, filter).await?;
        let at = filter.at.unwrap_or_else(|| self.app.clock.now());
        let overrides = store::approved_of(self.app.db.read(), tenant).await?;
        for row in &mut rows {
            replace(&mut row.limit, &overrides, &row.envelope.scope_id, at);
        }
        Ok(rows)
    }

    /// Rates and slots with their limits as they hold now.
    pub(super) async fn rate_views(
        &self,
        tenant: &str,
        filter: &EnvelopeFilter,
    ) -> Result<Vec<RateView>, Fault> {
        let mut rows = rates::rates(self.app.db.read(), tenant, filter).await?;
        let at = self.app.clock.now();
        let overrides = store::approved_of(self.app.db.read(), tenant).await?;
        for row in &mut rows {
            replace(&mut row.limit, &overrides, &row.envelope.scope_id, at);
        }
        Ok(rows)
    }
}

fn replace(limit: &mut Limit, all: &[overrides::Override], scope_id: &str, at: Micros) {
    if let Cow::Owned(with) = overrides::held(limit, all, scope_id, at) {
        *limit = with;
    }
}
