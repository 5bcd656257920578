//! How an attempt ends, written down before anything is done about it. The first durable intent wins.

use contracts_common::common::v1::{ErrorClass, RunStatus, StepOutcome, TerminationReason};
use contracts_logs::v1::{
    self as logs, AppendIntentRequest, GetAuditContractRequest, RecordItem, record_item,
};
use contracts_spine::v1::CompletionIntent;
use prost::Message;
use runspine_errors::{Fault, Outcome};
use runspine_rpc::{Context, timestamp};
use runspine_types::Hasher;

use crate::{
    kernel::{
        Attempt, Kernel,
        again::{Again, Ended, again},
        contract_key, termination,
    },
    reasons,
};

/// The kind of the intent that opens the saga.
pub(crate) const COMPLETION: &str = "COMPLETION";

/// Which road led to the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OpenedBy {
    /// The agent completed the run.
    Agent,
    /// The start was refused.
    Denied,
    /// A directive stopped it.
    Halted,
    /// A person cancelled it.
    Cancelled,
    /// Its running time passed.
    TimedOut,
    /// Its holder is gone.
    Stale,
    /// A person has its run go on as a new attempt.
    Resumed,
    /// It exists only as spans, and no span comes any more.
    Quiet,
}

impl OpenedBy {
    /// Its name in the journal.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Agent => "AGENT",
            Self::Denied => "DENIED",
            Self::Halted => "HALTED",
            Self::Cancelled => "CANCELLED",
            Self::TimedOut => "TIMED_OUT",
            Self::Stale => "STALE",
            Self::Resumed => "RESUMED",
            Self::Quiet => "QUIET",
        }
    }
}

/// How an attempt is to end.
#[derive(Debug, Clone)]
pub struct Ending {
    /// Which road.
    pub opened_by: OpenedBy,
    /// Every cause known.
    pub causes: Vec<TerminationReason>,
    /// The code it ends with. Empty: by the strongest cause.
    pub error_code: String,
    /// The agent's own code beside the kernel's.
    pub agent_code: String,
    /// What kind of failure.
    pub error_class: ErrorClass,
    /// What the agent said.
    pub error_message: String,
    /// The rule of the primary reason.
    pub violation_policy_id: String,
    /// The step in hand. `None`: the last one.
    pub stopped_at_step: Option<u32>,
    /// Whether the agent would have another attempt.
    pub retryable: bool,
    /// How well the task was done.
    pub reward_permille: Option<u32>,
    /// Digest of the request that asked for it.
    pub request_digest: Vec<u8>,
    /// The last entry of the contract when this was decided, where anything written since may speak against it.
    /// 0: nothing can.
    pub decided_at_seq: u64,
}

impl Ending {
    /// An ending with nothing known but its road.
    #[must_use]
    pub fn new(opened_by: OpenedBy) -> Self {
        Self {
            opened_by,
            causes: Vec::new(),
            error_code: String::new(),
            agent_code: String::new(),
            error_class: ErrorClass::Unspecified,
            error_message: String::new(),
            violation_policy_id: String::new(),
            stopped_at_step: None,
            retryable: true,
            reward_permille: None,
            request_digest: Vec::new(),
            decided_at_seq: 0,
        }
    }
}

impl Kernel {
    /// The contract of an attempt, with everything that was journalled.
    pub(crate) async fn contract(
        &self,
        context: &Context,
        run_id: &str,
        attempt: u32,
    ) -> Outcome<logs::AuditContract> {
        let get = GetAuditContractRequest { key: Some(contract_key(run_id, attempt)) };
        match self.bridges.reconciler.contract(context, get).await {
            Ok(found) => Ok(found.contract.unwrap_or_default()),
            Err(miss) if miss.is_not_found() => {
                Err(Fault::new(&reasons::RUN_NOT_FOUND, "no such run for this tenant").with("run_id", run_id))
            }
            Err(miss) => Err(miss.into_fault(&reasons::RECORD_UNAVAILABLE)),
        }
    }

