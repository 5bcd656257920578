//! Tells when this instance began to serve, and when it ended as it should. Whoever finds a beginning behind a beginning
//! knows that it was killed.

use std::sync::Arc;

use contracts_logs::v1::{SystemCause, SystemComponent, SystemEventType, SystemRecord, SystemSeverity};
use prost::Message as _;
use runspine_boot::CancellationToken;
use runspine_logs_domain::bytes::timestamp;
use runspine_types::{Digest, PLATFORM_TENANT, hash, new_id};

use crate::app::audit::{Audit, system::Told};

/// Tells of the instance until `stop`.
pub async fn tell_of_life(audit: Arc<Audit>, config_digest: Digest, stop: CancellationToken) {
    tell(&audit, SystemEventType::Startup, config_digest).await;
    stop.cancelled().await;
    tell(&audit, SystemEventType::Shutdown, config_digest).await;
}

async fn tell(audit: &Audit, event_type: SystemEventType, config_digest: Digest) {
    let occurred_at = audit.clock.now();
    let record = SystemRecord {
        tenant_id: PLATFORM_TENANT.to_owned(),
        component: SystemComponent::Logs.into(),
        event_type: event_type.into(),
        severity: SystemSeverity::Info.into(),
        caused_by: SystemCause::System.into(),
        instance: instance(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        config_digest: config_digest.to_vec().into(),
        occurred_at: Some(timestamp(occurred_at)),
        ..SystemRecord::default()
    };
    let request_digest = hash(&record.encode_to_vec());
    let told = Told { record, occurred_at, request_id: new_id(), request_digest };
    if let Err(fault) = audit.append_system(told).await {
        tracing::warn!(%fault, ?event_type, "what the instance did could not be recorded");
    }
}

/// The name of the machine or container, which outlives a restart.
fn instance() -> String {
    let named = std::env::var("HOSTNAME").ok().filter(|name| !name.is_empty());
    let known = || std::fs::read_to_string("/etc/hostname").ok().map(|name| name.trim().to_owned());
    named.or_else(known).filter(|name| !name.is_empty()).unwrap_or_else(|| "localhost".to_owned())
}
