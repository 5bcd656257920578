//! LessonService.

use contracts_policies::v1 as pb;
use contracts_policies::v1::lesson_service_server::LessonService;
use prost::Message as _;
use runspine_errors::{Fault, Violations, mesh};
use runspine_policies_domain::{
    lesson::Seen,
    words::{LessonSource, LessonState, LessonType, ProposalKind, Severity},
};
use runspine_types::is_uuid_v7;
use tonic::{Request, Response, Status};

use super::{Rpc, answer, page, parse, proposals};
use crate::app::{
    Keyed, Who,
    lesson::{
        convert::AskConvert,
        emit::AskEmit,
        turn::{Turn, What},
    },
};

#[tonic::async_trait]
impl LessonService for Rpc {
    async fn emit_lesson(
        &self,
        request: Request<pb::EmitLessonRequest>,
    ) -> Result<Response<pb::EmitLessonResponse>, Status> {
        let (who, r) = self.open(request)?;
        answer(match parse::request_id(&r.request_id).and(ask_emit(&r)) {
            Ok(ask) => self.app.emit_lesson(&who, &r, ask).await,
            Err(fault) => Err(fault),
        })
    }

    async fn get_lesson(
        &self,
        request: Request<pb::GetLessonRequest>,
    ) -> Result<Response<pb::GetLessonResponse>, Status> {
        let (who, r) = self.open(request)?;
        let found = match id(&r.lesson_id) {
            Ok(()) => self.app.lesson(&who, &r.lesson_id).await,
            Err(fault) => Err(fault),
        };
        answer(found.map(|lesson| pb::GetLessonResponse { lesson: Some(lesson) }))
    }

    async fn list_lessons(
        &self,
        request: Request<pb::ListLessonsRequest>,
    ) -> Result<Response<pb::ListLessonsResponse>, Status> {
        let (who, r) = self.open(request)?;
        answer(self.listed_lessons(&who, r).await)
    }

    async fn convert_lesson(
        &self,
        request: Request<pb::ConvertLessonRequest>,
    ) -> Result<Response<pb::ConvertLessonResponse>, Status> {
        let (who, r) = self.open(request)?;
        let parsed = parse::request_id(&r.request_id).and(id(&r.lesson_id)).and(ask_convert(&r));
        answer(match parsed {
            Ok(ask) => self.app.convert_lesson(&who, &r, ask).await,
            Err(fault) => Err(fault),
        })
    }

    async fn defer_lesson(
        &self,
        request: Request<pb::DeferLessonRequest>,
    ) -> Result<Response<pb::DeferLessonResponse>, Status> {
        let (who, r) = self.open(request)?;
        let key = Keyed::by_request_id("policies.DeferLesson", &r.request_id, &r);
        let until = r.until.as_ref().map(runspine_rpc::micros).ok_or_else(|| {
            let fault = Fault::new(&mesh::FIELD_INVALID, "1 field(s) of the request are invalid");
            fault.field("until", "REQUIRED", "until when")
        });
        let turn = until.map(|until| turn(&r.lesson_id, r.expected_version, What::Defer(until)));
        let done = self.turned(&who, key, &r.request_id, turn).await;
        answer(done.map(|lesson| pb::DeferLessonResponse { lesson: Some(lesson) }))
    }

    async fn dismiss_lesson(
        &self,
        request: Request<pb::DismissLessonRequest>,
    ) -> Result<Response<pb::DismissLessonResponse>, Status> {
        let (who, r) = self.open(request)?;
        let key = Keyed::by_request_id("policies.DismissLesson", &r.request_id, &r);
        let turn = turn(&r.lesson_id, r.expected_version, What::Dismiss(r.reason.clone()));
        let done = self.turned(&who, key, &r.request_id, Ok(turn)).await;
        answer(done.map(|lesson| pb::DismissLessonResponse { lesson: Some(lesson) }))
    }

    async fn reactivate_lesson(
        &self,
        request: Request<pb::ReactivateLessonRequest>,
    ) -> Result<Response<pb::ReactivateLessonResponse>, Status> {
        let (who, r) = self.open(request)?;
        let key = Keyed::by_request_id("policies.ReactivateLesson", &r.request_id, &r);
        let turn = turn(&r.lesson_id, r.expected_version, What::Reactivate(r.reason.clone()));
        let done = self.turned(&who, key, &r.request_id, Ok(turn)).await;
        answer(done.map(|lesson| pb::ReactivateLessonResponse { lesson: Some(lesson) }))
    }

