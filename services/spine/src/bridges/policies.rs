//! The spine's view of policies.

use contracts_policies::v1::{
    CancelApprovalsRequest, CancelApprovalsResponse, DryRunRequest, DryRunResponse, EmitLessonRequest,
    EmitLessonResponse, EvaluateRunRequest, EvaluateRunResponse, EvaluateStepRequest, EvaluateStepResponse,
    ExportDecisionsRequest, ExportDecisionsResponse, GetApprovalRequest, GetApprovalResponse,
    GetDecisionRequest, GetDecisionResponse, GetEvaluationRequest, GetEvaluationResponse,
    GetRunPolicyEvidenceRequest, GetRunPolicyEvidenceResponse, GetViolationRequest, GetViolationResponse,
    ObserveStepsRequest, ObserveStepsResponse, RecordEvaluationRequest, RecordEvaluationResponse,
    ReportViolationRequest, ReportViolationResponse, SupersedeEvaluationRequest, SupersedeEvaluationResponse,
    approval_service_client::ApprovalServiceClient, decision_service_client::DecisionServiceClient,
    lesson_service_client::LessonServiceClient, sandbox_service_client::SandboxServiceClient,
    violation_service_client::ViolationServiceClient,
};

use super::bridge;

bridge! {
    /// Decisions of rules.
    PoliciesBridge {
        /// Decides whether a run may start.
        evaluate_run: DecisionServiceClient.evaluate_run(EvaluateRunRequest) -> EvaluateRunResponse;
        /// Decides a step.
        evaluate_step: DecisionServiceClient.evaluate_step(EvaluateStepRequest) -> EvaluateStepResponse;
        /// Tells what happened at steps.
        observe: DecisionServiceClient.observe_steps(ObserveStepsRequest) -> ObserveStepsResponse;
        /// Judges an attempt.
        record_evaluation: DecisionServiceClient.record_evaluation(RecordEvaluationRequest)
            -> RecordEvaluationResponse;
        /// Undoes a judgement.
        supersede: DecisionServiceClient.supersede_evaluation(SupersedeEvaluationRequest)
            -> SupersedeEvaluationResponse;
    }
}

bridge! {
    /// What rules said of a run.
    PoliciesRunBridge {
        /// Evaluations, denials, enforcements.
        evidence: DecisionServiceClient.get_run_policy_evidence(GetRunPolicyEvidenceRequest)
            -> GetRunPolicyEvidenceResponse;
        /// One decision.
        decision: DecisionServiceClient.get_decision(GetDecisionRequest) -> GetDecisionResponse;
        /// Decision rows with their inputs.
        decisions: DecisionServiceClient.export_decisions(ExportDecisionsRequest) -> ExportDecisionsResponse;
        /// How an attempt was judged.
        evaluation: DecisionServiceClient.get_evaluation(GetEvaluationRequest) -> GetEvaluationResponse;
    }
}

bridge! {
    /// Violations: facts that nobody takes back.
    PoliciesViolationBridge {
        /// Stores one that somebody found.
        report: ViolationServiceClient.report_violation(ReportViolationRequest) -> ReportViolationResponse;
        /// One of them.
        violation: ViolationServiceClient.get_violation(GetViolationRequest) -> GetViolationResponse;
    }
}

bridge! {
    /// What runs teach.
    PoliciesLearningBridge {
        /// Takes what was seen.
        emit: LessonServiceClient.emit_lesson(EmitLessonRequest) -> EmitLessonResponse;
    }
}

bridge! {
    /// What people decide for rules.
    PoliciesApprovalBridge {
        /// One approval as it stands.
        approval: ApprovalServiceClient.get_approval(GetApprovalRequest) -> GetApprovalResponse;
        /// Ends what nobody needs any more.
        cancel: ApprovalServiceClient.cancel_approvals(CancelApprovalsRequest) -> CancelApprovalsResponse;
    }
}

bridge! {
    /// What rules would decide.
    PoliciesSandboxBridge {
        /// Asks a snapshot about one step; nothing is stored.
        dry_run: SandboxServiceClient.dry_run(DryRunRequest) -> DryRunResponse;
    }
}
