//! Starts a run: promises first, decides second, and executes only what is durable.
//!
//! Every step is keyed, so whoever repeats the call after a crash goes on where the first one stopped.

mod admission;
mod anew;
mod answer;
mod approval;
mod going;
mod kept;
mod next;
mod observed;
mod room;
mod trace;

use contracts_activity::v1::KeepAnswerRequest;
use contracts_common::common::v1::Verdict;
use contracts_logs::v1::{self as logs, GetAuditContractRequest};
use contracts_policies::v1::EvaluateRunResponse;
use contracts_spine::v1::{RunCharter, StartOutcome, StartRunRequest, StartRunResponse};
use runspine_errors::{Fault, Outcome, mesh};
use runspine_rpc::Context;
use runspine_types::new_id;

use crate::kernel::{
    Kernel,
    charter::{charter, contract_key, expectations, start_digest},
    combine::Combined,
    present::charter_of,
    validate,
};
pub(crate) use anew::Anew;
pub(crate) use observed::{LEASE_MS as OBSERVED_LEASE_MS, observed_charter_of};

use crate::{metrics, reasons, sagas::completion::first_intent};

/// What the deciders said about a start.
pub(crate) struct StartDecision {
    pub combined: Combined,
    pub evaluated: EvaluateRunResponse,
    pub decision_id: String,
}

impl StartDecision {
    /// Whether a person has to decide first.
    pub(crate) fn waits_for_approval(&self) -> bool {
        self.combined.effective_verdict == Verdict::RequireApproval && !self.approval_id().is_empty()
    }

    /// Whether it is asked again later.
    pub(crate) fn is_put_off(&self) -> bool {
        self.combined.effective_verdict == Verdict::Defer
    }

    /// The approval that is waited for or was spent; empty: none.
    pub(crate) fn approval_id(&self) -> &str {
        self.evaluated.decision.as_ref().map_or("", |d| d.approval_id.as_str())
    }
}

impl Kernel {
    /// Starts a run.
    ///
    /// # Errors
    /// When nothing was decided.
    pub async fn start_run(&self, context: &Context, request: StartRunRequest) -> Outcome<StartRunResponse> {
        validate::start(&request)?;
        self.require_known_agent(&request)?;
        let digest = start_digest(&request);
        if let Some(first) = self.first_start(context, &request).await? {
            return Ok(first);
        }
        let run_id = self.run_id_of(context, &request).await?;
        let context = context.for_run(&run_id);
        let depth = self.depth(&context, &request).await?;
        let known = self.read_attempt(&context, &run_id, 1, false).await?;
        if known.as_ref().is_some_and(|k| k.attributes.request_digest != digest.as_bytes()) {
            return Err(other_body(&run_id));
        }
        let claim = request.claim.unwrap_or(true);
        let mut charter = charter(&context, &request, &run_id, depth, &self.config);
        if known.is_none()
            && let Some(wait) = self.no_room(&context, &charter).await?
        {
            return self.deferred(&context, &request, wait).await;
        }
        let contract = self.declare(&context, &mut charter).await?;
        let decided = self.decide_start(&context, &charter, claim).await?;
        let trace = self.begin_trace(&context, &charter, &decided).await?;
        let evidence = self.capture_environment(&context, &charter, &request, &decided).await?;
        self.create(&context, &charter, &decided, &trace.trace_id).await?;
        let (outcome, granted) = if first_intent(&contract).is_some() && decided.combined.permits() {
            // Whoever wrote down how the run ends was first.
            (StartOutcome::Denied, None)
        } else {
            self.set_going(&context, &charter, &decided, claim).await?
        };
        let outcome = self.set_deadline(&context, &charter, outcome, &decided.decision_id).await?;
        let granted = granted.filter(|_| outcome == StartOutcome::Admitted);
        let word = outcome.as_str_name().trim_start_matches("START_OUTCOME_");
        metrics::STARTS.increment(&[("outcome", word)]);
        let answer = self
            .start_answer(&context, &charter, decided, trace, contract, evidence, outcome, granted)
            .await?;
        self.keep_start(&context, &request, answer).await
    }

