//! What is reported, and the first rows of the decision table: what becomes of it before any incident is looked for.

use runspine_errors::Outcome;
use runspine_types::Micros;

use crate::{
    Category, CauseType, RunStatus, Severity, Source, Termination, Trigger, cause,
    grouping::{self, GroupingKey, OVERFLOW_CAUSE},
    redact,
    suppression::{self, Suppression},
};

/// Characters of an error text that are kept.
pub const MAX_ERROR_TEXT: usize = 1_000;

/// Marks the grouping of synthetic runs, so that no drill hides in a real incident.
const SYNTHETIC_SCOPE: &str = "synthetic";

/// How a run attempt ended, as the spine reports it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunReport {
    /// The run.
    pub run_id: String,
    /// The attempt, from 1.
    pub attempt: u32,
    /// How it ended.
    pub status: RunStatus,
    /// Why it ended.
    pub termination: Termination,
    /// Its own structured code; empty: none.
    pub error_code: String,
    /// Its error text; never searched for codes.
    pub error_message: String,
    /// The agent; empty: unknown.
    pub agent_id: String,
    /// The project; empty: none.
    pub project_id: String,
    /// The step in hand when it turned bad.
    pub step_index: Option<u32>,
    /// The tool in hand; empty: none.
    pub tool_name: String,
    /// What the attempt cost in micro-USD.
    pub cost_microusd: i64,
    /// When it ended.
    pub occurred_at: Micros,
    /// What a learned rule prevented.
    pub suppression: Option<Suppression>,
    /// Whether it was made to test the mesh.
    pub synthetic: bool,
    /// The scenario that made it; empty: none.
    pub synthetic_scenario_id: String,
    /// The rule that blocked the run; empty: none.
    pub violation_policy_id: String,
}

/// What an incident is about, before it exists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subject {
    /// The tenant.
    pub tenant_id: String,
    /// The project; empty: none.
    pub project_id: String,
    /// What opens it.
    pub trigger: Trigger,
    /// Where the report comes from.
    pub source: Source,
    /// What kind of cause.
    pub cause_type: CauseType,
    /// What kind of trouble.
    pub category: Category,
    /// How bad it is.
    pub severity: Severity,
    /// The structured cause.
    pub cause_code: String,
    /// One line for a person.
    pub title: String,
    /// What is known.
    pub description: String,
    /// Redacted error text.
    pub error_message: String,
    /// The agent; empty: none.
    pub agent_id: String,
    /// The rule; empty: none.
    pub rule_id: String,
    /// What the grouping is bounded to; empty: nothing.
    pub scope_id: String,
    /// The tool in hand; empty: none.
    pub tool_name: String,
    /// Whether it was made to test the mesh.
    pub synthetic: bool,
    /// The scenario that made it; empty: none.
    pub synthetic_scenario_id: String,
    /// When a person became aware of it.
    pub aware_at: Option<Micros>,
}

/// One attempt, or one fact without a run, that an incident is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Occurrence {
    /// Its id.
    pub id: String,
    /// The run; empty: none.
    pub run_id: String,
    /// The attempt; 0: none.
    pub attempt: u32,
    /// The structured cause.
    pub cause_code: String,
    /// The fact that reported it; empty: the outcome of the attempt.
    pub fact_id: String,
    /// The step at which it turned bad.
    pub step_index: Option<u32>,
    /// The tool in hand; empty: none.
    pub tool_name: String,
    /// When it happened.
    pub occurred_at: Micros,
    /// When it was reported.
    pub recorded_at: Micros,
    /// What the attempt cost in micro-USD.
    pub cost_microusd: i64,
    /// Whether the hourly cap sent it to the overflow incident.
    pub overflow: bool,
}

/// What becomes of a report before any incident is looked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Road {
    /// The attempt succeeded: no incident.
    NotApplicable,
    /// A prevention record stands in place of an incident.
    Suppressed(Suppression),
    /// An incident takes it.
    Incident,
}

impl RunReport {
    /// The structured cause of an attempt that did not succeed.
    #[must_use]
    pub fn cause_code(&self) -> String {
        cause::of_run(&self.error_code, self.termination)
    }

    /// Rows 3, 4 and the rest of the decision table.
    ///
    /// # Errors
    /// `SUPPRESSION_FORBIDDEN` when a suppression is given for what can't be suppressed.
    pub fn road(&self) -> Outcome<Road> {
        if self.status == RunStatus::Succeeded {
            return Ok(Road::NotApplicable);
        }
        let Some(suppression) = &self.suppression else {
            return Ok(Road::Incident);
        };
        let code = self.cause_code();
        suppression::allow(Trigger::RunFailure, cause::weigh(&code).0, &code)?;
        Ok(Road::Suppressed(suppression.clone()))
    }

    /// What an incident for this attempt is about.
    #[must_use]
    pub fn subject(&self, tenant_id: &str) -> Subject {
        let cause_code = self.cause_code();
        let (severity, category) = cause::weigh(&cause_code);
        let agent = if self.agent_id.is_empty() { "an unnamed agent" } else { &self.agent_id };
        Subject {
            tenant_id: tenant_id.to_owned(),
            project_id: self.project_id.clone(),
            trigger: Trigger::RunFailure,
            source: Source::Run,
            cause_type: cause_type(category),
            category,
            severity,
            title: format!("{cause_code} in runs of {agent}"),
            description: String::new(),
            error_message: redact::text(&self.error_message, MAX_ERROR_TEXT),
            agent_id: self.agent_id.clone(),
            // Runs are grouped over rules: only a violation's own incident is bound to one.
            rule_id: String::new(),
            scope_id: if self.synthetic { SYNTHETIC_SCOPE.to_owned() } else { String::new() },
            tool_name: self.tool_name.clone(),
            synthetic: self.synthetic,
            synthetic_scenario_id: self.synthetic_scenario_id.clone(),
            aware_at: None,
            cause_code,
        }
    }

