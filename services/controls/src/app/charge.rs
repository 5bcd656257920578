//! What a step really used: Settle, Extend, Release.

use bytes::Bytes;
use contracts_common::common::v1 as common;
use contracts_controls::v1 as pb;
use prost::Message as _;
use runspine_controls_domain::{
    admission::{BUDGET_EXCEEDED, Check, Effect, Finding, OVERDRAFT_LIMIT_EXCEEDED, budget_finding, combine},
    book::{Charged, Reserved},
    estimate::Amounts,
    hold::{Hold, HoldKey, Line, UNRESERVED_ASK},
    limit::permille,
    reasons,
    signal::RiskLevel,
    threshold::Used,
    words::{
        BreachType, Category, Directive, Enforcement, EstimateSource, HoldState, Overage, ReleaseReason,
        Verdict,
    },
};
use runspine_db::{KeptAnswer, Replayed};
use runspine_errors::{Fault, mesh};
use runspine_types::{Digest, Micros, new_id};

use super::{
    accounts::Target,
    admit::{observes, unknown_run},
    estimates::Did,
    records::{Caller, NewBreach},
    signals::{Moment, used},
};
use crate::{
    store::desk::{Desk, RunRef},
    words::{admission_to, amounts_from, reason_to},
};

const EXTEND: &str = "runspine.controls.v1.BudgetService/Extend";
const AMBIGUOUS: &str = "runspine.controls.v1.BudgetService/Settle#AMBIGUOUS";

/// How a step ended.
#[derive(Debug, Clone, Copy)]
pub struct StepEnd<'a> {
    /// What it really used.
    pub actual: common::Amounts,
    /// How.
    pub outcome: common::StepOutcome,
    /// What the attempt has used with it.
    pub totals: Option<common::Totals>,
    /// What the step did; none: its use teaches nothing.
    pub did: Option<&'a Did>,
    /// Digest of the request.
    pub digest: Digest,
}

/// A settle while it is being done.
struct Settling<'a> {
    caller: &'a Caller,
    actual: Amounts,
    outcome: common::StepOutcome,
    totals: Option<common::Totals>,
    did: Option<&'a Did>,
    digest: Digest,
    now: Micros,
}

