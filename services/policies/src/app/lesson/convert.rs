//! ConvertLesson: a lesson and the proposal that is made of it, in one commit.

use contracts_policies::v1 as pb;
use runspine_db::Tx;
use runspine_errors::{Fault, mesh};
use runspine_policies_domain::{
    draft::{Draft, Taught},
    lesson::Act,
    rule::{Content, check_content},
    words::{Category, LessonType, Mode, Profile, ProposalKind, Scope, Severity},
};
use runspine_types::Micros;

use super::{about, held, save, turn::turned};
use crate::{
    app::{
        App, Keyed, Who,
        emit::event,
        proposal::make::{Wish, make},
    },
    present_sequence, present_template,
};

/// What a proposal of a lesson is asked to be.
#[derive(Clone)]
pub(crate) struct AskConvert {
    pub kind: Option<ProposalKind>,
    /// None: what the lesson suggests.
    pub body: Option<(pb::RuleContent, Content)>,
    /// What the template of the kind makes, if that is not the lesson's own kind.
    pub of_kind: Option<(pb::RuleContent, Content)>,
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
    // A kind that is not the lesson's own has another template, of which the lesson knows only the defaults.
    let own = ask.kind.is_none_or(|kind| kind == taught.kind());
    let drafted = || taught.draft().filter(|_| own).map(|draft| (drafted(&draft), draft.content));
    let (body, content) = ask.body.or_else(drafted).or(ask.of_kind).ok_or_else(|| {
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
        pattern: lesson.pattern_signature.clone(),
        drafted: false,
    })
}

/// A drafted rule as a message.
fn drafted(draft: &Draft) -> pb::RuleContent {
    let content = &draft.content;
    pb::RuleContent {
        slug: content.slug.clone(),
        cedar: content.cedar.clone(),
        sequence: content.sequence.as_ref().map(present_sequence::body),
        template: content.template.as_ref().map(present_template::body),
        mode: content.mode.map_or(0, Mode::code),
        scope: content.scope.map_or(0, Scope::code),
        scope_id: content.scope_id.clone(),
        category: content.category.map_or(0, Category::code),
        rule_type: draft.rule_type.code(),
        ..pb::RuleContent::default()
    }
}
