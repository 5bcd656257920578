//! Checkpoints, cosignatures, and the leaves and subtree roots that they are made of.

use runspine_db::{DbError, Read, Tx, args};
use runspine_logs_domain::merkle::TILE;
use runspine_types::{Digest, Micros};

/// Name of the log over all checkpoints where the name of a tenant would stand.
const MESH: &str = "mesh";

/// A log that checkpoints are made of.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Log {
    /// The ledger of a tenant.
    Ledger(String),
    /// The checkpoints of all tenants.
    Mesh,
}

impl Log {
    /// Its name: in rows, in origins and as a folder of published notes.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Ledger(tenant_id) => tenant_id,
            Self::Mesh => MESH,
        }
    }
}

runspine_db::row! {
    /// A checkpoint.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct CheckpointRow {
        /// Leaves.
        pub tree_size: u64,
        /// Root over them.
        pub root: Digest,
        /// The note with the log's own signature.
        pub note: String,
        /// The key that signed.
        pub key_id: String,
        /// When.
        pub created_at: Micros,
    }
}

runspine_db::row! {
    /// What of a tenant's ledger no checkpoint covers.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct UncoveredRow {
        /// The tenant.
        pub tenant_id: String,
        /// Entries of the ledger.
        pub head: u64,
        /// Entries under the newest checkpoint.
        pub covered: u64,
        /// When the oldest uncovered entry was recorded.
        pub since: Option<Micros>,
    }
}

/// Leaves of `log`, committed.
///
/// # Errors
/// When the store can't be read.
pub async fn head(read: &Read, log: &Log) -> Result<u64, DbError> {
    let found: Option<(u64,)> = match log {
        Log::Ledger(tenant) => {
            read.fetch_optional("SELECT seq FROM ledger_heads WHERE tenant_id = $1", args![tenant]).await?
        }
        Log::Mesh => read.fetch_optional("SELECT COALESCE(MAX(seq), 0) FROM mesh_leaves", args![]).await?,
    };
    Ok(found.map_or(0, |(size,)| size))
}

/// Data of the leaves of one tile that are within the first `size` leaves, in order; a hole ends it.
///
/// # Errors
/// When the store can't be read.
pub async fn leaves(read: &Read, log: &Log, tile: u64, size: u64) -> Result<Vec<Digest>, DbError> {
    let (after, to) = (tile * TILE, size.min((tile + 1) * TILE));
    let rows: Vec<(u64, Digest)> = match log {
        Log::Ledger(tenant) => {
            let sql =
                "SELECT seq, link FROM ledger WHERE tenant_id = $1 AND seq > $2 AND seq <= $3 ORDER BY seq";
            read.fetch_all(sql, args![tenant, after, to]).await?
        }
        Log::Mesh => {
            let sql = "SELECT seq, leaf FROM mesh_leaves WHERE seq > $1 AND seq <= $2 ORDER BY seq";
            read.fetch_all(sql, args![after, to]).await?
        }
    };
    let dense = rows.into_iter().zip(after + 1..).take_while(|((seq, _), expected)| seq == expected);
    Ok(dense.map(|((_, leaf), _)| leaf).collect())
}

/// Roots of the complete tiles of `log`, by place.
///
/// # Errors
/// When the store can't be read.
pub async fn tiles(read: &Read, log: &Log) -> Result<Vec<(u64, Digest)>, DbError> {
    read.fetch_all("SELECT tile, root FROM merkle_tiles WHERE log = $1 ORDER BY tile", args![log.name()])
        .await
}

/// Stores roots of complete tiles; those that are there already stay.
///
/// # Errors
/// When the store fails.
pub async fn insert_tiles(tx: &mut Tx, log: &Log, tiles: &[(u64, Digest)]) -> Result<(), DbError> {
    if tiles.is_empty() {
        return Ok(());
    }
    let rows = tiles.iter().map(|(tile, root)| args![log.name(), *tile, *root]).collect();
    tx.insert_rows("merkle_tiles", &["log", "tile", "root"], rows, "ON CONFLICT DO NOTHING").await?;
    Ok(())
}

