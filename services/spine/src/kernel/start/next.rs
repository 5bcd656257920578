//! A further attempt of a run: a start that waits until somebody claims it.

use contracts_activity::v1::CreateAttemptRequest;
use contracts_common::common::v1::RunPhase;
use contracts_spine::v1::{RunCharter, StartOutcome};
use runspine_errors::Outcome;
use runspine_rpc::{Context, timestamp};
use runspine_types::Micros;

use crate::{kernel::Kernel, reasons, sagas::completion::system};

impl Kernel {
    /// Makes the attempt of `charter`: promises, decision, trace and row, each under its own key, so that whoever
    /// repeats it makes the same one. Gives its trace.
    pub(crate) async fn make_attempt(
        &self,
        context: &Context,
        mut charter: RunCharter,
        not_before: Micros,
        reason: &str,
    ) -> Outcome<String> {
        let made = self.read_attempt(context, &charter.run_id, charter.attempt, false).await?;
        if let Some(gone_on) = made.filter(|a| !matches!(a.phase(), RunPhase::Created | RunPhase::Authorized))
        {
            return Ok(gone_on.state.trace_id);
        }
        let first = self.attempt(context, &charter.run_id, 1).await?;
        // Who finishes the making may be the reconciler; what is asked is the same as if the agent did.
        let agent = first.attributes.credential_agent_id;
        let context = &context.with(|call| call.agent_id = agent);
        self.declare(context, &mut charter).await?;
        let decided = self.decide_start(context, &charter, false).await?;
        let trace = self.begin_trace(context, &charter, &decided).await?;
        let request = CreateAttemptRequest {
            run_id: charter.run_id.clone(),
            attempt: charter.attempt,
            reason: reason.to_owned(),
            next_attempt_at: Some(timestamp(not_before)),
            trace_id: trace.trace_id.clone(),
            actor: Some(system()),
        };
        let made = self.bridges.runs.create_attempt(context, request).await;
        made.map_err(|miss| miss.into_fault(&reasons::RECORD_UNAVAILABLE))?;
        let (outcome, _) = self.set_going(context, &charter, &decided, false).await?;
        if outcome == StartOutcome::Waiting {
            self.set_deadline(context, &charter, outcome, &decided.decision_id).await?;
        }
        Ok(trace.trace_id)
    }
}
