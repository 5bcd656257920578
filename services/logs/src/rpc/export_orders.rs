//! The orders of `ExportService`: requests become rows, contents become streams.

use std::{collections::BTreeMap, pin::Pin};

use bytes::Bytes;
use contracts_common::common::v1::CallContext;
use contracts_logs::v1::{self as pb, ExportFormat, ExportIncidentKind, ExportScope};
use futures::{Stream, StreamExt as _};
use prost::Message as _;
use runspine_errors::Fault;
use runspine_logs_domain::export;
use runspine_rpc::status;
use runspine_types::{Micros, hash, is_uuid, is_uuid_v7, new_id};
use tonic::Status;

use super::{
    audit::{
        self,
        fields::{Fields, page_after, page_key},
    },
    export_service::Exports,
    parse::words,
    present,
};
use crate::{app::once::Once, store::exports::ExportRow};

const CREATE: &str = "runspine.logs.v1.ExportService/CreateExport";
const DOWNLOAD: &str = "runspine.logs.v1.ExportService/DownloadExport";

/// A content as it leaves.
pub type Pieces = Pin<Box<dyn Stream<Item = Result<pb::DownloadExportResponse, Status>> + Send>>;

impl Exports {
    /// Orders an export.
    pub async fn create(
        &self,
        call: &CallContext,
        r: pb::CreateExportRequest,
    ) -> Result<pb::CreateExportResponse, Fault> {
        let once = Once::new(call, CREATE, &r.request_id, &r);
        let row = ordered(r)?;
        let answer = self.app.create_export(call, once, row).await?;
        present::decode(&answer)
    }

    /// A page of exports.
    pub async fn list(
        &self,
        tenant: &str,
        r: pb::ListExportsRequest,
    ) -> Result<pb::ListExportsResponse, Fault> {
        let unpaged = pb::ListExportsRequest { page_size: 0, page_token: String::new(), ..r.clone() };
        let query = hash(&unpaged.encode_to_vec());
        let mut fields = Fields::new();
        let scope = fields.any::<ExportScope>("scope", r.scope);
        let size = fields.page_size(r.page_size);
        fields.require(r.run_id.is_empty() || is_uuid_v7(&r.run_id), "run_id", "is a UUIDv7");
        fields.done()?;
        let before = page_after(&r.page_token, query)?.map(|[id]| id);
        let mut found =
            self.app.list_exports(tenant, (scope.into(), &r.run_id), before, size.probe()).await?;
        let next_page_token = size.cut(&mut found, query, |(id, _)| page_key([*id]));
        let exports = found.into_iter().map(|(_, export)| export).collect();
        Ok(pb::ListExportsResponse { exports, next_page_token })
    }

    /// The content of an export.
    pub async fn download(&self, call: &CallContext, r: pb::DownloadExportRequest) -> Result<Pieces, Fault> {
        let once = Once::new(call, DOWNLOAD, &r.request_id, &r);
        let mut fields = Fields::new();
        fields.require(is_uuid(&r.export_id), "export_id", "is a UUID");
        fields.request_id(r.request_id);
        fields.done()?;
        let pieces = self.app.download_export(call, (once, r.export_id)).await?;
        let message =
            |piece: Result<_, Fault>| piece.map(|chunk| pb::DownloadExportResponse { chunk }).map_err(status);
        Ok(Box::pin(pieces.map(message)))
    }
}

fn ordered(r: pb::CreateExportRequest) -> Result<ExportRow, Fault> {
    let mut fields = Fields::new();
    let scope = fields.known::<ExportScope>("scope", r.scope);
    let format = format_of(&mut fields, scope, r.format);
    let table = matches!(scope, ExportScope::LlmRun | ExportScope::System | ExportScope::Incident);
    let of_ledger = scope == ExportScope::Audit;
    let of_attempt = !table && !of_ledger && scope != ExportScope::Bundle;
    fields.require(r.run_id.is_empty() || is_uuid_v7(&r.run_id), "run_id", "is a UUIDv7");
    let named = if table { r.run_id.is_empty() } else { of_ledger || !r.run_id.is_empty() };
    fields.require(
        named,
        "run_id",
        "is required, optional for AUDIT, and none for LLM_RUN, SYSTEM and INCIDENT",
    );
    fields.require(of_attempt || r.attempt == 0, "attempt", "is for reports about one attempt only");
    fields.require(r.reason.chars().count() <= 500, "reason", "has at most 500 characters");
    let since = fields.optional_time("from", r.from.as_ref());
    let until = fields.optional_time("to", r.to.as_ref());
    let of_period = of_ledger || scope == ExportScope::Compliance;
    let no_period = since.is_none() && until.is_none();
    fields.require(of_period || no_period, "from", "and `to` are for AUDIT and COMPLIANCE only");
    let forward = since.zip(until).is_none_or(|(since, until)| since < until);
    fields.require(forward, "to", "is after from");
    let first = r.incident.as_ref().and_then(|order| order.attempts.first()).cloned().unwrap_or_default();
    let incident = incident_of(&mut fields, scope, format, r.incident);
    let filter = filter_of(&mut fields, scope, r.llm_runs, r.system_records).unwrap_or(incident);
    fields.request_id(r.request_id);
    fields.done()?;
    let (run_id, attempt) =
        if scope == ExportScope::Incident { (first.run_id, first.attempt) } else { (r.run_id, r.attempt) };
    Ok(ExportRow {
        id: 0,
        export_id: new_id(),
        tenant_id: String::new(),
        scope: scope.into(),
        format: format.into(),
        run_id,
        attempt,
        since,
        until,
        requested_by: String::new(),
        actor_type: 0,
        correlation: String::new(),
        reason: words(&r.reason),
        created_at: Micros(0),
        filter,
        up_to: 0,
    })
}

