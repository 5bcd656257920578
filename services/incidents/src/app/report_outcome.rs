//! ReportRunOutcome: one call per attempt, whatever the outcome.

use runspine_db::Tx;
use runspine_errors::{Fault, Outcome};
use runspine_incidents_domain::{
    Category, Disposition, ResolutionMethod, ResolutionType, Severity, Termination, cause,
    outcome::{Road, RunReport},
    reasons,
    suppression::Suppression,
};
use runspine_types::{Digest, new_id};

use super::{
    Act, App, contended, emit,
    place::{self, Arrival, Placed},
};
use crate::{
    config::Config,
    store::{
        history, incidents, occurrences,
        outcomes::{self, OutcomeRow},
    },
};

/// What is answered to a report of an attempt; the row is the answer, so a repeat gives the same.
pub type OutcomeAnswer = OutcomeRow;

impl App {
    /// Reports how an attempt ended. `digest` is that of the request.
    ///
    /// # Errors
    /// `OUTCOME_CONFLICT`, `ALREADY_VOIDED`, `SUPPRESSION_FORBIDDEN`, or that the store can't be written.
    pub async fn report_outcome(
        &self,
        act: Act,
        report: RunReport,
        digest: Digest,
    ) -> Outcome<OutcomeAnswer> {
        let config = self.config.clone();
        self.db
            .write("report_run_outcome", move |tx| {
                Box::pin(async move { decide(tx, &act, &config, &report, digest).await })
            })
            .await
    }
}

async fn decide(
    tx: &mut Tx,
    act: &Act,
    config: &Config,
    report: &RunReport,
    digest: Digest,
) -> Outcome<OutcomeAnswer> {
    if let Some(first) = outcomes::find(tx, &act.tenant, &report.run_id, report.attempt).await? {
        return if first.request_digest == digest { Ok(first) } else { Err(conflict(report)) };
    }
    if occurrences::voided_ahead(tx, &act.tenant, &report.run_id, report.attempt).await? {
        let what = "the attempt was voided before its outcome was reported";
        return Err(Fault::new(&reasons::ALREADY_VOIDED, what).precondition(subject_of(report), what));
    }
    let row = match report.road()? {
        Road::NotApplicable => {
            resolve_recovered(tx, act, report).await?;
            empty_row(act, report, digest, Disposition::NotApplicable)
        }
        Road::Suppressed(suppression) => suppressed_row(act, report, digest, suppression),
        Road::Incident => {
            let placed = find_place(tx, act, config, report).await?;
            placed_row(act, report, digest, placed)
        }
    };
    if outcomes::insert(tx, &act.tenant, &report.run_id, &row).await? { Ok(row) } else { Err(contended()) }
}

async fn find_place(
    tx: &mut Tx,
    act: &Act,
    config: &Config,
    report: &RunReport,
) -> Outcome<(Placed, String)> {
    let occurrence = report.occurrence(new_id(), act.now);
    let id = occurrence.id.clone();
    let subject = report.subject(&act.tenant);
    let arrival = Arrival { subject, occurrence, evidence: Vec::new(), overflow_cap: None, link: None };
    let blocked = report.termination == Termination::PolicyBlock && !report.violation_policy_id.is_empty();
    if blocked {
        let (rule, run) = (&report.violation_policy_id, &report.run_id);
        if let Some(violation) = incidents::violation_of_run(tx, &act.tenant, rule, run).await? {
            let joined = place::join(tx, act, violation, &arrival).await?;
            return joined.map(|placed| (placed, id)).ok_or_else(contended);
        }
    }
    Ok((place::place(tx, act, config, arrival).await?, id))
}

/// A later attempt succeeded: what only its earlier attempts were about is over.
async fn resolve_recovered(tx: &mut Tx, act: &Act, report: &RunReport) -> Outcome<()> {
    if report.attempt < 2 {
        return Ok(());
    }
    for mut incident in incidents::recovered_by(tx, &act.tenant, &report.run_id, report.attempt).await? {
        let (before, from) = (incident.subject.severity, incident.version);
        let note = format!("attempt {} of the run succeeded", report.attempt);
        let resolution = (ResolutionMethod::Auto, ResolutionType::Recovered);
        let entries = incident.resolve("incidents", resolution, &note, act.now)?;
        incident.event_count += 1;
        if !incidents::update(tx, &incident, from).await? {
            return Err(contended());
        }
        history::append(tx, act, &incident, &entries).await?;
        emit::entries(tx, act, before, &incident, &entries, None);
    }
    Ok(())
}

fn empty_row(act: &Act, report: &RunReport, digest: Digest, disposition: Disposition) -> OutcomeRow {
    OutcomeRow {
        attempt: report.attempt,
        status: report.status.code(),
        disposition: disposition.code(),
        incident_id: String::new(),
        occurrence_id: String::new(),
        prevention_id: String::new(),
        cause_code: String::new(),
        severity: None,
        category: None,
        request_digest: digest,
        recorded_at: act.now,
    }
}

fn suppressed_row(act: &Act, report: &RunReport, digest: Digest, suppression: Suppression) -> OutcomeRow {
    let cause_code = report.cause_code();
    let (severity, category): (Severity, Category) = cause::weigh(&cause_code);
    OutcomeRow {
        prevention_id: suppression.prevention_id,
        severity: Some(severity.code()),
        category: Some(category.code()),
        cause_code,
        ..empty_row(act, report, digest, Disposition::Suppressed)
    }
}

fn placed_row(act: &Act, report: &RunReport, digest: Digest, (placed, id): (Placed, String)) -> OutcomeRow {
    let cause_code = report.cause_code();
    let (_, category) = cause::weigh(&cause_code);
    OutcomeRow {
        incident_id: placed.incident.id,
        occurrence_id: id,
        severity: Some(placed.incident.subject.severity.code()),
        category: Some(category.code()),
        cause_code,
        ..empty_row(act, report, digest, placed.disposition)
    }
}

fn subject_of(report: &RunReport) -> String {
    format!("runs/{}/attempts/{}", report.run_id, report.attempt)
}

fn conflict(report: &RunReport) -> Fault {
    Fault::new(&reasons::OUTCOME_CONFLICT, "the attempt was reported with another body")
        .with("run_id", &report.run_id)
        .with("attempt", report.attempt)
}
