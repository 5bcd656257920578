//! Evidence that an agent captures beside its steps, kept under the context of its run.

use bytes::Bytes;
use contracts_logs::v1::{
    CaptureEvidenceRequest, EvidenceContext, EvidenceSource, capture_evidence_request::Body,
};
use contracts_spine::v1::{self as pb, CaptureRequest, CaptureResponse, capture_request};
use prost::Message;
use runspine_errors::{Fault, Outcome, mesh};
use runspine_rpc::Context;

use super::{Kernel, refuse::as_callers_fault, validate};
use crate::reasons;

/// Under what evidence is captured: the run with the snapshot that judges it.
pub(crate) struct Captured<'a> {
    /// The run.
    pub run_id: &'a str,
    /// The attempt.
    pub attempt: u32,
    /// Who captured it.
    pub source: EvidenceSource,
    /// The snapshot that the run is bound to.
    pub snapshot_id: &'a str,
}

impl Captured<'_> {
    /// The execution context that logs keeps with it.
    pub(crate) fn context(&self, context: &Context) -> EvidenceContext {
        EvidenceContext {
            run_id: self.run_id.to_owned(),
            attempt: self.attempt,
            source: self.source.into(),
            policy_snapshot_id: self.snapshot_id.to_owned(),
            actor: Some(super::ledger::actor(context)),
        }
    }
}

impl Kernel {
    /// Keeps what an agent captured.
    ///
    /// # Errors
    /// What is wrong with the request, a run that is unknown or another agent's, or an outage: nothing was kept.
    pub async fn capture(&self, context: &Context, request: CaptureRequest) -> Outcome<CaptureResponse> {
        validate::capture(&request)?;
        let run = self.attempt(context, &request.run_id, request.attempt).await?;
        Self::require_own(context, &run)?;
        let context = context.for_run(&request.run_id);
        let captured = Captured {
            run_id: &request.run_id,
            attempt: run.state.attempt,
            source: source(&request),
            snapshot_id: run.state.snapshot.as_ref().map_or("", |s| s.id.as_str()),
        };
        let capture = CaptureEvidenceRequest {
            run_id: request.run_id.clone(),
            attempt: run.state.attempt,
            step_index: request.step_index,
            context: Some(captured.context(&context)),
            request_id: request.request_id.clone(),
            captured_at: request.captured_at,
            body: request.body.as_ref().map(body).transpose()?,
        };
        let kept = self.bridges.evidence.capture(&context, capture).await.map_err(|miss| {
            if miss.is_refusal() {
                as_callers_fault(miss)
            } else {
                miss.into_fault(&reasons::RECORD_UNAVAILABLE)
            }
        })?;
        Ok(CaptureResponse {
            evidence_id: kept.evidence_id,
            failure_id: kept.failure_id,
            failure_reason: kept.failure_reason,
        })
    }
}

fn source(request: &CaptureRequest) -> EvidenceSource {
    match request.source() {
        pb::EvidenceSource::Worker => EvidenceSource::Worker,
        pb::EvidenceSource::Provider => EvidenceSource::Provider,
        _ => EvidenceSource::Sdk,
    }
}

fn body(given: &capture_request::Body) -> Outcome<Body> {
    use capture_request::Body as Given;
    Ok(match given {
        Given::Environment(e) => Body::Environment(equal(e)?),
        Given::Activity(e) => Body::Activity(equal(e)?),
        Given::Provider(e) => Body::Provider(equal(e)?),
        Given::PolicyDecision(e) => Body::PolicyDecision(equal(e)?),
        Given::Retrieval(e) => Body::Retrieval(equal(e)?),
        Given::Failure(e) => Body::Failure(equal(e)?),
    })
}

/// The message of logs that has the same bytes.
fn equal<T: Message + Default>(given: &impl Message) -> Outcome<T> {
    T::decode(Bytes::from(given.encode_to_vec()))
        .map_err(|e| Fault::new(&mesh::INTERNAL, "evidence can't be handed on").caused_by(e))
}
