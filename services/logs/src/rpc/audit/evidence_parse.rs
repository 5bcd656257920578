//! Requests about evidence.

use contracts_logs::v1::{
    self as pb, EvidenceFailureReason, EvidenceKind, EvidenceResolution, capture_evidence_request::Body,
    evidence_item,
};
use prost::Message as _;
use runspine_errors::Fault;
use runspine_logs_domain::reasons::RECORD_TOO_LARGE;
use runspine_types::hash;

use super::fields::Fields;
use crate::{
    app::audit::evidence::{Capture, Content},
    store::evidence::AttemptKey,
};

/// Most bytes that one piece of evidence may have.
const MOST: usize = 64 * 1024;
/// Parts per million that make the whole.
const WHOLE: u32 = 1_000_000;

/// A capture.
pub fn capture(tenant: &str, request: pb::CaptureEvidenceRequest) -> Result<Capture, Fault> {
    if request.encoded_len() > MOST {
        return Err(Fault::new(&RECORD_TOO_LARGE, format!("the evidence has more than {MOST} bytes")));
    }
    // Whoever repeats a call reads another clock: the time is no part of what is captured.
    let timeless = pb::CaptureEvidenceRequest { captured_at: None, ..request.clone() };
    let request_digest = hash(&timeless.encode_to_vec());
    let mut fields = Fields::new();
    fields.require(request.body.is_some(), "body", "must be set");
    fields.require(request.attempt >= 1, "attempt", "counts from 1");
    let key = AttemptKey {
        tenant_id: tenant.to_owned(),
        run_id: fields.id("run_id", request.run_id),
        attempt: request.attempt,
    };
    let request_id = fields.request_id(request.request_id);
    let captured_at = fields.optional_time("captured_at", request.captured_at.as_ref());
    let (kind, content) = body(&mut fields, request.body);
    fields.done()?;
    Ok(Capture {
        key,
        step_index: request.step_index,
        kind,
        context: request.context,
        request_id,
        request_digest,
        captured_at,
        content,
    })
}

fn body(fields: &mut Fields, body: Option<Body>) -> (EvidenceKind, Content) {
    use evidence_item::Body as Item;
    match body {
        Some(Body::Environment(e)) => {
            environment(fields, &e);
            (EvidenceKind::Environment, Content::Item(Box::new(Item::Environment(e))))
        }
        Some(Body::Activity(a)) => {
            activity(fields, &a);
            (EvidenceKind::Activity, Content::Item(Box::new(Item::Activity(a))))
        }
        Some(Body::Provider(p)) => {
            provider(fields, &p);
            (EvidenceKind::Provider, Content::Item(Box::new(Item::Provider(p))))
        }
        Some(Body::PolicyDecision(d)) => {
            decision(fields, &d);
            (EvidenceKind::PolicyDecision, Content::Item(Box::new(Item::PolicyDecision(d))))
        }
        Some(Body::Retrieval(r)) => {
            retrieval(fields, &r);
            (EvidenceKind::Retrieval, Content::Item(Box::new(Item::Retrieval(r))))
        }
        Some(Body::Failure(f)) => failure(fields, f),
        None => (
            EvidenceKind::Unspecified,
            Content::Failure(
                EvidenceFailureReason::CaptureFailed,
                String::new(),
                EvidenceResolution::Permanent,
            ),
        ),
    }
}

fn environment(fields: &mut Fields, e: &pb::EnvironmentEvidence) {
    let _: pb::SdkMode = fields.known("environment.sdk_mode", e.sdk_mode);
    let _: pb::EnvironmentTier = fields.known("environment.environment", e.environment);
    let _: pb::TelemetryDelivery = fields.any("environment.delivery", e.delivery);
    fields.require(e.sampling_ppm <= WHOLE, "environment.sampling_ppm", "is at most 1 000 000");
    fields.require(e.confidence_ppm <= WHOLE, "environment.confidence_ppm", "is at most 1 000 000");
}

fn activity(fields: &mut Fields, a: &pb::ActivityEvidence) {
    fields.require(!a.name.is_empty() && a.name.len() <= 256, "activity.name", "has 1 to 256 bytes");
    let _ = fields.digest("activity.prompt_digest", &a.prompt_digest);
    let _ = fields.digest("activity.response_digest", &a.response_digest);
    let _: pb::ActivityCompletion = fields.known("activity.completion", a.completion);
    let _: pb::Sensitivity = fields.any("activity.sensitivity", a.sensitivity);
    let _: pb::RedactionMode = fields.any("activity.redaction", a.redaction);
}

fn provider(fields: &mut Fields, p: &pb::ProviderEvidence) {
    let named = !p.provider.is_empty() && p.provider.len() <= 128;
    fields.require(named, "provider.provider", "has 1 to 128 bytes");
    let counts = [p.input_tokens, p.output_tokens, p.cache_read_tokens, p.cache_write_tokens, p.latency_us];
    fields.require(counts.iter().all(|n| *n >= 0), "provider", "has no count below 0");
    let _ = fields.optional_time("provider.requested_at", p.requested_at.as_ref());
    let _ = fields.optional_time("provider.responded_at", p.responded_at.as_ref());
}

fn decision(fields: &mut Fields, d: &pb::PolicyDecisionEvidence) {
    let named = !d.decision_id.is_empty() && d.decision_id.len() <= 128;
    fields.require(named, "policy_decision.decision_id", "has 1 to 128 bytes");
    let _: pb::GrantDecision = fields.known("policy_decision.decision", d.decision);
    fields.require(d.confidence_ppm <= WHOLE, "policy_decision.confidence_ppm", "is at most 1 000 000");
    for (n, rule) in d.evaluated_rules.iter().enumerate() {
        let field = format!("policy_decision.evaluated_rules[{n}].result");
        let _: pb::RuleResult = fields.known(&field, rule.result);
    }
}

fn retrieval(fields: &mut Fields, r: &pb::RetrievalEvidence) {
    let named = !r.connector_id.is_empty() && r.connector_id.len() <= 128;
    fields.require(named, "retrieval.connector_id", "has 1 to 128 bytes");
    let _ = fields.digest("retrieval.query_digest", &r.query_digest);
    fields.require(r.document_digests.len() <= 256, "retrieval.document_digests", "are at most 256");
    for (n, digest) in r.document_digests.iter().enumerate() {
        let _ = fields.digest(&format!("retrieval.document_digests[{n}]"), digest);
    }
    let counts = r.token_count >= 0 && r.duration_us >= 0;
    fields.require(counts, "retrieval", "has no count below 0");
    let _ = fields.optional_time("retrieval.requested_at", r.requested_at.as_ref());
    let _ = fields.optional_time("retrieval.completed_at", r.completed_at.as_ref());
}

fn failure(fields: &mut Fields, f: pb::EvidenceFailureReport) -> (EvidenceKind, Content) {
    let kind: EvidenceKind = fields.known("failure.kind", f.kind);
    let reason: EvidenceFailureReason = fields.known("failure.reason", f.reason);
    let resolution: EvidenceResolution = fields.any("failure.resolution", f.resolution);
    let told = resolution != EvidenceResolution::Superseded;
    fields.require(
        told,
        "failure.resolution",
        "is TRANSIENT or PERMANENT: what supersedes a failure says so itself",
    );
    let resolution = match resolution {
        EvidenceResolution::Unspecified => EvidenceResolution::Transient,
        given => given,
    };
    let detail = fields.words("failure.detail", f.detail, (0, 1_024));
    (kind, Content::Failure(reason, detail, resolution))
}
