//! Certificates: issued on a fresh check only, judged with the keys that are known now.

use bytes::Bytes;
use contracts_common::common::v1::CallContext;
use contracts_logs::v1::{
    Certificate, CertificateFormat, CertificateIssued, CertificateKind, CertificateRevoked,
    CertificateStatus, IssueCertificateResponse, KeyPurpose, ProofStatus, RevokeCertificateResponse,
    VerifyTraceResponse,
};
use runspine_errors::Fault;
use runspine_logs_domain::{
    bytes::timestamp,
    certificate::{self, Statement, expires_at},
    keys::Signed,
    reasons,
};
use runspine_types::new_id;

use super::{
    App,
    announce::announce,
    audit::told::{Caused, Told},
    claims::Claims,
    once::Once,
};
use crate::store::{
    certificates::{self, CertificateRow, Filter},
    keys,
};

/// What to certify.
#[derive(Debug, Clone)]
pub struct Issue {
    /// What identifies the call.
    pub once: Once,
    /// What to state.
    pub kind: CertificateKind,
    /// The run.
    pub run_id: String,
    /// The attempt; 0 for all, or the latest.
    pub attempt: u32,
    /// The replay; empty for none.
    pub replay_id: String,
    /// The export; empty for none.
    pub export_id: String,
    /// How to write it.
    pub format: CertificateFormat,
}

impl App {
    /// Checks a run and certifies what was found; gives the answer as it is kept.
    ///
    /// # Errors
    /// TRACE_NOT_FOUND, NOT_SEALED, PROOF_NOT_VERIFIED, CONTRACT_INCOMPLETE, REPLAY_NOT_FOUND, REPLAY_NOT_PARITY,
    /// EXPORT_NOT_FOUND, EXPORT_NOT_READY, EXPORT_INCOMPLETE, KEY_UNAVAILABLE, IDEMPOTENCY_MISMATCH, or when the store can't be read or written.
    pub async fn issue_certificate(&self, call: &CallContext, issue: Issue) -> Result<Bytes, Fault> {
        let Claims { run_id, attempt, incident_id, claims, .. } =
            self.claims(&call.tenant_id, &issue).await?;
        let signer = self.keyring.signer(KeyPurpose::Certificate)?;
        let issued_at = self.clock.now();
        let statement = Statement {
            certificate_id: new_id(),
            kind: issue.kind,
            tenant_id: call.tenant_id.clone(),
            run_id: run_id.clone(),
            attempt,
            replay_id: issue.replay_id.clone(),
            export_id: issue.export_id.clone(),
            incident_id,
            claims,
            issued_at,
            key_id: signer.key_id.clone(),
        };
        let payload = statement.payload();
        let signature = signer.sign(Signed::Certificate, payload.as_bytes());
        let row = CertificateRow {
            id: 0,
            certificate_id: statement.certificate_id,
            kind: issue.kind.into(),
            run_id,
            attempt,
            replay_id: issue.replay_id,
            export_id: issue.export_id,
            payload,
            signature: Bytes::copy_from_slice(&signature),
            key_id: signer.key_id,
            issued_at,
            revoked_at: None,
            revocation: None,
        };
        let (tenant_id, caused) = (call.tenant_id.clone(), Caused::by(call));
        self.once(issue.once, move |tx| {
            Box::pin(async move {
                certificates::insert(tx, &tenant_id, &row).await?;
                let data = CertificateIssued {
                    certificate_id: row.certificate_id.clone(),
                    kind: row.kind,
                    run_id: row.run_id.clone(),
                    key_id: row.key_id.clone(),
                    expires_at: Some(timestamp(expires_at(issued_at))),
                };
                let told = Told {
                    name: "CertificateIssued",
                    data: &data,
                    tenant_id: &tenant_id,
                    run_id: &row.run_id,
                    attempt: row.attempt,
                    step_index: None,
                    entity: ("certificate", row.certificate_id.clone()),
                    reason: certificate::kind_word(data.kind()),
                };
                announce(tx, told, None, &caused, issued_at).await?;
                Ok(IssueCertificateResponse { certificate: Some(present(row, issue.format)) })
            })
        })
        .await
    }

    /// One certificate.
    ///
    /// # Errors
    /// CERTIFICATE_NOT_FOUND, or when the store can't be read.
    pub async fn get_certificate(
        &self,
        tenant_id: &str,
        id: &str,
        format: CertificateFormat,
    ) -> Result<Certificate, Fault> {
        let row = certificates::find(self.db.read(), tenant_id, id).await?.ok_or_else(missing)?;
        Ok(present(row, format))
    }

