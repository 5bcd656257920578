//! The work on a back-test: claimed under a lease, part by part, ended with its report. Whoever takes over begins anew;
//! what an older claim had found is not read.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

use prost::Message as _;
use runspine_boot::CancellationToken;
use runspine_errors::{Fault, mesh};
use runspine_policies_domain::{
    sandbox::{
        backtest::{Act, Range, next_state, self_check_stride},
        candidate::{Overlay, compile},
        replay::Replayer,
        tally::{Diff, Tally},
    },
    words::BacktestState,
};
use runspine_types::{Digest, Micros};

use super::{
    feed::{self, ALL_STEPS, Feed},
    replay::{Found, Loaded, Work, replayer},
};
use crate::{
    app::{App, cache::LoadError, unreadable},
    present_sandbox,
    store::backtests::{self, BacktestRow, Ended},
};

/// How long a claim holds without a sign of life.
const LEASE: Duration = Duration::from_secs(30);
/// Live writes that wait from which on a back-test waits too, and how long it does at most before each part.
const BUSY: (u64, u32) = (8, 50);

/// How the work on a claim ended.
enum Outcome {
    /// Everything was looked at.
    Done(Box<Tally>),
    /// The service stops, or somebody else holds the back-test now.
    Left,
}

impl App {
    /// Takes the next back-test that is due; none: there is none.
    pub(crate) async fn claim_backtest(&self) -> Result<Option<BacktestRow>, Fault> {
        let now = self.now();
        if !backtests::any_due(self.db.read(), now).await? {
            return Ok(None);
        }
        let claimed = self
            .db
            .write("claim_backtest", move |tx| {
                Box::pin(async move {
                    let Some(row) = backtests::due(tx, now).await? else { return Ok(None) };
                    if !backtests::claim(tx, &row, now + LEASE, now).await? {
                        return Ok(None);
                    }
                    Ok(backtests::by_id(tx, &row.tenant_id, &row.backtest_id).await?)
                })
            })
            .await?;
        self.backtests_moved();
        Ok(claimed)
    }

    /// Works on a claimed back-test until it is done, or `stop`.
    pub(crate) async fn work_on(&self, row: &BacktestRow, stop: &CancellationToken) -> Result<(), Fault> {
        let key = (row.id, row.claim);
        let range: Range = serde_json::from_slice(&row.range_body).map_err(unreadable)?;
        let ended = match self.replay_all(row, &range, stop).await {
            Ok(Outcome::Done(tally)) => {
                let act = if tally.self_check_failed.is_none() { Act::Complete } else { Act::Distrust };
                let report = present_sandbox::report(row.candidate_digest, &range, &tally);
                (act, tally.examined(), report.encode_to_vec(), String::new())
            }
            Ok(Outcome::Left) => {
                let release = self.db.write("release_backtest", move |tx| {
                    Box::pin(async move { Ok(backtests::release(tx, key).await?) })
                });
                return release.await;
            }
            // What may go away by itself is tried again when the lease ends.
            Err(fault) if fault.is(&mesh::STORE_UNAVAILABLE) || fault.is(&mesh::DRAINING) => {
                return Err(fault);
            }
            Err(fault) => (Act::Fail, row.examined, Vec::new(), fault.to_string()),
        };
        let (act, examined, report, error) = ended;
        let state = next_state(BacktestState::Running, act).unwrap_or(BacktestState::Failed);
        let ended = Ended { state, examined, report, error, at: self.now() };
        self.db
            .write("end_backtest", move |tx| {
                Box::pin(async move { Ok(backtests::end(tx, key, ended).await?) })
            })
            .await?;
        self.backtests_moved();
        Ok(())
    }

