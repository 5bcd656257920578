//! Seals a trace: acknowledgements, verdict, seal, ledger entry and event in one commit, or none of them.

use bytes::Bytes;
use contracts_common::common::v1::{ActorType, CallContext, ContractVerdict, RunSource};
use contracts_logs::v1::{self as pb, KeyPurpose, LedgerScope, ReconcilePass};
use prost::Message as _;
use runspine_db::{DbError, Tx};
use runspine_errors::Fault;
use runspine_logs_domain::{
    bytes::{FORMAT, encode, timestamp},
    contract::{By, COMPLETION, Key, Standing, rules::check_fence},
    keys::{Signed, seal_digest},
    reasons,
    trace::{Summary, llm},
};
use runspine_types::{Digest, Micros, hash, new_id};
use std::sync::Arc;

use super::{
    App,
    audit::told::{Caused, verdicts},
    events::{self, About},
    payloads::denials,
    random,
    spans::{is_observed, root_missing},
    start_trace::done,
};
use crate::{
    keyring::{Keyring, Signer},
    metrics,
    store::{
        contract::{Contracts, Held},
        evidence::{self, AttemptKey},
        ledger, llm_runs, observed,
        records::{self, RecordRow},
        seals::{self, SealRow},
        traces::{self, TraceRef, TraceRow},
    },
};

/// Records that are read at a time.
const PAGE: i64 = 1_000;

/// The records of a trace, summed up to a position. What was read stays true: records never change.
#[derive(Clone, Default)]
pub struct ReadSoFar {
    /// The last position that was read.
    pub position: u64,
    /// What is in the records.
    pub summary: Summary,
}

impl ReadSoFar {
    /// Nothing yet of a trace.
    #[must_use]
    pub fn of(row: &TraceRow) -> Self {
        Self { position: 0, summary: Summary::of_source(row.source) }
    }

    /// The same, to be compared with another trace.
    #[must_use]
    pub fn to_compare(row: &TraceRow) -> Self {
        Self { position: 0, summary: Summary::to_compare(row.source) }
    }

    /// Takes the next rows.
    pub fn take(&mut self, rows: &[RecordRow]) -> Result<(), DbError> {
        for row in rows {
            let record = pb::TraceRecord::decode(row.record.as_ref())
                .map_err(|error| DbError::Column { column: "record".to_owned(), what: error.to_string() })?;
            self.summary.take(&record, &row.columns());
            self.position = row.position;
        }
        Ok(())
    }
}

/// Everything that the transaction needs, made outside of it.
struct Seal {
    of: TraceRef,
    request: pb::SealTraceRequest,
    request_digest: Digest,
    call: CallContext,
    contracts: Contracts,
    keyring: Arc<Keyring>,
    read: ReadSoFar,
    now: Micros,
    salt: [u8; 32],
}

impl App {
    /// Seals the trace of an attempt and gives the answer as it is stored. The same request again gives the first one,
    /// whatever fence it comes under: another replica may repeat it.
    ///
    /// # Errors
    /// TRACE_NOT_FOUND, TRACE_SEALED, INTENT_MISSING, STALE_FENCE, CONTRACT_INCOMPLETE, KEY_UNAVAILABLE, or when the
    /// store can't be written.
    pub async fn seal_trace(
        &self,
        call: &CallContext,
        request: pb::SealTraceRequest,
    ) -> Result<Bytes, Fault> {
        let of = TraceRef {
            tenant_id: call.tenant_id.clone(),
            run_id: request.run_id.clone(),
            attempt: request.attempt,
        };
        let unfenced = pb::SealTraceRequest { fence: 0, ..request.clone() };
        let read = self.read_ahead(&of).await?;
        let seal = Seal {
            of: of.clone(),
            request_digest: hash(&unfenced.encode_to_vec()),
            request: pb::SealTraceRequest {
                incomplete_reason: crate::rpc::words(&request.incomplete_reason),
                ..request
            },
            call: call.clone(),
            contracts: self.contracts.clone(),
            keyring: Arc::clone(&self.keyring),
            read,
            now: self.clock.now(),
            salt: random()?,
        };
        let (trace_key, answer) = self.db.write("seal_trace", move |tx| Box::pin(seal.run(tx))).await?;
        self.watch.wake(trace_key);
        let sealed = pb::SealTraceResponse::decode(answer.clone()).unwrap_or_default();
        let verdict = sealed.verdict().as_str_name().trim_start_matches("CONTRACT_VERDICT_");
        metrics::SEALS.increment(&[("verdict", verdict)]);
        Ok(answer)
    }

