//! What a certificate claims: each claim is the result of a check that is made when it is issued.

use contracts_common::common::v1::ContractVerdict;
use contracts_logs::v1::{
    CertificateKind, Export, ExportIncidentKind, ExportScope, ExportState, ReplayResult, VerifyTraceResponse,
};
use runspine_errors::Fault;
use runspine_logs_domain::{contract::Key, reasons};
use runspine_types::Digest;
use serde_json::{Value, json};

use super::{
    App,
    certificates::{Issue, verified},
};
use crate::store::{
    checkpoint::{self, Log},
    contract, ledger,
};

/// What the checks found.
pub(super) struct Claims {
    /// The run that the certificate is about.
    pub(super) run_id: String,
    /// The attempt; 0 for all.
    pub(super) attempt: u32,
    /// The incident; empty for none.
    pub(super) incident_id: String,
    /// The seals that were proved, each with its run.
    pub(super) seals: Vec<(String, Digest)>,
    /// What is claimed: a JSON object.
    pub(super) claims: Value,
}

impl App {
    /// What the checks find, and the attempt that they are about.
    pub(super) async fn claims(&self, tenant_id: &str, issue: &Issue) -> Result<Claims, Fault> {
        let mut found = match issue.kind {
            CertificateKind::PolicyAudit => self.audited(tenant_id, issue).await?,
            CertificateKind::IncidentExport => self.exported(tenant_id, &issue.export_id).await?,
            CertificateKind::ReplayProof => self.replayed(tenant_id, &issue.replay_id).await?,
            _ => self.of_traces(tenant_id, issue).await?,
        };
        if let Some((size, root)) = self.under_checkpoint(tenant_id, &found.seals).await? {
            found.claims["checkpoint_size"] = size.into();
            found.claims["checkpoint_root"] = root.to_hex().into();
        }
        Ok(found)
    }

    /// The newest checkpoint, when the entries that witness all of these seals are under it; its root is computed anew.
    async fn under_checkpoint(
        &self,
        tenant_id: &str,
        seals: &[(String, Digest)],
    ) -> Result<Option<(u64, Digest)>, Fault> {
        if seals.is_empty() {
            return Ok(None);
        }
        let log = Log::Ledger(tenant_id.to_owned());
        let Some(newest) = checkpoint::newest(self.db.read(), &log, u64::MAX).await? else { return Ok(None) };
        for (run_id, seal) in seals {
            let seq = ledger::witness(self.db.read(), tenant_id, run_id, *seal).await?;
            if seq.is_none_or(|seq| seq > newest.tree_size) {
                return Ok(None);
            }
        }
        let tree = self.notary.tree(&log, &[newest.tree_size], &[]).await?;
        let same = tree.root(newest.tree_size) == Some(newest.root);
        Ok(same.then_some((newest.tree_size, newest.root)))
    }

    /// A run whose traces pass their proof now.
    async fn of_traces(&self, tenant_id: &str, issue: &Issue) -> Result<Claims, Fault> {
        let proof = self.verify_trace(tenant_id, &issue.run_id, issue.attempt).await?;
        verified(&proof)?;
        let header = self.inspection(tenant_id, &issue.run_id, issue.attempt).await?;
        let snapshot = header.map(|(_, digest)| hex::encode(digest)).unwrap_or_default();
        let seals = seals_of(&proof);
        let records: u64 = proof.proofs.iter().map(|p| p.record_count).sum();
        let claims = json!({
            "proof_status": "VERIFIED",
            "seal_digests": named(&seals),
            "record_count": records,
            "snapshot_digest": snapshot,
        });
        let run_id = issue.run_id.clone();
        Ok(Claims { run_id, attempt: issue.attempt, incident_id: String::new(), seals, claims })
    }

    /// A replay that ended in PARITY, of an attempt that is still what was replayed.
    async fn replayed(&self, tenant_id: &str, replay_id: &str) -> Result<Claims, Fault> {
        let found = self.get_replay(tenant_id, replay_id, (0, false)).await?;
        let replay = found.replay.unwrap_or_default();
        if replay.result() != ReplayResult::Parity {
            return Err(Fault::new(&reasons::REPLAY_NOT_PARITY, "the replay did not end in PARITY")
                .precondition(format!("replays/{replay_id}"), "is finished with PARITY")
                .with("result", replay.result().as_str_name()));
        }
        let proof = self.verify_trace(tenant_id, &replay.run_id, replay.attempt).await?;
        verified(&proof)?;
        let totals = replay.totals.unwrap_or_default();
        let claims = json!({
            "replay_result": "PARITY",
            "replay_level": replay.level().as_str_name().trim_start_matches("REPLAY_LEVEL_"),
            "seal_digests": [hex::encode(&replay.seal_digest)],
            "behaviour_signature": hex::encode(&replay.recorded_signature),
            "steps": totals.steps,
            "checked": totals.checked,
            "executed": totals.executed,
            "skipped": totals.skipped,
        });
        let (run_id, attempt, seals) = (replay.run_id, replay.attempt, seals_of(&proof));
        Ok(Claims { run_id, attempt, incident_id: String::new(), seals, claims })
    }

