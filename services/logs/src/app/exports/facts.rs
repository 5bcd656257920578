//! The fields of a report about an attempt, proved while they are read.

use std::collections::BTreeMap;

use contracts_common::common::v1::{ContractVerdict, TerminationReason};
use contracts_logs::v1::{ProofStatus, TraceHeader, TraceSeal};
use prost::Message as _;
use runspine_db::DbError;
use runspine_errors::Fault;
use runspine_logs_domain::{
    bytes::micros,
    contract::Key,
    export::{Facts, category, report},
    reasons,
};
use runspine_types::Micros;
use serde_json::{Value, json};

use crate::{
    app::App,
    store::{contract, exports, exports::ExportRow, seals},
};

/// What was read of an attempt that is over, and proved while it was read.
pub(super) struct Proved {
    header: TraceHeader,
    seal: TraceSeal,
    step: Option<u32>,
    proof: ProofStatus,
    verdict: Option<ContractVerdict>,
    /// What follows from it.
    pub facts: Facts,
}

impl Proved {
    /// Its fields in the report that `row` orders, by name.
    pub(super) fn fields(&self, row: &ExportRow) -> BTreeMap<String, Value> {
        named(row, (&self.header, &self.seal), &self.facts, self.step)
    }

    /// Status of its proof.
    pub(super) fn proof_word(&self) -> &'static str {
        self.proof.as_str_name().trim_start_matches("PROOF_STATUS_")
    }

    /// Verdict of its audit contract. Empty: none yet.
    pub(super) fn verdict_word(&self) -> &'static str {
        self.verdict.map_or("", |verdict| verdict.as_str_name().trim_start_matches("CONTRACT_VERDICT_"))
    }
}

impl App {
    /// Every field that logs knows of the report that `row` orders, by name.
    ///
    /// # Errors
    /// TRACE_NOT_FOUND, NOT_SEALED, or when the store can't be read.
    pub async fn report_fields(&self, row: &ExportRow) -> Result<BTreeMap<String, Value>, Fault> {
        Ok(self.proved(row).await?.fields(row))
    }

    /// What is known of the attempt of `row`.
    pub(super) async fn proved(&self, row: &ExportRow) -> Result<Proved, Fault> {
        let trace = self.find_trace(&row.tenant_id, &row.run_id, row.attempt, 0).await?;
        let open = || {
            let subject = format!("runs/{}/attempts/{}/trace", trace.run_id, trace.attempt);
            Fault::new(&reasons::NOT_SEALED, "the run is not over: its trace is open")
                .precondition(subject, "is sealed")
        };
        let sealed = seals::read(self.db.read(), trace.trace_key).await?.ok_or_else(open)?;
        let seal = TraceSeal::decode(sealed.seal.as_ref()).map_err(|e| unreadable("seal", &e))?;
        let header = TraceHeader::decode(trace.header.as_ref()).map_err(|e| unreadable("header", &e))?;
        let incident = exports::incident(self.db.read(), &row.tenant_id, &row.run_id).await?;
        let (incident_id, step) = incident.unwrap_or_default();
        let proof = self.verify_trace(&row.tenant_id, &row.run_id, trace.attempt).await?;
        let key = Key::run(&row.tenant_id, &row.run_id, trace.attempt);
        let contract = contract::read(self.db.read(), &key).await?;
        let verdict = contract.and_then(|(_, contract)| contract.judged.last().map(|judged| judged.verdict));
        let reason = seal.termination_reason();
        let breach = [TerminationReason::BudgetExceeded, TerminationReason::RateLimited].contains(&reason);
        let facts = Facts {
            incident_id,
            category: category(reason),
            limit_breach: breach,
            trace: true,
            total_tokens: seal.input_tokens + seal.output_tokens,
            total_duration_ms: (sealed.sealed_at.0 - trace.started_at.0) / 1_000,
            verified: proof.overall() == ProofStatus::Verified,
            complete: verdict == Some(ContractVerdict::Complete),
            seal_digest: Some(sealed.seal_digest),
            key_id: sealed.key_id,
            verified_at: micros(proof.verified_at.as_ref()),
        };
        Ok(Proved { header, seal, step, proof: proof.overall(), verdict, facts })
    }
}

fn named(
    row: &ExportRow,
    (header, seal): (&TraceHeader, &TraceSeal),
    facts: &Facts,
    step: Option<u32>,
) -> BTreeMap<String, Value> {
    let started = micros(header.started_at.as_ref());
    let since = row.since.unwrap_or(started);
    let until = row.until.unwrap_or_else(|| micros(seal.sealed_at.as_ref()));
    // A successful run has no incident, and its report says so.
    let incident = if facts.category.is_empty() && facts.incident_id.is_empty() {
        "none".to_owned()
    } else {
        facts.incident_id.clone()
    };
    let at = |time: Micros| Value::from(time.0);
    let fields = [
        ("bundle_id", json!(row.export_id)),
        ("incident_id", json!(incident)),
        ("incident_category", json!(facts.category)),
        ("run_id", json!(header.run_id)),
        ("attempt", json!(header.attempt)),
        ("trace_id", json!(header.trace_id)),
        ("tenant_id", json!(header.tenant_id)),
        ("agent_id", json!(header.agent_id)),
        ("policy_snapshot_id", json!(header.policy_snapshot_id)),
        ("termination_reason", json!(word(seal.termination_reason()))),
        ("total_steps", json!(seal.step_count)),
        ("total_tokens", json!(facts.total_tokens)),
        ("total_cost_microusd", json!(seal.cost_microusd)),
        ("created_at", at(row.created_at)),
        ("exported_by", json!(row.requested_by)),
        ("control_mappings", report(facts)),
        ("attestation_statement", json!(facts.attestation())),
        ("compliance_period_start", at(since)),
        ("compliance_period_end", at(until)),
        ("content_hash", json!(hex::encode(&seal.last_link))),
        ("violation_step_index", step.map_or(Value::Null, Value::from)),
        ("export_reason", json!(row.reason)),
        ("total_duration_ms", json!(facts.total_duration_ms)),
    ];
    fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

fn word(reason: TerminationReason) -> &'static str {
    reason.as_str_name().trim_start_matches("TERMINATION_REASON_")
}

fn unreadable(column: &str, error: &prost::DecodeError) -> DbError {
    DbError::Column { column: column.to_owned(), what: error.to_string() }
}
