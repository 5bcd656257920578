//! Domains alone: what `controls` and `logs` can do when nothing stands before them.

use std::{path::Path, sync::Arc};

use crate::{
    appends::{self, LongProof},
    args::Args,
    domain::Domain,
    holds,
    measure::{Outcome, Point},
    stories, tell,
};

/// What was measured.
#[derive(Default)]
pub struct Alone {
    /// Everything that was measured with callers.
    pub points: Vec<Point>,
    /// The proof of a long trace.
    pub proof: Option<LongProof>,
}

/// Measures the wanted parts.
pub async fn measure(args: &Args, binary: &Path, work: &Path) -> Outcome<Alone> {
    let mut alone = Alone::default();
    if args.wants("holds") {
        controls(args, binary, work, &mut alone).await?;
    }
    if args.wants("appends") || args.wants("stories") {
        logs(args, binary, work, &mut alone).await?;
    }
    Ok(alone)
}

async fn controls(args: &Args, binary: &Path, work: &Path, alone: &mut Alone) -> Outcome<()> {
    let domain =
        Domain::start(binary, work, "controls", contracts_controls::DESCRIPTORS, &[], args.engine).await?;
    let domain = Arc::new(domain);
    let limit_id = holds::limit(&domain).await?;
    for callers in args.callers() {
        tell(&format!("Reserve and Settle on one envelope, {callers} callers"))?;
        alone.points.push(holds::measure(&domain, callers, args.seconds()).await?);
    }
    holds::verify(&domain, &limit_id).await?;
    end(domain).await
}

async fn logs(args: &Args, binary: &Path, work: &Path, alone: &mut Alone) -> Outcome<()> {
    let set = ["logs.trace.max_records=10000000"];
    let domain = Domain::start(binary, work, "logs", contracts_logs::DESCRIPTORS, &set, args.engine).await?;
    let (domain, seconds) = (Arc::new(domain), args.seconds());
    if args.wants("appends") {
        for callers in args.callers() {
            tell(&format!("AppendRecords, {callers} callers"))?;
            alone.points.push(appends::measure(&domain, callers, 1, seconds).await?);
        }
        tell("AppendRecords, many a call")?;
        for callers in [1, 4] {
            alone.points.push(appends::measure(&domain, callers, appends::MOST, seconds).await?);
        }
        let links = args.long_trace();
        tell(&format!("the proof of a trace of {links} records"))?;
        alone.proof = Some(appends::prove(&domain, links).await?);
    }
    if args.wants("stories") {
        tell(&format!("a ledger of {} runs", args.ledger_runs()))?;
        let (runs, written) = stories::write(&domain, args.ledger_runs()).await?;
        alone.points.push(written);
        let runs = Arc::new(runs);
        for callers in args.callers() {
            tell(&format!("the story of a run, {callers} callers"))?;
            alone.points.push(stories::measure(&domain, &runs, callers, seconds).await?);
        }
    }
    end(domain).await
}

async fn end(domain: Arc<Domain>) -> Outcome<()> {
    Arc::into_inner(domain).ok_or("somebody still calls the domain")?.stop().await
}
