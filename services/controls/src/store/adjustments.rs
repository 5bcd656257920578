//! Adjustments and suspensions of envelopes.

use runspine_controls_domain::limit::Key;
use runspine_db::{AssertSqlSafe, DbError, Tx, args};
use runspine_types::Micros;

use super::rows::EnvelopeRow;

runspine_db::row! {
    /// A wish to adjust an envelope.
    #[derive(Debug, Clone)]
    pub struct AdjustmentRow {
        /// Its id.
        pub adjustment_id: String,
        /// The envelope.
        pub envelope_key: i64,
        /// How much, in the unit of the limit.
        pub amount: i64,
        /// Why.
        pub reason: String,
        /// Who asks.
        pub requested_by: String,
        /// When.
        pub requested_at: Micros,
    }
}

/// The envelope of a budget, locked.
///
/// # Errors
/// When the store fails.
pub async fn envelope(tx: &mut Tx, tenant: &str, id: &str) -> Result<Option<EnvelopeRow>, DbError> {
    let lock = tx.dialect().pick("", " FOR UPDATE");
    let sql = format!(
        "SELECT {} FROM envelopes WHERE tenant_id = $1 AND envelope_id = $2 \
         AND limit_key IN (SELECT limit_key FROM limits WHERE category = 1){lock}",
        EnvelopeRow::COLUMNS
    );
    tx.fetch_optional(AssertSqlSafe(sql), args![tenant, id]).await
}

/// The envelope of an adjustment, locked.
///
/// # Errors
/// When the store fails.
pub async fn envelope_by_key(tx: &mut Tx, tenant: &str, key: Key) -> Result<Option<EnvelopeRow>, DbError> {
    let lock = tx.dialect().pick("", " FOR UPDATE");
    let sql = format!(
        "SELECT {} FROM envelopes WHERE tenant_id = $1 AND envelope_key = $2{lock}",
        EnvelopeRow::COLUMNS
    );
    tx.fetch_optional(AssertSqlSafe(sql), args![tenant, key]).await
}

/// Adds a wish.
///
/// # Errors
/// When the store fails.
pub async fn add(tx: &mut Tx, tenant: &str, row: &AdjustmentRow) -> Result<(), DbError> {
    let columns =
        ["adjustment_id", "envelope_key", "tenant_id", "amount", "reason", "requested_by", "requested_at"];
    let row = args![
        &row.adjustment_id,
        row.envelope_key,
        tenant,
        row.amount,
        &row.reason,
        &row.requested_by,
        row.requested_at
    ];
    tx.insert_rows("adjustments", &columns, vec![row], "").await?;
    Ok(())
}

/// A wish, and whether it was approved.
///
/// # Errors
/// When the store fails.
pub async fn one(tx: &mut Tx, tenant: &str, id: &str) -> Result<Option<(AdjustmentRow, bool)>, DbError> {
    let sql = format!(
        "SELECT {} FROM adjustments WHERE tenant_id = $1 AND adjustment_id = $2",
        AdjustmentRow::COLUMNS
    );
    let Some(row) = tx.fetch_optional::<AdjustmentRow>(AssertSqlSafe(sql), args![tenant, id]).await? else {
        return Ok(None);
    };
    let sql = "SELECT approved_by FROM adjustment_approvals WHERE adjustment_id = $1";
    let approved = tx.fetch_optional::<(String,)>(sql, args![id]).await?.is_some();
    Ok(Some((row, approved)))
}

/// Notes who approved.
///
/// # Errors
/// When the store fails.
pub async fn approve(tx: &mut Tx, id: &str, actor: &str, now: Micros) -> Result<(), DbError> {
    let columns = ["adjustment_id", "approved_by", "approved_at"];
    tx.insert_rows("adjustment_approvals", &columns, vec![args![id, actor, now]], "").await?;
    Ok(())
}

/// Suspends an envelope, or lets it give again; whether that changed anything.
///
/// # Errors
/// When the store fails.
pub async fn suspend(tx: &mut Tx, envelope: Key, suspended: bool) -> Result<bool, DbError> {
    let sql = "UPDATE envelopes SET suspended = $1 WHERE envelope_key = $2 AND suspended <> $1";
    Ok(tx.execute(sql, args![suspended, envelope]).await? > 0)
}

/// The suspended envelopes of a tenant and of the mesh.
///
/// # Errors
/// When the store fails.
pub async fn suspended(tx: &mut Tx, tenant: &str, mesh: &str) -> Result<Vec<Key>, DbError> {
    let sql = "SELECT envelope_key FROM envelopes WHERE suspended = 1 AND (tenant_id = $1 OR tenant_id = $2)";
    let rows: Vec<(Key,)> = tx.fetch_all(sql, args![tenant, mesh]).await?;
    Ok(rows.into_iter().map(|row| row.0).collect())
}
