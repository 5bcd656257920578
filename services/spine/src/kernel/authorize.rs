//! Decides one step before it happens.
//!
//! Freeze, run and lease are asked first; only when none of them refuses are limits and rules asked, both at once, so
//! that a refused step leaves no hold and counts nowhere. The decision is durable before the answer leaves.

use std::time::{Duration, Instant};

use contracts_common::common::v1::{Directive, RunPhase, RunStatus, Verdict};
use contracts_controls::v1::{AdmitStepResponse, HoldRef, ReleaseReason, ReleaseRequest};
use contracts_policies::v1::EvaluateStepResponse;
use contracts_spine::v1::{AuthorizeStepRequest, AuthorizeStepResponse, BypassedBy, CheckStatus};
use prost::Message;
use runspine_errors::{Fault, Outcome};
use runspine_rpc::Context;
use runspine_types::{Digest, Hasher, Micros, new_id};

use super::{
    Kernel,
    bypass::bypass_for_policies,
    combine::{Check, Finding, combine, refused},
    freeze::Subject,
    sessions::Slot,
    state::Attempt,
    step_check, undecided, validate,
};
use crate::{bridges::Miss, metrics, reasons};

/// A decider that says nothing for this long can't decide.
const DECIDER_PATIENCE: Duration = Duration::from_millis(250);

/// How one check went, for the answer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Asked {
    pub check: Check,
    pub status: CheckStatus,
    pub latency: Duration,
}

/// Everything that the checks gave.
pub(crate) struct Judged {
    pub findings: Vec<Finding>,
    pub asked: Vec<Asked>,
    pub admitted: Option<AdmitStepResponse>,
    pub evaluated: Option<EvaluateStepResponse>,
    pub bypassed: Option<BypassedBy>,
}

/// Digest of a question: the same question has the same one whatever lease it is put under.
pub(crate) fn ask_digest(ask: &AuthorizeStepRequest) -> Digest {
    let mut plain = ask.clone();
    plain.fence = 0;
    Hasher::new("runspine.request.v1").sized(b"AuthorizeStep").sized(&plain.encode_to_vec()).finish()
}

impl Kernel {
    /// Decides a step.
    ///
    /// # Errors
    /// When nothing was decided: the request is wrong, the run can't be asked any more, or the record can't be stored.
    pub async fn authorize_step(
        &self,
        context: &Context,
        mut ask: AuthorizeStepRequest,
    ) -> Outcome<AuthorizeStepResponse> {
        validate::authorize(&ask)?;
        let context = context.for_run(&ask.run_id);
        let attempt = self.attempt(&context, &ask.run_id, ask.attempt).await?;
        Self::require_own(&context, &attempt)?;
        ask.attempt = attempt.state.attempt;
        let slot = self.sessions.slot(&context.tenant_id, &ask.run_id, ask.attempt);
        let mut slot = slot.lock().await;
        self.load(&context, &ask.run_id, ask.attempt, &mut slot).await?;
        let session = slot.session.get_or_insert_default();
        let index = ask.step_index.unwrap_or_else(|| session.next_index());
        ask.step_index = Some(index);
        let digest = ask_digest(&ask);
        if let Some(known) = session.step(index)
            && !known.decision_id.is_empty()
            && ask.ask <= known.ask
        {
            return self.repeat_decision(&context, &ask, digest, &slot).await;
        }
        self.require_answerable(&context, &ask, &attempt, &slot).await?;
        let now = self.now();
        let begun = Instant::now();
        let judged = Box::pin(self.judge(&context, &ask, &attempt, &mut slot, now)).await?;
        count_checks(&judged.asked);
        undecided::count(&judged.findings);
        let combined = combine(&judged.findings, attempt.profile());
        let (verdict, effective) = (combined.verdict, combined.effective_verdict);
        let answer =
            self.commit_decision(&context, &ask, &attempt, &mut slot, judged, combined, digest).await?;
        metrics::DECISION.since(begun, &[("stage", "ALL")]);
        metrics::DECISIONS.increment(&[("verdict", word(verdict)), ("effective", word(effective))]);
        Ok(answer)
    }

