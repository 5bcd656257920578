//! States of sequence rules: read before a decision is made, and locked, compared and written in its commit.

use std::collections::{BTreeSet, HashMap};

use bytes::Bytes;
use runspine_db::{AssertSqlSafe, DbError, Read, Tx, args, row};
use runspine_types::{Digest, hash};

use super::hot::Item;

/// What a decision was made with of one holder, and what it makes of it.
#[derive(Debug, Clone)]
pub(crate) struct Moved {
    pub holder: String,
    /// Digest of the bytes that were read.
    pub read: Digest,
    /// The bytes after it; none: unchanged.
    pub next: Option<Bytes>,
}

/// The digest of a state that nothing was stored for.
pub(crate) const NOTHING: Digest = Digest([0; 32]);

/// The digest of stored bytes.
pub(crate) fn digest(bytes: &[u8]) -> Digest {
    if bytes.is_empty() { NOTHING } else { hash(bytes) }
}

row! {
    pub(crate) struct LockedRow { tenant_id: String, holder: String, digest: Digest }
}

pub(crate) const STATE: &str = "SELECT bytes FROM monitor_states WHERE tenant_id = $1 AND holder = $2";

/// The bytes of a holder; empty: nothing was stored for it.
pub(crate) async fn read(read: &Read, tenant: &str, holder: &str) -> Result<Bytes, DbError> {
    let found: Option<(Bytes,)> = read.fetch_optional(STATE, args![tenant, holder]).await?;
    Ok(found.map(|(bytes,)| bytes).unwrap_or_default())
}

type Key = (String, String);

/// The states of a group of decisions, locked in the order of their keys.
#[derive(Default)]
pub(crate) struct Locked {
    digests: HashMap<Key, Digest>,
    moved: HashMap<Key, Bytes>,
}

impl Locked {
    /// Locks what the items were made with. Rows that do not exist are made first: a row that nobody has can't be locked.
    pub(crate) async fn of(tx: &mut Tx, items: &[Item]) -> Result<Self, DbError> {
        let keys: BTreeSet<Key> = items
            .iter()
            .flat_map(|i| i.monitors.iter().map(|m| (i.tenant.clone(), m.holder.clone())))
            .collect();
        let mut locked = Self::default();
        if keys.is_empty() {
            return Ok(locked);
        }
        locked.lock(tx, &keys).await?;
        let missing: BTreeSet<Key> = keys.into_iter().filter(|k| !locked.digests.contains_key(k)).collect();
        if !missing.is_empty() {
            let rows = missing.iter().map(|(t, h)| args![t, h, NOTHING, Bytes::new()]).collect();
            let known = "ON CONFLICT (tenant_id, holder) DO NOTHING";
            tx.insert_rows("monitor_states", &COLUMNS, rows, known).await?;
            locked.lock(tx, &missing).await?;
        }
        Ok(locked)
    }

    async fn lock(&mut self, tx: &mut Tx, keys: &BTreeSet<Key>) -> Result<(), DbError> {
        let keys: Vec<&Key> = keys.iter().collect();
        for chunk in keys.chunks(512) {
            // Widths are powers of two, so that few texts are prepared; what is left over asks for nobody.
            let width = chunk.len().next_power_of_two();
            let none = (String::new(), String::new());
            let wanted = (0..width).map(|n| chunk.get(n).map_or(&none, |k| *k));
            let values = wanted.flat_map(|(t, h)| args![t, h]).collect();
            let sql = lock_sql(width, tx.dialect().pick("", " FOR UPDATE OF m"));
            let rows: Vec<LockedRow> = tx.fetch_all(AssertSqlSafe(sql), values).await?;
            self.digests.extend(rows.into_iter().map(|r| ((r.tenant_id, r.holder), r.digest)));
        }
        Ok(())
    }

    /// Whether an item was made with something else than what is stored, or was moved before it in this group.
    pub(crate) fn is_stale(&self, item: &Item) -> bool {
        item.monitors.iter().any(|m| {
            let key = (item.tenant.clone(), m.holder.clone());
            self.digests.get(&key).copied().unwrap_or(NOTHING) != m.read
        })
    }

    /// An item is accepted.
    pub(crate) fn accept(&mut self, item: &Item) {
        for m in &item.monitors {
            if let Some(next) = &m.next {
                let key = (item.tenant.clone(), m.holder.clone());
                self.digests.insert(key.clone(), digest(next));
                self.moved.insert(key, next.clone());
            }
        }
    }

    /// Writes what was moved.
    pub(crate) async fn write(self, tx: &mut Tx) -> Result<(), DbError> {
        let rows = self.moved.into_iter().map(|((t, h), bytes)| args![t, h, digest(&bytes), bytes]).collect();
        let known =
            "ON CONFLICT (tenant_id, holder) DO UPDATE SET digest = excluded.digest, bytes = excluded.bytes";
        tx.insert_rows("monitor_states", &COLUMNS, rows, known).await?;
        Ok(())
    }
}

const COLUMNS: [&str; 4] = ["tenant_id", "holder", "digest", "bytes"];

pub(crate) fn lock_sql(width: usize, lock: &str) -> String {
    let pair = |n: usize| format!("(CAST(${} AS TEXT), CAST(${} AS TEXT))", n * 2 + 1, n * 2 + 2);
    let wanted: Vec<String> = (0..width).map(pair).collect();
    format!(
        "WITH q (tenant_id, holder) AS (VALUES {}) SELECT m.tenant_id, m.holder, m.digest FROM q \
         JOIN monitor_states m ON m.tenant_id = q.tenant_id AND m.holder = q.holder \
         ORDER BY m.tenant_id, m.holder{lock}",
        wanted.join(",")
    )
}
