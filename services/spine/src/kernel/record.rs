//! Records what happened at a step: the trace first, then the money.

use contracts_common::common::v1::{
    Directive, ErrorClass, GovernanceProfile, OutcomeCategory, Reason, StepKind, StepOutcome, Verdict,
};
use contracts_controls::v1::{
    HoldRef, ReleaseReason, ReleaseRequest, SettleRequest, SettleResponse, SettleResult,
};
use contracts_logs::v1::{self as logs, RecordItem, record_item};
use contracts_spine::v1::{KeptStep, RecordStepRequest, RecordStepResponse, Settlement};
use prost::Message;
use runspine_errors::{Fault, Outcome};
use runspine_rpc::{Context, timestamp};
use runspine_types::{Digest, Hasher};

use super::{
    Kernel,
    replay::receipt,
    session::{Step, Try, Used},
    sessions::Slot,
    state::Attempt,
    step_check,
    trace::{actual, not_recorded, outcome_code},
    validate,
};
use crate::reasons;

/// How a report relates to what was decided.
#[derive(Debug, Clone, Default)]
struct Standing {
    step: Option<Step>,
    unauthorized: bool,
    despite_denial: bool,
    late: bool,
    gap: bool,
}

fn report_digest(report: &RecordStepRequest) -> Digest {
    let mut plain = report.clone();
    plain.fence = 0;
    Hasher::new("runspine.request.v1").sized(b"RecordStep").sized(&plain.encode_to_vec()).finish()
}

impl Kernel {
    /// Records a step, or settles the unknown outcome of one.
    ///
    /// # Errors
    /// When nothing was recorded.
    pub async fn record_step(
        &self,
        context: &Context,
        mut report: RecordStepRequest,
    ) -> Outcome<RecordStepResponse> {
        validate::record(&report)?;
        let context = context.for_run(&report.run_id);
        let attempt = self.attempt(&context, &report.run_id, report.attempt).await?;
        Self::require_own(&context, &attempt)?;
        report.attempt = attempt.state.attempt;
        let slot = self.sessions.slot(&context.tenant_id, &report.run_id, report.attempt);
        let mut slot = slot.lock().await;
        self.load(&context, &report.run_id, report.attempt, &mut slot).await?;
        if report.resolution.is_some() {
            return self.resolve(&context, &report, &mut slot).await;
        }
        let standing = self.standing(&context, &report, &attempt, &slot).await?;
        let digest = report_digest(&report);
        if attempt.is_terminal() {
            return self.record_after_the_end(&context, &report, &standing, digest).await;
        }
        let item = item(&report, &standing, digest, self.now());
        let stored = match self.append(&context, &report.run_id, report.attempt, item).await {
            Ok(stored) => stored,
            Err(miss) if miss.is("TRACE_SEALED") => {
                return self.record_after_the_end(&context, &report, &standing, digest).await;
            }
            Err(miss) => {
                slot.forget();
                return Err(not_recorded(miss));
            }
        };
        if !stored.duplicate {
            self.remember_step(&mut slot, &report, &standing, &stored);
        }
        let settled = self.settle(&context, &report, &standing).await;
        self.keep_alive(&context, &attempt, &mut slot).await;
        Ok(self.recorded_answer(&report, &attempt, &standing, &stored, settled))
    }

    /// What was decided about the step, and whether this report may stand beside it.
    async fn standing(
        &self,
        context: &Context,
        report: &RecordStepRequest,
        attempt: &Attempt,
        slot: &Slot,
    ) -> Outcome<Standing> {
        let session = slot.session.as_ref();
        let step = session.and_then(|s| s.steps.get(&report.step_index)).cloned();
        let decided = step.as_ref().is_some_and(|s| !s.decision_id.is_empty());
        let matches = step.as_ref().is_some_and(|s| decided && s.decision_id == report.decision_id);
        let executed = report.outcome() != StepOutcome::Skipped;
        let refused = matches && executed && step.as_ref().is_some_and(|s| !s.permitted);
        let fence_moved = report.fence != attempt.state.fence;
        let lapsed = attempt.status() == contracts_common::common::v1::RunStatus::Running
            && !attempt.holds_lease(self.now());
        let standing = Standing {
            unauthorized: !matches || refused,
            despite_denial: refused,
            late: fence_moved || lapsed || attempt.is_ending(),
            gap: session.is_some_and(|s| s.is_gap(report.step_index)),
            step,
        };
        if standing.unauthorized {
            let event =
                if refused { "spine.StepExecutedDespiteDenial" } else { "spine.StepExecutedWithoutDecision" };
            if attempt.profile() == GovernanceProfile::Strict {
                self.tell_report(context, "spine.StepRefused", report, "STEP_NOT_AUTHORIZED").await;
                let text = "no decision allows this step";
                return Err(Fault::new(&reasons::STEP_NOT_AUTHORIZED, text)
                    .precondition(format!("runs/{}/steps/{}", report.run_id, report.step_index), text));
            }
            if refused {
                self.tell_report(context, event, report, "EXECUTED_DESPITE_DENIAL").await;
            }
        }
        Ok(standing)
    }

