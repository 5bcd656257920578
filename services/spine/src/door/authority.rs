//! Whether a caller may: the first rule that decides, decides.

use std::sync::Arc;

use contracts_common::{common::v1::ActorType, contract::v1::Exposure};
use runspine_errors::{Fault, mesh};
use runspine_rpc::{Context, Operation};

use super::{
    directory::Identity,
    reasons,
    roles::{covers, holds, human_only},
};

/// Clients reach ENTRY operations only.
pub(super) fn exposed(operation: &Operation) -> Result<(), Fault> {
    if operation.exposure == Exposure::Entry {
        return Ok(());
    }
    Err(Fault::new(&mesh::PEER_NOT_SPINE, format!("{} is called by the spine only", operation.name)))
}

/// Who a call came from, beside its context: a service of the spine that asks for a further permission needs the
/// scopes of the key too.
#[derive(Debug, Clone)]
pub struct Caller(pub(super) Arc<Identity>);

/// Whether a caller who was let in may do more than the operation asks for. Without a `caller` the call did not come by
/// the door, and nothing narrows its roles.
///
/// # Errors
/// With what is missing.
pub fn also(context: &Context, caller: Option<&Caller>, wanted: &str) -> Result<(), Fault> {
    let kind = context.actor.as_ref().map_or(ActorType::Unspecified, |actor| actor.r#type());
    judge(wanted, kind, &context.roles, caller.map_or(&[], |caller| &caller.0.scopes))
}

/// Whether a caller may call the operation.
pub(super) fn decide(operation: &Operation, caller: &Identity) -> Result<(), Fault> {
    judge(&operation.permission, caller.kind, &caller.roles, &caller.scopes)
}

/// Ceiling of the actor kind → scopes of the key → roles.
fn judge(wanted: &str, kind: ActorType, roles: &[String], scopes: &[String]) -> Result<(), Fault> {
    let missing = |what: String| Fault::new(&reasons::PERMISSION_MISSING, what).with("permission", wanted);
    if kind != ActorType::Human && human_only(wanted) {
        return Err(Fault::new(&reasons::HUMAN_REQUIRED, format!("{wanted} is for people only")));
    }
    if kind == ActorType::Agent && !holds("AGENT", wanted) {
        return Err(missing(format!("an agent can never hold {wanted}")));
    }
    if !scopes.is_empty() && !scopes.iter().any(|scope| covers(scope, wanted)) {
        return Err(Fault::new(&reasons::KEY_SCOPE, format!("the key's scopes leave out {wanted}")));
    }
    if roles.iter().any(|role| holds(role, wanted)) {
        return Ok(());
    }
    Err(missing(format!("no role of the caller holds {wanted}")))
}
