//! Named leases are granted, extended and given back, each in one transaction.

use runspine_controls_domain::{coordination::NamedLease, reasons};
use runspine_errors::Fault;
use runspine_types::Micros;

use super::App;
use crate::store::coordination as store;

/// Which lease, and who asks.
#[derive(Debug, Clone)]
#[allow(missing_docs)]
pub struct Named {
    pub tenant_id: String,
    pub name: String,
    pub holder: String,
}

impl App {
    /// Grants a lease; also answers whether another one holds it.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn acquire_lease(&self, of: Named, ttl_ms: i64) -> Result<(NamedLease, bool), Fault> {
        let now = self.clock.now();
        self.db
            .write("acquire_lease", move |tx| {
                Box::pin(async move {
                    let known = store::ensure(tx, &of.tenant_id, &of.name).await?;
                    let Some(granted) = known.acquire(&of.holder, ttl_ms, now) else {
                        return Ok::<_, Fault>((known, true));
                    };
                    store::save(tx, &of.tenant_id, &of.name, &granted).await?;
                    Ok((granted, false))
                })
            })
            .await
    }

    /// Extends a lease.
    ///
    /// # Errors
    /// `LEASE_NOT_FOUND`, `STALE_FENCE`.
    pub async fn renew_lease(&self, of: Named, fence: u64, ttl_ms: i64) -> Result<NamedLease, Fault> {
        let now = self.clock.now();
        self.change_lease(of, move |known, holder| known.renew(holder, fence, ttl_ms, now)).await
    }

    /// Gives a lease back.
    ///
    /// # Errors
    /// `LEASE_NOT_FOUND`, `STALE_FENCE`.
    pub async fn release_lease(
        &self,
        of: Named,
        fence: u64,
        done_at: Option<Micros>,
    ) -> Result<NamedLease, Fault> {
        self.change_lease(of, move |known, holder| known.release(holder, fence, done_at)).await
    }

    async fn change_lease(
        &self,
        of: Named,
        change: impl Fn(&NamedLease, &str) -> Result<NamedLease, Fault> + Send + Sync + 'static,
    ) -> Result<NamedLease, Fault> {
        self.db
            .write("change_lease", move |tx| {
                Box::pin(async move {
                    let known = store::one(tx, &of.tenant_id, &of.name).await?.ok_or_else(|| {
                        Fault::new(&reasons::LEASE_NOT_FOUND, "nobody was ever granted this lease")
                    })?;
                    let next = change(&known, &of.holder)?;
                    store::save(tx, &of.tenant_id, &of.name, &next).await?;
                    Ok(next)
                })
            })
            .await
    }
}