    /// The occurrence of this attempt.
    #[must_use]
    pub fn occurrence(&self, id: String, now: Micros) -> Occurrence {
        Occurrence {
            id,
            run_id: self.run_id.clone(),
            attempt: self.attempt,
            cause_code: self.cause_code(),
            fact_id: String::new(),
            step_index: self.step_index,
            tool_name: self.tool_name.clone(),
            occurred_at: self.occurred_at,
            recorded_at: now,
            cost_microusd: self.cost_microusd,
            overflow: false,
        }
    }
}

impl Subject {
    /// What makes another report alike.
    #[must_use]
    pub fn grouping_key(&self) -> GroupingKey<'_> {
        // A violation is one of its rule in its run, whoever acted in it.
        let agent_id = if self.trigger == Trigger::PolicyViolation { "" } else { &self.agent_id };
        GroupingKey {
            tenant_id: &self.tenant_id,
            trigger: self.trigger,
            category: self.category,
            cause_code: &self.cause_code,
            agent_id,
            rule_id: &self.rule_id,
            scope_id: &self.scope_id,
        }
    }

    /// What statistics call alike.
    #[must_use]
    pub fn signature(&self) -> String {
        grouping::recurrence_signature(self.category, &self.cause_code, &self.agent_id, &self.tool_name)
    }

    /// Whether it opens an incident however many were opened this hour.
    #[must_use]
    pub fn passes_cap(&self) -> bool {
        self.trigger.passes_cap(self.severity)
    }

    /// The overflow incident of an hour that takes this report's occurrence instead.
    #[must_use]
    pub fn overflow(&self, hour: i64, cap: i64) -> Self {
        Self {
            tenant_id: self.tenant_id.clone(),
            project_id: String::new(),
            trigger: Trigger::Overflow,
            source: Source::System,
            cause_type: CauseType::System,
            category: Category::System,
            severity: Trigger::Overflow.opening_severity(Severity::Low),
            cause_code: OVERFLOW_CAUSE.to_owned(),
            title: grouping::overflow_title(1, cap),
            description: "Each failure has its own occurrence here; the agents are named there.".to_owned(),
            error_message: String::new(),
            agent_id: String::new(),
            rule_id: String::new(),
            scope_id: format!("hour/{hour}"),
            tool_name: String::new(),
            synthetic: false,
            synthetic_scenario_id: String::new(),
            aware_at: None,
        }
    }
}

/// The kind of cause that a failed attempt of this category has.
fn cause_type(category: Category) -> CauseType {
    match category {
        Category::Manual => CauseType::Human,
        Category::System => CauseType::System,
        _ => CauseType::Run,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn report(status: RunStatus, termination: Termination, code: &str, suppressed: bool) -> RunReport {
        let suppression = suppressed.then(|| Suppression {
            rule_id: "r".into(),
            snapshot_digest: runspine_types::Digest::default(),
            prevention_id: "p".into(),
            signature: String::new(),
        });
        RunReport {
            run_id: "run".into(),
            attempt: 1,
            status,
            termination,
            error_code: code.into(),
            error_message: "it said AGENT_CRASH".into(),
            agent_id: "agent-7".into(),
            project_id: String::new(),
            step_index: None,
            tool_name: String::new(),
            cost_microusd: 0,
            occurred_at: Micros(0),
            suppression,
            synthetic: false,
            synthetic_scenario_id: String::new(),
            violation_policy_id: String::new(),
        }
    }

    #[test]
    fn a_message_that_names_a_code_changes_nothing() {
        let subject = report(RunStatus::Failed, Termination::AgentFailure, "", false).subject("t");
        assert_eq!((subject.severity, subject.cause_code.as_str()), (Severity::High, "STEP_FAILURE"));
    }

    #[test]
    fn synthetic_runs_are_grouped_apart() {
        let real = report(RunStatus::Failed, Termination::Timeout, "", false);
        let drill = RunReport { synthetic: true, ..real.clone() };
        assert_ne!(real.subject("t").grouping_key().digest(), drill.subject("t").grouping_key().digest());
    }

    proptest! {
        /// Each attempt maps to exactly one of: nothing on success, a prevention, an incident; or is refused with
        /// SUPPRESSION_FORBIDDEN, and then the same report without suppression is an incident.
        #[test]
        fn each_outcome_takes_exactly_one_road(
            status in proptest::sample::select(RunStatus::ALL),
            termination in proptest::sample::select(Termination::ALL),
            code in proptest::sample::select(cause::CAUSES.iter().map(|c| c.0).chain(["", "OTHER"]).collect::<Vec<_>>()),
            suppressed in any::<bool>(),
        ) {
            let given = report(status, termination, code, suppressed);
            match given.road() {
                Ok(Road::NotApplicable) => prop_assert_eq!(status, RunStatus::Succeeded),
                Ok(Road::Suppressed(_)) => prop_assert!(suppressed && status != RunStatus::Succeeded),
                Ok(Road::Incident) => prop_assert!(!suppressed && status != RunStatus::Succeeded),
                Err(fault) => {
                    prop_assert!(fault.is(&crate::reasons::SUPPRESSION_FORBIDDEN));
                    let without = RunReport { suppression: None, ..given };
                    prop_assert_eq!(without.road().ok(), Some(Road::Incident));
                }
            }
        }
    }
}
