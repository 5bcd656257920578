//! CreateIncident: a person opens an incident.

use contracts_incidents::v1 as pb;
use runspine_db::Tx;
use runspine_errors::Outcome;
use runspine_incidents_domain::{
    LinkType,
    incident::Incident,
    outcome::{Occurrence, Subject},
};
use runspine_types::{Digest, new_id};

use super::{Act, App, EvidencePiece, command, contended, emit};
use crate::store::{counters, history, incidents, occurrences};

const OPERATION: &str = "runspine.incidents.v1.IncidentService/CreateIncident";

/// A new incident by hand.
#[derive(Debug, Clone)]
pub struct NewIncident {
    /// What it is about.
    pub subject: Subject,
    /// The runs that it is about, each an occurrence.
    pub run_ids: Vec<String>,
    /// What proves it.
    pub evidence: Vec<EvidencePiece>,
    /// Id of the call.
    pub request_id: String,
    /// Digest of the request.
    pub digest: Digest,
}

impl App {
    /// Opens an incident by hand. Nothing groups it with another, and no cap holds it back.
    ///
    /// # Errors
    /// `IDEMPOTENCY_MISMATCH`, or that the store can't be written.
    pub async fn create(&self, act: Act, new: NewIncident) -> Outcome<pb::Incident> {
        self.db
            .write("create_incident", move |tx| Box::pin(async move { decide(tx, &act, &new).await }))
            .await
    }
}

async fn decide(tx: &mut Tx, act: &Act, new: &NewIncident) -> Outcome<pb::Incident> {
    if let Some(first) = command::replayed(tx, act, OPERATION, &new.request_id, new.digest).await? {
        return Ok(first);
    }
    let seq = counters::next_seq(tx, &act.tenant).await?;
    let runs: Vec<Occurrence> = new.run_ids.iter().map(|run| occurrence(act, new, run)).collect();
    let opened = Incident::open(new_id(), seq, new.subject.clone(), runs.first(), act.now);
    let (mut incident, mut entries) = opened;
    incident.occurrence_count = i64::try_from(runs.len()).unwrap_or(i64::MAX);
    entries.extend(runs.iter().map(|run| incident.linked(LinkType::Run, &run.run_id)));
    if !new.evidence.is_empty() {
        entries.push(incident.evidence_captured(new.evidence.len(), None));
    }
    incident.event_count = i64::try_from(entries.len()).unwrap_or(0);
    if !incidents::insert(tx, &incident).await? {
        return Err(contended());
    }
    for run in &runs {
        occurrences::insert(tx, &act.tenant, &incident.id, run).await?;
        history::link(tx, act, &incident.id, (LinkType::Run, &run.run_id), "named by its author").await?;
    }
    if !new.evidence.is_empty() {
        history::add_evidence(tx, act, &incident.id, "", &new.evidence).await?;
    }
    history::append(tx, act, &incident, &entries).await?;
    emit::entries(tx, act, incident.subject.severity, &incident, &entries[..1], runs.first());
    for run in runs.iter().skip(1) {
        emit::linked(tx, act, &incident, Some(run), false);
    }
    command::keep(tx, act, OPERATION, &new.request_id, new.digest, &incident).await
}

/// A run that a person named: of no attempt in particular.
fn occurrence(act: &Act, new: &NewIncident, run_id: &str) -> Occurrence {
    Occurrence {
        id: new_id(),
        run_id: run_id.to_owned(),
        attempt: 0,
        cause_code: new.subject.cause_code.clone(),
        fact_id: new.request_id.clone(),
        step_index: None,
        tool_name: String::new(),
        occurred_at: act.now,
        recorded_at: act.now,
        cost_microusd: 0,
        overflow: false,
    }
}
