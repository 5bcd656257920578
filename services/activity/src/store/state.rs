//! Reading an attempt, for a step or for a move.

use contracts_activity::v1::LifeState;
use contracts_common::common::v1::{RunPhase, RunStatus};
use runspine_activity_domain::{finish, lease::Lease, reasons, transition::Position};
use runspine_db::{AssertSqlSafe, Db, DbError, Dialect, Tx, args};
use runspine_errors::{Fault, Outcome, mesh};
use runspine_types::Micros;

use crate::store::row::{LeaseRow, StateRow};

const BY_NUMBER: &str = "tenant_id = $1 AND run_id = $2 AND attempt = $3";
const LATEST: &str = "tenant_id = $1 AND run_id = $2 AND attempt = latest_attempt";

/// One cheap read on the pool; attempt 0 is the latest.
pub(crate) async fn read(db: &Db, tenant: &str, run_id: &str, attempt: u32) -> Outcome<StateRow> {
    let found = if attempt == 0 {
        let sql = format!("SELECT {} FROM v_states WHERE {LATEST}", StateRow::COLUMNS);
        db.read().fetch_optional::<StateRow>(AssertSqlSafe(sql), args![tenant, run_id]).await?
    } else {
        let sql = format!("SELECT {} FROM v_states WHERE {BY_NUMBER}", StateRow::COLUMNS);
        db.read().fetch_optional::<StateRow>(AssertSqlSafe(sql), args![tenant, run_id, attempt]).await?
    };
    match found {
        Some(row) => Ok(row),
        None => Err(missing(run_exists(db, tenant, run_id).await?)),
    }
}

async fn run_exists(db: &Db, tenant: &str, run_id: &str) -> Result<bool, DbError> {
    let sql = "SELECT run_key FROM runs WHERE tenant_id = $1 AND run_id = $2";
    Ok(db.read().fetch_optional::<(i64,)>(sql, args![tenant, run_id]).await?.is_some())
}

fn missing(run_exists: bool) -> Fault {
    if run_exists {
        Fault::new(&reasons::ATTEMPT_NOT_FOUND, "the run has no such attempt")
    } else {
        Fault::new(&reasons::RUN_NOT_FOUND, "there is no such run")
    }
}

/// Reads an attempt in order to change it: nobody else can until this write is over.
pub(crate) async fn lock(tx: &mut Tx, tenant: &str, run_id: &str, attempt: u32) -> Outcome<StateRow> {
    if tx.dialect() == Dialect::Postgres {
        let sql = "SELECT run_key FROM runs WHERE tenant_id = $1 AND run_id = $2 FOR UPDATE";
        tx.fetch_optional::<(i64,)>(sql, args![tenant, run_id]).await?;
    }
    let sql = format!("SELECT {} FROM v_states WHERE {BY_NUMBER}", StateRow::COLUMNS);
    if let Some(row) =
        tx.fetch_optional::<StateRow>(AssertSqlSafe(sql), args![tenant, run_id, attempt]).await?
    {
        return Ok(row);
    }
    let sql = "SELECT run_key FROM runs WHERE tenant_id = $1 AND run_id = $2";
    Err(missing(tx.fetch_optional::<(i64,)>(sql, args![tenant, run_id]).await?.is_some()))
}

impl StateRow {
    /// The phase. A number that is no phase is a damaged row, never a guess.
    pub(crate) fn phase(&self) -> Outcome<RunPhase> {
        RunPhase::try_from(self.phase).map_err(|_| damaged("phase"))
    }

    /// The status.
    pub(crate) fn status(&self) -> Outcome<RunStatus> {
        RunStatus::try_from(self.status).map_err(|_| damaged("status"))
    }

    /// Where it stands in the phase table.
    pub(crate) fn position(&self) -> Outcome<Position<'_>> {
        Ok(Position {
            run_id: &self.run_id,
            phase: self.phase()?,
            status: self.status()?,
            sequence: self.sequence,
        })
    }

    /// Whether its run is live.
    pub(crate) fn life(&self) -> Outcome<LifeState> {
        Ok(finish::life_state(self.phase()?, self.status()?))
    }

    /// When its running time is over; `None` while it does not run.
    pub(crate) fn run_deadline(&self) -> Option<Micros> {
        if self.phase != RunPhase::Executing as i32 || self.paused_since.is_some() {
            return None;
        }
        self.executing_since.map(|at| at.plus_millis(self.run_timeout_ms + self.paused_ms))
    }
}

impl LeaseRow {
    /// As the rules see it.
    pub(crate) fn lease(&self) -> Lease {
        Lease {
            fence: self.fence,
            lease_fence: self.lease_fence,
            holder: self.holder.clone(),
            ttl_ms: self.ttl_ms,
            expires_at: self.expires_at,
            suspended: self.suspended,
            claimed_until: self.claimed_until,
        }
    }

    /// Takes over what the rules made of it.
    pub(crate) fn put(&mut self, lease: Lease) {
        self.fence = lease.fence;
        self.lease_fence = lease.lease_fence;
        self.holder = lease.holder;
        self.ttl_ms = lease.ttl_ms;
        self.expires_at = lease.expires_at;
        self.suspended = lease.suspended;
        self.claimed_until = lease.claimed_until;
    }
}

fn damaged(column: &'static str) -> Fault {
    Fault::new(&mesh::INTERNAL, "a stored value is unknown").with("column", column)
}
