//! Typed clients with an API key on every call.

use std::net::SocketAddr;

use contracts_activity::v1::run_query_service_client::RunQueryServiceClient;
use contracts_controls::v1::{
    breaker_service_client::BreakerServiceClient, budget_service_client::BudgetServiceClient,
    freeze_service_client::FreezeServiceClient, guardrail_service_client::GuardrailServiceClient,
    limit_service_client::LimitServiceClient, override_service_client::OverrideServiceClient,
    signal_service_client::SignalServiceClient,
};
use contracts_incidents::v1::{
    incident_export_service_client::IncidentExportServiceClient,
    incident_service_client::IncidentServiceClient,
};
use contracts_logs::v1::{
    export_service_client::ExportServiceClient, key_service_client::KeyServiceClient,
    ledger_service_client::LedgerServiceClient, record_service_client::RecordServiceClient,
};
use contracts_policies::v1::{
    approval_service_client::ApprovalServiceClient, rule_service_client::RuleServiceClient,
    settings_service_client::SettingsServiceClient, snapshot_service_client::SnapshotServiceClient,
};
use contracts_spine::v1::{
    evidence_capture_service_client::EvidenceCaptureServiceClient,
    governance_service_client::GovernanceServiceClient,
    incident_export_service_client::IncidentExportServiceClient as IncidentReportsClient,
    operation_service_client::OperationServiceClient, reconciler_service_client::ReconcilerServiceClient,
    replay_coordinator_service_client::ReplayCoordinatorServiceClient,
    run_bundle_service_client::RunBundleServiceClient, run_service_client::RunServiceClient,
    span_ingest_service_client::SpanIngestServiceClient,
};
use tonic::{
    Request, Status,
    metadata::{Ascii, MetadataValue},
    service::{Interceptor, interceptor::InterceptedService},
    transport::{Channel, Endpoint},
};

/// Puts the API key on every call.
#[derive(Clone)]
pub struct Credential(Option<MetadataValue<Ascii>>);

impl Interceptor for Credential {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(value) = &self.0 {
            request.metadata_mut().insert("authorization", value.clone());
        }
        Ok(request)
    }
}

/// The way of a client to the door.
pub type Way = InterceptedService<Channel, Credential>;

/// Somebody who calls. Cheap to clone; all clones share one connection, which is made anew after a restart.
#[derive(Clone)]
pub struct Client {
    channel: Channel,
    credential: Credential,
}

macro_rules! clients {
    ($($(#[$doc:meta])* $name:ident: $client:ident;)*) => {
        $($(#[$doc])*
        #[must_use]
        pub fn $name(&self) -> $client<Way> {
            $client::with_interceptor(self.channel.clone(), self.credential.clone())
        })*
    };
}

impl Client {
    /// A client of the door at `address`.
    ///
    /// # Panics
    /// When the key can't be a header.
    #[must_use]
    pub fn new(address: SocketAddr, key: Option<&str>) -> Self {
        let endpoint =
            Endpoint::from_shared(format!("http://{address}")).expect("an address").tcp_nodelay(true);
        let credential = key.map(|key| format!("Bearer {key}").parse().expect("keys are ASCII"));
        Self { channel: endpoint.connect_lazy(), credential: Credential(credential) }
    }

    /// The connection, without the key.
    #[must_use]
    pub fn channel(&self) -> Channel {
        self.channel.clone()
    }

    /// What every call carries.
    #[must_use]
    pub fn credential(&self) -> Credential {
        self.credential.clone()
    }

    clients! {
        /// The governed run.
        runs: RunServiceClient;
        /// Evidence beside the steps.
        evidence: EvidenceCaptureServiceClient;
        /// Spans of OpenTelemetry.
        spans: SpanIngestServiceClient;
        /// Bundles.
        bundles: RunBundleServiceClient;
        /// The operation registry.
        operations: OperationServiceClient;
        /// Replays.
        replays: ReplayCoordinatorServiceClient;
        /// Orders of exports of incidents.
        incident_reports: IncidentReportsClient;
        /// Exports of incidents.
        incident_exports: IncidentExportServiceClient;
        /// What the runtime of an agent tells.
        governance: GovernanceServiceClient;
        /// The reconciler.
        reconciler: ReconcilerServiceClient;
        /// Rules.
        rules: RuleServiceClient;
        /// Settings of the rules.
        settings: SettingsServiceClient;
        /// Snapshots.
        snapshots: SnapshotServiceClient;
        /// Limits.
        limits: LimitServiceClient;
        /// Budgets.
        budgets: BudgetServiceClient;
        /// Circuit breakers.
        breakers: BreakerServiceClient;
        /// Signals and breaches.
        signals: SignalServiceClient;
        /// Guardrails.
        guardrails: GuardrailServiceClient;
        /// Freezes.
        freezes: FreezeServiceClient;
        /// Incidents.
        incidents: IncidentServiceClient;
        /// Runs as they can be listed.
        views: RunQueryServiceClient;
        /// Public keys of the seals.
        keys: KeyServiceClient;
        /// Exports.
        exports: ExportServiceClient;
        /// The governance ledger.
        ledger: LedgerServiceClient;
        /// Dispatch, LLM and system records.
        records: RecordServiceClient;
        /// Approvals.
        approvals: ApprovalServiceClient;
        /// Overrides of limits.
        overrides: OverrideServiceClient;
    }
}
