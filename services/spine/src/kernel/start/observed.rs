//! Starts runs that exist only as OpenTelemetry spans: nothing is asked for and nothing is held, for whatever they tell of
//! has happened. From here on such a run is one like any other, and ends like any other.
//!
//! Every step is keyed, so whoever repeats the start after a crash goes on where the first one stopped.

use contracts_activity::v1::{LeaseGrant, TransitionRunRequest};
use contracts_common::common::v1::{GovernanceProfile, RunEvent, RunPhase, RunSource, RunStatus};
use contracts_logs::v1::{AuditContract, UnknownRun};
use contracts_spine::v1::{RunCharter, StartOutcome, StartRunRequest};
use futures::{StreamExt as _, TryStreamExt as _};
use runspine_errors::{Fault, Outcome, mesh};
use runspine_rpc::Context;
use runspine_types::{Hasher, new_id};

use super::StartDecision;
use crate::{
    kernel::{
        Kernel,
        charter::{attributes, charter},
        combine::combine,
        present::charter_of,
        step_check,
    },
    metrics, reasons,
};

/// The label of a run with its OpenTelemetry trace, 32 lower-case hex digits.
pub(super) const TRACE_LABEL: &str = "otlp.trace_id";
/// Who keeps it alive.
const HOLDER: &str = "spine/otlp";
/// The longest time to live of a lease, in milliseconds: its worker looks after it three times as often.
pub(crate) const LEASE_MS: u64 = 300_000;
/// The longest running time, in milliseconds. Before it is over, the run is ended by what its spans say.
const TIMEOUT_MS: u64 = 86_400_000;
/// Where an exporter's key names no project.
const PROJECT: &str = "default";
/// Runs that are started at the same time.
const PARALLEL: usize = 8;
/// How often a start is taken up again that another replica goes on with.
const TRIES: u32 = 3;

impl Kernel {
    /// Starts the runs that spans of one request belong to.
    ///
    /// # Errors
    /// When one can't be started: nothing of the request is stored then.
    pub(crate) async fn observe(&self, context: &Context, unknown: Vec<UnknownRun>) -> Outcome<()> {
        let starts = unknown.into_iter().map(|run| self.start_observed(context, run));
        futures::stream::iter(starts).buffer_unordered(PARALLEL).try_collect::<()>().await
    }

    async fn start_observed(&self, context: &Context, run: UnknownRun) -> Outcome<()> {
        let context = context.for_run(&run.run_id);
        let mut charter = self.observed_charter(&context, &run);
        self.declare(&context, &mut charter).await.map_err(|fault| {
            if !fault.is(&mesh::IDEMPOTENCY_MISMATCH) {
                return fault;
            }
            // Its agent starts it right now. The exporter sends the spans again, and then there is a trace for them.
            Fault::new(&reasons::RECORD_UNAVAILABLE, "the run of a span is being started")
        })?;
        self.go_on_observing(&context, &charter).await
    }

    /// Does what is left of the start of an observed run. The decision goes on the trace last: while there is none, logs
    /// takes no span, and whoever sends one has the start gone on with.
    pub(crate) async fn go_on_observing(&self, context: &Context, charter: &RunCharter) -> Outcome<()> {
        let decided = self.judge_observed(context, charter).await?;
        let trace = self.start_trace(context, charter, &decided).await?;
        self.create(context, charter, &decided, &trace.trace_id).await?;
        let mut tries = 1;
        loop {
            match self.set_observed_going(context, charter, &decided).await {
                Err(fault) if fault.is(&reasons::SEQUENCE_MOVED) && tries < TRIES => tries += 1,
                done => break done?,
            }
        }
        self.set_deadline(context, charter, StartOutcome::Admitted, &decided.decision_id).await?;
        self.append_start(context, charter, &decided, 0).await?;
        metrics::STARTS.increment(&[("outcome", "OBSERVED")]);
        Ok(())
    }

    /// What is promised of an observed run. It depends on the run alone, so that every request with its spans promises
    /// the same; who was first is its credential.
    fn observed_charter(&self, context: &Context, run: &UnknownRun) -> RunCharter {
        let project = if context.project_id.is_empty() { PROJECT } else { &context.project_id };
        let request = StartRunRequest {
            run_id: run.run_id.clone(),
            project_id: project.to_owned(),
            agent_id: run.agent_id.clone(),
            origin_system_id: "otlp".to_owned(),
            source: RunSource::Otlp.into(),
            run_timeout_ms: TIMEOUT_MS,
            lease_ttl_ms: LEASE_MS,
            max_attempts: 1,
            labels: [(TRACE_LABEL.to_owned(), run.external_trace_id.clone())].into_iter().collect(),
            ..StartRunRequest::default()
        };
        let digest = Hasher::new("runspine.observed.v1").sized(run.run_id.as_bytes()).finish();
        RunCharter {
            profile: GovernanceProfile::ObserveOnly.into(),
            request_digest: digest.to_vec().into(),
            ..charter(context, &request, &run.run_id, 0, &self.config)
        }
    }

    /// The rules say what they would have said, and bind the run to their snapshot.
    async fn judge_observed(&self, context: &Context, charter: &RunCharter) -> Outcome<StartDecision> {
        let run = attributes(charter, &context.agent_id);
        let evaluate = self.start_question(charter, &run, &new_id(), self.now());
        let evaluated = self.bridges.policies.evaluate_run(context, evaluate).await;
        let evaluated = evaluated.map_err(|miss| miss.into_fault(&reasons::DECISION_UNAVAILABLE))?;
        let decision = evaluated.decision.clone().unwrap_or_default();
        let combined = combine(&[step_check::policy_finding(&decision)], GovernanceProfile::ObserveOnly);
        Ok(StartDecision { combined, evaluated, decision_id: decision.decision_id })
    }

    /// CREATED → AUTHORIZED → EXECUTING, with the lease that the spine itself keeps.
    async fn set_observed_going(
        &self,
        context: &Context,
        charter: &RunCharter,
        decided: &StartDecision,
    ) -> Outcome<()> {
        let state = self.attempt(context, &charter.run_id, charter.attempt).await?;
        if state.phase() == RunPhase::Created {
            self.authorize_start(context, charter, state.state.sequence, decided).await?;
        }
        let state = self.attempt(context, &charter.run_id, charter.attempt).await?;
        if state.phase() != RunPhase::Authorized {
            return Ok(());
        }
        let ttl_ms = i64::try_from(LEASE_MS).unwrap_or(i64::MAX);
        let claim = TransitionRunRequest {
            run_id: charter.run_id.clone(),
            attempt: charter.attempt,
            expected_sequence: state.state.sequence,
            event: RunEvent::Claim.into(),
            to_phase: RunPhase::Executing.into(),
            to_status: RunStatus::Running.into(),
            reason: "OBSERVED".to_owned(),
            actor: Some(crate::sagas::completion::system()),
            grant: Some(LeaseGrant { holder: HOLDER.to_owned(), ttl_ms }),
            ..TransitionRunRequest::default()
        };
        self.moved(context, claim).await.map(|_| ())
    }
}

/// The charter of a promise about an observed run; `None` for any other.
pub(crate) fn observed_charter_of(contract: &AuditContract) -> Option<RunCharter> {
    charter_of(contract).filter(|charter| charter.source() == RunSource::Otlp)
}
