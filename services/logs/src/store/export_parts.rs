//! What other domains gave to exports, and its pieces while the export is not made.

use bytes::Bytes;
use runspine_db::{Args, AssertSqlSafe, DbError, Read, Tx, args};
use runspine_types::Micros;

runspine_db::row! {
    /// What one domain gave.
    #[derive(Debug, Clone)]
    pub struct PartRow {
        /// The export.
        pub export_id: String,
        /// The domain.
        pub source: String,
        /// Whether it could be asked.
        pub status: i32,
        /// Why not.
        pub reason: String,
        /// How many pieces it has.
        pub items: u32,
        /// Digest over them.
        pub digest: Bytes,
        /// When it came.
        pub added_at: Micros,
    }
}

/// Holds the work of an export until the transaction ends; gives its state, when there is such an export.
pub async fn lock(tx: &mut Tx, tenant_id: &str, export_id: &str) -> Result<Option<i64>, DbError> {
    let sql = "UPDATE export_work SET claimed_until = claimed_until WHERE tenant_id = $1 AND export_id = $2 RETURNING state";
    Ok(tx.fetch_optional::<(i64,)>(sql, args![tenant_id, export_id]).await?.map(|(state,)| state))
}

/// What is exported, and of which scope.
pub async fn scope(tx: &mut Tx, export_id: &str) -> Result<i32, DbError> {
    let sql = "SELECT scope FROM exports WHERE export_id = $1";
    Ok(tx.fetch_one::<(i32,)>(sql, args![export_id]).await?.0)
}

/// Stores a part with its pieces.
pub async fn insert(tx: &mut Tx, row: &PartRow, pieces: &[Bytes]) -> Result<(), DbError> {
    let sql = "INSERT INTO export_parts (export_id, source, status, reason, items, digest, added_at) \
               VALUES ($1, $2, $3, $4, $5, $6, $7)";
    let args =
        args![&row.export_id, &row.source, row.status, &row.reason, row.items, &row.digest, row.added_at];
    tx.execute(sql, args).await?;
    let rows: Vec<Args> =
        pieces.iter().enumerate().map(|(n, piece)| args![&row.export_id, &row.source, n, piece]).collect();
    for rows in rows.chunks(64) {
        let columns = ["export_id", "source", "item", "piece"];
        tx.insert_rows("export_items", &columns, rows.to_vec(), "").await?;
    }
    Ok(())
}

/// The domains that gave their part to an export.
pub async fn given(tx: &mut Tx, export_id: &str) -> Result<Vec<String>, DbError> {
    let sql = "SELECT source FROM export_parts WHERE export_id = $1";
    let found: Vec<(String,)> = tx.fetch_all(sql, args![export_id]).await?;
    Ok(found.into_iter().map(|(source,)| source).collect())
}

/// An export has everything: whoever is free makes it.
pub async fn ready(tx: &mut Tx, export_id: &str) -> Result<(), DbError> {
    let sql = "UPDATE export_work SET claimed_until = 0 WHERE export_id = $1 AND state = 1";
    tx.execute(sql, args![export_id]).await?;
    Ok(())
}

/// The parts of exports, in the order in which they came.
pub async fn of(read: &Read, export_ids: &[&str]) -> Result<Vec<PartRow>, DbError> {
    if export_ids.is_empty() {
        return Ok(Vec::new());
    }
    let places: Vec<String> = (1..=export_ids.len()).map(|n| format!("${n}")).collect();
    let sql = format!(
        "SELECT {} FROM export_parts WHERE export_id IN ({}) ORDER BY export_id, id",
        PartRow::COLUMNS,
        places.join(",")
    );
    read.fetch_all(AssertSqlSafe(sql), export_ids.iter().map(|id| (*id).into()).collect()).await
}

/// The pieces of a part, in order.
pub async fn pieces(read: &Read, export_id: &str, source: &str) -> Result<Vec<Bytes>, DbError> {
    let sql = "SELECT piece FROM export_items WHERE export_id = $1 AND source = $2 ORDER BY item";
    let found: Vec<(Bytes,)> = read.fetch_all(sql, args![export_id, source]).await?;
    Ok(found.into_iter().map(|(piece,)| piece).collect())
}

/// Forgets the pieces of an export: it was made, or given up.
pub async fn forget(tx: &mut Tx, export_id: &str) -> Result<u64, DbError> {
    tx.execute("DELETE FROM export_items WHERE export_id = $1", args![export_id]).await
}
