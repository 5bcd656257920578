//! What runs teach without anybody saying so: a signal near its limit, an attempt that failed, one that succeeded well
//! within its means. Told to policies, which decides whether it is a lesson. A lesson is known by what it was seen in,
//! so whoever hears of that twice makes one; and none of it ever touches the run.

use contracts_common::common::v1::RunStatus;
use contracts_controls::v1::{LimitUnit, Signal};
use contracts_incidents::v1::ListRunIncidentsRequest;
use contracts_policies::v1::{EmitLessonRequest, LessonSource, LessonType, Severity};
use runspine_errors::{Kind, Outcome};
use runspine_rpc::{Context, micros};
use runspine_types::new_id;

use super::{Kernel, charter_of, lessons::of_run, state::Attempt};
use crate::{reasons, sagas::completion::first_intent};

/// Per mille of a limit from which on a signal is near it, and at which it is a breach.
const NEAR: std::ops::Range<u32> = 850..1_000;
/// A success that took longer is none to learn from, milliseconds.
const QUICK_MS: i64 = 5_000;
/// The kind of success that the kernel knows by itself.
const COST_EFFICIENCY: &str = "cost_efficiency";

impl Kernel {
    /// A limit came near: whether that was told.
    ///
    /// # Errors
    /// An outage: it is to be told again.
    pub async fn signal_raised(&self, context: &Context, signal: &Signal) -> Outcome<bool> {
        if !NEAR.contains(&signal.proximity_permille) {
            return Ok(false);
        }
        let run = match signal.run_id.as_str() {
            "" => None,
            run_id => Some(self.attempt(context, run_id, signal.attempt).await?),
        };
        let seen = EmitLessonRequest {
            request_id: new_id(),
            r#type: LessonType::NearThreshold.into(),
            metric: metric(signal),
            scope_id: signal.source.clone(),
            utilization_permille: signal.proximity_permille,
            threshold: signal.limit_value,
            current: signal.current,
            source_event_id: signal.signal_id.clone(),
            ..of_run(run.as_ref(), false)
        };
        self.emit(context, EmitLessonRequest { source: LessonSource::Signal.into(), ..seen }).await?;
        Ok(true)
    }

    /// An attempt is sealed: whether it taught something.
    ///
    /// # Errors
    /// An outage: it is to be told again.
    pub async fn attempt_sealed(&self, context: &Context, run_id: &str, attempt: u32) -> Outcome<bool> {
        let run = match self.attempt(context, run_id, attempt).await {
            Ok(run) => run,
            // A trace that the mesh was told of without a run teaches nothing.
            Err(fault) if fault.reason().kind == Kind::NotFound => return Ok(false),
            Err(fault) => return Err(fault),
        };
        let seen = match run.status() {
            RunStatus::Failed | RunStatus::FailedPolicy | RunStatus::Retry => {
                Some(self.failure(context, &run).await?)
            }
            RunStatus::Succeeded => self.success(context, &run).await?,
            _ => None,
        };
        let Some(seen) = seen else { return Ok(false) };
        self.emit(context, seen).await?;
        Ok(true)
    }

    /// How bad it was says its incident; without one it is not known.
    async fn failure(&self, context: &Context, run: &Attempt) -> Outcome<EmitLessonRequest> {
        let state = &run.state;
        let incident_id = state.incident_result.as_ref().map(|r| r.id.as_str()).unwrap_or_default();
        let list = ListRunIncidentsRequest { run_id: state.run_id.clone() };
        let found = self.bridges.incidents.for_run(context, list).await;
        let found = found.map_err(|miss| miss.into_fault(&reasons::RECORD_UNAVAILABLE))?;
        let severity = found.incidents.iter().find(|i| i.incident_id == incident_id).map(|i| i.severity());
        let severity = severity.and_then(|s| Severity::from_str_name(s.as_str_name())).unwrap_or_default();
        Ok(EmitLessonRequest {
            request_id: new_id(),
            r#type: LessonType::Failure.into(),
            error_code: state.error_code.clone(),
            severity: severity.into(),
            source_event_id: format!("{}/{}", state.run_id, state.attempt),
            ..of_run(Some(run), false)
        })
    }

    /// What a success was worth: what it asked for and what it used stand in its journal.
    async fn success(&self, context: &Context, run: &Attempt) -> Outcome<Option<EmitLessonRequest>> {
        let state = &run.state;
        let times = state.executing_since.as_ref().zip(state.completed_at.as_ref());
        let Some(duration_ms) = times.map(|(from, to)| micros(to).millis_since(micros(from))) else {
            return Ok(None);
        };
        if duration_ms >= QUICK_MS {
            return Ok(None);
        }
        let contract = self.contract(context, &state.run_id, state.attempt).await?;
        let budget = charter_of(&contract).and_then(|c| c.requested).map_or(0, |r| r.cost_microusd);
        let Some(intent) = first_intent(&contract).filter(|_| budget > 0) else { return Ok(None) };
        let used = intent.usage.unwrap_or_default().cost_microusd;
        let mut metrics: std::collections::HashMap<String, i64> = [
            ("budget_microusd", budget),
            ("utilization_permille", used.saturating_mul(1_000) / budget),
            ("duration_ms", duration_ms),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .into();
        metrics.extend(intent.reward_permille.map(|reward| ("reward".to_owned(), i64::from(reward))));
        Ok(Some(EmitLessonRequest {
            request_id: new_id(),
            r#type: LessonType::CriticalSuccess.into(),
            success_kind: COST_EFFICIENCY.to_owned(),
            metrics: metrics.into_iter().collect(),
            source_event_id: format!("{}/{}", state.run_id, state.attempt),
            ..of_run(Some(run), false)
        }))
    }
}

/// What is near its limit, in the words that rules are drafted by.
fn metric(signal: &Signal) -> String {
    match signal.unit() {
        LimitUnit::CostMicrousd => "COST",
        LimitUnit::TokensInput | LimitUnit::TokensOutput | LimitUnit::TokensTotal => "TOKENS",
        LimitUnit::TimeMs => "TIME",
        LimitUnit::Steps => "STEPS",
        LimitUnit::Requests => "RATE",
        _ => signal.metric.as_str(),
    }
    .to_owned()
}