    /// Writes down how the attempt ends and gives what was written first, which may be another ending.
    pub(crate) async fn end(
        &self,
        context: &Context,
        run_id: &str,
        attempt: u32,
        ending: Ending,
    ) -> Outcome<CompletionIntent> {
        let contract = self.contract(context, run_id, attempt).await?;
        if let Some(first) = first_intent(&contract) {
            return Ok(first);
        }
        let state = self.read_attempt(context, run_id, attempt, false).await?;
        let expected_seq = ending.decided_at_seq;
        let intent = self.intent(context, run_id, attempt, state.as_ref(), ending).await?;
        let request = AppendIntentRequest {
            key: Some(contract_key(run_id, attempt)),
            kind: COMPLETION.to_owned(),
            payload: intent.encode_to_vec().into(),
            fence: contract.fence,
            expected_seq,
        };
        match self.bridges.contracts.intent(context, request).await {
            Ok(_) => Ok(intent),
            Err(miss) if miss.is("INTENT_EXISTS") || miss.is("CONTRACT_CLOSED") => {
                let contract = self.contract(context, run_id, attempt).await?;
                first_intent(&contract).ok_or_else(|| miss.into_fault(&reasons::RECORD_UNAVAILABLE))
            }
            Err(miss) if miss.is("STALE_FENCE") => {
                Err(Fault::new(&reasons::SEQUENCE_MOVED, "another replica is ending the run"))
            }
            Err(miss) if miss.is("HEAD_MOVED") => {
                Err(Fault::new(&reasons::SEQUENCE_MOVED, "somebody goes on with the run"))
            }
            Err(miss) => Err(miss.into_fault(&reasons::RECORD_UNAVAILABLE)),
        }
    }

    async fn intent(
        &self,
        context: &Context,
        run_id: &str,
        attempt: u32,
        state: Option<&Attempt>,
        ending: Ending,
    ) -> Outcome<CompletionIntent> {
        let slot = self.sessions.slot(&context.tenant_id, run_id, attempt);
        let mut slot = slot.lock().await;
        if state.is_some() {
            self.load(context, run_id, attempt, &mut slot).await?;
            self.record_unreported(context, run_id, attempt, &mut slot).await?;
        }
        let session = slot.session.clone().unwrap_or_default();
        let stop = state.and_then(|s| s.state.stop.clone());
        let mut causes = ending.causes;
        if let Some(stop) = &stop {
            causes.push(stop.reason());
            causes.extend(stop.causes());
        }
        let causes = termination::ordered(causes);
        let reason = causes.first().copied().unwrap_or(TerminationReason::SystemFailure);
        let agent = matches!(reason, TerminationReason::AgentFailure | TerminationReason::Completed);
        let stopped_code = stop.as_ref().filter(|s| s.reason() == reason).map(|s| s.code.clone());
        let kernel_code = stopped_code.filter(|c| !c.is_empty()).unwrap_or_else(|| {
            if ending.error_code.is_empty() {
                termination::kernel_code(reason).to_owned()
            } else {
                ending.error_code.clone()
            }
        });
        let error_code = if agent { ending.agent_code.clone() } else { kernel_code };
        let error_code = if ending.error_code == termination::code::AMBIGUOUS_OUTCOME {
            ending.error_code.clone()
        } else {
            error_code
        };
        let ended = Ended {
            causes: &causes,
            class: ending.error_class,
            retryable: ending.retryable,
            attempt,
            max_attempts: state.map_or(1, |s| s.attributes.max_attempts),
            executed: state.is_some_and(|s| s.state.executing_since.is_some()),
            ambiguous: session.ambiguous().next().is_some(),
            frozen: state
                .is_some_and(|s| self.freezes.covering(Self::subject(context, s), self.now()).is_some()),
        };
        let told = concluded(again(&ended), reason, error_code, ending.agent_code);
        let running_ms = state.map_or(0, |s| s.running_ms(self.now()));
        let policy = stop.map(|s| s.violation_policy_id).filter(|id| !id.is_empty());
        Ok(CompletionIntent {
            status: told.status.into(),
            reason: reason.into(),
            causes: causes.iter().map(|c| i32::from(*c)).collect(),
            error_code: told.error_code,
            agent_code: told.detail,
            error_class: ending.error_class.into(),
            error_message: ending.error_message,
            // A run that went to its end was stopped nowhere.
            stopped_at_step: ending
                .stopped_at_step
                .or_else(|| session.in_hand())
                .filter(|_| reason != TerminationReason::Completed),
            violation_policy_id: policy.unwrap_or(ending.violation_policy_id),
            retryable: told.status == RunStatus::Retry,
            opened_by: ending.opened_by.name().to_owned(),
            usage: Some(session.totals(None, running_ms)),
            reward_permille: ending.reward_permille,
            at: Some(timestamp(self.now())),
            request_digest: ending.request_digest.into(),
        })
    }

