//! May this run start, may this step happen?

use bytes::Bytes;
use contracts_controls::v1 as pb;
use prost::Message as _;
use runspine_controls_domain::{
    admission::{
        self, Answer, Effect, Finding, Phase, budget_finding, combine, freeze_finding, lapse_finding,
        suspended_finding,
    },
    book::{Need, Refusal, Reserved, Waive},
    bypass::{Bypass, BypassState},
    estimate::Amounts,
    freeze::FreezeState,
    hold::{Hold, HoldKey, Line},
    limit::{Key, RunScope},
    reasons,
    signal::RiskLevel,
    words::{BreachType, Category, EstimateSource, HoldState, Profile, Verdict},
};
use runspine_errors::{Fault, mesh};
use runspine_types::{Micros, new_id};

use super::{
    accounts::{Ask, Out},
    gates::Takings,
    records::NewBreach,
};
use crate::{
    store::{
        desk::Desk,
        envelopes::Applicable,
        events::{About, publish},
        rows::{LeaseRow, lease_state},
    },
    words::{admission_to, amounts_to, reason_to},
};

/// A question while it is being answered.
pub(super) struct Case<'a> {
    pub(super) ask: &'a Ask,
    pub(super) now: Micros,
    pub(super) key: HoldKey,
    lease: LeaseRow,
    pub(super) scope: RunScope,
    pub(super) amounts: Amounts,
    pub(super) source: EstimateSource,
    /// Every limit that is looked at, in the order of the envelopes.
    pub(super) limits: Vec<Applicable>,
    /// How long this question has been deferred already.
    pub(super) waited_ms: i64,
    pub(super) inputs: pb::ControlInputs,
}

impl Case<'_> {
    /// Whether the account stands in the way: of a step its lease, of a start its end.
    pub(super) fn lapsed(&self) -> bool {
        match self.ask.step {
            Some(_) => !self.lease.is_live(self.now),
            None => self.lease.state == lease_state::ENDED,
        }
    }

    pub(super) fn budgets(&self) -> impl Iterator<Item = &Applicable> {
        self.limits.iter().filter(|(l, _)| l.spec.category == Category::Budget)
    }
}

/// What was decided, and the lines of the hold if there is one.
pub(super) struct Decided {
    pub(super) answer: Answer,
    pub(super) lines: Option<Vec<Line>>,
    pub(super) takings: Takings,
    /// Whether the limits were looked at.
    pub(super) looked: bool,
    /// Whether a check could not be made.
    pub(super) degraded: bool,
}

impl Decided {
    /// An order or a fact refuses, and nothing else was asked.
    pub(super) fn ordered(orders: Vec<Finding>) -> Self {
        let all = orders.into_iter().map(|f| (f, Effect::Blocks(Verdict::Deny))).collect();
        let (answer, takings) = (combine(all), Takings::default());
        Self { answer, lines: None, takings, looked: false, degraded: false }
    }
}

/// How a question begins.
pub(super) enum Begun {
    /// It was answered before.
    Answered(Out),
    /// It is new: its key, and the lease of its run.
    New(HoldKey, LeaseRow),
}

