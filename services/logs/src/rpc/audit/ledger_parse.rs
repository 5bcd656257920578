//! Requests about the ledger.

use contracts_common::common::v1::{Actor, ActorType};
use contracts_logs::v1::{self as pb, LedgerScope};
use runspine_errors::Fault;
use runspine_types::new_id;

use super::fields::Fields;
use crate::{
    app::random,
    store::ledger::{Event, LedgerFilter},
};

/// Most events of one call: what the relay pulls at once fits.
const MOST: usize = 512;

/// Events to be appended.
pub fn append(tenant: &str, request: pb::AppendEntriesRequest) -> Result<Vec<Event>, Fault> {
    let mut fields = Fields::new();
    fields.require((1..=MOST).contains(&request.entries.len()), "entries", "are 1 to 512");
    let mut events = Vec::with_capacity(request.entries.len());
    for (n, entry) in request.entries.into_iter().enumerate() {
        events.push(event(&mut fields, tenant, n, entry)?);
    }
    fields.done()?;
    Ok(events)
}

fn event(fields: &mut Fields, tenant: &str, n: usize, e: pb::LedgerEvent) -> Result<Event, Fault> {
    let at = |field: &str| format!("entries[{n}].{field}");
    // An event that names nobody was caused by its domain itself.
    let itself = || Actor {
        r#type: ActorType::System.into(),
        id: e.event_type.split('.').next().unwrap_or_default().to_owned(),
    };
    let actor = e.actor.clone().filter(|a| !a.id.is_empty()).unwrap_or_else(itself);
    fields.require(is_event_name(&e.event_type), &at("event_type"), "is <domain>.<Event>");
    let after_digest = fields.digest(&at("after_digest"), &e.after_digest);
    let one = after_digest.is_none() || e.after_state.is_empty();
    fields.require(one, &at("after_digest"), "excludes after_state");
    Ok(Event {
        tenant_id: tenant.to_owned(),
        event_id: fields.id(&at("event_id"), e.event_id),
        event_type: e.event_type,
        scope: fields.known::<LedgerScope>(&at("scope"), e.scope),
        run_id: fields.optional_id(&at("run_id"), e.run_id),
        attempt: e.attempt,
        step_index: e.step_index,
        correlation_id: fields.text(&at("correlation_id"), e.correlation_id, (0, 128)),
        causation_id: fields.text(&at("causation_id"), e.causation_id, (0, 128)),
        entity_type: fields.text(&at("entity_type"), e.entity_type, (0, 64)),
        entity_id: fields.text(&at("entity_id"), e.entity_id, (0, 256)),
        actor_type: fields.known::<ActorType>(&at("actor.type"), actor.r#type),
        actor_id: fields.text(&at("actor.id"), actor.id, (1, 128)),
        reason: fields.words(&at("reason"), e.reason, (0, 4_096)),
        before_state: fields.state(&at("before_state"), e.before_state, (0, 64 * 1024)),
        after_state: fields.state(&at("after_state"), e.after_state, (0, 64 * 1024)),
        after_digest,
        occurred_at: fields.time(&at("occurred_at"), e.occurred_at.as_ref()),
        entry_id: new_id(),
        state_salt: random()?,
    })
}

/// `<domain>.<Event>`: lower case, a dot, and a name that begins with a capital.
fn is_event_name(text: &str) -> bool {
    let Some((domain, event)) = text.split_once('.') else { return false };
    text.len() <= 128
        && !domain.is_empty()
        && domain.bytes().all(|b| b.is_ascii_lowercase() || b == b'_')
        && event.starts_with(|c: char| c.is_ascii_uppercase())
        && event.bytes().all(|b| b.is_ascii_alphanumeric())
}

/// A filter.
pub fn filter(fields: &mut Fields, given: pb::LedgerFilter) -> LedgerFilter {
    let some = |text: String| (!text.is_empty()).then_some(text);
    let scope: LedgerScope = fields.any("filter.scope", given.scope);
    let actor = given.actor.unwrap_or_default();
    let actor_type: ActorType = fields.any("filter.actor.type", actor.r#type);
    fields.require(given.event_types.len() <= 32, "filter.event_types", "are at most 32");
    LedgerFilter {
        run_id: some(given.run_id),
        attempt: (given.attempt > 0).then_some(given.attempt),
        step_index: given.step_index,
        event_types: given.event_types,
        entity_type: some(given.entity_type),
        entity_id: some(given.entity_id),
        actor_type: (actor_type != ActorType::Unspecified).then(|| actor_type.into()),
        actor_id: some(actor.id),
        correlation_id: some(given.correlation_id),
        occurred_from: fields.optional_time("filter.occurred_from", given.occurred_from.as_ref()),
        occurred_to: fields.optional_time("filter.occurred_to", given.occurred_to.as_ref()),
        scope: (scope != LedgerScope::Unspecified).then(|| scope.into()),
    }
}

/// What a watch lets through.
pub fn watch_filter(request: pb::WatchEntriesRequest) -> Result<LedgerFilter, Fault> {
    let mut fields = Fields::new();
    let run_id = fields.optional_id("run_id", request.run_id);
    fields.require(request.event_types.len() <= 32, "event_types", "are at most 32");
    let named = request.event_types.iter().all(|name| is_event_name(name));
    fields.require(named, "event_types", "are names of the form <domain>.<Event>");
    fields.done()?;
    Ok(LedgerFilter {
        run_id: (!run_id.is_empty()).then_some(run_id),
        event_types: request.event_types,
        ..LedgerFilter::default()
    })
}