impl Desk<'_> {
    /// Books what a step really used.
    pub(super) async fn settle(
        &mut self,
        caller: &Caller,
        target: &Target,
        end: &StepEnd<'_>,
        now: Micros,
    ) -> Result<pb::SettleResponse, Fault> {
        let StepEnd { outcome, digest, totals, did, .. } = *end;
        // A step that did not begin counts as none; an unknown one is counted when its outcome is known.
        let count = i64::from(outcome != common::StepOutcome::Skipped);
        let actual = amounts_from(Some(&end.actual), count);
        let work = Settling { caller, actual, outcome, totals, did, digest, now };
        let Some(key) = self.find(caller, target)? else {
            let Target::Step(run, step) = target else { return Err(no_hold()) };
            return self.settle_unreserved(&work, run, *step).await;
        };
        let slot = self.hold(key).ok_or_else(no_hold)?;
        if let Some((kept, answer)) = &slot.settled {
            return replay_settle(*kept == digest, answer.clone());
        }
        let mut hold = slot.hold.clone();
        if outcome == common::StepOutcome::Ambiguous && hold.state == HoldState::Active {
            return self.keep_ambiguous(&work, hold).await;
        }
        if hold.state != HoldState::Active {
            let charged = self.charge_late(&hold, &work).await?;
            return self.settled(&work, hold, pb::SettleResult::Late, &charged);
        }
        let charged = self.with_book(|book| book.settle(&mut hold, &work.actual)).await?;
        hold.ambiguous = false;
        self.put_hold(hold.clone(), now);
        self.correct_rates(key, &actual, now);
        self.free_step(key.0, key.1);
        self.settled(&work, hold, pb::SettleResult::Settled, &charged)
    }

    async fn charge_late(&mut self, hold: &Hold, work: &Settling<'_>) -> Result<Vec<Charged>, Fault> {
        let step = (hold.key.1, hold.key.2);
        self.with_book(|book| book.charge_late(hold.key.0, step, &hold.lines, &work.actual)).await
    }

    /// A step without a hold gets one of nothing that is born SETTLED, so that its charge hangs on the same key as every
    /// other.
    async fn settle_unreserved(
        &mut self,
        work: &Settling<'_>,
        run: &RunRef,
        step: u32,
    ) -> Result<pb::SettleResponse, Fault> {
        let Some(lease) = self.run(run).cloned() else { return Err(unknown_run(&run.run_id)) };
        let applicable = self.applicable(&lease.run_scope()?.of_unknown_step(), false);
        let mut lines = Vec::with_capacity(applicable.len());
        for (_, row) in applicable.into_iter().filter(|(l, _)| l.spec.category == Category::Budget) {
            let envelope = row.envelope_key;
            let (_, period_start) = self.with_book(|book| book.current(envelope, work.now)).await?;
            lines.push(Line { envelope, period_start, amount: 0, unfunded: observes(work.caller.profile) });
        }
        let hold = Hold {
            key: (lease.run_key, i64::from(step), UNRESERVED_ASK),
            id: new_id(),
            state: HoldState::Settled,
            amounts: Amounts::default(),
            source: EstimateSource::Default,
            extensions: 0,
            ambiguous: false,
            released_for: None,
            lines,
        };
        let charged = self.charge_late(&hold, work).await?;
        self.put_hold(hold.clone(), work.now);
        self.settled(work, hold, pb::SettleResult::Late, &charged)
    }

    /// An ambiguous step keeps its hold until its outcome is known or the run ends.
    async fn keep_ambiguous(
        &mut self,
        work: &Settling<'_>,
        mut hold: Hold,
    ) -> Result<pb::SettleResponse, Fault> {
        let tenant = &work.caller.tenant_id;
        if let Replayed::Replay(answer) = self.tx.replay(tenant, AMBIGUOUS, &hold.id, work.digest).await? {
            return replay_settle(true, answer);
        }
        hold.ambiguous = true;
        self.put_hold(hold.clone(), work.now);
        let response = pb::SettleResponse {
            result: pb::SettleResult::Held as i32,
            hold: Some(self.hold_to(&hold)),
            directive: Directive::Continue.code(),
            ..pb::SettleResponse::default()
        };
        let answer = Bytes::from(response.encode_to_vec());
        self.keep(tenant, AMBIGUOUS, &hold.id, work.digest, answer, work.now).await?;
        Ok(response)
    }

    fn settled(
        &mut self,
        work: &Settling<'_>,
        hold: Hold,
        result: pb::SettleResult,
        charged: &[Charged],
    ) -> Result<pb::SettleResponse, Fault> {
        self.watch_step(work, &hold, charged)?;
        let ran = matches!(work.outcome, common::StepOutcome::Success | common::StepOutcome::Failure);
        if let Some(did) = work.did.filter(|_| ran) {
            self.learn(hold.key.0, did, &work.actual)?;
        }
        let findings = self.violations(work, &hold, charged);
        let answer = combine(findings);
        let near: Vec<pb::LimitProximity> = charged.iter().filter_map(|c| self.proximity(c)).collect();
        let violated = pb::ProximityLevel::Violated as i32;
        let lines = self.charges_to(charged);
        let cost = pb::LimitUnit::CostMicrousd as i32;
        let unfunded = lines.iter().filter(|l| l.unit == cost).map(|l| l.unfunded).max().unwrap_or(0);
        let unreserved = hold.key.2 == UNRESERVED_ASK;
        let response = pb::SettleResponse {
            result: result as i32,
            hold: (!unreserved).then(|| self.hold_to(&hold)),
            lines,
            directive: answer.directive.code(),
            reasons: answer.reasons.iter().map(reason_to).collect(),
            signals: near.iter().filter(|n| n.level == violated).cloned().collect(),
            near: near.into_iter().filter(|n| n.level != violated).collect(),
            charged_microusd: work.actual.cost_microusd,
            unfunded_microusd: unfunded,
        };
        let bytes = Bytes::from(response.encode_to_vec());
        self.keep_settled(hold.key, work.digest, bytes);
        Ok(response)
    }

    /// What the step brought the run near to, and how often in a row it failed.
    fn watch_step(&mut self, work: &Settling<'_>, hold: &Hold, charged: &[Charged]) -> Result<(), Fault> {
        let moment = Moment { run: hold.key.0, step: u32::try_from(hold.key.1).ok(), at: work.now };
        for row in charged {
            let Some((limit, _)) = self.envelope(row.envelope) else { continue };
            let key = (row.envelope, row.period_start);
            self.compare_period(moment, key);
            let Some(period) = self.book.period(key) else { continue };
            let (value, limit_value) = (self.book.usage(key) + period.unfunded, period.limit_value(&limit));
            let level = match permille(value, limit_value) {
                _ if row.unfunded > 0 => RiskLevel::Violated,
                1_000.. => RiskLevel::AtRisk,
                ratio if ratio >= limit.spec.warn_permille => RiskLevel::NearThreshold,
                _ => continue,
            };
            self.signal_limit(moment, &limit, level, (value, limit_value, row.period_start));
        }
        let Some(lease) = self.run_by_key(moment.run) else { return Ok(()) };
        let scope = lease.run_scope()?;
        let limits = self.limits_of_run(scope);
        self.count_failure(moment, work.outcome, &limits);
        let total = work.totals.as_ref().map(used);
        if let Some(total) = &total {
            self.watch_thresholds(moment, &limits, total);
        }
        let Used { step_cost_microusd, step_tokens, .. } = work.actual.of_step();
        let total = Used { step_cost_microusd, step_tokens, ..total.unwrap_or_default() };
        self.watch_overruns(moment, &limits, &total);
        self.compare_thresholds(moment, &limits, &total);
        Ok(())
    }

    /// What nothing funded: a breach, and the end of the run where the limit blocks.
    fn violations(
        &mut self,
        work: &Settling<'_>,
        hold: &Hold,
        charged: &[Charged],
    ) -> Vec<(Finding, Effect)> {
        let mut findings = Vec::new();
        for row in charged.iter().filter(|c| c.unfunded > 0) {
            let Some((limit, _)) = self.envelope(row.envelope) else { continue };
            let key = (row.envelope, row.period_start);
            let Some(period) = self.book.period(key) else { continue };
            let (value, limit_value) = (self.book.usage(key) + period.unfunded, period.limit_value(&limit));
            self.breach(NewBreach {
                envelope: row.envelope,
                period_start: row.period_start,
                run: hold.key.0,
                step: u32::try_from(hold.key.1).ok(),
                kind: BreachType::Violated,
                value,
                limit_value,
                override_id: None,
                orders: !observes(work.caller.profile),
                at: work.now,
            });
            let overdraft = limit.spec.overage == Overage::AllowWithOverdraft;
            let unit = limit.spec.unit.name();
            let code = if overdraft { OVERDRAFT_LIMIT_EXCEEDED } else { BUDGET_EXCEEDED };
            let message = format!("{} {unit} were used that nothing funds", row.unfunded);
            let numbers = (value, limit_value);
            let finding = Finding::of_limit(&limit, (Check::Budget, code), Verdict::Deny, numbers, message);
            let finding = Finding { directive: Directive::Terminate, ..finding };
            let stops = limit.spec.enforcement == Enforcement::Block && !observes(work.caller.profile);
            findings.push((finding, if stops { Effect::Blocks(Verdict::Deny) } else { Effect::Silent }));
        }
        findings
    }

    /// Makes a hold larger.
    pub(super) async fn extend(
        &mut self,
        caller: &Caller,
        target: &Target,
        ask: u32,
        extra: &common::Amounts,
        digest: Digest,
        now: Micros,
    ) -> Result<pb::ExtendResponse, Fault> {
        let key = self.find(caller, target)?.ok_or_else(no_hold)?;
        let mut hold = self.hold(key).map(|slot| slot.hold.clone()).ok_or_else(no_hold)?;
        let name = format!("{}/{ask}", hold.id);
        if let Replayed::Replay(answer) = self.tx.replay(&caller.tenant_id, EXTEND, &name, digest).await? {
            return pb::ExtendResponse::decode(answer)
                .map_err(|_| super::defect("a kept answer can't be read"));
        }
        hold.extendable()?;
        let amounts = amounts_from(Some(extra), 0);
        let answer = match self.with_book(|book| book.extend(&hold, &amounts)).await? {
            Reserved::Held(lines) => {
                hold.lines = lines;
                hold.amounts = hold.amounts.plus(&amounts);
                hold.extensions += 1;
                self.put_hold(hold.clone(), now);
                combine(Vec::new())
            }
            Reserved::Refused(refusals) => {
                let blocks = Effect::Blocks(Verdict::Deny);
                let findings = refusals.iter().filter_map(|r| {
                    let (limit, _) = self.envelope(r.envelope)?;
                    Some((budget_finding(&limit, r, Verdict::Deny), blocks))
                });
                combine(findings.collect())
            }
        };
        let set = self.set(&caller.tenant_id);
        let response = pb::ExtendResponse {
            admission: Some(admission_to(&answer, self.epoch, &set.digest, String::new())),
            hold: Some(self.hold_to(&hold)),
        };
        let bytes = Bytes::from(response.encode_to_vec());
        self.keep(&caller.tenant_id, EXTEND, &name, digest, bytes, now).await?;
        Ok(response)
    }

    /// Gives a hold back; what was settled or expired before stays so.
    pub(super) async fn release(
        &mut self,
        caller: &Caller,
        target: &Target,
        reason: ReleaseReason,
        now: Micros,
    ) -> Result<pb::ReleaseResponse, Fault> {
        if let Target::Run(run) = target {
            let key = self.run(run).map(|r| r.run_key).ok_or_else(|| unknown_run(&run.run_id))?;
            self.with_book(|book| book.return_free(key)).await?;
            self.free_step(key, -1);
            return Ok(pb::ReleaseResponse { hold: None });
        }
        let key = self.find(caller, target)?.ok_or_else(no_hold)?;
        let mut hold = self.hold(key).map(|slot| slot.hold.clone()).ok_or_else(no_hold)?;
        match (hold.state, hold.released_for) {
            (HoldState::Active, _) => {
                self.book.release(&mut hold, reason);
                self.put_hold(hold.clone(), now);
                self.free_step(key.0, key.1);
            }
            (HoldState::Released, Some(first)) if first != reason && first != ReleaseReason::RunEnded => {
                let text = "the hold was released for another reason";
                return Err(Fault::new(&mesh::IDEMPOTENCY_MISMATCH, text).with("hold_id", &hold.id));
            }
            _ => {}
        }
        Ok(pb::ReleaseResponse { hold: Some(self.hold_to(&hold)) })
    }

    /// The hold that a call means; none: the step has none.
    fn find(&self, caller: &Caller, target: &Target) -> Result<Option<HoldKey>, Fault> {
        let mine = |key: &HoldKey| self.run_by_key(key.0).is_some_and(|r| r.tenant_id == caller.tenant_id);
        match target {
            Target::Id(id) => self.hold_key(id).filter(mine).map(Some).ok_or_else(no_hold),
            Target::Step(run, step) => {
                let run = self.run(run).ok_or_else(|| unknown_run(&run.run_id))?.run_key;
                Ok(self.latest_hold(run, i64::from(*step)))
            }
            Target::Run(_) => Ok(None),
        }
    }

    async fn keep(
        &mut self,
        tenant: &str,
        operation: &str,
        key: &str,
        request_digest: Digest,
        answer: Bytes,
        at: Micros,
    ) -> Result<(), Fault> {
        let (tenant, operation, key) = (tenant.to_owned(), operation.to_owned(), key.to_owned());
        Ok(self.tx.keep_answer(KeptAnswer { tenant, operation, key, request_digest, answer, at }).await?)
    }
}

fn no_hold() -> Fault {
    Fault::new(&reasons::HOLD_NOT_FOUND, "no such hold")
}

fn replay_settle(same: bool, answer: Bytes) -> Result<pb::SettleResponse, Fault> {
    if !same {
        return Err(Fault::new(&mesh::IDEMPOTENCY_MISMATCH, "the step was settled with other amounts"));
    }
    pb::SettleResponse::decode(answer).map_err(|_| super::defect("a kept answer can't be read"))
}
