//! From rows to contracts.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use bytes::Bytes;
use contracts_logs::v1::ContractEntry;
use prost::Message as _;
use runspine_db::{Args, AssertSqlSafe, DbError, Dialect, Read, Tx, args};
use runspine_logs_domain::contract::{Contract, Journal, Key};

use super::{Contracts, Held, IndexRow};

impl Contracts {
    /// The contract `key` for writing; locked until the end of the transaction where the engine has several writers.
    ///
    /// # Errors
    /// When the store can't be read.
    pub async fn load(&self, tx: &mut Tx, key: &Key) -> Result<Held, DbError> {
        let mut found = self.load_all(tx, std::slice::from_ref(key)).await?;
        found.remove(key).ok_or(DbError::NoRow)
    }

    /// The contracts of all `keys` for writing, with two statements at most.
    ///
    /// # Errors
    /// When the store can't be read.
    pub async fn load_all(&self, tx: &mut Tx, keys: &[Key]) -> Result<BTreeMap<Key, Held>, DbError> {
        let rows = index_rows(tx, keys).await?;
        let mut known = self.folded(tx, &rows).await?;
        let mut held: BTreeMap<Key, Held> = BTreeMap::new();
        for row in rows {
            let key = row.key();
            let contract = known.remove(&row.contract_id).ok_or(DbError::NoRow)?;
            let contract = Arc::unwrap_or_clone(contract);
            let journal = Journal::resume(key.clone(), contract, row.last_link, row.fence);
            held.insert(key, Held { row: Some(row), journal });
        }
        for key in keys {
            let begin = || Held { row: None, journal: Journal::begin(key.clone()) };
            held.entry(key.clone()).or_insert_with(begin);
        }
        Ok(held)
    }

    pub(super) async fn folded(
        &self,
        tx: &mut Tx,
        rows: &[IndexRow],
    ) -> Result<HashMap<i64, Arc<Contract>>, DbError> {
        let mut known = HashMap::with_capacity(rows.len());
        let mut unknown = Vec::new();
        for row in rows {
            match self.remembered(row) {
                Some(contract) => drop(known.insert(row.contract_id, contract)),
                None => unknown.push(row),
            }
        }
        if unknown.is_empty() {
            return Ok(known);
        }
        let (sql, args) = entries_sql(unknown.iter().map(|row| row.contract_id));
        let entries: Vec<(i64, Bytes)> = tx.fetch_all(AssertSqlSafe(sql), args).await?;
        for (id, contract) in fold(unknown.into_iter(), entries)? {
            known.insert(id, Arc::new(contract));
        }
        Ok(known)
    }
}

async fn index_rows(tx: &mut Tx, keys: &[Key]) -> Result<Vec<IndexRow>, DbError> {
    let lock = match tx.dialect() {
        Dialect::Sqlite => "",
        // In the order of the keys, so that two replicas can't wait for each other.
        Dialect::Postgres => " ORDER BY i.tenant_id, i.saga, i.subject_id, i.attempt FOR UPDATE OF i",
    };
    let (sql, args) = index_sql(keys, lock);
    tx.fetch_all(AssertSqlSafe(sql), args).await
}

/// `SELECT` of the working rows of `keys`. The count of keys is rounded up, so that few texts are prepared.
fn index_sql(keys: &[Key], tail: &str) -> (String, Args) {
    let columns = IndexRow::COLUMNS.split(", ").map(|c| format!("i.{c}")).collect::<Vec<_>>().join(", ");
    let count = keys.len().next_power_of_two();
    let padded = keys.iter().chain(keys.last().into_iter().cycle()).take(count);
    let mut args = Args::with_capacity(count * 4);
    let mut values = String::new();
    for key in padded {
        let n = args.len();
        let comma = if n == 0 { "" } else { ", " };
        values.push_str(&format!("{comma}(${}, ${}, ${}, ${})", n + 1, n + 2, n + 3, n + 4));
        args.extend(args![&key.tenant_id, &key.saga, &key.subject_id, key.attempt]);
    }
    let sql = format!(
        "WITH k (t, s, u, a) AS (SELECT DISTINCT * FROM (VALUES {values}) AS v) SELECT {columns} FROM k \
         JOIN contract_index i ON i.tenant_id = k.t AND i.saga = k.s AND i.subject_id = k.u AND i.attempt = k.a{tail}"
    );
    (sql, args)
}

fn entries_sql(ids: impl ExactSizeIterator<Item = i64>) -> (String, Args) {
    let count = ids.len().next_power_of_two();
    let mut args: Args = ids.map(Into::into).collect();
    while let Some(last) = args.last().cloned().filter(|_| args.len() < count) {
        args.push(last);
    }
    let places: Vec<String> = (1..=args.len()).map(|n| format!("${n}")).collect();
    let sql = format!(
        "SELECT contract_id, entry FROM contract_entries WHERE contract_id IN ({}) ORDER BY contract_id, seq",
        places.join(", ")
    );
    (sql, args)
}

fn fold<'a>(
    rows: impl Iterator<Item = &'a IndexRow>,
    entries: Vec<(i64, Bytes)>,
) -> Result<HashMap<i64, Contract>, DbError> {
    let mut contracts: HashMap<i64, Contract> =
        rows.map(|row| (row.contract_id, Contract::new(&row.saga))).collect();
    for (id, bytes) in entries {
        let entry = ContractEntry::decode(bytes).map_err(unreadable)?;
        let contract = contracts.get_mut(&id).ok_or(DbError::NoRow)?;
        contract.apply(&entry).map_err(unreadable)?;
    }
    Ok(contracts)
}

/// One contract for reading, with its working row; both from one moment.
///
/// # Errors
/// When the store can't be read.
pub async fn read(read: &Read, key: &Key) -> Result<Option<(IndexRow, Contract)>, DbError> {
    let mut snapshot = read.snapshot().await?;
    let (sql, args) = index_sql(std::slice::from_ref(key), "");
    let Some(row) = snapshot.fetch_optional::<IndexRow>(AssertSqlSafe(sql), args).await? else {
        return Ok(None);
    };
    let (sql, args) = entries_sql(std::iter::once(row.contract_id));
    let entries: Vec<(i64, Bytes)> = snapshot.fetch_all(AssertSqlSafe(sql), args).await?;
    let contract = fold(std::iter::once(&row), entries)?.remove(&row.contract_id).ok_or(DbError::NoRow)?;
    Ok(Some((row, contract)))
}

pub(super) async fn fold_rows(
    snapshot: &mut runspine_db::Snapshot,
    rows: &[IndexRow],
) -> Result<HashMap<i64, Contract>, DbError> {
    if rows.is_empty() {
        return Ok(HashMap::new());
    }
    let (sql, args) = entries_sql(rows.iter().map(|row| row.contract_id));
    let entries: Vec<(i64, Bytes)> = snapshot.fetch_all(AssertSqlSafe(sql), args).await?;
    fold(rows.iter(), entries)
}

fn unreadable(error: impl std::fmt::Display) -> DbError {
    DbError::Column { column: "contract_entries.entry".to_owned(), what: error.to_string() }
}