    /// Certificates, newest first, with their places.
    ///
    /// # Errors
    /// When the store can't be read.
    pub async fn list_certificates(
        &self,
        tenant_id: &str,
        filter: &Filter,
        before: Option<i64>,
        limit: i64,
    ) -> Result<Vec<(i64, Certificate)>, Fault> {
        let rows = certificates::list(self.db.read(), tenant_id, filter, before, limit).await?;
        Ok(rows.into_iter().map(|row| (row.id, present(row, CertificateFormat::Json))).collect())
    }

    /// Judges a certificate. One of another tenant is judged by its signature alone: nothing else of it is known here.
    ///
    /// # Errors
    /// When the store can't be read.
    pub async fn verify_certificate(
        &self,
        tenant_id: &str,
        encoded: &str,
    ) -> Result<(CertificateStatus, Option<certificate::Read>), Fault> {
        let known = keys::all(self.db.read()).await?;
        let taken_back = match certificate::decode(encoded) {
            Some(read) => {
                let row = certificates::find(self.db.read(), tenant_id, &read.certificate_id).await?;
                row.is_some_and(|row| row.revoked_at.is_some())
            }
            None => false,
        };
        let purpose = i32::from(KeyPurpose::Certificate);
        let of_purpose = || known.iter().filter(|row| row.purpose == purpose);
        let public: Vec<[u8; 32]> =
            of_purpose().filter_map(|row| row.public_key.as_slice().try_into().ok()).collect();
        // Nothing shows when a revoked key signed it; the run can be certified again.
        let revoked = |read: &certificate::Read| {
            let by_revoked = |row: &keys::KeyRow| row.key_id == read.key_id && row.revoked_from.is_some();
            taken_back || of_purpose().any(by_revoked)
        };
        Ok(certificate::judge(encoded, self.clock.now(), &public, revoked))
    }

    /// Takes a certificate back and gives the answer as it is kept.
    ///
    /// # Errors
    /// CERTIFICATE_NOT_FOUND, IDEMPOTENCY_MISMATCH, or when the store can't be written.
    pub async fn revoke_certificate(
        &self,
        call: &CallContext,
        (once, id, reason): (Once, String, String),
    ) -> Result<Bytes, Fault> {
        let (tenant_id, caused, now) = (call.tenant_id.clone(), Caused::by(call), self.clock.now());
        self.once(once, move |tx| {
            Box::pin(async move {
                let mut row = certificates::find_in(tx, &tenant_id, &id).await?.ok_or_else(missing)?;
                // What is revoked stays revoked for its first reason.
                if row.revoked_at.is_none() {
                    certificates::revoke(tx, &id, (&reason, caused.actor_id()), now).await?;
                    let data = CertificateRevoked { certificate_id: id.clone() };
                    let told = Told {
                        name: "CertificateRevoked",
                        data: &data,
                        tenant_id: &tenant_id,
                        run_id: "",
                        attempt: 0,
                        step_index: None,
                        entity: ("certificate", id),
                        reason: &reason,
                    };
                    announce(tx, told, None, &caused, now).await?;
                    (row.revoked_at, row.revocation) = (Some(now), Some(reason));
                }
                Ok(RevokeCertificateResponse { certificate: Some(present(row, CertificateFormat::Json)) })
            })
        })
        .await
    }
}

fn missing() -> Fault {
    Fault::new(&reasons::CERTIFICATE_NOT_FOUND, "there is no such certificate")
}

/// Refuses a run whose proof is anything but VERIFIED.
///
/// # Errors
/// TRACE_NOT_FOUND, NOT_SEALED or PROOF_NOT_VERIFIED.
pub fn verified(proof: &VerifyTraceResponse) -> Result<(), Fault> {
    let subject = format!("runs/{}", proof.run_id);
    match proof.overall() {
        ProofStatus::Verified => Ok(()),
        ProofStatus::NoTrace => Err(Fault::new(&reasons::TRACE_NOT_FOUND, "there is no trace of this run")),
        ProofStatus::Unsealed => Err(Fault::new(&reasons::NOT_SEALED, "a trace of the run is not sealed")
            .precondition(subject, "is sealed")),
        status => Err(Fault::new(&reasons::PROOF_NOT_VERIFIED, "the run does not pass its proof")
            .precondition(subject, "is VERIFIED")
            .with("status", status.as_str_name())),
    }
}

fn present(row: CertificateRow, format: CertificateFormat) -> Certificate {
    Certificate {
        encoded: certificate::encode(&row.payload, &row.signature, format),
        certificate_id: row.certificate_id,
        kind: row.kind,
        run_id: row.run_id,
        attempt: row.attempt,
        replay_id: row.replay_id,
        export_id: row.export_id,
        issued_at: Some(timestamp(row.issued_at)),
        expires_at: Some(timestamp(expires_at(row.issued_at))),
        key_id: row.key_id,
        payload_json: row.payload,
        signature: row.signature,
        revoked_at: row.revoked_at.map(timestamp),
        revocation_reason: row.revocation.unwrap_or_default(),
    }
}