impl Desk<'_> {
    /// Answers a question about a run or a step: the first answer again, or a new one with its evidence.
    pub(super) async fn answer(&mut self, ask: &Ask, now: Micros) -> Result<Out, Fault> {
        let now = ask.now.unwrap_or(now);
        self.at = now;
        let (key, lease) = match self.begin(ask)? {
            Begun::Answered(out) => return Ok(out),
            Begun::New(key, lease) => (key, lease),
        };
        let case = self.case(ask, key, lease, now)?;
        let decided = self.decide(&case).await?;
        if decided.looked {
            self.note_uses(&case, decided.lines.as_deref()).await?;
        }
        let hold = self.take(&case, &decided).await?;
        self.report(&case, decided, hold)
    }

    /// The first answer again, or what a new question is about.
    pub(super) fn begin(&mut self, ask: &Ask) -> Result<Begun, Fault> {
        let Some(lease) = self.run(&ask.run).cloned() else { return Err(unknown_run(&ask.run.run_id)) };
        if ask.step.is_some() && lease.state == lease_state::SEEN && lease.fence == 0 {
            return Err(unknown_run(&ask.run.run_id));
        }
        let key = (lease.run_key, ask.step.map_or(-1, i64::from), i64::from(ask.ask));
        if let Some(kept) = self.ask(key) {
            let first = replay(ask, kept.request_digest == ask.digest, kept.answer.clone())?;
            return Ok(Begun::Answered(first));
        }
        expect_fence(ask.fence, lease.fence)?;
        Ok(Begun::New(key, lease))
    }

    fn case<'a>(
        &mut self,
        ask: &'a Ask,
        key: HoldKey,
        lease: LeaseRow,
        now: Micros,
    ) -> Result<Case<'a>, Fault> {
        let mut lease = lease;
        if let Some(tuple) = &ask.scope {
            lease.scope = Bytes::from(tuple.encode_to_vec());
        }
        let (scope, at_start) = ask.counted(&lease)?;
        let limits = self.applicable(&scope, at_start);
        self.case_of(ask, key, lease, (scope, limits), now)
    }

    /// What a question is about, with the limits that it looks at.
    pub(super) fn case_of<'a>(
        &self,
        ask: &'a Ask,
        key: HoldKey,
        lease: LeaseRow,
        (scope, limits): (RunScope, Vec<Applicable>),
        now: Micros,
    ) -> Result<Case<'a>, Fault> {
        let first = self.first_answered(key.0, key.1, Verdict::Defer.code());
        let waited_ms = first.map_or(0, |first| now.millis_since(first).max(0));
        let (amounts, source) = self.filled(ask, &scope.agent_id);
        let inputs = pb::ControlInputs {
            scope: Some(lease.tuple()?),
            amounts: Some(amounts_to(&amounts)),
            totals: ask.totals,
            envelopes: Vec::new(),
            freeze_ids: Vec::new(),
            known_fence: lease.fence,
            lease_expires_at_us: lease.expires_at.map_or(0, |at| at.0),
            now_us: now.0,
            profile: ask.profile.code(),
            gates: Vec::new(),
            overrides: Vec::new(),
            bypass_id: String::new(),
            waited_ms,
            lapsed: false,
            freezes: Vec::new(),
            thresholds: Vec::new(),
            provider: scope.provider.clone(),
            model: scope.model.clone(),
            tool: scope.tool.clone(),
            breakers: Vec::new(),
            repeats: ask.repeats,
            failed: false,
        };
        Ok(Case { ask, now, key, lease, scope, amounts, source, limits, waited_ms, inputs })
    }

    /// The checks in their order. A freeze or a lapsed lease leaves the limits unasked; of the limits all are asked, so
    /// that one more never loosens the answer, and nothing is taken when one refuses.
    async fn decide(&mut self, case: &Case<'_>) -> Result<Decided, Fault> {
        let orders = self.orders(case);
        if !orders.is_empty() {
            return Ok(Decided::ordered(orders));
        }
        let mut findings: Vec<(Finding, Effect)> = Vec::new();
        let mut takings = Takings::default();
        if case.ask.full {
            takings = self.pass_gates(case, &mut findings);
            self.pass_breakers(case, &mut findings, &mut takings)?;
            self.pass_thresholds(case, &mut findings);
        }
        self.repay_overridden(case).await?;
        let lines = self.decide_budget(case, &mut findings, &mut takings).await?;
        Ok(Decided { answer: combine(findings), lines, takings, looked: true, degraded: false })
    }

    /// Freezes, and a lapsed lease: they hold in every profile, and whatever else can be read.
    pub(super) fn orders(&self, case: &Case<'_>) -> Vec<Finding> {
        let mut orders = Vec::new();
        if case.ask.full {
            orders.extend(self.freeze_findings(&case.scope, case.now));
        }
        if case.lapsed() {
            orders.push(lapse_finding());
        }
        orders
    }

    /// Whether the bypass that is named holds for the run. What is not among the approved ones of this epoch does not.
    pub(super) fn confirms_bypass(&self, case: &Case<'_>) -> bool {
        let named = |b: &&Bypass| !case.ask.bypass_id.is_empty() && b.id == case.ask.bypass_id;
        let found = self.bypasses.iter().find(named);
        found.is_some_and(|b| b.covers(&case.scope) && b.state(case.now) == BypassState::Active)
    }

    /// What freezes in scope say.
    pub(super) fn freeze_findings(&self, scope: &RunScope, now: Micros) -> Vec<Finding> {
        let holding = |f: &&runspine_controls_domain::freeze::Freeze| f.state(now) == FreezeState::Active;
        self.freezes.iter().filter(holding).filter(|f| f.covers(scope)).map(freeze_finding).collect()
    }

    /// Reserves in all envelopes. One that refuses without blocking is passed over and the rest is tried again. Where
    /// something blocks nothing is reserved, and the envelopes are only asked.
    async fn decide_budget(
        &mut self,
        case: &Case<'_>,
        findings: &mut Vec<(Finding, Effect)>,
        takings: &mut Takings,
    ) -> Result<Option<Vec<Line>>, Fault> {
        let need = |(limit, row): &Applicable| Need {
            envelope: row.envelope_key,
            amount: case.amounts.of(limit.spec.unit),
            waive: None,
        };
        let mut needs: Vec<Need> = case.budgets().map(need).collect();
        self.pass_suspended(case, &mut needs, findings);
        let (run, now, holds) = (case.key.0, case.now, case.ask.step.is_some());
        loop {
            let blocked = findings.iter().any(|(_, effect)| effect.blocks());
            let tried = self
                .with_book(|book| match (blocked, holds) {
                    (true, _) => book.probe(run, &needs, now),
                    (false, true) => book.reserve(run, &needs, now),
                    (false, false) => book.open(run, &needs, now),
                })
                .await?;
            let refusals = match tried {
                Reserved::Held(lines) => return Ok((!blocked).then_some(lines)),
                Reserved::Refused(refusals) => refusals,
            };
            takings.shorts.extend(refusals.iter().map(|r| (r.envelope, r.reservable, r.in_debt)));
            let judged = self.judge(case, &refusals).await?;
            let refused = judged.iter().any(|(_, effect, _)| effect.blocks());
            for (finding, effect, envelope) in judged {
                waive(&mut needs, envelope, effect.waive());
                findings.push((finding, effect));
            }
            if refused {
                return Ok(None);
            }
        }
    }

    /// An envelope that was suspended gives nothing, whatever is in it: where that blocks it is not asked any more.
    fn pass_suspended(&self, case: &Case<'_>, needs: &mut Vec<Need>, findings: &mut Vec<(Finding, Effect)>) {
        let set = self.set(&case.scope.tenant_id);
        for (limit, row) in case.budgets().filter(|(_, row)| set.suspended.contains(&row.envelope_key)) {
            let effect = case.effect(limit);
            if effect.blocks() {
                needs.retain(|need| need.envelope != row.envelope_key);
            } else {
                waive(needs, row.envelope_key, effect.waive());
            }
            findings.push((suspended_finding(limit, &row.scope_id, effect.verdict()), effect));
        }
    }

    async fn judge(
        &mut self,
        case: &Case<'_>,
        refusals: &[Refusal],
    ) -> Result<Vec<(Finding, Effect, Key)>, Fault> {
        let phase = if case.ask.step.is_some() { Phase::Step } else { Phase::Run };
        let mut judged = Vec::with_capacity(refusals.len());
        for refusal in refusals {
            let Some((limit, _)) = self.envelope(refusal.envelope) else { continue };
            let effect = admission::effect(&limit, phase, case.ask.profile, case.waited_ms);
            judged.push((budget_finding(&limit, refusal, effect.verdict()), effect, refusal.envelope));
            let run = case.key.0;
            let numbers = (refusal.usage, refusal.limit_value, refusal.period_start);
            self.signal_limit(case.moment(), &limit, RiskLevel::AtRisk, numbers);
            self.compare(case.moment(), refusal.envelope, refusal.usage, refusal.limit_value);
            self.with_book(|book| book.exhausted(refusal, run)).await?;
            let blocks = matches!(effect, Effect::Blocks(_) | Effect::WouldBlock(_));
            self.breach(NewBreach {
                envelope: refusal.envelope,
                period_start: refusal.period_start,
                run,
                step: case.ask.step,
                kind: if blocks { BreachType::Exhausted } else { BreachType::Breached },
                value: refusal.usage.saturating_add(refusal.need),
                limit_value: refusal.limit_value,
                override_id: None,
                orders: effect.blocks(),
                at: case.now,
            });
        }
        Ok(judged)
    }

    /// Puts the hold of an allowed step on the desk, and the lease of an admitted run.
    async fn take(&mut self, case: &Case<'_>, decided: &Decided) -> Result<Option<Hold>, Fault> {
        let Some(lines) = &decided.lines else { return Ok(None) };
        self.take_gates(case, &decided.takings);
        self.take_probes(case, &decided.takings).await?;
        self.let_pass(case);
        if case.ask.step.is_none() {
            return Ok(None);
        }
        let hold = Hold {
            key: case.key,
            id: new_id(),
            state: HoldState::Active,
            amounts: case.amounts,
            source: case.source,
            extensions: 0,
            ambiguous: false,
            released_for: None,
            lines: lines.clone(),
        };
        self.put_hold(hold.clone(), case.now);
        Ok(Some(hold))
    }

    /// Opens the account of a run that may start; of a step notes the fence and the epoch that it was allowed under.
    pub(super) fn let_pass(&mut self, case: &Case<'_>) {
        let (fence, expires_at, scope) = (case.ask.fence, case.ask.expires_at, case.lease.scope.clone());
        let epoch = self.epoch;
        if case.ask.step.is_none() {
            self.change_run(case.key.0, |row| {
                row.state = lease_state::OPEN;
                row.fence = fence;
                row.expires_at = expires_at;
                row.scope = scope;
                row.allowed_epoch = epoch;
            });
        } else if fence > case.lease.fence || epoch > case.lease.allowed_epoch {
            self.change_run(case.key.0, |row| {
                row.fence = fence;
                row.allowed_epoch = epoch;
            });
        }
    }

    /// The response, its evidence and, when it refuses or could not be checked, its event.
    pub(super) fn report(
        &mut self,
        case: &Case<'_>,
        decided: Decided,
        hold: Option<Hold>,
    ) -> Result<Out, Fault> {
        self.compare_budgets(case);
        let evidence_id = new_id();
        let set = self.set(&case.scope.tenant_id);
        let answer = &decided.answer;
        let mut admission = admission_to(answer, self.epoch, &set.digest, evidence_id.clone());
        admission.override_ids = self.override_ids(case);
        admission.bypass_confirmed = !case.inputs.failed && self.confirms_bypass(case);
        admission.degraded = decided.degraded;
        if case.inputs.failed {
            admission.control_set_digest.clear();
        }
        let out = if case.ask.step.is_some() {
            let hold = hold.as_ref().map(|h| self.hold_to(h));
            Out::Step(pb::AdmitStepResponse { admission: Some(admission), hold })
        } else {
            let admitted = decided.lines.is_some();
            let allocations = if admitted { self.allocations_to(case.key.0) } else { Vec::new() };
            let thresholds = if admitted { self.effective_of(&case.scope) } else { Vec::new() };
            Out::Run(pb::AdmitRunResponse { admission: Some(admission), allocations, thresholds })
        };
        if !answer.admits() {
            self.publish_denied(case, answer, &evidence_id);
        }
        if decided.degraded {
            self.publish_degraded(case, answer, &evidence_id);
        }
        self.record_evidence(case, &decided, &out, evidence_id);
        Ok(out)
    }

    fn about_admission(&self, case: &Case<'_>, answer: &Answer, evidence_id: &str) -> About {
        let mut about = self.about_run(case.key.0, "admission", evidence_id.to_owned());
        about.step_index = case.ask.step;
        about.reason = answer.reasons.first().map_or("", |r| r.code).to_owned();
        about
    }

    fn publish_degraded(&mut self, case: &Case<'_>, answer: &Answer, evidence_id: &str) {
        let about = self.about_admission(case, answer, evidence_id);
        let data = pb::AdmissionDegraded {
            evidence_id: evidence_id.to_owned(),
            step_index: case.ask.step,
            profile: case.ask.profile.code(),
            verdict: answer.verdict.code(),
            reasons: answer.reasons.iter().map(reason_to).collect(),
        };
        publish(self.tx, &case.ask.caller, "AdmissionDegraded", about, &data, case.now);
    }

    fn publish_denied(&mut self, case: &Case<'_>, answer: &Answer, evidence_id: &str) {
        let about = self.about_admission(case, answer, evidence_id);
        let data = pb::AdmissionDenied {
            evidence_id: evidence_id.to_owned(),
            step_index: case.ask.step,
            verdict: answer.verdict.code(),
            reasons: answer.reasons.iter().map(reason_to).collect(),
        };
        publish(self.tx, &case.ask.caller, "AdmissionDenied", about, &data, case.now);
    }
}

