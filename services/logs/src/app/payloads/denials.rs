//! Tells, with the seal of a trace, what of it was not allowed to be kept.

use std::collections::BTreeMap;

use contracts_logs::v1::{InspectionDenied, InspectionOperation};
use runspine_db::Tx;
use runspine_errors::Fault;
use runspine_redact::Operation;
use runspine_types::Micros;

use crate::{
    app::{
        announce::announce,
        audit::told::{Caused, Told},
    },
    store::{payloads, traces::TraceRef},
};

/// The number of an operation in messages and rows.
#[must_use]
pub const fn number(operation: Operation) -> InspectionOperation {
    match operation {
        Operation::LogPrompt => InspectionOperation::LogPrompt,
        Operation::LogResponse => InspectionOperation::LogResponse,
        Operation::CapturePii => InspectionOperation::CapturePii,
        Operation::AccessSecret => InspectionOperation::AccessSecret,
    }
}

/// One event and ledger entry for each operation that was denied to the attempt, with its count.
///
/// # Errors
/// When the store can't be read or written.
pub async fn tell(
    tx: &mut Tx,
    of: &TraceRef,
    trace_key: i64,
    caused: &Caused,
    now: Micros,
) -> Result<(), Fault> {
    for (operation, count) in payloads::denials(tx, trace_key).await? {
        one(tx, of, (operation, count), caused, now).await?;
    }
    Ok(())
}

/// Counts what was denied to an addendum of a sealed trace, and tells what its seal did not tell.
///
/// # Errors
/// When the store can't be read or written.
pub async fn tell_late(
    tx: &mut Tx,
    of: &TraceRef,
    trace_key: i64,
    denied: impl Iterator<Item = &Operation>,
    caused: &Caused,
    now: Micros,
) -> Result<(), Fault> {
    let mut counts: BTreeMap<i32, u64> = BTreeMap::new();
    denied.for_each(|operation| *counts.entry(number(*operation).into()).or_default() += 1);
    if counts.is_empty() {
        return Ok(());
    }
    let told = payloads::denials(tx, trace_key).await?;
    let rows: Vec<_> = counts.iter().map(|(operation, count)| (trace_key, *operation, *count)).collect();
    payloads::count_denials(tx, &rows).await?;
    for new in counts.into_iter().filter(|(operation, _)| told.iter().all(|(known, _)| known != operation)) {
        one(tx, of, new, caused, now).await?;
    }
    Ok(())
}

async fn one(
    tx: &mut Tx,
    of: &TraceRef,
    (operation, count): (i32, u64),
    caused: &Caused,
    now: Micros,
) -> Result<(), Fault> {
    let data = InspectionDenied { run_id: of.run_id.clone(), attempt: of.attempt, operation, count };
    let told = Told {
        name: "InspectionDenied",
        data: &data,
        tenant_id: &of.tenant_id,
        run_id: &of.run_id,
        attempt: of.attempt,
        step_index: None,
        entity: ("inspection", data.operation().as_str_name().to_owned()),
        reason: "CONSTRAINT_DENIED",
    };
    announce(tx, told, None, caused, now).await
}
