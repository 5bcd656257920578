//! The saga `retry`: from an attempt that ends as RETRY to the next one.
//!
//! Order: the saga is declared → FinishRun(RETRY) → seal → promises, trace and row of the next attempt → acks. It goes
//! forward only, and every part has a key: whoever finds the saga open goes on, and one attempt is made.

use bytes::Bytes;
use contracts_common::common::v1::RunStatus;
use contracts_logs::v1::AuditContract;
use contracts_spine::v1::{CompletionIntent, RunCharter};
use runspine_rpc::{Context, micros};
use runspine_types::Micros;

use super::{
    completion::{Hitch, OpenedBy, first_intent},
    journal::{FINALIZE, Journal, Part, promise},
};
use crate::{
    kernel::{Kernel, charter_of},
    metrics,
};

/// The saga's name.
pub(crate) const SAGA: &str = "retry";

/// How long the whole of it may take, in milliseconds.
const FINALIZE_MS: u64 = 60_000;

const DECLARE: (&str, &str) = ("logs", "declare_next");
const CREATE: (&str, &str) = ("activity", "create_attempt");

fn journal(run_id: &str, attempt: u32) -> Journal<'_> {
    Journal { saga: SAGA, subject: run_id, attempt }
}

impl Kernel {
    /// Promises the attempt after `attempt`, before that one ends: from then on it can't be forgotten.
    pub(super) async fn promise_retry(
        &self,
        context: &Context,
        run_id: &str,
        attempt: u32,
    ) -> Result<(), Hitch> {
        let soon = self.config.contract_deadline_ms;
        let parts = vec![
            promise(DECLARE, soon, Bytes::new()),
            promise(CREATE, soon, Bytes::new()),
            promise(FINALIZE, FINALIZE_MS, Bytes::new()),
        ];
        let promised = self.promise_saga(context, journal(run_id, attempt), parts, FINALIZE_MS).await;
        promised.map_err(|miss| Hitch::forward(&miss))
    }

    /// Makes the attempt that follows an ended one, when one follows. `contract` is that of the ended one.
    pub(super) async fn follow_up(
        &self,
        context: &Context,
        run_id: &str,
        attempt: u32,
        contract: &AuditContract,
    ) -> Result<(), Hitch> {
        let Some(intent) = first_intent(contract).filter(|i| i.status() == RunStatus::Retry) else {
            return Ok(());
        };
        let Some(state) = self.read_attempt(context, run_id, attempt, false).await? else { return Ok(()) };
        // After a compensation the attempt failed for good.
        if state.status() != RunStatus::Retry {
            return Ok(());
        }
        let Some(charter) = charter_of(contract) else {
            return Err(Hitch::stuck("the contract of the ended attempt holds no charter"));
        };
        let next = RunCharter { attempt: attempt + 1, ..charter };
        // Boxed: a refused attempt ends by the very saga that this one follows.
        let made = Box::pin(self.make_attempt(
            context,
            next,
            self.not_before(&intent, run_id, attempt),
            &intent.error_code,
        ));
        let trace_id = made.await?;
        self.close_retry(context, run_id, attempt, &trace_id).await?;
        let reason = intent.reason().as_str_name().trim_start_matches("TERMINATION_REASON_");
        metrics::ATTEMPTS.increment(&[("reason", reason)]);
        Ok(())
    }

    /// From when on the next attempt may be claimed: by what the journal says, so equal whoever asks.
    fn not_before(&self, intent: &CompletionIntent, run_id: &str, attempt: u32) -> Micros {
        let ended = intent.at.as_ref().map_or_else(|| self.now(), micros);
        // A person who orders the next attempt has waited already.
        if intent.opened_by == OpenedBy::Resumed.name() {
            return ended;
        }
        let wait = self.config.backoff().after(run_id, attempt);
        ended.plus_millis(i64::try_from(wait).unwrap_or(i64::MAX))
    }

    async fn close_retry(
        &self,
        context: &Context,
        run_id: &str,
        attempt: u32,
        trace_id: &str,
    ) -> Result<(), Hitch> {
        let journal = journal(run_id, attempt);
        let done = [DECLARE, CREATE, FINALIZE].map(|action| (action, Part::Done(trace_id)));
        self.note_saga(context, journal, &done).await?;
        self.judge_saga(context, journal).await?;
        metrics::SAGAS.increment(&[("saga", SAGA), ("result", "DONE")]);
        Ok(())
    }
}
