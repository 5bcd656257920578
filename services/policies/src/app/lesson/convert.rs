//! ConvertLesson: a lesson and the proposal that is made of it, in one commit.

use contracts_policies::v1 as pb;
use runspine_db::Tx;
use runspine_errors::{Fault, mesh};
use runspine_policies_domain::{
    lesson::Act,
    proposal::Taught,
    rule::{Content, check_content},
    words::{LessonType, Mode, Profile, ProposalKind, Severity},
};
use runspine_types::Micros;

use super::{about, held, save, turn::turned};
use crate::app::{
    App, Keyed, Who,
    emit::event,
    proposal::make::{Wish, make},
};

/// What a proposal of a lesson is asked to be.
#[derive(Clone)]
pub(crate) struct AskConvert {
    pub kind: Option<ProposalKind>,
    /// None: what the lesson suggests.
    pub body: Option<(pb::RuleContent, Content)>,
}

impl App {
    /// Makes a proposal of a lesson.
    pub(crate) async fn convert_lesson(
        &self,
        who: &Who,
        request: &pb::ConvertLessonRequest,
        ask: AskConvert,
    ) -> Result<pb::ConvertLessonResponse, Fault> {
        if let Some((_, content)) = &ask.body {
            check_content(content, &who.tenant, who.operator)?;
        }
        let key = Keyed::by_request_id("policies.ConvertLesson", &request.request_id, request);
        let (who_, profile, at, r) = (who.clone(), self.profile, self.now(), request.clone());
        self.keyed(who, key, move |tx| {
            Box::pin(async move { convert(tx, &who_, profile, (&r, ask), at).await })
        })
        .await
    }
}

async fn convert(
    tx: &mut Tx,
    who: &Who,
    profile: Profile,
    (r, ask): (&pb::ConvertLessonRequest, AskConvert),
    at: Micros,
) -> Result<pb::ConvertLessonResponse, Fault> {
    let (row, mut lesson) = held(tx, &who.tenant, &r.lesson_id, r.expected_version).await?;
    let from = turned(&mut lesson, Act::Convert)?;
    let wish = wish(&lesson, ask)?;
    let proposal = make(tx, who, profile, wish, at).await?.proposal;
    lesson.draft_proposal_id.clone_from(&proposal.proposal_id);
    save(tx, who, &row, &mut lesson, (from, "CONVERTED"), at).await?;
    let data = pb::LessonConverted {
        lesson_id: lesson.lesson_id.clone(),
        proposal_id: proposal.proposal_id.clone(),
    };
    tx.emit_raw(event(who, "LessonConverted", about(&lesson, "CONVERTED"), &data, at));
    Ok(pb::ConvertLessonResponse { lesson: Some(lesson), proposal: Some(proposal) })
}

fn wish(lesson: &pb::Lesson, ask: AskConvert) -> Result<Wish, Fault> {
    let taught = Taught {
        lesson_id: &lesson.lesson_id,
        kind: LessonType::from_code(lesson.r#type).unwrap_or(LessonType::Failure),
        severity: Severity::from_code(lesson.severity),
        agent_id: &lesson.agent_id,
        metric: &lesson.metric,
        current: lesson.current,
    };
    let drafted = || taught.draft().map(|content| (drafted(&content), content));
    let (body, content) = ask.body.or_else(drafted).ok_or_else(|| {
        let fault = Fault::new(&mesh::FIELD_INVALID, "1 field(s) of the request are invalid");
        fault.field("body", "REQUIRED", "this lesson suggests no rule: write one")
    })?;
    Ok(Wish {
        kind: ask.kind.unwrap_or_else(|| taught.kind()),
        name: lesson.title.chars().take(120).collect(),
        rationale: format!("{} {}", lesson.description, lesson.proposed_action),
        body,
        content,
        supporting_ids: vec![lesson.lesson_id.clone()],
        source_kind: "lesson".to_owned(),
        source_id: lesson.lesson_id.clone(),
        source_run_id: lesson.run_id.clone(),
    })
}

/// A drafted rule as a message.
fn drafted(content: &Content) -> pb::RuleContent {
    pb::RuleContent {
        slug: content.slug.clone(),
        cedar: content.cedar.clone(),
        mode: content.mode.map_or(0, Mode::code),
        ..pb::RuleContent::default()
    }
}
