//! The ledger entries of a bundle, each with its path to the root that the checkpoint states.

use std::collections::HashSet;

use contracts_logs::v1::{BundleManifest, KeyPurpose, LedgerEntry, LedgerInclusion};
use prost::Message as _;
use runspine_types::Digest;

use super::{
    line::Line,
    report::{Against, Findings},
};
use crate::{
    chain,
    keys::TrustedKey,
    merkle::{verify_consistency, verify_inclusion},
    note::{Checkpoint, Note, NoteKey},
};

/// An entry whose path comes next.
struct Waiting {
    seq: u64,
    bytes: Vec<u8>,
    link: Option<Digest>,
    witness: Vec<u8>,
}

/// A leaf, and what leads from it to the root.
struct Proved {
    path: LedgerInclusion,
    leaf: Digest,
    /// What the entry stands for: the digest of a seal, where it tells of one.
    witness: Vec<u8>,
}

/// Everything about the ledger of one file.
#[derive(Default)]
pub(super) struct Ledger {
    last_seq: u64,
    waiting: Option<Waiting>,
    proved: Vec<Proved>,
    /// Entries without a path.
    bare: Vec<u64>,
    note: Option<String>,
}

impl Ledger {
    /// A line of section `ledger`; `None` when it can't be one.
    pub(super) fn line(
        &mut self,
        manifest: &BundleManifest,
        line: &Line,
        bytes: Vec<u8>,
        found: &mut Findings,
    ) -> Option<()> {
        if line.a.is_some() || line.d.is_some() {
            return None;
        }
        match line.t.as_deref()? {
            "entry" => self.entry(manifest, line, bytes, found),
            "path" if line.l.is_none() => self.path(&bytes, found),
            _ => None,
        }
    }

    fn entry(
        &mut self,
        manifest: &BundleManifest,
        line: &Line,
        bytes: Vec<u8>,
        found: &mut Findings,
    ) -> Option<()> {
        self.settle();
        let link = line.link();
        if link.is_none() && line.l.is_some() {
            return None;
        }
        let entry = LedgerEntry::decode(bytes.as_slice()).ok()?;
        if entry.tenant_id != manifest.tenant_id {
            found.fail("FOREIGN_TENANT", format!("ledger entry {}", entry.seq));
        }
        if entry.run_id != manifest.run_id {
            found.fail("FOREIGN_RUN", format!("ledger entry {}", entry.seq));
        }
        if entry.seq <= self.last_seq {
            found.fail("POSITION_ORDER", format!("ledger entry {}", entry.seq));
        }
        self.last_seq = entry.seq;
        let seals = ["logs.TraceSealed", "logs.AddendumSealed"].contains(&entry.event_type.as_str());
        let witness = if seals { entry.after_digest.to_vec() } else { Vec::new() };
        self.waiting = Some(Waiting { seq: entry.seq, bytes, link, witness });
        Some(())
    }

    fn path(&mut self, bytes: &[u8], found: &mut Findings) -> Option<()> {
        let waiting = self.waiting.take()?;
        let path = LedgerInclusion::decode(bytes).ok()?;
        let previous = Digest::from_slice(&path.previous_link)?;
        let leaf = chain::ledger_link(&previous, &waiting.bytes);
        if path.seq != waiting.seq || waiting.link != Some(leaf) {
            found.fail("INCLUSION", format!("ledger entry {}", waiting.seq));
        }
        self.proved.push(Proved { path, leaf, witness: waiting.witness });
        Some(())
    }

    /// An entry that was not followed by a path has none.
    fn settle(&mut self) {
        self.bare.extend(self.waiting.take().map(|waiting| waiting.seq));
    }

    /// A line of section `checkpoint`; `None` when it can't be one.
    pub(super) fn checkpoint(&mut self, line: &Line, bytes: Vec<u8>) -> Option<()> {
        let plain = line.a.is_none() && line.d.is_none() && line.l.is_none();
        if !plain || line.t.as_deref() != Some("note") || self.note.is_some() {
            return None;
        }
        self.note = Some(String::from_utf8(bytes).ok()?);
        Some(())
    }

