//! How providers, models and tools were found to work, on its way to their breakers, and how steps of agents ended, on
//! its way to their guardrail. Equal outcomes of a target that follow each other are one report: a busy provider costs a
//! handful of reports a second, not one a step.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use contracts_common::common::v1::{ErrorClass, OutcomeCategory, StepKind, StepOutcome};
use contracts_controls::v1::{BreakerResult, BreakerTarget};
use contracts_spine::v1::RecordStepRequest;
use runspine_types::new_id;
use tokio::sync::Notify;

use super::report::{Standing, kind};

/// Uses that one report speaks of, at most.
const MOST_SAMPLES: usize = 64;
/// Targets whose reports may wait; beyond it uses are not noted: their breakers hear of the next ones.
const MOST_TARGETS: usize = 10_000;

/// How long steps that succeeded wait for others of their agent: a healthy one costs a report a second.
const SUCCESS_WAITS: Duration = Duration::from_secs(1);

/// Uses of one target that went the same way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Waiting {
    /// Id of the report.
    pub(crate) id: String,
    pub(crate) tenant_id: String,
    pub(crate) target: BreakerTarget,
    pub(crate) target_id: String,
    pub(crate) result: BreakerResult,
    /// Who made them: `run/attempt/step`.
    pub(crate) holders: Vec<String>,
}

type Target = (String, i32, String);

/// Steps of one agent that ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ended {
    /// Id of the report.
    pub(crate) id: String,
    pub(crate) tenant_id: String,
    pub(crate) agent_id: String,
    pub(crate) steps: u32,
    pub(crate) failed: u32,
    since: Instant,
}

/// The uses of this replica that were not reported yet.
#[derive(Debug, Default)]
pub(crate) struct Uses {
    waiting: Mutex<HashMap<Target, Vec<Waiting>>>,
    ended: Mutex<HashMap<(String, String), Ended>>,
    rang: Notify,
}

impl Uses {
    /// Notes how a step that was allowed found its target. What no decision allowed moves no breaker.
    pub(super) fn note(&self, tenant: &str, report: &RecordStepRequest, standing: &Standing) {
        let Some(step) = standing.step.as_ref().filter(|_| !standing.unauthorized) else { return };
        let Some(result) = result(report) else { return };
        let holder = format!("{}/{}/{}", report.run_id, report.attempt, report.step_index);
        let stated =
            |said: &str, asked: &str| if said.is_empty() { asked.to_owned() } else { said.to_owned() };
        let of_model = kind(report, standing) == StepKind::LlmCall;
        let provider = if of_model { stated(&report.provider, &step.calls.provider) } else { String::new() };
        let model = if of_model { stated(&report.model, &step.calls.model) } else { String::new() };
        let targets = [
            (BreakerTarget::Provider, provider),
            (BreakerTarget::Model, model),
            (BreakerTarget::Tool, step.calls.tool.clone()),
        ];
        for (target, id) in targets.into_iter().filter(|(_, id)| !id.is_empty()) {
            self.add(tenant, target, id, result, &holder);
        }
    }

    /// Notes how a step of an agent ended. What no decision allowed counts for nothing, and neither does what is only
    /// observed: its guardrail orders a freeze.
    pub(super) fn note_end(
        &self,
        tenant: &str,
        agent: &str,
        report: &RecordStepRequest,
        standing: &Standing,
    ) {
        let failed = match report.outcome() {
            StepOutcome::Success => 0,
            StepOutcome::Failure => 1,
            _ => return,
        };
        if standing.unauthorized || agent.is_empty() {
            return;
        }
        let mut ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (tenant.to_owned(), agent.to_owned());
        if ended.len() >= MOST_TARGETS && !ended.contains_key(&key) {
            return;
        }
        let of_agent = ended.entry(key).or_insert_with(|| Ended {
            id: new_id(),
            tenant_id: tenant.to_owned(),
            agent_id: agent.to_owned(),
            steps: 0,
            failed: 0,
            since: Instant::now(),
        });
        of_agent.steps = of_agent.steps.saturating_add(1);
        of_agent.failed = of_agent.failed.saturating_add(failed);
        drop(ended);
        self.rang.notify_one();
    }

    /// Takes what agents' steps came to: failures at once, what only succeeded when it has waited.
    pub(crate) fn take_ended(&self) -> Vec<Ended> {
        let mut ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        let due = ended.extract_if(|_, one| one.failed > 0 || one.since.elapsed() >= SUCCESS_WAITS);
        due.map(|(_, one)| one).collect()
    }

    fn add(&self, tenant: &str, target: BreakerTarget, id: String, result: BreakerResult, holder: &str) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (tenant.to_owned(), i32::from(target), id.clone());
        if waiting.len() >= MOST_TARGETS && !waiting.contains_key(&key) {
            return;
        }
        let reports = waiting.entry(key).or_default();
        match reports.last_mut() {
            Some(last) if last.result == result && last.holders.len() < MOST_SAMPLES => {
                last.holders.push(holder.to_owned());
            }
            _ => reports.push(Waiting {
                id: new_id(),
                tenant_id: tenant.to_owned(),
                target,
                target_id: id,
                result,
                holders: vec![holder.to_owned()],
            }),
        }
        drop(waiting);
        self.rang.notify_one();
    }

    /// Waits until something is noted.
    pub(crate) async fn noted(&self) {
        self.rang.notified().await;
    }

    /// Takes what waits: of each target in the order in which it was noted.
    pub(crate) fn take(&self) -> Vec<Vec<Waiting>> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut *waiting).into_values().collect()
    }
}

