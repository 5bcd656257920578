//! Orders an export. A report that could not be complete is refused before it is ordered.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use contracts_common::common::v1::CallContext;
use contracts_logs::v1::{CreateExportResponse, ExportOrdered, ExportScope, IncidentOrder};
use runspine_db::{DbError, Tx};
use runspine_errors::Fault;
use runspine_logs_domain::{bytes::timestamp, export, reasons};
use runspine_types::Micros;

use super::{
    content::{judged, scope_of},
    incident::order_of,
    make::about,
    view::shown,
};
use crate::{
    app::{
        App,
        audit::told::{Caused, emit},
        once::Once,
    },
    store::{
        exports::{self, EventRow, ExportRow, Kind},
        llm_runs, system,
    },
};

/// How long an export waits for what other domains know.
const PATIENCE: Duration = Duration::from_secs(15 * 60);

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
        let scope = scope_of(&row);
        self.refuse_early(&row, scope).await?;
        let (caused, most) = (Caused::by(call), self.exports_at_once);
        let answer = self
            .once(once, move |tx| {
                Box::pin(async move {
                    if exports::in_the_making(tx, &row.tenant_id).await? >= i64::from(most) {
                        let message = format!("{most} exports of the tenant are in the making");
                        return Err(Fault::new(&reasons::EXPORT_BUSY, message)
                            .quota("exports", format!("{most} at a time"))
                            .retry_after(Duration::from_secs(5)));
                    }
                    // What waits for nobody can be made at once.
                    let waits = !export::sources(scope).is_empty();
                    let not_before = if waits { row.created_at + PATIENCE } else { Micros(0) };
                    row.up_to = last_of(tx, scope).await?;
                    exports::insert(tx, &row, not_before).await?;
                    if waits {
                        tell(tx, &row, scope, not_before, &caused)?;
                    }
                    let pending = EventRow::of(&row.export_id, Kind::Pending, row.created_at, "");
                    Ok(CreateExportResponse {
                        export: Some(shown(row, &[pending], Vec::new())),
                        waits_for: waited_for(scope),
                        waits_until: waits.then(|| timestamp(not_before)),
                    })
                })
            })
            .await?;
        // Whoever orders has it made at once; the worker makes what a process left undone.
        let app = Arc::clone(self);
        tokio::spawn(async move { app.make_exports().await });
        Ok(answer)
    }

    /// What could not be made is not ordered: an attempt that goes on, or a report that would lack fields which nobody
    /// can bring any more.
    async fn refuse_early(&self, row: &ExportRow, scope: ExportScope) -> Result<(), Fault> {
        match scope {
            ExportScope::LlmRun | ExportScope::System | ExportScope::Audit | ExportScope::Unspecified => {
                Ok(())
            }
            ExportScope::Bundle => self.refuse_open(&row.tenant_id, &row.run_id).await,
            ExportScope::Incident => self.refuse_incident(row).await,
            ExportScope::Executive => self.report_fields(row).await.map(drop),
            ExportScope::Compliance => judged(true, &self.report_fields(row).await?, self.strict).map(drop),
            ExportScope::Evidence => {
                let mut fields = self.report_fields(row).await?;
                for brought in ["incident_id", "violation_step_index"] {
                    fields.insert(brought.to_owned(), "brought by incidents".into());
                }
                judged(false, &fields, self.strict).map(drop)
            }
        }
    }
}

/// The record up to which an export goes: what comes later is not in it, whenever it is made. 0: it has no such end.
async fn last_of(tx: &mut Tx, scope: ExportScope) -> Result<i64, DbError> {
    match scope {
        ExportScope::LlmRun => llm_runs::last(tx).await,
        ExportScope::System => system::last(tx).await,
        _ => Ok(0),
    }
}

/// Tells that an export waits, and for whom.
fn tell(
    tx: &mut Tx,
    row: &ExportRow,
    scope: ExportScope,
    waits_until: Micros,
    caused: &Caused,
) -> Result<(), Fault> {
    let incident = if scope == ExportScope::Incident { order_of(row)? } else { IncidentOrder::default() };
    let data = ExportOrdered {
        export_id: row.export_id.clone(),
        scope: scope.into(),
        run_id: row.run_id.clone(),
        attempt: row.attempt,
        sources: waited_for(scope),
        waits_until: Some(timestamp(waits_until)),
        incident_export_id: incident.incident_export_id,
        attempts: incident.attempts,
    };
    emit(tx, about("ExportOrdered", &data, row), caused, row.created_at);
    Ok(())
}

fn waited_for(scope: ExportScope) -> Vec<String> {
    export::sources(scope).iter().map(|source| (*source).to_owned()).collect()
}
