//! Signs checkpoints over the ledgers, and over the checkpoints of all tenants.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use contracts_logs::v1::{self as pb, KeyPurpose};
use parking_lot::Mutex;
use runspine_db::Db;
use runspine_errors::Fault;
use runspine_logs_domain::{
    checkpoint::{Cadence, Uncovered},
    merkle::{TILE, Tree},
    note::{Checkpoint, NoteKey},
    reasons,
};
use runspine_types::{Clock, Digest, Micros, PLATFORM_TENANT, hash};

use super::told::{Caused, Told, emit};
use crate::{
    config::CheckpointConfig,
    keyring::Keyring,
    publish::Published,
    store::checkpoint::{self as store, CheckpointRow, Log},
};

/// How long stored subtree roots are trusted before they are recomputed from their leaves.
const RECOUNT: Duration = Duration::from_secs(24 * 60 * 60);

/// What makes checkpoints.
pub struct Notary {
    pub(super) db: Db,
    pub(super) clock: Arc<dyn Clock>,
    keyring: Arc<Keyring>,
    origin: String,
    cadence: Cadence,
    pub(super) published: Option<Published>,
    pub(super) witnesses: Vec<NoteKey>,
    inconsistent: AtomicBool,
    recounted: Mutex<HashMap<Log, Micros>>,
}

/// A tree with the roots of tiles that were not stored yet.
struct Grown {
    tree: Tree,
    tiles: Vec<(u64, Digest)>,
}

impl Notary {
    /// Over an open store; the settings were checked.
    pub fn new(db: Db, clock: Arc<dyn Clock>, keyring: Arc<Keyring>, config: &CheckpointConfig) -> Self {
        Self {
            db,
            clock,
            keyring,
            origin: config.origin.clone(),
            cadence: Cadence {
                entries: config.every_entries,
                age: Duration::from_secs(u64::from(config.every_seconds)),
            },
            published: config.publish_dir.clone().map(Published::new),
            witnesses: config.witness_keys.iter().filter_map(|text| NoteKey::parse(text)).collect(),
            inconsistent: AtomicBool::new(false),
            recounted: Mutex::default(),
        }
    }

    /// The reading side of the store.
    pub fn read(&self) -> &runspine_db::Read {
        self.db.read()
    }

    /// The first line of the notes of a log.
    pub fn origin(&self, log: &Log) -> String {
        format!("{}/{}", self.origin, log.name())
    }

    /// Refuses when a ledger no longer continues what was signed.
    ///
    /// # Errors
    /// CHECKPOINT_INCONSISTENT.
    pub fn consistent(&self) -> Result<(), Fault> {
        if self.inconsistent.load(Ordering::Acquire) {
            return Err(Fault::new(
                &reasons::CHECKPOINT_INCONSISTENT,
                "a log no longer continues what was signed; nothing is signed until somebody looked at it",
            ));
        }
        Ok(())
    }

    /// Makes every checkpoint that is due, then one over all of them; says how many were made.
    ///
    /// # Errors
    /// When the store or the key fails, or a log is inconsistent; other logs got theirs.
    pub async fn sweep(&self) -> Result<usize, Fault> {
        let (mut made, mut failed) = (0, None);
        for row in store::uncovered(self.db.read()).await? {
            let uncovered =
                Uncovered { entries: row.head - row.covered, since: row.since.unwrap_or(Micros(0)) };
            if !self.cadence.due(uncovered, self.clock.now()) {
                continue;
            }
            match self.sign(&Log::Ledger(row.tenant_id)).await {
                Ok(_) => made += 1,
                Err(fault) => failed = Some(fault),
            }
        }
        let entered = self
            .db
            .write("enter_mesh", |tx| {
                Box::pin(async move { Ok(store::enter_mesh(tx, |note| hash(note.as_bytes())).await?) })
            })
            .await?;
        if entered > 0 {
            self.sign(&Log::Mesh).await?;
        }
        failed.map_or(Ok(made), Err)
    }

