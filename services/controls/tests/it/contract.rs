//! The contract: every RPC is served, every reason has a page, the service starts by itself.

use std::{collections::BTreeSet, path::Path};

use contracts_controls::v1 as pb;
use runspine_boot::Deps;
use runspine_controls::{Config, CostSimConfig, Guardrails};
use runspine_controls_domain::reasons;
use runspine_rpc::Registry;
use runspine_testkit::TestStore;
use tonic::{Code, Status};

use crate::harness::House;

/// Calls an RPC with an empty request and says what came.
macro_rules! answers {
    ($house:expr, $client:ident, $service:literal, $($method:ident: $name:literal => $message:ident),* $(,)?) => {{
        let mut served = Vec::new();
        $(
            let operation = concat!($service, "/", $name);
            let request = $house.ask(operation, pb::$message::default());
            let answer = $house.$client.clone().$method(request).await;
            served.push((operation, answer.err()));
        )*
        served
    }};
}

/// Each RPC of the descriptor set answers with something else than UNIMPLEMENTED or INTERNAL.
#[tokio::test]
async fn every_operation_is_served() {
    let house = House::over(TestStore::start(runspine_testkit::SQLITE).await).await;
    let mut served: Vec<(&str, Option<Status>)> = answers!(house, admissions, "AdmissionService",
        admit_run: "AdmitRun" => AdmitRunRequest,
        admit_step: "AdmitStep" => AdmitStepRequest,
        renew_run_lease: "RenewRunLease" => RenewRunLeaseRequest,
        simulate_admission: "SimulateAdmission" => SimulateAdmissionRequest,
        get_controls_health: "GetControlsHealth" => GetControlsHealthRequest,
    );
    served.extend(answers!(house, budgets, "BudgetService",
        reserve: "Reserve" => ReserveRequest,
        extend: "Extend" => ExtendRequest,
        settle: "Settle" => SettleRequest,
        release: "Release" => ReleaseRequest,
        settle_run: "SettleRun" => SettleRunRequest,
        reverse_settlement: "ReverseSettlement" => ReverseSettlementRequest,
        get_run_budget: "GetRunBudget" => GetRunBudgetRequest,
        get_envelope: "GetEnvelope" => GetEnvelopeRequest,
        list_envelopes: "ListEnvelopes" => ListEnvelopesRequest,
        list_budget_entries: "ListBudgetEntries" => ListBudgetEntriesRequest,
        verify_envelope: "VerifyEnvelope" => VerifyEnvelopeRequest,
        adjust_envelope: "AdjustEnvelope" => AdjustEnvelopeRequest,
        approve_adjustment: "ApproveAdjustment" => ApproveAdjustmentRequest,
        suspend_envelope: "SuspendEnvelope" => SuspendEnvelopeRequest,
        resume_envelope: "ResumeEnvelope" => ResumeEnvelopeRequest,
    ));
    served.extend(answers!(house, limits, "LimitService",
        create_limit: "CreateLimit" => CreateLimitRequest,
        update_limit: "UpdateLimit" => UpdateLimitRequest,
        disable_limit: "DisableLimit" => DisableLimitRequest,
        enable_limit: "EnableLimit" => EnableLimitRequest,
        get_limit: "GetLimit" => GetLimitRequest,
        list_limits: "ListLimits" => ListLimitsRequest,
        get_control_set: "GetControlSet" => GetControlSetRequest,
    ));
    served.extend(answers!(house, guardrails, "GuardrailService",
        list_guardrails: "ListGuardrails" => ListGuardrailsRequest,
        set_guardrail: "SetGuardrail" => SetGuardrailRequest,
        report_steps: "ReportSteps" => ReportStepsRequest,
    ));
    served.extend(answers!(house, rates, "RateService",
        get_rate_status: "GetRateStatus" => GetRateStatusRequest,
        reset_bucket: "ResetBucket" => ResetBucketRequest,
    ));
    served.extend(answers!(house, freezes, "FreezeService",
        freeze: "Freeze" => FreezeRequest,
        request_unfreeze: "RequestUnfreeze" => RequestUnfreezeRequest,
        approve_unfreeze: "ApproveUnfreeze" => ApproveUnfreezeRequest,
        get_freeze: "GetFreeze" => GetFreezeRequest,
        list_freezes: "ListFreezes" => ListFreezesRequest,
        get_containment: "GetContainment" => GetContainmentRequest,
        ack_containment: "AckContainment" => AckContainmentRequest,
        watch_epoch: "WatchEpoch" => WatchEpochRequest,
    ));
    served.extend(answers!(house, overrides, "OverrideService",
        request_override: "RequestOverride" => RequestOverrideRequest,
        approve_override: "ApproveOverride" => ApproveOverrideRequest,
        reject_override: "RejectOverride" => RejectOverrideRequest,
        cancel_override: "CancelOverride" => CancelOverrideRequest,
        get_override: "GetOverride" => GetOverrideRequest,
        list_overrides: "ListOverrides" => ListOverridesRequest,
    ));
    served.extend(answers!(house, bypasses, "BypassService",
        request_bypass: "RequestBypass" => RequestBypassRequest,
        approve_bypass: "ApproveBypass" => ApproveBypassRequest,
        reject_bypass: "RejectBypass" => RejectBypassRequest,
        revoke_bypass: "RevokeBypass" => RevokeBypassRequest,
        get_bypass: "GetBypass" => GetBypassRequest,
        list_bypasses: "ListBypasses" => ListBypassesRequest,
        record_bypass_use: "RecordBypassUse" => RecordBypassUseRequest,
    ));
    served.extend(answers!(house, coordination, "CoordinationService",
        acquire_lease: "AcquireLease" => AcquireLeaseRequest,
        renew_lease: "RenewLease" => RenewLeaseRequest,
        release_lease: "ReleaseLease" => ReleaseLeaseRequest,
    ));
    served.extend(answers!(house, signals, "SignalService",
        get_run_controls_evidence: "GetRunControlsEvidence" => GetRunControlsEvidenceRequest,
        list_signals: "ListSignals" => ListSignalsRequest,
        list_breaches: "ListBreaches" => ListBreachesRequest,
        list_evaluation_evidence: "ListEvaluationEvidence" => ListEvaluationEvidenceRequest,
        link_breach_incident: "LinkBreachIncident" => LinkBreachIncidentRequest,
    ));
    served.extend(answers!(house, breakers, "BreakerService",
        report_outcome: "ReportOutcome" => ReportOutcomeRequest,
        check_breaker: "CheckBreaker" => CheckBreakerRequest,
        open_breaker: "OpenBreaker" => OpenBreakerRequest,
        close_breaker: "CloseBreaker" => CloseBreakerRequest,
        get_breaker: "GetBreaker" => GetBreakerRequest,
        list_breakers: "ListBreakers" => ListBreakersRequest,
    ));
    served.extend(answers!(house, scopes, "ScopeService",
        create_scope: "CreateScope" => CreateScopeRequest,
        consume_scope: "ConsumeScope" => ConsumeScopeRequest,
        settle_scope_use: "SettleScopeUse" => SettleScopeUseRequest,
        revoke_scope: "RevokeScope" => RevokeScopeRequest,
        get_scope: "GetScope" => GetScopeRequest,
        list_scopes: "ListScopes" => ListScopesRequest,
    ));
    served.extend(answers!(house, thresholds, "ThresholdService",
        get_threshold_defaults: "GetThresholdDefaults" => GetThresholdDefaultsRequest,
        validate_thresholds: "ValidateThresholds" => ValidateThresholdsRequest,
        get_effective_thresholds: "GetEffectiveThresholds" => GetEffectiveThresholdsRequest,
        evaluate_run_thresholds: "EvaluateRunThresholds" => EvaluateRunThresholdsRequest,
    ));
    served.extend(answers!(house, alerts, "AlertService",
        decide_alert: "DecideAlert" => DecideAlertRequest,
        get_alert_settings: "GetAlertSettings" => GetAlertSettingsRequest,
        set_alert_settings: "SetAlertSettings" => SetAlertSettingsRequest,
        list_alert_decisions: "ListAlertDecisions" => ListAlertDecisionsRequest,
    ));
    served.extend(answers!(house, costsim, "CostSimService",
        get_cost_sim_settings: "GetCostSimSettings" => GetCostSimSettingsRequest,
        set_cost_sim_settings: "SetCostSimSettings" => SetCostSimSettingsRequest,
        get_cost_sim_status: "GetCostSimStatus" => GetCostSimStatusRequest,
    ));
    served.extend(answers!(house, events, "EventService",
        pull_events: "PullEvents" => PullEventsRequest,
        ack_events: "AckEvents" => AckEventsRequest,
    ));
    let registry = Registry::read(&[contracts_controls::DESCRIPTORS]).unwrap();
    let known: BTreeSet<String> = registry.operations().map(|o| o.name.clone()).collect();
    let called: BTreeSet<String> = served.iter().map(|(n, _)| format!("runspine.controls.v1.{n}")).collect();
    assert_eq!(known, called);
    let lists = [
        "AdmissionService/GetControlsHealth",
        "BudgetService/ListEnvelopes",
        "BudgetService/ListBudgetEntries",
        "LimitService/ListLimits",
        "LimitService/GetControlSet",
        "GuardrailService/ListGuardrails",
        "RateService/GetRateStatus",
        "SignalService/ListSignals",
        "SignalService/ListBreaches",
        "SignalService/ListEvaluationEvidence",
        "ThresholdService/GetThresholdDefaults",
        "ThresholdService/ValidateThresholds",
        "FreezeService/ListFreezes",
        "OverrideService/ListOverrides",
        "BypassService/ListBypasses",
        "BreakerService/ListBreakers",
        "ScopeService/ListScopes",
        "AlertService/GetAlertSettings",
        "CostSimService/GetCostSimSettings",
        "CostSimService/GetCostSimStatus",
        "AlertService/ListAlertDecisions",
    ];
    for (operation, refusal) in served {
        // An empty request is wrong everywhere but in the lists of everything.
        let expected = (!lists.contains(&operation)).then_some(Code::InvalidArgument);
        assert_eq!(refusal.map(|status| status.code()), expected, "{operation}");
    }
}

