//! The records of a range, in parts that fit into memory: run by run in the order in which runs were bound, decision by
//! decision in the order in which they were made. Read from the reading pool.

use std::collections::{HashMap, VecDeque};

use runspine_db::{Db, DbError};
use runspine_errors::Fault;
use runspine_policies_domain::{
    facts::{EndedQuestion, Principal},
    sandbox::backtest::Range,
};

use crate::{
    app::{App, Who, unreadable},
    store::backtests::{self, ReplayRow, RunCount},
};

/// Runs that are looked up at once.
const RUNS: i64 = 256;
/// Decisions that are read at once, unless one run has more in a window of steps.
const PART: u64 = 2_000;
/// Steps of one run that are read at once.
const WINDOW: i64 = 2_000;
/// Every step of a run, its start included.
pub(super) const ALL_STEPS: (i64, i64) = (-1, i64::MAX);

/// A part of the range, read.
pub(super) struct Part {
    pub runs: Vec<RunCount>,
    pub decisions: Vec<ReplayRow>,
    /// The steps that the decisions are about, the last not among them.
    pub steps: (i64, i64),
    /// Whether the runs of this part go on in the next.
    pub goes_on: bool,
}

/// Reads a range part by part.
pub(super) struct Feed {
    db: Db,
    tenant: String,
    range: Range,
    /// Place of the last run that was looked up.
    after: (i64, i64),
    runs: VecDeque<RunCount>,
    /// A long run, and the step from which on it has to be read.
    long: Option<(RunCount, i64)>,
    done: bool,
}

impl Feed {
    pub(super) fn new(db: Db, tenant: &str, range: Range) -> Self {
        let after = (range.since.saturating_sub(1), i64::MAX);
        Self { db, tenant: tenant.to_owned(), range, after, runs: VecDeque::new(), long: None, done: false }
    }

    /// The next runs that are in the range; none: that was all.
    async fn look_up(&mut self) -> Result<(), Fault> {
        while self.runs.is_empty() && !self.done {
            let range = (self.range.since, self.range.until);
            let page = backtests::runs(self.db.read(), &self.tenant, range, self.after, RUNS).await?;
            self.done = i64::try_from(page.len()).unwrap_or(i64::MAX) < RUNS;
            if let Some(last) = page.last() {
                self.after = (last.bound_at.0, last.id);
            }
            for run in page {
                if run.decisions > 0 && is_wanted(&self.range, &run)? {
                    self.runs.push_back(run);
                }
            }
        }
        Ok(())
    }

    /// How many decisions the whole range has, as far as `most`.
    pub(super) async fn count(mut self, most: u64) -> Result<u64, Fault> {
        let mut total = 0;
        loop {
            self.look_up().await?;
            if self.runs.is_empty() || total > most {
                return Ok(total);
            }
            total += self.runs.drain(..).map(|r| r.decisions).sum::<u64>();
        }
    }

    /// The next part; none: that was all.
    pub(super) async fn next(&mut self) -> Result<Option<Part>, Fault> {
        if let Some((run, from)) = self.long.take() {
            return self.window(run, from).await.map(Some);
        }
        self.look_up().await?;
        let (mut runs, mut planned) = (Vec::new(), 0);
        while let Some(run) = self.runs.pop_front() {
            if run.decisions > PART * 2 {
                if runs.is_empty() {
                    return self.window(run, ALL_STEPS.0).await.map(Some);
                }
                self.runs.push_front(run);
                break;
            }
            planned += run.decisions;
            runs.push(run);
            if planned >= PART {
                break;
            }
        }
        if runs.is_empty() {
            return Ok(None);
        }
        Ok(Some(self.read(runs, ALL_STEPS, false).await?))
    }

    async fn window(&mut self, run: RunCount, from: i64) -> Result<Part, Fault> {
        let to = from.saturating_add(WINDOW);
        let last = backtests::last_step(self.db.read(), run.id).await?;
        let goes_on = last.is_some_and(|last| last >= to);
        if goes_on {
            self.long = Some((run.clone(), to));
        }
        Ok(self.read(vec![run], (from, to), goes_on).await?)
    }

    async fn read(&self, runs: Vec<RunCount>, steps: (i64, i64), goes_on: bool) -> Result<Part, DbError> {
        let keys: Vec<i64> = runs.iter().map(|r| r.id).collect();
        let read = self.db.read();
        let decisions = backtests::decisions(read, &keys, steps, self.range.until).await?;
        Ok(Part { runs, decisions, steps, goes_on })
    }
}

/// What the trace says about the steps of a part, by run.
pub(super) async fn facts(
    db: &Db,
    runs: &[i64],
    steps: (i64, i64),
) -> Result<HashMap<i64, Vec<EndedQuestion>>, Fault> {
    let mut out: HashMap<i64, Vec<EndedQuestion>> = HashMap::new();
    for row in backtests::facts(db.read(), runs, steps).await? {
        let mut fact: EndedQuestion = serde_json::from_slice(&row.bytes).map_err(unreadable)?;
        fact.authorized = row.authorized;
        out.entry(row.run_key).or_default().push(fact);
    }
    Ok(out)
}

fn is_wanted(range: &Range, run: &RunCount) -> Result<bool, Fault> {
    if !range.runs.is_empty() && !range.runs.contains(&run.run_id) {
        return Ok(false);
    }
    if range.agents.is_empty() {
        return Ok(true);
    }
    let principal: Principal = serde_json::from_slice(&run.principal).map_err(unreadable)?;
    Ok(range.agents.contains(&principal.agent.id))
}

impl App {
    /// How many decisions a range has.
    pub(super) async fn count_range(&self, who: &Who, range: &Range) -> Result<u64, Fault> {
        let most = runspine_policies_domain::sandbox::backtest::MAX_DECISIONS;
        Feed::new(self.db.clone(), &who.tenant, range.clone()).count(most).await
    }
}