    /// The checkpoint over everything that is committed of `log`; made unless it exists.
    ///
    /// # Errors
    /// CHECKPOINT_NOT_FOUND for an empty log, CHECKPOINT_INCONSISTENT, KEY_UNAVAILABLE, or when the store fails.
    pub async fn sign(&self, log: &Log) -> Result<CheckpointRow, Fault> {
        let size = store::head(self.db.read(), log).await?;
        let last = store::newest(self.db.read(), log, u64::MAX).await?;
        if let Some(last) = last.as_ref().filter(|last| last.tree_size == size) {
            return Ok(last.clone());
        }
        if size == 0 && last.is_none() {
            return Err(Fault::new(&reasons::CHECKPOINT_NOT_FOUND, "the log is empty"));
        }
        let grown = self.grow(log, size, last.as_ref()).await?;
        let Some(root) = grown.tree.root(size) else {
            return Err(self.contradicted(log, last.as_ref(), None).await);
        };
        let signer = self.keyring.signer(KeyPurpose::Checkpoint)?;
        let row = CheckpointRow {
            tree_size: size,
            root,
            note: signer.note(&Checkpoint { origin: self.origin(log), size, root }),
            key_id: signer.key_id.clone(),
            created_at: self.clock.now(),
        };
        self.store(log, &row, grown.tiles).await?;
        // Another replica may have been first; its note is the same but for the time of its row.
        let stored = store::of_size(self.db.read(), log, size).await?.unwrap_or(row);
        self.publish(log, &stored).await;
        Ok(stored)
    }

    async fn store(&self, log: &Log, row: &CheckpointRow, tiles: Vec<(u64, Digest)>) -> Result<(), Fault> {
        let (log, row) = (log.clone(), row.clone());
        self.db
            .write("sign_checkpoint", move |tx| {
                Box::pin(async move {
                    store::insert_tiles(tx, &log, &tiles).await?;
                    if store::insert(tx, &log, &row).await? {
                        let data = pb::CheckpointSigned {
                            tree_size: row.tree_size,
                            root: Bytes::copy_from_slice(row.root.as_bytes()),
                            note: row.note.clone(),
                        };
                        emit(tx, told(&log, "CheckpointSigned", &data), &Caused::default(), row.created_at);
                    }
                    Ok(())
                })
            })
            .await
    }

    /// The tree of the first `size` leaves, which must continue `last`. Subtrees that are complete since are computed
    /// from their leaves; once a day all of them are.
    async fn grow(&self, log: &Log, size: u64, last: Option<&CheckpointRow>) -> Result<Grown, Fault> {
        let now = self.clock.now();
        let recount = self.recounted.lock().get(log).is_none_or(|at| *at + RECOUNT <= now);
        let sizes = [size, last.map_or(0, |last| last.tree_size)];
        let Some(grown) = self.load(log, size, &sizes, &[], recount).await? else {
            return Err(self.contradicted(log, last, None).await);
        };
        if let Some(last) = last {
            let found = grown.tree.root(last.tree_size);
            if found != Some(last.root) || size < last.tree_size {
                return Err(self.contradicted(log, Some(last), found).await);
            }
        }
        if recount {
            self.recounted.lock().insert(log.clone(), now);
        }
        Ok(grown)
    }

    /// What is needed for questions about `sizes` and `places`; `None` when stored subtree roots are not those of the
    /// stored leaves, or leaves are missing.
    async fn load(
        &self,
        log: &Log,
        size: u64,
        sizes: &[u64],
        places: &[u64],
        recount: bool,
    ) -> Result<Option<Grown>, Fault> {
        let read = self.db.read();
        let (mut tree, mut tiles) = (Tree::default(), Vec::new());
        let stored: HashMap<u64, Digest> = store::tiles(read, log).await?.into_iter().collect();
        for tile in 0..size / TILE {
            match stored.get(&tile) {
                Some(root) if !recount => tree.tile(tile, *root),
                known => {
                    let leaves = store::leaves(read, log, tile, size).await?;
                    let Some(root) = tree.leaves(tile, &leaves) else { return Ok(None) };
                    if known.is_some_and(|known| *known != root) {
                        return Ok(None);
                    }
                    if known.is_none() {
                        tiles.push((tile, root));
                    }
                    tree.forget(tile);
                }
            }
        }
        for tile in Tree::cut(sizes, places) {
            let leaves = store::leaves(read, log, tile, size).await?;
            let root = tree.leaves(tile, &leaves);
            let known = stored.get(&tile);
            if known.is_some_and(|known| root.is_some_and(|root| root != *known)) {
                return Ok(None);
            }
        }
        Ok(Some(Grown { tree, tiles }))
    }

    /// The tree for questions about `sizes` and `places`.
    ///
    /// # Errors
    /// CHECKPOINT_INCONSISTENT, or when the store can't be read.
    pub async fn tree(&self, log: &Log, sizes: &[u64], places: &[u64]) -> Result<Tree, Fault> {
        let size = sizes.iter().copied().max().unwrap_or(0);
        let grown = self.load(log, size, sizes, places, false).await?;
        grown.map(|grown| grown.tree).ok_or_else(|| {
            Fault::new(&reasons::CHECKPOINT_INCONSISTENT, "leaves of the log differ from what was signed")
        })
    }

