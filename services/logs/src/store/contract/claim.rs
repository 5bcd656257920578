//! Claims: who drives which overdue contract, under which fence.

use runspine_db::{AssertSqlSafe, DbError, Dialect, Read, Tx, args};
use runspine_logs_domain::contract::{Contract, rules::Release};
use runspine_types::{Micros, PLATFORM_TENANT};

use super::{Contracts, Held, IndexRow};

/// Whose contracts are meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClaimScope {
    /// Those of every tenant: the mesh's own worker.
    Every,
    /// Those of one tenant.
    Tenant(String),
}

impl ClaimScope {
    /// Those that `tenant` may claim.
    #[must_use]
    pub fn of(tenant: &str) -> Self {
        match tenant {
            PLATFORM_TENANT => Self::Every,
            tenant => Self::Tenant(tenant.to_owned()),
        }
    }

    /// As values of a statement: whether all are meant, and otherwise whose.
    pub(in crate::store) fn values(&self) -> (i64, &str) {
        match self {
            Self::Every => (1, ""),
            Self::Tenant(tenant) => (0, tenant),
        }
    }
}

/// What waits: overdue contracts, the oldest of their deadlines, and parked ones.
pub type Backlog = (i64, Option<Micros>, i64);

/// What of `scope` waits for the reconciler and for people.
///
/// # Errors
/// When the store can't be read.
pub async fn backlog(read: &Read, scope: &ClaimScope, now: Micros) -> Result<Backlog, DbError> {
    let (any, tenant) = scope.values();
    let mut read = read.snapshot().await?;
    let sql = "SELECT COUNT(*), MIN(next_deadline) FROM contract_index WHERE next_deadline IS NOT NULL \
               AND parked = 0 AND next_deadline <= $1 AND ($2 = 1 OR tenant_id = $3)";
    let (overdue, oldest): (i64, Option<Micros>) = read.fetch_one(sql, args![now, any, tenant]).await?;
    let sql = "SELECT COUNT(*) FROM contract_index WHERE parked = 1 AND ($1 = 1 OR tenant_id = $2)";
    let (parked,): (i64,) = read.fetch_one(sql, args![any, tenant]).await?;
    Ok((overdue, oldest, parked))
}

/// A contract that was claimed.
pub struct Claimed {
    /// Its working row, with the new fence.
    pub row: IndexRow,
    /// The contract.
    pub contract: std::sync::Arc<Contract>,
}

impl Contracts {
    /// Claims at most `limit` overdue contracts for `worker` until `until`, oldest deadline first. One statement finds
    /// and takes them, so that no two workers get one; what another replica is about to take is passed over.
    ///
    /// # Errors
    /// When the store can't be written.
    pub async fn claim(
        &self,
        tx: &mut Tx,
        scope: &ClaimScope,
        worker: &str,
        (now, until): (Micros, Micros),
        limit: u32,
    ) -> Result<Vec<Claimed>, DbError> {
        let (any, tenant) = scope.values();
        let lock = match tx.dialect() {
            Dialect::Sqlite => "",
            Dialect::Postgres => " FOR UPDATE SKIP LOCKED",
        };
        let sql = format!(
            "UPDATE contract_index SET claimed_by = $1, claimed_until = $2, fence = fence + 1 WHERE contract_id IN \
             (SELECT contract_id FROM contract_index WHERE next_deadline IS NOT NULL AND parked = 0 \
             AND next_deadline <= $3 AND (next_attempt_at IS NULL OR next_attempt_at <= $3) \
             AND (claimed_until IS NULL OR claimed_until <= $3) AND ($4 = 1 OR tenant_id = $5) \
             ORDER BY next_deadline, contract_id LIMIT $6{lock}) RETURNING {}",
            IndexRow::COLUMNS
        );
        let args = args![worker, until, now, any, tenant, limit];
        let mut rows: Vec<IndexRow> = tx.fetch_all(AssertSqlSafe(sql), args).await?;
        rows.sort_by_key(|row| (row.next_deadline, row.contract_id));
        let mut folded = self.folded(tx, &rows).await?;
        let pair = |row: IndexRow| {
            let contract = folded.remove(&row.contract_id)?;
            Some(Claimed { row, contract })
        };
        Ok(rows.into_iter().filter_map(pair).collect())
    }

    /// Gives a claim back.
    ///
    /// # Errors
    /// When the store can't be written.
    pub async fn release(
        &self,
        tx: &mut Tx,
        held: &Held,
        release: Release,
        parked_reason: &str,
    ) -> Result<(), DbError> {
        let Some(row) = held.row() else { return Ok(()) };
        let sql = "UPDATE contract_index SET claimed_by = '', claimed_until = NULL, retries = $2, \
                   next_attempt_at = $3, parked = $4, parked_reason = $5 WHERE contract_id = $1";
        let args =
            args![row.contract_id, release.retries, release.next_attempt_at, release.parked, parked_reason];
        tx.execute(sql, args).await?;
        Ok(())
    }
}
