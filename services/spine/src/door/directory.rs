//! Who a credential is. Without the accounts service this is one static file behind the same rules.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, SystemTime},
};

use contracts_common::common::v1::{Actor, ActorType};
use http::{HeaderMap, header::AUTHORIZATION};
use parking_lot::RwLock;
use runspine_boot::{BootError, CancellationToken};
use runspine_errors::Fault;
use runspine_types::{Clock, Digest, Micros};

use super::{
    key,
    key_file::{self, DevelopmentKey},
    reasons,
};

pub(super) const KEY_FILE: &str = "api-keys.toml";
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Who calls.
#[derive(Debug)]
pub struct Identity {
    /// Handle of the credential.
    pub handle: String,
    /// The tenant it belongs to.
    pub tenant: String,
    /// What kind of actor.
    pub kind: ActorType,
    /// The actor's id.
    pub actor: String,
    /// Its roles.
    pub roles: Vec<String>,
    /// Patterns that narrow the roles. Empty: not narrowed.
    pub scopes: Vec<String>,
    /// The project it is bound to. Empty: any.
    pub project: String,
    /// The agent it is bound to. Empty: any.
    pub agent: String,
    /// The person who owns it. Empty: none.
    pub owner: String,
    /// When it ends.
    pub expires_at: Option<Micros>,
    pub(super) revoked: AtomicBool,
    hash: Digest,
}

impl Identity {
    pub(super) fn new(
        handle: String,
        hash: Digest,
        tenant: String,
        kind: ActorType,
        actor: String,
        roles: Vec<String>,
    ) -> Self {
        let (scopes, project, agent, owner) = (Vec::new(), String::new(), String::new(), String::new());
        let revoked = AtomicBool::new(false);
        Self {
            handle,
            tenant,
            kind,
            actor,
            roles,
            scopes,
            project,
            agent,
            owner,
            expires_at: None,
            revoked,
            hash,
        }
    }

    fn same_as(&self, other: &Self) -> bool {
        let terms = |i: &Self| {
            let bound = [&i.tenant, &i.actor, &i.project, &i.agent, &i.owner].map(String::clone);
            let lists = (i.roles.clone(), i.scopes.clone());
            (i.hash, i.kind, bound, lists, i.expires_at, i.revoked.load(Ordering::Acquire))
        };
        terms(self) == terms(other)
    }

    /// The actor as it travels.
    #[must_use]
    pub fn as_actor(&self) -> Actor {
        Actor { r#type: self.kind as i32, id: self.actor.clone() }
    }

    /// Whether it may still call: asked again for each frame of a stream.
    ///
    /// # Errors
    /// `KEY_REVOKED` or `KEY_EXPIRED`.
    pub fn still_good(&self, now: Micros) -> Result<(), Fault> {
        if self.revoked.load(Ordering::Acquire) {
            return Err(Fault::new(&reasons::KEY_REVOKED, "the key was revoked"));
        }
        if self.expires_at.is_some_and(|end| end <= now) {
            return Err(Fault::new(&reasons::KEY_EXPIRED, "the key has expired"));
        }
        Ok(())
    }
}

/// The key file in memory, reread when it changes.
pub struct Directory {
    path: PathBuf,
    clock: Arc<dyn Clock>,
    known: RwLock<HashMap<String, Arc<Identity>>>,
    /// What the file looked like just before it was read at the start.
    opened_as: Stamp,
}

/// When a file was written, and how long it is. `None`: it can't be seen.
type Stamp = Option<(SystemTime, u64)>;

impl Directory {
    /// Reads the key file in `data`, or makes one with a development key.
    ///
    /// # Errors
    /// When it can't be read, understood or made.
    pub async fn open(
        data: &Path,
        clock: Arc<dyn Clock>,
    ) -> Result<(Self, Option<DevelopmentKey>), BootError> {
        let path = data.join(KEY_FILE);
        let seen = stamp(&path).await;
        let (text, made) = key_file::open(&path).await?;
        let known = key_file::read(&text)
            .map_err(|what| BootError::config(path.display().to_string(), "CONFIG_UNREADABLE", what))?;
        Ok((Self { path, clock, known: RwLock::new(known), opened_as: seen }, made))
    }

    /// Who presents `Authorization: Bearer rsk_…`.
    ///
    /// # Errors
    /// `KEY_INVALID`, `KEY_REVOKED` or `KEY_EXPIRED`.
    pub fn resolve(&self, headers: &HeaderMap) -> Result<Arc<Identity>, Fault> {
        let invalid = |what: &str| Fault::new(&reasons::KEY_INVALID, what);
        let header = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
        let header = header.ok_or_else(|| invalid("the call carries no API key"))?;
        let text = header.strip_prefix("Bearer ").or_else(|| header.strip_prefix("bearer "));
        let presented =
            text.map(str::trim).and_then(key::parse).ok_or_else(|| invalid("the API key is malformed"))?;
        let hash = presented.hash();
        let found = self.known.read().get(presented.handle).cloned();
        let found = found.filter(|identity| same(&identity.hash, &hash));
        let identity = found.ok_or_else(|| invalid("the API key is not known"))?;
        identity.still_good(self.clock.now())?;
        Ok(identity)
    }

    /// Rereads the file whenever it changes, until stopped. A file that can't be understood leaves the last good one in
    /// force: half an edit must not lock everybody out, nor let anybody in.
    pub async fn watch(&self, stop: CancellationToken) {
        let mut seen = self.opened_as;
        while stop.run_until_cancelled(tokio::time::sleep(LOOK_EVERY)).await.is_some() {
            let now = stamp(&self.path).await;
            if now == seen {
                continue;
            }
            seen = now;
            match self.reread().await {
                Ok(keys) => tracing::info!(keys, "the key file was reread"),
                Err(error) => {
                    tracing::error!(error, "the key file changed and can't be used; the last one stays")
                }
            }
        }
    }

    /// Puts what the file says now in force.
    pub(super) async fn reread(&self) -> Result<usize, String> {
        let text = tokio::fs::read_to_string(&self.path).await.map_err(|e| e.to_string())?;
        let mut fresh = key_file::read(&text)?;
        let keys = fresh.len();
        let mut known = self.known.write();
        for (handle, old) in known.drain() {
            match fresh.get_mut(&handle) {
                // The same object, because open streams hold it and ask it.
                Some(new) if new.same_as(&old) => *new = old,
                // Gone, revoked or changed: streams under the old terms end, and can be opened again under the new.
                _ => old.revoked.store(true, Ordering::Release),
            }
        }
        *known = fresh;
        Ok(keys)
    }
}

async fn stamp(path: &Path) -> Stamp {
    let found = tokio::fs::metadata(path).await.ok()?;
    Some((found.modified().ok()?, found.len()))
}

/// In constant time, so that a guess learns nothing from how long it took.
fn same(a: &Digest, b: &Digest) -> bool {
    let pairs = a.as_bytes().iter().zip(b.as_bytes());
    std::hint::black_box(pairs.fold(0, |differ, (x, y)| differ | (x ^ y))) == 0
}
