//! Everything that moves amounts goes through one batch: all waiting calls are done on one desk, in the order in which
//! they came, with the statements of one.

use std::{collections::BTreeSet, error::Error as _, sync::Arc};

use contracts_common::common::v1 as common;
use contracts_controls::v1 as pb;
use runspine_controls_domain::{
    book::{Book, Missing},
    guardrail::Defaults,
    limit::Key,
    words::{EstimateSource, StepKind},
};
use runspine_db::{Answers, Batch, BoxFuture, DbError, Tx};
use runspine_errors::{Fault, mesh};
use runspine_types::{Clock, Digest, Micros};

use super::{charge::StepEnd, estimates::Did, records::Caller};
use crate::store::{
    caches::Caches,
    desk::{Desk, RunRef},
    histories::Histories,
    locks::Locking,
};

/// A question about a run or a step.
#[derive(Debug, Clone)]
pub struct Ask {
    /// Who asks.
    pub caller: Caller,
    /// The run.
    pub run: RunRef,
    /// The step; none: the run itself.
    pub step: Option<u32>,
    /// Which ask.
    pub ask: u32,
    /// The decision that the answer goes into.
    pub decision_id: String,
    /// Digest of what is asked, without readings.
    pub digest: Digest,
    /// Whom the run is counted under; only for the run itself.
    pub scope: Option<pb::ScopeTuple>,
    /// The fence that the call carries.
    pub fence: u64,
    /// When the lease will lapse; only for the run itself.
    pub expires_at: Option<Micros>,
    /// The amounts asked for, as stated.
    pub amounts: Option<common::Amounts>,
    /// Where they come from.
    pub source: EstimateSource,
    /// What kind of step, for the defaults.
    pub kind: StepKind,
    /// What the step is about; empty: not known.
    pub resource: String,
    /// Provider, model and tool of the step; empty: none.
    pub place: [String; 3],
    /// What the attempt has used.
    pub totals: Option<common::Totals>,
    /// Earlier steps of the attempt that were the same action.
    pub repeats: u32,
    /// The profile.
    pub profile: runspine_controls_domain::words::Profile,
    /// The time that counts; none: the clock's.
    pub now: Option<Micros>,
    /// The bypass to be confirmed; empty: none.
    pub bypass_id: String,
    /// Whether the checks before the budget are made: not for Reserve.
    pub full: bool,
}

/// Names a hold.
#[derive(Debug, Clone)]
pub enum Target {
    /// By its id.
    Id(String),
    /// By run and step.
    Step(RunRef, u32),
    /// The run itself.
    Run(RunRef),
}

/// One call.
#[derive(Debug, Clone)]
#[allow(missing_docs)]
pub enum Call {
    /// AdmitRun, AdmitStep, Reserve.
    Ask(Arc<Ask>),
    /// The same where its checks could not be made.
    Undecided(Arc<Ask>),
    /// RenewRunLease.
    Renew { caller: Caller, run: RunRef, fence: u64, expires_at: Option<Micros>, epoch_seen: u64 },
    /// Extend.
    Extend { caller: Caller, target: Target, ask: u32, extra: common::Amounts, digest: Digest },
    /// Settle.
    Settle {
        caller: Caller,
        target: Target,
        actual: common::Amounts,
        outcome: common::StepOutcome,
        totals: Option<common::Totals>,
        did: Option<Did>,
        digest: Digest,
    },
    /// Release.
    Release { caller: Caller, target: Target, reason: runspine_controls_domain::words::ReleaseReason },
    /// SettleRun.
    SettleRun { caller: Caller, run: RunRef, outcome: i32, totals: Option<common::Totals>, failed: bool },
    /// EvaluateRunThresholds.
    Evaluate { caller: Caller, run: RunRef, totals: common::Totals, failed: bool, now: Option<Micros> },
    /// ReverseSettlement.
    Reverse { caller: Caller, settlement_id: String, saga_id: String, reason: String },
    /// The sweeper found a lapsed lease.
    Lapse { tenant_id: String, run: Key },
}

