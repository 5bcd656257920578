//! A breaker that opens is an incident, and its end is the incident's. The outbox of controls is the journal: an event is
//! heard until it was reacted to, and both reactions have keys of their own.

use contracts_controls::v1::{Breaker, BreakerCause, BreakerClosed, BreakerSeverity};
use contracts_incidents::v1::{
    Category, GetIncidentRequest, IncidentSource, IncidentStatus, ReportIncidentRequest, ResolutionMethod,
    ResolutionType, ResolveIncidentRequest, Severity, TriggerType,
};
use runspine_errors::{Fault, Outcome};
use runspine_rpc::Context;
use runspine_types::{Hasher, derived_id};

use crate::{bridges::Miss, kernel::Kernel, reasons};

fn unavailable(miss: Miss) -> Fault {
    miss.into_fault(&reasons::RECORD_UNAVAILABLE)
}

/// A cause, and what a person said.
fn said(cause: BreakerCause, reason: &str) -> String {
    let cause = cause.as_str_name().trim_start_matches("BREAKER_CAUSE_");
    format!("{cause} {reason}").trim_end().to_owned()
}

/// What its target's good answers closed may open again soon, and is the same incident then.
fn method(cause: BreakerCause) -> ResolutionMethod {
    if cause == BreakerCause::Order { ResolutionMethod::Manual } else { ResolutionMethod::Auto }
}

/// Names an opening: reported again it is the same occurrence.
fn fact(breaker: &Breaker) -> String {
    format!("breaker/{}/{}", breaker.breaker_id, breaker.openings)
}

fn report(breaker: &Breaker) -> ReportIncidentRequest {
    let target = format!("{} {}", breaker.target_type().as_str_name(), breaker.target_id);
    let target = target.trim_start_matches("BREAKER_TARGET_");
    let severity = match breaker.severity() {
        BreakerSeverity::P1 => Severity::High,
        _ => Severity::Medium,
    };
    ReportIncidentRequest {
        source: IncidentSource::System.into(),
        trigger_type: TriggerType::System.into(),
        category: Category::System.into(),
        cause_code: "BREAKER_OPEN".to_owned(),
        severity: severity.into(),
        title: clipped(&format!("The breaker of {target} is open"), 200),
        description: said(breaker.cause(), &breaker.reason),
        // One incident for a breaker, however often it opens again before it closes.
        scope_id: breaker.breaker_id.clone(),
        fact_id: fact(breaker),
        occurred_at: breaker.opened_at,
        ..ReportIncidentRequest::default()
    }
}

fn clipped(text: &str, most: usize) -> String {
    text.chars().take(most).collect()
}

impl Kernel {
    /// A breaker opened: its incident.
    pub(crate) async fn breaker_opened(&self, context: &Context, breaker: &Breaker) -> Outcome<()> {
        let reported = self.bridges.incidents.report(context, report(breaker)).await;
        reported.map(|_| ()).map_err(unavailable)
    }

    /// A breaker closed: the incident of its last opening is resolved, unless somebody was quicker.
    pub(crate) async fn breaker_closed(&self, context: &Context, closed: &BreakerClosed) -> Outcome<()> {
        let breaker = &closed.breaker.clone().unwrap_or_default();
        let known = self.bridges.incidents.report(context, report(breaker)).await.map_err(unavailable)?;
        if known.incident_id.is_empty() {
            return Ok(());
        }
        let get = GetIncidentRequest { incident_id: known.incident_id };
        let incident = self.bridges.incident_ends.get(context, get).await.map_err(unavailable)?.incident;
        let Some(incident) =
            incident.filter(|i| matches!(i.status(), IncidentStatus::Open | IncidentStatus::Acknowledged))
        else {
            return Ok(());
        };
        let seed = format!("{}/{}", fact(breaker), incident.version);
        let resolve = ResolveIncidentRequest {
            incident_id: incident.incident_id,
            expected_version: incident.version,
            resolution_method: method(closed.cause()).into(),
            resolution_type: ResolutionType::Recovered.into(),
            summary: format!("The breaker closed: {}", said(closed.cause(), &closed.reason)),
            request_id: derived_id(Hasher::new("runspine.breaker.v1").sized(seed.as_bytes()).finish()),
        };
        match self.bridges.incident_ends.resolve(context, resolve).await {
            Ok(_) => Ok(()),
            // Somebody changed it meanwhile: the event is heard again, and the incident read again.
            Err(miss) if miss.is("VERSION_MOVED") => {
                Err(Fault::new(&reasons::RECORD_UNAVAILABLE, "the incident was changed meanwhile"))
            }
            Err(miss) => Err(unavailable(miss)),
        }
    }
}
