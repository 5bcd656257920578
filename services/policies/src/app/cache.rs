//! What is kept in memory: compiled rules, snapshots, slices, bindings. All of it can be read again from the store.

use std::{collections::HashMap, num::NonZeroUsize, sync::Arc};

use lru::LruCache;
use parking_lot::Mutex;
use runspine_db::Db;
use runspine_errors::Fault;
use runspine_policies_domain::{
    compile::{CompiledRule, CompiledSnapshot},
    facts::Principal,
    reasons,
    record::Authorized,
    slice::{Bound, SliceCache},
    snapshot::{RuleRef, SnapshotBody, snapshot_digest},
    words::SnapshotState,
};
use runspine_types::{Digest, PLATFORM_TENANT};

use crate::{
    config::Config,
    store::{
        rules,
        runs::{self, RunRow},
        snapshots::{self, SnapshotRow},
    },
};

/// A snapshot in force, with the versions of the layers it was built from.
#[derive(Debug, Clone)]
pub(crate) struct Active {
    pub key: i64,
    pub snapshot_id: String,
    pub compiled: Arc<CompiledSnapshot>,
    pub version: i64,
    pub mesh_version: i64,
    pub recall: i32,
}

/// An attempt and what it is bound to.
#[derive(Debug, Clone)]
pub(crate) struct RunHandle {
    pub run_key: i64,
    pub digest: Digest,
    pub bound: Arc<Bound>,
    pub taints: Arc<Vec<String>>,
    pub taint_version: i64,
    pub recall: i32,
    /// Where the stored facts end, as far as this process knows.
    pub next_seq: u64,
}

/// Why a snapshot can't be used.
#[derive(Debug, Clone)]
pub(crate) enum LoadError {
    /// The tenant has none with this digest.
    Missing,
    /// Its state, its bytes or a rule of it is wrong: the bad rule, if one is, and what is wrong.
    Invalid { bad_rule: String, detail: String, mismatch: bool },
    /// The store can't be read.
    Store(Fault),
}

impl LoadError {
    /// As a refusal of the call.
    pub(crate) fn into_fault(self) -> Fault {
        match self {
            Self::Missing => Fault::new(&reasons::SNAPSHOT_NOT_FOUND, "there is no such snapshot"),
            Self::Invalid { detail, .. } => {
                let text = format!("the snapshot can't be trusted: {detail}");
                Fault::new(&reasons::SNAPSHOT_INVALID, text)
            }
            Self::Store(fault) => fault,
        }
    }
}

type RunKey = (String, String, u32);

/// The caches.
pub(crate) struct Cache {
    pub slices: SliceCache,
    rules: Mutex<LruCache<Digest, Arc<CompiledRule>>>,
    snapshots: Mutex<LruCache<Digest, Arc<CompiledSnapshot>>>,
    active: Mutex<HashMap<String, Active>>,
    runs: Mutex<LruCache<RunKey, RunHandle>>,
    /// What was authorized for recent steps, by run key and step: their facts come soon after.
    authorized: Mutex<LruCache<(i64, u32), Arc<Authorized>>>,
}

pub(crate) fn size(n: usize) -> NonZeroUsize {
    NonZeroUsize::new(n).unwrap_or(NonZeroUsize::MIN)
}

impl Cache {
    pub(crate) fn new(config: &Config) -> Self {
        Self {
            slices: SliceCache::new(size(config.slices)),
            rules: Mutex::new(LruCache::new(size(config.rules))),
            snapshots: Mutex::new(LruCache::new(size(config.snapshots))),
            active: Mutex::new(HashMap::new()),
            runs: Mutex::new(LruCache::new(size(config.runs))),
            authorized: Mutex::new(LruCache::new(size(config.steps))),
        }
    }

    pub(crate) fn active(&self, tenant: &str) -> Option<Active> {
        self.active.lock().get(tenant).cloned()
    }

    pub(crate) fn set_active(&self, tenant: &str, active: Active) {
        self.active.lock().insert(tenant.to_owned(), active);
    }

    /// What is in force for a tenant changed; for the platform's tenant, for everybody.
    pub(crate) fn forget_active(&self, tenant: &str) {
        let mut active = self.active.lock();
        if tenant == PLATFORM_TENANT { active.clear() } else { drop(active.remove(tenant)) }
    }

    /// A snapshot was found to be wrong.
    pub(crate) fn forget_snapshot(&self, digest: Digest) {
        self.snapshots.lock().pop(&digest);
    }

    pub(crate) fn run(&self, tenant: &str, run_id: &str, attempt: u32) -> Option<RunHandle> {
        let key = (tenant.to_owned(), run_id.to_owned(), attempt);
        self.runs.lock().get(&key).cloned()
    }

    pub(crate) fn keep_run(&self, tenant: &str, run_id: &str, attempt: u32, handle: RunHandle) {
        self.runs.lock().put((tenant.to_owned(), run_id.to_owned(), attempt), handle);
    }

    pub(crate) fn forget_run(&self, tenant: &str, run_id: &str, attempt: u32) {
        self.runs.lock().pop(&(tenant.to_owned(), run_id.to_owned(), attempt));
    }

    /// Changes what is kept of an attempt.
    pub(crate) fn update_run(&self, key: (&str, &str, u32), change: impl FnOnce(&mut RunHandle)) {
        let key = (key.0.to_owned(), key.1.to_owned(), key.2);
        if let Some(handle) = self.runs.lock().get_mut(&key) {
            change(handle);
        }
    }