    fn remember_step(
        &self,
        slot: &mut Slot,
        report: &RecordStepRequest,
        standing: &Standing,
        stored: &logs::Receipt,
    ) {
        let session = slot.session.get_or_insert_default();
        if stored.position != session.head + 1 {
            slot.forget();
            return;
        }
        let attempt =
            Try { retry_count: report.retry_count, outcome: report.outcome(), position: stored.position };
        let used = Used {
            cost_microusd: report.cost_microusd.unwrap_or(0),
            tokens_input: report.tokens_input,
            tokens_output: report.tokens_output,
        };
        session.recorded(report.step_index, kind(report, standing), &name(report, standing), attempt, used);
        let record = logs::StoredRecord {
            record: Some(logs::TraceRecord {
                position: stored.position,
                step_index: Some(report.step_index),
                occurred_at: stored_occurred(report, stored),
                body: Some(logs::trace_record::Body::Step(body(report, standing))),
                ..logs::TraceRecord::default()
            }),
            answer: kept(report, standing).encode_to_vec().into(),
            ..logs::StoredRecord::default()
        };
        slot.facts.extend(step_check::fact(session, &record));
    }

    /// Books what the step used. `None`: it could not be booked now.
    async fn settle(
        &self,
        context: &Context,
        report: &RecordStepRequest,
        standing: &Standing,
    ) -> Result<Option<SettleResponse>, ()> {
        let hold_id = standing.step.as_ref().map(|s| s.hold_id.clone()).unwrap_or_default();
        let hold = HoldRef {
            hold_id: hold_id.clone(),
            run_id: report.run_id.clone(),
            attempt: report.attempt,
            step_index: Some(report.step_index),
        };
        let result = match report.outcome() {
            // An unknown outcome keeps its hold; a further try keeps it too and settles with the last one.
            StepOutcome::Ambiguous | StepOutcome::Retried => return Ok(None),
            StepOutcome::Skipped if hold_id.is_empty() => return Ok(None),
            StepOutcome::Skipped => {
                let request = ReleaseRequest { hold: Some(hold), reason: ReleaseReason::StepSkipped.into() };
                let released = self.bridges.controls.release(context, request).await;
                released.map(|_| None)
            }
            _ => {
                let cost = report.cost_microusd.unwrap_or(0);
                let used = actual(cost, report.tokens_input, report.tokens_output, report.duration_us);
                let request = SettleRequest { hold: Some(hold), actual: Some(used), outcome: report.outcome };
                self.bridges.controls.settle(context, request).await.map(Some)
            }
        };
        result.map_err(|miss| {
            tracing::warn!(
                run_id = report.run_id,
                step = report.step_index,
                ?miss,
                "a step is not settled yet"
            );
        })
    }

    fn recorded_answer(
        &self,
        report: &RecordStepRequest,
        attempt: &Attempt,
        standing: &Standing,
        stored: &logs::Receipt,
        settled: Result<Option<SettleResponse>, ()>,
    ) -> RecordStepResponse {
        let (directive, reasons) =
            directive(attempt, standing, settled.as_ref().ok().and_then(Option::as_ref));
        let settlement = settlement(report, standing, &settled);
        let (charged, unfunded) = match &settled {
            Ok(Some(s)) => (s.charged_microusd, s.unfunded_microusd),
            _ => (0, 0),
        };
        let (retry_permitted, retry_after_ms) = retry(report);
        RecordStepResponse {
            receipt: Some(receipt(stored)),
            directive: directive.into(),
            reasons,
            settlement: settlement.into(),
            charged_microusd: charged,
            unfunded_microusd: unfunded,
            unauthorized: standing.unauthorized,
            gap: stored.gap || standing.gap,
            late: standing.late,
            retry_permitted,
            retry_after_ms,
        }
    }

