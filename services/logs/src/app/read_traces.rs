//! Reads traces, records and receipts. A failed read is a failure, never an empty list.

use std::collections::HashMap;

use bytes::Bytes;
use contracts_logs::v1::TraceSeal;
use prost::Message as _;
use runspine_errors::{Fault, mesh};
use runspine_logs_domain::reasons;
use runspine_types::Digest;

use super::{App, append_records::Receipt};
use crate::store::{
    archives::{self, ArchiveRow},
    purges::{self, PurgeRow},
    records::{self, RecordRow, SumRow},
    seals::{self, SealRow},
    traces::{self, TraceRow},
};

/// A trace with its seal.
#[derive(Debug, Clone)]
pub struct TraceView {
    /// The trace.
    pub row: TraceRow,
    /// Its seal.
    pub seal: Option<SealRow>,
    /// Where its bundle is.
    pub archive: Option<ArchiveRow>,
    /// What is left of it when its records were dropped.
    pub purge: Option<PurgeRow>,
}

/// An attempt's main trace with everything that belongs to it.
#[derive(Debug, Clone)]
pub struct AttemptView {
    /// The main trace.
    pub main: TraceView,
    /// Its addenda, in order.
    pub addenda: Vec<TraceView>,
    /// Incidents that are tied to it.
    pub incident_ids: Vec<String>,
    /// Sums.
    pub sums: SumRow,
}

/// What was kept of an item.
#[derive(Debug, Clone)]
pub struct KeptItem {
    /// Its receipt.
    pub receipt: Receipt,
    /// Digest of the caller's request.
    pub request_digest: Option<Digest>,
    /// The record's bytes.
    pub record: Bytes,
}

fn no_trace() -> Fault {
    Fault::new(&reasons::TRACE_NOT_FOUND, "there is no such trace")
}

/// Refuses to read records that were dropped: an empty list would say that there never were any.
///
/// # Errors
/// TRACE_PURGED.
pub fn kept(row: &TraceRow) -> Result<(), Fault> {
    if row.purged {
        let message =
            "the records were dropped at the end of their retention; the bundle of the trace has them";
        let subject = format!("runs/{}/attempts/{}/trace", row.run_id, row.attempt);
        return Err(Fault::new(&reasons::TRACE_PURGED, message).precondition(subject, "has its records"));
    }
    Ok(())
}

/// Adds what the seal of a trace says, where its records can't be summed any more.
fn add_sealed(sums: &mut SumRow, view: &TraceView) -> Result<(), Fault> {
    let Some(seal) = &view.seal else { return Ok(()) };
    let seal = TraceSeal::decode(seal.seal.as_ref())
        .map_err(|error| Fault::new(&mesh::INTERNAL, "a seal can't be read").caused_by(error))?;
    sums.input_tokens += seal.input_tokens;
    sums.output_tokens += seal.output_tokens;
    sums.cost_microusd += seal.cost_microusd;
    sums.steps += seal.step_count;
    sums.decisions += seal.decision_count;
    Ok(())
}

impl App {
    /// What an attempt may be watched by, as bits, and the digest of its policy snapshot; attempt 0 is the latest.
    /// `None` when there is no trace.
    ///
    /// # Errors
    /// When the store can't be read.
    pub async fn inspection(
        &self,
        tenant_id: &str,
        run_id: &str,
        attempt: u32,
    ) -> Result<Option<(u32, bytes::Bytes)>, Fault> {
        let header = traces::header(self.db.read(), tenant_id, run_id, attempt).await?;
        Ok(header.map(|header| (header.inspection_allowed, header.policy_snapshot_digest)))
    }

    /// The main trace of an attempt (0: the latest) with its addenda, incidents and sums.
    ///
    /// # Errors
    /// TRACE_NOT_FOUND, or when the store can't be read.
    pub async fn get_trace(&self, tenant_id: &str, run_id: &str, attempt: u32) -> Result<AttemptView, Fault> {
        let read = self.db.read();
        let main = traces::one(read, tenant_id, run_id, attempt, 0).await?.ok_or_else(no_trace)?;
        let rows = traces::of_run(read, tenant_id, run_id, main.attempt).await?;
        let mut views = self.with_seals(rows).await?.into_iter();
        let main = views.next().ok_or_else(no_trace)?;
        let incident_ids = traces::incidents(read, main.row.trace_key).await?;
        let mut sums = records::sums(read, tenant_id, run_id, main.row.attempt).await?;
        let addenda: Vec<TraceView> = views.collect();
        for view in addenda.iter().chain([&main]).filter(|view| view.purge.is_some()) {
            add_sealed(&mut sums, view)?;
        }
        Ok(AttemptView { main, addenda, incident_ids, sums })
    }

