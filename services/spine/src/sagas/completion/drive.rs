//! Drives a completion: reads the journal, does the next thing, journals it, until nothing is left.

use std::time::Duration;

use contracts_activity::v1::{FinishRunRequest, IncidentDisposition, IncidentResult, TransitionRunRequest};
use contracts_common::common::v1::{Actor, ActorType, RunEvent, RunPhase, RunStatus};
use contracts_logs::v1::{
    AuditContract, LinkIncidentRequest, ReconcilePass, ReconcileRequest, SealTraceRequest,
};
use contracts_spine::v1::CompletionIntent;
use runspine_errors::{Fault, Outcome};
use runspine_rpc::Context;
use tokio::time::{Instant, sleep};

use super::{
    ending::{OpenedBy, succeeded},
    journal::Journal,
    plan::{Ack, Next, next},
};
use crate::{
    bridges::Miss,
    kernel::{Attempt, Kernel, LedgerNote, contract_key},
    metrics,
};

const RETRY_BASE: Duration = Duration::from_millis(100);
const RETRY_CAP: Duration = Duration::from_secs(5);
/// Time kept back from the caller's deadline for the answer itself.
const ANSWER_RESERVE: Duration = Duration::from_millis(300);

/// How far a drive came.
#[derive(Debug, Clone)]
pub enum Driven {
    /// The attempt is terminal, sealed and judged.
    Done(Box<AuditContract>),
    /// Something can't be done now; whoever reads the journal later goes on.
    Open(String),
    /// Something refused that must not refuse; a person has to look.
    Stuck(String),
}

/// Why one step of the drive failed.
pub(crate) enum Hitch {
    /// An outage, or somebody else was first: read again and go on.
    Later(String),
    /// Refused where no refusal has an undo.
    Stuck(String),
}

impl Hitch {
    /// Nothing that a repetition could mend.
    pub(crate) fn stuck(why: &str) -> Self {
        Self::Stuck(why.to_owned())
    }

    /// What a miss means where the saga can only go forward.
    pub(crate) fn forward(miss: &Miss) -> Self {
        let text = format!("{miss:?}");
        let moved = ["SEQUENCE_MOVED", "STALE_FENCE", "HEAD_MOVED", "COMPLETION_EVIDENCE_REQUIRED"];
        if miss.is_refusal() && !moved.iter().any(|m| miss.is(m)) {
            Self::Stuck(text)
        } else {
            Self::Later(text)
        }
    }
}

impl From<Fault> for Hitch {
    fn from(fault: Fault) -> Self {
        Self::Later(fault.to_string())
    }
}

impl Kernel {
    /// Drives the completion of an attempt as far as the context's deadline allows.
    ///
    /// # Errors
    /// When the journal can't be read.
    pub async fn drive(&self, context: &Context, run_id: &str, attempt: u32) -> Outcome<Driven> {
        let begun = std::time::Instant::now();
        let driven = self.drive_until(context, run_id, attempt).await;
        let result = match &driven {
            Ok(Driven::Done(_)) => "DONE",
            Ok(Driven::Open(_)) => "OPEN",
            Ok(Driven::Stuck(_)) => "STUCK",
            Err(_) => "ERROR",
        };
        metrics::SAGA.since(begun, &[("saga", "run")]);
        metrics::SAGAS.increment(&[("saga", "run"), ("result", result)]);
        driven
    }

    async fn drive_until(&self, context: &Context, run_id: &str, attempt: u32) -> Outcome<Driven> {
        let until = context.deadline().map(|d| d.checked_sub(ANSWER_RESERVE).unwrap_or(d));
        let mut tries = 0_u32;
        loop {
            let contract = self.contract(context, run_id, attempt).await?;
            let state = self.read_attempt(context, run_id, attempt, false).await?;
            let hitch = match self.advance(context, run_id, attempt, &contract, state.as_ref()).await {
                Ok(true) => {
                    self.sessions.drop_attempt(&context.tenant_id, run_id, attempt);
                    let contract = self.contract(context, run_id, attempt).await?;
                    match self.follow_up(context, run_id, attempt, &contract).await {
                        Ok(()) => return Ok(Driven::Done(Box::new(contract))),
                        Err(Hitch::Stuck(why)) => return Ok(Driven::Stuck(why)),
                        Err(Hitch::Later(why)) => why,
                    }
                }
                Ok(false) => return Ok(Driven::Open("nobody has said how the run ends".to_owned())),
                Err(Hitch::Stuck(why)) => return Ok(Driven::Stuck(why)),
                Err(Hitch::Later(why)) => why,
            };
            let wait = RETRY_CAP.min(RETRY_BASE * 2_u32.saturating_pow(tries));
            tries += 1;
            if until.is_none_or(|u| Instant::now() + wait >= u) {
                return Ok(Driven::Open(hitch));
            }
            tracing::info!(run_id, attempt, hitch, "the completion is repeated");
            sleep(wait).await;
        }
    }

