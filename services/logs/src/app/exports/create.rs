//! Orders an export. A report that could not be complete is refused before it is ordered.

use std::sync::Arc;

use bytes::Bytes;
use contracts_common::common::v1::CallContext;
use contracts_logs::v1::{Completeness, CreateExportResponse, ExportScope};
use runspine_errors::Fault;
use runspine_logs_domain::{export, reasons};

use super::view::shown;
use crate::{
    app::{App, once::Once},
    store::exports::{self, EventRow, ExportRow, Kind},
};

/// Exports of a tenant that can be in the making.
const PARALLEL: i64 = 2;

impl App {
    /// Orders an export and gives the answer as it is kept.
    ///
    /// # Errors
    /// TRACE_NOT_FOUND, NOT_SEALED, EXPORT_INCOMPLETE, EXPORT_BUSY, IDEMPOTENCY_MISMATCH, or when the store can't be
    /// written.
    pub async fn create_export(
        self: &Arc<Self>,
        call: &CallContext,
        once: Once,
        mut row: ExportRow,
    ) -> Result<Bytes, Fault> {
        row.tenant_id.clone_from(&call.tenant_id);
        row.created_at = self.clock.now();
        row.correlation.clone_from(&call.correlation_id);
        let actor = call.actor.clone().unwrap_or_default();
        (row.requested_by, row.actor_type) = (actor.id, actor.r#type);
        if row.scope == ExportScope::Compliance as i32 {
            self.refuse_incomplete(&row).await?;
        }
        let answer = self
            .once(once, move |tx| {
                Box::pin(async move {
                    if exports::in_the_making(tx, &row.tenant_id).await? >= PARALLEL {
                        let message = "two exports of the tenant are in the making";
                        return Err(Fault::new(&reasons::EXPORT_BUSY, message)
                            .quota("exports", "2 at a time")
                            .retry_after(std::time::Duration::from_secs(5)));
                    }
                    exports::insert(tx, &row).await?;
                    let pending = EventRow::of(&row.export_id, Kind::Pending, row.created_at, "");
                    Ok(CreateExportResponse { export: Some(shown(row, &[pending])) })
                })
            })
            .await?;
        // Whoever orders has it made at once; the worker makes what a process left undone.
        let app = Arc::clone(self);
        tokio::spawn(async move { app.make_exports().await });
        Ok(answer)
    }

    /// A SOC 2 report needs every required field; the profile STRICT the recommended ones too.
    async fn refuse_incomplete(&self, row: &ExportRow) -> Result<(), Fault> {
        let fields = self.report_fields(row).await?;
        let checked = export::check(true, &fields.named, self.strict);
        if checked.result != Completeness::Incomplete {
            return Ok(());
        }
        let missing = checked.missing_required.iter().chain(if self.strict {
            checked.missing_recommended.iter()
        } else {
            [].iter()
        });
        let fault = Fault::new(&reasons::EXPORT_INCOMPLETE, "the report would lack required fields")
            .with("completeness_permille", checked.permille);
        Err(missing.fold(fault, |fault, name| fault.precondition(*name, "is present")))
    }
}