    /// Reads what is there before the writer's turn, so that a long trace does not keep everybody waiting.
    async fn read_ahead(&self, of: &TraceRef) -> Result<ReadSoFar, Fault> {
        let found = traces::one(self.db.read(), &of.tenant_id, &of.run_id, of.attempt.max(1), 0).await?;
        let Some(row) = found.filter(|row| !row.sealed) else { return Ok(ReadSoFar::default()) };
        let mut so_far = ReadSoFar::of(&row);
        loop {
            let page = records::page(self.db.read(), row.trace_key, so_far.position, PAGE).await?;
            so_far.take(&page)?;
            if page.len() < usize::try_from(PAGE).unwrap_or(usize::MAX) {
                return Ok(so_far);
            }
        }
    }
}

impl Seal {
    async fn run(mut self, tx: &mut Tx) -> Result<(i64, Bytes), Fault> {
        let missing = || Fault::new(&reasons::TRACE_NOT_FOUND, "there is no trace of this attempt");
        let row = traces::find(tx, &self.of).await?.ok_or_else(missing)?;
        if let Some(sealed) = seals::find(tx, row.trace_key).await? {
            return self.again(&row, sealed);
        }
        let key = Key::run(&self.of.tenant_id, &self.of.run_id, self.of.attempt);
        let mut contract = self.contracts.load(tx, &key).await?;
        self.may_seal(&contract)?;
        let verdict = self.judge(&mut contract, &row.trace_id)?;
        if self.read.position == 0 {
            self.read = ReadSoFar::of(&row);
        }
        self.read_rest(tx, row.trace_key).await?;
        let signer = self.keyring.signer(KeyPurpose::Seal)?;
        let seal = self.build(tx, &row, &contract, verdict, &signer.key_id).await?;
        let (signed, digest) = sign(&signer, &seal);
        let mut findings = self.read.summary.findings();
        if is_observed(row.source) {
            findings.extend(root_missing(&row, observed::is_rooted(tx, row.trace_key).await?));
        }
        let answer = pb::SealTraceResponse { seal: Some(signed.clone()), verdict: verdict as i32, findings };
        let answer = Bytes::from(answer.encode_to_vec());
        seals::insert(
            tx,
            &SealRow {
                trace_key: row.trace_key,
                seal: signed.seal_bytes,
                signature: signed.signature,
                seal_digest: digest,
                key_id: seal.key_id.clone(),
                sealed_at: self.now,
                request_digest: self.request_digest,
                answer: answer.clone(),
            },
        )
        .await?;
        traces::mark_sealed(tx, row.trace_key).await?;
        llm_runs::insert(tx, &self.of.tenant_id, &self.llm_run(&row, &seal), self.now).await?;
        let caused = Caused {
            actor: self.call.actor.clone(),
            correlation_id: self.call.correlation_id.clone(),
            causation_id: self.call.causation_id.clone(),
        };
        let mut entries = verdicts(tx, &contract.journal, &caused, self.now);
        self.contracts.save(tx, [contract]).await?;
        denials::tell(tx, &self.of, row.trace_key, &caused, self.now).await?;
        entries.push(self.publish(tx, &seal, digest));
        for appended in ledger::append(tx, &[entries], self.now).await? {
            appended?;
        }
        Ok((row.trace_key, answer))
    }

    fn again(&self, row: &TraceRow, sealed: SealRow) -> Result<(i64, Bytes), Fault> {
        if sealed.request_digest == self.request_digest {
            return Ok((row.trace_key, sealed.answer));
        }
        let subject = format!("runs/{}/attempts/{}/trace", row.run_id, row.attempt);
        Err(Fault::new(&reasons::TRACE_SEALED, "the trace was sealed by another request")
            .precondition(subject, "is open"))
    }

