//! Buckets and slots on the desk. The envelope row of their limit and scope id is the lock of both.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use runspine_controls_domain::{
    hold::HoldKey,
    limit::{Key, Limit},
    rate::Bucket,
};
use runspine_db::{Args, AssertSqlSafe, DbError, args};
use runspine_types::Micros;

use super::{
    desk::Desk,
    lists::{CHUNK, list},
};

/// Who has a slot: the run and the step, -1 for the run itself.
pub type Holder = (Key, i64);

/// The buckets and slots of a transaction.
#[derive(Debug, Default)]
pub struct Gates {
    buckets: HashMap<Key, Bucket>,
    /// Buckets as they would be but for the override that is in force.
    bases: HashMap<Key, Bucket>,
    changed_buckets: BTreeSet<Key>,
    slots: HashMap<Key, BTreeSet<Holder>>,
    taken: Vec<(Key, Holder)>,
    freed_steps: BTreeSet<Holder>,
    freed_runs: BTreeSet<Key>,
    takes: BTreeMap<HoldKey, Vec<(Key, i64)>>,
    fresh_takes: Vec<(HoldKey, Key, i64)>,
}

impl Gates {
    /// A bucket as it was stored; one that nobody has used is full.
    #[must_use]
    pub fn bucket(&self, envelope: Key, limit: &Limit, now: Micros) -> Bucket {
        self.buckets.get(&envelope).copied().unwrap_or_else(|| Bucket::full(limit, now))
    }

    /// Puts a bucket back.
    pub fn put_bucket(&mut self, envelope: Key, bucket: Bucket) {
        self.buckets.insert(envelope, bucket);
        self.changed_buckets.insert(envelope);
    }

    /// A bucket as it would be but for an override; until one was taken from under it, that is the bucket itself.
    #[must_use]
    pub fn base(&self, envelope: Key, base: &Limit, now: Micros) -> Bucket {
        self.bases.get(&envelope).copied().unwrap_or_else(|| self.bucket(envelope, base, now))
    }

    /// Puts it back, or forgets it where no override is in force any more.
    pub fn put_base(&mut self, envelope: Key, base: Option<Bucket>) {
        match base {
            Some(bucket) => self.bases.insert(envelope, bucket),
            None => self.bases.remove(&envelope),
        };
    }

    /// How many slots are taken, and whether this holder has one.
    #[must_use]
    pub fn slots(&self, envelope: Key, holder: Holder) -> (usize, bool) {
        self.slots.get(&envelope).map_or((0, false), |s| (s.len(), s.contains(&holder)))
    }

    /// Takes a slot; a second take by the same holder is the same slot.
    pub fn take_slot(&mut self, envelope: Key, holder: Holder) {
        if self.slots.entry(envelope).or_default().insert(holder) {
            self.taken.push((envelope, holder));
        }
    }

    /// Frees the slots of a step.
    pub fn free_step(&mut self, run: Key, step: i64) {
        self.freed_steps.insert((run, step));
        self.forget(|holder| holder == (run, step));
    }

    /// Frees every slot of a run.
    pub fn free_run(&mut self, run: Key) {
        self.freed_runs.insert(run);
        self.forget(|holder| holder.0 == run);
    }

    fn forget(&mut self, gone: impl Fn(Holder) -> bool) {
        self.slots.values_mut().for_each(|all| all.retain(|holder| !gone(*holder)));
        self.taken.retain(|(_, holder)| !gone(*holder));
    }

    /// Notes what a hold took of a bucket of tokens.
    pub fn note_take(&mut self, hold: HoldKey, envelope: Key, tokens: i64) {
        self.takes.entry(hold).or_default().push((envelope, tokens));
        self.fresh_takes.push((hold, envelope, tokens));
    }

    /// What a hold took of buckets of tokens: envelope and tokens.
    #[must_use]
    pub fn takes(&self, hold: HoldKey) -> Vec<(Key, i64)> {
        self.takes.get(&hold).cloned().unwrap_or_default()
    }
}

