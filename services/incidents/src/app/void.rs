//! VoidIncident: the undo of a report.

use bytes::Bytes;
use contracts_incidents::v1 as pb;
use prost::Message;
use runspine_db::{KeptAnswer, Replayed, Tx};
use runspine_errors::{Fault, Outcome, mesh};
use runspine_incidents_domain::{incident::Incident, outcome::Occurrence};
use runspine_types::{Digest, new_id};

use super::{Act, App, contended, emit};
use crate::{
    rpc::present,
    store::{
        history, incidents,
        occurrences::{self, OccurrenceRow, VoidRow},
        outcomes,
    },
};

const OPERATION: &str = "runspine.incidents.v1.IncidentReportService/VoidIncident";

/// Which report to undo: by its cause code, or by the incident that took it.
#[derive(Debug, Clone)]
pub struct VoidOrder {
    /// The run.
    pub run_id: String,
    /// The attempt.
    pub attempt: u32,
    /// The cause code; empty: by incident.
    pub cause: String,
    /// The incident; empty: by cause.
    pub incident_id: String,
    /// Why.
    pub reason: String,
}

impl App {
    /// Undoes a report. `digest` is that of the request without its `request_id`.
    ///
    /// # Errors
    /// `IDEMPOTENCY_MISMATCH`, or that the store can't be written.
    pub async fn void(
        &self,
        act: Act,
        order: VoidOrder,
        digest: Digest,
    ) -> Outcome<pb::VoidIncidentResponse> {
        self.db
            .write("void_incident", move |tx| Box::pin(async move { decide(tx, &act, &order, digest).await }))
            .await
    }
}

async fn decide(
    tx: &mut Tx,
    act: &Act,
    order: &VoidOrder,
    digest: Digest,
) -> Outcome<pb::VoidIncidentResponse> {
    let key = format!("{}/{}/{}/{}", order.run_id, order.attempt, order.cause, order.incident_id);
    if let Replayed::Replay(answer) = tx.replay(&act.tenant, OPERATION, &key, digest).await? {
        return decode(answer);
    }
    let attempt = (order.run_id.as_str(), order.attempt);
    let live =
        occurrences::live_of_attempt(tx, &act.tenant, attempt, &order.cause, &order.incident_id).await?;
    let mut answer = pb::VoidIncidentResponse::default();
    for row in live {
        let incident = void_one(tx, act, order, row).await?;
        answer.incident = Some(present::incident(&incident));
        answer.voided_occurrences += 1;
    }
    let reported = outcomes::find(tx, &act.tenant, &order.run_id, order.attempt).await?.is_some();
    if answer.voided_occurrences == 0 && !reported {
        // The report may still be under way: it must find this row and be refused.
        occurrences::insert_void(tx, act, void_row(order, "", &order.incident_id)).await?;
    }
    let (tenant, operation) = (act.tenant.clone(), OPERATION.to_owned());
    let kept = answer.encode_to_vec().into();
    tx.keep_answer(KeptAnswer { tenant, operation, key, request_digest: digest, answer: kept, at: act.now })
        .await?;
    Ok(answer)
}

async fn void_one(tx: &mut Tx, act: &Act, order: &VoidOrder, row: OccurrenceRow) -> Outcome<Incident> {
    let found = incidents::find(tx, &act.tenant, &row.incident_id).await?;
    let mut incident =
        found.ok_or_else(|| Fault::new(&mesh::INTERNAL, "an occurrence without its incident"))?;
    let (before, from) = (incident.subject.severity, incident.version);
    let occurrence = Occurrence::from(row);
    let entries = incident.void(&occurrence, &order.reason, act.now)?;
    incident.event_count += 1;
    if !incidents::update(tx, &incident, from).await? {
        return Err(contended());
    }
    occurrences::insert_void(tx, act, void_row(order, &occurrence.id, &incident.id)).await?;
    history::append(tx, act, &incident, &entries).await?;
    emit::entries(tx, act, before, &incident, &entries, Some(&occurrence));
    Ok(incident)
}

fn void_row<'a>(order: &'a VoidOrder, occurrence_id: &'a str, incident_id: &'a str) -> VoidRow<'a> {
    VoidRow {
        id: new_id(),
        run_id: &order.run_id,
        attempt: order.attempt,
        cause_code: &order.cause,
        incident_id,
        occurrence_id,
        reason: &order.reason,
    }
}

fn decode(answer: Bytes) -> Outcome<pb::VoidIncidentResponse> {
    pb::VoidIncidentResponse::decode(answer)
        .map_err(|error| Fault::new(&mesh::INTERNAL, "a kept answer can't be read").caused_by(error))
}
