//! Exports as they are shown.

use std::collections::HashMap;

use contracts_logs::v1::{
    Export, ExportEvent, ExportPart, ExportScope, ExportState, GetExportResponse, IncidentOrder,
    LlmRunFilter, SystemRecordFilter,
};
use prost::Message as _;
use runspine_errors::Fault;
use runspine_logs_domain::{bytes::timestamp, reasons};

use super::content::scope_of;
use crate::{
    app::App,
    store::{
        export_parts::{self, PartRow},
        exports::{self, EventRow, ExportRow, Kind},
    },
};

impl App {
    /// One export and what became of it.
    ///
    /// # Errors
    /// EXPORT_NOT_FOUND, or when the store can't be read.
    pub async fn get_export(&self, tenant_id: &str, id: &str) -> Result<GetExportResponse, Fault> {
        let row = exports::find(self.db.read(), tenant_id, id).await?.ok_or_else(missing)?;
        let events = exports::events(self.db.read(), &[id]).await?;
        let told = events.iter().map(|event| ExportEvent {
            kind: word(event.kind).to_owned(),
            at: Some(timestamp(event.at)),
            detail: event.detail.clone(),
        });
        let told = told.collect();
        let parts = export_parts::of(self.db.read(), &[id]).await?;
        Ok(GetExportResponse { export: Some(shown(row, &events, parts)), events: told })
    }

    /// Exports, newest first, with their places.
    ///
    /// # Errors
    /// When the store can't be read.
    pub async fn list_exports(
        &self,
        tenant_id: &str,
        wanted: (i32, &str),
        before: Option<i64>,
        limit: i64,
    ) -> Result<Vec<(i64, Export)>, Fault> {
        let rows = exports::list(self.db.read(), tenant_id, wanted, before, limit).await?;
        let ids: Vec<&str> = rows.iter().map(|row| row.export_id.as_str()).collect();
        let mut events: HashMap<String, Vec<EventRow>> = HashMap::new();
        for event in exports::events(self.db.read(), &ids).await? {
            events.entry(event.export_id.clone()).or_default().push(event);
        }
        let mut parts: HashMap<String, Vec<PartRow>> = HashMap::new();
        for part in export_parts::of(self.db.read(), &ids).await? {
            parts.entry(part.export_id.clone()).or_default().push(part);
        }
        let show = |row: ExportRow| {
            let events = events.remove(&row.export_id).unwrap_or_default();
            let parts = parts.remove(&row.export_id).unwrap_or_default();
            (row.id, shown(row, &events, parts))
        };
        Ok(rows.into_iter().map(show).collect())
    }
}

/// There is no such export.
pub fn missing() -> Fault {
    Fault::new(&reasons::EXPORT_NOT_FOUND, "there is no such export")
}

fn word(kind: i64) -> &'static str {
    match kind {
        1 => "PENDING",
        2 => "RUNNING",
        3 => "COMPLETED",
        4 => "FAILED",
        _ => "DELIVERED",
    }
}

/// An export with what its events and its parts say.
#[must_use]
pub fn shown(row: ExportRow, events: &[EventRow], parts: Vec<PartRow>) -> Export {
    let last = events.iter().rfind(|event| event.kind != Kind::Delivered as i64);
    let state = match last.map(|event| event.kind) {
        Some(2) => ExportState::Running,
        Some(3) => ExportState::Completed,
        Some(4) => ExportState::Failed,
        _ => ExportState::Pending,
    };
    let made = events.iter().find(|event| event.kind == Kind::Completed as i64);
    let lacks = made.map(|made| made.detail.as_str()).unwrap_or_default();
    let failed = events.iter().find(|event| event.kind == Kind::Failed as i64);
    let why = failed.map(|failed| failed.detail.as_str()).unwrap_or_default();
    let scope = scope_of(&row);
    let (failure_reason, lacked) = why.split_once(' ').unwrap_or((why, ""));
    // Nothing but this service wrote the filter, and it is read again where the export is made.
    let llm_runs =
        (scope == ExportScope::LlmRun).then(|| LlmRunFilter::decode(row.filter.clone()).ok()).flatten();
    let system_records =
        (scope == ExportScope::System).then(|| SystemRecordFilter::decode(row.filter.clone()).ok()).flatten();
    let incident =
        (scope == ExportScope::Incident).then(|| IncidentOrder::decode(row.filter.clone()).ok()).flatten();
    Export {
        export_id: row.export_id,
        scope: row.scope,
        format: row.format,
        run_id: row.run_id,
        attempt: row.attempt,
        requested_by: row.requested_by,
        reason: row.reason,
        created_at: Some(timestamp(row.created_at)),
        state: state.into(),
        size: made.map(|made| made.size).unwrap_or_default(),
        content_digest: made.map(|made| made.digest.clone()).unwrap_or_default(),
        signature: made.map(|made| made.signature.clone()).unwrap_or_default(),
        key_id: made.map(|made| made.key_id.clone()).unwrap_or_default(),
        expires_at: made.and_then(|made| made.expires_at).map(timestamp),
        missing_recommended: names(lacks),
        failure_reason: failure_reason.to_owned(),
        missing_required: names(lacked),
        parts: parts.into_iter().map(part).collect(),
        llm_runs,
        system_records,
        incident,
    }
}

fn names(list: &str) -> Vec<String> {
    list.split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

fn part(row: PartRow) -> ExportPart {
    ExportPart {
        source: row.source,
        status: row.status,
        reason: row.reason,
        items: row.items,
        digest: row.digest,
        added_at: Some(timestamp(row.added_at)),
    }
}