    /// Does what the journal says until nothing is left (true) or nothing can be done (false).
    async fn advance(
        &self,
        context: &Context,
        run_id: &str,
        attempt: u32,
        contract: &AuditContract,
        state: Option<&Attempt>,
    ) -> Result<bool, Hitch> {
        let mut journal = Journal::read(contract, state);
        let mut sequence = state.map_or(0, |s| s.state.sequence);
        let run = Run {
            context,
            run_id,
            attempt,
            fence: journal.fence,
            charter: crate::kernel::charter_of(contract),
        };
        loop {
            let intent = journal.intent.clone().unwrap_or_default();
            match next(&journal.progress) {
                Next::Done => return Ok(true),
                Next::AwaitIntent => return Ok(false),
                Next::CreateAbandoned => {
                    self.create_abandoned(&run).await?;
                    journal.progress.run = Some((RunPhase::Created, RunStatus::Queued));
                    sequence = 1;
                }
                Next::BeginCheck => {
                    sequence = self.shift(&run, sequence, RunEvent::End, RunPhase::GovernanceCheck).await?;
                    journal.progress.run = Some((RunPhase::GovernanceCheck, RunStatus::Running));
                }
                Next::Do(acts) => self.act(&run, &intent, &acts, &mut journal.progress).await?,
                Next::BeginFinalize => {
                    self.judge_first(&run).await?;
                    sequence = self.shift(&run, sequence, RunEvent::Checked, RunPhase::Finalizing).await?;
                    journal.progress.run = Some((RunPhase::Finalizing, RunStatus::Running));
                }
                Next::Finish => {
                    if intent.status() == RunStatus::Retry {
                        self.promise_retry(context, run_id, attempt).await?;
                    }
                    self.finish(&run, &intent, &journal, state).await?;
                    let reason = intent.reason().as_str_name().trim_start_matches("TERMINATION_REASON_");
                    metrics::TERMINATIONS.increment(&[("reason", reason)]);
                    let ended =
                        if succeeded(intent.status()) { RunPhase::Completed } else { RunPhase::Failed };
                    journal.progress.run = Some((ended, intent.status()));
                }
                Next::Seal => {
                    self.tell_end(&run, &intent).await?;
                    self.tie_incident(&run, &intent, &journal.progress.incident).await?;
                    self.seal(&run, &intent, "").await?;
                    journal.progress.sealed = true;
                }
                Next::Compensate(refused) => {
                    self.begin_undoing(&run, refused, &journal.progress).await?;
                    journal.progress.compensation = true;
                }
                Next::Undo(act) => {
                    let undone = self.undo(&run, act, &journal.progress).await?;
                    journal.progress.set(act, Ack::RolledBack(undone));
                }
                Next::EndCompensated => {
                    self.end_compensated(&run, &intent, &journal).await?;
                    journal.progress.sealed = true;
                }
            }
        }
    }

    /// Moves the attempt on within the saga.
    async fn shift(&self, run: &Run<'_>, sequence: u64, event: RunEvent, to: RunPhase) -> Result<u64, Hitch> {
        let request = TransitionRunRequest {
            run_id: run.run_id.to_owned(),
            attempt: run.attempt,
            expected_sequence: sequence,
            event: event.into(),
            to_phase: to.into(),
            to_status: RunStatus::Running.into(),
            reason: event.as_str_name().trim_start_matches("RUN_EVENT_").to_owned(),
            actor: Some(system()),
            ..TransitionRunRequest::default()
        };
        let moved = self.bridges.runs.transition(run.context, request).await;
        let moved = moved.map_err(|miss| Hitch::forward(&miss))?;
        Ok(moved.transition.map_or(sequence + 1, |t| t.sequence))
    }

    /// The first pass of the audit: clean, or the saga is not ready.
    async fn judge_first(&self, run: &Run<'_>) -> Result<(), Hitch> {
        let request = ReconcileRequest { key: Some(run.key()), pass: ReconcilePass::PreFinalize.into() };
        let verdict = self.bridges.contracts.reconcile(run.context, request).await;
        let verdict = verdict.map_err(|miss| Hitch::forward(&miss))?;
        if verdict.clean { Ok(()) } else { Err(Hitch::Later(format!("not clean: {:?}", verdict.findings))) }
    }