/// Stores a checkpoint; says whether it is new.
///
/// # Errors
/// When the store fails.
pub async fn insert(tx: &mut Tx, log: &Log, row: &CheckpointRow) -> Result<bool, DbError> {
    let sql = "INSERT INTO checkpoints (log, tree_size, root, note, key_id, created_at) \
               VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT DO NOTHING";
    let args = args![log.name(), row.tree_size, row.root, &row.note, &row.key_id, row.created_at];
    Ok(tx.execute(sql, args).await? > 0)
}

/// The newest checkpoint of `log` that has at most `size` leaves.
///
/// # Errors
/// When the store can't be read.
pub async fn newest(read: &Read, log: &Log, size: u64) -> Result<Option<CheckpointRow>, DbError> {
    let sql = format!("{SELECT} AND tree_size <= $2 ORDER BY tree_size DESC LIMIT 1");
    read.fetch_optional(runspine_db::AssertSqlSafe(sql), args![log.name(), most(size)]).await
}

/// The checkpoint of `log` with exactly `size` leaves.
///
/// # Errors
/// When the store can't be read.
pub async fn of_size(read: &Read, log: &Log, size: u64) -> Result<Option<CheckpointRow>, DbError> {
    let sql = format!("{SELECT} AND tree_size = $2");
    read.fetch_optional(runspine_db::AssertSqlSafe(sql), args![log.name(), most(size)]).await
}

/// Checkpoints of `log` with fewer than `below` leaves, the newest first.
///
/// # Errors
/// When the store can't be read.
pub async fn list(read: &Read, log: &Log, below: u64, limit: i64) -> Result<Vec<CheckpointRow>, DbError> {
    let sql = format!("{SELECT} AND tree_size < $2 ORDER BY tree_size DESC LIMIT $3");
    read.fetch_all(runspine_db::AssertSqlSafe(sql), args![log.name(), most(below), limit]).await
}

/// Checkpoints of `log` with more than `from` and at most `to` leaves, the oldest first.
///
/// # Errors
/// When the store can't be read.
pub async fn between(
    read: &Read,
    log: &Log,
    from: u64,
    to: u64,
    limit: i64,
) -> Result<Vec<CheckpointRow>, DbError> {
    let sql = format!("{SELECT} AND tree_size > $2 AND tree_size <= $3 ORDER BY tree_size LIMIT $4");
    read.fetch_all(runspine_db::AssertSqlSafe(sql), args![log.name(), most(from), most(to), limit]).await
}

runspine_db::row! {
    /// A checkpoint, and whether a witness cosigned it in time.
    struct CoveringRow {
        tree_size: u64,
        root: Digest,
        note: String,
        key_id: String,
        created_at: Micros,
        cosigned: i64,
    }
}

/// Checkpoints of `log` made before `before` with at least `size` leaves, the smallest first, each with whether it was
/// cosigned before then.
///
/// # Errors
/// When the store can't be read.
pub async fn covering(
    read: &Read,
    log: &Log,
    size: u64,
    before: Micros,
    limit: i64,
) -> Result<Vec<(CheckpointRow, bool)>, DbError> {
    let sql = "SELECT c.tree_size, c.root, c.note, c.key_id, c.created_at, \
               (SELECT COUNT(*) FROM cosignatures w WHERE w.log = c.log AND w.tree_size = c.tree_size \
                AND w.added_at < $3) AS cosigned \
               FROM checkpoints c WHERE c.log = $1 AND c.tree_size >= $2 AND c.created_at < $3 \
               ORDER BY c.tree_size LIMIT $4";
    let rows: Vec<CoveringRow> = read.fetch_all(sql, args![log.name(), most(size), before, limit]).await?;
    let split = |row: CoveringRow| {
        let CoveringRow { tree_size, root, note, key_id, created_at, cosigned } = row;
        (CheckpointRow { tree_size, root, note, key_id, created_at }, cosigned > 0)
    };
    Ok(rows.into_iter().map(split).collect())
}

const SELECT: &str = "SELECT tree_size, root, note, key_id, created_at FROM checkpoints WHERE log = $1";

/// A size as the engines hold it.
fn most(size: u64) -> i64 {
    i64::try_from(size).unwrap_or(i64::MAX)
}