    /// Holds every path against the checkpoint, and the checkpoint against the keys and what the caller has. `excused`:
    /// the manifest says that a checkpoint is missing. Gives the digests of the seals that are under the caller's
    /// checkpoint: they were there when it left the house.
    pub(super) fn finish(
        mut self,
        tenant_id: &str,
        keys: &[TrustedKey],
        excused: bool,
        against: Option<&Against>,
        found: &mut Findings,
    ) -> HashSet<Vec<u8>> {
        self.settle();
        let Some(note) = self.note.take() else {
            let some = !self.proved.is_empty() || !self.bare.is_empty();
            if !self.proved.is_empty() || (some && !excused) {
                found.fail("CHECKPOINT_MISSING", "the paths of the ledger lead nowhere");
            }
            if against.is_some() {
                found.fail("CHECKPOINT_MISSING", "there is none to hold against the one given");
            }
            return HashSet::new();
        };
        for seq in self.bare.iter().filter(|_| !excused) {
            found.fail("INCLUSION", format!("ledger entry {seq} has no path"));
        }
        let Some(checkpoint) = signed(&note, tenant_id, keys, found) else { return HashSet::new() };
        let held = against.map_or(0, |against| compare(&checkpoint, against, found));
        let mut anchored = HashSet::new();
        for Proved { path, leaf, witness } in self.proved {
            let hashes: Option<Vec<Digest>> = path.hashes.iter().map(|h| Digest::from_slice(h)).collect();
            let place = path.seq.checked_sub(1);
            let leads = place.zip(hashes).is_some_and(|(place, hashes)| {
                path.tree_size == checkpoint.size
                    && verify_inclusion(place, checkpoint.size, &leaf, &hashes, &checkpoint.root)
            });
            if !leads {
                found.fail("INCLUSION", format!("ledger entry {}", path.seq));
            } else if path.seq <= held && !witness.is_empty() {
                anchored.insert(witness);
            }
        }
        anchored
    }
}

/// The checkpoint of a note that a trusted key signed. One that nobody signed says nothing, so nothing is read from it.
fn signed(note: &str, tenant_id: &str, keys: &[TrustedKey], found: &mut Findings) -> Option<Checkpoint> {
    let read = Note::parse(note).and_then(|note| Some((note.checkpoint()?, note)));
    let Some((checkpoint, note)) = read else {
        found.fail("CHECKPOINT_SIGNATURE", "the checkpoint is no signed note");
        return None;
    };
    if checkpoint.origin.rsplit_once('/').is_none_or(|(_, log)| log != tenant_id) {
        found.fail("FOREIGN_TENANT", format!("checkpoint {}", checkpoint.origin));
    }
    // A revoked key says nothing: newer checkpoints are by the key that took its place.
    let good = |key: &&TrustedKey| key.purpose == KeyPurpose::Checkpoint && !key.revoked;
    let mut keys = keys.iter().filter(good).peekable();
    if keys.peek().is_none() {
        found.fail("UNKNOWN_KEY", "no CHECKPOINT key is trusted");
    } else if !keys.any(|key| note.signed_by(&NoteKey::of_log(&checkpoint.origin, key.public_key))) {
        found.fail("CHECKPOINT_SIGNATURE", "no trusted key signed the checkpoint");
    } else {
        return Some(checkpoint);
    }
    None
}

/// Whether the bundle's checkpoint and the caller's are of one log that only grew; gives the size of the caller's, 0 when
/// they are not.
fn compare(own: &Checkpoint, against: &Against, found: &mut Findings) -> u64 {
    let Some(other) = Note::parse(&against.note).and_then(|note| note.checkpoint()) else {
        found.fail("CHECKPOINT_FORK", "what to hold against is no checkpoint");
        return 0;
    };
    let (small, large) = if own.size <= other.size { (own, &other) } else { (&other, own) };
    let follows =
        verify_consistency((small.size, &small.root), (large.size, &large.root), &against.consistency);
    if own.origin != other.origin {
        found.fail("CHECKPOINT_FORK", format!("it is of another log, {}", other.origin));
    } else if !follows && small.size != large.size && against.consistency.is_empty() {
        let text =
            format!("sizes {} and {}: a consistency proof between them is needed", small.size, large.size);
        found.fail("CHECKPOINT_UNCOMPARED", text);
    } else if !follows {
        found.fail("CHECKPOINT_FORK", format!("sizes {} and {}", small.size, large.size));
    } else {
        return other.size;
    }
    0
}
