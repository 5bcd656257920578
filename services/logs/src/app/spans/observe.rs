//! Looks after runs that exist only as spans: says when one goes on, and when one is over.

use std::time::Duration;

use bytes::Bytes;
use contracts_common::common::v1::{CallContext, StepOutcome};
use contracts_logs::v1 as pb;
use runspine_db::{DbError, Tx};
use runspine_errors::Fault;
use runspine_logs_domain::{
    bytes::timestamp,
    span::observed::{LOOK_EVERY, Observed, Quiet},
};
use runspine_types::Micros;

use super::is_observed;
use crate::{
    app::{
        App,
        announce::announce,
        audit::told::{Caused, Told},
        once::Once,
    },
    store::{
        contract::ClaimScope,
        observed::{self, DueRow},
        traces::TraceRow,
    },
};

/// What a claim of observed runs asks for.
pub struct Claim {
    /// At most so many.
    pub limit: u32,
    /// How long the claim of a run that is over lasts.
    pub lease: Duration,
}

/// The end of an observed run is not told twice.
struct Look {
    now: Micros,
    quiet: Duration,
    lease: Duration,
    caused: Caused,
}

impl App {
    /// Hands out observed runs that have to be looked after; the same call again gives the first answer.
    ///
    /// # Errors
    /// IDEMPOTENCY_MISMATCH, or when the store can't be written.
    pub async fn claim_observed(&self, call: &CallContext, claim: Claim, once: Once) -> Result<Bytes, Fault> {
        let scope = ClaimScope::of(&call.tenant_id);
        let look = Look {
            now: self.clock.now(),
            quiet: self.otlp.quiet(),
            lease: claim.lease,
            caused: Caused::by(call),
        };
        // A poll that found nothing is not worth a row: its repeat may as well find something.
        let found_any = |answer: &pb::ClaimObservedRunsResponse| !answer.runs.is_empty();
        let work = self.once_if(once, found_any, move |tx| {
            Box::pin(async move {
                let mut runs = Vec::new();
                for row in observed::due(tx, &scope, look.now, claim.limit).await? {
                    runs.extend(look.at(tx, row).await?);
                }
                Ok(pb::ClaimObservedRunsResponse { runs })
            })
        });
        work.await
    }
}

impl Look {
    /// Plans the next look at a run, and gives it to whoever claims it; `None` when it has ended.
    async fn at(&self, tx: &mut Tx, row: DueRow) -> Result<Option<pb::ObservedRun>, Fault> {
        if row.sealed {
            observed::plan(tx, row.trace_key, None, row.quiet).await?;
            return Ok(None);
        }
        let known =
            Observed { started_at: row.started_at, last_span_at: row.last_span_at, rooted: row.roots > 0 };
        let told = Quiet::of_number(row.quiet);
        let end = match told.or_else(|| known.over(self.quiet, self.now)) {
            None => {
                observed::plan(tx, row.trace_key, Some(known.look_at(self.quiet, self.now)), 0).await?;
                None
            }
            Some(cause) => {
                if told.is_none() {
                    self.tell(tx, &row, cause).await?;
                }
                let again = Some(self.now + self.lease);
                observed::plan(tx, row.trace_key, again, cause as i32).await?;
                Some(ended(tx, &row, cause).await?)
            }
        };
        Ok(Some(pb::ObservedRun {
            tenant_id: row.tenant_id,
            run_id: row.run_id,
            attempt: row.attempt,
            end,
            last_span_at: Some(timestamp(row.last_span_at)),
        }))
    }

    async fn tell(&self, tx: &mut Tx, row: &DueRow, cause: Quiet) -> Result<(), Fault> {
        let data = pb::ObservedRunQuiet {
            run_id: row.run_id.clone(),
            attempt: row.attempt,
            trace_id: row.trace_id.clone(),
            cause: named(cause).into(),
            last_span_at: Some(timestamp(row.last_span_at)),
        };
        let told = Told {
            name: "ObservedRunQuiet",
            data: &data,
            tenant_id: &row.tenant_id,
            run_id: &row.run_id,
            attempt: row.attempt,
            step_index: None,
            entity: ("trace", row.trace_id.clone()),
            reason: named(cause).as_str_name().trim_start_matches("QUIET_CAUSE_"),
        };
        announce(tx, told, None, &self.caused, self.now).await
    }
}

/// How a run ended: as its root says; without one by its steps.
async fn ended(tx: &mut Tx, row: &DueRow, cause: Quiet) -> Result<pb::ObservedEnd, DbError> {
    let failure = match &row.root_code {
        Some(code) => Some(code.clone()),
        None if row.roots > 0 => None,
        None => observed::failed_step(tx, row.trace_key).await?,
    };
    let outcome = if failure.is_some() { StepOutcome::Failure } else { StepOutcome::Success };
    Ok(pb::ObservedEnd {
        cause: named(cause).into(),
        outcome: outcome.into(),
        error_code: failure.unwrap_or_default(),
    })
}

fn named(cause: Quiet) -> pb::QuietCause {
    match cause {
        Quiet::Root => pb::QuietCause::Root,
        Quiet::RootMissing => pb::QuietCause::RootMissing,
        Quiet::TooOld => pb::QuietCause::TooOld,
    }
}

/// The trace of an observed run begins: somebody looks after it from now on.
///
/// # Errors
/// When the store can't be written.
pub async fn begin(
    tx: &mut Tx,
    trace_key: i64,
    header: &pb::TraceHeader,
    call: &CallContext,
    now: Micros,
) -> Result<(), Fault> {
    observed::begin(tx, trace_key, (now, now + LOOK_EVERY)).await?;
    let data = pb::ObservedRunStarted {
        run_id: header.run_id.clone(),
        attempt: header.attempt,
        trace_id: header.trace_id.clone(),
        agent_id: header.agent_id.clone(),
        external_trace_id: header.external_trace_id.clone(),
        started_at: header.started_at,
    };
    let told = Told {
        name: "ObservedRunStarted",
        data: &data,
        tenant_id: &header.tenant_id,
        run_id: &header.run_id,
        attempt: header.attempt,
        step_index: None,
        entity: ("trace", header.trace_id.clone()),
        reason: "",
    };
    announce(tx, told, None, &Caused::by(call), now).await
}

/// What a proof finds where a run that exists only as spans is sealed and no root of it came.
#[must_use]
pub fn root_missing(row: &TraceRow, rooted: bool) -> Option<pb::ProofFinding> {
    (is_observed(row.source) && row.addendum == 0 && !rooted).then(|| pb::ProofFinding {
        code: "ROOT_MISSING".to_owned(),
        at: 0,
        count: 1,
    })
}
