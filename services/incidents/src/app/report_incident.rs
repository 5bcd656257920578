//! ReportIncident: a fact that is not the outcome of a run.

use runspine_db::Tx;
use runspine_errors::{Fault, Outcome, mesh};
use runspine_incidents_domain::{
    Disposition,
    outcome::{Occurrence, Subject},
    suppression::{self, Suppression},
};
use runspine_types::Digest;

use super::{
    Act, App, EvidencePiece, contended,
    place::{self, Arrival},
};
use crate::{
    config::Config,
    store::outcomes::{self, ReportRow},
};

/// A fact to report; its severity is already the one to open with.
#[derive(Debug, Clone)]
pub struct FactReport {
    /// Id of the fact.
    pub fact_id: String,
    /// What an incident would be about.
    pub subject: Subject,
    /// Its occurrence.
    pub occurrence: Occurrence,
    /// What proves it.
    pub evidence: Vec<EvidencePiece>,
    /// What a learned rule prevented.
    pub suppression: Option<Suppression>,
}

/// What is answered to a report of a fact; the row is the answer.
pub type FactAnswer = ReportRow;

impl App {
    /// Reports a fact once. `digest` is that of the request.
    ///
    /// # Errors
    /// `IDEMPOTENCY_MISMATCH`, `SUPPRESSION_FORBIDDEN`, or that the store can't be written.
    pub async fn report_incident(&self, act: Act, report: FactReport, digest: Digest) -> Outcome<FactAnswer> {
        let config = self.config.clone();
        self.db
            .write("report_incident", move |tx| {
                Box::pin(async move { decide(tx, &act, &config, report, digest).await })
            })
            .await
    }
}

async fn decide(
    tx: &mut Tx,
    act: &Act,
    config: &Config,
    report: FactReport,
    digest: Digest,
) -> Outcome<FactAnswer> {
    if let Some(first) = outcomes::find_report(tx, &act.tenant, &report.fact_id).await? {
        return if first.request_digest == digest { Ok(first) } else { Err(mismatch(&report.fact_id)) };
    }
    let severity = report.subject.severity;
    let row = if let Some(given) = report.suppression {
        suppression::allow(report.subject.trigger, severity, &report.subject.cause_code)?;
        ReportRow {
            disposition: Disposition::Suppressed.code(),
            incident_id: String::new(),
            occurrence_id: String::new(),
            prevention_id: given.prevention_id,
            severity: severity.code(),
            request_digest: digest,
            recorded_at: act.now,
        }
    } else {
        let (subject, occurrence, evidence) = (report.subject, report.occurrence, report.evidence);
        let occurrence_id = occurrence.id.clone();
        let arrival = Arrival { subject, occurrence, evidence, overflow_cap: None, link: None };
        let placed = place::place(tx, act, config, arrival).await?;
        ReportRow {
            disposition: placed.disposition.code(),
            incident_id: placed.incident.id,
            occurrence_id,
            prevention_id: String::new(),
            severity: placed.incident.subject.severity.code(),
            request_digest: digest,
            recorded_at: act.now,
        }
    };
    if outcomes::insert_report(tx, &act.tenant, &report.fact_id, &row).await? {
        Ok(row)
    } else {
        Err(contended())
    }
}

fn mismatch(fact_id: &str) -> Fault {
    Fault::new(&mesh::IDEMPOTENCY_MISMATCH, "the fact was reported with another body")
        .with("fact_id", fact_id)
}
