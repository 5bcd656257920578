//! System records: what the mesh itself did.

use bytes::Bytes;
use contracts_logs::v1::{AppendSystemRecordResponse, SystemEventType, SystemRecord, SystemSeverity};
use prost::Message as _;
use runspine_db::Tx;
use runspine_errors::{Fault, mesh};
use runspine_logs_domain::bytes::timestamp;
use runspine_types::{Digest, Hasher, Micros, derived_id, new_id};

use super::Audit;
use crate::store::system;

/// Keys what is concluded from the call that it was concluded from.
const RECONFIGURED: &str = "runspine.reconfigured.v1";

/// What is to be kept.
pub struct Told {
    /// The record, without what the service sets but its tenant.
    pub record: SystemRecord,
    /// When it happened.
    pub occurred_at: Micros,
    /// Key of the call.
    pub request_id: String,
    /// Digest of the call.
    pub request_digest: Digest,
}

impl Audit {
    /// Keeps a record; the same key again gives the first answer.
    ///
    /// # Errors
    /// IDEMPOTENCY_MISMATCH, or when the store can't be written.
    pub async fn append_system(&self, told: Told) -> Result<AppendSystemRecordResponse, Fault> {
        let now = self.clock.now();
        self.db
            .write("append_system_record", move |tx| Box::pin(async move { keep(tx, told, now).await }))
            .await
    }
}

async fn keep(tx: &mut Tx, told: Told, now: Micros) -> Result<AppendSystemRecordResponse, Fault> {
    let Told { mut record, occurred_at, request_id, request_digest } = told;
    if let Some((digest, first)) = system::stored(tx, &record.tenant_id, &request_id).await? {
        if digest != request_digest {
            return Err(Fault::new(&mesh::IDEMPOTENCY_MISMATCH, "the key was used for another record"));
        }
        return Ok(answer(&read(first)?));
    }
    record.recorded_at = Some(timestamp(now));
    if record.event_type() == SystemEventType::Startup
        && let Some(last) = last_of_life(tx, &record).await?
    {
        if last.config_digest != record.config_digest {
            let change = reconfigured(&record);
            let key = derived_id(Hasher::new(RECONFIGURED).sized(request_id.as_bytes()).finish());
            system::insert(tx, (&key, request_digest), &change, (occurred_at, now)).await?;
        }
        if last.event_type() != SystemEventType::Shutdown {
            record.set_event_type(SystemEventType::Restart);
            record.severity = record.severity.max(SystemSeverity::Warn.into());
        }
    }
    record.id = new_id();
    system::insert(tx, (&request_id, request_digest), &record, (occurred_at, now)).await?;
    Ok(answer(&record))
}

/// What was told last of the life of an instance that begins.
async fn last_of_life(tx: &mut Tx, record: &SystemRecord) -> Result<Option<SystemRecord>, Fault> {
    use SystemEventType::{Restart, Shutdown, Startup};
    let life = [Startup, Restart, Shutdown].map(i32::from);
    let of = (record.component, record.instance.as_str());
    let last = system::last_of(tx, &record.tenant_id, of, life).await?;
    last.map(read).transpose()
}

/// The instance that begins runs under other settings than when it was told of last.
fn reconfigured(beginning: &SystemRecord) -> SystemRecord {
    SystemRecord {
        id: new_id(),
        event_type: SystemEventType::ConfigChange.into(),
        summary: String::new(),
        ..beginning.clone()
    }
}

fn read(record: Bytes) -> Result<SystemRecord, Fault> {
    SystemRecord::decode(record)
        .map_err(|error| Fault::new(&mesh::INTERNAL, "a system record can't be read").caused_by(error))
}

fn answer(record: &SystemRecord) -> AppendSystemRecordResponse {
    AppendSystemRecordResponse { id: record.id.clone(), event_type: record.event_type }
}
