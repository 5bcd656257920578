//! EmitLesson: one commit finds the lesson that an event is counted on, or makes it.

use contracts_policies::v1 as pb;
use runspine_db::Tx;
use runspine_errors::Fault;
use runspine_policies_domain::{
    lesson::{Lesson, Seen},
    words::{Band, EmitResult, EvaluationOutcome, LessonState, LessonType, Severity},
};
use runspine_rpc::timestamp;
use runspine_types::{Micros, new_id};

use super::{kept, lesson, not_found, save, tell_created};
use crate::{
    app::{App, Keyed, Who, metrics},
    store::{
        evaluations,
        lessons::{self, Moved},
    },
};

/// What was seen, with where.
#[derive(Clone)]
pub(crate) struct AskEmit {
    pub seen: Seen,
    pub source: i32,
    pub run_id: String,
    pub is_synthetic: bool,
}

impl App {
    /// Takes what was seen.
    pub(crate) async fn emit_lesson(
        &self,
        who: &Who,
        request: &pb::EmitLessonRequest,
        ask: AskEmit,
    ) -> Result<pb::EmitLessonResponse, Fault> {
        ask.seen.check()?;
        let key = Keyed::by_request_id("policies.EmitLesson", &request.request_id, request);
        let (who_, at) = (who.clone(), self.now());
        let kind = ask.seen.kind;
        let done: pb::EmitLessonResponse =
            self.keyed(who, key, move |tx| Box::pin(async move { emit(tx, &who_, &ask, at).await })).await?;
        metrics::lesson(kind, done.result);
        Ok(done)
    }
}

const fn none(result: EmitResult) -> pb::EmitLessonResponse {
    pb::EmitLessonResponse { result: result.code(), lesson: None }
}

async fn emit(tx: &mut Tx, who: &Who, ask: &AskEmit, at: Micros) -> Result<pb::EmitLessonResponse, Fault> {
    let band = match ask.seen.lesson() {
        Lesson::None(why) => return Ok(none(why)),
        Lesson::Some(band) => band,
    };
    let tenant = who.tenant.as_str();
    if ask.seen.kind == Some(LessonType::CriticalSuccess) && !is_clean(tx, tenant, &ask.run_id).await? {
        return Ok(none(EmitResult::NotEligible));
    }
    let source = ask.seen.source_key(band);
    let (slot, lasts, open_only) = ask.seen.slot(band);
    // The slot is the lock: whoever comes with the same waits here.
    let (in_slot, until) = lessons::take_slot(tx, tenant, &slot).await?;
    if let Some(known) = lessons::of_source(tx, tenant, &source).await? {
        let row = lessons::by_id(tx, tenant, &known).await?.ok_or_else(not_found)?;
        return Ok(pb::EmitLessonResponse { result: EmitResult::Merged.code(), lesson: Some(lesson(&row)?) });
    }
    if at.0 < until
        && let Some(merged) = merge(tx, who, &in_slot, open_only, at).await?
    {
        lessons::insert_source(tx, tenant, &source, &in_slot, at).await?;
        return Ok(pb::EmitLessonResponse { result: EmitResult::Merged.code(), lesson: Some(merged) });
    }
    let made = pb::Lesson { pattern_signature: slot.clone(), ..made(ask, band, at) };
    let id = lessons::insert(tx, tenant, kept(&made), at).await?;
    let actor = (who.actor.r#type, who.actor.id.as_str());
    let moved = Moved { from: 0, to: made.state, reason: "CREATED", actor, at };
    lessons::insert_transition(tx, id, moved).await?;
    lessons::insert_source(tx, tenant, &source, &made.lesson_id, at).await?;
    lessons::put_slot(tx, tenant, &slot, &made.lesson_id, at.0.saturating_add(lasts)).await?;
    tell_created(tx, who, &made, at);
    Ok(pb::EmitLessonResponse { result: EmitResult::Created.code(), lesson: Some(made) })
}

/// One occurrence more of a lesson; none: it is one that nothing is counted on any more.
async fn merge(
    tx: &mut Tx,
    who: &Who,
    id: &str,
    open_only: bool,
    at: Micros,
) -> Result<Option<pb::Lesson>, Fault> {
    let Some(row) = lessons::by_id(tx, &who.tenant, id).await? else { return Ok(None) };
    let mut found = lesson(&row)?;
    let open = [LessonState::Pending.code(), LessonState::Deferred.code()].contains(&found.state);
    if open_only && !open {
        return Ok(None);
    }
    found.occurrences = found.occurrences.saturating_add(1);
    let state = found.state;
    save(tx, who, &row, &mut found, (state, ""), at).await?;
    Ok(Some(found))
}

/// Whether a run ended without a violation, as it was judged.
async fn is_clean(tx: &mut Tx, tenant: &str, run_id: &str) -> Result<bool, Fault> {
    let effective = evaluations::effective_outcome(tx, tenant, run_id).await?;
    Ok(effective == Some(EvaluationOutcome::NoViolation.code()))
}

fn made(ask: &AskEmit, band: Option<Band>, at: Micros) -> pb::Lesson {
    let seen = &ask.seen;
    let (title, description, proposed_action) = seen.words(band);
    let severity = match seen.kind {
        Some(LessonType::Failure) => seen.severity.unwrap_or(Severity::Medium).code(),
        _ => 0,
    };
    pb::Lesson {
        lesson_id: new_id(),
        r#type: seen.kind.map_or(0, LessonType::code),
        severity,
        state: LessonState::Pending.code(),
        version: 1,
        source: ask.source,
        source_event_id: seen.source_event_id.clone(),
        run_id: ask.run_id.clone(),
        agent_id: seen.agent_id.clone(),
        title: title.chars().take(500).collect(),
        description,
        proposed_action,
        error_code: seen.error_code.clone(),
        metric: seen.metric.clone(),
        scope_id: seen.scope_id.clone(),
        threshold: seen.threshold,
        current: seen.current,
        utilization_permille: seen.utilization_permille,
        band: band.map_or(0, Band::code),
        success_kind: seen.success_kind.clone(),
        metrics: seen.metrics.clone().into_iter().collect(),
        occurrences: 1,
        is_synthetic: ask.is_synthetic,
        created_at: Some(timestamp(at)),
        updated_at: Some(timestamp(at)),
        ..pb::Lesson::default()
    }
}