    /// Makes the attempt terminal. From here on there is no way back.
    async fn finish(
        &self,
        run: &Run<'_>,
        intent: &CompletionIntent,
        journal: &Journal,
        state: Option<&Attempt>,
    ) -> Result<(), Hitch> {
        let (disposition, id) = match &journal.progress.incident {
            Ack::Done(id) => (IncidentDisposition::Incident, id.clone()),
            Ack::NotApplicable(id) if !id.is_empty() => (IncidentDisposition::Prevention, id.clone()),
            _ => (IncidentDisposition::NotApplicable, String::new()),
        };
        let Ack::Done(evaluation_id) = &journal.progress.evaluation else {
            return Err(Hitch::Stuck("an attempt without an evaluation can't end".to_owned()));
        };
        // A run that never executed ends by the event that refused it.
        let executed = journal.progress.run.is_some_and(|(phase, _)| phase == RunPhase::Finalizing);
        let event = match (executed, intent.opened_by.as_str()) {
            (true, _) => RunEvent::Finish,
            (false, "CANCELLED") => RunEvent::Cancel,
            (false, "STALE") => RunEvent::Orphan,
            (false, _) => RunEvent::Refuse,
        };
        let request = FinishRunRequest {
            run_id: run.run_id.to_owned(),
            attempt: run.attempt,
            status: intent.status,
            termination_reason: intent.reason,
            error_code: intent.error_code.clone(),
            error_message: intent.error_message.clone(),
            stopped_at_step: intent.stopped_at_step,
            violation_policy_id: intent.violation_policy_id.clone(),
            usage: intent.usage,
            incident_result: Some(IncidentResult { disposition: disposition.into(), id }),
            evaluation_id: evaluation_id.clone(),
            fence: state.map_or(0, |s| s.state.fence),
            event: event.into(),
            actor: Some(system()),
            causes: intent.causes.clone(),
            ..FinishRunRequest::default()
        };
        let ended = self.bridges.runs.finish(run.context, request).await;
        ended.map(|_| ()).map_err(|miss| Hitch::forward(&miss))
    }

    /// Seals the trace, which acknowledges complete_trace and finalize_run and judges the contract in one commit.
    pub(super) async fn seal(
        &self,
        run: &Run<'_>,
        intent: &CompletionIntent,
        incomplete: &str,
    ) -> Result<(), Hitch> {
        let compensated = !incomplete.is_empty();
        let request = SealTraceRequest {
            run_id: run.run_id.to_owned(),
            attempt: run.attempt,
            run_status: if compensated { RunStatus::Failed.into() } else { intent.status },
            termination_reason: if compensated {
                contracts_common::common::v1::TerminationReason::SystemFailure.into()
            } else {
                intent.reason
            },
            error_code: if compensated { "SAGA_COMPENSATED".to_owned() } else { intent.error_code.clone() },
            accept_incomplete: compensated,
            incomplete_reason: incomplete.to_owned(),
            fence: run.fence,
        };
        let sealed = self.bridges.traces.seal(run.context, request).await;
        sealed.map(|_| ()).map_err(|miss| Hitch::forward(&miss))
    }

    /// Whoever reads the trace finds the incident of its failure. Before the seal, so that no crash can lose it.
    async fn tie_incident(
        &self,
        run: &Run<'_>,
        intent: &CompletionIntent,
        incident: &Ack,
    ) -> Result<(), Hitch> {
        let Ack::Done(incident_id) = incident else { return Ok(()) };
        let link = LinkIncidentRequest {
            run_id: run.run_id.to_owned(),
            attempt: run.attempt,
            incident_id: incident_id.clone(),
            step_index: intent.stopped_at_step,
        };
        match self.bridges.ledger.link_incident(run.context, link).await {
            Ok(_) => Ok(()),
            // The incident of a violation is tied at the step that violated the rule.
            Err(miss) if miss.is("IDEMPOTENCY_MISMATCH") => Ok(()),
            Err(miss) => Err(Hitch::forward(&miss)),
        }
    }

    /// The end stands on the ledger before the seal closes the contract, so that no crash can lose it.
    pub(super) async fn tell_end(&self, run: &Run<'_>, intent: &CompletionIntent) -> Result<(), Hitch> {
        let completed = [OpenedBy::Agent.name(), OpenedBy::Quiet.name()].contains(&intent.opened_by.as_str());
        let said = LedgerNote {
            event: if completed { "spine.RunCompleted" } else { "spine.RunTerminated" },
            run_id: run.run_id,
            attempt: run.attempt,
            reason: intent.reason().as_str_name().trim_start_matches("TERMINATION_REASON_"),
            ..LedgerNote::default()
        };
        self.tell_ledger(run.context, &said).await?;
        Ok(())
    }
}

/// What every action of one drive needs.
pub(crate) struct Run<'a> {
    pub context: &'a Context,
    pub run_id: &'a str,
    pub attempt: u32,
    pub fence: u64,
    pub charter: Option<contracts_spine::v1::RunCharter>,
}

impl Run<'_> {
    /// The contract's key.
    pub fn key(&self) -> contracts_logs::v1::ContractKey {
        contract_key(self.run_id, self.attempt)
    }
}

/// The mesh as an actor.
pub(crate) fn system() -> Actor {
    Actor { r#type: ActorType::System.into(), id: "spine".to_owned() }
}
