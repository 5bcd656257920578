//! From contracts to rows.

use std::{collections::HashMap, sync::Arc};

use contracts_common::common::v1::ContractVerdict;
use contracts_logs::v1::ContractState;
use runspine_db::{Args, DbError, Tx, args};
use runspine_logs_domain::contract::{Contract, Key};
use runspine_types::Digest;

use super::{Contracts, Held};

const INDEX: &[&str] = &[
    "tenant_id",
    "saga",
    "subject_id",
    "attempt",
    "state",
    "declared_at",
    "verdict",
    "last_seq",
    "last_link",
    "next_deadline",
];
const INDEX_CONFLICT: &str = "ON CONFLICT (tenant_id, saga, subject_id, attempt) DO UPDATE SET \
    state = excluded.state, declared_at = excluded.declared_at, verdict = excluded.verdict, \
    last_seq = excluded.last_seq, last_link = excluded.last_link, next_deadline = excluded.next_deadline";
const ENTRY: &[&str] = &["contract_id", "seq", "kind", "recorded_at", "observed_at", "entry", "link"];

impl Contracts {
    /// Keeps what was added to `contracts`, with two statements. A contract to which nothing was added costs nothing.
    ///
    /// # Errors
    /// When the store refuses it. An entry that another replica wrote first is a unique violation: the whole operation
    /// is undone and can be tried again.
    pub async fn save(&self, tx: &mut Tx, contracts: impl IntoIterator<Item = Held>) -> Result<(), DbError> {
        let parts: Vec<_> = contracts
            .into_iter()
            .map(|held| held.journal.into_parts())
            .filter(|(_, _, _, added)| !added.is_empty())
            .collect();
        if parts.is_empty() {
            return Ok(());
        }
        let rows = parts.iter().map(|(key, contract, link, _)| index_row(key, contract, *link)).collect();
        let returning = "contract_id, tenant_id, saga, subject_id, attempt";
        let ids: Vec<(i64, String, String, String, u32)> =
            tx.insert_rows_returning("contract_index", INDEX, rows, INDEX_CONFLICT, returning).await?;
        let ids: HashMap<Key, i64> = ids
            .into_iter()
            .map(|(id, tenant_id, saga, subject_id, attempt)| {
                (Key { tenant_id, saga, subject_id, attempt }, id)
            })
            .collect();
        let mut entries: Vec<Args> = Vec::new();
        for (key, contract, link, added) in parts {
            let id = *ids.get(&key).ok_or(DbError::NoRow)?;
            let row = |e: runspine_logs_domain::contract::Added| {
                args![id, e.seq, i64::from(e.kind), e.recorded_at, e.observed_at, e.entry, e.link]
            };
            entries.extend(added.into_iter().map(row));
            self.remember(id, link, Arc::new(contract));
        }
        tx.insert_rows("contract_entries", ENTRY, entries, "").await?;
        Ok(())
    }
}

fn index_row(key: &Key, contract: &Contract, link: Digest) -> Args {
    let state = if contract.closed { ContractState::Closed } else { ContractState::Open };
    let verdict = contract.judged.last().map_or(ContractVerdict::Unspecified, |last| last.verdict);
    args![
        &key.tenant_id,
        &key.saga,
        &key.subject_id,
        key.attempt,
        i64::from(i32::from(state)),
        contract.declared_at,
        i64::from(i32::from(verdict)),
        contract.last_seq,
        link,
        contract.next_deadline(),
    ]
}