impl Desk<'_> {
    /// Loads buckets and slots of envelopes, which have to be locked.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn load_gates(&mut self, buckets: &[Key], slots: &[Key]) -> Result<(), DbError> {
        for part in buckets.chunks(CHUNK) {
            let keys = list(part.iter().map(|k| args![*k]).collect());
            let sql = format!(
                "SELECT envelope_key, level, filled_at, base_level FROM buckets WHERE envelope_key IN (SELECT column1 FROM {})",
                keys.sql
            );
            let rows: Vec<(i64, i64, Micros, Option<i64>)> =
                self.tx.fetch_all(AssertSqlSafe(sql), keys.args).await?;
            for (key, level, last, base) in rows {
                if self.gates.buckets.contains_key(&key) {
                    continue;
                }
                self.gates.buckets.insert(key, Bucket { level, last });
                self.gates.put_base(key, base.map(|level| Bucket { level, last }));
            }
        }
        for part in slots.chunks(CHUNK) {
            let keys = list(part.iter().map(|k| args![*k]).collect());
            let sql = format!(
                "SELECT envelope_key, run_key, step_index FROM slots WHERE envelope_key IN (SELECT column1 FROM {})",
                keys.sql
            );
            let rows: Vec<(i64, i64, i64)> = self.tx.fetch_all(AssertSqlSafe(sql), keys.args).await?;
            for (key, run, step) in rows {
                self.gates.slots.entry(key).or_default().insert((run, step));
            }
        }
        Ok(())
    }

    /// Loads what the holds on the desk took of buckets of tokens, and answers with the envelopes of those buckets.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn load_takes(&mut self, steps: &[Holder]) -> Result<Vec<Key>, DbError> {
        let mut envelopes = BTreeSet::new();
        for part in steps.chunks(CHUNK) {
            let keys = list(part.iter().map(|(run, step)| args![*run, *step]).collect());
            let sql = format!(
                "SELECT run_key, step_index, ask, envelope_key, tokens FROM rate_takes \
                 WHERE (run_key, step_index) IN (SELECT column1, column2 FROM {})",
                keys.sql
            );
            let rows: Vec<(i64, i64, i64, i64, i64)> =
                self.tx.fetch_all(AssertSqlSafe(sql), keys.args).await?;
            for (run, step, ask, envelope, tokens) in rows {
                self.gates.takes.entry((run, step, ask)).or_default().push((envelope, tokens));
                envelopes.insert(envelope);
            }
        }
        Ok(envelopes.into_iter().collect())
    }

    pub(super) async fn flush_gates(&mut self, now: Micros) -> Result<(), DbError> {
        let gates = std::mem::take(&mut self.gates);
        self.flush_freed(&gates).await?;
        let rows = gates.changed_buckets.iter().filter_map(|key| Some((key, gates.buckets.get(key)?)));
        let base = |key: &Key| gates.bases.get(key).map(|b| b.level);
        let rows: Vec<Args> = rows.map(|(key, b)| args![*key, b.level, b.last, base(key)]).collect();
        let upsert = "ON CONFLICT (envelope_key) DO UPDATE SET level = excluded.level, \
                      filled_at = excluded.filled_at, base_level = excluded.base_level";
        self.insert("buckets", &["envelope_key", "level", "filled_at", "base_level"], rows, upsert).await?;
        let rows = gates.taken.iter().map(|(key, holder)| args![*key, holder.0, holder.1, now]);
        let columns = ["envelope_key", "run_key", "step_index", "taken_at"];
        self.insert("slots", &columns, rows.collect(), "ON CONFLICT DO NOTHING").await?;
        let rows = gates.fresh_takes.iter().map(|(hold, key, n)| args![hold.0, hold.1, hold.2, *key, *n]);
        let columns = ["run_key", "step_index", "ask", "envelope_key", "tokens"];
        self.insert("rate_takes", &columns, rows.collect(), "").await
    }

    async fn flush_freed(&mut self, gates: &Gates) -> Result<(), DbError> {
        let steps: Vec<Args> = gates.freed_steps.iter().map(|(run, step)| args![*run, *step]).collect();
        for part in steps.chunks(CHUNK) {
            let keys = list(part.to_vec());
            let sql = format!(
                "DELETE FROM slots WHERE (run_key, step_index) IN (SELECT column1, column2 FROM {})",
                keys.sql
            );
            self.tx.execute(AssertSqlSafe(sql), keys.args).await?;
        }
        let runs: Vec<Args> = gates.freed_runs.iter().map(|run| args![*run]).collect();
        for part in runs.chunks(CHUNK) {
            let keys = list(part.to_vec());
            let sql = format!("DELETE FROM slots WHERE run_key IN (SELECT column1 FROM {})", keys.sql);
            self.tx.execute(AssertSqlSafe(sql), keys.args).await?;
        }
        Ok(())
    }
}
