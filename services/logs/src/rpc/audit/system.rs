//! The part of `RecordService` that is about the mesh itself.

use std::time::Duration;

use contracts_logs::v1::{self as pb, SystemCause, SystemComponent, SystemEventType, SystemSeverity};
use prost::Message as _;
use runspine_db::Db;
use runspine_errors::{Fault, mesh};
use runspine_rpc::timestamp;
use runspine_types::{hash, is_uuid_v7};

use super::{
    fields::{Fields, page_after, page_key},
    ledger_service::entry_view,
};
use crate::{
    app::audit::{
        Audit,
        system::Told,
        window::{Happened, Window},
    },
    rpc::present,
    store::system::{self as store, SystemRow},
};

/// Half of a window when nothing is said, milliseconds.
const HALF: u32 = 30_000;
/// The longest half of a window, milliseconds.
const LONGEST: u32 = 3_600_000;

/// A record to be kept.
pub fn told(tenant: &str, request: pb::AppendSystemRecordRequest) -> Result<Told, Fault> {
    let request_digest = hash(&request.encode_to_vec());
    let mut fields = Fields::new();
    fields.require(request.record.is_some(), "record", "must be set");
    let given = request.record.unwrap_or_default();
    let event_type: SystemEventType = fields.known("record.event_type", given.event_type);
    let told = event_type != SystemEventType::Restart;
    fields.require(told, "record.event_type", "is not RESTART: a STARTUP becomes one where it is");
    let component: SystemComponent = fields.known("record.component", given.component);
    let severity: SystemSeverity = fields.known("record.severity", given.severity);
    let caused_by = match fields.any("record.caused_by", given.caused_by) {
        SystemCause::Unspecified => SystemCause::System,
        given => given,
    };
    let _ = fields.digest("record.config_digest", &given.config_digest);
    let occurred_at = fields.time("record.occurred_at", given.occurred_at.as_ref());
    let record = pb::SystemRecord {
        id: String::new(),
        tenant_id: tenant.to_owned(),
        component: component.into(),
        event_type: event_type.into(),
        severity: severity.into(),
        caused_by: caused_by.into(),
        instance: fields.text("record.instance", given.instance, (1, 256)),
        version: fields.text("record.version", given.version, (0, 64)),
        config_digest: given.config_digest,
        summary: fields.words("record.summary", given.summary, (0, 1_024)),
        correlation_id: fields.text("record.correlation_id", given.correlation_id, (0, 128)),
        occurred_at: given.occurred_at,
        recorded_at: None,
    };
    let request_id = fields.request_id(request.request_id);
    fields.done()?;
    Ok(Told { record, occurred_at, request_id, request_digest })
}

/// A page of records.
pub async fn list(
    db: &Db,
    tenant: &str,
    request: pb::ListSystemRecordsRequest,
) -> Result<pb::ListSystemRecordsResponse, Fault> {
    let unpaged = pb::ListSystemRecordsRequest { page_token: String::new(), page_size: 0, ..request.clone() };
    let query = hash(&unpaged.encode_to_vec());
    let mut fields = Fields::new();
    let filter = filter(&mut fields, "filter", request.filter.unwrap_or_default()).into();
    let size = fields.page_size(request.page_size);
    fields.done()?;
    let after = page_after(&request.page_token, query)?.map(|[at, id]| (at, id));
    let mut rows = store::list(db.read(), tenant, &filter, after, size.probe()).await?;
    let next_page_token = size.cut(&mut rows, query, |row| page_key([row.occurred_at.0, row.id]));
    let records: Result<Vec<_>, Fault> = rows.into_iter().map(view).collect();
    Ok(pb::ListSystemRecordsResponse { records: records?, next_page_token })
}

/// Checks which records are asked for in the field `name`.
pub fn filter(fields: &mut Fields, name: &str, given: pb::SystemRecordFilter) -> pb::SystemRecordFilter {
    let _: SystemComponent = fields.any(&format!("{name}.component"), given.component);
    let _: SystemEventType = fields.any(&format!("{name}.event_type"), given.event_type);
    let _: SystemSeverity = fields.any(&format!("{name}.severity"), given.severity);
    let _: SystemCause = fields.any(&format!("{name}.caused_by"), given.caused_by);
    let _ = fields.optional_time(&format!("{name}.occurred_from"), given.occurred_from.as_ref());
    let _ = fields.optional_time(&format!("{name}.occurred_to"), given.occurred_to.as_ref());
    given
}

fn view(row: SystemRow) -> Result<pb::SystemRecord, Fault> {
    let unreadable = |error| Fault::new(&mesh::INTERNAL, "a system record can't be read").caused_by(error);
    pb::SystemRecord::decode(row.record).map_err(unreadable)
}

/// What happened around the end of an attempt.
pub async fn window(
    audit: &Audit,
    tenant: &str,
    request: pb::GetReplayWindowRequest,
) -> Result<pb::GetReplayWindowResponse, Fault> {
    let mut fields = Fields::new();
    fields.require(is_uuid_v7(&request.run_id), "run_id", "is a UUIDv7");
    let (before, after) = (request.before_ms.unwrap_or(HALF), request.after_ms.unwrap_or(HALF));
    fields.require(before <= LONGEST, "before_ms", "is at most 3 600 000");
    fields.require(after <= LONGEST, "after_ms", "is at most 3 600 000");
    fields.done()?;
    let half = |ms: u32| Duration::from_millis(u64::from(ms));
    let of = (tenant, request.run_id.as_str(), request.attempt);
    let Window { attempt, end, from, to, happened, truncated } =
        audit.replay_window(of, half(before), half(after)).await?;
    let mut entries = Vec::with_capacity(happened.len());
    for (at, happened) in happened {
        use pb::replay_window_entry::Source;
        let source = match happened {
            Happened::Entry(row) => Source::Ledger(entry_view(*row)?),
            Happened::System(row) => Source::System(view(row)?),
            Happened::Record(row, late) => Source::Record(present::record(*row, late, false)?),
        };
        entries.push(pb::ReplayWindowEntry { occurred_at: Some(timestamp(at)), source: Some(source) });
    }
    Ok(pb::GetReplayWindowResponse {
        attempt,
        end: Some(timestamp(end)),
        from: Some(timestamp(from)),
        to: Some(timestamp(to)),
        entries,
        truncated: truncated.into_iter().map(str::to_owned).collect(),
    })
}
