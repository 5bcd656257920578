//! Violations by what names them.

use bytes::Bytes;
use contracts_policies::v1::Violation;
use runspine_db::{DbError, Tx, args};

/// The stored fact that `like` would be.
pub(crate) async fn stored(tx: &mut Tx, run_key: i64, like: &Violation) -> Result<Bytes, DbError> {
    let sql = "SELECT body FROM violations WHERE run_key = $1 AND rule_id = $2 AND rule_code = $3 \
               AND step_index = $4";
    let step = like.step_index.map_or(-1, i64::from);
    let row: (Bytes,) = tx.fetch_one(sql, args![run_key, &like.rule_id, &like.rule_code, step]).await?;
    Ok(row.0)
}
