//! The contract: every RPC is served, every reason has a page, the service starts by itself.

use std::{collections::BTreeSet, path::Path};

use contracts_policies::v1 as pb;
use runspine_boot::Deps;
use runspine_policies::Config;
use runspine_policies_domain::reasons;
use runspine_rpc::Registry;
use runspine_testkit::TestStore;
use tonic::{Code, Status};

use crate::{call, harness::House};

macro_rules! answers {
    ($house:expr, $($client:ident.$method:ident: $name:literal => $message:ident),* $(,)?) => {
        vec![$(($name, call!($house, $client.$method, $name, pb::$message::default()).err())),*]
    };
}

/// Each RPC of the descriptor set answers with something else than UNIMPLEMENTED or INTERNAL.
#[tokio::test]
async fn every_operation_is_served() {
    let house = House::over(TestStore::start(runspine_testkit::SQLITE).await).await;
    let served: Vec<(&str, Option<Status>)> = answers!(house,
        rules.create_rule: "RuleService/CreateRule" => CreateRuleRequest,
        rules.update_rule: "RuleService/UpdateRule" => UpdateRuleRequest,
        rules.validate_rule: "RuleService/ValidateRule" => ValidateRuleRequest,
        rules.activate_rule: "RuleService/ActivateRule" => ActivateRuleRequest,
        rules.set_rule_mode: "RuleService/SetRuleMode" => SetRuleModeRequest,
        rules.retire_rule: "RuleService/RetireRule" => RetireRuleRequest,
        rules.get_rule: "RuleService/GetRule" => GetRuleRequest,
        rules.list_rules: "RuleService/ListRules" => ListRulesRequest,
        rules.list_rule_versions: "RuleService/ListRuleVersions" => ListRuleVersionsRequest,
        rules.list_templates: "RuleService/ListTemplates" => ListTemplatesRequest,
        snapshots.get_active_snapshot: "SnapshotService/GetActiveSnapshot" => GetActiveSnapshotRequest,
        snapshots.get_snapshot: "SnapshotService/GetSnapshot" => GetSnapshotRequest,
        snapshots.list_snapshots: "SnapshotService/ListSnapshots" => ListSnapshotsRequest,
        snapshots.diff_snapshots: "SnapshotService/DiffSnapshots" => DiffSnapshotsRequest,
        snapshots.get_schema: "SnapshotService/GetSchema" => GetSchemaRequest,
        snapshots.verify_snapshot: "SnapshotService/VerifySnapshot" => VerifySnapshotRequest,
        snapshots.recall_snapshot: "SnapshotService/RecallSnapshot" => RecallSnapshotRequest,
        decisions.evaluate_run: "DecisionService/EvaluateRun" => EvaluateRunRequest,
        decisions.evaluate_step: "DecisionService/EvaluateStep" => EvaluateStepRequest,
        decisions.observe_steps: "DecisionService/ObserveSteps" => ObserveStepsRequest,
        decisions.record_evaluation: "DecisionService/RecordEvaluation" => RecordEvaluationRequest,
        decisions.supersede_evaluation: "DecisionService/SupersedeEvaluation" => SupersedeEvaluationRequest,
        decisions.get_decision: "DecisionService/GetDecision" => GetDecisionRequest,
        decisions.list_decisions: "DecisionService/ListDecisions" => ListDecisionsRequest,
        decisions.explain_decision: "DecisionService/ExplainDecision" => ExplainDecisionRequest,
        decisions.export_decisions: "DecisionService/ExportDecisions" => ExportDecisionsRequest,
        decisions.get_evaluation: "DecisionService/GetEvaluation" => GetEvaluationRequest,
        decisions.list_evaluations: "DecisionService/ListEvaluations" => ListEvaluationsRequest,
        decisions.list_enforcements: "DecisionService/ListEnforcements" => ListEnforcementsRequest,
        decisions.get_run_policy_evidence: "DecisionService/GetRunPolicyEvidence" => GetRunPolicyEvidenceRequest,
        violations.report_violation: "ViolationService/ReportViolation" => ReportViolationRequest,
        violations.get_violation: "ViolationService/GetViolation" => GetViolationRequest,
        violations.list_violations: "ViolationService/ListViolations" => ListViolationsRequest,
        violations.record_prevention_outcome: "ViolationService/RecordPreventionOutcome" => RecordPreventionOutcomeRequest,
        violations.list_preventions: "ViolationService/ListPreventions" => ListPreventionsRequest,
        approvals.get_approval: "ApprovalService/GetApproval" => GetApprovalRequest,
        approvals.list_approvals: "ApprovalService/ListApprovals" => ListApprovalsRequest,
        approvals.approve: "ApprovalService/Approve" => ApproveRequest,
        approvals.reject: "ApprovalService/Reject" => RejectRequest,
        approvals.escalate: "ApprovalService/Escalate" => EscalateRequest,
        approvals.cancel_approvals: "ApprovalService/CancelApprovals" => CancelApprovalsRequest,
        approvals.watch_approvals: "ApprovalService/WatchApprovals" => WatchApprovalsRequest,
        settings.get_policy_settings: "SettingsService/GetPolicySettings" => GetPolicySettingsRequest,
        settings.set_policy_settings: "SettingsService/SetPolicySettings" => SetPolicySettingsRequest,
        sandbox.dry_run: "SandboxService/DryRun" => DryRunRequest,
        sandbox.start_backtest: "SandboxService/StartBacktest" => StartBacktestRequest,
        sandbox.cancel_backtest: "SandboxService/CancelBacktest" => CancelBacktestRequest,
        sandbox.get_backtest: "SandboxService/GetBacktest" => GetBacktestRequest,
        sandbox.watch_backtest: "SandboxService/WatchBacktest" => WatchBacktestRequest,
        sandbox.list_backtests: "SandboxService/ListBacktests" => ListBacktestsRequest,
        sandbox.list_backtest_diffs: "SandboxService/ListBacktestDiffs" => ListBacktestDiffsRequest,
        sandbox.start_shadow: "SandboxService/StartShadow" => StartShadowRequest,
        sandbox.stop_shadow: "SandboxService/StopShadow" => StopShadowRequest,
        sandbox.get_shadow_report: "SandboxService/GetShadowReport" => GetShadowReportRequest,
        sandbox.list_shadows: "SandboxService/ListShadows" => ListShadowsRequest,
        analysis.analyze_policy_set: "AnalysisService/AnalyzePolicySet" => AnalyzePolicySetRequest,
        analysis.get_dependencies: "AnalysisService/GetDependencies" => GetDependenciesRequest,
        analysis.list_findings: "AnalysisService/ListFindings" => ListFindingsRequest,
        analysis.acknowledge_finding: "AnalysisService/AcknowledgeFinding" => AcknowledgeFindingRequest,
        lessons.emit_lesson: "LessonService/EmitLesson" => EmitLessonRequest,
        lessons.get_lesson: "LessonService/GetLesson" => GetLessonRequest,
        lessons.list_lessons: "LessonService/ListLessons" => ListLessonsRequest,
        lessons.convert_lesson: "LessonService/ConvertLesson" => ConvertLessonRequest,
        lessons.defer_lesson: "LessonService/DeferLesson" => DeferLessonRequest,
        lessons.dismiss_lesson: "LessonService/DismissLesson" => DismissLessonRequest,
        lessons.reactivate_lesson: "LessonService/ReactivateLesson" => ReactivateLessonRequest,
        lessons.get_lesson_stats: "LessonService/GetLessonStats" => GetLessonStatsRequest,
        proposals.create_proposal: "ProposalService/CreateProposal" => CreateProposalRequest,
        proposals.update_proposal: "ProposalService/UpdateProposal" => UpdateProposalRequest,
        proposals.withdraw_proposal: "ProposalService/WithdrawProposal" => WithdrawProposalRequest,
        proposals.approve_proposal: "ProposalService/ApproveProposal" => ApproveProposalRequest,
        proposals.reject_proposal: "ProposalService/RejectProposal" => RejectProposalRequest,
        proposals.check_eligibility: "ProposalService/CheckEligibility" => CheckEligibilityRequest,
        proposals.get_proposal: "ProposalService/GetProposal" => GetProposalRequest,
        proposals.list_proposals: "ProposalService/ListProposals" => ListProposalsRequest,
        health.get_policy_health: "HealthService/GetPolicyHealth" => GetPolicyHealthRequest,
        events.pull_events: "EventService/PullEvents" => PullEventsRequest,
        events.ack_events: "EventService/AckEvents" => AckEventsRequest,
    );
    let registry = Registry::read(&[contracts_policies::DESCRIPTORS]).unwrap();
    let known: BTreeSet<String> = registry.operations().map(|o| o.name.clone()).collect();
    let called: BTreeSet<String> = served.iter().map(|(n, _)| format!("runspine.policies.v1.{n}")).collect();
    assert_eq!(known, called);
    let fine = [Code::InvalidArgument, Code::NotFound];
    for (operation, refusal) in served {
        assert!(refusal.as_ref().is_none_or(|s| fine.contains(&s.code())), "{operation}: {refusal:?}");
    }
}

