//! Acts on contracts, traces, payloads and what is signed over them.

use std::time::Duration;

use contracts_common::common::v1::{
    AckStatus, Actor, ActorType, GovernanceProfile, RunPhase, RunSource, RunStatus, TerminationReason,
};
use contracts_logs::v1 as pb;
use ed25519_dalek::{Signer as _, SigningKey};
use runspine_logs_domain::note::{Note, NoteKey, NoteSignature};
use runspine_testkit::until_ok;
use runspine_types::{Clock as _, new_id};

use super::desk::{Desk, WITNESS};

const CONTRACTS: &str = "logs.v1.AuditContractService";
const TRACES: &str = "logs.v1.TraceService";
const WHY: &str = "because the test wants it";

/// The key of a witness, and what logs knows of it.
pub fn witness() -> (SigningKey, NoteKey) {
    let key = SigningKey::from_bytes(&[5; 32]);
    let public = NoteKey::of_witness(WITNESS, key.verifying_key().to_bytes());
    (key, public)
}

fn key(run_id: &str) -> Option<pb::ContractKey> {
    Some(pb::ContractKey { saga: "run".into(), subject_id: run_id.to_owned(), attempt: 1 })
}

impl Desk {
    async fn promised(&self, run_id: &str) {
        let promise = |(domain, action, phase): (&str, &str, RunPhase)| pb::ExpectationSpec {
            domain: domain.into(),
            action: action.into(),
            due_phase: phase.into(),
            deadline_ms: if action == "finalize_run" { 0 } else { 5_000 },
            ..Default::default()
        };
        let expectations = [
            ("logs", "start_trace", RunPhase::Created),
            ("policies", "evaluate_policy", RunPhase::GovernanceCheck),
            ("logs", "complete_trace", RunPhase::Finalizing),
            ("orchestrator", "finalize_run", RunPhase::Created),
        ];
        let message = pb::DeclareExpectationsRequest {
            key: key(run_id),
            expectations: expectations.map(promise).to_vec(),
            run_timeout_ms: 30_000,
        };
        let _: pb::DeclareExpectationsResponse =
            self.act(&format!("{CONTRACTS}/DeclareExpectations"), message).await;
    }

    /// A run whose trace is sealed.
    async fn sealed(&self) -> String {
        let run_id = new_id();
        self.promised(&run_id).await;
        let start = pb::StartTraceRequest {
            run_id: run_id.clone(),
            attempt: 1,
            agent_id: "agent".into(),
            profile: GovernanceProfile::Standard.into(),
            source: RunSource::Sdk.into(),
            ..Default::default()
        };
        let _: pb::StartTraceResponse = self.act(&format!("{TRACES}/StartTrace"), start).await;
        let intent = pb::AppendIntentRequest {
            key: key(&run_id),
            kind: "COMPLETION".into(),
            payload: "done".into(),
            ..Default::default()
        };
        let _: pb::AppendIntentResponse = self.act(&format!("{CONTRACTS}/AppendIntent"), intent).await;
        let ack = pb::AckSpec {
            domain: "policies".into(),
            action: "evaluate_policy".into(),
            status: AckStatus::Success.into(),
            result_id: "evaluation".into(),
            idempotency_key: "evaluate_policy".into(),
            ..Default::default()
        };
        let ack = pb::AcknowledgeRequest { key: key(&run_id), acks: vec![ack], fence: 0 };
        let _: pb::AcknowledgeResponse = self.act(&format!("{CONTRACTS}/Acknowledge"), ack).await;
        let seal = pb::SealTraceRequest {
            run_id: run_id.clone(),
            attempt: 1,
            run_status: RunStatus::Succeeded.into(),
            termination_reason: TerminationReason::Completed.into(),
            ..Default::default()
        };
        let _: pb::SealTraceResponse = self.act(&format!("{TRACES}/SealTrace"), seal).await;
        run_id
    }
}

pub async fn acts(desk: &Desk) {
    contracts(desk).await;
    observed(desk).await;
    let run_id = desk.sealed().await;
    late(desk, &run_id).await;
    certificates(desk, &run_id).await;
    mismatches(desk, &run_id).await;
    replays(desk, &run_id).await;
    payloads(desk, &run_id).await;
    exports(desk, &run_id).await;
    checkpoints(desk).await;
    keys(desk).await;
}

