//! Which rows a transaction of PostgreSQL locks, and in which order: marks, run leases, envelopes, allocations. Every
//! transaction goes down this list and locks the rows of one kind in ascending order in one statement, so that none
//! waits for another that waits for it. SQLite has one writer and no rows to lock.

use std::collections::BTreeSet;

use runspine_controls_domain::limit::Key;
use runspine_db::{AssertSqlSafe, DbError, args};

use super::{
    desk::Desk,
    lists::{CHUNK, list},
};

/// How a desk locks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Locking {
    /// Envelopes before anything below them: one that turns out to be needed later is only noted, and the transaction
    /// begins again with it.
    Ahead,
    /// As rows are needed: the caller works on one envelope, or goes through several in ascending order.
    AsNeeded,
    /// Nothing: all of it will be undone.
    Nothing,
}

impl Desk<'_> {
    /// What a statement ends with to lock its rows.
    pub(super) fn lock(&self) -> &'static str {
        match self.locking {
            Locking::Nothing => "",
            _ => self.tx.dialect().pick("", " FOR UPDATE"),
        }
    }

    /// Whether the envelope may be worked on. When not, it is noted.
    pub fn may_touch(&mut self, envelope: Key) -> bool {
        let free = self.locking != Locking::Ahead || self.tx.dialect().pick(true, false);
        if free || self.locked.contains(&envelope) {
            return true;
        }
        self.unlocked.insert(envelope);
        false
    }

    /// The envelopes that were needed and not locked: the transaction has to begin again with them.
    #[must_use]
    pub fn unlocked(&self) -> &BTreeSet<Key> {
        &self.unlocked
    }

    /// Locks envelopes in ascending order in one statement.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn lock_envelopes(&mut self, keys: &BTreeSet<Key>) -> Result<(), DbError> {
        let lock = self.lock();
        if lock.is_empty() || keys.is_empty() {
            return Ok(());
        }
        let all: Vec<Key> = keys.iter().copied().collect();
        for part in all.chunks(CHUNK) {
            let keys = list(part.iter().map(|k| args![*k]).collect());
            let sql = format!(
                "SELECT envelope_key FROM envelopes WHERE envelope_key IN (SELECT column1 FROM {}) \
                 ORDER BY envelope_key{lock}",
                keys.sql
            );
            let _: Vec<(i64,)> = self.tx.fetch_all(AssertSqlSafe(sql), keys.args).await?;
        }
        self.locked.extend(all);
        Ok(())
    }

    /// What the open allocations of runs have free: run, envelope, amount. Read without a lock, to foresee which
    /// envelopes will be needed.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn free_escrow(&mut self, runs: &[Key]) -> Result<Vec<(Key, Key, i64)>, DbError> {
        let mut found = Vec::new();
        for part in runs.chunks(CHUNK) {
            let keys = list(part.iter().map(|k| args![*k]).collect());
            let sql = format!(
                "SELECT run_key, envelope_key, granted - held - spent FROM allocations \
                 WHERE open = 1 AND run_key IN (SELECT column1 FROM {})",
                keys.sql
            );
            let rows: Vec<(Key, Key, i64)> = self.tx.fetch_all(AssertSqlSafe(sql), keys.args).await?;
            found.extend(rows);
        }
        Ok(found)
    }

    /// Whether envelopes have to be foreseen.
    #[must_use]
    pub fn locks_ahead(&self) -> bool {
        self.locking == Locking::Ahead && self.tx.dialect().pick(false, true)
    }
}