    /// The intent is there, the fence is in force, and everything before finalizing is settled or excused.
    fn may_seal(&self, contract: &Held) -> Result<(), Fault> {
        let subject = format!("contracts/run/{}", self.of.run_id);
        if contract.intent(COMPLETION).is_none() {
            let message = "the contract has no completion intent";
            return Err(Fault::new(&reasons::INTENT_MISSING, message)
                .precondition(subject, "has a completion intent"));
        }
        check_fence(self.request.fence, contract.journal.fence())?;
        let judged = contract.judge(ReconcilePass::PreFinalize, self.now);
        if judged.clean || self.request.accept_incomplete {
            return Ok(());
        }
        let open = contract
            .before_finalizing()
            .filter(|e| !matches!(contract.standing(e, self.now), Standing::Acked | Standing::NotApplicable));
        let fault =
            Fault::new(&reasons::CONTRACT_INCOMPLETE, "not everything before finalizing is acknowledged");
        Err(open.fold(fault, |fault, e| {
            fault.precondition(format!("{}/{}", e.domain, e.action), "is acknowledged")
        }))
    }

    /// Acknowledges both last actions and writes the FINAL verdict.
    fn judge(&self, contract: &mut Held, trace_id: &str) -> Result<ContractVerdict, Fault> {
        let by = By { actor: "logs", now: self.now, ids: &new_id };
        for (domain, action) in [("logs", "complete_trace"), ("orchestrator", "finalize_run")] {
            let fact = done(&self.of, domain, action, trace_id, self.request.fence);
            contract.journal.acknowledge(&fact, by)?;
        }
        let (judgement, _) = contract.journal.reconcile(ReconcilePass::Final, by)?;
        Ok(judgement.verdict.unwrap_or(ContractVerdict::Incomplete))
    }

    /// Records that came after reading ahead.
    async fn read_rest(&mut self, tx: &mut Tx, trace_key: i64) -> Result<(), Fault> {
        loop {
            let page = records::page_in(tx, trace_key, self.read.position, PAGE).await?;
            self.read.take(&page)?;
            if page.len() < usize::try_from(PAGE).unwrap_or(usize::MAX) {
                return Ok(());
            }
        }
    }

    async fn build(
        &self,
        tx: &mut Tx,
        row: &TraceRow,
        contract: &Held,
        verdict: ContractVerdict,
        key_id: &str,
    ) -> Result<pb::TraceSeal, Fault> {
        let attempt = AttemptKey {
            tenant_id: self.of.tenant_id.clone(),
            run_id: self.of.run_id.clone(),
            attempt: self.of.attempt,
        };
        let evidence = evidence::head(tx, &attempt).await?;
        let summary = &self.read.summary;
        Ok(pb::TraceSeal {
            run_status: self.request.run_status,
            termination_reason: self.request.termination_reason,
            error_code: self.request.error_code.clone(),
            contract_entry_count: contract.last_seq,
            contract_link: raw(contract.journal.link()),
            contract_status: verdict as i32,
            evidence_count: evidence.count,
            evidence_link: if evidence.count == 0 { Bytes::new() } else { raw(evidence.link) },
            ..base(row, summary, self.now, key_id)
        })
    }

    /// What the attempt used of language models.
    fn llm_run(&self, row: &TraceRow, seal: &pb::TraceSeal) -> pb::LlmRun {
        let calls = &self.read.summary.llm;
        let models = calls.models();
        let first = models.first().cloned().unwrap_or_default();
        let (prompts, responses) = calls
            .digests()
            .map_or_else(Default::default, |(prompts, responses)| (raw(prompts), raw(responses)));
        let run_source = RunSource::try_from(row.source).unwrap_or_default();
        pb::LlmRun {
            id: new_id(),
            run_id: row.run_id.clone(),
            attempt: row.attempt,
            trace_id: row.trace_id.clone(),
            agent_id: row.agent_id.clone(),
            provider: first.provider,
            model: first.model,
            models,
            prompt_digest: prompts,
            response_digest: responses,
            input_tokens: seal.input_tokens,
            output_tokens: seal.output_tokens,
            cost_microusd: seal.cost_microusd,
            execution_status: llm::execution_status(seal.run_status(), seal.termination_reason()).into(),
            started_at: Some(timestamp(row.started_at)),
            completed_at: seal.sealed_at,
            source: llm::source(run_source, !row.scenario_id.is_empty()).into(),
            synthetic_scenario_id: row.scenario_id.clone(),
        }
    }

