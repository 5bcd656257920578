//! Proves a run: every link recomputed by logs, the result on the ledger and on the run.

use contracts_activity::v1::{ApplyFactsRequest, Fact, FactResult, ProofFact, fact};
use contracts_common::common::v1::IntegrityStatus;
use contracts_logs::v1::{self as logs, VerifyTraceRequest};
use contracts_spine::v1::{GetRunProofRequest, GetRunProofResponse, ProofStatus, TraceProof};
use runspine_errors::Outcome;
use runspine_rpc::{Context, timestamp};
use runspine_types::{Hasher, derived_id};

use crate::{
    kernel::{Attempt, Kernel, LedgerNote, validate},
    reasons,
};

impl Kernel {
    /// Proves the traces of a run.
    ///
    /// # Errors
    /// When the run is not known, or the result can't be recorded.
    pub async fn run_proof(
        &self,
        context: &Context,
        request: GetRunProofRequest,
    ) -> Outcome<GetRunProofResponse> {
        validate::run_id(&request.run_id)?;
        let context = context.for_run(&request.run_id);
        let state = self.attempt(&context, &request.run_id, request.attempt).await?;
        let verify = VerifyTraceRequest { run_id: request.run_id.clone(), attempt: request.attempt };
        let proved = match self.bridges.traces.verify(&context, verify).await {
            Ok(proved) => proved,
            Err(miss) if miss.is_not_found() => logs::VerifyTraceResponse {
                overall: logs::ProofStatus::NoTrace.into(),
                verified_at: Some(timestamp(self.now())),
                ..logs::VerifyTraceResponse::default()
            },
            Err(miss) => return Err(miss.into_fault(&reasons::SOURCES_INCOMPLETE)),
        };
        let overall = status(proved.overall());
        let mut answer = GetRunProofResponse {
            run_id: request.run_id.clone(),
            overall: overall.into(),
            records_verified: proved.proofs.iter().map(|p| p.record_count).sum(),
            traces: proved.proofs.iter().map(trace).collect(),
            ledger_seq: 0,
            verified_at: proved.verified_at,
            duration_us: u64::try_from(proved.duration_us).unwrap_or(0),
        };
        // A failed read proves nothing, so nothing is said about the run.
        if overall != ProofStatus::Error {
            answer.ledger_seq = self.tell_proof(&context, &state, &answer).await?;
        }
        if overall == ProofStatus::Verified {
            self.grade(&context, &state).await;
        }
        Ok(answer)
    }

    /// The evidence of an attempt whose trace is whole is graded. A grade that could not be made is made with the next
    /// proof; what was proved stands without it.
    async fn grade(&self, context: &Context, state: &Attempt) {
        let request = logs::ComputeIntegrityRequest {
            run_id: state.state.run_id.clone(),
            attempt: state.state.attempt,
        };
        if let Err(miss) = self.bridges.evidence.grade(context, request).await {
            tracing::warn!(run_id = state.state.run_id, ?miss, "the evidence of the run was not graded");
        }
    }

    async fn tell_proof(
        &self,
        context: &Context,
        state: &Attempt,
        answer: &GetRunProofResponse,
    ) -> Outcome<u64> {
        let digest = answer
            .traces
            .iter()
            .fold(Hasher::new("runspine.proof.v1").fixed(&answer.overall.to_be_bytes()), |h, t| {
                h.fixed(&t.status.to_be_bytes())
                    .sized(&t.seal_digest)
                    .fixed(&t.first_bad_position.to_be_bytes())
            })
            .finish();
        let (run_id, attempt) = (&state.state.run_id, state.state.attempt);
        let name = answer.overall().as_str_name().trim_start_matches("PROOF_STATUS_");
        // The same proof twice is one entry.
        let key = digest.to_hex();
        let said = LedgerNote {
            event: "spine.RunProved",
            run_id,
            attempt,
            key: &key,
            reason: name,
            after_digest: digest.to_vec(),
            ..LedgerNote::default()
        };
        let seq = self.tell_ledger(context, &said).await?;
        let integrity = integrity(answer.overall(), state.is_terminal());
        let fact = Fact {
            fact_id: derived_id(
                Hasher::new("runspine.fact.v1").sized(run_id.as_bytes()).sized(&digest.0).finish(),
            ),
            run_id: run_id.clone(),
            attempt,
            source: "spine".to_owned(),
            source_seq: seq,
            occurred_at: answer.verified_at,
            body: Some(fact::Body::ProofRecorded(ProofFact { integrity: integrity.into() })),
        };
        let told = self.bridges.views.apply_facts(context, ApplyFactsRequest { facts: vec![fact] }).await;
        let told = told.map_err(|miss| miss.into_fault(&reasons::RECORD_UNAVAILABLE))?;
        for refused in told.receipts.iter().filter(|r| r.result() == FactResult::Refused) {
            tracing::error!(run_id, reason = refused.reason, "the run does not show its proof");
        }
        Ok(seq)
    }
}

fn status(of: logs::ProofStatus) -> ProofStatus {
    match of {
        logs::ProofStatus::Verified => ProofStatus::Verified,
        logs::ProofStatus::Mismatch => ProofStatus::Mismatch,
        logs::ProofStatus::Incomplete => ProofStatus::Incomplete,
        logs::ProofStatus::Unsealed => ProofStatus::Unsealed,
        logs::ProofStatus::NoTrace => ProofStatus::NoTrace,
        // An answer that nobody understands proves nothing.
        logs::ProofStatus::Error | logs::ProofStatus::Unspecified => ProofStatus::Error,
    }
}

fn integrity(proof: ProofStatus, terminal: bool) -> IntegrityStatus {
    match proof {
        ProofStatus::Verified => IntegrityStatus::Verified,
        ProofStatus::Mismatch | ProofStatus::Incomplete => IntegrityStatus::Failed,
        ProofStatus::Unsealed | ProofStatus::NoTrace if terminal => IntegrityStatus::Degraded,
        _ => IntegrityStatus::Unknown,
    }
}

fn trace(of: &logs::TraceProof) -> TraceProof {
    TraceProof {
        attempt: of.attempt,
        addendum: of.addendum,
        status: status(of.status()).into(),
        reason: of.reason.clone(),
        first_bad_position: of.first_bad_position.unwrap_or(0),
        record_count: of.record_count,
        last_link: of.last_link.clone(),
        seal_digest: of.seal_digest.clone(),
        key_id: of.key_id.clone(),
        findings: of.findings.iter().map(|f| format!("{} at {} ({}x)", f.code, f.at, f.count)).collect(),
    }
}
