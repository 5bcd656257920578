//! The story of one run, asked of a ledger that holds those of many.

use std::{sync::Arc, time::Instant};

use contracts_logs::v1::{
    AppendEntriesRequest, LedgerEvent, LedgerFilter, LedgerScope, ListEntriesRequest,
    ledger_service_client::LedgerServiceClient,
};
use runspine_rpc::Transport;
use runspine_types::{Clock as _, SystemClock, new_id};

use crate::{
    domain::Domain,
    machine::Usage,
    measure::{Meter, Outcome, Point, together},
};

/// What its points are called.
pub const WHAT: &str = "story of a run";
/// The most entries of one call.
const MOST: usize = 512;
/// Every run of the ledger has as many entries.
const ENTRIES: usize = 2;
/// Runs whose story is asked for are spread over all that were written.
const KEPT: usize = 1_000;

/// Writes the entries of `runs` runs; some of the runs, and how fast it was.
pub async fn write(domain: &Domain, runs: usize) -> Outcome<(Vec<String>, Point)> {
    let mut ledger = LedgerServiceClient::new(domain.ways(1)?.remove(0));
    let (mut kept, mut meter, mut usage) = (Vec::new(), Meter::new()?, Usage::default());
    let stretch = Usage::open(domain.pid());
    let (begun, step) = (Instant::now(), (runs / KEPT).max(1));
    let mut written = 0;
    while written < runs {
        let ids: Vec<String> = (written..runs).take(MOST / ENTRIES).map(|_| new_id()).collect();
        kept.extend(ids.iter().zip(written..).filter(|(_, n)| n % step == 0).map(|(id, _)| id.clone()));
        written += ids.len();
        let entries = ids.iter().flat_map(|id| (0..ENTRIES).map(move |n| event(id, n))).collect();
        let request = domain.ask("LedgerService/AppendEntries", AppendEntriesRequest { entries })?;
        let asked = Instant::now();
        ledger.append_entries(request).await?;
        meter.record(asked.elapsed());
    }
    usage.close(&stretch);
    Ok((kept, Point::new(&format!("AppendEntries of {MOST}"), 1, &meter, begun.elapsed(), &usage)))
}

fn event(run_id: &str, number: usize) -> LedgerEvent {
    LedgerEvent {
        event_id: new_id(),
        event_type: if number == 0 { "spine.RunStarted" } else { "spine.RunCompleted" }.to_owned(),
        scope: LedgerScope::Run.into(),
        run_id: run_id.to_owned(),
        attempt: 1,
        correlation_id: "load".to_owned(),
        entity_type: "run".to_owned(),
        entity_id: run_id.to_owned(),
        occurred_at: Some(runspine_rpc::timestamp(SystemClock.now())),
        ..LedgerEvent::default()
    }
}

/// Measures how long the story of a run takes to read.
pub async fn measure(
    domain: &Arc<Domain>,
    runs: &Arc<Vec<String>>,
    callers: usize,
    seconds: f64,
) -> Outcome<Point> {
    let ways = domain.ways(callers)?.into_iter().enumerate();
    let readers = |until| {
        ways.map(|(caller, way)| read(Arc::clone(domain), way, Arc::clone(runs), caller, until)).collect()
    };
    together(WHAT, domain.pid(), seconds, readers).await
}

async fn read(
    domain: Arc<Domain>,
    way: Transport,
    runs: Arc<Vec<String>>,
    caller: usize,
    until: Instant,
) -> Outcome<Meter> {
    let mut ledger = LedgerServiceClient::new(way);
    let mut meter = Meter::new()?;
    // Each caller begins elsewhere, and a prime step reaches them all.
    let mut at = caller * 37;
    while Instant::now() < until {
        let run_id = runs[at % runs.len()].clone();
        at += 7_919;
        let filter = LedgerFilter { run_id, ..LedgerFilter::default() };
        let request = ListEntriesRequest { filter: Some(filter), ..ListEntriesRequest::default() };
        let request = domain.ask("LedgerService/ListEntries", request)?;
        let begun = Instant::now();
        let found = ledger.list_entries(request).await?.into_inner().entries;
        meter.record(begun.elapsed());
        if found.len() != ENTRIES {
            return Err(format!("a run's story has {} entries, not {ENTRIES}", found.len()).into());
        }
    }
    Ok(meter)
}
