//! Pauses.

use runspine_activity_domain::pause::OpenPause;
use runspine_db::{AssertSqlSafe, DbError, Tx, args};
use runspine_types::Micros;

use crate::store::row::PauseRow;

/// The pauses of an attempt, in their order.
pub(crate) async fn open(tx: &mut Tx, attempt_key: i64) -> Result<Vec<PauseRow>, DbError> {
    let sql = format!(
        "SELECT {} FROM pauses WHERE attempt_key = $1 AND cleared_at IS NULL ORDER BY pause_key",
        PauseRow::COLUMNS
    );
    tx.fetch_all(AssertSqlSafe(sql), args![attempt_key]).await
}

/// One pause of an attempt, open or not.
pub(crate) async fn get(tx: &mut Tx, attempt_key: i64, pause_id: &str) -> Result<Option<PauseRow>, DbError> {
    let sql = format!("SELECT {} FROM pauses WHERE attempt_key = $1 AND pause_id = $2", PauseRow::COLUMNS);
    tx.fetch_optional(AssertSqlSafe(sql), args![attempt_key, pause_id]).await
}

/// Adds an open pause.
pub(crate) async fn add(tx: &mut Tx, tenant: &str, p: &PauseRow) -> Result<(), DbError> {
    let sql = "INSERT INTO pauses (pause_id, attempt_key, tenant_id, attempt, reason, source_id, deadline, on_timeout, \
               note, actor_type, actor_id, authority, paused_at, cleared_actor_type, cleared_actor_id, \
               cleared_authority) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, 0, '', 0)";
    let args = args![
        &p.pause_id,
        p.attempt_key,
        tenant,
        p.attempt,
        p.reason,
        &p.source_id,
        p.deadline,
        p.on_timeout,
        &p.note,
        p.actor_type,
        &p.actor_id,
        p.authority,
        p.paused_at,
    ];
    tx.execute(sql, args).await?;
    Ok(())
}

/// Writes what may change of a pause.
pub(crate) async fn save(tx: &mut Tx, p: &PauseRow) -> Result<(), DbError> {
    let sql = "UPDATE pauses SET deadline = $2, on_timeout = $3, warned_at = $4, extended_at = $5, cleared_at = $6, \
               cleared_actor_type = $7, cleared_actor_id = $8, cleared_authority = $9 WHERE pause_key = $1";
    let args = args![
        p.pause_key,
        p.deadline,
        p.on_timeout,
        p.warned_at,
        p.extended_at,
        p.cleared_at,
        p.cleared_actor_type,
        &p.cleared_actor_id,
        p.cleared_authority,
    ];
    tx.execute(sql, args).await?;
    Ok(())
}

/// Notes that the warning of every open pause of an attempt that was due is given.
pub(crate) async fn warned(tx: &mut Tx, pauses: &mut [PauseRow], now: Micros) -> Result<(), DbError> {
    for pause in pauses.iter_mut().filter(|p| p.clock().warn_at().is_some_and(|at| at <= now)) {
        pause.warned_at = Some(now);
        save(tx, pause).await?;
    }
    Ok(())
}

impl PauseRow {
    /// As the rules see it.
    pub(crate) fn clock(&self) -> OpenPause {
        OpenPause { paused_at: self.paused_at, deadline: self.deadline, warned: self.warned_at.is_some() }
    }
}
