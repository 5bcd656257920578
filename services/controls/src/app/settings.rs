//! Settings of a tenant: read as they are in force, changed by whoever has read them, each change an event.

use bytes::Bytes;
use prost::Message;
use runspine_controls_domain::reasons;
use runspine_db::{Read, Tx};
use runspine_errors::Fault;
use runspine_types::Micros;

use super::{defect, records::Caller};
use crate::store::{
    events::{About, publish},
    settings::{self as store, Table},
};

/// Settings that are kept as the message that shows them.
pub trait Settings: Message + Default + Clone {
    /// Where they are kept.
    const TABLE: Table;
    /// What the ledger calls them.
    const ENTITY: &'static str;
    /// The name of the event of a change.
    const CHANGED: &'static str;
    /// That event's message.
    type Changed: Message;

    /// The same under a version.
    #[must_use]
    fn versioned(self, version: u64) -> Self;
    /// Canonical JSON for the ledger.
    fn json(&self) -> String;
    /// The event of a change to them.
    fn changed(self) -> Self::Changed;
}

/// The settings in force: the defaults while nobody has set anything.
///
/// # Errors
/// When the store fails.
pub async fn in_force<S: Settings>(read: &Read, tenant: &str, defaults: S) -> Result<S, Fault> {
    match store::shown(read, S::TABLE, tenant).await? {
        Some(kept) => decoded(kept, defaults),
        None => Ok(defaults),
    }
}

/// The same in a transaction, which holds them until it ends.
///
/// # Errors
/// When the store fails.
pub async fn locked<S: Settings>(tx: &mut Tx, tenant: &str, defaults: S) -> Result<S, Fault> {
    decoded(store::locked(tx, S::TABLE, tenant).await?, defaults)
}

fn decoded<S: Settings>((version, body): (u64, Bytes), defaults: S) -> Result<S, Fault> {
    if version == 0 {
        return Ok(defaults);
    }
    let kept = S::decode(body).map_err(|_| defect("kept settings can't be read"))?;
    Ok(kept.versioned(version))
}

/// A change of settings.
#[derive(Debug, Clone)]
pub struct Change<S> {
    /// The version that the caller has read.
    pub expected: u64,
    /// All of the new ones.
    pub settings: S,
    /// Why.
    pub reason: String,
}

/// Changes settings, and answers with them.
///
/// # Errors
/// `VERSION_CONFLICT`.
pub async fn change<S: Settings>(
    tx: &mut Tx,
    caller: &Caller,
    defaults: S,
    change: Change<S>,
    now: Micros,
) -> Result<S, Fault> {
    let kept = store::locked(tx, S::TABLE, &caller.tenant_id).await?;
    let version = kept.0;
    if version != change.expected {
        let text = "the settings were changed since they were read";
        return Err(Fault::new(&reasons::VERSION_CONFLICT, text).with("version", version.to_string()));
    }
    let (before, next) = (decoded(kept, defaults)?, version.saturating_add(1));
    let after = change.settings.versioned(next);
    store::put(tx, S::TABLE, &caller.tenant_id, next, after.encode_to_vec().into()).await?;
    let about = About {
        entity_type: S::ENTITY,
        entity_id: caller.tenant_id.clone(),
        reason: change.reason,
        before: before.json(),
        after: after.json(),
        ..About::default()
    };
    publish(tx, caller, S::CHANGED, about, &after.clone().changed(), now);
    Ok(after)
}
