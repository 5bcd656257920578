//! Whole runs of ten steps, by unary calls.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::task::JoinSet;

use crate::{
    agent::{Agent, Book},
    machine::Usage,
    measure::{Meter, Outcome, Point},
    wire::{Client, Wire},
};

/// Steps of a run.
const STEPS: usize = 10;

struct Done {
    runs: Meter,
    starts: Meter,
    ends: Meter,
    books: Vec<Book>,
}

impl Done {
    fn new() -> Outcome<Self> {
        Ok(Self { runs: Meter::new()?, starts: Meter::new()?, ends: Meter::new()?, books: Vec::new() })
    }
}

/// Measures whole runs with as many callers, each with one run after the other.
pub async fn measure(
    wire: &Arc<Wire>,
    pid: u32,
    callers: usize,
    seconds: f64,
) -> Outcome<(Vec<Point>, Vec<Book>)> {
    let mut usage = Usage::default();
    let stretch = Usage::open(pid);
    let begun = Instant::now();
    let until = begun + Duration::from_secs_f64(seconds);
    let mut work = JoinSet::new();
    for caller in 0..callers {
        work.spawn(one_after_the_other(wire.client(caller), until));
    }
    let mut all = Done::new()?;
    while let Some(done) = work.join_next().await {
        let done = done??;
        all.runs.add(&done.runs)?;
        all.starts.add(&done.starts)?;
        all.ends.add(&done.ends)?;
        all.books.extend(done.books);
    }
    let took = begun.elapsed();
    usage.close(&stretch);
    let point = |what: &str, meter: &Meter| Point::new(what, callers, meter, took, &usage);
    let mut points = vec![point("whole run of 10 steps", &all.runs)];
    // Their rate and processor time are those of the whole run.
    points.push(point("StartRun, in a whole run", &all.starts));
    points.push(point("CompleteRun, in a whole run", &all.ends));
    Ok((points, all.books))
}

async fn one_after_the_other(client: Client, until: Instant) -> Outcome<Done> {
    let mut done = Done::new()?;
    let mut steps = Meter::new()?;
    while Instant::now() < until {
        let begun = Instant::now();
        let mut agent = Agent::start(client.clone()).await?;
        done.starts.record(begun.elapsed());
        for _ in 0..STEPS {
            agent.authorize(&mut steps).await?;
            agent.record(&mut steps).await?;
        }
        let ending = Instant::now();
        agent.complete().await?;
        done.ends.record(ending.elapsed());
        done.runs.record(begun.elapsed());
        done.books.push(agent.book);
    }
    Ok(done)
}

/// Makes runs of one step until `count` more are stored.
pub async fn store(wire: &Arc<Wire>, callers: usize, count: usize) -> Outcome<Vec<Book>> {
    let mut work = JoinSet::new();
    for caller in 0..callers {
        let share = count / callers + usize::from(caller < count % callers);
        let client = wire.client(caller);
        work.spawn(async move {
            let (mut books, mut steps) = (Vec::with_capacity(share), Meter::new()?);
            for _ in 0..share {
                let mut agent = Agent::start(client.clone()).await?;
                agent.authorize(&mut steps).await?;
                agent.record(&mut steps).await?;
                agent.complete().await?;
                books.push(agent.book);
            }
            Outcome::Ok(books)
        });
    }
    let mut books = Vec::with_capacity(count);
    while let Some(done) = work.join_next().await {
        books.extend(done??);
    }
    Ok(books)
}
