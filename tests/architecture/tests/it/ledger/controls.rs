//! Acts on limits, budgets and freezes.

use contracts_common::common::v1::{Amounts, Lease};
use contracts_controls::v1 as pb;
use runspine_rpc::timestamp;
use runspine_types::{Clock as _, new_id};

use super::desk::{BEA, Desk};

const LIMITS: &str = "controls.v1.LimitService";
const BUDGETS: &str = "controls.v1.BudgetService";
const FREEZES: &str = "controls.v1.FreezeService";
const GUARDRAILS: &str = "controls.v1.GuardrailService";
const BREAKERS: &str = "controls.v1.BreakerService";
const ALERTS: &str = "controls.v1.AlertService";
const COSTSIM: &str = "controls.v1.CostSimService";
const SCOPES: &str = "controls.v1.ScopeService";
const BYPASSES: &str = "controls.v1.BypassService";
const OVERRIDES: &str = "controls.v1.OverrideService";
const WHY: &str = "because the test wants it";

fn daily(name: &str, max_value: i64) -> pb::LimitSpec {
    pb::LimitSpec {
        name: name.to_owned(),
        category: pb::LimitCategory::Budget.into(),
        unit: pb::LimitUnit::CostMicrousd.into(),
        scope: pb::LimitScope::Tenant.into(),
        max_value,
        period: pb::BudgetPeriod::Daily.into(),
        ..Default::default()
    }
}

impl Desk {
    async fn limit(&self, spec: pb::LimitSpec) -> pb::Limit {
        let message = pb::CreateLimitRequest { request_id: new_id(), spec: Some(spec) };
        let made: pb::CreateLimitResponse = self.act(&format!("{LIMITS}/CreateLimit"), message).await;
        made.limit.unwrap()
    }

    /// A run of `agent` that asks to be admitted, and whether it was.
    async fn admitted(&self, agent: &str) -> (String, bool) {
        let run_id = new_id();
        let expires_at = Some(timestamp(self.clock.now().plus_millis(30_000)));
        let message = pb::AdmitRunRequest {
            run_id: run_id.clone(),
            attempt: 1,
            scope: Some(pb::ScopeTuple {
                project_id: "project".into(),
                agent_id: agent.to_owned(),
                api_key_id: "key".into(),
                ..Default::default()
            }),
            requested: Some(Amounts { cost_microusd: 1, ..Default::default() }),
            lease: Some(Lease { fence: 1, holder: "h".into(), expires_at }),
            profile: 2,
            ..Default::default()
        };
        let answer: pb::AdmitRunResponse = self.act("controls.v1.AdmissionService/AdmitRun", message).await;
        (run_id, answer.admission.unwrap().verdict == 1)
    }
}

pub async fn acts(desk: &Desk) {
    let limit = desk.limit(daily("day", 1_000)).await;
    budgets(desk, &limit).await;
    runs(desk).await;
    limits(desk, &limit).await;
    overrides(desk, &limit).await;
    bypasses(desk).await;
    breakers(desk).await;
    scopes(desk).await;
    alerts(desk).await;
    costsim(desk).await;
    freezes(desk).await;
}

async fn alerts(desk: &Desk) {
    let get = pb::GetAlertSettingsRequest::default();
    let found: pb::GetAlertSettingsResponse = desk.act(&format!("{ALERTS}/GetAlertSettings"), get).await;
    let set = pb::SetAlertSettingsRequest {
        request_id: new_id(),
        expected_version: 0,
        settings: found.settings,
        reason: WHY.into(),
    };
    let _: pb::SetAlertSettingsResponse = desk.act(&format!("{ALERTS}/SetAlertSettings"), set).await;
}

async fn costsim(desk: &Desk) {
    let get = pb::GetCostSimSettingsRequest::default();
    let found: pb::GetCostSimSettingsResponse = desk.act(&format!("{COSTSIM}/GetCostSimSettings"), get).await;
    let set = pb::SetCostSimSettingsRequest {
        request_id: new_id(),
        expected_version: 0,
        settings: found.settings,
        reason: WHY.into(),
    };
    let _: pb::SetCostSimSettingsResponse = desk.act(&format!("{COSTSIM}/SetCostSimSettings"), set).await;
}