    /// What comes after the seal goes into an addendum, and its charge is booked late.
    async fn record_after_the_end(
        &self,
        context: &Context,
        report: &RecordStepRequest,
        standing: &Standing,
        digest: Digest,
    ) -> Outcome<RecordStepResponse> {
        let mut late = standing.clone();
        late.late = true;
        let mut item = item(report, &late, digest, self.now());
        item.actor = Some(super::ledger::actor(context));
        item.correlation_id.clone_from(&context.correlation_id);
        let request = logs::AppendAddendumRequest {
            request_id: addendum_id(report),
            run_id: report.run_id.clone(),
            attempt: report.attempt,
            reason: "reported after the seal".to_owned(),
            items: vec![item],
        };
        let added = self.bridges.traces.addendum(context, request).await.map_err(not_recorded)?;
        let settled = self.settle(context, report, &late).await;
        let stored = added.receipts.into_iter().next().unwrap_or_default();
        let (charged, unfunded) = settled
            .as_ref()
            .ok()
            .and_then(Option::as_ref)
            .map_or((0, 0), |s| (s.charged_microusd, s.unfunded_microusd));
        Ok(RecordStepResponse {
            receipt: Some(receipt(&stored)),
            directive: Directive::Terminate.into(),
            settlement: settlement(report, &late, &settled).into(),
            charged_microusd: charged,
            unfunded_microusd: unfunded,
            unauthorized: late.unauthorized,
            gap: late.gap,
            late: true,
            ..RecordStepResponse::default()
        })
    }

    async fn resolve(
        &self,
        context: &Context,
        report: &RecordStepRequest,
        slot: &mut Slot,
    ) -> Outcome<RecordStepResponse> {
        let resolution = report.resolution.clone().unwrap_or_default();
        let item = RecordItem {
            idempotency_key: format!("r/{}", resolution.position),
            occurred_at: Some(timestamp(self.now())),
            step_index: Some(report.step_index),
            request_digest: report_digest(report).to_vec().into(),
            body: Some(record_item::Body::Resolution(logs::Resolution {
                resolves_position: resolution.position,
                outcome: resolution.outcome,
                outcome_code: outcome_code(resolution.outcome()).to_owned(),
                reason: resolution.reason.clone(),
                evidence_digest: resolution.evidence_digest.clone(),
            })),
            ..RecordItem::default()
        };
        let stored =
            self.append(context, &report.run_id, report.attempt, item).await.map_err(not_recorded)?;
        let step = slot.session.as_ref().and_then(|s| s.steps.get(&report.step_index)).cloned();
        if let Some(session) = &mut slot.session
            && !stored.duplicate
        {
            session.resolved(stored.position, resolution.position, resolution.outcome());
        }
        let standing = Standing { step, ..Standing::default() };
        let settled_as = RecordStepRequest { outcome: resolution.outcome, ..report.clone() };
        let settled = self.settle(context, &settled_as, &standing).await;
        Ok(RecordStepResponse {
            receipt: Some(receipt(&stored)),
            directive: Directive::Continue.into(),
            settlement: settlement(&settled_as, &standing, &settled).into(),
            retry_permitted: resolution.outcome() == StepOutcome::Failure,
            ..RecordStepResponse::default()
        })
    }
}

fn addendum_id(report: &RecordStepRequest) -> String {
    let digest = report_digest(report);
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&digest.0[..16]);
    uuid::Builder::from_custom_bytes(bytes).into_uuid().to_string()
}

fn stored_occurred(report: &RecordStepRequest, stored: &logs::Receipt) -> Option<prost_types::Timestamp> {
    report.ended_at.or(stored.recorded_at)
}

fn kind(report: &RecordStepRequest, standing: &Standing) -> StepKind {
    standing.step.as_ref().filter(|s| !s.decision_id.is_empty()).map_or(report.kind(), |s| s.kind)
}

fn name(report: &RecordStepRequest, standing: &Standing) -> String {
    let decided = standing.step.as_ref().filter(|s| !s.decision_id.is_empty());
    decided.map_or_else(|| report.name.clone(), |s| s.name.clone())
}

fn kept(report: &RecordStepRequest, standing: &Standing) -> KeptStep {
    let step = standing.step.as_ref();
    KeptStep {
        resource: step.map_or_else(|| report.name.clone(), |s| s.resource.clone()),
        output_size: report.output_size,
        output_labels: report.output_labels.clone(),
        obligations_applied: report.obligations_applied.clone(),
        hold_id: step.map(|s| s.hold_id.clone()).unwrap_or_default(),
        late: standing.late,
    }
}