/// One of the formats of a scope; its first when none is said.
fn format_of(fields: &mut Fields, scope: ExportScope, given: i32) -> ExportFormat {
    let can = export::formats(scope);
    match fields.any::<ExportFormat>("format", given) {
        ExportFormat::Unspecified => can.first().copied().unwrap_or_default(),
        format => {
            let names: Vec<&str> =
                can.iter().map(|f| f.as_str_name().trim_start_matches("EXPORT_FORMAT_")).collect();
            let fits = can.contains(&format) || can.is_empty();
            fields.require(fits, "format", &format!("is one of {} for this scope", names.join(", ")));
            format
        }
    }
}

/// Which incident, as it is kept; nothing for the other scopes.
fn incident_of(
    fields: &mut Fields,
    scope: ExportScope,
    format: ExportFormat,
    given: Option<pb::IncidentOrder>,
) -> Bytes {
    let asked = scope == ExportScope::Incident;
    fields.require(asked == given.is_some(), "incident", "is set for INCIDENT, and for INCIDENT only");
    let Some(order) = given.filter(|_| asked) else { return Bytes::new() };
    fields.require(is_uuid_v7(&order.incident_id), "incident.incident_id", "is a UUIDv7");
    fields.require(is_uuid(&order.incident_export_id), "incident.incident_export_id", "is a UUID");
    let kind = fields.known::<ExportIncidentKind>("incident.kind", order.kind);
    let pages = format == ExportFormat::Pdf && kind == ExportIncidentKind::Evidence;
    fields.require(!pages, "format", "is JSON or ZIP: evidence does not fit on pages");
    fields.require(order.part_digest.len() == 32, "incident.part_digest", "has 32 bytes");
    let mut named: Vec<(&str, u32)> = order.attempts.iter().map(|a| (a.run_id.as_str(), a.attempt)).collect();
    let ids = named.len() <= 100 && named.iter().all(|(run_id, _)| is_uuid_v7(run_id));
    named.sort_unstable();
    let once = named.windows(2).all(|pair| pair[0] != pair[1]);
    fields.require(ids && once, "incident.attempts", "are at most 100 of runs by their UUIDv7, each once");
    order.encode_to_vec().into()
}

/// Which records, as they are kept: they stay what was asked for, whatever an empty field may mean one day.
fn filter_of(
    fields: &mut Fields,
    scope: ExportScope,
    llm_runs: Option<pb::LlmRunFilter>,
    system: Option<pb::SystemRecordFilter>,
) -> Option<Bytes> {
    let (of_runs, of_system) = (scope == ExportScope::LlmRun, scope == ExportScope::System);
    fields.require(of_runs || llm_runs.is_none(), "llm_runs", "is for LLM_RUN only");
    fields.require(of_system || system.is_none(), "system_records", "is for SYSTEM only");
    let llm_runs = audit::llm_runs::filter(fields, "llm_runs", llm_runs.unwrap_or_default());
    let system = audit::system::filter(fields, "system_records", system.unwrap_or_default());
    match scope {
        ExportScope::LlmRun => Some(llm_runs.encode_to_vec().into()),
        ExportScope::System => Some(system.encode_to_vec().into()),
        _ => None,
    }
}

/// Judges the fields of a bundle.
pub fn completeness(r: pb::CheckCompletenessRequest) -> Result<pb::CheckCompletenessResponse, Fault> {
    let mut fields = Fields::new();
    fields.require(r.fields.len() <= 64, "fields", "are at most 64");
    let mut named = BTreeMap::new();
    for (name, text) in r.fields {
        match serde_json::from_str(&text) {
            Ok(value) => {
                named.insert(name, value);
            }
            Err(_) => fields.require(false, &format!("fields[{name}]"), "is a JSON value"),
        }
    }
    fields.done()?;
    let checked = export::check(r.soc2, &named, r.strict);
    let owned = |names: Vec<&str>| names.into_iter().map(str::to_owned).collect();
    Ok(pb::CheckCompletenessResponse {
        result: checked.result.into(),
        missing_required: owned(checked.missing_required),
        missing_recommended: owned(checked.missing_recommended),
        completeness_permille: checked.permille,
    })
}