async fn breakers(desk: &Desk) {
    let (target_type, target_id) = (pb::BreakerTarget::Tool.into(), "search".to_owned());
    let report = pb::ReportOutcomeRequest {
        report_id: new_id(),
        kind: pb::BreakerKind::Fault.into(),
        target_type,
        target_id: target_id.clone(),
        result: pb::BreakerResult::Bad.into(),
        sample_count: 5,
        ..pb::ReportOutcomeRequest::default()
    };
    let _: pb::ReportOutcomeResponse = desk.act(&format!("{BREAKERS}/ReportOutcome"), report).await;
    let open = pb::OpenBreakerRequest {
        request_id: new_id(),
        target_type,
        target_id: target_id.clone(),
        reason: WHY.into(),
        ..pb::OpenBreakerRequest::default()
    };
    let _: pb::OpenBreakerResponse = desk.act(&format!("{BREAKERS}/OpenBreaker"), open).await;
    let kind = pb::BreakerKind::Manual.into();
    let close =
        pb::CloseBreakerRequest { request_id: new_id(), kind, target_type, target_id, reason: WHY.into() };
    let _: pb::CloseBreakerResponse = desk.act(&format!("{BREAKERS}/CloseBreaker"), close).await;
}

async fn scopes(desk: &Desk) {
    let (incident_id, attempt_id, risk) = (new_id(), new_id(), pb::ActionRisk::Medium.into());
    let create = pb::CreateScopeRequest {
        request_id: new_id(),
        incident_id: incident_id.clone(),
        action: "restart".into(),
        intent: WHY.into(),
        risk,
        max_attempts: 2,
        ..pb::CreateScopeRequest::default()
    };
    let made: pb::CreateScopeResponse = desk.act(&format!("{SCOPES}/CreateScope"), create).await;
    let scope_id = made.scope.unwrap().scope_id;
    let consume = pb::ConsumeScopeRequest {
        scope_id: scope_id.clone(),
        attempt_id: attempt_id.clone(),
        incident_id,
        action: "restart".into(),
        risk,
        estimate_microusd: 1,
    };
    let _: pb::ConsumeScopeResponse = desk.act(&format!("{SCOPES}/ConsumeScope"), consume).await;
    let outcome = pb::ScopeUseOutcome::Success.into();
    let settle = pb::SettleScopeUseRequest { attempt_id, actual_microusd: 1, outcome };
    let _: pb::SettleScopeUseResponse = desk.act(&format!("{SCOPES}/SettleScopeUse"), settle).await;
    let revoke = pb::RevokeScopeRequest { request_id: new_id(), scope_id, reason: WHY.into() };
    let _: pb::RevokeScopeResponse = desk.act(&format!("{SCOPES}/RevokeScope"), revoke).await;
}

async fn bypasses(desk: &Desk) {
    let ask = |agent: &str| pb::RequestBypassRequest {
        request_id: new_id(),
        scope: pb::BypassScope::Agent.into(),
        scope_id: agent.to_owned(),
        duration_s: 60,
        reason: WHY.into(),
        ticket: "INC-7".into(),
        ..Default::default()
    };
    let request = format!("{BYPASSES}/RequestBypass");
    let asked: pb::RequestBypassResponse = desk.act(&request, ask("other")).await;
    let bypass_id = asked.bypass.unwrap().bypass_id;
    let reject = pb::RejectBypassRequest { request_id: new_id(), bypass_id, reason: WHY.into() };
    let _: pb::RejectBypassResponse = desk.act_by(BEA, &format!("{BYPASSES}/RejectBypass"), reject).await;
    let asked: pb::RequestBypassResponse = desk.act(&request, ask("agent")).await;
    let bypass_id = asked.bypass.unwrap().bypass_id;
    let approve =
        pb::ApproveBypassRequest { request_id: new_id(), bypass_id: bypass_id.clone(), note: WHY.into() };
    let _: pb::ApproveBypassResponse = desk.act_by(BEA, &format!("{BYPASSES}/ApproveBypass"), approve).await;
    let passed = pb::RecordBypassUseRequest {
        bypass_id: bypass_id.clone(),
        run_id: new_id(),
        attempt: 1,
        rule_ids: vec!["rule".into()],
        ..Default::default()
    };
    let _: pb::RecordBypassUseResponse = desk.act(&format!("{BYPASSES}/RecordBypassUse"), passed).await;
    let revoke = pb::RevokeBypassRequest { request_id: new_id(), bypass_id, reason: WHY.into() };
    let _: pb::RevokeBypassResponse = desk.act(&format!("{BYPASSES}/RevokeBypass"), revoke).await;
}