    async fn get_lesson_stats(
        &self,
        request: Request<pb::GetLessonStatsRequest>,
    ) -> Result<Response<pb::GetLessonStatsResponse>, Status> {
        let (who, r) = self.open(request)?;
        let counts = self.app.lesson_stats(&who, &r).await;
        answer(counts.map(|counts| pb::GetLessonStatsResponse { counts }))
    }
}

impl Rpc {
    async fn listed_lessons(
        &self,
        who: &Who,
        mut r: pb::ListLessonsRequest,
    ) -> Result<pb::ListLessonsResponse, Fault> {
        let mut v = Violations::new();
        parse::known(&mut v, "types", &r.types, LessonType::from_code);
        parse::known(&mut v, "states", &r.states, LessonState::from_code);
        let known = r.severities.iter().all(|s| *s == 0 || Severity::from_code(*s).is_some());
        v.require(known, "severities", "ENUM_UNKNOWN", "known severities");
        let (size, token) = (r.page_size, std::mem::take(&mut r.page_token));
        r.page_size = 0;
        let asked = page::filtered(v, "lessons", &r.encode_to_vec(), size, &token)?;
        let rows = self.app.lessons(who, &r, asked.page()).await?;
        let (lessons, next_page_token) = asked.cut(rows);
        Ok(pb::ListLessonsResponse { lessons, next_page_token })
    }

    async fn turned(
        &self,
        who: &Who,
        key: Keyed,
        request_id: &str,
        turn: Result<Turn, Fault>,
    ) -> Result<pb::Lesson, Fault> {
        parse::request_id(request_id)?;
        let turn = turn?;
        id(&turn.lesson_id)?;
        self.app.turn_lesson(who, key, turn).await
    }
}

fn turn(lesson_id: &str, version: u64, what: What) -> Turn {
    Turn { lesson_id: lesson_id.to_owned(), version, what }
}

fn id(lesson_id: &str) -> Result<(), Fault> {
    let mut v = Violations::new();
    v.require(is_uuid_v7(lesson_id), "lesson_id", "ID_INVALID", "a UUIDv7");
    v.into_result(&mesh::FIELD_INVALID)
}

fn ask_emit(r: &pb::EmitLessonRequest) -> Result<AskEmit, Fault> {
    let mut v = Violations::new();
    v.require(LessonSource::from_code(r.source).is_some(), "source", "ENUM_UNKNOWN", "a known source");
    v.require(r.run_id.is_empty() || is_uuid_v7(&r.run_id), "run_id", "ID_INVALID", "a UUIDv7, or empty");
    let severity = Severity::from_code(r.severity);
    v.require(r.severity == 0 || severity.is_some(), "severity", "ENUM_UNKNOWN", "a known severity");
    v.into_result(&mesh::FIELD_INVALID)?;
    Ok(AskEmit {
        seen: Seen {
            kind: LessonType::from_code(r.r#type),
            source_event_id: r.source_event_id.clone(),
            agent_id: r.agent_id.clone(),
            metric: r.metric.clone(),
            scope_id: r.scope_id.clone(),
            utilization_permille: r.utilization_permille,
            threshold: r.threshold,
            current: r.current,
            success_kind: r.success_kind.clone(),
            metrics: r.metrics.clone().into_iter().collect(),
            error_code: r.error_code.clone(),
            severity,
        },
        source: r.source,
        run_id: r.run_id.clone(),
        is_synthetic: r.is_synthetic,
    })
}

fn ask_convert(r: &pb::ConvertLessonRequest) -> Result<AskConvert, Fault> {
    let kind = ProposalKind::from_code(r.kind);
    let mut v = Violations::new();
    v.require(r.kind == 0 || kind.is_some(), "kind", "ENUM_UNKNOWN", "a known kind");
    v.into_result(&mesh::FIELD_INVALID)?;
    let body = r.body.clone().map(|body| proposals::body(Some(body))).transpose()?;
    let of_kind = kind.filter(|_| body.is_none()).and_then(|kind| {
        let slug = format!("lesson-{}", r.lesson_id);
        let template = pb::TemplateBody { learned_from: r.lesson_id.clone(), ..pb::TemplateBody::default() };
        let asked = pb::RuleContent { slug, template: Some(template), ..pb::RuleContent::default() };
        // A template with a place that only a person can fill makes nothing.
        proposals::body(Some(proposals::drafted(kind, "", asked).0)).ok()
    });
    Ok(AskConvert { kind, body, of_kind })
}
