//! The lives of the mesh's instances on the system records: the spine's own, and what the outboxes tell of the domains.

use std::{sync::Arc, time::Duration};

use contracts_common::common::v1::{EventEnvelope, InstanceChange, InstanceEvent};
use contracts_logs::v1::{
    AppendSystemRecordRequest, SystemCause, SystemComponent, SystemEventType, SystemRecord, SystemSeverity,
};
use prost::{DecodeError, Message as _};
use runspine_rpc::{Context, timestamp};
use runspine_types::{Clock, Instance, new_id};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use crate::bridges::LogsSystemBridge;

/// The call that it makes.
pub const CALLS: &[&str] = &["runspine.logs.v1.RecordService/AppendSystemRecord"];

const RETRY: Duration = Duration::from_millis(500);
/// What one try may take.
const PATIENCE: Duration = Duration::from_secs(2);

/// Tells of the spine's own instance until `stop`: that it began as soon as logs answers, that it ended if logs still
/// does.
pub async fn tell(
    logs: LogsSystemBridge,
    context: Context,
    clock: Arc<dyn Clock>,
    instance: Instance,
    stop: CancellationToken,
) {
    let said = |event_type: SystemEventType| AppendSystemRecordRequest {
        record: Some(SystemRecord {
            version: instance.version.to_owned(),
            config_digest: instance.config_digest.to_vec().into(),
            occurred_at: Some(timestamp(clock.now())),
            ..record(SystemComponent::Spine, event_type, &instance.name)
        }),
        request_id: new_id(),
    };
    let began = said(SystemEventType::Startup);
    while let Err(miss) = logs.append(&soon(&context), began.clone()).await {
        tracing::debug!(?miss, "the beginning is not recorded yet");
        tokio::select! {
            () = stop.cancelled() => return,
            () = sleep(RETRY) => {}
        }
    }
    stop.cancelled().await;
    if let Err(miss) = logs.append(&soon(&context), said(SystemEventType::Shutdown)).await {
        tracing::warn!(?miss, "the end could not be recorded");
    }
}

fn soon(context: &Context) -> Context {
    context.until(Some(Instant::now() + PATIENCE))
}

fn record(component: SystemComponent, event_type: SystemEventType, instance: &str) -> SystemRecord {
    SystemRecord {
        component: component.into(),
        event_type: event_type.into(),
        severity: SystemSeverity::Info.into(),
        caused_by: SystemCause::System.into(),
        instance: instance.to_owned(),
        ..SystemRecord::default()
    }
}

/// What an event tells of the life of an instance, as its record; `None`: it is about something else, or says nothing
/// that is known.
pub fn heard(event: &EventEnvelope) -> Option<AppendSystemRecordRequest> {
    let data = event.data.clone();
    let (component, decoded) = match event.r#type.as_str() {
        "activity.InstanceChanged" => (
            SystemComponent::Activity,
            contracts_activity::v1::InstanceChanged::decode(data).map(|e| e.event),
        ),
        "incidents.InstanceChanged" => (
            SystemComponent::Incidents,
            contracts_incidents::v1::InstanceChanged::decode(data).map(|e| e.event),
        ),
        "policies.InstanceChanged" => (
            SystemComponent::Policies,
            contracts_policies::v1::InstanceChanged::decode(data).map(|e| e.event),
        ),
        "controls.InstanceChanged" => (
            SystemComponent::Controls,
            contracts_controls::v1::InstanceChanged::decode(data).map(|e| e.event),
        ),
        _ => return None,
    };
    let told = understood(event, decoded)?;
    let event_type = match told.change() {
        InstanceChange::Startup => SystemEventType::Startup,
        InstanceChange::Shutdown => SystemEventType::Shutdown,
        InstanceChange::Migration => SystemEventType::Migration,
        InstanceChange::Unspecified => return None,
    };
    Some(AppendSystemRecordRequest {
        record: Some(SystemRecord {
            version: told.version,
            config_digest: told.config_digest,
            summary: told.summary,
            occurred_at: event.time,
            ..record(component, event_type, &told.instance)
        }),
        request_id: event.id.clone(),
    })
}

fn understood(
    event: &EventEnvelope,
    decoded: Result<Option<InstanceEvent>, DecodeError>,
) -> Option<InstanceEvent> {
    decoded.unwrap_or_else(|error| {
        tracing::error!(event_id = event.id, %error, "the event can't be read");
        None
    })
}
