//! Tells when this instance began to serve, and when it ended as it should. Whoever finds a beginning behind a beginning
//! knows that it was killed.

use std::sync::Arc;

use contracts_logs::v1::{SystemCause, SystemComponent, SystemEventType, SystemRecord, SystemSeverity};
use prost::Message as _;
use runspine_boot::CancellationToken;
use runspine_logs_domain::bytes::timestamp;
use runspine_types::{Instance, PLATFORM_TENANT, hash, new_id};

use crate::app::audit::{Audit, system::Told};

/// Tells of the instance until `stop`.
pub async fn tell_of_life(audit: Arc<Audit>, instance: Instance, stop: CancellationToken) {
    let steps = audit.db.migrated();
    if let (Some(first), Some(last)) = (steps.first(), steps.last()) {
        tell(&audit, &instance, SystemEventType::Migration, format!("{first} to {last}")).await;
    }
    tell(&audit, &instance, SystemEventType::Startup, String::new()).await;
    stop.cancelled().await;
    tell(&audit, &instance, SystemEventType::Shutdown, String::new()).await;
}

async fn tell(audit: &Audit, instance: &Instance, event_type: SystemEventType, summary: String) {
    let occurred_at = audit.clock.now();
    let record = SystemRecord {
        tenant_id: PLATFORM_TENANT.to_owned(),
        component: SystemComponent::Logs.into(),
        event_type: event_type.into(),
        severity: SystemSeverity::Info.into(),
        caused_by: SystemCause::System.into(),
        instance: instance.name.clone(),
        version: instance.version.to_owned(),
        config_digest: instance.config_digest.to_vec().into(),
        summary,
        occurred_at: Some(timestamp(occurred_at)),
        ..SystemRecord::default()
    };
    let request_digest = hash(&record.encode_to_vec());
    let told = Told { record, occurred_at, request_id: new_id(), request_digest };
    if let Err(fault) = audit.append_system(told).await {
        tracing::warn!(%fault, ?event_type, "what the instance did could not be recorded");
    }
}
