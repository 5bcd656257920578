//! Hears what the domains have published and lets the kernel, or a saga, react: runs that wait for an approval go on,
//! violations, breaches and open breakers get their incidents, exports get their parts, parked sagas are told to people, what runs
//! teach becomes lessons. At least once, and harmless when twice: every reaction has a key of its own.

use std::{sync::Arc, time::Duration};

use contracts_common::common::v1::EventEnvelope;
use contracts_controls::v1::{BreakerClosed, BreakerOpened, LimitBreached, SignalRaised};
use contracts_logs::v1::{ContractParked, ExportCompleted, ExportOrdered, ReplayFinished, TraceSealed};
use contracts_policies::v1::{ApprovalResolved, ViolationReported};
use prost::Message;
use runspine_errors::{Fault, Kind, Outcome};
use runspine_rpc::{Context, micros};
use runspine_types::Micros;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::outbox::Outboxes;
use crate::{bridges::Targets, kernel::Kernel, metrics, reasons};

/// Calls of this worker beside those of the reconciler.
pub const CALLS: &[&str] = &[
    "runspine.policies.v1.EventService/PullEvents",
    "runspine.policies.v1.EventService/AckEvents",
    "runspine.logs.v1.EventService/PullEvents",
    "runspine.logs.v1.EventService/AckEvents",
    "runspine.controls.v1.EventService/PullEvents",
    "runspine.controls.v1.EventService/AckEvents",
    "runspine.controls.v1.SignalService/LinkBreachIncident",
    "runspine.policies.v1.LessonService/EmitLesson",
    "runspine.incidents.v1.IncidentService/GetIncident",
    "runspine.incidents.v1.IncidentService/ResolveIncident",
];

/// The name under which the outboxes keep this worker's place.
const CONSUMER: &str = "spine.reactor";

/// The domains whose events it reacts to.
const LANES: [&str; 3] = ["policies", "logs", "controls"];

const BATCH: u32 = 100;
const POLL: Duration = Duration::from_millis(100);
const RETRY: Duration = Duration::from_millis(500);
/// What one event may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// The worker of one replica.
pub struct Reactor {
    kernel: Arc<Kernel>,
    context: Context,
    outboxes: Outboxes,
}

impl Reactor {
    /// A worker that acts under `context`, its own.
    #[must_use]
    pub fn new(kernel: Arc<Kernel>, context: Context, to: &Targets) -> Self {
        Self { kernel, context, outboxes: Outboxes::new(to, CONSUMER) }
    }

    /// Works until `stop`; each domain's events at their own pace.
    pub async fn run(self, stop: CancellationToken) {
        let lanes = LANES.map(|domain| self.lane(domain, &stop));
        futures::future::join_all(lanes).await;
    }

    async fn lane(&self, domain: &str, stop: &CancellationToken) {
        while !stop.is_cancelled() {
            let wait = match self.pass(domain).await {
                Ok(0) => POLL,
                Ok(_) => continue,
                Err(fault) => {
                    tracing::warn!(domain, %fault, "events wait for their reaction");
                    RETRY
                }
            };
            tokio::select! {
                () = stop.cancelled() => return,
                () = sleep(wait) => {}
            }
        }
    }

    async fn pass(&self, domain: &str) -> Outcome<usize> {
        let unavailable = |miss: crate::bridges::Miss| miss.into_fault(&reasons::DECISION_UNAVAILABLE);
        let events = self.outboxes.pull(&self.context, domain, BATCH).await.map_err(unavailable)?;
        let Some(last) = events.last().map(|e| e.sequence) else { return Ok(0) };
        for event in &events {
            self.take(event).await?;
        }
        self.outboxes.ack(&self.context, domain, last).await.map_err(unavailable)?;
        Ok(events.len())
    }

