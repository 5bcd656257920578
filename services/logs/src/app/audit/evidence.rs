//! Captures evidence. A capture that can't be stored leaves a failure, and that is the answer.

use bytes::Bytes;
use contracts_logs::v1::{self as pb, EvidenceFailureReason, EvidenceKind, EvidenceResolution};
use runspine_db::{DbError, Tx};
use runspine_errors::{Fault, mesh};
use runspine_logs_domain::{
    bytes::{encode, timestamp},
    chain,
};
use runspine_types::{Digest, Micros, new_id};

use super::{
    Audit,
    told::{self, Caused, Told},
};
use crate::{
    metrics,
    store::evidence::{self, AttemptKey, FailureRow, NewEvidence},
};

/// What is to be captured.
#[derive(Clone)]
pub enum Content {
    /// A piece of evidence.
    Item(Box<pb::evidence_item::Body>),
    /// A failure at its source: reason, detail, resolution.
    Failure(EvidenceFailureReason, String, EvidenceResolution),
}

/// A call.
#[derive(Clone)]
pub struct Capture {
    /// The attempt.
    pub key: AttemptKey,
    /// The step.
    pub step_index: Option<u32>,
    /// The kind.
    pub kind: EvidenceKind,
    /// Who captured it and under what.
    pub context: Option<pb::EvidenceContext>,
    /// Key of the call.
    pub request_id: String,
    /// Digest of the call.
    pub request_digest: Digest,
    /// When it was captured; `None` for now.
    pub captured_at: Option<Micros>,
    /// What.
    pub content: Content,
}

/// What became of a capture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Captured {
    /// It is kept.
    Kept {
        /// Its id.
        evidence_id: String,
        /// Its place in the attempt's chain.
        seq: u64,
        /// Its link.
        link: Digest,
    },
    /// It is not; the failure is.
    Failed {
        /// Id of the failure.
        failure_id: String,
        /// Why.
        reason: EvidenceFailureReason,
    },
}

/// The prefix of a kind's ids.
const fn prefix(kind: EvidenceKind) -> &'static str {
    match kind {
        EvidenceKind::Environment => "ee-",
        EvidenceKind::Activity => "ae-",
        EvidenceKind::Provider => "pe-",
        EvidenceKind::PolicyDecision => "pd-",
        EvidenceKind::Retrieval => "re-",
        EvidenceKind::Integrity => "ie-",
        EvidenceKind::Unspecified => "",
    }
}

impl Audit {
    /// Captures evidence.
    ///
    /// # Errors
    /// IDEMPOTENCY_MISMATCH, or when not even the failure can be stored.
    pub async fn capture(&self, capture: Capture, caused: Caused) -> Result<Captured, Fault> {
        let now = self.clock.now();
        self.db
            .write("capture_evidence", move |tx| {
                Box::pin(async move { capture_in(tx, capture, &caused, now).await })
            })
            .await
    }
}

/// Captures evidence inside a transaction: in a savepoint of its own, so that the failure of a capture that was rolled
/// back stands.
///
/// # Errors
/// As [`Audit::capture`].
pub async fn capture_in(
    tx: &mut Tx,
    capture: Capture,
    caused: &Caused,
    now: Micros,
) -> Result<Captured, Fault> {
    let body = match &capture.content {
        Content::Failure(reason, detail, resolution) => {
            return Ok(fail(tx, &capture, *reason, detail, *resolution, caused, now).await?);
        }
        Content::Item(_) if !context_fits(&capture) => {
            let detail = "the execution context is absent or names another attempt";
            let (reason, never) = (EvidenceFailureReason::ContextInvalid, EvidenceResolution::Permanent);
            return Ok(fail(tx, &capture, reason, detail, never, caused, now).await?);
        }
        Content::Item(body) => body.as_ref().clone(),
    };
    let attempted = capture.clone();
    match tx.nested(move |tx| Box::pin(keep(tx, attempted, body, now))).await {
        Ok(captured) => Ok(captured),
        Err(fault) if fault.is(&mesh::IDEMPOTENCY_MISMATCH) => Err(fault),
        Err(fault) => {
            tracing::warn!(%fault, "a capture was rolled back");
            let (reason, soon) = (EvidenceFailureReason::DatabaseError, EvidenceResolution::Transient);
            Ok(fail(tx, &capture, reason, "the store refused the capture", soon, caused, now).await?)
        }
    }
}

/// Keeps a piece of evidence; the same key again gives the first one.
///
/// # Errors
/// IDEMPOTENCY_MISMATCH, or when the store refuses it.
pub async fn keep(
    tx: &mut Tx,
    capture: Capture,
    body: pb::evidence_item::Body,
    now: Micros,
) -> Result<Captured, Fault> {
    if let Some(first) = evidence::stored(tx, &capture.key.tenant_id, &capture.request_id).await? {
        if first.request_digest != capture.request_digest {
            return Err(Fault::new(&mesh::IDEMPOTENCY_MISMATCH, "the key was used for another capture"));
        }
        return Ok(Captured::Kept { evidence_id: first.evidence_id, seq: first.seq, link: first.link });
    }
    let body = without_pii(tx, &capture.key, body).await?;
    let head = evidence::head(tx, &capture.key).await?;
    let evidence_id = format!("{}{}", prefix(capture.kind), new_id());
    let (seq, captured_at) = (head.count + 1, capture.captured_at.unwrap_or(now));
    let item = pb::EvidenceItem {
        seq,
        evidence_id: evidence_id.clone(),
        tenant_id: capture.key.tenant_id.clone(),
        run_id: capture.key.run_id.clone(),
        attempt: capture.key.attempt,
        step_index: capture.step_index,
        captured_at: Some(timestamp(captured_at)),
        recorded_at: Some(timestamp(now)),
        context: capture.context.clone(),
        body: Some(body),
    };
    let item = Bytes::from(encode(&item));
    let link = chain::evidence_link(&head.link, &item);
    let new = NewEvidence {
        seq,
        evidence_id: evidence_id.clone(),
        kind: capture.kind.into(),
        step_index: capture.step_index,
        captured_at,
        recorded_at: now,
        request_id: capture.request_id.clone(),
        request_digest: capture.request_digest,
        item,
        link,
    };
    evidence::insert(tx, &capture.key, new).await?;
    supersede(tx, &capture, &evidence_id, now).await?;
    Ok(Captured::Kept { evidence_id, seq, link })
}