    fn require_known_agent(&self, request: &StartRunRequest) -> Outcome<()> {
        let known = &self.config.known_agents;
        if known.is_empty() || known.contains(&request.agent_id) {
            return Ok(());
        }
        let text = "the mesh knows its agents, and this one is not among them";
        Err(Fault::new(&reasons::AGENT_UNKNOWN, text)
            .precondition(format!("agents/{}", request.agent_id), text))
    }

    /// The id that the client gave, or one that belongs to its request id from now on.
    pub(crate) async fn run_id_of(&self, context: &Context, request: &StartRunRequest) -> Outcome<String> {
        if !request.run_id.is_empty() {
            return Ok(request.run_id.clone());
        }
        let keep = KeepAnswerRequest {
            run_id: request.request_id.clone(),
            operation: "spine.StartRun/run_id".to_owned(),
            key: request.request_id.clone(),
            request_digest: start_digest(request).to_vec().into(),
            answer: new_id().into_bytes().into(),
        };
        let kept = self.bridges.answers.keep(context, keep).await;
        let kept = kept.map_err(|miss| match miss.reason().as_str() {
            "IDEMPOTENCY_MISMATCH" => other_body(""),
            _ => miss.into_fault(&reasons::RECORD_UNAVAILABLE),
        })?;
        String::from_utf8(kept.answer.to_vec())
            .map_err(|e| Fault::new(&mesh::INTERNAL, "a kept run id is no text").caused_by(e))
    }

    pub(super) async fn depth(&self, context: &Context, request: &StartRunRequest) -> Outcome<u32> {
        if request.parent_run_id.is_empty() {
            return Ok(0);
        }
        let parent = self.read_attempt(context, &request.parent_run_id, 0, false).await?;
        let Some(parent) = parent.filter(|p| !p.is_terminal()) else {
            return Err(Fault::new(&reasons::PARENT_NOT_FOUND, "the parent run does not live")
                .with("parent_run_id", &request.parent_run_id));
        };
        let depth = parent.attributes.depth + 1;
        if depth > crate::kernel::limits::DEPTH {
            let text = "runs spawn runs to a depth of 8";
            return Err(Fault::new(&reasons::DELEGATION_TOO_DEEP, text).field(
                "parent_run_id",
                "DELEGATION_TOO_DEEP",
                text,
            ));
        }
        Ok(depth)
    }

    /// Promises what will happen. A contract that stands already keeps the charter it was made with.
    pub(super) async fn declare(
        &self,
        context: &Context,
        charter: &mut RunCharter,
    ) -> Outcome<logs::AuditContract> {
        let config = &self.config;
        let request = expectations(charter, config.contract_deadline_ms, config.start_patience_ms);
        match self.bridges.contracts.declare(context, request).await {
            Ok(answer) => Ok(answer.contract.unwrap_or_default()),
            Err(miss) if miss.is("IDEMPOTENCY_MISMATCH") => {
                let get =
                    GetAuditContractRequest { key: Some(contract_key(&charter.run_id, charter.attempt)) };
                let found = self.bridges.reconciler.contract(context, get).await;
                let found = found.map_err(|miss| miss.into_fault(&reasons::RECORD_UNAVAILABLE))?;
                let contract = found.contract.unwrap_or_default();
                match charter_of(&contract) {
                    Some(first) if first.request_digest == charter.request_digest => *charter = first,
                    _ => return Err(other_body(&charter.run_id)),
                }
                Ok(contract)
            }
            Err(miss) => Err(miss.into_fault(&reasons::RECORD_UNAVAILABLE)),
        }
    }
}

pub(super) fn other_body(run_id: &str) -> Fault {
    Fault::new(&mesh::IDEMPOTENCY_MISMATCH, "this run was started with another body").with("run_id", run_id)
}
