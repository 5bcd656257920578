//! Records that come after the fact: reports after the seal, and the outcome of a step that was not known.

use contracts_common::common::v1::{Directive, StepOutcome};
use contracts_logs::v1::{self as logs, RecordItem, record_item};
use contracts_spine::v1::{RecordStepRequest, RecordStepResponse};
use runspine_errors::Outcome;
use runspine_rpc::{Context, timestamp};
use runspine_types::{Digest, derived_id};

use super::{
    Kernel,
    replay::receipt,
    sessions::Slot,
    trace::{not_recorded, outcome_code},
};

use super::{
    record_answer::settlement,
    report::{Standing, item, report_digest},
};

impl Kernel {
    /// What comes after the seal goes into an addendum, and its charge is booked late.
    pub(super) async fn record_after_the_end(
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
        let settled = self.settle(context, report, &late, None).await;
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

    pub(super) async fn resolve(
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
        let step = slot.session.as_ref().and_then(|s| s.step(report.step_index)).cloned();
        if let Some(session) = &mut slot.session
            && !stored.duplicate
        {
            session.resolved(stored.position, resolution.position, resolution.outcome());
        }
        let standing = Standing { step, ..Standing::default() };
        let settled_as = RecordStepRequest { outcome: resolution.outcome, ..report.clone() };
        let settled = self.settle(context, &settled_as, &standing, None).await;
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
    derived_id(report_digest(report))
}
