//! What a freeze closes at the door. A run is not refused here: the kernel denies its steps, with a record.

use contracts_common::contract::v1::Role;
use contracts_controls::v1::FreezeRecord;
use runspine_errors::Fault;
use runspine_rpc::Operation;
use runspine_types::{Micros, PLATFORM_TENANT};

use super::{directory::Identity, reasons};
use crate::kernel::FreezeView;

/// What goes on in a frozen tenant besides reading: its runs are denied, recorded and ended by the kernel, and people
/// freeze and lift.
const GOES_ON: [&str; 4] = ["runs.execute", "runs.cancel", "freezes.write", "freezes.lift"];

/// A frozen key is refused everything.
///
/// # Errors
/// `KEY_FROZEN`.
pub(super) fn key(freezes: &FreezeView, caller: &Identity, now: Micros) -> Result<(), Fault> {
    match freezes.of_key(&caller.tenant, &caller.handle, now) {
        Some(freeze) => Err(refusal(Fault::new(&reasons::KEY_FROZEN, "the key is frozen"), &freeze)),
        None => Ok(()),
    }
}

/// A frozen tenant is refused whatever changes something, its runs and freezes apart.
///
/// # Errors
/// `KEY_FROZEN`, `TENANT_NOT_ACTIVE`.
pub(super) fn decide(
    freezes: &FreezeView,
    operation: &Operation,
    caller: &Identity,
    now: Micros,
) -> Result<(), Fault> {
    key(freezes, caller, now)?;
    let reads = matches!(operation.role, Role::Observes | Role::Audits);
    if reads || caller.tenant == PLATFORM_TENANT || GOES_ON.contains(&operation.permission.as_str()) {
        return Ok(());
    }
    match freezes.of_tenant(&caller.tenant, now) {
        Some(freeze) => {
            Err(refusal(Fault::new(&reasons::TENANT_NOT_ACTIVE, "the tenant is frozen"), &freeze))
        }
        None => Ok(()),
    }
}

fn refusal(fault: Fault, freeze: &FreezeRecord) -> Fault {
    fault.with("freeze_id", &freeze.freeze_id)
}
