//! What can still be read where a check can't be made.

use contracts_controls::v1 as pb;
use prost::Message as _;
use runspine_controls_domain::{
    freeze::Freeze,
    limit::{Key, Limit},
};
use runspine_db::{AssertSqlSafe, DbError, Tx, args};
use runspine_types::PLATFORM_TENANT;

use super::{
    desk::Desk,
    rows::{FreezeRow, LimitRow},
};

/// Freezes that were not lifted; one that can't be read leaves the others in force.
///
/// # Errors
/// When the store fails.
pub async fn readable_freezes(tx: &mut Tx) -> Result<Vec<Freeze>, DbError> {
    let sql = "SELECT freeze_id FROM freezes WHERE open = 1 ORDER BY epoch";
    let ids: Vec<(String,)> = tx.fetch_all(sql, args![]).await?;
    let mut found = Vec::with_capacity(ids.len());
    for (id,) in ids {
        let sql = format!("SELECT {} FROM freezes WHERE freeze_id = $1", FreezeRow::COLUMNS);
        match tx.fetch_optional::<FreezeRow>(AssertSqlSafe(sql), args![&id]).await {
            Ok(row) => found.extend(row.and_then(|row| row.freeze().ok())),
            Err(DbError::Column { column, what }) => {
                tracing::error!(freeze_id = id, column, what, "a freeze can't be read");
            }
            Err(error) => return Err(error),
        }
    }
    Ok(found)
}

impl Desk<'_> {
    /// The thresholds that the last admission of a step of a run has read, in the versions that it has read, with their
    /// scope ids. What can't be read any more is left out.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn last_thresholds(&mut self, run: Key, tenant: &str) -> Result<Vec<(Limit, String)>, DbError> {
        let sql = "SELECT inputs FROM evidence WHERE run_key = $1 AND step_index >= 0 \
                   ORDER BY step_index DESC, ask DESC LIMIT 1";
        let Some((bytes,)) = self.tx.fetch_optional::<(bytes::Bytes,)>(sql, args![run]).await? else {
            return Ok(Vec::new());
        };
        let Ok(inputs) = pb::ControlInputs::decode(bytes) else { return Ok(Vec::new()) };
        let mut found = Vec::with_capacity(inputs.thresholds.len());
        for read in inputs.thresholds {
            let sql = "SELECT l.limit_key, l.limit_id, v.state, l.source, v.version, v.spec, l.created_at, \
                       v.at AS updated_at FROM limits l JOIN limit_versions v ON v.limit_key = l.limit_key \
                       WHERE l.limit_id = $1 AND v.version = $2 AND (l.tenant_id = $3 OR l.tenant_id = $4)";
            let args = args![&read.limit_id, read.limit_version, tenant, PLATFORM_TENANT];
            let row = match self.tx.fetch_optional::<LimitRow>(sql, args).await {
                Err(DbError::Column { .. }) => None,
                row => row?,
            };
            found.extend(row.and_then(|row| Limit::try_from(row).ok()).map(|limit| (limit, read.scope_id)));
        }
        Ok(found)
    }
}
