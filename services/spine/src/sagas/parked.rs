//! What becomes of a saga that nobody can drive any more: it is shown, and it is an incident of the mesh. A person clears
//! the cause and unparks the contract; the reconciler then goes on where it was.

use contracts_incidents::v1::{Category, IncidentSource, ReportIncidentRequest, Severity, TriggerType};
use contracts_logs::v1::ContractParked;
use runspine_errors::Outcome;
use runspine_rpc::{Context, timestamp};
use runspine_types::Micros;

use crate::{kernel::Kernel, reasons};

impl Kernel {
    /// A contract was parked by `event_id`: an incident, once for each time.
    pub(crate) async fn contract_parked(
        &self,
        context: &Context,
        parked: &ContractParked,
        (event_id, at): (&str, Micros),
    ) -> Outcome<()> {
        let key = parked.key.clone().unwrap_or_default();
        let of_run = matches!(key.saga.as_str(), "run" | "retry");
        let report = ReportIncidentRequest {
            source: IncidentSource::System.into(),
            trigger_type: TriggerType::System.into(),
            category: Category::System.into(),
            cause_code: "SAGA_PARKED".to_owned(),
            severity: Severity::High.into(),
            title: format!("The saga {} waits for a person", key.saga),
            description: format!("{}/{}/{}: {}", key.saga, key.subject_id, key.attempt, parked.reason),
            run_id: if of_run { key.subject_id.clone() } else { String::new() },
            attempt: if of_run { key.attempt } else { 0 },
            fact_id: format!("parked/{event_id}"),
            occurred_at: Some(timestamp(at)),
            ..ReportIncidentRequest::default()
        };
        let reported = self.bridges.incidents.report(context, report).await;
        reported.map(|_| ()).map_err(|miss| miss.into_fault(&reasons::RECORD_UNAVAILABLE))
    }
}
