//! Whether a caller may: the first rule that decides, decides.

use contracts_common::{common::v1::ActorType, contract::v1::Exposure};
use runspine_errors::{Fault, mesh};
use runspine_rpc::Operation;

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

/// Ceiling of the actor kind → scopes of the key → roles.
pub(super) fn decide(operation: &Operation, caller: &Identity) -> Result<(), Fault> {
    let wanted = operation.permission.as_str();
    let missing = |what: String| Fault::new(&reasons::PERMISSION_MISSING, what).with("permission", wanted);
    if caller.kind != ActorType::Human && human_only(wanted) {
        return Err(Fault::new(&reasons::HUMAN_REQUIRED, format!("{wanted} is for people only")));
    }
    if caller.kind == ActorType::Agent && !holds("AGENT", wanted) {
        return Err(missing(format!("an agent can never hold {wanted}")));
    }
    if !caller.scopes.is_empty() && !caller.scopes.iter().any(|scope| covers(scope, wanted)) {
        return Err(Fault::new(&reasons::KEY_SCOPE, format!("the key's scopes leave out {wanted}")));
    }
    if caller.roles.iter().any(|role| holds(role, wanted)) {
        return Ok(());
    }
    Err(missing(format!("no role of the caller holds {wanted}")))
}
