//! Somebody who holds the mesh key and calls the domains as the spine does.

use std::fs;

use contracts_common::common::v1::{Actor, ActorType, CallContext, GovernanceProfile};
use contracts_controls::v1::budget_service_client::BudgetServiceClient;
use contracts_incidents::v1::incident_report_service_client::IncidentReportServiceClient;
use contracts_policies::v1::decision_service_client::DecisionServiceClient;
use runspine_e2e::Mesh;
use runspine_rpc::MeshKey;
use runspine_types::{Clock as _, SystemClock, new_id};
use tonic::{
    Request,
    metadata::MetadataMap,
    transport::{Channel, Endpoint},
};

/// The domains of a mesh of six processes, called past its spine.
pub struct Peer {
    key: MeshKey,
    tenant: String,
    incidents: Channel,
    policies: Channel,
    controls: Channel,
}

impl Peer {
    /// Takes the key from the spine's own command line.
    ///
    /// # Panics
    /// When the mesh is not one of six processes.
    pub fn of(mesh: &mut Mesh) -> Self {
        let id = mesh.process("runspine-spine").id().expect("the spine runs");
        let line = fs::read_to_string(format!("/proc/{id}/cmdline")).expect("the spine's command line");
        let key = line.split('\0').find_map(|word| word.strip_prefix("mesh.key=")).expect("a mesh key");
        let key = MeshKey::new(&hex::decode(key).expect("the key is hex")).expect("the key is long enough");
        let mut way = |domain: &str| {
            let address = mesh.process(&format!("runspine-{domain}")).address();
            Endpoint::from_shared(format!("http://{address}")).expect("an address").connect_lazy()
        };
        let (incidents, policies, controls) = (way("incidents"), way("policies"), way("controls"));
        Self { key, tenant: mesh.tenant().to_owned(), incidents, policies, controls }
    }

    /// `message` for `path` (`/package.Service/Method`), signed as the completion of `run_id`.
    pub fn signed<M>(&self, path: &str, run_id: &str, message: M) -> Request<M> {
        let call = CallContext {
            tenant_id: self.tenant.clone(),
            actor: Some(Actor { r#type: ActorType::System.into(), id: "spine".to_owned() }),
            operation: "runspine.spine.v1.RunService/CompleteRun".to_owned(),
            correlation_id: new_id(),
            run_id: run_id.to_owned(),
            profile: GovernanceProfile::Standard.into(),
            ..CallContext::default()
        };
        let mut headers = http::HeaderMap::new();
        self.key.sign(path, &call, SystemClock.now(), &mut headers);
        let mut request = Request::new(message);
        *request.metadata_mut() = MetadataMap::from_headers(headers);
        request
    }

    /// The reports of incidents.
    #[must_use]
    pub fn incidents(&self) -> IncidentReportServiceClient<Channel> {
        IncidentReportServiceClient::new(self.incidents.clone())
    }

    /// The decisions and evaluations of policies.
    #[must_use]
    pub fn policies(&self) -> DecisionServiceClient<Channel> {
        DecisionServiceClient::new(self.policies.clone())
    }

    /// The budgets of controls.
    #[must_use]
    pub fn budgets(&self) -> BudgetServiceClient<Channel> {
        BudgetServiceClient::new(self.controls.clone())
    }
}
