//! Records what happened at a step: the trace first, then the money.

use contracts_common::common::v1::{GovernanceProfile, StepOutcome, Totals};
use contracts_controls::v1::{HoldRef, ReleaseReason, ReleaseRequest, SettleRequest, SettleResponse};
use contracts_logs::v1::{self as logs};
use contracts_spine::v1::{RecordStepRequest, RecordStepResponse};
use prost::Message;
use runspine_errors::{Fault, Outcome};
use runspine_rpc::Context;

use super::{
    Kernel,
    replay::receipt,
    session::{Try, Used},
    sessions::Slot,
    state::Attempt,
    step_check,
    trace::{actual, not_recorded},
    validate,
};
use super::{
    record_answer::{directive, halted, retry, settlement},
    report::{Standing, body, item, kept, kind, name, report_digest, resource, stored_occurred},
};
use crate::{metrics, reasons};

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
        if let Some(first) = self.repeat_record(&context, &report, &attempt, &slot).await? {
            return Ok(first);
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
            count(&report, &standing);
            self.remember_step(&mut slot, &report, &standing, &stored);
            self.uses.note(&context.tenant_id, &report, &standing);
            if attempt.profile() != GovernanceProfile::ObserveOnly {
                let agent = &attempt.attributes.agent_id;
                self.uses.note_end(&context.tenant_id, agent, &report, &standing);
            }
        }
        let totals = slot.session.as_ref().map(|s| s.totals(None, attempt.running_ms(self.now())));
        let settled = self.settle(&context, &report, &standing, totals).await;
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
        let step = session.and_then(|s| s.step(report.step_index)).cloned();
        let decided = step.as_ref().is_some_and(|s| !s.decision_id.is_empty());
        let matches = step.as_ref().is_some_and(|s| decided && s.decision_id == report.decision_id);
        let executed = report.outcome() != StepOutcome::Skipped;
        let refused = matches && executed && step.as_ref().is_some_and(|s| !s.permitted);
        let fence_moved = report.fence != attempt.state.fence;
        let lapsed = attempt.status() == contracts_common::common::v1::RunStatus::Running
            && !attempt.holds_lease(self.now());
        let late = fence_moved || lapsed || attempt.is_ending();
        let standing = Standing {
            unauthorized: !matches || refused,
            despite_denial: refused,
            late,
            halted: halted(attempt, late),
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
    pub(super) async fn settle(
        &self,
        context: &Context,
        report: &RecordStepRequest,
        standing: &Standing,
        totals: Option<Totals>,
    ) -> Result<Option<SettleResponse>, ()> {
        let hold_id = standing.step.as_ref().map(|s| s.hold_id.clone()).unwrap_or_default();
        let hold = HoldRef {
            hold_id: hold_id.clone(),
            run_id: report.run_id.clone(),
            attempt: report.attempt,
            step_index: Some(report.step_index),
        };
        let result = match report.outcome() {
            // A further try keeps the hold and settles with the last one. Of an unknown outcome controls is told, so that
            // the envelope's own rule decides about it at the end.
            StepOutcome::Retried => return Ok(None),
            StepOutcome::Skipped if hold_id.is_empty() => return Ok(None),
            StepOutcome::Skipped => {
                let request = ReleaseRequest { hold: Some(hold), reason: ReleaseReason::StepSkipped.into() };
                let released = self.bridges.controls.release(context, request).await;
                released.map(|_| None)
            }
            _ => {
                let cost = report.cost_microusd.unwrap_or(0);
                let used = actual(cost, report.tokens_input, report.tokens_output, report.duration_us);
                let request = SettleRequest {
                    hold: Some(hold),
                    actual: Some(used),
                    outcome: report.outcome,
                    totals,
                    kind: kind(report, standing).into(),
                    resource: resource(report, standing),
                };
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

    pub(super) fn recorded_answer(
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
}

fn count(report: &RecordStepRequest, standing: &Standing) {
    let outcome = report.outcome().as_str_name().trim_start_matches("STEP_OUTCOME_");
    metrics::STEPS.increment(&[("outcome", outcome)]);
    if standing.unauthorized {
        metrics::UNAUTHORIZED.increment(&[]);
    }
}
