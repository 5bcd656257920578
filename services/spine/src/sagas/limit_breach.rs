//! A breach whose limit asks for it is an incident. As with breakers the outbox of controls is the journal: the event is
//! heard until both the report and the link have keys that say they were done.

use contracts_controls::v1::{
    Breach, BreachType, Consequence, LimitCategory, LimitUnit, LinkBreachIncidentRequest,
};
use contracts_incidents::v1::{Category, IncidentSource, ReportIncidentRequest, Severity, TriggerType};
use runspine_errors::{Fault, Outcome};
use runspine_rpc::Context;

use crate::{bridges::Miss, kernel::Kernel, reasons};

fn unavailable(miss: Miss) -> Fault {
    miss.into_fault(&reasons::RECORD_UNAVAILABLE)
}

/// Whether the limit asks for an incident. What an override covered is none.
fn is_incident(breach: &Breach) -> bool {
    let asked = matches!(breach.consequence(), Consequence::Incident | Consequence::Abort);
    asked && breach.r#type() != BreachType::Overridden
}

fn report(breach: &Breach) -> ReportIncidentRequest {
    let (trigger_type, category) = match breach.category() {
        LimitCategory::Budget => (TriggerType::BudgetBreach, Category::BudgetExceeded),
        LimitCategory::Rate | LimitCategory::Concurrency => (TriggerType::RateLimit, Category::RateLimit),
        _ => (TriggerType::LimitBreach, Category::ResourceExhaustion),
    };
    let of = if breach.run_id.is_empty() { &breach.scope_id } else { &breach.run_id };
    ReportIncidentRequest {
        source: IncidentSource::Limit.into(),
        trigger_type: trigger_type.into(),
        category: category.into(),
        cause_code: "LIMIT_BREACHED".to_owned(),
        severity: Severity::Medium.into(),
        title: format!("The limit {} was breached", breach.limit_name).chars().take(200).collect(),
        description: said(breach),
        // One incident for a limit and a run, however often it is breached in it.
        scope_id: format!("{}/{of}", breach.limit_id),
        run_id: breach.run_id.clone(),
        attempt: breach.attempt,
        step_index: breach.step_index,
        fact_id: format!("breach/{}", breach.breach_id),
        occurred_at: breach.breached_at,
        ..ReportIncidentRequest::default()
    }
}

fn said(breach: &Breach) -> String {
    let kind = breach.r#type().as_str_name().trim_start_matches("BREACH_TYPE_");
    let unit = LimitUnit::as_str_name(&breach.unit()).trim_start_matches("LIMIT_UNIT_");
    format!("{kind}: {} {unit} of {}, {} is the most", breach.value, breach.scope_id, breach.limit_value)
}

impl Kernel {
    /// A limit was breached: its incident, when it asks for one. False: it does not.
    pub(crate) async fn limit_breached(&self, context: &Context, breach: &Breach) -> Outcome<bool> {
        if !is_incident(breach) {
            return Ok(false);
        }
        let reported = self.bridges.incidents.report(context, report(breach)).await.map_err(unavailable)?;
        if !reported.incident_id.is_empty() {
            let link = LinkBreachIncidentRequest {
                breach_id: breach.breach_id.clone(),
                incident_id: reported.incident_id,
            };
            self.bridges.breakers.link(context, link).await.map_err(unavailable)?;
        }
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn breach(consequence: Consequence, kind: BreachType) -> Breach {
        Breach {
            breach_id: "b".into(),
            limit_id: "l".into(),
            run_id: "r".into(),
            attempt: 1,
            r#type: kind.into(),
            consequence: consequence.into(),
            category: LimitCategory::Budget.into(),
            unit: LimitUnit::CostMicrousd.into(),
            limit_name: "day".into(),
            scope_id: "agent".into(),
            value: 7,
            limit_value: 5,
            ..Breach::default()
        }
    }

    #[test]
    fn a_limit_says_whether_its_breach_is_an_incident() {
        for (consequence, kind, expected) in [
            (Consequence::Alert, BreachType::Violated, false),
            (Consequence::Incident, BreachType::Breached, true),
            (Consequence::Incident, BreachType::Overridden, false),
            (Consequence::Abort, BreachType::Exhausted, true),
        ] {
            assert_eq!(is_incident(&breach(consequence, kind)), expected, "{consequence:?} {kind:?}");
        }
    }

    #[test]
    fn breaches_of_a_limit_in_a_run_are_one_incident() {
        let first = report(&breach(Consequence::Incident, BreachType::Exhausted));
        let second =
            report(&Breach { breach_id: "c".into(), ..breach(Consequence::Incident, BreachType::Violated) });
        assert_eq!((first.scope_id.as_str(), &first.scope_id), ("l/r", &second.scope_id));
        assert_ne!(first.fact_id, second.fact_id);
        assert_eq!(first.description, "EXHAUSTED: 7 COST_MICROUSD of agent, 5 is the most");
        let without = Breach {
            run_id: String::new(),
            attempt: 0,
            ..breach(Consequence::Incident, BreachType::Violated)
        };
        assert_eq!(report(&without).scope_id, "l/agent");
    }
}