    /// Refuses a question that has no answer any more, or does not follow from the last one.
    async fn require_answerable(
        &self,
        context: &Context,
        ask: &AuthorizeStepRequest,
        attempt: &Attempt,
        slot: &Slot,
    ) -> Outcome<()> {
        if attempt.is_ending() {
            self.tell_refused_step(context, ask, "RUN_ENDED").await;
            return Err(Fault::new(&reasons::RUN_ENDED, "the attempt has ended or is ending")
                .precondition(format!("runs/{}", ask.run_id), "the attempt takes steps"));
        }
        if attempt.phase() == RunPhase::Executing && !attempt.state.lease_suspended {
            Self::require_fence(attempt, ask.fence)?;
        }
        let Some(session) = &slot.session else { return Ok(()) };
        let index = ask.step_index.unwrap_or(0);
        if session.is_gap(index)
            && attempt.profile() == contracts_common::common::v1::GovernanceProfile::Strict
        {
            return Err(Fault::new(&reasons::STEP_GAP, "an index before this one has no step")
                .with("next_step_index", session.next_index()));
        }
        let follows = match session.step(index) {
            None => ask.ask == 0,
            Some(known) => {
                known.may_ask_again
                    && ask.ask == known.ask + 1
                    && known.kind == ask.kind()
                    && known.resource == step_check::resource_id(ask)
                    && known.arguments_digest == ask.arguments_digest
            }
        };
        if follows {
            return Ok(());
        }
        let text = "ask n + 1 follows only answer n that was DEFER or REQUIRE_APPROVAL for the same action";
        Err(Fault::new(&reasons::ASK_INVALID, text).field("ask", "ASK_INVALID", text))
    }

    /// Puts the five checks.
    pub(crate) async fn judge(
        &self,
        context: &Context,
        ask: &AuthorizeStepRequest,
        attempt: &Attempt,
        slot: &mut Slot,
        now: Micros,
    ) -> Outcome<Judged> {
        let begun = Instant::now();
        let mut findings = self.facts_of_the_run(context, ask, attempt, slot, now);
        let latency = begun.elapsed();
        let ok = |check| Asked { check, status: CheckStatus::Ok, latency };
        let mut asked = vec![ok(Check::Freeze), ok(Check::Run), ok(Check::Lease)];
        if refused(&findings) {
            for check in [Check::Limits, Check::Policy] {
                asked.push(Asked { check, status: CheckStatus::NotAsked, latency: Duration::ZERO });
            }
            return Ok(Judged { findings, asked, admitted: None, evaluated: None, bypassed: None });
        }
        let session = slot.session.get_or_insert_default();
        let totals = session.totals(ask.step_index, attempt.running_ms(now));
        let repeats = session.repeats(ask.kind(), &step_check::resource_id(ask), &ask.arguments_digest);
        let decision_id = new_id();
        let bypass = self.freezes.bypass(Self::subject(context, attempt), now);
        let mut admit = step_check::admit_step(attempt, ask, (totals, repeats), &decision_id, now);
        let facts = (totals, session.degraded);
        let mut evaluate = step_check::evaluate_step(attempt, ask, facts, &decision_id, now);
        if let Some(bypass) = &bypass {
            admit.bypass_id.clone_from(&bypass.bypass_id);
            evaluate.bypass = Some(bypass_for_policies(bypass));
        }
        let profile = attempt.profile();
        let limits = timed(self.bridges.controls.admit_step(context, admit));
        let policy = timed(self.evaluate_with_history(context, evaluate, ask, slot));
        let ((limits, latency), policy) = if ask.approval_id.is_empty() {
            let (limits, policy) = tokio::join!(limits, policy);
            (limits, Some(policy))
        } else {
            // An approval is spent by the answer: a step that the limits refuse must not reach it.
            let limits = limits.await;
            let refused = limits.0.as_ref().is_ok_and(|a| !step_check::is_admitted(a));
            let policy = if refused { None } else { Some(policy.await) };
            (limits, policy)
        };
        let admitted = self.take((limits, latency), Check::Limits, &mut asked)?;
        findings.push(
            admitted
                .as_ref()
                .and_then(|a| a.admission.as_ref())
                .map_or_else(|| step_check::controls_silent(profile), step_check::limits_finding),
        );
        let Some(policy) = policy else {
            let (check, status) = (Check::Policy, CheckStatus::NotAsked);
            asked.push(Asked { check, status, latency: Duration::ZERO });
            return Ok(Judged { findings, asked, admitted, evaluated: None, bypassed: None });
        };
        let evaluated = self.take(policy, Check::Policy, &mut asked)?;
        let decided = evaluated.as_ref().and_then(|e| e.decision.as_ref());
        let (finding, bypassed) = match decided {
            None => (step_check::policies_silent(profile), None),
            Some(decision) => self.policy_finding(context, ask, decision, admitted.as_ref()).await,
        };
        findings.push(finding);
        Ok(Judged { findings, asked, admitted, evaluated, bypassed })
    }

    /// Checks 1 to 3: orders and facts.
    fn facts_of_the_run(
        &self,
        context: &Context,
        ask: &AuthorizeStepRequest,
        attempt: &Attempt,
        slot: &Slot,
        now: Micros,
    ) -> Vec<Finding> {
        let subject = Self::subject(context, attempt);
        vec![
            self.freeze_finding(subject, attempt.profile()),
            run_finding(attempt, now),
            lease_finding(ask, attempt, slot, now),
        ]
    }