    /// Stops signing and says so, loudly and for good.
    async fn contradicted(&self, log: &Log, last: Option<&CheckpointRow>, found: Option<Digest>) -> Fault {
        let first = !self.inconsistent.swap(true, Ordering::AcqRel);
        let size = last.map_or(0, |last| last.tree_size);
        tracing::error!(log = log.name(), size, "CRITICAL: the log no longer continues its last checkpoint");
        if first {
            let data = pb::CheckpointInconsistent {
                tree_size: size,
                signed_root: last.map(|last| last.root.to_vec().into()).unwrap_or_default(),
                found_root: found.map(|root| root.to_vec().into()).unwrap_or_default(),
            };
            let (log, now) = (log.clone(), self.clock.now());
            let written = self.db.write("checkpoint_inconsistent", move |tx| {
                Box::pin(async move {
                    emit(tx, told(&log, "CheckpointInconsistent", &data), &Caused::default(), now);
                    Ok(())
                })
            });
            if let Err(fault) = written.await {
                tracing::error!(%fault, "the inconsistency could not be told");
            }
        }
        self.consistent().err().unwrap_or_else(|| {
            Fault::new(&reasons::CHECKPOINT_INCONSISTENT, "the log no longer continues what was signed")
        })
    }

    /// Puts a note where the world can read it. What fails is tried again with the next note; the store has it.
    pub(super) async fn publish(&self, log: &Log, row: &CheckpointRow) {
        let Some(published) = self.published.clone() else { return };
        let note = match self.cosigned(log, row).await {
            Ok((note, _)) => note,
            Err(fault) => {
                tracing::warn!(%fault, "a checkpoint could not be published");
                return;
            }
        };
        let (name, size) = (log.name().to_owned(), row.tree_size);
        let written = tokio::task::spawn_blocking(move || published.write(&name, size, &note)).await;
        if let Ok(Err(error)) = written {
            tracing::warn!(%error, "a checkpoint could not be published");
        }
    }

    /// The note of a checkpoint with all lines under it, and the names of the witnesses.
    ///
    /// # Errors
    /// When the store can't be read.
    pub async fn cosigned(&self, log: &Log, row: &CheckpointRow) -> Result<(String, Vec<String>), Fault> {
        let lines = store::cosignatures(self.db.read(), log, row.tree_size).await?;
        let note = lines.iter().fold(row.note.clone(), |note, (_, line)| note + line + "\n");
        Ok((note, lines.into_iter().map(|(witness, _)| witness).collect()))
    }

    /// Whether what was published is more, or other, than what the store has: then the store was rolled back.
    ///
    /// # Errors
    /// LEDGER_ROLLED_BACK, or when notes or store can't be read.
    pub async fn rolled_back(&self) -> Result<(), Fault> {
        let Some(published) = &self.published else { return Ok(()) };
        for (name, checkpoint) in published.newest()? {
            let log = if name == Log::Mesh.name() { Log::Mesh } else { Log::Ledger(name.clone()) };
            if checkpoint.origin != self.origin(&log) || published.acknowledged(&name, checkpoint.size) {
                continue;
            }
            let head = store::head(self.db.read(), &log).await?;
            let grown = if head < checkpoint.size {
                None
            } else {
                self.load(&log, checkpoint.size, &[checkpoint.size], &[], false).await?
            };
            let root = grown.and_then(|grown| grown.tree.root(checkpoint.size));
            if root != Some(checkpoint.root) {
                let message = format!(
                    "a checkpoint of {} entries was published for {name}, and the store has {head} or others: it was \
                     rolled back; nothing is written until an operator acknowledges that",
                    checkpoint.size
                );
                tracing::error!(
                    log = name,
                    size = checkpoint.size,
                    head,
                    "CRITICAL: the ledger was rolled back"
                );
                return Err(Fault::new(&reasons::LEDGER_ROLLED_BACK, message)
                    .with("log", name)
                    .with("published_size", checkpoint.size)
                    .with("head", head));
            }
        }
        Ok(())
    }
}

fn told<'a, M>(log: &'a Log, name: &'static str, data: &'a M) -> Told<'a, M> {
    Told {
        name,
        data,
        tenant_id: match log {
            Log::Ledger(tenant) => tenant,
            Log::Mesh => PLATFORM_TENANT,
        },
        run_id: "",
        attempt: 0,
        step_index: None,
        entity: ("checkpoint", log.name().to_owned()),
        reason: "",
    }
}
