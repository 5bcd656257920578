//! Acts on lessons and proposals.

use contracts_policies::v1 as pb;
use runspine_rpc::timestamp;
use runspine_types::{Clock as _, new_id};
use std::time::Duration;

use super::desk::{BEA, Desk};

const LESSONS: &str = "policies.v1.LessonService";
const PROPOSALS: &str = "policies.v1.ProposalService";
const WHY: &str = "because the test wants it";

impl Desk {
    async fn lesson(&self, code: &str) -> pb::Lesson {
        let seen = pb::EmitLessonRequest {
            request_id: new_id(),
            r#type: pb::LessonType::Failure.into(),
            source: pb::LessonSource::Incident.into(),
            source_event_id: new_id(),
            agent_id: "agent".into(),
            error_code: code.into(),
            ..Default::default()
        };
        let told: pb::EmitLessonResponse = self.act(&format!("{LESSONS}/EmitLesson"), seen).await;
        told.lesson.unwrap()
    }

    async fn proposal(&self, slug: &str) -> pb::Proposal {
        let wish = pb::CreateProposalRequest {
            request_id: new_id(),
            name: slug.into(),
            body: Some(body(slug)),
            ..Default::default()
        };
        let made: pb::CreateProposalResponse = self.act(&format!("{PROPOSALS}/CreateProposal"), wish).await;
        made.proposal.unwrap()
    }
}

fn body(slug: &str) -> pb::RuleContent {
    pb::RuleContent {
        slug: slug.to_owned(),
        cedar: format!(
            "@id(\"{slug}\") @reason(\"TEST_RULE\")\nforbid(principal, action == \
             Runspine::Action::\"tool_call\", resource == Runspine::Tool::\"none\");"
        ),
        ..Default::default()
    }
}

pub async fn acts(desk: &Desk) {
    let (first, second, third) =
        (desk.lesson("ONE").await, desk.lesson("TWO").await, desk.lesson("THREE").await);
    let convert = pb::ConvertLessonRequest {
        request_id: new_id(),
        lesson_id: first.lesson_id,
        expected_version: first.version,
        ..Default::default()
    };
    let _: pb::ConvertLessonResponse = desk.act(&format!("{LESSONS}/ConvertLesson"), convert).await;
    let dismiss = pb::DismissLessonRequest {
        request_id: new_id(),
        lesson_id: second.lesson_id,
        expected_version: second.version,
        reason: WHY.into(),
    };
    let _: pb::DismissLessonResponse = desk.act(&format!("{LESSONS}/DismissLesson"), dismiss).await;
    let defer = pb::DeferLessonRequest {
        request_id: new_id(),
        lesson_id: third.lesson_id.clone(),
        expected_version: third.version,
        until: Some(timestamp(desk.clock.now() + Duration::from_secs(3_600))),
    };
    let put_off: pb::DeferLessonResponse = desk.act(&format!("{LESSONS}/DeferLesson"), defer).await;
    let again = pb::ReactivateLessonRequest {
        request_id: new_id(),
        lesson_id: third.lesson_id,
        expected_version: put_off.lesson.unwrap().version,
        reason: WHY.into(),
    };
    let _: pb::ReactivateLessonResponse = desk.act(&format!("{LESSONS}/ReactivateLesson"), again).await;
    proposals(desk).await;
}

async fn proposals(desk: &Desk) {
    let (wanted, unwanted, dropped) =
        (desk.proposal("wanted").await, desk.proposal("unwanted").await, desk.proposal("dropped").await);
    let update = pb::UpdateProposalRequest {
        request_id: new_id(),
        proposal_id: wanted.proposal_id.clone(),
        expected_version: wanted.version,
        name: "better".into(),
        body: Some(body("wanted")),
        ..Default::default()
    };
    let better: pb::UpdateProposalResponse = desk.act(&format!("{PROPOSALS}/UpdateProposal"), update).await;
    let approve = pb::ApproveProposalRequest {
        request_id: new_id(),
        proposal_id: wanted.proposal_id,
        expected_version: better.proposal.unwrap().version,
        ..Default::default()
    };
    let _: pb::ApproveProposalResponse =
        desk.act_by(BEA, &format!("{PROPOSALS}/ApproveProposal"), approve).await;
    let reject = pb::RejectProposalRequest {
        request_id: new_id(),
        proposal_id: unwanted.proposal_id,
        expected_version: unwanted.version,
        reason: WHY.into(),
    };
    let _: pb::RejectProposalResponse =
        desk.act_by(BEA, &format!("{PROPOSALS}/RejectProposal"), reject).await;
    let withdraw = pb::WithdrawProposalRequest {
        request_id: new_id(),
        proposal_id: dropped.proposal_id,
        expected_version: dropped.version,
        reason: WHY.into(),
    };
    let _: pb::WithdrawProposalResponse = desk.act(&format!("{PROPOSALS}/WithdrawProposal"), withdraw).await;
}
