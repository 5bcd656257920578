//! `AuthorizeStep` and `RecordStep`, each measured alone.
//!
//! A step is recorded once and only after its decision, so the callers take turns: everybody authorizes until its
//! window is full, then everybody records, and the time of each half counts for its own call.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use futures::{StreamExt as _, TryStreamExt as _, stream};
use tokio::task::JoinSet;

use crate::{
    agent::{Agent, Book, IN_FLIGHT},
    machine::Usage,
    measure::{Meter, Outcome, Point},
    wire::Wire,
};

/// Runs that are started or ended at once while nothing is measured.
const AT_ONCE: usize = 32;

/// One half of a turn.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Half {
    Authorize,
    Record,
}

/// What one call gave over all turns.
struct Side {
    meter: Meter,
    took: Duration,
    usage: Usage,
}

impl Side {
    fn new() -> Outcome<Self> {
        Ok(Self { meter: Meter::new()?, took: Duration::ZERO, usage: Usage::default() })
    }

    fn point(&self, what: &str, callers: usize) -> Point {
        Point::new(what, callers, &self.meter, self.took, &self.usage)
    }
}

/// Starts as many runs.
pub async fn start(wire: &Arc<Wire>, callers: usize) -> Outcome<Vec<Agent>> {
    let starts = (0..callers).map(|caller| Agent::start(wire.client(caller)));
    stream::iter(starts).buffered(AT_ONCE).try_collect().await
}

/// Ends the runs and gives their books.
pub async fn complete(agents: Vec<Agent>) -> Outcome<Vec<Book>> {
    let ends = agents.into_iter().map(|mut agent| async move {
        agent.complete().await?;
        Ok(agent.book)
    });
    stream::iter(ends).buffered(AT_ONCE).try_collect().await
}

/// Measures both calls with as many callers, each with a run of its own.
pub async fn measure(
    wire: &Arc<Wire>,
    pid: u32,
    callers: usize,
    seconds: f64,
) -> Outcome<(Vec<Point>, Vec<Book>)> {
    let mut agents = start(wire, callers).await?;
    let budget = Duration::from_secs_f64(seconds);
    let (mut authorize, mut record) = (Side::new()?, Side::new()?);
    while authorize.took + record.took < budget * 2 {
        agents = turn(agents, Half::Authorize, pid, &mut authorize).await?;
        agents = turn(agents, Half::Record, pid, &mut record).await?;
    }
    let books = complete(agents).await?;
    Ok((vec![authorize.point("AuthorizeStep", callers), record.point("RecordStep", callers)], books))
}

async fn turn(agents: Vec<Agent>, half: Half, pid: u32, side: &mut Side) -> Outcome<Vec<Agent>> {
    let stretch = Usage::open(pid);
    let begun = Instant::now();
    let mut work = JoinSet::new();
    for agent in agents {
        work.spawn(work_half(agent, half));
    }
    let mut back = Vec::with_capacity(work.len());
    while let Some(done) = work.join_next().await {
        let (agent, meter) = done??;
        side.meter.add(&meter)?;
        back.push(agent);
    }
    side.took += begun.elapsed();
    side.usage.close(&stretch);
    Ok(back)
}

async fn work_half(mut agent: Agent, half: Half) -> Outcome<(Agent, Meter)> {
    let mut meter = Meter::new()?;
    match half {
        Half::Authorize => {
            for _ in 0..IN_FLIGHT {
                agent.authorize(&mut meter).await?;
            }
        }
        Half::Record => {
            while agent.has_open() {
                agent.record(&mut meter).await?;
            }
        }
    }
    Ok((agent, meter))
}
