//! What one domain knows of a run, as its part of an export.

use contracts_activity::v1::{GetRunStateRequest, GetRunViewRequest};
use contracts_controls::v1::GetRunControlsEvidenceRequest;
use contracts_incidents::v1::ListRunIncidentsRequest;
use contracts_logs::v1::{
    CreateCheckpointRequest, ExportFigure, ExportOrdered, ExportScope, add_export_part_request::Piece,
};
use contracts_policies::v1::GetRunPolicyEvidenceRequest;
use prost::Message;
use runspine_errors::Fault;
use runspine_rpc::{Context, status};
use tonic::Status;

use super::{bundle::decisions, figures, protojson::documents};
use crate::{
    bridges::{Called, Miss},
    kernel::Kernel,
};

impl Kernel {
    /// Everything that `source` knows of what is exported. A domain that knows nothing of it gives nothing.
    pub(crate) async fn export_part(
        &self,
        context: &Context,
        order: &ExportOrdered,
        source: &str,
    ) -> Called<Vec<Piece>> {
        let gathered = match (order.scope(), source) {
            (ExportScope::Bundle, "policies") => self.every_decision(context, &order.run_id).await,
            (ExportScope::Evidence | ExportScope::Executive, _) => {
                self.known_by(context, order, source).await
            }
            _ => Err(unknown(source)),
        };
        match gathered {
            Err(miss) if miss.is_not_found() => Ok(Vec::new()),
            other => other,
        }
    }

    /// The decisions of every attempt. The ledger is put under a checkpoint first, so that the bundle can prove its
    /// entries; a bundle without one says so itself.
    async fn every_decision(&self, context: &Context, run_id: &str) -> Called<Vec<Piece>> {
        if let Err(miss) = self.bridges.exports.checkpoint(context, CreateCheckpointRequest::default()).await
        {
            tracing::warn!(?miss, "a bundle gets no new checkpoint");
        }
        let get = GetRunStateRequest { run_id: run_id.to_owned(), attempt: 0, with_start_input: false };
        let latest = self.bridges.runs.run_state(context, get).await?.state.map_or(1, |s| s.latest_attempt);
        let mut pieces = Vec::new();
        for attempt in 1..=latest.max(1) {
            let mut page_token = String::new();
            loop {
                let of = (run_id, attempt);
                let (documents, next) = decisions(&self.bridges, context, of, page_token).await?;
                pieces.extend(documents.into_iter().map(Piece::Decision));
                page_token = next;
                if page_token.is_empty() {
                    break;
                }
            }
        }
        Ok(pieces)
    }

    async fn known_by(&self, context: &Context, order: &ExportOrdered, source: &str) -> Called<Vec<Piece>> {
        let (run_id, attempt) = (order.run_id.clone(), order.attempt);
        let b = &self.bridges;
        match source {
            "activity" => {
                let view = b.views.run_view(context, GetRunViewRequest { run_id }).await?;
                pieces("runspine.activity.v1.GetRunViewResponse", &view, figures::of_run(&view))
            }
            "incidents" => {
                let found = b.incidents.for_run(context, ListRunIncidentsRequest { run_id }).await?;
                let name = "runspine.incidents.v1.ListRunIncidentsResponse";
                pieces(name, &found, figures::of_incidents(&found))
            }
            "policies" => {
                let get = GetRunPolicyEvidenceRequest { run_id, attempt };
                let found = b.policy_runs.evidence(context, get).await?;
                let name = "runspine.policies.v1.GetRunPolicyEvidenceResponse";
                pieces(name, &found, figures::of_rules(&found))
            }
            "controls" => {
                let get = GetRunControlsEvidenceRequest { run_id, attempt };
                let found = b.settlements.evidence(context, get).await?;
                let name = "runspine.controls.v1.GetRunControlsEvidenceResponse";
                pieces(name, &found, figures::of_limits(&found))
            }
            _ => Err(unknown(source)),
        }
    }
}

/// A newer logs may wait for a domain that this spine has no way to.
fn unknown(source: &str) -> Miss {
    Miss::new(Status::unimplemented(format!("there is no way to {source} for an export")))
}

fn pieces(name: &str, answer: &impl Message, figures: Vec<ExportFigure>) -> Called<Vec<Piece>> {
    let documents = documents(name, answer).map_err(|fault: Fault| Miss::new(status(fault)))?;
    let figures = figures.into_iter().map(Piece::Figure);
    Ok(figures.chain(documents.into_iter().map(Piece::Document)).collect())
}
