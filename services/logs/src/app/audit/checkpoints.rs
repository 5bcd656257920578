//! Questions about checkpoints, and what witnesses add to them.

use bytes::Bytes;
use contracts_common::common::v1::{ActorType, CallContext};
use contracts_logs::v1::{self as pb, LedgerScope};
use runspine_errors::{Fault, mesh};
use runspine_logs_domain::{
    note::{Note, NoteKey, NoteSignature},
    reasons,
};
use runspine_types::{Digest, new_id};

use super::{
    notary::Notary,
    told::{Caused, Told, emit},
};
use crate::store::{
    checkpoint::{self as store, CheckpointRow, Log},
    ledger,
};

/// Cosignatures that one checkpoint can have.
const MOST_WITNESSES: usize = 16;

/// A proof that a leaf is in a tree.
pub struct Inclusion {
    /// Index of the leaf, from 0.
    pub place: u64,
    /// Size of the tree.
    pub size: u64,
    /// Data of the leaf.
    pub leaf: Digest,
    /// From the leaf to the root.
    pub path: Vec<Digest>,
    /// The root.
    pub root: Digest,
}

/// A proof that one tree continues another.
pub struct Consistency {
    /// The proof.
    pub hashes: Vec<Digest>,
    /// Root of the smaller tree.
    pub from_root: Digest,
    /// Root of the larger tree.
    pub to_root: Digest,
    /// Size of the larger tree.
    pub to: u64,
}

impl Notary {
    /// The checkpoint of `size` leaves; 0 for the newest.
    ///
    /// # Errors
    /// CHECKPOINT_NOT_FOUND, or when the store can't be read.
    pub async fn get(&self, log: &Log, size: u64) -> Result<CheckpointRow, Fault> {
        let found = match size {
            0 => store::newest(self.db.read(), log, u64::MAX).await?,
            size => store::of_size(self.db.read(), log, size).await?,
        };
        found.ok_or_else(|| Fault::new(&reasons::CHECKPOINT_NOT_FOUND, "there is no such checkpoint"))
    }

    /// Proves that the leaf at `place` is in the tree of `size` leaves.
    ///
    /// # Errors
    /// ENTRY_NOT_FOUND when it is not, CHECKPOINT_INCONSISTENT, or when the store can't be read.
    pub async fn inclusion(&self, log: &Log, place: u64, size: u64) -> Result<Inclusion, Fault> {
        let missing = || {
            let message = format!("leaf {} is not among the first {size}", place + 1);
            Fault::new(&reasons::ENTRY_NOT_FOUND, message)
        };
        if place >= size || size > store::head(self.db.read(), log).await? {
            return Err(missing());
        }
        let tree = self.tree(log, &[size], &[place]).await?;
        let tile = place / runspine_logs_domain::merkle::TILE;
        let leaves = store::leaves(self.db.read(), log, tile, size).await?;
        let within = usize::try_from(place % runspine_logs_domain::merkle::TILE).unwrap_or(usize::MAX);
        let leaf = *leaves.get(within).ok_or_else(missing)?;
        let (path, root) = tree.inclusion(place, size).zip(tree.root(size)).ok_or_else(missing)?;
        Ok(Inclusion { place, size, leaf, path, root })
    }

    /// Proves that the tree of `to` leaves continues that of `from`.
    ///
    /// # Errors
    /// ENTRY_NOT_FOUND when there are not as many leaves, CHECKPOINT_INCONSISTENT, or when the store can't be read.
    pub async fn consistency(&self, log: &Log, from: u64, to: u64) -> Result<Consistency, Fault> {
        let missing = || Fault::new(&reasons::ENTRY_NOT_FOUND, "the log does not have as many leaves");
        if to > store::head(self.db.read(), log).await? {
            return Err(missing());
        }
        let tree = self.tree(log, &[from, to], &[]).await?;
        let hashes = tree.consistency(from, to).ok_or_else(missing)?;
        let (from_root, to_root) = tree.root(from).zip(tree.root(to)).ok_or_else(missing)?;
        Ok(Consistency { hashes, from_root, to_root, to })
    }

    /// The place of the tenant's checkpoint of `size` in the log of the whole mesh.
    ///
    /// # Errors
    /// CHECKPOINT_NOT_FOUND, or when the store can't be read.
    pub async fn mesh_place(&self, tenant: &str, size: u64) -> Result<u64, Fault> {
        let seq = store::mesh_place(self.db.read(), &Log::Ledger(tenant.to_owned()), size).await?;
        let missing = || {
            let message = "there is no such checkpoint, or it is not yet in the log of the mesh";
            Fault::new(&reasons::CHECKPOINT_NOT_FOUND, message)
        };
        seq.and_then(|seq| seq.checked_sub(1)).ok_or_else(missing)
    }