    /// A page of main traces, newest first; only archived ones, or none of them, where `archived` says so.
    ///
    /// # Errors
    /// When the store can't be read.
    pub async fn list_traces(
        &self,
        tenant_id: &str,
        mut filter: traces::Filter,
        archived: Option<bool>,
        limit: i64,
    ) -> Result<Vec<TraceView>, Fault> {
        let most = usize::try_from(limit).unwrap_or(usize::MAX);
        let mut found = Vec::new();
        loop {
            let rows = traces::list(self.db.read(), tenant_id, &filter, limit).await?;
            let more = rows.len() == most;
            filter.after = rows.last().map(|row| (row.started_at, row.trace_key));
            let views = self.with_seals(rows).await?;
            let wanted = |view: &TraceView| archived.is_none_or(|wanted| view.archive.is_some() == wanted);
            found.extend(views.into_iter().filter(wanted).take(most - found.len()));
            if !more || found.len() == most {
                return Ok(found);
            }
        }
    }

    /// Traces with their seals.
    ///
    /// # Errors
    /// When the store can't be read.
    pub async fn with_seals(&self, rows: Vec<TraceRow>) -> Result<Vec<TraceView>, Fault> {
        let keys: Vec<i64> = rows.iter().filter(|row| row.sealed).map(|row| row.trace_key).collect();
        let seals = seals::of_many(self.db.read(), &keys).await?;
        let mut seals: HashMap<i64, SealRow> = seals.into_iter().map(|seal| (seal.trace_key, seal)).collect();
        let archives = archives::of_many(self.db.read(), &keys).await?;
        let mut archives: HashMap<i64, ArchiveRow> = archives.into_iter().map(|a| (a.trace_key, a)).collect();
        let purged: Vec<i64> = rows.iter().filter(|row| row.purged).map(|row| row.trace_key).collect();
        let purges = purges::of_many(self.db.read(), &purged).await?;
        let mut purges: HashMap<i64, PurgeRow> = purges.into_iter().map(|p| (p.trace_key, p)).collect();
        let view = |row: TraceRow| TraceView {
            purge: purges.remove(&row.trace_key),
            seal: seals.remove(&row.trace_key),
            archive: archives.remove(&row.trace_key),
            row,
        };
        Ok(rows.into_iter().map(view).collect())
    }

    /// One trace of an attempt (0: the latest), without its seal.
    ///
    /// # Errors
    /// TRACE_NOT_FOUND, or when the store can't be read.
    pub async fn find_trace(
        &self,
        tenant_id: &str,
        run_id: &str,
        attempt: u32,
        addendum: u32,
    ) -> Result<TraceRow, Fault> {
        traces::one(self.db.read(), tenant_id, run_id, attempt, addendum).await?.ok_or_else(no_trace)
    }

    /// The same, when its records are here.
    ///
    /// # Errors
    /// TRACE_NOT_FOUND, TRACE_PURGED, or when the store can't be read.
    pub async fn find_kept_trace(
        &self,
        tenant_id: &str,
        run_id: &str,
        attempt: u32,
        addendum: u32,
    ) -> Result<TraceRow, Fault> {
        let row = self.find_trace(tenant_id, run_id, attempt, addendum).await?;
        kept(&row)?;
        Ok(row)
    }

    /// A page of the records of one trace.
    ///
    /// # Errors
    /// When the store can't be read.
    pub async fn list_records(
        &self,
        trace_key: i64,
        filter: &records::Filter,
        limit: i64,
    ) -> Result<Vec<RecordRow>, Fault> {
        Ok(records::list(self.db.read(), trace_key, filter, limit).await?)
    }

    /// What was kept of an item, by its key.
    ///
    /// # Errors
    /// TRACE_NOT_FOUND, RECORD_NOT_FOUND, or when the store can't be read.
    pub async fn get_receipt(
        &self,
        tenant_id: &str,
        run_id: &str,
        attempt: u32,
        key: &str,
    ) -> Result<KeptItem, Fault> {
        let trace = self.find_kept_trace(tenant_id, run_id, attempt, 0).await?;
        let missing =
            || Fault::new(&reasons::RECORD_NOT_FOUND, "no record of this trace came under this key");
        let row = records::keyed(self.db.read(), trace.trace_key, key).await?.ok_or_else(missing)?;
        let (request_digest, record) = (row.request_digest, row.record.clone());
        Ok(KeptItem { receipt: Receipt::stored(&trace.trace_id, row)?, request_digest, record })
    }
}