/// One answer: the response message of the call.
#[derive(Debug, Clone)]
#[allow(missing_docs)]
pub enum Out {
    Run(pb::AdmitRunResponse),
    Step(pb::AdmitStepResponse),
    Renew(pb::RenewRunLeaseResponse),
    Extend(pb::ExtendResponse),
    Settle(pb::SettleResponse),
    Release(pb::ReleaseResponse),
    SettleRun(pb::SettleRunResponse),
    Reverse(pb::ReverseSettlementResponse),
    Evaluated(pb::EvaluateRunThresholdsResponse),
    Lapsed(bool),
}

impl Call {
    fn tenant(&self) -> &str {
        match self {
            Self::Ask(ask) | Self::Undecided(ask) => &ask.caller.tenant_id,
            Self::Renew { caller, .. }
            | Self::Extend { caller, .. }
            | Self::Settle { caller, .. }
            | Self::Release { caller, .. }
            | Self::SettleRun { caller, .. }
            | Self::Evaluate { caller, .. }
            | Self::Reverse { caller, .. } => &caller.tenant_id,
            Self::Lapse { tenant_id, .. } => tenant_id,
        }
    }

    pub(super) fn target(&self) -> Option<&Target> {
        match self {
            Self::Extend { target, .. } | Self::Settle { target, .. } | Self::Release { target, .. } => {
                Some(target)
            }
            _ => None,
        }
    }

    pub(super) fn run(&self) -> Option<&RunRef> {
        match self {
            Self::Ask(ask) | Self::Undecided(ask) => Some(&ask.run),
            Self::Renew { run, .. } | Self::SettleRun { run, .. } | Self::Evaluate { run, .. } => Some(run),
            _ => match self.target()? {
                Target::Step(run, _) | Target::Run(run) => Some(run),
                Target::Id(_) => None,
            },
        }
    }

    /// What a run that is not known is made with; none: the call needs a known one.
    pub(super) fn interned(&self) -> Option<(&RunRef, Vec<u8>)> {
        use prost::Message as _;
        match self {
            Self::Ask(ask) | Self::Undecided(ask) => Some((&ask.run, ask.scope.as_ref()?.encode_to_vec())),
            Self::SettleRun { run, .. } => Some((run, Vec::new())),
            _ => None,
        }
    }
}

/// The batch.
pub struct Accounts {
    caches: Caches,
    clock: Arc<dyn Clock>,
}

impl Accounts {
    /// With an empty memory.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>, guardrails: Option<Defaults>, histories: Arc<Histories>) -> Self {
        Self { caches: Caches::guarding(guardrails).learning(histories), clock }
    }

    /// On PostgreSQL the envelopes are locked before anything below them. Where one turns out to be needed that was not
    /// foreseen, all is undone and begun again with it.
    async fn run(&self, tx: &mut Tx, calls: &[Call]) -> Answers<Out> {
        let now = self.clock.now();
        let mut wanted = BTreeSet::new();
        if tx.dialect().pick(true, false) {
            let tried = self.attempt(tx, calls, &mut wanted, now).await?;
            return tried.ok_or(DbError::Argument("an envelope was not to be touched"));
        }
        loop {
            let part = tx.begin_part().await?;
            let tried = self.attempt(tx, calls, &mut wanted, now).await;
            tx.end_part(part, matches!(tried, Ok(Some(_)))).await?;
            match tried? {
                Some(answers) => return Ok(answers),
                // What was read in the meantime may have been undone.
                None => self.caches.clear(),
            }
        }
    }

    /// `None`: `wanted` has grown.
    async fn attempt(
        &self,
        tx: &mut Tx,
        calls: &[Call],
        wanted: &mut BTreeSet<Key>,
        now: Micros,
    ) -> Result<Option<Vec<Result<Out, Fault>>>, DbError> {
        let decided = calls.iter().filter(|call| !matches!(call, Call::Undecided(_)));
        let tenants: BTreeSet<&str> = decided.map(Call::tenant).collect();
        let tenants: Vec<&str> = tenants.into_iter().collect();
        let mut desk = Desk::open(tx, &self.caches, &tenants, Locking::Ahead, now).await?;
        desk.prepare(calls, wanted, now).await?;
        let mut answers = Vec::with_capacity(calls.len());
        for call in calls {
            let answer = desk.serve(call, now).await;
            if let Err(fault) = &answer
                && fault.is(&mesh::INTERNAL)
            {
                // Half of the call lies on the desk.
                tracing::error!(%fault, cause = fault.source(), "a call could not be done, and its group is undone");
                return Err(DbError::Argument("a call could not be done"));
            }
            answers.push(answer);
        }
        if !desk.unlocked().is_empty() {
            wanted.extend(desk.unlocked());
            return Ok(None);
        }
        let learned = std::mem::take(&mut desk.learned);
        desk.flush(now).await?;
        self.caches.histories.learn(learned);
        Ok(Some(answers))
    }
}

