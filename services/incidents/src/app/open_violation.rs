//! OpenViolationIncident: the incident of a violation fact, with its evidence, in one commit.
//!
//! There is one incident for each rule that a run violated, however often and however long it goes on: a further
//! violation adds its evidence to it, and makes it active again when somebody had ended it.

use runspine_db::Tx;
use runspine_errors::{Fault, Outcome, mesh};
use runspine_incidents_domain::{
    Disposition, LinkType, Severity,
    incident::Incident,
    outcome::{Occurrence, Subject},
};
use runspine_types::Digest;

use super::{
    Act, App, EvidencePiece, contended,
    place::{self, Arrival, Placed},
};
use crate::{
    config::Config,
    store::{
        history, incidents,
        outcomes::{self, ReportRow},
    },
};

/// How often an incident is tried again when another replica was first.
const TRIES: usize = 4;

/// What is said of an incident that somebody had ended.
const AGAIN: &str = "the rule was violated again";

/// A violation that wants its incident.
#[derive(Debug, Clone)]
pub struct ViolationReport {
    /// The fact.
    pub violation_id: String,
    /// What a new incident would be about.
    pub subject: Subject,
    /// Its occurrence.
    pub occurrence: Occurrence,
    /// What proves it; at least one.
    pub evidence: Vec<EvidencePiece>,
}

/// What is answered to a violation.
#[derive(Debug, Clone)]
pub struct ViolationAnswer {
    /// The incident.
    pub incident_id: String,
    /// The evidence of this violation, in order.
    pub evidence_ids: Vec<String>,
    /// Whether an earlier violation had opened it.
    pub existing: bool,
    /// How bad it is now.
    pub severity: i32,
}

impl App {
    /// Opens the incident of a violation once, or adds to it. `digest` is that of the request.
    ///
    /// # Errors
    /// `IDEMPOTENCY_MISMATCH`, or that the store can't be written.
    pub async fn open_violation(
        &self,
        act: Act,
        report: ViolationReport,
        digest: Digest,
    ) -> Outcome<ViolationAnswer> {
        let config = self.config.clone();
        self.db
            .write("open_violation_incident", move |tx| {
                Box::pin(async move { decide(tx, &act, &config, report, digest).await })
            })
            .await
    }
}

async fn decide(
    tx: &mut Tx,
    act: &Act,
    config: &Config,
    report: ViolationReport,
    digest: Digest,
) -> Outcome<ViolationAnswer> {
    if let Some(first) = outcomes::find_report(tx, &act.tenant, &report.violation_id).await? {
        if first.request_digest != digest {
            let text = "the violation was reported with another body";
            return Err(
                Fault::new(&mesh::IDEMPOTENCY_MISMATCH, text).with("violation_id", &report.violation_id)
            );
        }
        return answer(tx, act, first).await;
    }
    let ViolationReport { violation_id, subject, occurrence, evidence } = report;
    let occurrence_id = occurrence.id.clone();
    let link = Some((LinkType::Violation, violation_id.clone()));
    let arrival = Arrival { subject, occurrence, evidence, overflow_cap: None, link };
    let placed = find_place(tx, act, config, &arrival).await?;
    let row = ReportRow {
        disposition: placed.disposition.code(),
        incident_id: placed.incident.id,
        occurrence_id,
        prevention_id: String::new(),
        severity: placed.incident.subject.severity.code(),
        request_digest: digest,
        recorded_at: act.now,
    };
    if outcomes::insert_report(tx, &act.tenant, &violation_id, &row).await? {
        answer(tx, act, row).await
    } else {
        Err(contended())
    }
}

/// The incident of the rule and run whatever became of it, or a new one; never the overflow incident.
async fn find_place(tx: &mut Tx, act: &Act, config: &Config, arrival: &Arrival) -> Outcome<Placed> {
    let key = arrival.subject.grouping_key().digest();
    for _ in 0..TRIES {
        let placed = match incidents::newest_of_key(tx, &act.tenant, &key).await? {
            Some(incident) if incident.status.is_active() => place::join(tx, act, incident, arrival).await?,
            Some(incident) => take_up_again(tx, act, incident, arrival).await?,
            None => place::open_within_cap(tx, act, config, arrival, None).await?,
        };
        if let Some(placed) = placed {
            return Ok(placed);
        }
    }
    Err(contended())
}

async fn take_up_again(
    tx: &mut Tx,
    act: &Act,
    mut incident: Incident,
    arrival: &Arrival,
) -> Outcome<Option<Placed>> {
    let (before, from): (Severity, i64) = (incident.subject.severity, incident.version);
    let mut entries = incident.reopen(AGAIN, act.now)?;
    entries.extend(incident.join(&arrival.occurrence, arrival.subject.severity, act.now));
    place::took(tx, act, incident, from, before, entries, arrival).await
}

/// What was written for a violation, read back: a repeat gets the same.
async fn answer(tx: &mut Tx, act: &Act, row: ReportRow) -> Outcome<ViolationAnswer> {
    Ok(ViolationAnswer {
        evidence_ids: history::evidence_of(tx, &act.tenant, &row.incident_id, &row.occurrence_id).await?,
        incident_id: row.incident_id,
        existing: row.disposition != Disposition::Opened.code(),
        severity: row.severity,
    })
}