/// The domain starts as the mesh starts it.
#[tokio::test]
async fn the_service_starts() {
    let dir = tempfile::tempdir().unwrap();
    let deps = Deps::for_tests(dir.path()).unwrap();
    let service = runspine_policies::service(Config::default(), &deps).await.unwrap();
    assert_eq!(service.name, "policies");
    assert!(deps.settings.section::<Config>("policies").is_ok());
}

/// What others build on: each event is in the catalogue under its name, with its message.
#[test]
fn every_promised_event_is_published() {
    let promised = "RuleCreated RuleActivated RuleRetired RuleModeChanged SnapshotActivated SnapshotRecalled \
        DecisionDenied DecisionDegraded EnforcementRecorded EvaluationRecorded EvaluationSuperseded ViolationReported \
        PreventionRecorded ProposalCreated DraftCreated ProposalApproved ProposalRejected ApprovalRequested \
        ApprovalEscalated ApprovalResolved ApprovalUsed LessonCreated LessonConverted SettingsChanged";
    let registry = Registry::read(&[contracts_policies::DESCRIPTORS]).unwrap();
    let known: BTreeSet<&str> = registry.events().map(|e| e.name.as_str()).collect();
    let promised: Vec<String> = promised.split_whitespace().map(|name| format!("policies.{name}")).collect();
    assert_eq!(promised.len(), 24);
    let missing: Vec<_> = promised.iter().filter(|name| !known.contains(name.as_str())).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

/// Each reason of the domain has its page, and each page its reason.
#[test]
fn every_reason_has_a_page() {
    let pages = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/errors/policies");
    // The codes of results have pages too, which say that they are no errors.
    let found: BTreeSet<String> = std::fs::read_dir(&pages)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|page| !std::fs::read_to_string(page).unwrap().contains("· a result, not an error"))
        .map(|page| page.file_stem().unwrap().to_string_lossy().into_owned())
        .collect();
    let declared: BTreeSet<String> = reasons::ALL.iter().map(|r| r.name.to_owned()).collect();
    assert_eq!(found, declared);
}