    /// What can't be done now is tried again; what is refused for good is told and left.
    async fn take(&self, event: &EventEnvelope) -> Outcome<()> {
        let context = self
            .context
            .with(|call| {
                event.tenant_id.clone_into(&mut call.tenant_id);
                event.run_id.clone_into(&mut call.run_id);
                event.correlation_id.clone_into(&mut call.correlation_id);
                event.id.clone_into(&mut call.causation_id);
            })
            .until(Some(Instant::now() + PATIENCE));
        match self.react(&context, event).await {
            Err(fault) if is_outage(&fault) => Err(fault),
            Err(fault) => {
                tracing::error!(event_id = event.id, kind = event.r#type, %fault, "an event has no reaction");
                Ok(())
            }
            Ok(()) => Ok(()),
        }
    }

    async fn react(&self, context: &Context, event: &EventEnvelope) -> Outcome<()> {
        let data = event.data.clone();
        let reaction = match event.r#type.as_str() {
            "policies.ApprovalResolved" => {
                let approval = ApprovalResolved::decode(data).map_err(unreadable)?.approval;
                self.kernel.approval_resolved(context, &approval.unwrap_or_default()).await?;
                "APPROVAL"
            }
            "policies.ViolationReported" => {
                let violation = ViolationReported::decode(data).map_err(unreadable)?.violation;
                // What is promised and open is driven by the reconciler: nobody behind this event waits for it.
                self.kernel.violation_reported(context, &violation.unwrap_or_default()).await?;
                "VIOLATION"
            }
            "logs.ExportOrdered" => {
                let order = ExportOrdered::decode(data).map_err(unreadable)?;
                self.kernel.export_ordered(context, &order).await?;
                "EXPORT"
            }
            "logs.ExportCompleted" => {
                let made = ExportCompleted::decode(data).map_err(unreadable)?;
                if made.incident_export_id.is_empty() {
                    return Ok(());
                }
                // An export that failed is found by the reconciler; this one need not wait for it.
                self.kernel.incident_export_made(context, &made.incident_export_id).await?;
                "EXPORT"
            }
            "logs.ContractParked" => {
                let parked = ContractParked::decode(data).map_err(unreadable)?;
                let at = event.time.as_ref().map_or(Micros(0), micros);
                self.kernel.contract_parked(context, &parked, (&event.id, at)).await?;
                "PARKED"
            }
            "logs.TraceSealed" => {
                let sealed = TraceSealed::decode(data).map_err(unreadable)?;
                if !self.kernel.attempt_sealed(context, &event.run_id, sealed.attempt).await? {
                    return Ok(());
                }
                "LESSON"
            }
            "logs.ReplayFinished" => {
                let result = ReplayFinished::decode(data).map_err(unreadable)?.result();
                let word = result.as_str_name().trim_start_matches("REPLAY_RESULT_");
                metrics::REPLAYS.increment(&[("result", word)]);
                "REPLAY"
            }
            "controls.SignalRaised" => {
                let signal = SignalRaised::decode(data).map_err(unreadable)?.signal;
                if !self.kernel.signal_raised(context, &signal.unwrap_or_default()).await? {
                    return Ok(());
                }
                "LESSON"
            }
            "controls.LimitBreached" => {
                let breach = LimitBreached::decode(data).map_err(unreadable)?.breach;
                if !self.kernel.limit_breached(context, &breach.unwrap_or_default()).await? {
                    return Ok(());
                }
                "LIMIT_BREACH"
            }
            "controls.BreakerOpened" => {
                let breaker = BreakerOpened::decode(data).map_err(unreadable)?.breaker;
                self.kernel.breaker_opened(context, &breaker.unwrap_or_default()).await?;
                "BREAKER"
            }
            "controls.BreakerClosed" => {
                let closed = BreakerClosed::decode(data).map_err(unreadable)?;
                self.kernel.breaker_closed(context, &closed).await?;
                "BREAKER"
            }
            _ => return Ok(()),
        };
        metrics::REACTIONS.increment(&[("reaction", reaction)]);
        Ok(())
    }
}

fn unreadable(error: prost::DecodeError) -> Fault {
    Fault::new(&runspine_errors::mesh::FIELD_INVALID, "the event can't be read").caused_by(error)
}

fn is_outage(fault: &Fault) -> bool {
    matches!(
        fault.reason().kind,
        Kind::Unavailable | Kind::Deadline | Kind::Aborted | Kind::Exhausted | Kind::Internal
    )
}
