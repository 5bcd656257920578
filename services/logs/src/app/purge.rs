//! Reclaims space: drops the records of runs whose bundles are in the archive and verify now, and records that are kept
//! for a time only. Everything is looked at before anything is dropped.

use std::time::Duration;

use bytes::Bytes;
use contracts_logs::v1::{ProofStatus, RecordsPurged, TraceProof, TracePurged};
use runspine_db::Tx;
use runspine_errors::Fault;
use runspine_logs_domain::{
    bundle::{Report, Verdict},
    bytes::timestamp,
    reasons,
};
use runspine_types::{Digest, Micros};

use super::{
    App,
    announce::announce,
    audit::told::{Caused, Told},
    read_traces::TraceView,
};
use crate::store::{
    erasure,
    purges::{self, Kept, PurgeRow},
    traces,
};

/// Runs that are looked at, and dropped, together.
const TOGETHER: i64 = 50;
/// How many problems are told.
const MOST_TOLD: usize = 100;
/// How long system and dispatch records are kept at least.
const RECORDS_KEPT: Duration = Duration::from_secs(180 * 24 * 60 * 60);

/// What was dropped.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Purged {
    /// Runs.
    pub runs: u64,
    /// Records of their traces.
    pub records: u64,
    /// System records.
    pub system_records: u64,
    /// Dispatch records.
    pub dispatch_records: u64,
}

/// A run that may go.
struct Run {
    tenant_id: String,
    run_id: String,
    traces: Vec<PurgeRow>,
    bundles: Vec<Digest>,
}

impl App {
    /// Drops what ended before `before`: the records of runs that were all sealed then, and system and dispatch records
    /// that are older than 180 days, too.
    ///
    /// # Errors
    /// RETENTION_REFUSED with everything that stands against it, before anything is dropped; or when the store or the
    /// archive can't be read or written.
    pub async fn purge(&self, before: Micros, caused: &Caused) -> Result<Purged, Fault> {
        let runs = self.purgeable(before).await?;
        let mut purged = Purged { runs: runs.len() as u64, ..Purged::default() };
        let mut runs = runs.into_iter().peekable();
        while runs.peek().is_some() {
            let part: Vec<Run> = runs.by_ref().take(usize::try_from(TOGETHER).unwrap_or(1)).collect();
            let (caused, now) = (caused.clone(), self.clock.now());
            let dropped = self.db.write("purge_traces", move |tx| {
                Box::pin(async move {
                    tx.purge("trace_records", async |tx| drop_runs(tx, &part, &caused, now).await).await
                })
            });
            purged.records += dropped.await?;
        }
        let kept_until = self.clock.now() - RECORDS_KEPT;
        let (before, caused, now) = (before.min(kept_until), caused.clone(), self.clock.now());
        let dropped = self.db.write("purge_records", move |tx| {
            Box::pin(async move { drop_records(tx, before, &caused, now).await })
        });
        (purged.system_records, purged.dispatch_records) = dropped.await?;
        Ok(purged)
    }

    /// Every run that ended before `before`, when nothing stands against dropping any of them.
    async fn purgeable(&self, before: Micros) -> Result<Vec<Run>, Fault> {
        let (mut runs, mut against): (Vec<Run>, Vec<(String, String)>) = (Vec::new(), Vec::new());
        let mut after = (String::new(), String::new());
        loop {
            let at = (after.0.as_str(), after.1.as_str());
            let found = purges::candidates(self.db.read(), before, at, TOGETHER).await?;
            let Some(last) = found.last() else { break };
            after.clone_from(last);
            for (tenant_id, run_id) in found {
                match self.look_at(tenant_id, run_id.clone()).await? {
                    Ok(run) => runs.push(run),
                    Err(what) => against.push((format!("runs/{run_id}"), what)),
                }
            }
        }
        if against.is_empty() {
            return Ok(runs);
        }
        let message =
            format!("{} of {} runs can't be dropped; nothing was", against.len(), runs.len() + against.len());
        let refused = Fault::new(&reasons::RETENTION_REFUSED, message);
        let told = against.into_iter().take(MOST_TOLD);
        Err(told.fold(refused, |fault, (run, what)| fault.precondition(run, what)))
    }

    /// A run that may go, or what it lacks.
    async fn look_at(&self, tenant_id: String, run_id: String) -> Result<Result<Run, String>, Fault> {
        if purges::is_held(self.db.read(), &tenant_id, &run_id).await? {
            return Ok(Err("is under no legal hold".to_owned()));
        }
        let rows = traces::of_run(self.db.read(), &tenant_id, &run_id, 0).await?;
        let views = self.with_seals(rows).await?;
        let (mut bundles, mut whole) = (Vec::new(), None);
        for view in views.iter().filter(|view| view.row.addendum == 0) {
            let attempt = view.row.attempt;
            let Some(archive) = &view.archive else {
                return Ok(Err(format!("attempt {attempt} is archived")));
            };
            let file = (archive.location.as_str(), archive.bundle_digest);
            let report = self.verify_archived(&tenant_id, file).await.ok().flatten();
            let good = |report: &Report| matches!(report.verdict, Verdict::Verified | Verdict::Unsealed);
            let Some(report) = report.filter(good) else {
                return Ok(Err(format!("the bundle of attempt {attempt} verifies")));
            };
            bundles.push(archive.bundle_digest);
            if report.verdict == Verdict::Verified && views.iter().all(|view| is_in(view, &report)) {
                whole = Some(archive.clone());
            }
        }
        let Some(whole) = whole else {
            return Ok(Err("has every trace and addendum in one bundle".to_owned()));
        };
        let purged_at = self.clock.now();
        let left = |view: &TraceView| PurgeRow {
            trace_key: view.row.trace_key,
            location: whole.location.clone(),
            bundle_digest: whole.bundle_digest,
            records: view.row.record_count,
            purged_at,
        };
        let traces = views.iter().filter(|view| !view.row.purged).map(left).collect();
        Ok(Ok(Run { tenant_id, run_id, traces, bundles }))
    }

