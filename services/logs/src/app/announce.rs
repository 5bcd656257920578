//! Tells what logs did itself: an event in the outbox and its entry on the ledger, in the commit of the fact.

use contracts_common::common::v1::ActorType;
use contracts_logs::v1::LedgerScope;
use prost::Message;
use runspine_db::Tx;
use runspine_errors::Fault;
use runspine_types::{Digest, Micros, new_id};

use super::{
    audit::told::{self, Caused, Told},
    random,
};
use crate::store::ledger;

/// Publishes an event and writes its ledger entry under the same id, so that the relay's delivery of it is a duplicate.
/// `witness` is what the entry's digest stands for, e.g. a content hash.
///
/// # Errors
/// When the store can't be written.
pub async fn announce<M: Message>(
    tx: &mut Tx,
    told: Told<'_, M>,
    witness: Option<Digest>,
    caused: &Caused,
    now: Micros,
) -> Result<(), Fault> {
    let actor_type = caused.actor.as_ref().and_then(|a| ActorType::try_from(a.r#type).ok());
    let run_id = told.run_id.to_owned();
    let mut entry = ledger::Event {
        tenant_id: told.tenant_id.to_owned(),
        event_id: String::new(),
        event_type: format!("logs.{}", told.name),
        scope: if run_id.is_empty() { LedgerScope::Admin } else { LedgerScope::Run },
        attempt: told.attempt,
        run_id,
        step_index: told.step_index,
        correlation_id: caused.correlation_id.clone(),
        causation_id: caused.causation_id.clone(),
        entity_type: told.entity.0.to_owned(),
        entity_id: told.entity.1.clone(),
        actor_type: actor_type.unwrap_or(ActorType::System),
        actor_id: caused.actor_id().to_owned(),
        reason: told.reason.to_owned(),
        before_state: String::new(),
        after_state: String::new(),
        after_digest: witness,
        occurred_at: now,
        entry_id: new_id(),
        state_salt: random()?,
    };
    entry.event_id = told::emit(tx, told, caused, now);
    ledger::append_entry(tx, entry, now).await?;
    Ok(())
}
