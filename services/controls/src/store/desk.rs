//! The desk: everything that one transaction works on, loaded with few statements for all calls of a group and written
//! with few statements at the end.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    sync::Arc,
};

use runspine_controls_domain::{
    account::PeriodKey,
    book::{Book, Missing},
    bypass::Bypass,
    estimate::Amounts,
    freeze::Freeze,
    history::StepName,
    hold::{Hold, HoldKey},
    limit::{Key, Limit},
};
use runspine_db::{AssertSqlSafe, DbError, Tx, args};
use runspine_types::{Digest, Micros, PLATFORM_TENANT};

use super::{
    breakers::BreakerRow,
    caches::{Caches, ControlSet, SetVersion},
    evaluations::Evaluated,
    gates::Gates,
    histories::Recorded,
    lists::{CHUNK, list},
    locks::Locking,
    overrides::NewUse,
    rows::{AllocationRow, AskRow, LeaseRow, PeriodRow},
};
use crate::app::records::{Evidence, NewBreach, NewSignal};

/// Names a run attempt.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RunRef {
    /// Its tenant.
    pub tenant_id: String,
    /// The run.
    pub run_id: String,
    /// The attempt.
    pub attempt: u32,
}

/// A hold, as it was read and as it is.
#[derive(Debug, Clone)]
pub struct HoldSlot {
    /// As it is.
    pub hold: Hold,
    /// As it was read; none: it is new.
    pub before: Option<Hold>,
    /// Digest of the request that settled it, and the answer.
    pub settled: Option<(Digest, bytes::Bytes)>,
    /// Whether `settled` is new.
    pub newly_settled: bool,
}

/// An override that replaces the value of a limit for one scope id.
#[derive(Debug, Clone)]
pub struct Overridden {
    /// Key of the override.
    pub key: Key,
    /// Its id.
    pub override_id: String,
    /// The limit as it is without it.
    pub base: Arc<Limit>,
    /// The limit as it holds.
    pub with: Arc<Limit>,
}

/// Everything that one transaction works on.
pub struct Desk<'a> {
    /// The transaction.
    pub tx: &'a mut Tx,
    /// The accounts.
    pub book: Book,
    /// The freeze epoch.
    pub epoch: u64,
    /// The open freezes of the mesh.
    pub freezes: Arc<Vec<Freeze>>,
    /// The approved bypasses of the mesh.
    pub bypasses: Arc<Vec<Bypass>>,
    /// Breakers that are not closed, of what the calls would use.
    pub breakers: BTreeMap<Key, BreakerRow>,
    pub(super) caches: &'a Caches,
    pub(super) sets: HashMap<String, Arc<ControlSet>>,
    pub(super) runs: HashMap<Key, LeaseRow>,
    pub(super) run_keys: HashMap<RunRef, Key>,
    pub(super) changed_runs: HashSet<Key>,
    pub(super) asks: BTreeMap<HoldKey, AskRow>,
    pub(super) holds: BTreeMap<HoldKey, HoldSlot>,
    pub(super) hold_ids: HashMap<String, HoldKey>,
    pub(super) evidence: Vec<Evidence>,
    pub(super) breaches: Vec<NewBreach>,
    pub(super) transitions: Vec<(String, i64, i32, i32, Micros)>,
    pub(crate) settlement_ids: HashMap<Key, String>,
    pub(super) signals: Vec<NewSignal>,
    pub(super) evaluations: BTreeMap<(Key, Key), Evaluated>,
    /// The time by which overrides hold.
    pub(crate) at: Micros,
    /// Envelopes whose limit has another value for now.
    pub(crate) overridden: HashMap<Key, Overridden>,
    pub(crate) uses: Vec<NewUse>,
    /// What steps of these names usually use.
    pub(crate) usual: HashMap<StepName, Amounts>,
    /// Steps that were recorded.
    pub(crate) learned: Vec<Recorded>,
    /// Who adjusts.
    pub(crate) actor: Option<String>,
    /// Runs that end with this transaction: their breaches are over.
    pub(crate) ended_runs: Vec<Key>,
    /// Buckets and slots.
    pub gates: Gates,
    pub(super) fresh_sets: Vec<String>,
    pub(super) locking: Locking,
    pub(super) locked: BTreeSet<Key>,
    pub(super) unlocked: BTreeSet<Key>,
}

