//! Freezes and their history.

use runspine_controls_domain::freeze::Freeze;
use runspine_db::{Args, AssertSqlSafe, DbError, Tx, args};
use runspine_types::Micros;

use super::rows::FreezeRow;

/// Freezes that were not lifted.
///
/// # Errors
/// When the store fails.
pub async fn open_freezes(tx: &mut Tx) -> Result<Vec<Freeze>, DbError> {
    let sql = format!("SELECT {} FROM freezes WHERE open = 1 ORDER BY epoch", FreezeRow::COLUMNS);
    let rows: Vec<FreezeRow> = tx.fetch_all(AssertSqlSafe(sql), args![]).await?;
    rows.iter().map(FreezeRow::freeze).collect()
}

/// One freeze that the tenant may see: its own, or one of the mesh.
///
/// # Errors
/// When the store fails.
pub async fn one(tx: &mut Tx, tenant: &str, id: &str) -> Result<Option<FreezeRow>, DbError> {
    let lock = tx.dialect().pick("", " FOR UPDATE");
    let sql = format!(
        "SELECT {} FROM freezes WHERE (tenant_id = $1 OR tenant_id = '') AND freeze_id = $2{lock}",
        FreezeRow::COLUMNS
    );
    tx.fetch_optional(AssertSqlSafe(sql), args![tenant, id]).await
}

/// The freeze that is open for a scope.
///
/// # Errors
/// When the store fails.
pub async fn open_for(tx: &mut Tx, row: &FreezeRow) -> Result<Option<FreezeRow>, DbError> {
    let sql = format!(
        "SELECT {} FROM freezes WHERE tenant_id = $1 AND scope = $2 AND scope_id = $3 AND open = 1",
        FreezeRow::COLUMNS
    );
    tx.fetch_optional(AssertSqlSafe(sql), args![&row.tenant_id, row.scope, &row.scope_id]).await
}

/// Takes a freeze whose time is over out of the open ones.
///
/// # Errors
/// When the store fails.
pub async fn retire(tx: &mut Tx, id: &str) -> Result<(), DbError> {
    tx.execute("UPDATE freezes SET open = 0 WHERE freeze_id = $1", args![id]).await?;
    Ok(())
}

/// Adds a freeze.
///
/// # Errors
/// When the store fails.
pub async fn add(tx: &mut Tx, row: &FreezeRow) -> Result<(), DbError> {
    let columns = [
        "freeze_id",
        "tenant_id",
        "scope",
        "scope_id",
        "effect",
        "reason",
        "note",
        "actor_id",
        "epoch",
        "committed_at",
        "expires_at",
        "runs_in_scope",
        "open",
        "lifted_by",
        "lifted_at",
        "lifted_epoch",
        "auto",
    ];
    let args = args![
        &row.freeze_id,
        &row.tenant_id,
        row.scope,
        &row.scope_id,
        row.effect,
        row.reason,
        &row.note,
        &row.actor_id,
        row.epoch,
        row.committed_at,
        row.expires_at,
        row.runs_in_scope,
        row.open,
        &row.lifted_by,
        row.lifted_at,
        row.lifted_epoch,
        row.auto
    ];
    tx.insert_rows("freezes", &columns, vec![args], "").await?;
    event(tx, &row.freeze_id, row.epoch, "FREEZE", &row.actor_id, &row.note, row.committed_at).await
}

/// Lifts a freeze.
///
/// # Errors
/// When the store fails.
pub async fn lift(tx: &mut Tx, row: &FreezeRow, reason: &str, now: Micros) -> Result<(), DbError> {
    let sql =
        "UPDATE freezes SET open = 0, lifted_by = $1, lifted_at = $2, lifted_epoch = $3 WHERE freeze_id = $4";
    tx.execute(sql, args![&row.lifted_by, row.lifted_at, row.lifted_epoch, &row.freeze_id]).await?;
    event(tx, &row.freeze_id, row.lifted_epoch, "LIFT", &row.lifted_by, reason, now).await
}

async fn event(
    tx: &mut Tx,
    id: &str,
    epoch: u64,
    action: &str,
    actor: &str,
    reason: &str,
    at: Micros,
) -> Result<(), DbError> {
    let columns = ["freeze_id", "epoch", "action", "actor_id", "reason", "at"];
    let row = args![id, epoch, action, actor, reason, at];
    tx.insert_rows("freeze_events", &columns, vec![row], "").await?;
    Ok(())
}

runspine_db::row! {
    /// A wish to lift a freeze.
    #[derive(Debug, Clone)]
    pub struct WishRow {
        /// Its id.
        pub unfreeze_id: String,
        /// The freeze.
        pub freeze_id: String,
        /// Who asks.
        pub requested_by: String,
        /// Why.
        pub reason: String,
        /// When.
        pub requested_at: Micros,
    }
}

/// The wish to lift a freeze.
///
/// # Errors
/// When the store fails.
pub async fn wish(tx: &mut Tx, freeze_id: &str) -> Result<Option<WishRow>, DbError> {
    let sql = format!("SELECT {} FROM unfreeze_requests WHERE freeze_id = $1", WishRow::COLUMNS);
    tx.fetch_optional(AssertSqlSafe(sql), args![freeze_id]).await
}

/// Adds a wish to lift a freeze.
///
/// # Errors
/// When the store fails.
pub async fn add_wish(tx: &mut Tx, wish: &WishRow) -> Result<(), DbError> {
    let columns = ["unfreeze_id", "freeze_id", "requested_by", "reason", "requested_at"];
    let row = args![&wish.unfreeze_id, &wish.freeze_id, &wish.requested_by, &wish.reason, wish.requested_at];
    tx.insert_rows("unfreeze_requests", &columns, vec![row], "").await?;
    Ok(())
}

runspine_db::row! {
    /// Whom a live run is counted under.
    #[derive(Debug)]
    pub struct LiveRow {
        /// Key.
        pub run_key: i64,
        /// Tenant.
        pub tenant_id: String,
        /// Run.
        pub run_id: String,
        /// The encoded tuple.
        pub scope: bytes::Bytes,
    }
}

/// Runs with a live lease, of one tenant or of all.
///
/// # Errors
/// When the store fails.
pub async fn live_runs(tx: &mut Tx, tenant: Option<&str>, now: Micros) -> Result<Vec<LiveRow>, DbError> {
    let filter = if tenant.is_some() { " AND tenant_id = $2" } else { "" };
    let sql = format!(
        "SELECT {} FROM run_leases WHERE state = 2 AND (expires_at IS NULL OR expires_at > $1){filter}",
        LiveRow::COLUMNS
    );
    let mut values: Args = args![now];
    values.extend(tenant.map(Into::into));
    tx.fetch_all(AssertSqlSafe(sql), values).await
}
