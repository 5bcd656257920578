//! The door of the domain: requests into domain types, results into messages. Holds no rule.

mod analysis;
mod approvals;
mod decisions;
mod events;
mod export;
mod health;
mod lessons;
mod page;
mod parse;
mod parse_rule;
mod parse_sandbox;
mod parse_step;
mod proposals;
mod rules;
mod sandbox;
mod settings;
mod snapshots;
mod violations;
mod watch;

use std::sync::Arc;

use contracts_policies::v1::{
    analysis_service_server::AnalysisServiceServer, approval_service_server::ApprovalServiceServer,
    decision_service_server::DecisionServiceServer, event_service_server::EventServiceServer,
    health_service_server::HealthServiceServer, lesson_service_server::LessonServiceServer,
    proposal_service_server::ProposalServiceServer, rule_service_server::RuleServiceServer,
    sandbox_service_server::SandboxServiceServer, settings_service_server::SettingsServiceServer,
    snapshot_service_server::SnapshotServiceServer, violation_service_server::ViolationServiceServer,
};
use runspine_errors::Fault;
use runspine_policies_domain::words::Profile;
use runspine_rpc::{Routes, context, status};
use tonic::{Request, Response, Status};

use crate::app::{App, Who};

/// The role that changes what belongs to the mesh.
const OPERATOR: &str = "PLATFORM_OPERATOR";

/// Serves the use cases.
pub(crate) struct Rpc {
    app: Arc<App>,
}

/// Every service of the domain.
pub(crate) fn routes(app: &Arc<App>) -> Routes {
    let rpc = Arc::new(Rpc { app: Arc::clone(app) });
    Routes::new()
        .add(RuleServiceServer::from_arc(Arc::clone(&rpc)))
        .add(SnapshotServiceServer::from_arc(Arc::clone(&rpc)))
        .add(DecisionServiceServer::from_arc(Arc::clone(&rpc)))
        .add(AnalysisServiceServer::from_arc(Arc::clone(&rpc)))
        .add(SandboxServiceServer::from_arc(Arc::clone(&rpc)))
        .add(ApprovalServiceServer::from_arc(Arc::clone(&rpc)))
        .add(ViolationServiceServer::from_arc(Arc::clone(&rpc)))
        .add(SettingsServiceServer::from_arc(Arc::clone(&rpc)))
        .add(LessonServiceServer::from_arc(Arc::clone(&rpc)))
        .add(ProposalServiceServer::from_arc(Arc::clone(&rpc)))
        .add(HealthServiceServer::from_arc(Arc::clone(&rpc)))
        .add(EventServiceServer::from_arc(rpc))
}

impl Rpc {
    /// Who calls, and what.
    #[allow(clippy::result_large_err, reason = "a status is what tonic's handlers fail with")]
    fn open<T>(&self, request: Request<T>) -> Result<(Who, T), Status> {
        let call = context(&request)?;
        let who = Who {
            tenant: call.tenant_id.clone(),
            actor: call.actor.clone().unwrap_or_default(),
            owner_id: call.owner_id.clone(),
            roles: call.roles.clone(),
            operator: call.roles.iter().any(|r| r == OPERATOR),
            project_id: call.project_id.clone(),
            run_id: call.run_id.clone(),
            correlation_id: call.correlation_id.clone(),
            causation_id: call.causation_id.clone(),
            config_digest: call.config_digest.clone(),
            profile: Profile::from_code(call.profile).unwrap_or(self.app.profile),
        };
        Ok((who, request.into_inner()))
    }
}

/// A result as a response.
#[allow(clippy::result_large_err, reason = "a status is what tonic's handlers fail with")]
fn answer<T>(done: Result<T, Fault>) -> Result<Response<T>, Status> {
    done.map(Response::new).map_err(status)
}
