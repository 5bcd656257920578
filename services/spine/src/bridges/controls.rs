//! The spine's view of controls.

use contracts_controls::v1::{
    AckContainmentRequest, AckContainmentResponse, AdmitRunRequest, AdmitRunResponse, AdmitStepRequest,
    AdmitStepResponse, ExtendRequest, ExtendResponse, GetContainmentRequest, GetContainmentResponse,
    GetRunControlsEvidenceRequest, GetRunControlsEvidenceResponse, LinkBreachIncidentRequest,
    LinkBreachIncidentResponse, RecordBypassUseRequest, RecordBypassUseResponse, ReleaseRequest,
    ReleaseResponse, RenewRunLeaseRequest, RenewRunLeaseResponse, ReportOutcomeRequest,
    ReportOutcomeResponse, ReportStepsRequest, ReportStepsResponse, ReverseSettlementRequest,
    ReverseSettlementResponse, SettleRequest, SettleResponse, SettleRunRequest, SettleRunResponse,
    SimulateAdmissionRequest, SimulateAdmissionResponse, admission_service_client::AdmissionServiceClient,
    breaker_service_client::BreakerServiceClient, budget_service_client::BudgetServiceClient,
    bypass_service_client::BypassServiceClient, freeze_service_client::FreezeServiceClient,
    guardrail_service_client::GuardrailServiceClient, signal_service_client::SignalServiceClient,
};

use super::bridge;

bridge! {
    /// Admissions and holds.
    ControlsBridge {
        /// Decides whether a run may start, and takes its first escrow.
        admit_run: AdmissionServiceClient.admit_run(AdmitRunRequest) -> AdmitRunResponse;
        /// Decides whether a step may happen, and takes its hold.
        admit_step: AdmissionServiceClient.admit_step(AdmitStepRequest) -> AdmitStepResponse;
        /// Extends the life of all holds of a run.
        renew: AdmissionServiceClient.renew_run_lease(RenewRunLeaseRequest) -> RenewRunLeaseResponse;
        /// Books what a step really used.
        settle: BudgetServiceClient.settle(SettleRequest) -> SettleResponse;
        /// Gives a hold back.
        release: BudgetServiceClient.release(ReleaseRequest) -> ReleaseResponse;
    }
}

bridge! {
    /// The money of a run.
    ControlsRunBridge {
        /// Settles an attempt.
        settle_run: BudgetServiceClient.settle_run(SettleRunRequest) -> SettleRunResponse;
        /// Undoes a settlement.
        reverse: BudgetServiceClient.reverse_settlement(ReverseSettlementRequest) -> ReverseSettlementResponse;
        /// What limits said of a run.
        evidence: SignalServiceClient.get_run_controls_evidence(GetRunControlsEvidenceRequest)
            -> GetRunControlsEvidenceResponse;
        /// Whether there is room, without writing.
        simulate: AdmissionServiceClient.simulate_admission(SimulateAdmissionRequest) -> SimulateAdmissionResponse;
        /// Makes a hold larger.
        extend: BudgetServiceClient.extend(ExtendRequest) -> ExtendResponse;
    }
}

bridge! {
    /// Freezes, the proof that they hold, and what is let pass.
    ControlsStopBridge {
        /// What this replica and its agents know of a freeze.
        ack: FreezeServiceClient.ack_containment(AckContainmentRequest) -> AckContainmentResponse;
        /// What a freeze has met, and what has answered.
        containment: FreezeServiceClient.get_containment(GetContainmentRequest) -> GetContainmentResponse;
        /// Notes a step that a bypass lets pass.
        pass: BypassServiceClient.record_bypass_use(RecordBypassUseRequest) -> RecordBypassUseResponse;
    }
}

bridge! {
    /// How things went: what circuit breakers and guardrails live by.
    ControlsBreakerBridge {
        /// How uses of a target went.
        report: BreakerServiceClient.report_outcome(ReportOutcomeRequest) -> ReportOutcomeResponse;
        /// How steps of an agent ended.
        report_steps: GuardrailServiceClient.report_steps(ReportStepsRequest) -> ReportStepsResponse;
        /// Notes the incident of a breach.
        link: SignalServiceClient.link_breach_incident(LinkBreachIncidentRequest) -> LinkBreachIncidentResponse;
    }
}
