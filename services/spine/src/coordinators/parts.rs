//! What one domain knows of a run, or of every attempt that an incident struck, as its part of an export.

use std::collections::BTreeSet;

use contracts_activity::v1::{GetRunStateRequest, GetRunViewRequest};
use contracts_controls::v1::GetRunControlsEvidenceRequest;
use contracts_incidents::v1::{GetIncidentExportRequest, IncidentExportPart, ListRunIncidentsRequest};
use contracts_logs::v1::{
    CreateCheckpointRequest, ExportFigure, ExportOrdered, ExportScope, add_export_part_request::Piece,
};
use contracts_policies::v1::GetRunPolicyEvidenceRequest;
use prost::Message;
use runspine_errors::Fault;
use runspine_rpc::{Context, status};
use runspine_types::hash;
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
            (ExportScope::Evidence | ExportScope::Executive | ExportScope::Incident, _) => {
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
        let b = &self.bridges;
        match source {
            "activity" => {
                let mut runs: Vec<String> = attempts(order).into_iter().map(|(run_id, _)| run_id).collect();
                let mut seen = BTreeSet::new();
                runs.retain(|run_id| seen.insert(run_id.clone()));
                let ask = |run_id| b.views.run_view(context, GetRunViewRequest { run_id });
                let found = each(runs, ask).await?;
                pieces("runspine.activity.v1.GetRunViewResponse", &found, figures::of_runs(&found))
            }
            "incidents" if !order.incident_export_id.is_empty() => {
                self.frozen(context, &order.incident_export_id).await
            }
            "incidents" => {
                let list = ListRunIncidentsRequest { run_id: order.run_id.clone() };
                let found = b.incidents.for_run(context, list).await?;
                let name = "runspine.incidents.v1.ListRunIncidentsResponse";
                let figures = figures::of_incidents(&found);
                pieces(name, &[found], figures)
            }
            "policies" => {
                let ask = |(run_id, attempt)| {
                    b.policy_runs.evidence(context, GetRunPolicyEvidenceRequest { run_id, attempt })
                };
                let found = each(attempts(order), ask).await?;
                let name = "runspine.policies.v1.GetRunPolicyEvidenceResponse";
                pieces(name, &found, figures::of_rules(&found))
            }
            "controls" => {
                let ask = |(run_id, attempt)| {
                    b.settlements.evidence(context, GetRunControlsEvidenceRequest { run_id, attempt })
                };
                let found = each(attempts(order), ask).await?;
                let name = "runspine.controls.v1.GetRunControlsEvidenceResponse";
                pieces(name, &found, figures::of_limits(&found))
            }
            _ => Err(unknown(source)),
        }
    }

    /// What incidents froze for an export: what came is what the digest says, or it is no part.
    async fn frozen(&self, context: &Context, export_id: &str) -> Called<Vec<Piece>> {
        let get = GetIncidentExportRequest { export_id: export_id.to_owned() };
        let found = self.bridges.incident_exports.frozen(context, get).await?;
        let digest = found.export.unwrap_or_default().part_digest;
        let broken =
            |what: &str| Miss::new(Status::data_loss(format!("the frozen part of {export_id} {what}")));
        if hash(&found.part).to_vec() != digest {
            return Err(broken("is not what its digest says"));
        }
        let part = IncidentExportPart::decode(found.part).map_err(|_| broken("can't be read"))?;
        let figures = figures::of_frozen(&part, &digest);
        pieces("runspine.incidents.v1.IncidentExportPart", &[part], figures)
    }
}

/// The attempts that an export is about.
fn attempts(order: &ExportOrdered) -> Vec<(String, u32)> {
    if order.incident_export_id.is_empty() {
        return vec![(order.run_id.clone(), order.attempt)];
    }
    order.attempts.iter().map(|one| (one.run_id.clone(), one.attempt)).collect()
}

/// What a domain says of each. It may know nothing of one and something of the next; one that knows nothing of any is
/// not found.
async fn each<Q, A, F>(asked: Vec<Q>, ask: impl Fn(Q) -> F) -> Called<Vec<A>>
where
    F: Future<Output = Called<A>>,
{
    let (mut found, mut unknown) = (Vec::with_capacity(asked.len()), None);
    for one in asked {
        match ask(one).await {
            Ok(answer) => found.push(answer),
            Err(miss) if miss.is_not_found() => unknown = Some(miss),
            Err(miss) => return Err(miss),
        }
    }
    match unknown {
        Some(miss) if found.is_empty() => Err(miss),
        _ => Ok(found),
    }
}

/// A newer logs may wait for a domain that this spine has no way to.
fn unknown(source: &str) -> Miss {
    Miss::new(Status::unimplemented(format!("there is no way to {source} for an export")))
}

fn pieces(name: &str, answers: &[impl Message], figures: Vec<ExportFigure>) -> Called<Vec<Piece>> {
    let mut pieces: Vec<Piece> = figures.into_iter().map(Piece::Figure).collect();
    for answer in answers {
        let documents = documents(name, answer).map_err(|fault: Fault| Miss::new(status(fault)))?;
        pieces.extend(documents.into_iter().map(Piece::Document));
    }
    Ok(pieces)
}
