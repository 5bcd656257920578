//! Loads what a group of calls is about, with the same few statements however many there are.

use std::collections::{BTreeMap, BTreeSet};

use runspine_controls_domain::{
    limit::{Key, RunScope},
    words::{Category, Unit},
};
use runspine_db::DbError;
use runspine_types::Micros;

use super::accounts::{Ask, Call, Target};
use crate::store::{
    desk::{Desk, RunRef},
    met,
    rows::{LeaseRow, scope_in},
};

/// The units of tokens.
const TOKENS: [Unit; 3] = [Unit::TokensInput, Unit::TokensOutput, Unit::TokensTotal];

impl Ask {
    /// Whom it is counted under, and whether it is a start.
    ///
    /// # Errors
    /// When the stored tuple can't be read.
    pub fn counted(&self, lease: &LeaseRow) -> Result<(RunScope, bool), DbError> {
        let run = match &self.scope {
            Some(stated) => scope_in(&lease.tenant_id, &lease.run_id, stated.clone()),
            None => lease.run_scope()?,
        };
        let [provider, model, tool] = &self.place;
        let at_start = self.step.is_none();
        Ok((if at_start { run } else { run.of_step(self.kind, provider, model, tool) }, at_start))
    }
}

impl Desk<'_> {
    /// Loads what the calls are about. `wanted` are envelopes that are known to be needed.
    ///
    /// # Errors
    /// When the store fails.
    pub(super) async fn prepare(
        &mut self,
        calls: &[Call],
        wanted: &BTreeSet<Key>,
        now: Micros,
    ) -> Result<(), DbError> {
        let ids: Vec<&str> = calls
            .iter()
            .filter_map(|c| match c.target() {
                Some(Target::Id(id)) => Some(id.as_str()),
                _ => None,
            })
            .collect();
        let named: Vec<&RunRef> = calls.iter().filter_map(Call::run).collect();
        let mut by_key = self.load_hold_runs(&ids).await?;
        by_key.extend(calls.iter().filter_map(|c| match c {
            Call::Lapse { run, .. } => Some(*run),
            _ => None,
        }));
        self.load_runs(&named, &by_key).await?;
        // Behind the locks of their runs: nobody changes the holds any more.
        self.load_hold_ids(&ids).await?;
        let fresh: Vec<(&RunRef, Vec<u8>)> = calls.iter().filter_map(Call::interned).collect();
        self.intern_runs(&fresh, now).await?;
        let decided = calls.iter().filter(|call| !matches!(call, Call::Undecided(_))).filter_map(Call::run);
        let mut runs: Vec<Key> = decided.filter_map(|r| self.run(r)).map(|r| r.run_key).collect();
        runs.extend(by_key);
        runs.sort_unstable();
        runs.dedup();
        let scopes = self.scopes_of(calls)?;
        self.prepare_estimates(calls).await?;
        self.ensure_envelopes(&scopes, now).await?;
        self.prepare_gates(calls, &scopes, &runs, wanted).await?;
        self.prepare_breakers(calls, &scopes, now).await?;
        self.load_allocations(&runs).await?;
        self.prepare_steps(calls).await
    }

    /// Whom starts and steps are counted under, and steps that may be charged without a hold.
    fn scopes_of(&self, calls: &[Call]) -> Result<Vec<(RunScope, bool)>, DbError> {
        let mut scopes = Vec::new();
        for call in calls {
            match call {
                Call::Ask(ask) => {
                    if let Some(lease) = self.run(&ask.run) {
                        scopes.push(ask.counted(lease)?);
                    }
                }
                Call::Settle { target, .. } => {
                    let lease = match target {
                        Target::Id(id) => self.hold_key(id).and_then(|k| self.run_by_key(k.0)),
                        Target::Step(run, _) | Target::Run(run) => self.run(run),
                    };
                    if let Some(lease) = lease {
                        scopes.push((lease.run_scope()?.of_unknown_step(), false));
                    }
                }
                Call::SettleRun { run, .. } | Call::Evaluate { run, .. } => {
                    if let Some(lease) = self.run(run) {
                        scopes.push((lease.run_scope()?.of_unknown_step(), false));
                    }
                }
                _ => {}
            }
        }
        Ok(scopes)
    }

    /// Locks the envelopes that will be needed, all in one statement, and loads the buckets and slots under them.
    async fn prepare_gates(
        &mut self,
        calls: &[Call],
        scopes: &[(RunScope, bool)],
        runs: &[Key],
        wanted: &BTreeSet<Key>,
    ) -> Result<(), DbError> {
        let (mut buckets, mut slots) = (BTreeSet::new(), BTreeSet::new());
        // What settles looks at no bucket but those that it corrects.
        let asking: BTreeSet<&RunRef> =
            calls.iter().filter(|c| matches!(c, Call::Ask(_))).filter_map(Call::run).collect();
        let asks = |scope: &RunScope| asking.iter().any(|run| run.run_id == scope.run_id);
        for (scope, at_start) in scopes.iter().filter(|(scope, _)| asks(scope)) {
            for (limit, row) in self.applicable(scope, *at_start) {
                match limit.spec.category {
                    Category::Rate => buckets.insert(row.envelope_key),
                    Category::Concurrency => slots.insert(row.envelope_key),
                    Category::Budget | Category::Threshold => continue,
                };
            }
        }
        buckets.extend(self.takes_of(calls).await?);
        let mut needed: BTreeSet<Key> = wanted.union(&buckets).copied().collect();
        needed.extend(&slots);
        if self.locks_ahead() {
            needed.extend(self.foreseen(calls, runs).await?);
        }
        self.lock_envelopes(&needed).await?;
        let (buckets, slots): (Vec<Key>, Vec<Key>) =
            (buckets.into_iter().collect(), slots.into_iter().collect());
        self.load_envelopes(&buckets).await?;
        self.load_gates(&buckets, &slots).await
    }

    /// Loads the breakers of what the calls would use, behind the locks of their envelopes.
    async fn prepare_breakers(
        &mut self,
        calls: &[Call],
        scopes: &[(RunScope, bool)],
        now: Micros,
    ) -> Result<(), DbError> {
        let met: Vec<&RunScope> =
            scopes.iter().map(|(scope, _)| scope).filter(|scope| met::may_meet(scope)).collect();
        if met.is_empty() {
            return Ok(());
        }
        let asked = calls.iter().filter_map(|call| match call {
            Call::Ask(ask) => ask.now,
            _ => None,
        });
        let at = asked.fold(now, Micros::max);
        self.load_breakers(&met, at).await
    }

    /// The buckets of tokens that settling calls may correct.
    async fn takes_of(&mut self, calls: &[Call]) -> Result<Vec<Key>, DbError> {
        let mut steps = BTreeSet::new();
        for call in calls {
            let Call::Settle { caller, target, .. } = call else { continue };
            if !self.set(&caller.tenant_id).has(Category::Rate, &TOKENS) {
                continue;
            }
            match target {
                Target::Id(id) => steps.extend(self.hold_key(id).map(|k| (k.0, k.1))),
                Target::Step(run, step) => steps.extend(self.run(run).map(|r| (r.run_key, i64::from(*step)))),
                Target::Run(_) => {}
            }
        }
        self.load_takes(&steps.into_iter().collect::<Vec<_>>()).await
    }

    /// The envelopes that these calls will work on, as far as can be told from the escrow of their runs.
    async fn foreseen(&mut self, calls: &[Call], runs: &[Key]) -> Result<BTreeSet<Key>, DbError> {
        let mut free: BTreeMap<(Key, Key), i64> = BTreeMap::new();
        for (run, envelope, amount) in self.free_escrow(runs).await? {
            *free.entry((run, envelope)).or_default() += amount;
        }
        let mut needed = BTreeSet::new();
        for call in calls {
            let ended = match call {
                Call::Ask(ask) => {
                    self.foresee(ask, &mut free, &mut needed)?;
                    None
                }
                Call::SettleRun { run, .. }
                | Call::Renew { run, expires_at: None, .. }
                | Call::Release { target: Target::Run(run), .. } => self.run(run).map(|r| r.run_key),
                Call::Lapse { run, .. } => Some(*run),
                _ => None,
            };
            if let Some(run) = ended {
                needed.extend(free.range((run, Key::MIN)..=(run, Key::MAX)).map(|(key, _)| key.1));
            }
        }
        Ok(needed)
    }

    fn foresee(
        &mut self,
        ask: &Ask,
        free: &mut BTreeMap<(Key, Key), i64>,
        needed: &mut BTreeSet<Key>,
    ) -> Result<(), DbError> {
        let Some(lease) = self.run(&ask.run).cloned() else { return Ok(()) };
        let (scope, at_start) = ask.counted(&lease)?;
        let (amounts, _) = self.filled(ask, &scope.agent_id);
        for (limit, row) in self.applicable(&scope, at_start) {
            if limit.spec.category != Category::Budget {
                continue;
            }
            let left = free.entry((lease.run_key, row.envelope_key)).or_insert(-1);
            *left -= if at_start { 0 } else { amounts.of(limit.spec.unit) };
            // Whether an override changed anything is asked of the envelope.
            if *left < 0 || self.overridden.contains_key(&row.envelope_key) {
                needed.insert(row.envelope_key);
            }
        }
        Ok(())
    }

    async fn prepare_steps(&mut self, calls: &[Call]) -> Result<(), DbError> {
        let (mut asks, mut holds, mut ending) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
        for call in calls {
            let key = call.run().and_then(|r| self.run(r)).map(|r| r.run_key);
            match (call, key) {
                (Call::Ask(ask) | Call::Undecided(ask), Some(run)) => {
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
}
