//! IncidentService.

use contracts_common::common::v1::ActorType;
use contracts_incidents::v1::{self as pb, incident_service_server::IncidentService};
use runspine_errors::Outcome;
use runspine_rpc::{Context, context, status};
use tonic::{Request, Response, Status};

use super::{Rpc, parse, present};
use crate::app::Order;

impl Rpc {
    async fn change(&self, context: &Context, order: Outcome<Order>) -> Result<Option<pb::Incident>, Status> {
        let order = order.map_err(status)?;
        self.app.command(self.app.act(context), order).await.map(Some).map_err(status)
    }
}

#[tonic::async_trait]
impl IncidentService for Rpc {
    async fn create_incident(
        &self,
        request: Request<pb::CreateIncidentRequest>,
    ) -> Result<Response<pb::CreateIncidentResponse>, Status> {
        let act = self.app.act(&context(&request)?);
        let new = parse::create(request.into_inner(), &act.tenant, act.now).map_err(status)?;
        let incident = self.app.create(act, new).await.map_err(status)?;
        Ok(Response::new(pb::CreateIncidentResponse { incident: Some(incident) }))
    }

    async fn acknowledge_incident(
        &self,
        request: Request<pb::AcknowledgeIncidentRequest>,
    ) -> Result<Response<pb::AcknowledgeIncidentResponse>, Status> {
        let order = parse::acknowledge(request.get_ref());
        let incident = self.change(&context(&request)?, order).await?;
        Ok(Response::new(pb::AcknowledgeIncidentResponse { incident }))
    }

    async fn resolve_incident(
        &self,
        request: Request<pb::ResolveIncidentRequest>,
    ) -> Result<Response<pb::ResolveIncidentResponse>, Status> {
        let context = context(&request)?;
        let by_mesh = context.actor.as_ref().is_some_and(|actor| actor.r#type() == ActorType::System);
        let order = parse::resolve(request.get_ref(), by_mesh);
        let incident = self.change(&context, order).await?;
        Ok(Response::new(pb::ResolveIncidentResponse { incident }))
    }

    async fn close_incident(
        &self,
        request: Request<pb::CloseIncidentRequest>,
    ) -> Result<Response<pb::CloseIncidentResponse>, Status> {
        let order = parse::close(request.get_ref());
        let incident = self.change(&context(&request)?, order).await?;
        Ok(Response::new(pb::CloseIncidentResponse { incident }))
    }

    async fn reopen_incident(
        &self,
        request: Request<pb::ReopenIncidentRequest>,
    ) -> Result<Response<pb::ReopenIncidentResponse>, Status> {
        let order = parse::reopen(request.get_ref());
        let incident = self.change(&context(&request)?, order).await?;
        Ok(Response::new(pb::ReopenIncidentResponse { incident }))
    }

    async fn raise_severity(
        &self,
        request: Request<pb::RaiseSeverityRequest>,
    ) -> Result<Response<pb::RaiseSeverityResponse>, Status> {
        let order = parse::raise(request.get_ref());
        let incident = self.change(&context(&request)?, order).await?;
        Ok(Response::new(pb::RaiseSeverityResponse { incident }))
    }

    async fn assign_incident(
        &self,
        request: Request<pb::AssignIncidentRequest>,
    ) -> Result<Response<pb::AssignIncidentResponse>, Status> {
        let order = parse::assign(request.get_ref());
        let incident = self.change(&context(&request)?, order).await?;
        Ok(Response::new(pb::AssignIncidentResponse { incident }))
    }

    async fn add_note(
        &self,
        request: Request<pb::AddNoteRequest>,
    ) -> Result<Response<pb::AddNoteResponse>, Status> {
        let order = parse::add_note(request.get_ref());
        let incident = self.change(&context(&request)?, order).await?;
        Ok(Response::new(pb::AddNoteResponse { incident }))
    }

    async fn get_incident(
        &self,
        request: Request<pb::GetIncidentRequest>,
    ) -> Result<Response<pb::GetIncidentResponse>, Status> {
        let context = context(&request)?;
        let id = parse::incident_id(request.into_inner().incident_id).map_err(status)?;
        let detail = self.app.detail(&context.tenant_id, &id).await.map_err(status)?;
        Ok(Response::new(present::detail(detail)))
    }

    async fn list_incidents(
        &self,
        request: Request<pb::ListIncidentsRequest>,
    ) -> Result<Response<pb::ListIncidentsResponse>, Status> {
        let context = context(&request)?;
        let query = parse::list(request.into_inner()).map_err(status)?;
        let (found, next_page_token) = self.app.list(&context.tenant_id, &query).await.map_err(status)?;
        let incidents = found.iter().map(present::incident).collect();
        Ok(Response::new(pb::ListIncidentsResponse { incidents, next_page_token }))
    }

    async fn list_run_incidents(
        &self,
        request: Request<pb::ListRunIncidentsRequest>,
    ) -> Result<Response<pb::ListRunIncidentsResponse>, Status> {
        let context = context(&request)?;
        let run_id = parse::run_id(request.into_inner().run_id).map_err(status)?;
        let found = self.app.of_run(&context.tenant_id, &run_id).await.map_err(status)?;
        Ok(Response::new(pb::ListRunIncidentsResponse {
            incidents: found.incidents.iter().map(present::incident).collect(),
            occurrences: found.occurrences.into_iter().map(present::occurrence).collect(),
            outcomes: found.outcomes.into_iter().map(present::outcome).collect(),
        }))
    }

    async fn list_incident_events(
        &self,
        request: Request<pb::ListIncidentEventsRequest>,
    ) -> Result<Response<pb::ListIncidentEventsResponse>, Status> {
        let context = context(&request)?;
        let (id, size, token) = parse::history(request.into_inner()).map_err(status)?;
        let found = self.app.history(&context.tenant_id, &id, size, &token).await.map_err(status)?;
        let (found, next_page_token) = found;
        let events = found.into_iter().map(present::event).collect();
        Ok(Response::new(pb::ListIncidentEventsResponse { events, next_page_token }))
    }
}