/// The bit of a trace header that lets observers keep personal data.
const CAPTURE_PII: u32 = 4;

/// A client's address is personal data: it is kept only where the run allows that.
async fn without_pii(
    tx: &mut Tx,
    key: &AttemptKey,
    body: pb::evidence_item::Body,
) -> Result<pb::evidence_item::Body, Fault> {
    use pb::evidence_item::Body::Environment;
    match body {
        Environment(mut found) if !found.client_address.is_empty() => {
            if evidence::inspection_allowed(tx, key).await? & CAPTURE_PII == 0 {
                found.client_address.clear();
            }
            Ok(Environment(found))
        }
        other => Ok(other),
    }
}

/// Says of every failure of this kind and step that the new evidence took its place.
async fn supersede(tx: &mut Tx, capture: &Capture, evidence_id: &str, now: Micros) -> Result<(), Fault> {
    let failures = evidence::failures_of(tx, &capture.key, capture.kind.into(), step_of(capture)).await?;
    let settled: Vec<i32> = failures.iter().filter(|f| f.superseded).map(|f| f.reason).collect();
    let rows: Vec<FailureRow> = failures
        .into_iter()
        .filter(|f| !f.superseded && !settled.contains(&f.reason))
        .map(|f| FailureRow {
            resolution: EvidenceResolution::Superseded.into(),
            superseded: true,
            superseded_by: evidence_id.to_owned(),
            recorded_at: now,
            ..f
        })
        .collect();
    if !rows.is_empty() {
        evidence::insert_failures(tx, &capture.key.tenant_id, &rows).await?;
    }
    Ok(())
}

/// Keeps a failure, or finds the one that is there already for the same kind, step and reason.
///
/// # Errors
/// When the store can't be read or written.
pub async fn fail(
    tx: &mut Tx,
    capture: &Capture,
    reason: EvidenceFailureReason,
    detail: &str,
    resolution: EvidenceResolution,
    caused: &Caused,
    now: Micros,
) -> Result<Captured, DbError> {
    let known = evidence::failures_of(tx, &capture.key, capture.kind.into(), step_of(capture)).await?;
    if let Some(first) = known.into_iter().find(|f| !f.superseded && f.reason == i32::from(reason)) {
        return Ok(Captured::Failed { failure_id: first.failure_id, reason });
    }
    let failure_id = new_id();
    let row = FailureRow {
        failure_id: failure_id.clone(),
        run_id: capture.key.run_id.clone(),
        attempt: capture.key.attempt,
        step_index: step_of(capture),
        kind: capture.kind.into(),
        reason: reason.into(),
        detail: detail.to_owned(),
        resolution: resolution.into(),
        superseded: false,
        superseded_by: String::new(),
        recorded_at: now,
    };
    evidence::insert_failures(tx, &capture.key.tenant_id, &[row]).await?;
    let kind = capture.kind.as_str_name().trim_start_matches("EVIDENCE_KIND_");
    metrics::EVIDENCE_FAILURES.increment(&[("kind", kind), ("reason", word(reason))]);
    let data = pb::EvidenceFailed {
        run_id: capture.key.run_id.clone(),
        attempt: capture.key.attempt,
        step_index: capture.step_index,
        kind: capture.kind.into(),
        reason: reason.into(),
        failure_id: failure_id.clone(),
    };
    let told = Told {
        name: "EvidenceFailed",
        data: &data,
        tenant_id: &capture.key.tenant_id,
        run_id: &capture.key.run_id,
        attempt: capture.key.attempt,
        step_index: capture.step_index,
        entity: ("evidence_failure", failure_id.clone()),
        reason: reason.as_str_name(),
    };
    told::emit(tx, told, caused, now);
    Ok(Captured::Failed { failure_id, reason })
}

/// The word of a reason, as its page is called.
const fn word(reason: EvidenceFailureReason) -> &'static str {
    match reason {
        EvidenceFailureReason::Unspecified => "UNSPECIFIED",
        EvidenceFailureReason::CaptureFailed => "CAPTURE_FAILED",
        EvidenceFailureReason::ProviderTimeout => "PROVIDER_TIMEOUT",
        EvidenceFailureReason::PreAttach => "PRE_ATTACH",
        EvidenceFailureReason::NetworkPartition => "NETWORK_PARTITION",
        EvidenceFailureReason::DatabaseError => "DATABASE_ERROR",
        EvidenceFailureReason::ContextInvalid => "CONTEXT_INVALID",
        EvidenceFailureReason::RedactionFailed => "REDACTION_FAILED",
    }
}

fn context_fits(capture: &Capture) -> bool {
    capture.context.as_ref().is_some_and(|context| {
        context.run_id == capture.key.run_id
            && context.attempt == capture.key.attempt
            && !matches!(
                pb::EvidenceSource::try_from(context.source),
                Ok(pb::EvidenceSource::Unspecified) | Err(_)
            )
            && context.actor.as_ref().is_some_and(|actor| !actor.id.is_empty())
    })
}

fn step_of(capture: &Capture) -> i64 {
    capture.step_index.map_or(-1, i64::from)
}