    /// A step that was authorized and never reported has an unknown outcome, and the trace says so.
    async fn record_unreported(
        &self,
        context: &Context,
        run_id: &str,
        attempt: u32,
        slot: &mut crate::kernel::Slot,
    ) -> Outcome<()> {
        let open: Vec<(u32, crate::kernel::session::Step)> =
            slot.session.iter().flat_map(|s| s.in_flight().map(|(i, step)| (i, step.clone()))).collect();
        for (index, step) in open {
            let key = format!("s/{index}/0");
            let item = RecordItem {
                request_digest: Hasher::new("runspine.unreported.v1")
                    .sized(key.as_bytes())
                    .finish()
                    .to_vec()
                    .into(),
                idempotency_key: key,
                occurred_at: Some(timestamp(self.now())),
                step_index: Some(index),
                causation_id: step.decision_id.clone(),
                body: Some(record_item::Body::Step(unreported(&step))),
                ..RecordItem::default()
            };
            match self.append(context, run_id, attempt, item).await {
                Ok(stored) => slot.note_step(index, &step, StepOutcome::Ambiguous, &stored),
                // The agent reported it in the meantime, or the trace is sealed: the next reader sees it.
                Err(miss) if miss.is_refusal() => slot.forget(),
                Err(miss) => return Err(miss.into_fault(&reasons::RECORD_UNAVAILABLE)),
            }
        }
        if slot.session.is_none() {
            self.load(context, run_id, attempt, slot).await?;
        }
        Ok(())
    }
}

/// What an attempt ends as, once it is known whether another follows.
struct Concluded {
    status: RunStatus,
    error_code: String,
    /// The code beside it.
    detail: String,
}

fn concluded(again: Again, reason: TerminationReason, error_code: String, agent_code: String) -> Concluded {
    match again {
        Again::Yes => Concluded { status: RunStatus::Retry, error_code, detail: agent_code },
        Again::No => Concluded { status: termination::status(reason), error_code, detail: agent_code },
        // What the last attempt failed with stays beside it.
        Again::Exhausted => Concluded {
            status: termination::status(reason),
            error_code: termination::code::RETRY_EXHAUSTED.to_owned(),
            detail: if agent_code.is_empty() { error_code } else { agent_code },
        },
    }
}

fn unreported(step: &crate::kernel::session::Step) -> logs::Step {
    logs::Step {
        kind: step.kind.into(),
        name: step.name.clone(),
        decision_id: step.decision_id.clone(),
        verdict: contracts_common::common::v1::Verdict::Allow.into(),
        outcome: StepOutcome::Ambiguous.into(),
        outcome_category: contracts_common::common::v1::OutcomeCategory::System.into(),
        outcome_code: termination::code::UNREPORTED.to_owned(),
        cost_estimated: true,
        ..logs::Step::default()
    }
}

/// The COMPLETION intent of a contract.
#[must_use]
pub(crate) fn first_intent(contract: &logs::AuditContract) -> Option<CompletionIntent> {
    let intent = contract.intents.iter().find(|i| i.kind == COMPLETION)?;
    CompletionIntent::decode(intent.payload.clone()).ok()
}

/// Whether an attempt that ends with this status is one that did not succeed.
#[must_use]
pub(crate) fn succeeded(status: RunStatus) -> bool {
    status == RunStatus::Succeeded
}
