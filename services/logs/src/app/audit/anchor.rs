//! Whether a checkpoint that left the house covers a seal: what a thief with the key and the database can't make after
//! the fact.

use prost::Message as _;
use runspine_errors::Fault;
use runspine_logs_domain::{chain, note::Note};
use runspine_types::{Digest, Micros};

use super::notary::Notary;
use crate::store::{
    checkpoint::{self as store, CheckpointRow, Log},
    ledger,
};

/// Checkpoints that are looked at, smallest first: the first one that covers an entry was published, or nothing was.
const LOOKED_AT: i64 = 100;

impl Notary {
    /// Whether a checkpoint that was cosigned or published before `before` covers the ledger entry that witnesses the seal
    /// of this digest. Entry, inclusion and published note are recomputed, not believed.
    ///
    /// # Errors
    /// When the store or a published note can't be read.
    pub async fn anchored(
        &self,
        (tenant_id, run_id): (&str, &str),
        seal: Digest,
        before: Micros,
    ) -> Result<bool, Fault> {
        let Some(seq) = ledger::witness(self.db.read(), tenant_id, run_id, seal).await? else {
            return Ok(false);
        };
        if !self.witnesses(tenant_id, seq, seal).await? {
            return Ok(false);
        }
        let log = Log::Ledger(tenant_id.to_owned());
        for (row, cosigned) in store::covering(self.db.read(), &log, seq, before, LOOKED_AT).await? {
            if !cosigned && !self.was_published(&log, &row) {
                continue;
            }
            let tree = self.tree(&log, &[row.tree_size], &[seq - 1]).await?;
            return Ok(tree.root(row.tree_size) == Some(row.root));
        }
        Ok(false)
    }

    /// Whether the bytes of an entry say what its row says, and its link follows from them.
    async fn witnesses(&self, tenant_id: &str, seq: u64, seal: Digest) -> Result<bool, Fault> {
        let rows = ledger::page_of_links(self.db.read(), tenant_id, seq.saturating_sub(1), seq, 2).await?;
        let start = chain::ledger_start(tenant_id);
        let (previous, entry) = match rows.as_slice() {
            [entry] if seq == 1 => (start, entry),
            [previous, entry] => (previous.link, entry),
            _ => return Ok(false),
        };
        let decoded = contracts_logs::v1::LedgerEntry::decode(entry.entry.clone());
        Ok(chain::ledger_link(&previous, &entry.entry) == entry.link
            && decoded.is_ok_and(|entry| entry.after_digest == seal.as_bytes()))
    }

    /// Whether the note of a checkpoint is where the world can read it.
    fn was_published(&self, log: &Log, row: &CheckpointRow) -> bool {
        let note = self.published.as_ref().and_then(|published| published.note(log.name(), row.tree_size));
        let checkpoint = note.and_then(|note| Note::parse(&note)?.checkpoint());
        checkpoint.is_some_and(|found| found.size == row.tree_size && found.root == row.root)
    }
}
