//! What every order of a person leaves: a record on the trace, and the run as it is now.

use contracts_activity::v1::GetRunViewRequest;
use contracts_logs::v1::ControlAction;
use contracts_spine::v1::{Run, TransactionPhase};
use runspine_errors::Outcome;
use runspine_rpc::{Context, timestamp};
use runspine_types::Hasher;

use super::{
    Kernel, present,
    sessions::Slot,
    trace::{control_item, not_recorded},
};
use crate::{bridges::Miss, reasons};

impl Kernel {
    pub(super) async fn tell_control(
        &self,
        context: &Context,
        run_id: &str,
        attempt: u32,
        key: &str,
        action: ControlAction,
        reference: &str,
    ) -> Outcome<()> {
        let slot = self.sessions.slot(&context.tenant_id, run_id, attempt);
        let mut slot = slot.lock().await;
        self.tell_control_in(context, (run_id, attempt), &mut slot, key, action, reference).await
    }

    /// The same for whoever has the run's session already: a step call that pauses its run.
    pub(super) async fn tell_control_in(
        &self,
        context: &Context,
        (run_id, attempt): (&str, u32),
        slot: &mut Slot,
        key: &str,
        action: ControlAction,
        reference: &str,
    ) -> Outcome<()> {
        let mut item = control_item(key.to_owned(), None, action, "", reference);
        item.occurred_at = Some(timestamp(self.now()));
        item.request_digest =
            Hasher::new("runspine.control.v1").sized(key.as_bytes()).finish().to_vec().into();
        let stored = self.append(context, run_id, attempt, item).await.map_err(not_recorded)?;
        if let Some(session) = &mut slot.session {
            session.passed(stored.position);
        }
        Ok(())
    }

    pub(super) async fn run_now(&self, context: &Context, run_id: &str) -> Outcome<Run> {
        let get = GetRunViewRequest { run_id: run_id.to_owned() };
        let view = self.bridges.views.run_view(context, get).await;
        let view = view.map_err(|miss: Miss| miss.into_fault(&reasons::DECISION_UNAVAILABLE))?;
        Ok(present::run_of_view(view.run.unwrap_or_default(), TransactionPhase::NotStarted))
    }
}
