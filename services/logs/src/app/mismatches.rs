//! Mismatches: reported, listed, explained. Both ends stand on the ledger.

use bytes::Bytes;
use contracts_common::common::v1::CallContext;
use contracts_logs::v1::{
    Mismatch, MismatchReported, MismatchResolved, MismatchState, ReportMismatchResponse,
    ResolveMismatchResponse,
};
use runspine_db::Tx;
use runspine_errors::Fault;
use runspine_logs_domain::{bytes::timestamp, reasons};

use super::{
    App,
    announce::announce,
    audit::told::{Caused, Told},
    once::Once,
};
use crate::store::{
    mismatches::{self, Filter, MismatchRow},
    traces::{self, TraceRef},
};

impl App {
    /// Stores a report and gives the answer as it is kept.
    ///
    /// # Errors
    /// TRACE_NOT_FOUND, MISMATCH_NOT_FOUND for the report before it, IDEMPOTENCY_MISMATCH, or when the store can't be
    /// written.
    pub async fn report_mismatch(
        &self,
        call: &CallContext,
        once: Once,
        mut row: MismatchRow,
    ) -> Result<Bytes, Fault> {
        let (tenant_id, caused, now) = (call.tenant_id.clone(), Caused::by(call), self.clock.now());
        (row.reported_at, row.reporter) = (now, caused.actor_id().to_owned());
        self.once(once, move |tx| {
            Box::pin(async move {
                let of = TraceRef {
                    tenant_id: tenant_id.clone(),
                    run_id: row.run_id.clone(),
                    attempt: row.attempt,
                };
                if traces::find(tx, &of).await?.is_none() {
                    return Err(Fault::new(&reasons::TRACE_NOT_FOUND, "there is no trace of this attempt"));
                }
                let follows = !row.previous_id.is_empty();
                if follows && mismatches::find_in(tx, &tenant_id, &row.previous_id).await?.is_none() {
                    return Err(missing());
                }
                file(tx, &tenant_id, &row, &caused).await?;
                Ok(ReportMismatchResponse { mismatch: Some(present(row)) })
            })
        })
        .await
    }

    /// Explains a mismatch and gives the answer as it is kept.
    ///
    /// # Errors
    /// MISMATCH_NOT_FOUND, MISMATCH_RESOLVED, IDEMPOTENCY_MISMATCH, or when the store can't be written.
    pub async fn resolve_mismatch(
        &self,
        call: &CallContext,
        (once, id, note): (Once, String, String),
    ) -> Result<Bytes, Fault> {
        let (tenant_id, caused, now) = (call.tenant_id.clone(), Caused::by(call), self.clock.now());
        self.once(once, move |tx| {
            Box::pin(async move {
                let mut row = mismatches::find_in(tx, &tenant_id, &id).await?.ok_or_else(missing)?;
                if row.resolved_at.is_some() {
                    let message = "the mismatch was explained before; report it again to open another";
                    return Err(Fault::new(&reasons::MISMATCH_RESOLVED, message)
                        .precondition(format!("mismatches/{id}"), "is open"));
                }
                mismatches::resolve(tx, &id, (&note, caused.actor_id()), now).await?;
                let data =
                    MismatchResolved { mismatch_id: id, run_id: row.run_id.clone(), attempt: row.attempt };
                announce(tx, about("MismatchResolved", &data, &tenant_id, &row, &note), None, &caused, now)
                    .await?;
                row.resolved_at = Some(now);
                row.resolved_by = Some(caused.actor_id().to_owned());
                row.note = Some(note);
                Ok(ResolveMismatchResponse { mismatch: Some(present(row)) })
            })
        })
        .await
    }

    /// Mismatches, newest first, with their numbers.
    ///
    /// # Errors
    /// When the store can't be read.
    pub async fn list_mismatches(
        &self,
        tenant_id: &str,
        filter: &Filter,
        limit: i64,
    ) -> Result<Vec<MismatchRow>, Fault> {
        Ok(mismatches::list(self.db.read(), tenant_id, filter, limit).await?)
    }
}

/// Stores a report and tells it.
///
/// # Errors
/// When the store can't be written.
pub async fn file(tx: &mut Tx, tenant_id: &str, row: &MismatchRow, caused: &Caused) -> Result<(), Fault> {
    mismatches::insert(tx, tenant_id, row).await?;
    let data = MismatchReported {
        mismatch_id: row.mismatch_id.clone(),
        run_id: row.run_id.clone(),
        attempt: row.attempt,
        step_index: row.step_index,
        reason: row.reason.clone(),
    };
    let told = about("MismatchReported", &data, tenant_id, row, &row.reason);
    announce(tx, told, None, caused, row.reported_at).await
}

fn about<'a, M>(
    name: &'static str,
    data: &'a M,
    tenant_id: &'a str,
    row: &'a MismatchRow,
    reason: &'a str,
) -> Told<'a, M> {
    Told {
        name,
        data,
        tenant_id,
        run_id: &row.run_id,
        attempt: row.attempt,
        step_index: row.step_index,
        entity: ("mismatch", row.mismatch_id.clone()),
        reason,
    }
}

fn missing() -> Fault {
    Fault::new(&reasons::MISMATCH_NOT_FOUND, "there is no such mismatch")
}

/// A mismatch as it travels.
#[must_use]
pub fn present(row: MismatchRow) -> Mismatch {
    let state = if row.resolved_at.is_some() { MismatchState::Resolved } else { MismatchState::Open };
    Mismatch {
        mismatch_id: row.mismatch_id,
        run_id: row.run_id,
        attempt: row.attempt,
        step_index: row.step_index,
        reason: row.reason,
        expected_digest: row.expected_digest,
        actual_digest: row.actual_digest,
        details: row.details,
        reporter: row.reporter,
        previous_id: row.previous_id,
        incident_id: row.incident_id,
        external_ref: row.external_ref,
        reported_at: Some(timestamp(row.reported_at)),
        state: state.into(),
        note: row.note.unwrap_or_default(),
        resolved_by: row.resolved_by.unwrap_or_default(),
        resolved_at: row.resolved_at.map(timestamp),
        replay_id: row.replay_id,
    }
}
