//! Acts on rules, decisions and approvals.

use contracts_common::common::v1::{RunStatus, StepKind, TerminationReason};
use contracts_policies::v1 as pb;
use runspine_types::new_id;

use super::desk::{BEA, Desk};

const RULES: &str = "policies.v1.RuleService";
const DECISIONS: &str = "policies.v1.DecisionService";
const APPROVALS: &str = "policies.v1.ApprovalService";
const WHY: &str = "because the test wants it";

fn content(slug: &str, annotations: &str, tool: &str) -> pb::RuleContent {
    let policy = format!(
        "forbid(principal, action == Runspine::Action::\"tool_call\", resource == Runspine::Tool::\"{tool}\");"
    );
    pb::RuleContent {
        slug: slug.to_owned(),
        cedar: format!("@id(\"{slug}\") @reason(\"TEST_RULE\") {annotations}\n{policy}"),
        mode: pb::RuleMode::Block.into(),
        ..Default::default()
    }
}

impl Desk {
    async fn rule(&self, content: pb::RuleContent) -> pb::Rule {
        let create = pb::CreateRuleRequest { request_id: new_id(), content: Some(content) };
        let made: pb::CreateRuleResponse = self.act(&format!("{RULES}/CreateRule"), create).await;
        self.activate(made.rule.unwrap()).await
    }

    async fn activate(&self, rule: pb::Rule) -> pb::Rule {
        let activate = pb::ActivateRuleRequest {
            request_id: new_id(),
            rule_id: rule.rule_id,
            version: rule.version,
            expected_version: rule.revision,
            reason: WHY.into(),
        };
        let done: pb::ActivateRuleResponse = self.act(&format!("{RULES}/ActivateRule"), activate).await;
        done.rule.unwrap()
    }

    async fn started(&self, run_id: &str) -> pb::EvaluateRunResponse {
        let ask = pb::EvaluateRunRequest {
            run_id: run_id.to_owned(),
            attempt: 1,
            agent: Some(pb::AgentFacts { id: "agent".into(), ..Default::default() }),
            project: Some(pb::NamedFacts { id: "project".into(), ..Default::default() }),
            ..Default::default()
        };
        self.act(&format!("{DECISIONS}/EvaluateRun"), ask).await
    }

    async fn asked(&self, run_id: &str, step_index: u32, tool: &str) -> pb::Decision {
        let ask = pb::EvaluateStepRequest {
            run_id: run_id.to_owned(),
            attempt: 1,
            step_index,
            kind: StepKind::ToolCall.into(),
            resource: Some(pb::Resource { id: tool.to_owned(), ..Default::default() }),
            name: tool.to_owned(),
            arguments_digest: vec![5; 32].into(),
            ..Default::default()
        };
        let answer: pb::EvaluateStepResponse = self.act(&format!("{DECISIONS}/EvaluateStep"), ask).await;
        answer.decision.unwrap()
    }

    async fn approval(&self, approval_id: &str) -> pb::Approval {
        let get = pb::GetApprovalRequest { approval_id: approval_id.to_owned() };
        let found: pb::GetApprovalResponse = self.act(&format!("{APPROVALS}/GetApproval"), get).await;
        found.approval.unwrap()
    }
}

pub async fn acts(desk: &Desk) {
    let refused = desk.rule(content("never", "@origin(\"pattern-1\")", "delete")).await;
    desk.rule(content("ask", "@outcome(\"require_approval\") @obligations(\"level(MANAGER)\")", "pay")).await;
    let run_id = new_id();
    desk.started(&run_id).await;
    assert_eq!(desk.asked(&run_id, 0, "delete").await.verdict, 2);
    approvals(desk, &run_id).await;
    violation(desk, &run_id, &refused.rule_id).await;
    let failed = pb::RecordPreventionOutcomeRequest {
        request_id: new_id(),
        run_id: run_id.clone(),
        attempt: 1,
        signature: "pattern-1".into(),
        incident_id: new_id(),
    };
    let _: pb::RecordPreventionOutcomeResponse =
        desk.act("policies.v1.ViolationService/RecordPreventionOutcome", failed).await;
    evaluations(desk, &run_id).await;
    start_refused(desk).await;
    findings(desk).await;
    rules(desk, refused).await;
}

async fn approvals(desk: &Desk, run_id: &str) {
    let mut asked = Vec::new();
    for step in 1..5 {
        asked.push(desk.asked(run_id, step, "pay").await.approval_id);
    }
    let digest = |a: &pb::Approval| a.action_digest.clone();
    let first = desk.approval(&asked[0]).await;
    let yes = pb::ApproveRequest {
        request_id: new_id(),
        approval_id: asked[0].clone(),
        action_digest: digest(&first),
        note: "fine".into(),
    };
    let _: pb::ApproveResponse = desk.act_by(BEA, &format!("{APPROVALS}/Approve"), yes).await;
    let up = pb::EscalateRequest { request_id: new_id(), approval_id: asked[1].clone(), reason: WHY.into() };
    let _: pb::EscalateResponse = desk.act(&format!("{APPROVALS}/Escalate"), up).await;
    let no = pb::RejectRequest {
        request_id: new_id(),
        approval_id: asked[2].clone(),
        action_digest: digest(&desk.approval(&asked[2]).await),
        reason: WHY.into(),
    };
    let _: pb::RejectResponse = desk.act_by(BEA, &format!("{APPROVALS}/Reject"), no).await;
    let cancel = pb::CancelApprovalsRequest {
        request_id: new_id(),
        run_id: run_id.to_owned(),
        attempt: 1,
        reason: WHY.into(),
    };
    let _: pb::CancelApprovalsResponse = desk.act(&format!("{APPROVALS}/CancelApprovals"), cancel).await;
}