/// A run that exists only as spans, and of which none comes any more.
async fn observed(desk: &Desk) {
    let run_id = new_id();
    desk.promised(&run_id).await;
    let start = pb::StartTraceRequest {
        run_id: run_id.clone(),
        attempt: 1,
        agent_id: "agent".into(),
        profile: GovernanceProfile::ObserveOnly.into(),
        source: RunSource::Otlp.into(),
        ..Default::default()
    };
    let _: pb::StartTraceResponse = desk.act(&format!("{TRACES}/StartTrace"), start).await;
    desk.advance(Duration::from_secs(15 * 60));
    let claim = pb::ClaimObservedRunsRequest { request_id: new_id(), ..Default::default() };
    let claimed: pb::ClaimObservedRunsResponse =
        desk.act("logs.v1.SpanService/ClaimObservedRuns", claim).await;
    assert!(claimed.runs[0].end.is_some(), "{claimed:?}");
}

/// What comes behind the seal.
async fn late(desk: &Desk, run_id: &str) {
    let pause =
        pb::Control { action: pb::ControlAction::Paused.into(), reason: WHY.into(), ..Default::default() };
    let item = pb::RecordItem {
        idempotency_key: "late".into(),
        occurred_at: Some(runspine_rpc::timestamp(desk.clock.now())),
        actor: Some(Actor { r#type: ActorType::System.into(), id: "spine".into() }),
        body: Some(pb::record_item::Body::Control(pause)),
        ..Default::default()
    };
    let addendum = pb::AppendAddendumRequest {
        run_id: run_id.to_owned(),
        attempt: 1,
        reason: WHY.into(),
        items: vec![item],
        request_id: new_id(),
    };
    let _: pb::AppendAddendumResponse = desk.act(&format!("{TRACES}/AppendAddendum"), addendum).await;
    let archive = pb::ArchiveTraceRequest { run_id: run_id.to_owned(), attempt: 1 };
    let _: pb::ArchiveTraceResponse = desk.act(&format!("{TRACES}/ArchiveTrace"), archive).await;
    let grade = pb::ComputeIntegrityRequest { run_id: run_id.to_owned(), attempt: 1 };
    let _: pb::ComputeIntegrityResponse = desk.act("logs.v1.EvidenceService/ComputeIntegrity", grade).await;
}

async fn keys(desk: &Desk) {
    let rotate = pb::RotateKeyRequest {
        purpose: pb::KeyPurpose::Seal.into(),
        reason: WHY.into(),
        request_id: new_id(),
    };
    let rotated: pb::RotateKeyResponse = desk.act("logs.v1.KeyService/RotateKey", rotate).await;
    let revoke = pb::RevokeKeyRequest {
        key_id: rotated.retired.unwrap().key_id,
        revoked_from: Some(runspine_rpc::timestamp(desk.clock.now())),
        reason: WHY.into(),
        request_id: new_id(),
    };
    let _: pb::RevokeKeyResponse = desk.act("logs.v1.KeyService/RevokeKey", revoke).await;
}

async fn contracts(desk: &Desk) {
    let run_id = new_id();
    desk.promised(&run_id).await;
    desk.advance(Duration::from_secs(6));
    let check = pb::ReconcileRequest { key: key(&run_id), pass: pb::ReconcilePass::Check.into() };
    let _: pb::ReconcileResponse = desk.act(&format!("{CONTRACTS}/Reconcile"), check).await;
    let claim = pb::ClaimOverdueRequest {
        worker_id: "worker".into(),
        limit: 10,
        lease_ms: 30_000,
        request_id: new_id(),
    };
    let claimed: pb::ClaimOverdueResponse = desk.act(&format!("{CONTRACTS}/ClaimOverdue"), claim).await;
    let park = pb::ReleaseClaimRequest {
        key: key(&run_id),
        fence: claimed.claims[0].fence,
        drive_result: pb::DriveResult::Park.into(),
        error_reason: "EVALUATION_REFUSED".into(),
    };
    let _: pb::ReleaseClaimResponse = desk.act(&format!("{CONTRACTS}/ReleaseClaim"), park).await;
    let unpark = pb::UnparkContractRequest { key: key(&run_id), reason: WHY.into(), request_id: new_id() };
    let _: pb::UnparkContractResponse = desk.act(&format!("{CONTRACTS}/UnparkContract"), unpark).await;
}

async fn certificates(desk: &Desk, run_id: &str) {
    let issue = pb::IssueCertificateRequest {
        request_id: new_id(),
        kind: pb::CertificateKind::RunProof.into(),
        run_id: run_id.to_owned(),
        ..Default::default()
    };
    let issued: pb::IssueCertificateResponse =
        desk.act("logs.v1.CertificateService/IssueCertificate", issue).await;
    let revoke = pb::RevokeCertificateRequest {
        request_id: new_id(),
        certificate_id: issued.certificate.unwrap().certificate_id,
        reason: WHY.into(),
    };
    let _: pb::RevokeCertificateResponse =
        desk.act("logs.v1.CertificateService/RevokeCertificate", revoke).await;
}

async fn replays(desk: &Desk, run_id: &str) {
    let start =
        pb::StartReplayRequest { request_id: new_id(), run_id: run_id.to_owned(), ..Default::default() };
    let started: pb::StartReplayResponse = desk.act("logs.v1.ReplayService/StartReplay", start).await;
    let finish =
        pb::FinishReplayRequest { request_id: new_id(), replay_id: started.replay.unwrap().replay_id };
    let _: pb::FinishReplayResponse = desk.act("logs.v1.ReplayService/FinishReplay", finish).await;
}

async fn mismatches(desk: &Desk, run_id: &str) {
    let report = pb::ReportMismatchRequest {
        request_id: new_id(),
        run_id: run_id.to_owned(),
        attempt: 1,
        reason: "OUTPUT".into(),
        expected_digest: vec![1; 32].into(),
        actual_digest: vec![2; 32].into(),
        ..Default::default()
    };
    let reported: pb::ReportMismatchResponse =
        desk.act("logs.v1.MismatchService/ReportMismatch", report).await;
    let resolve = pb::ResolveMismatchRequest {
        request_id: new_id(),
        mismatch_id: reported.mismatch.unwrap().mismatch_id,
        note: WHY.into(),
    };
    let _: pb::ResolveMismatchResponse = desk.act("logs.v1.MismatchService/ResolveMismatch", resolve).await;
}

async fn payloads(desk: &Desk, run_id: &str) {
    for hold in [true, false] {
        let message = pb::SetLegalHoldRequest {
            request_id: new_id(),
            run_ids: vec![run_id.to_owned()],
            hold,
            reason: WHY.into(),
            ..Default::default()
        };
        let _: pb::SetLegalHoldResponse = desk.act("logs.v1.PayloadService/SetLegalHold", message).await;
    }
    let erase = pb::ErasePayloadsRequest {
        request_id: new_id(),
        run_id: run_id.to_owned(),
        reason: WHY.into(),
        ..Default::default()
    };
    let _: pb::ErasePayloadsResponse = desk.act("logs.v1.PayloadService/ErasePayloads", erase).await;
}

async fn exports(desk: &Desk, run_id: &str) {
    let create = pb::CreateExportRequest {
        request_id: new_id(),
        scope: pb::ExportScope::Audit.into(),
        format: pb::ExportFormat::Json.into(),
        run_id: run_id.to_owned(),
        reason: WHY.into(),
        ..Default::default()
    };
    let created: pb::CreateExportResponse = desk.act("logs.v1.ExportService/CreateExport", create).await;
    let export_id = created.export.unwrap().export_id;
    until_ok(Duration::from_secs(60), || async {
        let get = pb::GetExportRequest { export_id: export_id.clone() };
        let found: pb::GetExportResponse = desk.act("logs.v1.ExportService/GetExport", get).await;
        let export = found.export.unwrap();
        if export.state() == pb::ExportState::Completed { Ok(()) } else { Err(export) }
    })
    .await;
    let download = pb::DownloadExportRequest { request_id: new_id(), export_id };
    let _: pb::DownloadExportResponse = desk.act("logs.v1.ExportService/DownloadExport", download).await;
}

async fn checkpoints(desk: &Desk) {
    let make = pb::CreateCheckpointRequest::default();
    let made: pb::CreateCheckpointResponse = desk.act("logs.v1.LedgerService/CreateCheckpoint", make).await;
    let checkpoint = made.checkpoint.unwrap();
    let (key, public) = witness();
    let (time, text) = (1_767_323_100_u64, Note::parse(&checkpoint.note).unwrap().text);
    let signature = key.sign(format!("cosignature/v1\ntime {time}\n{text}").as_bytes());
    let bytes = [&time.to_be_bytes()[..], &signature.to_bytes()].concat();
    let line = NoteSignature { name: public.name.clone(), key_hash: public.hash, bytes }.line();
    let add = pb::AddCosignatureRequest {
        tree_size: checkpoint.tree_size,
        signature_line: line,
        ..Default::default()
    };
    let _: pb::AddCosignatureResponse = desk.act("logs.v1.LedgerService/AddCosignature", add).await;
}