    /// Publishes the event, and gives its ledger entry.
    fn publish(&self, tx: &mut Tx, seal: &pb::TraceSeal, digest: Digest) -> ledger::Event {
        let event = pb::TraceSealed {
            run_id: seal.run_id.clone(),
            attempt: seal.attempt,
            trace_id: seal.trace_id.clone(),
            record_count: seal.record_count,
            seal_digest: raw(digest),
            run_status: seal.run_status,
            termination_reason: seal.termination_reason,
            contract_status: seal.contract_status,
            sealed_at: seal.sealed_at,
            input_tokens: seal.input_tokens,
            output_tokens: seal.output_tokens,
            cost_microusd: seal.cost_microusd,
            step_count: seal.step_count,
        };
        let about = About {
            reason: self.request.incomplete_reason.clone(),
            ..About::call(&self.call, &self.of, &seal.trace_id)
        };
        witnessed(tx, about, &event, digest, self.salt, self.now)
    }
}

/// Publishes that a trace was sealed, and gives the ledger entry that witnesses the seal.
pub fn witnessed<M: events::Event>(
    tx: &mut Tx,
    about: About,
    event: &M,
    seal: Digest,
    salt: [u8; 32],
    now: Micros,
) -> ledger::Event {
    let actor = about.actor.clone().unwrap_or_default();
    let told = about.clone();
    ledger::Event {
        event_id: events::emit(tx, about, event, now),
        tenant_id: told.tenant_id,
        event_type: format!("logs.{}", M::NAME),
        scope: LedgerScope::Run,
        run_id: told.run_id,
        attempt: told.attempt,
        step_index: None,
        correlation_id: told.correlation_id,
        causation_id: told.causation_id,
        entity_type: "trace".to_owned(),
        entity_id: told.trace_id,
        actor_type: ActorType::try_from(actor.r#type).unwrap_or(ActorType::System),
        actor_id: actor.id,
        reason: told.reason,
        before_state: String::new(),
        after_state: String::new(),
        after_digest: Some(seal),
        occurred_at: now,
        entry_id: new_id(),
        state_salt: salt,
    }
}

fn raw(digest: Digest) -> Bytes {
    Bytes::copy_from_slice(digest.as_bytes())
}

/// What every seal says of its trace and the records in it.
pub fn base(row: &TraceRow, summary: &Summary, now: Micros, key_id: &str) -> pb::TraceSeal {
    pb::TraceSeal {
        format: FORMAT,
        tenant_id: row.tenant_id.clone(),
        run_id: row.run_id.clone(),
        attempt: row.attempt,
        trace_id: row.trace_id.clone(),
        record_count: row.record_count,
        last_link: raw(row.last_link),
        sealed_at: Some(timestamp(now)),
        key_id: key_id.to_owned(),
        behaviour_signature: raw(summary.behaviour.signature()),
        step_count: summary.totals.steps(),
        decision_count: summary.totals.decisions,
        input_tokens: summary.totals.input_tokens,
        output_tokens: summary.totals.output_tokens,
        cost_microusd: summary.totals.cost_microusd,
        addendum: row.addendum,
        ..Default::default()
    }
}

/// Signs a seal, which names the key of `signer`.
pub fn sign(signer: &Signer, seal: &pb::TraceSeal) -> (pb::SignedSeal, Digest) {
    let bytes = encode(seal);
    let signature = signer.sign(Signed::Seal, &bytes);
    let digest = seal_digest(&bytes);
    let signed = pb::SignedSeal {
        seal: Some(seal.clone()),
        seal_bytes: bytes.into(),
        signature: Bytes::copy_from_slice(&signature),
        seal_digest: raw(digest),
    };
    (signed, digest)
}