impl Batch for Accounts {
    type Item = Call;
    type Out = Out;
    const NAME: &'static str = "accounts";

    fn apply<'t>(&'t self, tx: &'t mut Tx, items: &'t [Call]) -> BoxFuture<'t, Answers<Out>> {
        Box::pin(self.run(tx, items))
    }

    fn committed(&self) {
        self.caches.histories.committed();
    }

    fn undone(&self) {
        self.caches.clear();
        self.caches.histories.undone();
    }
}

impl Desk<'_> {
    async fn serve(&mut self, call: &Call, now: Micros) -> Result<Out, Fault> {
        self.at = now;
        match call {
            Call::Ask(ask) => self.answer(ask, now).await,
            Call::Undecided(ask) => self.answer_undecided(ask, now).await,
            Call::Renew { run, fence, expires_at, epoch_seen, .. } => {
                self.renew(run, *fence, *expires_at, *epoch_seen, now).await.map(Out::Renew)
            }
            Call::Extend { caller, target, ask, extra, digest } => {
                self.extend(caller, target, *ask, extra, *digest, now).await.map(Out::Extend)
            }
            Call::Settle { caller, target, actual, outcome, totals, did, digest } => {
                let (actual, outcome, totals, did) = (*actual, *outcome, *totals, did.as_ref());
                let end = StepEnd { actual, outcome, totals, did, digest: *digest };
                self.settle(caller, target, &end, now).await.map(Out::Settle)
            }
            Call::Release { caller, target, reason } => {
                self.release(caller, target, *reason, now).await.map(Out::Release)
            }
            Call::SettleRun { caller, run, outcome, totals, failed } => {
                let settled = self.settle_run(caller, run, *outcome, now).await?;
                if let Some(totals) = totals {
                    self.evaluate(run, totals, *failed, now)?;
                }
                Ok(Out::SettleRun(settled))
            }
            Call::Evaluate { run, totals, failed, now: at, .. } => {
                self.evaluate(run, totals, *failed, at.unwrap_or(now)).map(Out::Evaluated)
            }
            Call::Reverse { caller, settlement_id, saga_id, reason } => {
                self.reverse(caller, settlement_id, saga_id, reason, now).await.map(Out::Reverse)
            }
            Call::Lapse { run, .. } => self.lapse(*run, now).await.map(Out::Lapsed),
        }
    }

    /// Tries an operation of the book, loads what it missed and tries again.
    pub(crate) async fn with_book<T>(
        &mut self,
        mut operation: impl FnMut(&mut Book) -> Result<T, Missing> + Send,
    ) -> Result<T, Fault> {
        // A step misses at most three things of each of its envelopes.
        for _ in 0..256 {
            let missing = match operation(&mut self.book) {
                Ok(done) => return Ok(done),
                Err(missing) => missing,
            };
            if !self.may_touch(missing.envelope()) {
                return Err(Fault::new(&mesh::STORE_UNAVAILABLE, "the transaction begins again"));
            }
            self.load(missing).await?;
        }
        Err(super::defect("an operation of the book misses what was loaded"))
    }
}
