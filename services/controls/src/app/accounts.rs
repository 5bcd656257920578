//! Everything that moves amounts goes through one batch: all waiting calls are done on one desk, in the order in which
//! they came, with the statements of one.

use std::{collections::BTreeSet, sync::Arc};

use bytes::Bytes;
use contracts_common::common::v1 as common;
use contracts_controls::v1 as pb;
use runspine_controls_domain::{
    book::{Book, Missing},
    limit::Key,
};
use runspine_db::{Answers, Batch, BoxFuture, DbError, Tx};
use runspine_errors::Fault;
use runspine_types::{Clock, Digest, Micros};

use super::records::Caller;
use crate::store::{
    caches::Caches,
    desk::{Desk, RunRef},
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
    /// What kind of step, for the defaults.
    pub kind: runspine_controls_domain::words::StepKind,
    /// What the attempt has used.
    pub totals: Option<common::Totals>,
    /// The profile.
    pub profile: runspine_controls_domain::words::Profile,
    /// The time that counts; none: the clock's.
    pub now: Option<Micros>,
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
    Ask(Box<Ask>),
    /// RenewRunLease.
    Renew { caller: Caller, run: RunRef, fence: u64, expires_at: Option<Micros> },
    /// Extend.
    Extend { caller: Caller, target: Target, ask: u32, extra: common::Amounts, digest: Digest },
    /// Settle.
    Settle {
        caller: Caller,
        target: Target,
        actual: common::Amounts,
        outcome: common::StepOutcome,
        digest: Digest,
    },
    /// Release.
    Release { caller: Caller, target: Target, reason: runspine_controls_domain::words::ReleaseReason },
    /// SettleRun.
    SettleRun { caller: Caller, run: RunRef, outcome: i32 },
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
    Lapsed(bool),
}

impl Call {
    fn tenant(&self) -> &str {
        match self {
            Self::Ask(ask) => &ask.caller.tenant_id,
            Self::Renew { caller, .. }
            | Self::Extend { caller, .. }
            | Self::Settle { caller, .. }
            | Self::Release { caller, .. }
            | Self::SettleRun { caller, .. }
            | Self::Reverse { caller, .. } => &caller.tenant_id,
            Self::Lapse { tenant_id, .. } => tenant_id,
        }
    }

    fn target(&self) -> Option<&Target> {
        match self {
            Self::Extend { target, .. } | Self::Settle { target, .. } | Self::Release { target, .. } => {
                Some(target)
            }
            _ => None,
        }
    }

    fn run(&self) -> Option<&RunRef> {
        match self {
            Self::Ask(ask) => Some(&ask.run),
            Self::Renew { run, .. } | Self::SettleRun { run, .. } => Some(run),
            _ => match self.target()? {
                Target::Step(run, _) | Target::Run(run) => Some(run),
                Target::Id(_) => None,
            },
        }
    }

    /// What a run that is not known is made with; none: the call needs a known one.
    fn interned(&self) -> Option<(&RunRef, Vec<u8>)> {
        use prost::Message as _;
        match self {
            Self::Ask(ask) => Some((&ask.run, ask.scope.as_ref()?.encode_to_vec())),
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
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self { caches: Caches::default(), clock }
    }

    async fn run(&self, tx: &mut Tx, calls: &[Call]) -> Answers<Out> {
        let now = self.clock.now();
        let tenants: BTreeSet<&str> = calls.iter().map(Call::tenant).collect();
        let tenants: Vec<&str> = tenants.into_iter().collect();
        let mut desk = Desk::open(tx, &self.caches, &tenants).await?;
        desk.prepare(calls, now).await?;
        let mut answers = Vec::with_capacity(calls.len());
        for call in calls {
            answers.push(desk.serve(call, now).await);
        }
        desk.flush(now).await?;
        Ok(answers)
    }
}

impl Batch for Accounts {
    type Item = Call;
    type Out = Out;
    const NAME: &'static str = "accounts";

    fn apply<'t>(&'t self, tx: &'t mut Tx, items: &'t [Call]) -> BoxFuture<'t, Answers<Out>> {
        Box::pin(self.run(tx, items))
    }

    fn undone(&self) {
        self.caches.clear();
    }
}

