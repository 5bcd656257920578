//! Whether the mesh kept what it answered: answers = records = links, and sums = usage.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use contracts_common::common::v1::{AuditStatus, RunStatus};
use contracts_logs::v1::{GetTraceRequest, trace_service_client::TraceServiceClient};
use contracts_spine::v1::{GetRunProofRequest, GetRunRequest, ProofStatus, Run};
use futures::{StreamExt as _, stream};
use serde::Serialize;

use crate::{agent::Book, measure::Outcome, wire::Wire};

const AT_ONCE: usize = 16;
/// The projection of runs follows their traces through the relay; it is given this long to arrive.
const PATIENCE: Duration = Duration::from_secs(30);
/// Time between two looks at it.
const PAUSE: Duration = Duration::from_millis(20);
/// Differences that are told in full.
const TOLD: usize = 20;

/// What was compared.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Audit {
    /// Runs looked at.
    pub runs: u64,
    /// Decisions on steps that the agents were answered.
    pub decisions: u64,
    /// Decisions among them that a decider did not answer in time for.
    pub degraded: u64,
    /// Calls that were put again because the mesh was not available at once.
    pub retries: u64,
    /// Records of steps that the agents were answered.
    pub steps: u64,
    /// Records on the traces, those of starts among them.
    pub records: u64,
    /// Links that were recomputed.
    pub links: u64,
    /// Recorded cost in micro-USD.
    pub cost_microusd: i64,
    /// Milliseconds after the load until the projection of every run had arrived.
    pub projection_lag_ms: u64,
    /// What does not agree.
    pub wrong: Vec<String>,
    /// How many disagree, those that are not told among them.
    pub disagreements: u64,
}

impl Audit {
    fn add(&mut self, other: Self) {
        self.runs += other.runs;
        self.decisions += other.decisions;
        self.degraded += other.degraded;
        self.retries += other.retries;
        self.steps += other.steps;
        self.records += other.records;
        self.links += other.links;
        self.cost_microusd += other.cost_microusd;
        self.projection_lag_ms = self.projection_lag_ms.max(other.projection_lag_ms);
        self.disagreements += other.wrong.len() as u64;
        self.wrong.extend(other.wrong);
        self.wrong.truncate(TOLD);
    }
}

/// Compares every book with what the mesh says now.
pub async fn check(wire: &Arc<Wire>, books: &[Book]) -> Outcome<Audit> {
    let (mut all, ended) = (Audit::default(), Instant::now());
    let looks = books.iter().enumerate().map(|(n, book)| look(wire, n, book, ended));
    let mut looks = stream::iter(looks).buffer_unordered(AT_ONCE);
    while let Some(one) = looks.next().await {
        all.add(one?);
    }
    Ok(all)
}

async fn look(wire: &Wire, caller: usize, book: &Book, ended: Instant) -> Outcome<Audit> {
    let run_id = book.run_id.clone();
    let mut traces = TraceServiceClient::with_interceptor(wire.channel(caller), wire.credential());
    let mut runs = wire.client(caller);
    let (run, projection_lag_ms) = projected(wire, caller, book, ended).await?;
    let request = GetTraceRequest { run_id: run_id.clone(), attempt: 1 };
    let found = traces.get_trace(request).await?.into_inner();
    let proof = GetRunProofRequest { run_id, attempt: 1 };
    let proof = runs.get_run_proof(proof).await?.into_inner();
    let (trace, totals) = (found.trace.unwrap_or_default(), found.totals.unwrap_or_default());
    let usage = run.usage.unwrap_or_default();
    // The start is a decision too.
    let mut agree = Agree { run: &book.run_id, wrong: Vec::new() };
    agree.on("decisions on the trace", totals.decision_count, book.decisions + 1);
    agree.on("steps on the trace", totals.step_count, book.steps);
    agree.on("records on the trace", trace.record_count, book.decisions + book.steps + 1);
    agree.on("links verified", proof.records_verified, trace.record_count);
    agree.on("cost on the trace", totals.cost_microusd, book.cost);
    agree.on("usage of the run", usage.cost_microusd, book.cost);
    agree.on("steps of the run", run.step_count, book.steps);
    agree.on("proof", proof.overall(), ProofStatus::Verified);
    agree.on("audit", run.audit_status(), AuditStatus::Complete);
    agree.on("status", run.status(), RunStatus::Succeeded);
    Ok(Audit {
        runs: 1,
        decisions: book.decisions,
        degraded: book.degraded,
        retries: book.retries,
        steps: book.steps,
        records: trace.record_count,
        links: proof.records_verified,
        cost_microusd: usage.cost_microusd,
        projection_lag_ms,
        wrong: agree.wrong,
        disagreements: 0,
    })
}

/// The run once its projection has all steps and its verdict, and how long after the load that was.
async fn projected(wire: &Wire, caller: usize, book: &Book, ended: Instant) -> Outcome<(Run, u64)> {
    let mut runs = wire.client(caller);
    loop {
        let request = GetRunRequest { run_id: book.run_id.clone(), attempt: 1, view: 0 };
        let run = runs.get_run(request).await?.into_inner().run.unwrap_or_default();
        let arrived = run.step_count == book.steps && run.audit_status() == AuditStatus::Complete;
        if arrived || ended.elapsed() > PATIENCE {
            return Ok((run, u64::try_from(ended.elapsed().as_millis()).unwrap_or(u64::MAX)));
        }
        tokio::time::sleep(PAUSE).await;
    }
}

struct Agree<'a> {
    run: &'a str,
    wrong: Vec<String>,
}

impl Agree<'_> {
    fn on<T: PartialEq + std::fmt::Debug>(&mut self, what: &str, found: T, expected: T) {
        if found != expected {
            self.wrong.push(format!("run {}: {what}: {found:?}, not {expected:?}", self.run));
        }
    }
}
