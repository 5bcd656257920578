//! Starts a run: promises first, decides second, and executes only what is durable.
//!
//! Every step is keyed, so whoever repeats the call after a crash goes on where the first one stopped.

use contracts_activity::v1::{
    AuthorizationDecision, CreateRunRequest, GetAnswerRequest, GetRunViewRequest, KeepAnswerRequest,
    LeaseGrant, SnapshotRef, TransitionRunRequest,
};
use contracts_common::common::v1::{
    DecisionSource, Lease, RunEvent, RunPhase, RunStatus, TerminationReason, Verdict,
};
use contracts_controls::v1::{AdmitRunRequest, RenewRunLeaseRequest, SimulateAdmissionRequest};
use contracts_logs::v1::{
    self as logs, CaptureEvidenceRequest, GetAuditContractRequest, RecordItem, StartTraceRequest, record_item,
};
use contracts_policies::v1::{EvaluateRunRequest, EvaluateRunResponse};
use contracts_spine::v1::{
    ContractExpectation, ContractSummary, Decision, Governance, RunCharter, RunLease, StartOutcome,
    StartRunRequest, StartRunResponse, TraceStart, TransactionPhase,
};
use prost::Message;
use runspine_errors::{Fault, Outcome, mesh};
use runspine_rpc::{Context, timestamp};
use runspine_types::{Micros, new_id};

use super::{
    Kernel, LedgerNote,
    charter::{attributes, charter, contract_key, expectations, start_digest},
    combine::{Check, Combined, Finding, combine},
    decide::present,
    freeze::Subject,
    lease::lease,
    present::{charter_of, run_of_view},
    state::Attempt,
    step_check, termination,
    trace::not_recorded,
    validate,
};
use crate::{
    reasons,
    sagas::completion::{Ending, OpenedBy},
};

const OPERATION: &str = "spine.StartRun";

/// What the deciders said about a start.
pub(crate) struct StartDecision {
    pub combined: Combined,
    pub evaluated: EvaluateRunResponse,
    pub decision_id: String,
}

impl Kernel {
    /// Starts a run.
    ///
    /// # Errors
    /// When nothing was decided.
    pub async fn start_run(&self, context: &Context, request: StartRunRequest) -> Outcome<StartRunResponse> {
        validate::start(&request)?;
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
        let decided = self.decide_start(&context, &charter, &request.declared_tools, claim).await?;
        let trace = self.begin_trace(&context, &charter, &decided).await?;
        let evidence = self.capture_environment(&context, &charter, &request).await?;
        let created = self.create(&context, &charter, &decided, &trace.trace_id).await?;
        let (outcome, granted) = self.set_going(&context, &charter, created, &decided, claim).await?;
        self.set_deadline(&context, &charter, outcome, &decided.decision_id).await?;
        let answer = self
            .start_answer(&context, &charter, decided, trace, contract, evidence, outcome, granted)
            .await?;
        self.keep_start(&context, &request, answer).await
    }

    async fn first_start(
        &self,
        context: &Context,
        request: &StartRunRequest,
    ) -> Outcome<Option<StartRunResponse>> {
        let digest = start_digest(request);
        let get = GetAnswerRequest {
            run_id: request.request_id.clone(),
            operation: OPERATION.to_owned(),
            key: request.request_id.clone(),
        };
        let kept = self.bridges.answers.get(context, get).await;
        let kept = kept.map_err(|miss| miss.into_fault(&reasons::DECISION_UNAVAILABLE))?;
        if !kept.found {
            return Ok(None);
        }
        if kept.request_digest != digest.as_bytes() {
            return Err(other_body(&request.run_id));
        }
        decode(kept.answer).map(Some)
    }