impl Desk<'_> {
    /// Loads what the calls are about, with the same few statements however many there are.
    async fn prepare(&mut self, calls: &[Call], now: Micros) -> Result<(), DbError> {
        let ids: Vec<&str> = calls
            .iter()
            .filter_map(|c| match c.target() {
                Some(Target::Id(id)) => Some(id.as_str()),
                _ => None,
            })
            .collect();
        if !ids.is_empty() {
            self.load_hold_ids(&ids).await?;
        }
        let named: Vec<&RunRef> = calls.iter().filter_map(Call::run).collect();
        self.load_runs(&named).await?;
        let fresh: Vec<(&RunRef, Vec<u8>)> = calls.iter().filter_map(Call::interned).collect();
        self.intern_runs(&fresh, now).await?;
        let by_key = self.keys_of(calls, &ids);
        self.load_run_keys(&by_key).await?;
        let mut runs: Vec<Key> = named.iter().filter_map(|r| self.run(r)).map(|r| r.run_key).collect();
        runs.extend(by_key);
        runs.sort_unstable();
        runs.dedup();
        self.load_allocations(&runs).await?;
        self.prepare_steps(calls).await?;
        self.prepare_envelopes(calls, now).await
    }

    fn keys_of(&self, calls: &[Call], hold_ids: &[&str]) -> Vec<Key> {
        let by_hold = hold_ids.iter().filter_map(|id| self.hold_key(id)).map(|k| k.0);
        let lapsed = calls.iter().filter_map(|c| match c {
            Call::Lapse { run, .. } => Some(*run),
            _ => None,
        });
        by_hold.chain(lapsed).collect()
    }

    async fn prepare_steps(&mut self, calls: &[Call]) -> Result<(), DbError> {
        let (mut asks, mut holds, mut ending) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
        for call in calls {
            let key = call.run().and_then(|r| self.run(r)).map(|r| r.run_key);
            match (call, key) {
                (Call::Ask(ask), Some(run)) => {
                    asks.insert((run, ask.step.map_or(-1, i64::from)));
                }
                (Call::SettleRun { .. }, Some(run)) => {
                    ending.insert(run);
                }
                (Call::Lapse { run, .. }, _) => {
                    ending.insert(*run);
                }
                (_, Some(run)) => {
                    if let Some(Target::Step(_, step)) = call.target() {
                        holds.insert((run, i64::from(*step)));
                    }
                }
                _ => {}
            }
        }
        self.load_asks(&asks.into_iter().collect::<Vec<_>>()).await?;
        self.load_holds(&holds.into_iter().collect::<Vec<_>>()).await?;
        self.load_active_holds(&ending.into_iter().collect::<Vec<_>>()).await
    }

    /// The envelopes of runs that may reserve, and of those that may be charged without a hold.
    async fn prepare_envelopes(&mut self, calls: &[Call], now: Micros) -> Result<(), DbError> {
        let mut scopes = Vec::new();
        for call in calls {
            let row = match call {
                Call::Ask(ask) => self.run(&ask.run),
                Call::Settle { target: Target::Step(run, _), .. } => self.run(run),
                _ => None,
            };
            let Some(row) = row else { continue };
            let mut row = row.clone();
            if let Call::Ask(ask) = call
                && let Some(scope) = &ask.scope
            {
                row.scope = Bytes::from(prost::Message::encode_to_vec(scope));
            }
            scopes.push(row.run_scope()?);
        }
        self.ensure_envelopes(&scopes, now).await
    }

    async fn serve(&mut self, call: &Call, now: Micros) -> Result<Out, Fault> {
        match call {
            Call::Ask(ask) => self.answer(ask, now).await,
            Call::Renew { caller, run, fence, expires_at } => {
                self.renew(caller, run, *fence, *expires_at, now).await.map(Out::Renew)
            }
            Call::Extend { caller, target, ask, extra, digest } => {
                self.extend(caller, target, *ask, extra, *digest, now).await.map(Out::Extend)
            }
            Call::Settle { caller, target, actual, outcome, digest } => {
                self.settle(caller, target, actual, *outcome, *digest, now).await.map(Out::Settle)
            }
            Call::Release { caller, target, reason } => {
                self.release(caller, target, *reason, now).await.map(Out::Release)
            }
            Call::SettleRun { caller, run, outcome } => {
                self.settle_run(caller, run, *outcome, now).await.map(Out::SettleRun)
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
            match operation(&mut self.book) {
                Ok(done) => return Ok(done),
                Err(missing) => self.load(missing).await?,
            }
        }
        Err(super::defect("an operation of the book misses what was loaded"))
    }
}