impl<'a> Desk<'a> {
    /// A desk with the epoch, the freezes and the limits of `tenants` on it (without tenants: no limits, and of the
    /// freezes those that can be read), with the overrides that hold at `at`. On PostgreSQL the epoch is locked shared,
    /// so that a freeze either was seen or comes after this commit.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn open(
        tx: &'a mut Tx,
        caches: &'a Caches,
        tenants: &[&str],
        locking: Locking,
        at: Micros,
    ) -> Result<Self, DbError> {
        let mut desk = Self {
            tx,
            book: Book::new(),
            epoch: 0,
            freezes: Arc::new(Vec::new()),
            bypasses: Arc::new(Vec::new()),
            breakers: BTreeMap::new(),
            caches,
            sets: HashMap::new(),
            runs: HashMap::new(),
            run_keys: HashMap::new(),
            changed_runs: HashSet::new(),
            asks: BTreeMap::new(),
            holds: BTreeMap::new(),
            hold_ids: HashMap::new(),
            evidence: Vec::new(),
            breaches: Vec::new(),
            transitions: Vec::new(),
            settlement_ids: HashMap::new(),
            signals: Vec::new(),
            evaluations: BTreeMap::new(),
            at,
            overridden: HashMap::new(),
            uses: Vec::new(),
            usual: HashMap::new(),
            learned: Vec::new(),
            actor: None,
            ended_runs: Vec::new(),
            gates: Gates::default(),
            fresh_sets: Vec::new(),
            locking,
            locked: BTreeSet::new(),
            unlocked: BTreeSet::new(),
        };
        desk.load_marks(tenants).await?;
        Ok(desk)
    }

    async fn load_marks(&mut self, tenants: &[&str]) -> Result<(), DbError> {
        let mut names: Vec<String> = tenants.iter().map(|t| super::limits::mark(t)).collect();
        names.push("epoch".to_owned());
        names.push(super::limits::mark(PLATFORM_TENANT));
        names.sort_unstable();
        names.dedup();
        let keys = list(names.into_iter().map(|n| args![n]).collect());
        let lock = self.tx.dialect().pick("", " FOR SHARE");
        let sql = format!(
            "SELECT name, value FROM marks WHERE name IN (SELECT column1 FROM {}) ORDER BY name{lock}",
            keys.sql
        );
        let rows: Vec<(String, i64)> = self.tx.fetch_all(AssertSqlSafe(sql), keys.args).await?;
        let marks: HashMap<String, i64> = rows.into_iter().collect();
        self.epoch = u64::try_from(marks.get("epoch").copied().unwrap_or(0)).unwrap_or(0);
        if tenants.is_empty() {
            self.freezes = Arc::new(super::undecided::readable_freezes(self.tx).await?);
            return Ok(());
        }
        self.freezes = match self.caches.freezes(self.epoch) {
            Some(known) => known,
            None => {
                let read = Arc::new(super::freezes::open_freezes(self.tx).await?);
                self.caches.keep_freezes(self.epoch, &read);
                read
            }
        };
        self.bypasses = match self.caches.bypasses(self.epoch) {
            Some(known) => known,
            None => {
                let read = Arc::new(super::bypasses::approved(self.tx, self.at).await?);
                self.caches.keep_bypasses(self.epoch, &read);
                read
            }
        };
        let version = |tenant: &str| marks.get(&super::limits::mark(tenant)).copied().unwrap_or(0);
        let mesh = version(PLATFORM_TENANT);
        for tenant in tenants.iter().chain([&PLATFORM_TENANT]) {
            self.load_set(tenant, (version(tenant), mesh)).await?;
        }
        Ok(())
    }

    async fn load_set(&mut self, tenant: &str, version: SetVersion) -> Result<(), DbError> {
        let set = match self.caches.set(tenant, version) {
            Some(known) => known,
            None => {
                let none = tenant == PLATFORM_TENANT && version == (0, 0);
                let mut set = ControlSet::new(Vec::new());
                if !none {
                    set = ControlSet::new(self.load_limits(tenant).await?);
                    let suspended = super::adjustments::suspended(self.tx, tenant, PLATFORM_TENANT).await?;
                    set.suspended = suspended.into_iter().collect();
                    set.overrides = super::overrides::approved(self.tx, tenant).await?;
                }
                let set = Arc::new(set);
                self.caches.keep_set(tenant, version, &set);
                self.fresh_sets.push(tenant.to_owned());
                set
            }
        };
        self.sets.insert(tenant.to_owned(), set);
        Ok(())
    }

    /// Every limit that counts for a tenant, its guardrails among them: those that it lacks are made.
    async fn load_limits(&mut self, tenant: &str) -> Result<Vec<Limit>, DbError> {
        let known = super::limits::all(self.tx, tenant).await?;
        let missing = self.caches.missing(tenant, &known, self.at);
        if missing.is_empty() {
            return Ok(known);
        }
        self.give_guardrails(tenant, &missing).await?;
        super::limits::all(self.tx, tenant).await
    }

    /// The limits of a tenant.
    #[must_use]
    pub fn set(&self, tenant: &str) -> Arc<ControlSet> {
        self.sets.get(tenant).cloned().unwrap_or_else(|| Arc::new(ControlSet::new(Vec::new())))
    }

    /// Loads the leases of runs, by name and by key, and locks them on PostgreSQL.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn load_runs(&mut self, refs: &[&RunRef], keys: &[Key]) -> Result<(), DbError> {
        let mut wanted: Vec<&RunRef> = refs.to_vec();
        wanted.sort_unstable();
        wanted.dedup();
        let lock = self.lock();
        let mut by_key = keys.to_vec();
        // One statement takes the locks; with keys to look for too, names only lead to more of them.
        let only_keys = !lock.is_empty() && !keys.is_empty();
        for part in wanted.chunks(CHUNK) {
            for row in self.fetch_leases(part, if only_keys { "" } else { lock }).await? {
                if only_keys {
                    by_key.push(row.run_key);
                } else {
                    self.put_run(row);
                }
            }
        }
        by_key.retain(|key| !self.runs.contains_key(key));
        by_key.sort_unstable();
        by_key.dedup();
        self.load_run_keys(&by_key).await
    }

    async fn fetch_leases(&mut self, part: &[&RunRef], lock: &str) -> Result<Vec<LeaseRow>, DbError> {
        let keys = list(part.iter().map(|r| args![&r.tenant_id, &r.run_id, r.attempt]).collect());
        let sql = format!(
            "SELECT {} FROM run_leases WHERE (tenant_id, run_id, attempt) IN \
             (SELECT column1, column2, column3 FROM {}) ORDER BY run_key{lock}",
            LeaseRow::COLUMNS,
            keys.sql
        );
        self.tx.fetch_all(AssertSqlSafe(sql), keys.args).await
    }

    /// Loads the lease of one run by its key.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn load_run_keys(&mut self, keys: &[Key]) -> Result<(), DbError> {
        for part in keys.chunks(CHUNK) {
            let keys = list(part.iter().map(|k| args![*k]).collect());
            let lock = self.lock();
            let sql = format!(
                "SELECT {} FROM run_leases WHERE run_key IN (SELECT column1 FROM {}) ORDER BY run_key{lock}",
                LeaseRow::COLUMNS,
                keys.sql
            );
            let found: Vec<LeaseRow> = self.tx.fetch_all(AssertSqlSafe(sql), keys.args).await?;
            found.into_iter().for_each(|row| self.put_run(row));
        }
        Ok(())
    }

    fn put_run(&mut self, row: LeaseRow) {
        let name =
            RunRef { tenant_id: row.tenant_id.clone(), run_id: row.run_id.clone(), attempt: row.attempt };
        self.run_keys.insert(name, row.run_key);
        self.runs.entry(row.run_key).or_insert(row);
    }

    /// Makes rows for runs that have none.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn intern_runs(&mut self, refs: &[(&RunRef, Vec<u8>)], now: Micros) -> Result<(), DbError> {
        let mut fresh: BTreeMap<&RunRef, &[u8]> = BTreeMap::new();
        for (run, scope) in refs.iter().filter(|(run, _)| !self.run_keys.contains_key(*run)) {
            fresh.entry(*run).or_insert(scope);
        }
        if fresh.is_empty() {
            return Ok(());
        }
        let columns = ["tenant_id", "run_id", "attempt", "state", "fence", "expires_at", "scope", "seen_at"];
        let rows = fresh.iter().map(|(r, scope)| {
            let state = super::rows::lease_state::SEEN;
            args![&r.tenant_id, &r.run_id, r.attempt, state, 0_i64, None::<i64>, *scope, now]
        });
        let rows = rows.collect();
        self.tx.insert_rows("run_leases", &columns, rows, "ON CONFLICT DO NOTHING").await?;
        let names: Vec<&RunRef> = fresh.into_keys().collect();
        self.load_runs(&names, &[]).await
    }

    /// The lease of a run.
    #[must_use]
    pub fn run(&self, name: &RunRef) -> Option<&LeaseRow> {
        self.runs.get(self.run_keys.get(name)?)
    }

    /// The lease of a run by its key.
    #[must_use]
    pub fn run_by_key(&self, key: Key) -> Option<&LeaseRow> {
        self.runs.get(&key)
    }

    /// Changes the lease of a run.
    pub fn change_run(&mut self, key: Key, change: impl FnOnce(&mut LeaseRow)) {
        if let Some(row) = self.runs.get_mut(&key) {
            change(row);
            self.changed_runs.insert(key);
        }
    }

    /// Loads the allocations of runs into the book, and the envelopes behind them.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn load_allocations(&mut self, runs: &[Key]) -> Result<(), DbError> {
        for part in runs.chunks(CHUNK) {
            let keys = list(part.iter().map(|k| args![*k]).collect());
            let lock = self.lock();
            let sql = format!(
                "SELECT {} FROM allocations WHERE run_key IN (SELECT column1 FROM {}) \
                 ORDER BY run_key, envelope_key, period_start{lock}",
                AllocationRow::COLUMNS,
                keys.sql
            );
            let rows: Vec<AllocationRow> = self.tx.fetch_all(AssertSqlSafe(sql), keys.args).await?;
            let envelopes: Vec<Key> = rows.iter().map(|r| r.envelope_key).collect();
            rows.into_iter().for_each(|row| self.book.put_allocation(row.into()));
            self.load_envelopes(&envelopes).await?;
        }
        Ok(())
    }

    /// Loads what an operation of the book missed.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn load(&mut self, missing: Missing) -> Result<(), DbError> {
        match missing {
            Missing::Latest(envelope) => self.load_latest(envelope).await,
            Missing::Period(key) => {
                let found = self.load_period(key).await?;
                if found { Ok(()) } else { Err(super::rows::unreadable("envelope_periods: no such period")) }
            }
            Missing::Allocations(key) => self.load_open(key).await,
        }
    }

    async fn load_latest(&mut self, envelope: Key) -> Result<(), DbError> {
        self.load_envelopes(&[envelope]).await?;
        // One row of each envelope is the lock under which its next period is made.
        if !self.lock().is_empty() && !self.locked.contains(&envelope) {
            let sql = "SELECT envelope_key FROM envelopes WHERE envelope_key = $1 FOR UPDATE";
            let _: Option<(i64,)> = self.tx.fetch_optional(sql, args![envelope]).await?;
        }
        let sql = "SELECT period_start FROM envelope_periods WHERE envelope_key = $1 ORDER BY period_start DESC LIMIT 1";
        let latest: Option<(Micros,)> = self.tx.fetch_optional(sql, args![envelope]).await?;
        if let Some((start,)) = latest {
            self.load_period((envelope, start)).await?;
        }
        self.book.put_latest(envelope, latest.map(|l| l.0));
        Ok(())
    }

    async fn load_period(&mut self, key: PeriodKey) -> Result<bool, DbError> {
        self.load_envelopes(&[key.0]).await?;
        let lock = self.lock();
        let sql = format!(
            "SELECT {} FROM envelope_periods WHERE envelope_key = $1 AND period_start = $2{lock}",
            PeriodRow::COLUMNS
        );
        let row: Option<PeriodRow> = self.tx.fetch_optional(AssertSqlSafe(sql), args![key.0, key.1]).await?;
        let Some(row) = row else { return Ok(false) };
        let sql = "SELECT CAST(COALESCE(SUM(spent), 0) AS BIGINT) FROM allocations \
                   WHERE envelope_key = $1 AND period_start = $2 AND open = 1";
        let (spent,): (i64,) = self.tx.fetch_one(sql, args![key.0, key.1]).await?;
        self.book.put_period(row.into(), spent);
        Ok(true)
    }

    async fn load_open(&mut self, key: PeriodKey) -> Result<(), DbError> {
        let lock = self.lock();
        let sql = format!(
            "SELECT {} FROM allocations WHERE envelope_key = $1 AND period_start = $2 AND open = 1 ORDER BY run_key{lock}",
            AllocationRow::COLUMNS
        );
        let rows: Vec<AllocationRow> = self.tx.fetch_all(AssertSqlSafe(sql), args![key.0, key.1]).await?;
        rows.into_iter().for_each(|row| self.book.put_allocation(row.into()));
        self.book.put_complete(key);
        Ok(())
    }
}