async fn overrides(desk: &Desk, limit: &pb::Limit) {
    let ends_at = Some(timestamp(desk.clock.now().plus_millis(120_000)));
    let wanted = || pb::RequestOverrideRequest {
        request_id: new_id(),
        limit_id: limit.limit_id.clone(),
        value: 2_500,
        ends_at,
        reason: WHY.into(),
        ..Default::default()
    };
    let asked: pb::RequestOverrideResponse =
        desk.act(&format!("{OVERRIDES}/RequestOverride"), wanted()).await;
    let reject = pb::RejectOverrideRequest {
        request_id: new_id(),
        override_id: asked.r#override.unwrap().override_id,
        expected_version: 1,
        reason: WHY.into(),
    };
    let _: pb::RejectOverrideResponse =
        desk.act_by(BEA, &format!("{OVERRIDES}/RejectOverride"), reject).await;
    let asked: pb::RequestOverrideResponse =
        desk.act(&format!("{OVERRIDES}/RequestOverride"), wanted()).await;
    let override_id = asked.r#override.unwrap().override_id;
    let approve = pb::ApproveOverrideRequest {
        request_id: new_id(),
        override_id: override_id.clone(),
        expected_version: 1,
        note: WHY.into(),
    };
    let _: pb::ApproveOverrideResponse =
        desk.act_by(BEA, &format!("{OVERRIDES}/ApproveOverride"), approve).await;
    let cancel = pb::CancelOverrideRequest { request_id: new_id(), override_id, reason: WHY.into() };
    let _: pb::CancelOverrideResponse = desk.act(&format!("{OVERRIDES}/CancelOverride"), cancel).await;
}

async fn budgets(desk: &Desk, limit: &pb::Limit) {
    let get = pb::GetEnvelopeRequest { id: limit.limit_id.clone(), at: None };
    let found: pb::GetEnvelopeResponse = desk.act(&format!("{BUDGETS}/GetEnvelope"), get).await;
    let envelope_id = found.envelope.unwrap().envelope_id;
    let large = pb::AdjustEnvelopeRequest {
        request_id: new_id(),
        envelope_id: envelope_id.clone(),
        amount: 500,
        reason: WHY.into(),
    };
    let wish: pb::AdjustEnvelopeResponse = desk.act(&format!("{BUDGETS}/AdjustEnvelope"), large).await;
    let approve = pb::ApproveAdjustmentRequest {
        request_id: new_id(),
        adjustment_id: wish.adjustment.unwrap().adjustment_id,
    };
    let _: pb::ApproveAdjustmentResponse =
        desk.act_by(BEA, &format!("{BUDGETS}/ApproveAdjustment"), approve).await;
    let suspend = pb::SuspendEnvelopeRequest {
        request_id: new_id(),
        envelope_id: envelope_id.clone(),
        reason: WHY.into(),
    };
    let _: pb::SuspendEnvelopeResponse = desk.act(&format!("{BUDGETS}/SuspendEnvelope"), suspend).await;
    let resume = pb::ResumeEnvelopeRequest { request_id: new_id(), envelope_id, reason: WHY.into() };
    let _: pb::ResumeEnvelopeResponse = desk.act(&format!("{BUDGETS}/ResumeEnvelope"), resume).await;
}