fn body(report: &RecordStepRequest, standing: &Standing) -> logs::Step {
    let code = if report.outcome_code.is_empty() {
        outcome_code(report.outcome()).to_owned()
    } else {
        report.outcome_code.clone()
    };
    let category = match report.outcome_category() {
        OutcomeCategory::Unspecified => OutcomeCategory::Execution,
        stated => stated,
    };
    let permitted = standing.step.as_ref().is_some_and(|s| s.permitted);
    let verdict = match (&standing.step, permitted) {
        (Some(step), true) if !step.decision_id.is_empty() => Verdict::Allow,
        (Some(step), false) if !step.decision_id.is_empty() => Verdict::Deny,
        _ => Verdict::Unspecified,
    };
    logs::Step {
        kind: kind(report, standing).into(),
        name: name(report, standing),
        decision_id: if standing.unauthorized && !standing.despite_denial {
            String::new()
        } else {
            report.decision_id.clone()
        },
        verdict: verdict.into(),
        unauthorized: standing.unauthorized,
        outcome: report.outcome,
        outcome_category: category.into(),
        outcome_code: code,
        retry_count: report.retry_count,
        input_digest: report.input_digest.clone(),
        output_digest: report.output_digest.clone(),
        parameters_digest: report.parameters_digest.clone(),
        input_tokens: report.tokens_input,
        output_tokens: report.tokens_output,
        cache_read_tokens: report.cache_read_tokens,
        cache_write_tokens: report.cache_write_tokens,
        reasoning_tokens: report.reasoning_tokens,
        cost_microusd: report.cost_microusd.unwrap_or(0),
        duration_us: report.duration_us,
        started_at: report.started_at,
        provider: report.provider.clone(),
        model: report.model.clone(),
        external_ref: report.external_ref.clone(),
        cost_estimated: report.cost_microusd.is_none(),
        ..logs::Step::default()
    }
}

fn item(
    report: &RecordStepRequest,
    standing: &Standing,
    digest: Digest,
    now: runspine_types::Micros,
) -> RecordItem {
    RecordItem {
        idempotency_key: format!("s/{}/{}", report.step_index, report.retry_count),
        occurred_at: report.ended_at.or_else(|| Some(timestamp(now))),
        step_index: Some(report.step_index),
        causation_id: report.decision_id.clone(),
        request_digest: digest.to_vec().into(),
        answer: kept(report, standing).encode_to_vec().into(),
        body: Some(record_item::Body::Step(body(report, standing))),
        ..RecordItem::default()
    }
}

fn directive(
    attempt: &Attempt,
    standing: &Standing,
    settled: Option<&SettleResponse>,
) -> (Directive, Vec<Reason>) {
    if standing.late || attempt.state.stop.is_some() {
        return (Directive::Terminate, Vec::new());
    }
    if attempt.status() == contracts_common::common::v1::RunStatus::Paused {
        return (Directive::Pause, Vec::new());
    }
    match settled {
        Some(s) if attempt.profile() != GovernanceProfile::ObserveOnly => match s.directive() {
            Directive::Unspecified => (Directive::Continue, s.reasons.clone()),
            stated => (stated, s.reasons.clone()),
        },
        _ => (Directive::Continue, Vec::new()),
    }
}

fn settlement(
    report: &RecordStepRequest,
    standing: &Standing,
    settled: &Result<Option<SettleResponse>, ()>,
) -> Settlement {
    let held = standing.step.as_ref().is_some_and(|s| !s.hold_id.is_empty());
    match settled {
        Err(()) => Settlement::Pending,
        Ok(Some(s)) => match s.result() {
            SettleResult::Late => Settlement::Late,
            SettleResult::Held => Settlement::Held,
            SettleResult::Settled | SettleResult::Unspecified => Settlement::Settled,
        },
        Ok(None) if !held => Settlement::None,
        Ok(None) if report.outcome() == StepOutcome::Skipped => Settlement::Settled,
        Ok(None) => Settlement::Held,
    }
}

/// Whether another try may follow, and after how long: advice for the agent.
fn retry(report: &RecordStepRequest) -> (bool, u64) {
    let base = match report.error_class() {
        ErrorClass::Transient => 1_000_u64,
        ErrorClass::RateLimit => 5_000,
        _ => return (false, 0),
    };
    if report.outcome() != StepOutcome::Retried || report.retry_count >= 3 {
        return (false, 0);
    }
    let delay = base.saturating_mul(1 << report.retry_count).min(30_000);
    let jitter = Hasher::new("runspine.retry.v1")
        .fixed(report.run_id.as_bytes())
        .fixed(&report.step_index.to_be_bytes())
        .fixed(&(report.retry_count + 1).to_be_bytes())
        .finish();
    let mut first = [0; 4];
    first.copy_from_slice(&jitter.0[..4]);
    let share = u64::from(u32::from_be_bytes(first));
    (true, delay + delay.saturating_mul(share) / 5 / (u64::from(u32::MAX) + 1))
}