async fn violation(desk: &Desk, run_id: &str, rule_id: &str) {
    let report = pb::ReportViolationRequest {
        request_id: new_id(),
        run_id: run_id.to_owned(),
        attempt: 1,
        step_index: Some(0),
        rule_id: rule_id.to_owned(),
        rule_code: "TOO_MUCH".into(),
        kind: pb::ViolationKind::Pii.into(),
        severity: pb::Severity::High.into(),
        value: "7".into(),
        threshold: "0".into(),
        reason: "seven names in the output".into(),
        evidence: vec![pb::ViolationEvidence {
            digest: vec![4; 32].into(),
            kind: "OUTPUT".into(),
            note: "the third message".into(),
        }],
        ..Default::default()
    };
    let _: pb::ReportViolationResponse =
        desk.act("policies.v1.ViolationService/ReportViolation", report).await;
}

async fn evaluations(desk: &Desk, run_id: &str) {
    let end = pb::RecordEvaluationRequest {
        run_id: run_id.to_owned(),
        attempt: 1,
        run_outcome: RunStatus::Succeeded.into(),
        termination_reason: TerminationReason::Completed.into(),
        ..Default::default()
    };
    let ended: pb::RecordEvaluationResponse = desk.act(&format!("{DECISIONS}/RecordEvaluation"), end).await;
    let supersede = pb::SupersedeEvaluationRequest {
        evaluation_id: ended.evaluation.unwrap().evaluation_id,
        reason: WHY.into(),
        saga_id: new_id(),
    };
    let _: pb::SupersedeEvaluationResponse =
        desk.act(&format!("{DECISIONS}/SupersedeEvaluation"), supersede).await;
}

async fn start_refused(desk: &Desk) {
    let cedar = "@id(\"closed\") @reason(\"CLOSED\")\n\
                 forbid(principal, action == Runspine::Action::\"start_run\", resource);";
    let closed = desk.rule(pb::RuleContent { cedar: cedar.into(), ..content("closed", "", "any") }).await;
    let refused = desk.started(&new_id()).await;
    assert_eq!(refused.decision.unwrap().verdict, 2);
    let recall = pb::RecallSnapshotRequest {
        request_id: new_id(),
        digest: refused.snapshot_digest,
        directive: 2,
        reason: WHY.into(),
    };
    let _: pb::RecallSnapshotResponse = desk.act("policies.v1.SnapshotService/RecallSnapshot", recall).await;
    let retire = pb::RetireRuleRequest {
        request_id: new_id(),
        rule_id: closed.rule_id,
        reason: WHY.into(),
        ..Default::default()
    };
    let _: pb::RetireRuleResponse = desk.act(&format!("{RULES}/RetireRule"), retire).await;
}

async fn findings(desk: &Desk) {
    let twice = |slug: &str| pb::RuleContent {
        cedar: format!(
            "@id(\"{slug}\") @reason(\"TEST_RULE\") @outcome(\"warn\")\nforbid(principal, action == \
             Runspine::Action::\"tool_call\", resource) when {{ context.step_index > 90 }};"
        ),
        ..content(slug, "", "any")
    };
    desk.rule(twice("one")).await;
    desk.rule(twice("two")).await;
    let analyze = pb::AnalyzePolicySetRequest { request_id: new_id(), candidate: None };
    let found: pb::AnalyzePolicySetResponse =
        desk.act("policies.v1.AnalysisService/AnalyzePolicySet", analyze).await;
    let duplicate =
        |f: &&pb::PolicyFinding| f.finding.as_ref().is_some_and(|f| f.kind() == pb::FindingKind::Duplicate);
    let acknowledge = pb::AcknowledgeFindingRequest {
        request_id: new_id(),
        finding_id: found.findings.iter().find(duplicate).unwrap().finding_id.clone(),
        reason: WHY.into(),
    };
    let _: pb::AcknowledgeFindingResponse =
        desk.act("policies.v1.AnalysisService/AcknowledgeFinding", acknowledge).await;
}

async fn rules(desk: &Desk, rule: pb::Rule) {
    let mode = pb::SetRuleModeRequest {
        request_id: new_id(),
        rule_id: rule.rule_id.clone(),
        mode: 2,
        reason: WHY.into(),
    };
    let turned: pb::SetRuleModeResponse = desk.act(&format!("{RULES}/SetRuleMode"), mode).await;
    let update = pb::UpdateRuleRequest {
        request_id: new_id(),
        rule_id: rule.rule_id,
        expected_version: turned.rule.unwrap().revision,
        content: Some(content("never", "", "drop")),
    };
    let _: pb::UpdateRuleResponse = desk.act(&format!("{RULES}/UpdateRule"), update).await;
    let get = pb::GetPolicySettingsRequest::default();
    let found: pb::GetPolicySettingsResponse =
        desk.act("policies.v1.SettingsService/GetPolicySettings", get).await;
    let settings = found.settings.unwrap();
    let set = pb::SetPolicySettingsRequest {
        request_id: new_id(),
        expected_version: settings.version,
        settings: Some(settings),
        reason: WHY.into(),
    };
    let _: pb::SetPolicySettingsResponse =
        desk.act("policies.v1.SettingsService/SetPolicySettings", set).await;
}
