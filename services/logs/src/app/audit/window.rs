//! What happened around the end of an attempt, from three places that write it down.

use std::time::Duration;

use bytes::Bytes;
use contracts_logs::v1::LedgerEntry;
use prost::Message as _;
use runspine_errors::{Fault, mesh};
use runspine_logs_domain::{bytes::micros, reasons::TRACE_NOT_FOUND};
use runspine_types::{Micros, PLATFORM_TENANT};

use super::Audit;
use crate::store::{
    ledger::{self, Behind, EntryRow, LedgerFilter},
    records::{self, RecordRow},
    seals,
    system::{self, SystemFilter, SystemRow},
    traces::{self, TraceRow},
};

/// Most entries of one source.
const MOST: usize = 500;

/// One thing that happened.
pub enum Happened {
    /// On the ledger.
    Entry(Box<EntryRow>),
    /// Among the system records.
    System(SystemRow),
    /// On the trace; whether it came after the seal.
    Record(Box<RecordRow>, bool),
}

/// What happened around the end of an attempt.
pub struct Window {
    /// The attempt.
    pub attempt: u32,
    /// When it ended.
    pub end: Micros,
    /// Where the window begins.
    pub from: Micros,
    /// Where it ends.
    pub to: Micros,
    /// By time.
    pub happened: Vec<(Micros, Happened)>,
    /// Sources that had more.
    pub truncated: Vec<&'static str>,
}

impl Audit {
    /// What happened from `before` the end of an attempt (0: the latest) until `after` it.
    ///
    /// # Errors
    /// TRACE_NOT_FOUND, or when a source can't be read: a window with a hole would look like one where nothing happened.
    pub async fn replay_window(
        &self,
        (tenant_id, run_id, attempt): (&str, &str, u32),
        before: Duration,
        after: Duration,
    ) -> Result<Window, Fault> {
        let read = self.db.read();
        let missing = || Fault::new(&TRACE_NOT_FOUND, "there is no trace of this attempt");
        let main = traces::one(read, tenant_id, run_id, attempt, 0).await?.ok_or_else(missing)?;
        let seal = seals::read(read, main.trace_key).await?;
        let end = seal.as_ref().map_or(main.last_recorded_at, |seal| seal.sealed_at);
        let witness = match &seal {
            Some(seal) => ledger::witness(read, tenant_id, run_id, seal.seal_digest).await?,
            None => None,
        };
        let mut window = Window {
            attempt: main.attempt,
            end,
            from: end - before,
            to: end + after,
            happened: Vec::new(),
            truncated: Vec::new(),
        };
        self.entries(tenant_id, witness, &mut window).await?;
        self.system(tenant_id, &mut window).await?;
        for row in traces::of_run(read, tenant_id, run_id, main.attempt).await? {
            self.records(&row, &mut window).await?;
        }
        window.happened.sort_by_key(|(at, _)| *at);
        Ok(window)
    }

    /// Entries are found by their places around that of the seal, since recorded times never fall along the ledger and no
    /// index by time has to be paid for at each append.
    async fn entries(&self, tenant: &str, witness: Option<u64>, window: &mut Window) -> Result<(), Fault> {
        let (read, all) = (self.db.read(), LedgerFilter::default());
        let limit = i64::try_from(MOST).unwrap_or(i64::MAX);
        let back =
            ledger::list(read, tenant, &all, Behind::NewestFirst(witness.map(|seq| seq + 1)), limit).await?;
        let ahead = match witness {
            Some(seq) => ledger::list(read, tenant, &all, Behind::Place(Some(seq)), limit).await?,
            None => Vec::new(),
        };
        for part in [back, ahead] {
            let (full, mut within) = (part.len() == MOST, 0);
            for row in part {
                let entry = LedgerEntry::decode(Bytes::clone(&row.entry)).map_err(unreadable)?;
                let recorded = micros(entry.recorded_at.as_ref());
                if (window.from..=window.to).contains(&recorded) {
                    let at = micros(entry.occurred_at.as_ref());
                    window.happened.push((at, Happened::Entry(Box::new(row))));
                    within += 1;
                }
            }
            window.cut(full && within == MOST, "LEDGER");
        }
        Ok(())
    }

    /// Those of the mesh, too: a process that was killed ends runs of every tenant.
    async fn system(&self, tenant: &str, window: &mut Window) -> Result<(), Fault> {
        let filter = SystemFilter {
            occurred_from: Some(window.from),
            // The end of a filter is outside of it, that of the window inside.
            occurred_to: Some(Micros(window.to.0.saturating_add(1))),
            ..SystemFilter::default()
        };
        let limit = i64::try_from(MOST).unwrap_or(i64::MAX);
        let own = (tenant != PLATFORM_TENANT).then_some(tenant);
        for tenant in own.into_iter().chain([PLATFORM_TENANT]) {
            let rows = system::list(self.db.read(), tenant, &filter, None, limit).await?;
            window.cut(rows.len() == MOST, "SYSTEM");
            window.happened.extend(rows.into_iter().map(|row| (row.occurred_at, Happened::System(row))));
        }
        Ok(())
    }

    async fn records(&self, row: &TraceRow, window: &mut Window) -> Result<(), Fault> {
        if row.purged {
            window.cut(true, "TRACE");
            return Ok(());
        }
        // The last ones: an attempt ends with them.
        let most = u64::try_from(MOST).unwrap_or(u64::MAX);
        let after = row.record_count.saturating_sub(most);
        let limit = i64::try_from(MOST).unwrap_or(i64::MAX);
        let page = records::page(self.db.read(), row.trace_key, after, limit).await?;
        let within = |record: &RecordRow| (window.from..=window.to).contains(&record.recorded_at);
        let found: Vec<RecordRow> = page.into_iter().filter(within).collect();
        window.cut(after > 0 && found.len() == MOST, "TRACE");
        let late = row.addendum > 0;
        let told = |record: RecordRow| (record.occurred_at, Happened::Record(Box::new(record), late));
        window.happened.extend(found.into_iter().map(told));
        Ok(())
    }
}

impl Window {
    fn cut(&mut self, cut: bool, source: &'static str) {
        if cut && !self.truncated.contains(&source) {
            self.truncated.push(source);
        }
    }
}

fn unreadable(error: prost::DecodeError) -> Fault {
    Fault::new(&mesh::INTERNAL, "a ledger entry can't be read").caused_by(error)
}
