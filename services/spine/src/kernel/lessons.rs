//! What a runtime says that its runs teach: passed on to policies, which decides whether it is a lesson.

use contracts_common::common::v1::RunStatus;
use contracts_policies::v1::{
    self as policies, EmitLessonRequest, EmitLessonResponse, EmitResult, LessonSource, LessonType,
};
use contracts_spine::v1::{
    EmitCriticalSuccessLessonRequest, EmitCriticalSuccessLessonResponse, EmitNearThresholdLessonRequest,
    EmitNearThresholdLessonResponse, LessonMetric, LessonResult,
};
use runspine_errors::{Fault, Outcome, mesh};
use runspine_rpc::Context;

use super::{Kernel, refuse::as_callers_fault, state::Attempt, validate};
use crate::reasons;

impl Kernel {
    /// Something came near its limit.
    ///
    /// # Errors
    /// What is wrong with the request, or an outage: nothing is known to be stored then.
    pub async fn emit_near_threshold(
        &self,
        context: &Context,
        r: EmitNearThresholdLessonRequest,
    ) -> Outcome<EmitNearThresholdLessonResponse> {
        let metric = LessonMetric::try_from(r.metric).ok().filter(|m| *m != LessonMetric::Unspecified);
        let Some(metric) = metric else {
            let reason = if r.metric == 0 { &mesh::ENUM_UNSPECIFIED } else { &mesh::ENUM_UNKNOWN };
            return Err(Fault::new(reason, "the metric is not known").field(
                "metric",
                reason.name,
                "a known metric",
            ));
        };
        let run = self.own_run(context, &r.run_id).await?;
        let seen = EmitLessonRequest {
            request_id: r.request_id,
            r#type: LessonType::NearThreshold.into(),
            metric: metric.as_str_name().trim_start_matches("LESSON_METRIC_").to_owned(),
            scope_id: r.scope_id,
            utilization_permille: r.utilization_permille,
            threshold: r.threshold_value,
            current: r.current_value,
            source_event_id: r.source_event_id,
            ..of_run(run.as_ref(), r.is_synthetic)
        };
        let answer = self.emit(context, seen).await?;
        let lesson = answer.lesson.clone().unwrap_or_default();
        let band = lesson.band().as_str_name().trim_start_matches("BAND_");
        Ok(EmitNearThresholdLessonResponse {
            result: result(answer.result()).into(),
            band: if lesson.lesson_id.is_empty() { String::new() } else { band.to_owned() },
            lesson_id: lesson.lesson_id,
        })
    }

    /// A run succeeded well within its means.
    ///
    /// # Errors
    /// As [`Kernel::emit_near_threshold`].
    pub async fn emit_critical_success(
        &self,
        context: &Context,
        r: EmitCriticalSuccessLessonRequest,
    ) -> Outcome<EmitCriticalSuccessLessonResponse> {
        validate::run_id(&r.run_id)?;
        let run = self.own_run(context, &r.run_id).await?;
        if run.as_ref().is_none_or(|run| run.status() != RunStatus::Succeeded) {
            let result = LessonResult::NotEligible.into();
            return Ok(EmitCriticalSuccessLessonResponse { result, lesson_id: String::new() });
        }
        let seen = EmitLessonRequest {
            request_id: r.request_id,
            r#type: LessonType::CriticalSuccess.into(),
            success_kind: r.success_kind,
            metrics: r.metrics,
            source_event_id: r.source_event_id,
            ..of_run(run.as_ref(), r.is_synthetic)
        };
        let answer = self.emit(context, seen).await?;
        let lesson_id = answer.lesson.as_ref().map(|l| l.lesson_id.clone()).unwrap_or_default();
        Ok(EmitCriticalSuccessLessonResponse { result: result(answer.result()).into(), lesson_id })
    }

    /// The run that something is said of, which is the caller's; none: it is said of none.
    async fn own_run(&self, context: &Context, run_id: &str) -> Outcome<Option<Attempt>> {
        if run_id.is_empty() {
            return Ok(None);
        }
        validate::run_id(run_id)?;
        let run = self.attempt(context, run_id, 0).await?;
        Self::require_own(context, &run)?;
        Ok(Some(run))
    }

    pub(super) async fn emit(
        &self,
        context: &Context,
        seen: EmitLessonRequest,
    ) -> Outcome<EmitLessonResponse> {
        let answer = self.bridges.lessons.emit(context, seen).await;
        answer.map_err(|miss| {
            if miss.is_refusal() {
                as_callers_fault(miss)
            } else {
                miss.into_fault(&reasons::DECISION_UNAVAILABLE)
            }
        })
    }
}

pub(super) fn of_run(run: Option<&Attempt>, is_synthetic: bool) -> EmitLessonRequest {
    let attributes = run.map(|r| &r.attributes);
    EmitLessonRequest {
        source: LessonSource::Run.into(),
        run_id: run.map(|r| r.state.run_id.clone()).unwrap_or_default(),
        agent_id: attributes.map(|a| a.agent_id.clone()).unwrap_or_default(),
        is_synthetic: is_synthetic || attributes.is_some_and(|a| a.is_synthetic),
        ..EmitLessonRequest::default()
    }
}

/// What became of it, in the words of the runtime's door.
fn result(told: EmitResult) -> LessonResult {
    match told {
        policies::EmitResult::Created => LessonResult::Created,
        policies::EmitResult::Merged => LessonResult::Merged,
        policies::EmitResult::BelowBand => LessonResult::BelowBand,
        policies::EmitResult::AtLimit => LessonResult::AtLimit,
        policies::EmitResult::NotEligible => LessonResult::NotEligible,
        policies::EmitResult::Unspecified => LessonResult::Unspecified,
    }
}