    /// The proof of a trace whose records are in its bundle only.
    ///
    /// # Errors
    /// When the keys can't be read.
    pub async fn prove_by_bundle(&self, view: &TraceView, purge: &PurgeRow) -> Result<TraceProof, Fault> {
        let of = |status: ProofStatus, reason: &str| TraceProof {
            attempt: view.row.attempt,
            addendum: view.row.addendum,
            trace_id: view.row.trace_id.clone(),
            status: status.into(),
            reason: reason.to_owned(),
            ..Default::default()
        };
        let file = (purge.location.as_str(), purge.bundle_digest);
        let report = match self.verify_archived(&view.row.tenant_id, file).await {
            Ok(Some(report)) => report,
            Ok(None) => return Ok(of(ProofStatus::Mismatch, "BUNDLE_DIGEST")),
            Err(fault) => {
                tracing::warn!(run_id = view.row.run_id, %fault, "the bundle of a proof can't be read");
                return Ok(of(ProofStatus::Error, "SOURCE_UNREADABLE"));
            }
        };
        if report.verdict != Verdict::Verified || !is_in(view, &report) {
            return Ok(of(ProofStatus::Mismatch, "BUNDLE"));
        }
        let place = (view.row.attempt, view.row.addendum);
        let proof = report.proofs.into_iter().find(|proof| (proof.attempt, proof.addendum) == place);
        Ok(proof.unwrap_or_else(|| of(ProofStatus::Mismatch, "BUNDLE")))
    }
}

/// Whether a bundle has the trace as it was sealed.
fn is_in(view: &TraceView, report: &Report) -> bool {
    let place = (view.row.attempt, view.row.addendum);
    let digest = view.seal.as_ref().map(|seal| seal.seal_digest);
    let mut proofs = report.proofs.iter();
    proofs.any(|proof| {
        (proof.attempt, proof.addendum) == place
            && proof.status() == ProofStatus::Verified
            && digest.is_some()
            && Digest::from_slice(&proof.seal_digest) == digest
    })
}

async fn drop_runs(tx: &mut Tx, runs: &[Run], caused: &Caused, now: Micros) -> Result<u64, Fault> {
    let mut all = 0;
    for run in runs {
        // A hold that came meanwhile is a hold.
        erasure::one_at_a_time(tx, &run.tenant_id).await?;
        if erasure::is_held(tx, &run.tenant_id, &run.run_id).await? {
            return Err(Fault::new(
                &reasons::LEGAL_HOLD,
                "a run came under a legal hold; nothing of it was dropped",
            )
            .precondition(format!("runs/{}", run.run_id), "is under no legal hold"));
        }
        let mut records = 0;
        for row in &run.traces {
            records += purges::drop_records(tx, row).await?;
        }
        let data = TracePurged {
            run_id: run.run_id.clone(),
            traces: u32::try_from(run.traces.len()).unwrap_or(u32::MAX),
            records,
            bundle_digests: run
                .bundles
                .iter()
                .map(|digest| Bytes::copy_from_slice(digest.as_bytes()))
                .collect(),
        };
        let entity = ("run", run.run_id.clone());
        let witness = run.traces.first().map(|row| row.bundle_digest);
        announce(tx, told("TracePurged", &data, &run.tenant_id, entity), witness, caused, now).await?;
        all += records;
    }
    Ok(all)
}

/// Drops records that are kept for a time only; gives how many of each kind.
async fn drop_records(
    tx: &mut Tx,
    before: Micros,
    caused: &Caused,
    now: Micros,
) -> Result<(u64, u64), Fault> {
    let mut of_tenants: std::collections::BTreeMap<String, [u64; 2]> = std::collections::BTreeMap::new();
    for (n, kept) in [Kept::System, Kept::Dispatches].into_iter().enumerate() {
        for (tenant, count) in purges::count_old(tx, kept, before).await? {
            of_tenants.entry(tenant).or_default()[n] = count;
        }
        tx.purge(kept.table(), async |tx| purges::drop_old(tx, kept, before).await).await?;
    }
    let mut sums = (0, 0);
    for (tenant, [system_records, dispatch_records]) in of_tenants {
        let data = RecordsPurged { before: Some(timestamp(before)), system_records, dispatch_records };
        let entity = ("tenant", tenant.clone());
        announce(tx, told("RecordsPurged", &data, &tenant, entity), None, caused, now).await?;
        sums = (sums.0 + system_records, sums.1 + dispatch_records);
    }
    Ok(sums)
}

fn told<'a, M>(
    name: &'static str,
    data: &'a M,
    tenant_id: &'a str,
    entity: (&'static str, String),
) -> Told<'a, M> {
    Told { name, data, tenant_id, run_id: "", attempt: 0, step_index: None, entity, reason: "RETENTION" }
}