    pub(crate) fn subject<'a>(context: &'a Context, attempt: &'a Attempt) -> Subject<'a> {
        Subject {
            tenant: &context.tenant_id,
            project: &attempt.attributes.project_id,
            agent: &attempt.attributes.agent_id,
            api_key: &attempt.attributes.credential_id,
            run: &attempt.state.run_id,
        }
    }

    /// Takes a decider's answer: silence becomes `None` for the profile to judge, a refusal of the caller's own facts
    /// goes back to the caller.
    fn take<T>(
        &self,
        (answer, latency): (Result<T, Miss>, Duration),
        check: Check,
        asked: &mut Vec<Asked>,
    ) -> Outcome<Option<T>> {
        let status = match &answer {
            Ok(_) => CheckStatus::Ok,
            Err(miss) if miss.is_timeout() => CheckStatus::Timeout,
            Err(_) => CheckStatus::Error,
        };
        asked.push(Asked { check, status, latency });
        match answer {
            Ok(answer) => Ok(Some(answer)),
            Err(miss) if miss.is_refusal() => Err(super::refuse::as_callers_fault(miss)),
            Err(miss) => {
                tracing::warn!(check = check.name(), ?miss, "a decider can't decide");
                Ok(None)
            }
        }
    }

    /// Gives a hold back. A failure is left to the lease, with which every hold ends.
    pub(crate) async fn release_hold(&self, context: &Context, hold_id: &str, ask: &AuthorizeStepRequest) {
        if hold_id.is_empty() {
            return;
        }
        let hold = HoldRef {
            hold_id: hold_id.to_owned(),
            run_id: ask.run_id.clone(),
            attempt: ask.attempt,
            step_index: ask.step_index,
        };
        let request = ReleaseRequest { hold: Some(hold), reason: ReleaseReason::PolicyDenied.into() };
        if let Err(miss) = self.bridges.controls.release(context, request).await {
            tracing::warn!(hold_id, ?miss, "a hold stays until its lease ends");
        }
    }
}

fn count_checks(asked: &[Asked]) {
    for one in asked {
        let status = one.status.as_str_name().trim_start_matches("CHECK_STATUS_");
        metrics::CHECKS.increment(&[("check", one.check.name()), ("status", status)]);
        if one.latency > Duration::ZERO {
            metrics::DECISION.record(one.latency.as_secs_f64(), &[("stage", one.check.name())]);
        }
    }
}

fn word(verdict: Verdict) -> &'static str {
    verdict.as_str_name().trim_start_matches("VERDICT_")
}

fn run_finding(attempt: &Attempt, now: Micros) -> Finding {
    let (check, terminate) = (Check::Run, Directive::Terminate);
    if attempt.state.stop.is_some() {
        return Finding::deny(check, terminate, "STOP_REQUESTED", "the run is being stopped");
    }
    if attempt.is_timed_out(now) {
        return Finding::deny(check, terminate, "RUN_TIMEOUT", "the running time of the run is over");
    }
    match (attempt.phase(), attempt.status()) {
        (RunPhase::Executing, RunStatus::Paused) => {
            Finding::deny(check, Directive::Pause, "RUN_PAUSED", "the run is paused")
        }
        (RunPhase::Executing, _) => Finding::allow(check),
        _ => Finding::deny(check, Directive::Continue, "RUN_NOT_EXECUTING", "the run does not execute yet"),
    }
}

fn lease_finding(ask: &AuthorizeStepRequest, attempt: &Attempt, slot: &Slot, now: Micros) -> Finding {
    let check = Check::Lease;
    if attempt.status() == RunStatus::Running && !attempt.holds_lease(now) {
        return Finding::deny(check, Directive::Terminate, "LEASE_LAPSED", "the lease of the run lapsed");
    }
    let Some(session) = &slot.session else { return Finding::allow(check) };
    if session.repeats_ambiguous(ask.kind(), &step_check::resource_id(ask), &ask.arguments_digest) {
        let text = "the same action has an unknown outcome; resolve it first";
        return Finding::deny(check, Directive::Continue, "AMBIGUOUS_UNRESOLVED", text);
    }
    let others = session.in_flight().filter(|(index, _)| Some(*index) != ask.step_index).count();
    if others >= usize::try_from(attempt.attributes.max_inflight.max(1)).unwrap_or(usize::MAX) {
        let text = "too many steps are authorized and not recorded";
        let code = "INFLIGHT_EXCEEDED";
        let mut finding = Finding::refuse(check, Verdict::Defer, Directive::Continue, code, text);
        finding.retry_after_ms = 100;
        return finding;
    }
    Finding::allow(check)
}

async fn timed<T>(call: impl Future<Output = Result<T, Miss>>) -> (Result<T, Miss>, Duration) {
    let begun = Instant::now();
    let answer = match tokio::time::timeout(DECIDER_PATIENCE, call).await {
        Ok(answer) => answer,
        Err(_) => Err(Miss::new(tonic::Status::deadline_exceeded("no answer in 250 ms"))),
    };
    (answer, begun.elapsed())
}