    /// What was authorized for a step, if it is still kept.
    pub(crate) fn authorized(&self, run_key: i64, step: u32) -> Option<Arc<Authorized>> {
        self.authorized.lock().get(&(run_key, step)).map(Arc::clone)
    }

    /// A step was decided.
    pub(crate) fn keep_authorized(&self, run_key: i64, step: u32, authorized: Authorized) {
        self.authorized.lock().put((run_key, step), Arc::new(authorized));
    }

    /// The binding of an attempt, from memory or from the store; `None`: it is not bound.
    pub(crate) async fn bound_run(
        &self,
        db: &Db,
        tenant: &str,
        run_id: &str,
        attempt: u32,
    ) -> Result<Option<RunHandle>, Fault> {
        if let Some(handle) = self.run(tenant, run_id, attempt) {
            return Ok(Some(handle));
        }
        let Some(row) = runs::read(db.read(), tenant, run_id, attempt).await? else { return Ok(None) };
        let handle = handle_of(&row)?;
        self.keep_run(tenant, run_id, attempt, handle.clone());
        Ok(Some(handle))
    }

    /// A compiled snapshot; bytes that do not fit their digest are never used.
    pub(crate) async fn snapshot(
        &self,
        db: &Db,
        tenant: &str,
        digest: Digest,
    ) -> Result<Arc<CompiledSnapshot>, LoadError> {
        if let Some(compiled) = self.snapshots.lock().get(&digest) {
            return Ok(Arc::clone(compiled));
        }
        let row = snapshots::read_by_digest(db.read(), tenant, digest)
            .await
            .map_err(|e| LoadError::Store(e.into()))?;
        let row = row.ok_or(LoadError::Missing)?;
        if row.state == SnapshotState::Invalid.code() {
            return Err(invalid("it was found to be wrong", "", false));
        }
        let compiled = Arc::new(self.compile(db, tenant, &row).await?);
        self.snapshots.lock().put(digest, Arc::clone(&compiled));
        Ok(compiled)
    }

    /// Compiles what is stored, from its bytes.
    pub(crate) async fn compile(
        &self,
        db: &Db,
        tenant: &str,
        row: &SnapshotRow,
    ) -> Result<CompiledSnapshot, LoadError> {
        if snapshot_digest(&row.bytes) != row.digest {
            return Err(invalid("its bytes do not fit its digest", "", true));
        }
        let body = SnapshotBody::from_bytes(&row.bytes)
            .ok_or_else(|| invalid("its bytes can't be read", "", true))?;
        if body.tenant_id != tenant {
            return Err(LoadError::Missing);
        }
        let mut rules = self.compiled_rules(db, PLATFORM_TENANT, &body.mesh).await?;
        rules.extend(self.compiled_rules(db, tenant, &body.tenant).await?);
        CompiledSnapshot::new(row.digest, body.settings, rules).map_err(|e| invalid(&e, "", false))
    }

    async fn compiled_rules(
        &self,
        db: &Db,
        tenant: &str,
        wanted: &[RuleRef],
    ) -> Result<Vec<Arc<CompiledRule>>, LoadError> {
        let missing: Vec<Digest> = {
            let mut kept = self.rules.lock();
            wanted.iter().map(|r| r.digest).filter(|d| kept.get(d).is_none()).collect()
        };
        let mut fresh = HashMap::new();
        if !missing.is_empty() {
            let found = rules::meanings(db.read(), tenant, &missing).await;
            for (digest, meaning) in found.map_err(|e| LoadError::Store(e.into()))? {
                let id = wanted.iter().find(|r| r.digest == digest).map_or("", |r| r.rule_id.as_str());
                if runspine_policies_domain::rule::rule_digest(&meaning) != digest {
                    return Err(invalid("the bytes of a rule do not fit its digest", id, true));
                }
                let rule = CompiledRule::from_bytes(&meaning).map_err(|e| invalid(&e, id, false))?;
                fresh.insert(digest, Arc::new(rule));
            }
        }
        let mut kept = self.rules.lock();
        let mut out = Vec::with_capacity(wanted.len());
        for rule in wanted {
            let compiled = fresh.get(&rule.digest).or_else(|| kept.get(&rule.digest)).map(Arc::clone);
            out.push(compiled.ok_or_else(|| invalid("a rule of it is not stored", &rule.rule_id, true))?);
        }
        for (digest, rule) in fresh {
            kept.put(digest, rule);
        }
        Ok(out)
    }
}

fn invalid(detail: &str, bad_rule: &str, mismatch: bool) -> LoadError {
    LoadError::Invalid { bad_rule: bad_rule.to_owned(), detail: detail.to_owned(), mismatch }
}

/// The handle of a stored binding.
pub(crate) fn handle_of(row: &RunRow) -> Result<RunHandle, Fault> {
    let principal: Principal = serde_json::from_slice(&row.principal).map_err(super::unreadable)?;
    let taints: Vec<String> = serde_json::from_str(&row.taints).map_err(super::unreadable)?;
    Ok(RunHandle {
        run_key: row.id,
        digest: row.digest,
        bound: Arc::new(Bound::new(principal)),
        taints: Arc::new(taints),
        taint_version: row.taint_version,
        recall: row.recall,
        next_seq: 0,
    })
}