    /// The first answer under this key wins, also over this one.
    async fn keep_start(
        &self,
        context: &Context,
        request: &StartRunRequest,
        answer: StartRunResponse,
    ) -> Outcome<StartRunResponse> {
        let keep = KeepAnswerRequest {
            run_id: request.request_id.clone(),
            operation: OPERATION.to_owned(),
            key: request.request_id.clone(),
            request_digest: start_digest(request).to_vec().into(),
            answer: answer.encode_to_vec().into(),
        };
        let kept = self.bridges.answers.keep(context, keep).await;
        decode(kept.map_err(|miss| miss.into_fault(&reasons::RECORD_UNAVAILABLE))?.answer)
    }

    /// The id that the client gave, or one that belongs to its request id from now on.
    async fn run_id_of(&self, context: &Context, request: &StartRunRequest) -> Outcome<String> {
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

    async fn depth(&self, context: &Context, request: &StartRunRequest) -> Outcome<u32> {
        if request.parent_run_id.is_empty() {
            return Ok(0);
        }
        let parent = self.read_attempt(context, &request.parent_run_id, 0, false).await?;
        let Some(parent) = parent.filter(|p| !p.is_terminal()) else {
            return Err(Fault::new(&reasons::PARENT_NOT_FOUND, "the parent run does not live")
                .with("parent_run_id", &request.parent_run_id));
        };
        let depth = parent.attributes.depth + 1;
        if depth > super::limits::DEPTH {
            let text = "runs spawn runs to a depth of 8";
            return Err(Fault::new(&reasons::DELEGATION_TOO_DEEP, text).field(
                "parent_run_id",
                "DELEGATION_TOO_DEEP",
                text,
            ));
        }
        Ok(depth)
    }

    /// How long to wait, in milliseconds, when there is no room now.
    async fn no_room(&self, context: &Context, charter: &RunCharter) -> Outcome<Option<u64>> {
        let request = SimulateAdmissionRequest {
            scope: Some(step_check::scope(&attributes(charter, &context.agent_id), "", "")),
            amounts: charter.requested,
            at: Some(timestamp(self.now())),
            profile: charter.profile,
        };
        match self.bridges.settlements.simulate(context, request).await {
            Ok(answer) => {
                let admission = answer.admission.unwrap_or_default();
                let wait = u64::try_from(admission.retry_after_ms.unwrap_or(0)).unwrap_or(0);
                Ok((admission.verdict() == Verdict::Defer).then_some(wait.max(100)))
            }
            // Whether it may start is decided by the admission itself; here only room is asked for.
            Err(miss) => {
                tracing::warn!(?miss, "nobody says whether there is room");
                Ok(None)
            }
        }
    }

    async fn deferred(
        &self,
        context: &Context,
        request: &StartRunRequest,
        wait: u64,
    ) -> Outcome<StartRunResponse> {
        let said = LedgerNote {
            event: "spine.RunDenied",
            key: &request.request_id,
            reason: "DEFERRED",
            ..LedgerNote::default()
        };
        self.tell_ledger(context, &said).await?;
        let answer = StartRunResponse {
            outcome: StartOutcome::Deferred.into(),
            retry_after_ms: wait,
            ..StartRunResponse::default()
        };
        self.keep_start(context, request, answer).await
    }

    /// Promises what will happen. A contract that stands already keeps the charter it was made with.
    async fn declare(&self, context: &Context, charter: &mut RunCharter) -> Outcome<logs::AuditContract> {
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

    /// Asks both deciders at once.
    pub(crate) async fn decide_start(
        &self,
        context: &Context,
        charter: &RunCharter,
        declared_tools: &[String],
        claim: bool,
    ) -> Outcome<StartDecision> {
        let now = self.now();
        let decision_id = new_id();
        let run = attributes(charter, &context.agent_id);
        let profile = Attempt::new(contracts_activity::v1::RunState {
            attributes: Some(run.clone()),
            ..contracts_activity::v1::RunState::default()
        })
        .profile();
        let evaluate = EvaluateRunRequest {
            run_id: charter.run_id.clone(),
            attempt: charter.attempt,
            ask: 0,
            decision_id: decision_id.clone(),
            agent: Some(step_check::agent_facts(&run)),
            project: step_check::named(&run.project_id),
            api_key: step_check::named(&run.credential_id),
            goal_digest: charter.goal_digest.clone(),
            requested: charter.requested,
            declared_tools: declared_tools.to_vec(),
            run: Some(step_check::run_facts(&run, 0)),
            now: Some(timestamp(now)),
            profile: profile.into(),
            ..EvaluateRunRequest::default()
        };
        let (limits, policy) = tokio::join!(
            self.limits_of_start(context, charter, &decision_id, now, claim),
            self.bridges.policies.evaluate_run(context, evaluate),
        );
        let evaluated = policy.map_err(|miss| {
            if miss.is_refusal() {
                super::refuse::as_callers_fault(miss)
            } else {
                // No run starts without a snapshot to be judged by.
                miss.into_fault(&reasons::DECISION_UNAVAILABLE)
            }
        })?;
        let rules = step_check::policy_finding(&evaluated.decision.clone().unwrap_or_default());
        let subject = Subject {
            tenant: &context.tenant_id,
            project: &charter.project_id,
            agent: &charter.agent_id,
            api_key: &charter.credential_id,
            run: &charter.run_id,
        };
        let freeze = self.freezes.check(subject, profile, now, self.config.freeze_confirmed_ms);
        let limits = limits.unwrap_or_else(|| step_check::controls_silent(profile));
        let combined = combine(&[freeze, limits, rules], profile);
        let decision_id = evaluated.decision.as_ref().map_or(decision_id, |d| d.decision_id.clone());
        Ok(StartDecision { combined, evaluated, decision_id })
    }

    /// A run that takes its lease now is admitted; one that waits for a worker is only asked about, so that it holds
    /// nothing while it waits.
    async fn limits_of_start(
        &self,
        context: &Context,
        charter: &RunCharter,
        decision_id: &str,
        now: Micros,
        claim: bool,
    ) -> Option<Finding> {
        let scope = Some(step_check::scope(&attributes(charter, &context.agent_id), "", ""));
        let admission = if claim {
            let request = self.admit_run(charter, scope, decision_id, now);
            self.bridges.controls.admit_run(context, request).await.map(|a| a.admission)
        } else {
            let request = SimulateAdmissionRequest {
                scope,
                amounts: charter.requested,
                at: Some(timestamp(now)),
                profile: charter.profile,
            };
            self.bridges.settlements.simulate(context, request).await.map(|a| a.admission)
        };
        match admission {
            Ok(admission) => Some(step_check::limits_finding(&admission.unwrap_or_default())),
            Err(miss) => {
                tracing::warn!(check = Check::Limits.name(), ?miss, "a decider can't decide");
                None
            }
        }
    }

    pub(crate) fn admit_run(
        &self,
        charter: &RunCharter,
        scope: Option<contracts_controls::v1::ScopeTuple>,
        decision_id: &str,
        now: Micros,
    ) -> AdmitRunRequest {
        let ttl = i64::try_from(charter.lease_ttl_ms).unwrap_or(i64::MAX);
        AdmitRunRequest {
            run_id: charter.run_id.clone(),
            attempt: charter.attempt,
            ask: 0,
            decision_id: decision_id.to_owned(),
            scope,
            requested: charter.requested,
            lease: Some(Lease {
                fence: 1,
                holder: charter.credential_id.clone(),
                expires_at: Some(timestamp(now.plus_millis(ttl))),
            }),
            profile: charter.profile,
            now: Some(timestamp(now)),
        }
    }

    /// Starts the trace and puts the decision on it.
    async fn begin_trace(
        &self,
        context: &Context,
        charter: &RunCharter,
        decided: &StartDecision,
    ) -> Outcome<TraceStart> {
        let inspection = decided.evaluated.inspection.unwrap_or_default();
        let bits = [
            inspection.log_prompt,
            inspection.log_response,
            inspection.capture_pii,
            inspection.access_secret,
        ];
        let allowed = bits.iter().enumerate().map(|(i, on)| u32::from(*on) << i).sum();
        let request = StartTraceRequest {
            run_id: charter.run_id.clone(),
            attempt: charter.attempt,
            agent_id: charter.agent_id.clone(),
            profile: charter.profile,
            policy_snapshot_id: decided.evaluated.snapshot_id.clone(),
            policy_snapshot_digest: decided.evaluated.snapshot_digest.clone(),
            governance_config_version: charter.config_version.clone(),
            governance_config_digest: charter.config_digest.clone(),
            seed: Some(charter.seed),
            inspection_allowed: allowed,
            source: charter.source,
            parent_run_id: charter.parent_run_id.clone(),
            synthetic_scenario_id: charter.synthetic_scenario_id.clone(),
            project_id: charter.project_id.clone(),
            ..StartTraceRequest::default()
        };
        let started = self.bridges.traces.start(context, request).await.map_err(not_recorded)?;
        let combined = &decided.combined;
        let record = logs::Decision {
            decision_id: decided.decision_id.clone(),
            verdict: combined.effective_verdict.into(),
            directive: combined.directive.into(),
            name: "start_run".to_owned(),
            input_digest: charter.goal_digest.clone(),
            source: if combined.would_block() {
                DecisionSource::Profile
            } else {
                super::decide::source_of(combined)
            }
            .into(),
            reason: combined.reasons.first().map(|r| r.code.clone()).unwrap_or_default(),
            rule_ids: combined
                .reasons
                .iter()
                .map(|r| r.source_id.clone())
                .filter(|id| !id.is_empty())
                .collect(),
            policy_snapshot_digest: decided.evaluated.snapshot_digest.clone(),
            obligations_digest: super::decide::obligations_digest(combined),
            would_verdict: if combined.would_block() { combined.verdict.into() } else { 0 },
            degraded: combined.degraded,
            facts_digest: decided
                .evaluated
                .decision
                .as_ref()
                .map(|d| d.inputs_digest.clone())
                .unwrap_or_default(),
            ..logs::Decision::default()
        };
        let item = RecordItem {
            idempotency_key: "d/start/0".to_owned(),
            occurred_at: Some(timestamp(self.now())),
            causation_id: decided.decision_id.clone(),
            request_digest: charter.request_digest.clone(),
            body: Some(record_item::Body::Decision(record)),
            ..RecordItem::default()
        };
        self.append(context, &charter.run_id, charter.attempt, item).await.map_err(not_recorded)?;
        Ok(TraceStart {
            trace_id: started.trace_id,
            link_0: started.link_0,
            digest_salt: started.digest_salt,
            parameter_key: started.parameter_key,
        })
    }

    /// Captures the environment, or the fact that nobody told it: always one of the two.
    async fn capture_environment(
        &self,
        context: &Context,
        charter: &RunCharter,
        request: &StartRunRequest,
    ) -> Outcome<logs::CaptureEvidenceResponse> {
        let capture = CaptureEvidenceRequest {
            run_id: charter.run_id.clone(),
            attempt: charter.attempt,
            context: Some(super::environment::context(context, charter)),
            request_id: request.request_id.clone(),
            captured_at: Some(timestamp(self.now())),
            body: Some(super::environment::body(request.environment.as_ref())),
            step_index: None,
        };
        let captured = self.bridges.evidence.capture(context, capture).await;
        captured.map_err(|miss| miss.into_fault(&reasons::RECORD_UNAVAILABLE))
    }

    /// Creates the run as CREATED.
    pub(crate) async fn create(
        &self,
        context: &Context,
        charter: &RunCharter,
        decided: &StartDecision,
        trace_id: &str,
    ) -> Outcome<u64> {
        let request = CreateRunRequest {
            run_id: charter.run_id.clone(),
            attributes: Some(attributes(charter, &context.agent_id)),
            status: RunStatus::Queued.into(),
            actor: Some(super::ledger::actor(context)),
            trace_id: trace_id.to_owned(),
            start_input: charter.encode_to_vec().into(),
            authorization: None,
            snapshot: Some(SnapshotRef {
                id: decided.evaluated.snapshot_id.clone(),
                digest: decided.evaluated.snapshot_digest.clone(),
            }),
            next_attempt_at: None,
            reason: "START_RUN".to_owned(),
            cause_id: decided.decision_id.clone(),
            degraded: decided.combined.degraded,
        };
        let created = self.bridges.runs.create_run(context, request).await;
        let created = created.map_err(|miss| miss.into_fault(&reasons::RECORD_UNAVAILABLE))?;
        Ok(created.run.map_or(1, |r| r.sequence))
    }

    /// Moves the created run to where its decision leads.
    async fn set_going(
        &self,
        context: &Context,
        charter: &RunCharter,
        sequence: u64,
        decided: &StartDecision,
        claim: bool,
    ) -> Outcome<(StartOutcome, Option<RunLease>)> {
        if !decided.combined.permits() {
            self.deny(context, charter, decided).await?;
            return Ok((StartOutcome::Denied, None));
        }
        let state = self.attempt(context, &charter.run_id, charter.attempt).await?;
        if state.is_ending() {
            return Ok((StartOutcome::Denied, None));
        }
        if state.phase() == RunPhase::Created {
            let decision = Some(self.authorization(decided, AuthorizationDecision::Granted));
            let mut request = self.transition(charter, sequence, RunEvent::Authorize, &decided.decision_id);
            request.authorization = decision;
            request.degraded = decided.combined.degraded;
            self.moved(context, request).await?;
        }
        if !claim {
            return Ok((StartOutcome::Waiting, None));
        }
        let state = self.attempt(context, &charter.run_id, charter.attempt).await?;
        let ttl = state.attributes.lease_ttl_ms;
        let granted = match state.state.lease.clone().filter(|_| state.phase() == RunPhase::Executing) {
            Some(held) => held,
            None => self.take_lease(context, &state, &Self::holder(context, "")).await?,
        };
        Ok((StartOutcome::Admitted, Some(lease(&granted, ttl))))
    }

    /// AUTHORIZED → EXECUTING with the first lease, in both copies.
    pub(crate) async fn take_lease(
        &self,
        context: &Context,
        state: &Attempt,
        holder: &str,
    ) -> Outcome<Lease> {
        let s = &state.state;
        let request = TransitionRunRequest {
            run_id: s.run_id.clone(),
            attempt: s.attempt,
            expected_sequence: s.sequence,
            event: RunEvent::Claim.into(),
            to_phase: RunPhase::Executing.into(),
            to_status: RunStatus::Running.into(),
            reason: "CLAIM".to_owned(),
            actor: Some(super::ledger::actor(context)),
            grant: Some(LeaseGrant { holder: holder.to_owned(), ttl_ms: state.attributes.lease_ttl_ms }),
            ..TransitionRunRequest::default()
        };
        let granted = self.moved(context, request).await?.lease.unwrap_or_default();
        let holds = RenewRunLeaseRequest {
            run_id: s.run_id.clone(),
            attempt: s.attempt,
            fence: granted.fence,
            expires_at: granted.expires_at,
            freeze_epoch_seen: self.freezes.epoch(),
        };
        if let Err(miss) = self.bridges.controls.renew(context, holds).await {
            // The admission gave the holds the same time to live; the next heartbeat sets it right.
            tracing::warn!(run_id = s.run_id, ?miss, "the holds' copy of the lease was not renewed");
        }
        Ok(granted)
    }

    /// A refused start ends by the ordinary completion saga.
    async fn deny(&self, context: &Context, charter: &RunCharter, decided: &StartDecision) -> Outcome<()> {
        let primary = decided.combined.reasons.first().cloned().unwrap_or_default();
        let reason = termination::reason_of_refusal(&primary.check, &primary.code);
        let policy = reason == TerminationReason::PolicyBlock;
        let ending = Ending {
            causes: vec![reason],
            error_code: termination::kernel_code(reason).to_owned(),
            violation_policy_id: if policy { primary.source_id } else { String::new() },
            ..Ending::new(OpenedBy::Denied)
        };
        self.end(context, &charter.run_id, charter.attempt, ending).await?;
        self.drive(context, &charter.run_id, charter.attempt).await?;
        let said = LedgerNote {
            event: "spine.RunDenied",
            run_id: &charter.run_id,
            attempt: charter.attempt,
            key: &decided.decision_id,
            reason: &primary.code,
            ..LedgerNote::default()
        };
        self.tell_ledger(context, &said).await.map(|_| ())
    }

    #[expect(clippy::too_many_arguments, reason = "the parts of the answer")]
    async fn start_answer(
        &self,
        context: &Context,
        charter: &RunCharter,
        decided: StartDecision,
        trace: TraceStart,
        contract: logs::AuditContract,
        evidence: logs::CaptureEvidenceResponse,
        outcome: StartOutcome,
        granted: Option<RunLease>,
    ) -> Outcome<StartRunResponse> {
        if outcome != StartOutcome::Denied {
            let said = LedgerNote {
                event: "spine.RunStarted",
                run_id: &charter.run_id,
                attempt: charter.attempt,
                key: &decided.decision_id,
                ..LedgerNote::default()
            };
            self.tell_ledger(context, &said).await?;
        }
        let get = GetRunViewRequest { run_id: charter.run_id.clone() };
        let view = self.bridges.views.run_view(context, get).await;
        let view = view.map_err(|miss| miss.into_fault(&reasons::DECISION_UNAVAILABLE))?;
        let state = self.attempt(context, &charter.run_id, charter.attempt).await?;
        let phase = match outcome {
            StartOutcome::Denied if state.is_terminal() => TransactionPhase::Committed,
            _ => TransactionPhase::NotStarted,
        };
        Ok(StartRunResponse {
            outcome: outcome.into(),
            run: view.run.map(|run| run_of_view(run, phase)),
            decision: Some(self.start_decision(&decided)),
            lease: granted,
            trace: Some(trace),
            contract: Some(summary(&contract, &state)),
            governance: Some(governance(charter, &decided.evaluated)),
            environment_evidence_id: evidence.evidence_id,
            environment_failure_id: evidence.failure_id,
            retry_after_ms: 0,
        })
    }

    fn start_decision(&self, decided: &StartDecision) -> Decision {
        present(&decided.combined, decided.decision_id.clone(), 0)
    }
}

fn summary(contract: &logs::AuditContract, state: &Attempt) -> ContractSummary {
    let expectation = |e: &logs::ExpectationView| ContractExpectation {
        domain: e.domain.clone(),
        action: e.action.clone(),
        due_phase: e.due_phase,
        deadline_ms: e.deadline_ms,
    };
    let finalize = contract.expectations.iter().find(|e| e.action == "finalize_run");
    ContractSummary {
        expectations: contract.expectations.iter().map(expectation).collect(),
        run_deadline: state.state.run_deadline,
        finalize_by: finalize.and_then(|e| e.due_at),
    }
}

fn governance(charter: &RunCharter, evaluated: &EvaluateRunResponse) -> Governance {
    let inspection = evaluated.inspection.unwrap_or_default();
    Governance {
        profile: charter.profile,
        config_version: charter.config_version.clone(),
        config_digest: charter.config_digest.clone(),
        policy_snapshot_id: evaluated.snapshot_id.clone(),
        policy_snapshot_digest: evaluated.snapshot_digest.clone(),
        log_prompt: inspection.log_prompt,
        log_response: inspection.log_response,
        capture_pii: inspection.capture_pii,
        access_secret: inspection.access_secret,
    }
}

fn decode(answer: bytes::Bytes) -> Outcome<StartRunResponse> {
    StartRunResponse::decode(answer)
        .map_err(|e| Fault::new(&mesh::INTERNAL, "a kept answer can't be read").caused_by(e))
}

fn other_body(run_id: &str) -> Fault {
    Fault::new(&mesh::IDEMPOTENCY_MISMATCH, "this run was started with another body").with("run_id", run_id)
}
