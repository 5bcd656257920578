//! The spine's view of the domains: each bridge at most five capabilities, each one RPC. Coordinators, sagas and the
//! kernel use bridges and never a client.

mod activity;
mod controls;
mod incidents;
mod logs;
mod miss;
mod policies;

pub use activity::{
    ActivityAnswerBridge, ActivityBridge, ActivityLeaseBridge, ActivityStopBridge, ActivityViewBridge,
};
pub use controls::{ControlsBreakerBridge, ControlsBridge, ControlsRunBridge, ControlsStopBridge};
pub use incidents::{IncidentsBridge, IncidentsEndBridge, IncidentsExportBridge};
pub use logs::{
    ExportPieces, LogsContractBridge, LogsEvidenceBridge, LogsExportBridge, LogsLedgerBridge, LogsReadBridge,
    LogsReconcilerBridge, LogsReplayBridge, LogsSpanBridge, LogsSystemBridge, LogsTraceBridge, ReplayReports,
};
pub use miss::{Called, Miss};
pub use policies::{
    PoliciesApprovalBridge, PoliciesBridge, PoliciesLearningBridge, PoliciesRunBridge, PoliciesSandboxBridge,
    PoliciesViolationBridge,
};
use runspine_rpc::Transport;

/// One way to each domain.
#[derive(Clone)]
pub struct Targets {
    /// To activity.
    pub activity: Transport,
    /// To incidents.
    pub incidents: Transport,
    /// To policies.
    pub policies: Transport,
    /// To logs.
    pub logs: Transport,
    /// To controls.
    pub controls: Transport,
}

/// Declares a bridge: its capabilities, each named after what it does and bound to one RPC of one generated client.
macro_rules! bridge {
    ($(#[$doc:meta])* $bridge:ident {
        $($(#[$what:meta])* $capability:ident: $client:ident.$method:ident($request:ty) -> $response:ty;)*
    }) => {
        $(#[$doc])*
        #[derive(Clone)]
        pub struct $bridge {
            target: runspine_rpc::Transport,
        }

        impl $bridge {
            /// Names of the capabilities.
            pub const CAPABILITIES: &'static [&'static str] = &[$(stringify!($capability)),*];

            /// A bridge over `target`.
            #[must_use]
            pub fn new(target: runspine_rpc::Transport) -> Self {
                Self { target }
            }

            $($(#[$what])*
            ///
            /// # Errors
            /// When the domain refuses or can't be asked.
            pub async fn $capability(
                &self,
                context: &runspine_rpc::Context,
                request: $request,
            ) -> crate::bridges::Called<$response> {
                let mut client = $client::new(self.target.clone());
                // Boxed: otherwise each call of a use case adds some kilobytes to its future.
                match Box::pin(client.$method(context.request(request))).await {
                    Ok(answer) => Ok(answer.into_inner()),
                    Err(status) => Err(crate::bridges::Miss::new(status)),
                }
            })*
        }
    };
}
pub(crate) use bridge;

/// Every bridge that the run kernel uses.
#[derive(Clone)]
pub struct Bridges {
    /// Runs and their phases.
    pub runs: ActivityBridge,
    /// Leases.
    pub leases: ActivityLeaseBridge,
    /// Stops and pauses.
    pub stops: ActivityStopBridge,
    /// Kept answers.
    pub answers: ActivityAnswerBridge,
    /// Views and facts.
    pub views: ActivityViewBridge,
    /// Incidents.
    pub incidents: IncidentsBridge,
    /// Decisions of rules.
    pub policies: PoliciesBridge,
    /// What rules said of a run.
    pub policy_runs: PoliciesRunBridge,
    /// What people decide for rules.
    pub approvals: PoliciesApprovalBridge,
    /// What runs teach.
    pub lessons: PoliciesLearningBridge,
    /// Violations.
    pub violations: PoliciesViolationBridge,
    /// Admissions and holds.
    pub controls: ControlsBridge,
    /// Circuit breakers and guardrails.
    pub breakers: ControlsBreakerBridge,
    /// Ends of incidents.
    pub incident_ends: IncidentsEndBridge,
    /// What incidents give to exports.
    pub incident_exports: IncidentsExportBridge,
    /// Freezes.
    pub freezes: ControlsStopBridge,
    /// Settlements.
    pub settlements: ControlsRunBridge,
    /// Traces.
    pub traces: LogsTraceBridge,
    /// Spans of OpenTelemetry.
    pub spans: LogsSpanBridge,
    /// What traces hold.
    pub records: LogsReadBridge,
    /// Audit contracts.
    pub contracts: LogsContractBridge,
    /// What the reconciler needs.
    pub reconciler: LogsReconcilerBridge,
    /// The governance ledger.
    pub ledger: LogsLedgerBridge,
    /// Evidence.
    pub evidence: LogsEvidenceBridge,
    /// Exports.
    pub exports: LogsExportBridge,
    /// Replays.
    pub replays: LogsReplayBridge,
    /// What rules would decide.
    pub sandbox: PoliciesSandboxBridge,
}

impl Bridges {
    /// Bridges over the given ways.
    #[must_use]
    pub fn new(to: &Targets) -> Self {
        Self {
            runs: ActivityBridge::new(to.activity.clone()),
            leases: ActivityLeaseBridge::new(to.activity.clone()),
            stops: ActivityStopBridge::new(to.activity.clone()),
            answers: ActivityAnswerBridge::new(to.activity.clone()),
            views: ActivityViewBridge::new(to.activity.clone()),
            incidents: IncidentsBridge::new(to.incidents.clone()),
            policies: PoliciesBridge::new(to.policies.clone()),
            policy_runs: PoliciesRunBridge::new(to.policies.clone()),
            approvals: PoliciesApprovalBridge::new(to.policies.clone()),
            lessons: PoliciesLearningBridge::new(to.policies.clone()),
            violations: PoliciesViolationBridge::new(to.policies.clone()),
            controls: ControlsBridge::new(to.controls.clone()),
            breakers: ControlsBreakerBridge::new(to.controls.clone()),
            incident_ends: IncidentsEndBridge::new(to.incidents.clone()),
            incident_exports: IncidentsExportBridge::new(to.incidents.clone()),
            freezes: ControlsStopBridge::new(to.controls.clone()),
            settlements: ControlsRunBridge::new(to.controls.clone()),
            traces: LogsTraceBridge::new(to.logs.clone()),
            spans: LogsSpanBridge::new(to.logs.clone()),
            records: LogsReadBridge::new(to.logs.clone()),
            contracts: LogsContractBridge::new(to.logs.clone()),
            reconciler: LogsReconcilerBridge::new(to.logs.clone()),
            ledger: LogsLedgerBridge::new(to.logs.clone()),
            evidence: LogsEvidenceBridge::new(to.logs.clone()),
            exports: LogsExportBridge::new(to.logs.clone()),
            replays: LogsReplayBridge::new(to.logs.clone()),
            sandbox: PoliciesSandboxBridge::new(to.policies.clone()),
        }
    }
}