/// The domain starts as the mesh starts it, and refuses settings that make no sense.
#[tokio::test]
async fn the_service_starts() {
    let dir = tempfile::tempdir().unwrap();
    let deps = Deps::for_tests(dir.path()).unwrap();
    let service = runspine_controls::service(Config::default(), &deps).await.unwrap();
    assert_eq!(service.name, "controls");
    let costsim = CostSimConfig { drift_permille: 100, disable_ttl_hours: 169, ..CostSimConfig::default() };
    let guardrails = Guardrails { run_loop: 0, ..Guardrails::default() };
    let config = Config { sweep_ms: 1, costsim, guardrails };
    let told = runspine_controls::service(config, &deps).await.err().unwrap().to_string();
    for key in
        ["guardrails.run_loop", "sweep_ms", "costsim.drift_warning_permille", "costsim.disable_ttl_hours"]
    {
        assert!(told.contains(&format!("controls.{key}")), "{told}");
    }
}

/// A store that fails answers UNAVAILABLE: never an allowed step, never an empty list.
#[tokio::test]
async fn a_store_that_fails_is_told() {
    let house = House::over(TestStore::start(runspine_testkit::SQLITE).await).await;
    house.admit(1).await.unwrap();
    house.db.close().await;
    let step = house.step(crate::harness::step(1, 0, 1)).await.map(|_| ());
    let request = house.ask("LimitService/ListLimits", pb::ListLimitsRequest::default());
    let list = house.limits.clone().list_limits(request).await.map(|_| ());
    for failure in [step, list] {
        assert_eq!(failure.unwrap_err().code(), Code::Unavailable);
    }
}

/// Each reason of the domain, and of its refusals, has its page.
#[test]
fn every_reason_has_a_page() {
    let pages = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/errors/controls");
    let results = [
        "FROZEN",
        "LEASE_LAPSED",
        "BREAKER_OPEN",
        "RATE_LIMITED",
        "RATE_UNSATISFIABLE",
        "CONCURRENCY_EXCEEDED",
        "THRESHOLD_EXCEEDED",
        "BUDGET_EXCEEDED",
        "BUDGET_SUSPENDED",
        "DEBT_OUTSTANDING",
        "OVERDRAFT_LIMIT_EXCEEDED",
        "CONTROL_ERROR",
    ];
    let names = reasons::ALL.iter().map(|r| r.name).chain(results);
    let mut count = 0;
    for name in names {
        let page = std::fs::read_to_string(pages.join(format!("{name}.md"))).unwrap_or_default();
        assert!(page.starts_with(&format!("# {name}\n")), "{name} has no page");
        count += 1;
    }
    assert_eq!(std::fs::read_dir(pages).unwrap().count(), count);
}
