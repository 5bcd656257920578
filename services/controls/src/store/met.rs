//! The breakers that a group of admissions meets.

use std::collections::BTreeSet;

use runspine_controls_domain::{
    breaker::{BreakerKind, BreakerTarget},
    limit::RunScope,
};
use runspine_db::{AssertSqlSafe, DbError, args};
use runspine_types::Micros;

use super::{
    breakers::BreakerRow,
    desk::Desk,
    lists::{CHUNK, list},
};

/// What a run or a step would use, and a breaker may be of.
fn targets(scope: &RunScope) -> [(BreakerTarget, &str); 3] {
    [
        (BreakerTarget::Provider, &scope.provider),
        (BreakerTarget::Model, &scope.model),
        (BreakerTarget::Tool, &scope.tool),
    ]
}

/// Whether a breaker may be of anything that is used.
#[must_use]
pub fn may_meet(scope: &RunScope) -> bool {
    targets(scope).iter().any(|(_, id)| !id.is_empty())
}

impl BreakerRow {
    /// Whether it is a breaker of what is used.
    #[must_use]
    pub fn is_met_by(&self, scope: &RunScope) -> bool {
        let of =
            |(target, id): &(BreakerTarget, &str)| target.code() == self.target_type && *id == self.target_id;
        self.tenant_id == scope.tenant_id && !self.target_id.is_empty() && targets(scope).iter().any(of)
    }
}

impl Desk<'_> {
    /// Loads the breakers that are not closed and that the scopes meet. Those of which a trial may be granted at `at` are
    /// locked on PostgreSQL.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn load_breakers(&mut self, scopes: &[&RunScope], at: Micros) -> Result<(), DbError> {
        let tenants: BTreeSet<&str> = scopes.iter().map(|scope| scope.tenant_id.as_str()).collect();
        for tenant in tenants {
            let sql = format!(
                "SELECT {} FROM breakers WHERE tenant_id = $1 AND state <> 1 ORDER BY breaker_key",
                BreakerRow::COLUMNS
            );
            let found: Vec<BreakerRow> = self.tx.fetch_all(AssertSqlSafe(sql), args![tenant]).await?;
            let met = found.into_iter().filter(|row| scopes.iter().any(|scope| row.is_met_by(scope)));
            self.breakers.extend(met.map(|row| (row.breaker_key, row)));
        }
        if !self.lock().is_empty() {
            self.lock_tried_out(at).await?;
        }
        Ok(())
    }

    async fn lock_tried_out(&mut self, at: Micros) -> Result<(), DbError> {
        let manual = BreakerKind::Manual.code();
        let due = |row: &&BreakerRow| row.kind != manual && row.open_until.is_none_or(|until| until <= at);
        let keys: Vec<i64> = self.breakers.values().filter(due).map(|row| row.breaker_key).collect();
        for part in keys.chunks(CHUNK) {
            let keys = list(part.iter().map(|key| args![*key]).collect());
            let sql = format!(
                "SELECT {} FROM breakers WHERE breaker_key IN (SELECT column1 FROM {}) ORDER BY breaker_key{}",
                BreakerRow::COLUMNS,
                keys.sql,
                self.lock()
            );
            let locked: Vec<BreakerRow> = self.tx.fetch_all(AssertSqlSafe(sql), keys.args).await?;
            self.breakers.extend(locked.into_iter().map(|row| (row.breaker_key, row)));
        }
        Ok(())
    }
}
