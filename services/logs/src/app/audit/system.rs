//! System records: what the mesh itself did.

use contracts_logs::v1::{AppendSystemRecordResponse, SystemEventType, SystemRecord, SystemSeverity};
use prost::Message as _;
use runspine_db::Tx;
use runspine_errors::{Fault, mesh};
use runspine_logs_domain::bytes::timestamp;
use runspine_types::{Digest, Micros, new_id};

use super::Audit;
use crate::store::system;

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
        let first = SystemRecord::decode(first)
            .map_err(|error| Fault::new(&mesh::INTERNAL, "a system record can't be read").caused_by(error))?;
        return Ok(answer(&first));
    }
    if record.event_type() == SystemEventType::Startup && began_before(tx, &record).await? {
        record.set_event_type(SystemEventType::Restart);
        record.severity = record.severity.max(SystemSeverity::Warn.into());
    }
    record.id = new_id();
    record.recorded_at = Some(timestamp(now));
    system::insert(tx, (&request_id, request_digest), &record, (occurred_at, now)).await?;
    Ok(answer(&record))
}

/// Whether an instance that begins had begun and never ended.
async fn began_before(tx: &mut Tx, record: &SystemRecord) -> Result<bool, Fault> {
    use SystemEventType::{Restart, Shutdown, Startup};
    let life = [Startup, Restart, Shutdown].map(i32::from);
    let of = (record.component, record.instance.as_str());
    let last = system::last_of(tx, &record.tenant_id, of, life).await?;
    Ok(last.is_some_and(|last| last != i32::from(Shutdown)))
}

fn answer(record: &SystemRecord) -> AppendSystemRecordResponse {
    AppendSystemRecordResponse { id: record.id.clone(), event_type: record.event_type }
}