    async fn replay_all(
        &self,
        row: &BacktestRow,
        range: &Range,
        stop: &CancellationToken,
    ) -> Result<Outcome, Fault> {
        let base = self.cache.snapshot(&self.db, &row.tenant_id, row.base_digest).await;
        let base = base.map_err(LoadError::into_fault)?;
        let overlay = Overlay::from_bytes(&row.overlay)
            .ok_or_else(|| Fault::new(&mesh::INTERNAL, "a stored candidate can't be read"))?;
        let candidate = replayer(Arc::new(compile(&base, &overlay, &row.tenant_id)?));
        let mut source = Source {
            app: self,
            tenant: &row.tenant_id,
            feed: Feed::new(self.db.clone(), &row.tenant_id, range.clone()),
            candidate: Arc::clone(&candidate),
            own: HashMap::new(),
        };
        let mut work = Work::new(candidate, self_check_stride(row.total));
        let mut next = source.next().await?;
        while let Some(loaded) = next {
            if stop.is_cancelled() {
                return Ok(Outcome::Left);
            }
            self.give_way().await;
            // The next part is read while this one is decided.
            let deciding = tokio::task::spawn_blocking(move || {
                let found = work.part(loaded);
                (work, found)
            });
            let (decided, following) = tokio::join!(deciding, source.next());
            let (done, found) = decided.map_err(unreadable)?;
            work = done;
            let Found { diffs, affected } = found?;
            work.tally.cost_affected += self.spent(&affected, range.until).await?;
            if !self.keep(row, work.tally.examined(), diffs).await? {
                return Ok(Outcome::Left);
            }
            next = following?;
        }
        Ok(Outcome::Done(Box::new(work.tally)))
    }

    /// Lets live decisions go first: waits a little while many of them wait for the writer.
    async fn give_way(&self) {
        for _ in 0..BUSY.1 {
            if self.db.stats().waiting < BUSY.0 {
                return;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// What runs cost, as the trace said before `until`.
    pub(super) async fn spent(&self, runs: &[i64], until: i64) -> Result<i64, Fault> {
        let mut spent = 0_i64;
        for runs in runs.chunks(256) {
            let facts = feed::facts(&self.db, runs, ALL_STEPS).await?;
            let costs = facts.values().flatten().filter(|f| f.occurred_at < until).map(|f| f.cost_microusd);
            spent = costs.fold(spent, i64::saturating_add);
        }
        Ok(spent)
    }

    /// Stores what a part came to; `false` when the claim holds no more.
    async fn keep(&self, row: &BacktestRow, examined: u64, diffs: Vec<Diff>) -> Result<bool, Fault> {
        let (key, lease): (_, Micros) = ((row.id, row.claim), self.now() + LEASE);
        let held = self
            .db
            .write("backtest_progress", move |tx| {
                Box::pin(async move {
                    let held = backtests::progress(tx, key, examined, lease).await?;
                    if held {
                        backtests::insert_diffs(tx, key, &diffs).await?;
                    }
                    Ok(held)
                })
            })
            .await?;
        self.backtests_moved();
        Ok(held)
    }
}

/// Reads parts, with the snapshots and facts that their replay needs.
struct Source<'a> {
    app: &'a App,
    tenant: &'a str,
    feed: Feed,
    candidate: Arc<Replayer>,
    own: HashMap<Digest, Option<Arc<Replayer>>>,
}

impl Source<'_> {
    async fn next(&mut self) -> Result<Option<Loaded>, Fault> {
        let Some(part) = self.feed.next().await? else { return Ok(None) };
        let digests: BTreeSet<Digest> = part.runs.iter().map(|r| r.snapshot).collect();
        let mut own = HashMap::with_capacity(digests.len());
        for digest in digests {
            own.insert(digest, self.own(digest).await?);
        }
        let wanted = self.candidate.needs_facts() || own.values().flatten().any(|o| o.needs_facts());
        let facts = if wanted {
            let runs: Vec<i64> = part.runs.iter().map(|r| r.id).collect();
            feed::facts(&self.app.db, &runs, part.steps).await?
        } else {
            HashMap::new()
        };
        Ok(Some(Loaded { part, own, facts }))
    }

    async fn own(&mut self, digest: Digest) -> Result<Option<Arc<Replayer>>, Fault> {
        if let Some(known) = self.own.get(&digest) {
            return Ok(known.clone());
        }
        let found = match self.app.cache.snapshot(&self.app.db, self.tenant, digest).await {
            Ok(snapshot) => Some(replayer(snapshot)),
            Err(LoadError::Store(fault)) => return Err(fault),
            Err(LoadError::Missing | LoadError::Invalid { .. }) => None,
        };
        self.own.insert(digest, found.clone());
        Ok(found)
    }
}