fn waive(needs: &mut [Need], envelope: Key, waive: Option<Waive>) {
    if let Some(need) = needs.iter_mut().find(|n| n.envelope == envelope) {
        need.waive = waive;
    }
}

fn replay(ask: &Ask, same: bool, answer: Bytes) -> Result<Out, Fault> {
    if !same {
        return Err(Fault::new(&mesh::IDEMPOTENCY_MISMATCH, "this ask was made with another body")
            .with("run_id", &ask.run.run_id)
            .with("ask", ask.ask));
    }
    let unreadable = |_| super::defect("a kept answer can't be read");
    if ask.step.is_some() {
        pb::AdmitStepResponse::decode(answer).map(Out::Step).map_err(unreadable)
    } else {
        pb::AdmitRunResponse::decode(answer).map(Out::Run).map_err(unreadable)
    }
}

/// That a call does not carry an older fence than the lease has.
///
/// # Errors
/// `STALE_FENCE`.
pub(super) fn expect_fence(carried: u64, known: u64) -> Result<(), Fault> {
    if carried >= known {
        return Ok(());
    }
    let text = format!("the call carries fence {carried}, the lease has {known}");
    Err(Fault::new(&reasons::STALE_FENCE, text).with("fence", known))
}

/// No admission of this attempt.
pub(super) fn unknown_run(run_id: &str) -> Fault {
    Fault::new(&reasons::RUN_LEASE_NOT_FOUND, "controls has no lease of this run attempt")
        .with("run_id", run_id)
}

/// Whether findings only are recorded.
pub(super) fn observes(profile: i32) -> bool {
    Profile::from_code(profile) == Some(Profile::ObserveOnly)
}
