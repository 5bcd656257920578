//! How many contracts are open.

use runspine_db::{DbError, Read, args};

/// Contracts of every tenant that wait for something with a deadline and for no operator: read from the partial index
/// that the reconciler claims by.
///
/// # Errors
/// When the store can't be read.
pub async fn open(read: &Read) -> Result<i64, DbError> {
    let sql = "SELECT COUNT(*) FROM contract_index WHERE next_deadline IS NOT NULL AND parked = 0";
    let (open,): (i64,) = read.fetch_one(sql, args![]).await?;
    Ok(open)
}