/// What an outcome says of the target; none: nothing. An error of the tool's own shows that the tool answers.
fn result(report: &RecordStepRequest) -> Option<BreakerResult> {
    match (report.outcome(), report.outcome_category()) {
        (StepOutcome::Success, _) => Some(BreakerResult::Good),
        (StepOutcome::Skipped | StepOutcome::Unspecified, _) => None,
        (_, OutcomeCategory::Timeout | OutcomeCategory::Provider) => Some(BreakerResult::Bad),
        (_, OutcomeCategory::Tool) if report.error_class() == ErrorClass::Transient => {
            Some(BreakerResult::Bad)
        }
        (StepOutcome::Failure, OutcomeCategory::Tool) => Some(BreakerResult::Good),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::session::{Calls, Step};

    fn standing(kind: StepKind) -> Standing {
        let calls = Calls { provider: "acme".into(), model: "large".into(), tool: "search".into() };
        Standing {
            step: Some(Step { decision_id: "d".into(), kind, calls, ..Step::default() }),
            ..Standing::default()
        }
    }

    fn report(outcome: StepOutcome, category: OutcomeCategory, class: ErrorClass) -> RecordStepRequest {
        RecordStepRequest {
            run_id: "r".into(),
            attempt: 1,
            outcome: outcome.into(),
            outcome_category: category.into(),
            error_class: class.into(),
            ..RecordStepRequest::default()
        }
    }

    fn good() -> RecordStepRequest {
        report(StepOutcome::Success, OutcomeCategory::Unspecified, ErrorClass::Unspecified)
    }

    #[test]
    fn what_an_outcome_says_of_its_target() {
        use BreakerResult::{Bad, Good};
        use OutcomeCategory::{Execution, Policy, Provider, Timeout, Tool};
        use StepOutcome::{Ambiguous, Failure, Retried, Skipped, Success};
        let rows = [
            (Success, Execution, ErrorClass::Unspecified, Some(Good)),
            (Failure, Provider, ErrorClass::Permanent, Some(Bad)),
            (Retried, Timeout, ErrorClass::Transient, Some(Bad)),
            (Ambiguous, Timeout, ErrorClass::Unspecified, Some(Bad)),
            (Failure, Tool, ErrorClass::Transient, Some(Bad)),
            (Failure, Tool, ErrorClass::Permanent, Some(Good)),
            (Failure, Execution, ErrorClass::Unknown, None),
            (Failure, Policy, ErrorClass::PolicyViolation, None),
            (Skipped, Timeout, ErrorClass::Transient, None),
        ];
        for (outcome, category, class, expected) in rows {
            assert_eq!(
                result(&report(outcome, category, class)),
                expected,
                "{outcome:?} {category:?} {class:?}"
            );
        }
    }

    #[test]
    fn equal_outcomes_are_one_report_and_their_order_stays() {
        let uses = Uses::default();
        let bad = report(StepOutcome::Failure, OutcomeCategory::Timeout, ErrorClass::Transient);
        for said in [&good(), &good(), &bad, &good()] {
            uses.note("t", said, &standing(StepKind::ToolCall));
        }
        let taken = uses.take();
        assert_eq!(taken.len(), 1, "a tool has no provider");
        let told: Vec<_> = taken[0].iter().map(|w| (w.target, w.result, w.holders.len())).collect();
        let tool = BreakerTarget::Tool;
        assert_eq!(
            told,
            [(tool, BreakerResult::Good, 2), (tool, BreakerResult::Bad, 1), (tool, BreakerResult::Good, 1)]
        );
        assert!(uses.take().is_empty());
        (0..65).for_each(|_| uses.note("t", &good(), &standing(StepKind::LlmCall)));
        let mut sizes: Vec<usize> = uses.take().into_iter().flatten().map(|w| w.holders.len()).collect();
        sizes.sort_unstable();
        assert_eq!(sizes, [1, 1, 1, 64, 64, 64], "provider, model and tool, 64 uses a report");
    }

    #[test]
    fn failures_of_an_agent_are_told_at_once_and_successes_with_them() {
        let uses = Uses::default();
        let fine = standing(StepKind::ToolCall);
        let bad = report(StepOutcome::Failure, OutcomeCategory::Execution, ErrorClass::Unknown);
        (0..3).for_each(|_| uses.note_end("t", "a", &good(), &fine));
        assert!(uses.take_ended().is_empty(), "what succeeded waits");
        uses.note_end("t", "a", &bad, &fine);
        uses.note_end("t", "a", &bad, &Standing { unauthorized: true, ..standing(StepKind::ToolCall) });
        let skipped = report(StepOutcome::Skipped, OutcomeCategory::Execution, ErrorClass::Unspecified);
        uses.note_end("t", "a", &skipped, &fine);
        uses.note_end("t", "", &bad, &fine);
        let taken: Vec<_> = uses.take_ended().into_iter().map(|e| (e.agent_id, e.steps, e.failed)).collect();
        assert_eq!(taken, [("a".to_owned(), 4, 1)]);
        assert!(uses.take_ended().is_empty());
    }

    #[test]
    fn what_no_decision_allowed_moves_no_breaker() {
        let uses = Uses::default();
        uses.note("t", &good(), &Standing { unauthorized: true, ..standing(StepKind::LlmCall) });
        uses.note("t", &good(), &Standing::default());
        assert!(uses.take().is_empty());
    }
}