    /// A report that was made with everything that belongs in it, of attempts that are still what it says.
    async fn exported(&self, tenant_id: &str, export_id: &str) -> Result<Claims, Fault> {
        let export = self.get_export(tenant_id, export_id).await?.export.unwrap_or_default();
        let subject = format!("exports/{export_id}");
        let attempts = reported(&export).filter(|_| export.state() == ExportState::Completed);
        let attempts = attempts.ok_or_else(|| {
            Fault::new(&reasons::EXPORT_NOT_READY, "the export is no report that was made")
                .precondition(subject.clone(), "is COMPLETED, a report of COMPLIANCE or evidence of INCIDENT")
        })?;
        if !export.missing_recommended.is_empty() {
            let lacks = export.missing_recommended.join(", ");
            return Err(Fault::new(&reasons::EXPORT_INCOMPLETE, format!("the report lacks {lacks}"))
                .precondition(subject, "has every field"));
        }
        let (mut seals, mut first) = (Vec::new(), None);
        for (run_id, attempt) in attempts {
            let trace = self.find_trace(tenant_id, &run_id, attempt, 0).await?;
            let proof = self.verify_trace(tenant_id, &run_id, trace.attempt).await?;
            verified(&proof)?;
            seals.extend(seals_of(&proof));
            first.get_or_insert((run_id, trace.attempt));
        }
        let mut claims = json!({
            "content_hash": hex::encode(&export.content_digest),
            "proof_status": "VERIFIED",
            "seal_digests": named(&seals),
        });
        let mut incident_id = String::new();
        if let Some(incident) = export.incident {
            incident_id = incident.incident_id;
            claims["incident_part_digest"] = hex::encode(&incident.part_digest).into();
        }
        let (run_id, attempt) = first.unwrap_or_default();
        Ok(Claims { run_id, attempt, incident_id, seals, claims })
    }

    async fn audited(&self, tenant_id: &str, issue: &Issue) -> Result<Claims, Fault> {
        let missing =
            || Fault::new(&reasons::CONTRACT_NOT_FOUND, "there is no audit contract of this attempt");
        let attempt = match issue.attempt {
            0 => {
                let row = self.find_trace(tenant_id, &issue.run_id, 0, 0).await;
                row.map_err(|_| missing())?.attempt
            }
            attempt => attempt,
        };
        let key = Key::run(tenant_id, &issue.run_id, attempt);
        let (row, contract) = contract::read(self.db.read(), &key).await?.ok_or_else(missing)?;
        let judged = contract.judged.last();
        if judged.is_none_or(|judged| judged.verdict != ContractVerdict::Complete) || !contract.closed {
            let subject = format!("contracts/run/{}/{attempt}", issue.run_id);
            return Err(Fault::new(&reasons::CONTRACT_INCOMPLETE, "the audit contract is not COMPLETE")
                .precondition(subject, "is closed with the verdict COMPLETE"));
        }
        let claims = json!({
            "contract_verdict": "COMPLETE",
            "contract_entries": contract.last_seq,
            "contract_link": row.last_link.to_hex(),
        });
        let run_id = issue.run_id.clone();
        Ok(Claims { run_id, attempt, incident_id: String::new(), seals: Vec::new(), claims })
    }
}

/// The seals of the traces that were proved.
fn seals_of(proof: &VerifyTraceResponse) -> Vec<(String, Digest)> {
    let seal = |bytes: &[u8]| Some((proof.run_id.clone(), Digest::from_slice(bytes)?));
    proof.proofs.iter().filter_map(|proof| seal(&proof.seal_digest)).collect()
}

fn named(seals: &[(String, Digest)]) -> Vec<String> {
    seals.iter().map(|(_, seal)| seal.to_hex()).collect()
}

/// The attempts that a report is about; nothing, when the export is no report.
fn reported(export: &Export) -> Option<Vec<(String, u32)>> {
    match (export.scope(), &export.incident) {
        (ExportScope::Compliance, _) => Some(vec![(export.run_id.clone(), export.attempt)]),
        (ExportScope::Incident, Some(order)) if order.kind() != ExportIncidentKind::Executive => {
            Some(order.attempts.iter().map(|one| (one.run_id.clone(), one.attempt)).collect())
        }
        _ => None,
    }
}
