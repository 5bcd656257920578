//! What the spine itself has to say goes to the governance ledger and leaves by its outbox.

use contracts_common::common::v1::{Actor, ActorType};
use contracts_logs::v1::{AppendEntriesRequest, LedgerEvent, LedgerScope};
use runspine_errors::Outcome;
use runspine_rpc::{Context, timestamp};
use runspine_types::{Hasher, Micros, derived_id};

use super::Kernel;
use crate::reasons;

/// One note for the ledger.
#[derive(Debug, Clone, Default)]
pub struct LedgerNote<'a> {
    /// Name of the event, e.g. `spine.RunStarted`.
    pub event: &'a str,
    /// The run. Empty: none.
    pub run_id: &'a str,
    /// The attempt. 0: none.
    pub attempt: u32,
    /// The step.
    pub step_index: Option<u32>,
    /// What tells two events of one name and run apart, e.g. a request id.
    pub key: &'a str,
    /// Why.
    pub reason: &'a str,
    /// Digest that the entry stands for. Empty: none.
    pub after_digest: Vec<u8>,
}

/// Builds the entry of a note. Its id follows from what it says, so that saying it twice writes it once.
#[must_use]
pub fn note(context: &Context, note: &LedgerNote<'_>, at: Micros) -> LedgerEvent {
    let scope = if note.run_id.is_empty() { LedgerScope::Admin } else { LedgerScope::Run };
    LedgerEvent {
        event_id: event_id(context, note),
        event_type: note.event.to_owned(),
        scope: scope.into(),
        run_id: note.run_id.to_owned(),
        attempt: note.attempt,
        step_index: note.step_index,
        correlation_id: context.correlation_id.clone(),
        causation_id: context.causation_id.clone(),
        entity_type: "run".to_owned(),
        entity_id: if note.run_id.is_empty() { note.key.to_owned() } else { note.run_id.to_owned() },
        actor: Some(actor(context)),
        reason: note.reason.to_owned(),
        after_digest: note.after_digest.clone().into(),
        occurred_at: Some(timestamp(at)),
        ..LedgerEvent::default()
    }
}

/// Who acts; the mesh itself when nobody else does.
#[must_use]
pub fn actor(context: &Context) -> Actor {
    context
        .actor
        .clone()
        .unwrap_or_else(|| Actor { r#type: ActorType::System.into(), id: "spine".to_owned() })
}

fn event_id(context: &Context, note: &LedgerNote<'_>) -> String {
    let said = Hasher::new("runspine.event.v1")
        .sized(context.tenant_id.as_bytes())
        .sized(note.event.as_bytes())
        .sized(note.run_id.as_bytes())
        .fixed(&note.attempt.to_be_bytes())
        .sized(note.key.as_bytes())
        .finish();
    derived_id(said)
}

impl Kernel {
    /// Puts a note on the ledger, durable before it returns.
    pub(crate) async fn tell_ledger(&self, context: &Context, said: &LedgerNote<'_>) -> Outcome<u64> {
        let entries = vec![note(context, said, self.now())];
        let answer = self.bridges.ledger.append(context, AppendEntriesRequest { entries }).await;
        let answer = answer.map_err(|miss| miss.into_fault(&reasons::RECORD_UNAVAILABLE))?;
        Ok(answer.receipts.first().map_or(0, |r| r.seq))
    }
}