    /// Adds the line of a witness under a checkpoint.
    ///
    /// # Errors
    /// CHECKPOINT_NOT_FOUND, WITNESS_UNKNOWN, COSIGNATURE_INVALID, TOO_MANY_WITNESSES, IDEMPOTENCY_MISMATCH when the
    /// witness gave another line before, or when the store fails.
    pub async fn cosign(
        &self,
        call: &CallContext,
        log: &Log,
        size: u64,
        line: &str,
    ) -> Result<CheckpointRow, Fault> {
        let row = self.get(log, size).await?;
        let key = self.witness(&row.note, line)?;
        let add = Cosign {
            log: log.clone(),
            size: row.tree_size,
            key,
            line: line.to_owned(),
            call: call.clone(),
            now: self.clock.now(),
        };
        self.db.write("add_cosignature", move |tx| Box::pin(add.run(tx))).await?;
        self.publish(log, &row).await;
        Ok(row)
    }

    /// The configured key that made `line` over the text of `note`.
    fn witness(&self, note: &str, line: &str) -> Result<NoteKey, Fault> {
        let invalid = || {
            Fault::new(&reasons::COSIGNATURE_INVALID, "the line is no signature over this checkpoint").field(
                "signature_line",
                reasons::COSIGNATURE_INVALID.name,
                "is a C2SP signature line over the checkpoint's text",
            )
        };
        let signature = NoteSignature::parse(line).ok_or_else(invalid)?;
        let named = |key: &&NoteKey| key.name == signature.name && key.hash == signature.key_hash;
        let key = self.witnesses.iter().find(named).ok_or_else(|| {
            Fault::new(&reasons::WITNESS_UNKNOWN, "no witness of this name and key is configured")
                .with("witness", &signature.name)
        })?;
        let note = Note::parse(note).ok_or_else(invalid)?;
        if key.verifies(&note.text, &signature) { Ok(key.clone()) } else { Err(invalid()) }
    }
}

struct Cosign {
    log: Log,
    size: u64,
    key: NoteKey,
    line: String,
    call: CallContext,
    now: runspine_types::Micros,
}

impl Cosign {
    async fn run(self, tx: &mut runspine_db::Tx) -> Result<(), Fault> {
        let name = self.key.text();
        let (count, own, known) = store::witnessed(tx, &self.log, self.size, &name).await?;
        match own {
            Some(line) if line == self.line => return Ok(()),
            Some(_) => {
                let message = "the witness gave this checkpoint another line before";
                return Err(Fault::new(&mesh::IDEMPOTENCY_MISMATCH, message));
            }
            None => {}
        }
        if count >= MOST_WITNESSES {
            let message = format!("the checkpoint has {MOST_WITNESSES} cosignatures");
            return Err(Fault::new(&reasons::TOO_MANY_WITNESSES, message));
        }
        store::cosign(tx, &self.log, self.size, (&name, &self.line), self.now).await?;
        if !known {
            self.introduce(tx).await?;
        }
        Ok(())
    }

    /// The first line of a witness is told: from then on somebody outside vouches for the ledger.
    async fn introduce(&self, tx: &mut runspine_db::Tx) -> Result<(), Fault> {
        let data = pb::WitnessAdded { verifier_key: self.key.text(), tree_size: self.size };
        let caused = Caused::by(&self.call);
        let tenant_id = self.call.tenant_id.clone();
        let told = Told {
            name: "WitnessAdded",
            data: &data,
            tenant_id: &tenant_id,
            run_id: "",
            attempt: 0,
            step_index: None,
            entity: ("witness", self.key.name.clone()),
            reason: "",
        };
        let event_id = emit(tx, told, &caused, self.now);
        let actor_type = self.call.actor.as_ref().and_then(|a| ActorType::try_from(a.r#type).ok());
        let event = ledger::Event {
            tenant_id,
            event_id,
            event_type: "logs.WitnessAdded".to_owned(),
            scope: LedgerScope::Admin,
            run_id: String::new(),
            attempt: 0,
            step_index: None,
            correlation_id: caused.correlation_id.clone(),
            causation_id: caused.causation_id.clone(),
            entity_type: "witness".to_owned(),
            entity_id: self.key.name.clone(),
            actor_type: actor_type.unwrap_or(ActorType::System),
            actor_id: caused.actor_id().to_owned(),
            reason: String::new(),
            before_state: String::new(),
            after_state: String::new(),
            after_digest: None,
            occurred_at: self.now,
            entry_id: new_id(),
            // There is no state, so nothing is salted.
            state_salt: [0; 32],
        };
        ledger::append_entry(tx, event, self.now).await?;
        Ok(())
    }
}

/// A digest as a message holds it.
#[must_use]
pub fn raw(digest: Digest) -> Bytes {
    Bytes::copy_from_slice(digest.as_bytes())
}