async fn runs(desk: &Desk) {
    let (run_id, admitted) = desk.admitted("agent").await;
    assert!(admitted);
    let step = pb::AdmitStepRequest {
        run_id: run_id.clone(),
        attempt: 1,
        fence: 1,
        kind: 1,
        resource: "model".into(),
        estimate: Some(Amounts { cost_microusd: 1_000_000, ..Default::default() }),
        profile: 2,
        ..Default::default()
    };
    let refused: pb::AdmitStepResponse = desk.act("controls.v1.AdmissionService/AdmitStep", step).await;
    assert_eq!(refused.admission.unwrap().verdict, 2);
    let settle = pb::SettleRunRequest { run_id, attempt: 1, outcome: 1, totals: None };
    let settled: pb::SettleRunResponse = desk.act(&format!("{BUDGETS}/SettleRun"), settle).await;
    let reverse = pb::ReverseSettlementRequest {
        settlement_id: settled.settlement.unwrap().settlement_id,
        saga_id: new_id(),
        reason: WHY.into(),
    };
    let _: pb::ReverseSettlementResponse = desk.act(&format!("{BUDGETS}/ReverseSettlement"), reverse).await;
}

async fn limits(desk: &Desk, limit: &pb::Limit) {
    let update = pb::UpdateLimitRequest {
        request_id: new_id(),
        limit_id: limit.limit_id.clone(),
        expected_version: limit.version,
        max_value: Some(2_000),
        reason: WHY.into(),
        ..Default::default()
    };
    let updated: pb::UpdateLimitResponse = desk.act(&format!("{LIMITS}/UpdateLimit"), update).await;
    let disable = pb::DisableLimitRequest {
        request_id: new_id(),
        limit_id: limit.limit_id.clone(),
        expected_version: updated.limit.unwrap().version,
        reason: WHY.into(),
    };
    let disabled: pb::DisableLimitResponse = desk.act(&format!("{LIMITS}/DisableLimit"), disable).await;
    let enable = pb::EnableLimitRequest {
        request_id: new_id(),
        limit_id: limit.limit_id.clone(),
        expected_version: disabled.limit.unwrap().version,
        reason: WHY.into(),
    };
    let _: pb::EnableLimitResponse = desk.act(&format!("{LIMITS}/EnableLimit"), enable).await;
    let rate = pb::LimitSpec {
        category: pb::LimitCategory::Rate.into(),
        unit: pb::LimitUnit::Requests.into(),
        window_s: 60,
        period: 0,
        ..daily("rate", 100)
    };
    let reset = pb::ResetBucketRequest {
        request_id: new_id(),
        limit_id: desk.limit(rate).await.limit_id,
        reason: WHY.into(),
        ..Default::default()
    };
    let _: pb::ResetBucketResponse = desk.act("controls.v1.RateService/ResetBucket", reset).await;
    let tight = pb::SetGuardrailRequest {
        request_id: new_id(),
        guardrail_id: "g.agent.failures".into(),
        value: Some(1),
        reason: WHY.into(),
        ..Default::default()
    };
    let _: pb::SetGuardrailResponse = desk.act(&format!("{GUARDRAILS}/SetGuardrail"), tight).await;
    let failed =
        pb::ReportStepsRequest { report_id: new_id(), agent_id: "failing".into(), steps: 1, failed: 1 };
    let told: pb::ReportStepsResponse = desk.act(&format!("{GUARDRAILS}/ReportSteps"), failed).await;
    assert!(told.tripped);
}

async fn freezes(desk: &Desk) {
    let freeze = pb::FreezeRequest {
        request_id: new_id(),
        scope: pb::FreezeScope::Tenant.into(),
        reason_code: pb::FreezeReason::Manual.into(),
        note: WHY.into(),
        ..Default::default()
    };
    let frozen: pb::FreezeResponse = desk.act(&format!("{FREEZES}/Freeze"), freeze).await;
    let freeze_id = frozen.freeze.unwrap().freeze_id;
    let (_, admitted) = desk.admitted("agent").await;
    assert!(!admitted, "a start that is refused is told");
    let lift =
        pb::RequestUnfreezeRequest { request_id: new_id(), freeze_id: freeze_id.clone(), reason: WHY.into() };
    let wish: pb::RequestUnfreezeResponse = desk.act(&format!("{FREEZES}/RequestUnfreeze"), lift).await;
    let approve = pb::ApproveUnfreezeRequest {
        request_id: new_id(),
        freeze_id,
        unfreeze_id: wish.freeze.unwrap().unfreeze.unwrap().unfreeze_id,
    };
    let _: pb::ApproveUnfreezeResponse =
        desk.act_by(BEA, &format!("{FREEZES}/ApproveUnfreeze"), approve).await;
}
