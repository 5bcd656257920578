//! What is kept in memory beside the store, each under the number that tells whether it still holds.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use parking_lot::Mutex;
use prost::Message as _;
use runspine_controls_domain::{
    bypass::Bypass,
    freeze::Freeze,
    guardrail::Defaults,
    limit::{Key, Limit, control_set_digest, control_set_line},
    overrides::Override,
    words::{Category, LimitState, Unit},
};
use runspine_types::{Micros, PLATFORM_TENANT, hash};

use super::{histories::Histories, rows::EnvelopeRow};
use crate::words::spec_to;

/// Beyond this many envelopes the memory of them is begun anew.
const MOST_ENVELOPES: usize = 50_000;

/// The numbers of the changes of a tenant's limits and of the mesh's.
pub type SetVersion = (i64, i64);

/// Every limit that counts for a tenant.
#[derive(Debug)]
pub struct ControlSet {
    /// All, by key.
    pub all: HashMap<Key, Arc<Limit>>,
    /// Those in force, by id.
    pub active: Vec<Arc<Limit>>,
    /// The lines of those in force: id, version, digest of the spec.
    pub content: String,
    /// Digest of the content.
    pub digest: [u8; 32],
    /// Envelopes that give nothing by order.
    pub suspended: HashSet<Key>,
    /// Approved overrides; each says itself when it holds.
    pub overrides: Vec<Override>,
}

impl ControlSet {
    /// From all limits of a tenant, and those of the whole mesh.
    #[must_use]
    pub fn new(limits: Vec<Limit>) -> Self {
        let all: Vec<Arc<Limit>> = limits.into_iter().map(Arc::new).collect();
        let mut active: Vec<_> = all.iter().filter(|l| l.state == LimitState::Active).cloned().collect();
        active.sort_by(|a, b| a.id.cmp(&b.id));
        let content: String = active
            .iter()
            .map(|l| control_set_line(&l.id, l.version, &hash(&spec_to(&l.spec).encode_to_vec())))
            .collect();
        let digest = control_set_digest(&content);
        Self {
            all: all.into_iter().map(|l| (l.key, l)).collect(),
            active,
            content,
            digest,
            suspended: HashSet::new(),
            overrides: Vec::new(),
        }
    }

    /// Whether a limit of this category and one of these units exists, in force or not.
    #[must_use]
    pub fn has(&self, category: Category, units: &[Unit]) -> bool {
        self.all.values().any(|l| l.spec.category == category && units.contains(&l.spec.unit))
    }
}

/// The memory. Everything in it can be read again.
#[derive(Debug, Default)]
pub struct Caches {
    inner: Mutex<Inner>,
    /// What tenants are given that have no guardrails yet. None: nothing.
    guardrails: Option<Defaults>,
    /// What steps used.
    pub histories: Arc<Histories>,
}

#[derive(Debug, Default)]
struct Inner {
    sets: HashMap<String, (SetVersion, Arc<ControlSet>)>,
    /// By limit and scope id.
    by_name: HashMap<Key, HashMap<String, Arc<EnvelopeRow>>>,
    by_key: HashMap<Key, Arc<EnvelopeRow>>,
    freezes: Option<(u64, Arc<Vec<Freeze>>)>,
    bypasses: Option<(u64, Arc<Vec<Bypass>>)>,
}

impl Caches {
    /// An empty memory, for admissions: a tenant that is seen the first time is given its guardrails.
    #[must_use]
    pub fn guarding(guardrails: Option<Defaults>) -> Self {
        Self { guardrails, ..Self::default() }
    }

    /// With a memory of steps that others look into too.
    #[must_use]
    pub fn learning(self, histories: Arc<Histories>) -> Self {
        Self { histories, ..self }
    }

    /// The guardrails that a tenant with these limits lacks.
    #[must_use]
    pub fn missing(&self, tenant: &str, known: &[Limit], now: Micros) -> Vec<Limit> {
        let defaults = self.guardrails.filter(|_| tenant != PLATFORM_TENANT);
        defaults.map(|defaults| defaults.missing(tenant, known, now)).unwrap_or_default()
    }

    /// Forgets everything: something that was read was undone.
    pub fn clear(&self) {
        *self.inner.lock() = Inner::default();
    }

    /// The limits of a tenant, when they are those of `version`.
    #[must_use]
    pub fn set(&self, tenant: &str, version: SetVersion) -> Option<Arc<ControlSet>> {
        self.inner.lock().sets.get(tenant).filter(|(known, _)| *known == version).map(|(_, set)| set.clone())
    }

    /// Keeps the limits of a tenant.
    pub fn keep_set(&self, tenant: &str, version: SetVersion, set: &Arc<ControlSet>) {
        self.inner.lock().sets.insert(tenant.to_owned(), (version, set.clone()));
    }

    /// The open freezes, when they are those of `epoch`.
    #[must_use]
    pub fn freezes(&self, epoch: u64) -> Option<Arc<Vec<Freeze>>> {
        self.inner.lock().freezes.as_ref().filter(|(known, _)| *known == epoch).map(|(_, all)| all.clone())
    }

    /// Keeps the open freezes.
    pub fn keep_freezes(&self, epoch: u64, freezes: &Arc<Vec<Freeze>>) {
        self.inner.lock().freezes = Some((epoch, freezes.clone()));
    }

    /// The approved bypasses, when they are those of `epoch`.
    #[must_use]
    pub fn bypasses(&self, epoch: u64) -> Option<Arc<Vec<Bypass>>> {
        self.inner.lock().bypasses.as_ref().filter(|(known, _)| *known == epoch).map(|(_, all)| all.clone())
    }

    /// Keeps the approved bypasses.
    pub fn keep_bypasses(&self, epoch: u64, bypasses: &Arc<Vec<Bypass>>) {
        self.inner.lock().bypasses = Some((epoch, bypasses.clone()));
    }

    /// An envelope by limit and scope id.
    #[must_use]
    pub fn named(&self, limit: Key, scope_id: &str) -> Option<Arc<EnvelopeRow>> {
        self.inner.lock().by_name.get(&limit)?.get(scope_id).cloned()
    }

    /// An envelope by key.
    #[must_use]
    pub fn keyed(&self, key: Key) -> Option<Arc<EnvelopeRow>> {
        self.inner.lock().by_key.get(&key).cloned()
    }

    /// Keeps an envelope; what is kept of one never changes.
    pub fn keep_envelope(&self, row: EnvelopeRow) -> Arc<EnvelopeRow> {
        let mut inner = self.inner.lock();
        if inner.by_key.len() >= MOST_ENVELOPES {
            inner.by_key.clear();
            inner.by_name.clear();
        }
        let row = Arc::new(row);
        inner.by_name.entry(row.limit_key).or_default().insert(row.scope_id.clone(), row.clone());
        inner.by_key.insert(row.envelope_key, row.clone());
        row
    }
}