/// Every ledger with entries that no checkpoint covers.
///
/// # Errors
/// When the store can't be read.
pub async fn uncovered(read: &Read) -> Result<Vec<UncoveredRow>, DbError> {
    let sql = "SELECT h.tenant_id AS tenant_id, h.seq AS head, COALESCE(c.size, 0) AS covered, \
               (SELECT l.recorded_at FROM ledger l WHERE l.tenant_id = h.tenant_id \
                AND l.seq = COALESCE(c.size, 0) + 1) AS since \
               FROM ledger_heads h LEFT JOIN \
               (SELECT log, MAX(tree_size) AS size FROM checkpoints GROUP BY log) c ON c.log = h.tenant_id \
               WHERE h.seq > COALESCE(c.size, 0) ORDER BY h.tenant_id";
    read.fetch_all(sql, args![]).await
}

/// Makes every checkpoint that is not yet a leaf of the mesh's log one, in the order in which they were stored.
///
/// # Errors
/// When the store fails, or another writer was first.
pub async fn enter_mesh(tx: &mut Tx, leaf: impl Fn(&str) -> Digest + Send) -> Result<usize, DbError> {
    let sql = "SELECT c.log, c.tree_size, c.note FROM checkpoints c WHERE c.log <> 'mesh' AND NOT EXISTS \
               (SELECT 1 FROM mesh_leaves m WHERE m.log = c.log AND m.tree_size = c.tree_size) \
               ORDER BY c.id LIMIT 1000";
    let waiting: Vec<(String, u64, String)> = tx.fetch_all(sql, args![]).await?;
    if waiting.is_empty() {
        return Ok(0);
    }
    let (head,): (u64,) = tx.fetch_one("SELECT COALESCE(MAX(seq), 0) FROM mesh_leaves", args![]).await?;
    let count = waiting.len();
    let rows = waiting.into_iter().zip(head + 1..);
    let rows = rows.map(|((log, size, note), seq)| args![seq, log, size, leaf(&note)]).collect();
    tx.insert_rows("mesh_leaves", &["seq", "log", "tree_size", "leaf"], rows, "").await?;
    Ok(count)
}

/// The place of a checkpoint in the mesh's log.
///
/// # Errors
/// When the store can't be read.
pub async fn mesh_place(read: &Read, log: &Log, size: u64) -> Result<Option<u64>, DbError> {
    let sql = "SELECT seq FROM mesh_leaves WHERE log = $1 AND tree_size = $2";
    let found: Option<(u64,)> = read.fetch_optional(sql, args![log.name(), most(size)]).await?;
    Ok(found.map(|(seq,)| seq))
}

/// The lines under a checkpoint beside its own: witness and line, in the order in which they came.
///
/// # Errors
/// When the store can't be read.
pub async fn cosignatures(read: &Read, log: &Log, size: u64) -> Result<Vec<(String, String)>, DbError> {
    let sql = "SELECT witness, line FROM cosignatures WHERE log = $1 AND tree_size = $2 ORDER BY id";
    read.fetch_all(sql, args![log.name(), most(size)]).await
}

/// How many cosignatures a checkpoint has, the line that `witness` gave it, and whether the witness ever cosigned
/// anything of the log.
///
/// # Errors
/// When the store can't be read.
pub async fn witnessed(
    tx: &mut Tx,
    log: &Log,
    size: u64,
    witness: &str,
) -> Result<(usize, Option<String>, bool), DbError> {
    let sql = "SELECT witness, line FROM cosignatures WHERE log = $1 AND tree_size = $2";
    let lines: Vec<(String, String)> = tx.fetch_all(sql, args![log.name(), most(size)]).await?;
    let count = lines.len();
    let own = lines.into_iter().find(|(name, _)| name == witness).map(|(_, line)| line);
    let sql = "SELECT CAST(1 AS BIGINT) FROM cosignatures WHERE witness = $1 AND log = $2 LIMIT 1";
    let known: Option<(i64,)> = tx.fetch_optional(sql, args![witness, log.name()]).await?;
    Ok((count, own, known.is_some()))
}

/// Stores a cosignature.
///
/// # Errors
/// When the store fails.
pub async fn cosign(
    tx: &mut Tx,
    log: &Log,
    size: u64,
    (witness, line): (&str, &str),
    now: Micros,
) -> Result<(), DbError> {
    let sql =
        "INSERT INTO cosignatures (log, tree_size, witness, line, added_at) VALUES ($1, $2, $3, $4, $5)";
    tx.execute(sql, args![log.name(), most(size), witness, line, now]).await?;
    Ok(())
}
