//! Recomputes the chain of a ledger.

use std::collections::{HashMap, VecDeque};

use contracts_logs::v1::{LedgerEntry, LedgerStatus};
use prost::Message as _;
use runspine_db::DbError;
use runspine_errors::Fault;
use runspine_logs_domain::{
    bytes::micros,
    chain,
    merkle::{self, Frontier, TILE},
};
use runspine_types::Digest;

use super::Audit;
use crate::store::{
    checkpoint::{self, Log},
    ledger::{self, StoredEntry},
};

/// Entries that are read at once.
const PAGE: i64 = 1_000;

/// What a check of the ledger found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    /// The result.
    pub status: LedgerStatus,
    /// Entries that agreed before the first bad one.
    pub count: u64,
    /// The first bad or missing place; 0 for none.
    pub first_bad: u64,
    /// The last place that was asked for.
    pub to: u64,
    /// What disagreed.
    pub finding: &'static str,
    /// Checkpoints whose root agreed.
    pub checkpoints: u64,
}

impl Audit {
    /// Recomputes every link of `tenant` from `from` to `to` (0: the head), in constant memory.
    ///
    /// # Errors
    /// When the first page can't be read; a later one that can't is the status ERROR.
    pub async fn verify_ledger(&self, tenant: &str, from: u64, to: u64) -> Result<Verified, Fault> {
        let read = self.db.read();
        let head = ledger::head(read, tenant).await?;
        let newest = head.map_or(0, |(seq, _)| seq);
        let to = if to == 0 { newest } else { to.min(newest) };
        let from = from.max(1);
        let mut run = Run { next: from, link: self.link_before(tenant, from).await?, count: 0 };
        let found = loop {
            if run.next > to {
                break None;
            }
            let page = match ledger::page_of_links(read, tenant, run.next, to, PAGE).await {
                Ok(page) => page,
                Err(error) if run.count > 0 => break Some(failed(&error)),
                Err(error) => return Err(error.into()),
            };
            if page.is_empty() {
                break Some((LedgerStatus::Incomplete, "MISSING"));
            }
            if let Some(found) = page.iter().find_map(|row| run.check(row).err()) {
                break Some(found);
            }
        };
        let found = found.or_else(|| {
            let tail =
                head.filter(|(seq, _)| run.next == seq + 1).is_none_or(|(_, link)| Some(link) == run.link);
            (!tail).then_some((LedgerStatus::Mismatch, "HEAD"))
        });
        let mut anchors = Anchors { from, ..Anchors::default() };
        let found = match found {
            None => anchors.check(self, tenant, to).await?,
            found => found,
        };
        let (status, finding) = found.unwrap_or((LedgerStatus::Verified, ""));
        let first_bad = match (status, finding) {
            (LedgerStatus::Verified, _) => 0,
            (_, "HEAD") => to,
            (_, "TILE" | "CHECKPOINT") => anchors.place,
            _ => run.next,
        };
        Ok(Verified { status, count: run.count, first_bad, to, finding, checkpoints: anchors.agreed })
    }

    /// The link that the entry at `from` follows; `None` when the entry before it is missing.
    async fn link_before(&self, tenant: &str, from: u64) -> Result<Option<Digest>, Fault> {
        if from <= 1 {
            return Ok(Some(chain::ledger_start(tenant)));
        }
        let before = ledger::page_of_links(self.db.read(), tenant, from - 1, from - 1, 1).await?;
        Ok(before.first().map(|row| row.link))
    }
}

/// Walks over the leaves and holds what was computed of them before against what they give now.
#[derive(Default)]
struct Anchors {
    from: u64,
    frontier: Frontier,
    /// Leaves so far; when something disagrees, those under it.
    place: u64,
    agreed: u64,
}

impl Anchors {
    async fn check(
        &mut self,
        audit: &Audit,
        tenant: &str,
        to: u64,
    ) -> Result<Option<(LedgerStatus, &'static str)>, Fault> {
        let (read, log) = (audit.db.read(), Log::Ledger(tenant.to_owned()));
        let tiles: HashMap<u64, Digest> = checkpoint::tiles(read, &log).await?.into_iter().collect();
        let mut stored = VecDeque::from(checkpoint::between(read, &log, 0, to, PAGE).await?);
        for tile in 0..to.div_ceil(TILE) {
            let leaves = checkpoint::leaves(read, &log, tile, to).await?;
            for leaf in &leaves {
                self.frontier.push(leaf);
                self.place += 1;
                while let Some(row) = stored.pop_front_if(|row| row.tree_size <= self.place) {
                    if row.root != self.frontier.root() {
                        return Ok(Some((LedgerStatus::Mismatch, "CHECKPOINT")));
                    }
                    self.agreed += u64::from(row.tree_size >= self.from);
                    if stored.is_empty() {
                        stored = checkpoint::between(read, &log, row.tree_size, to, PAGE).await?.into();
                    }
                }
            }
            let hashes: Vec<Digest> = leaves.iter().map(merkle::leaf).collect();
            let whole = leaves.len() as u64 == TILE;
            if whole && tiles.get(&tile).is_some_and(|root| *root != merkle::root_of(&hashes)) {
                return Ok(Some((LedgerStatus::Mismatch, "TILE")));
            }
        }
        Ok(None)
    }
}

fn failed(error: &DbError) -> (LedgerStatus, &'static str) {
    tracing::warn!(%error, "a page of the ledger can't be read");
    (LedgerStatus::Error, "UNREADABLE")
}

struct Run {
    next: u64,
    link: Option<Digest>,
    count: u64,
}

impl Run {
    fn check(&mut self, row: &StoredEntry) -> Result<(), (LedgerStatus, &'static str)> {
        let Some(previous) = self.link.filter(|_| row.seq == self.next) else {
            return Err((LedgerStatus::Incomplete, "MISSING"));
        };
        if chain::ledger_link(&previous, &row.entry) != row.link {
            return Err((LedgerStatus::Mismatch, "LINK"));
        }
        let entry =
            LedgerEntry::decode(row.entry.clone()).map_err(|_| (LedgerStatus::Error, "UNREADABLE"))?;
        if !agrees(row, &entry) {
            return Err((LedgerStatus::Mismatch, "COLUMNS"));
        }
        self.link = Some(row.link);
        self.next += 1;
        self.count += 1;
        Ok(())
    }
}

/// Whether every query column says what the hashed bytes say.
fn agrees(row: &StoredEntry, entry: &LedgerEntry) -> bool {
    row.seq == entry.seq
        && row.entry_id == entry.entry_id
        && row.event_id == entry.event_id
        && row.event_type == entry.event_type
        && row.scope == entry.scope
        && row.run_id == entry.run_id
        && row.attempt == entry.attempt
        && row.step_index == entry.step_index
        && row.correlation_id == entry.correlation_id
        && row.causation_id == entry.causation_id
        && row.entity_type == entry.entity_type
        && row.entity_id == entry.entity_id
        && row.actor_type == entry.actor_type
        && row.actor_id == entry.actor_id
        && row.reason == entry.reason
        && row.before_digest == entry.before_digest
        && row.after_digest == entry.after_digest
        && row.occurred_at == micros(entry.occurred_at.as_ref())
        && row.recorded_at == micros(entry.recorded_at.as_ref())
}
