//! An incident and the changes it can take. Each change adds history and one to the version.

use runspine_errors::{Fault, Outcome};
use runspine_types::Micros;

use crate::{
    CloseReason, EventKind, LinkType, ResolutionMethod, ResolutionType, Severity, Status, Trigger,
    grouping::{self, Previous},
    outcome::{Occurrence, Subject},
    reasons,
    state::{self, Act},
};

/// An incident.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Incident {
    /// Its id.
    pub id: String,
    /// Dense number within the tenant, from 1.
    pub seq: i64,
    /// What it is about; the severity in it is the present one.
    pub subject: Subject,
    /// Its state.
    pub status: Status,
    /// Grows by one per change, from 1.
    pub version: i64,
    /// Entries of its history.
    pub event_count: i64,
    /// The grouping key.
    pub dedup_key: String,
    /// Whether the next report of its key may join it: what the unique index guards.
    pub joinable: bool,
    /// Run of the first occurrence; empty: none.
    pub source_run_id: String,
    /// Attempt of the first occurrence; 0: none.
    pub source_attempt: u32,
    /// The step at which it turned bad.
    pub source_step_index: Option<u32>,
    /// Live occurrences.
    pub occurrence_count: i64,
    /// Cost of the live occurrences in micro-USD.
    pub cost_impact_microusd: i64,
    /// When it was opened.
    pub opened_at: Micros,
    /// When the last occurrence arrived.
    pub last_occurrence_at: Micros,
    /// When it was first acknowledged.
    pub acknowledged_at: Option<Micros>,
    /// Who acknowledged it last; empty: nobody.
    pub acknowledged_by: String,
    /// How it ended; none while active.
    pub ending: Option<Ending>,
    /// Who has it; empty: nobody.
    pub assignee: String,
    /// The recurrence signature.
    pub recurrence_signature: String,
    /// When it last changed.
    pub updated_at: Micros,
}

/// How an incident ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ending {
    /// When.
    pub at: Micros,
    /// By whom.
    pub by: String,
    /// The resolution; none when it was closed.
    pub resolution: Option<(ResolutionMethod, ResolutionType)>,
    /// What was done.
    pub summary: String,
    /// Why it was closed; none when it was resolved.
    pub closed_reason: Option<CloseReason>,
}

/// One entry of an incident's history, to be numbered by the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// What happened.
    pub kind: EventKind,
    /// State after it.
    pub status: Status,
    /// Severity after it.
    pub severity: Severity,
    /// The note or reason; empty: none.
    pub note: String,
    /// The occurrence that it is about; empty: none.
    pub occurrence_id: String,
    /// The run that it is about; empty: none.
    pub run_id: String,
}

/// A change: what is to be added to the history.
pub type Entries = Vec<Entry>;

impl Incident {
    /// A new incident with its first occurrence.
    #[must_use]
    pub fn open(
        id: String,
        seq: i64,
        subject: Subject,
        first: Option<&Occurrence>,
        now: Micros,
    ) -> (Self, Entries) {
        let dedup_key = subject.grouping_key().digest();
        let recurrence_signature = subject.signature();
        let incident = Self {
            id,
            seq,
            status: Status::Open,
            version: 1,
            event_count: 0,
            dedup_key,
            // A person's incident is about what the person says: nothing joins it by itself.
            joinable: subject.trigger != Trigger::Human,
            source_run_id: first.map(|o| o.run_id.clone()).unwrap_or_default(),
            source_attempt: first.map_or(0, |o| o.attempt),
            source_step_index: first.and_then(|o| o.step_index),
            occurrence_count: i64::from(first.is_some()),
            cost_impact_microusd: first.map_or(0, |o| o.cost_microusd),
            opened_at: now,
            last_occurrence_at: now,
            acknowledged_at: None,
            acknowledged_by: String::new(),
            ending: None,
            assignee: String::new(),
            recurrence_signature,
            updated_at: now,
            subject,
        };
        let entry = incident.entry(EventKind::Opened, String::new(), first);
        (incident, vec![entry])
    }

    /// Takes another occurrence, which may raise the severity by report or by count.
    #[must_use]
    pub fn join(&mut self, occurrence: &Occurrence, reported: Severity, now: Micros) -> Entries {
        let mut entries = Vec::new();
        self.count(occurrence);
        entries.push(self.entry(EventKind::Joined, String::new(), Some(occurrence)));
        entries.extend(self.raise_by(occurrence, reported));
        self.joinable = true;
        self.last_occurrence_at = self.last_occurrence_at.max(now);
        self.changed(now);
        entries
    }

    /// What the history says when something was linked to it.
    #[must_use]
    pub fn linked(&self, link: LinkType, target_id: &str) -> Entry {
        self.entry(EventKind::Linked, format!("{} {target_id}", link.name()), None)
    }

    /// What the history says when evidence was captured for it.
    #[must_use]
    pub fn evidence_captured(&self, pieces: usize, about: Option<&Occurrence>) -> Entry {
        self.entry(EventKind::EvidenceCaptured, format!("{pieces} piece(s)"), about)
    }

    /// What placing a report needs to know of it.
    #[must_use]
    pub fn as_previous(&self) -> Previous {
        Previous {
            incident_id: self.id.clone(),
            status: self.status,
            opened_at: self.opened_at,
            last_occurrence_at: self.last_occurrence_at,
            resolved_at: self.ending.as_ref().map(|e| e.at),
            resolution_method: self.ending.as_ref().and_then(|e| e.resolution).map(|(method, _)| method),
        }
    }

    /// Becomes active again, because it came back within the flap window.
    ///
    /// # Errors
    /// `INVALID_TRANSITION` unless it is RESOLVED.
    pub fn flap(&mut self, occurrence: &Occurrence, reported: Severity, now: Micros) -> Outcome<Entries> {
        self.status = state::next(self.status, Act::Flap)?;
        self.ending = None;
        self.joinable = true;
        self.count(occurrence);
        let mut entries = vec![self.entry(EventKind::Flapped, String::new(), Some(occurrence))];
        entries.extend(self.raise_by(occurrence, reported));
        self.last_occurrence_at = self.last_occurrence_at.max(now);
        self.changed(now);
        Ok(entries)
    }

    /// Somebody takes it. Nothing happens when the same actor already has.
    ///
    /// # Errors
    /// `INVALID_TRANSITION` from any other state than OPEN.
    pub fn acknowledge(&mut self, by: &str, note: &str, now: Micros) -> Outcome<Entries> {
        if self.is_acknowledged_by(by) {
            return Ok(Vec::new());
        }
        self.status = state::next(self.status, Act::Acknowledge)?;
        self.acknowledged_at = self.acknowledged_at.or(Some(now));
        by.clone_into(&mut self.acknowledged_by);
        self.changed(now);
        Ok(vec![self.entry(EventKind::Acknowledged, note.to_owned(), None)])
    }

    /// Whether it is ACKNOWLEDGED by this actor.
    #[must_use]
    pub fn is_acknowledged_by(&self, by: &str) -> bool {
        self.status == Status::Acknowledged && self.acknowledged_by == by
    }

    /// It is over.
    ///
    /// # Errors
    /// `INVALID_TRANSITION` unless it is active.
    pub fn resolve(
        &mut self,
        by: &str,
        resolution: (ResolutionMethod, ResolutionType),
        summary: &str,
        now: Micros,
    ) -> Outcome<Entries> {
        self.status = state::next(self.status, Act::Resolve)?;
        self.end(by, Some(resolution), summary, None, now);
        let auto = resolution.0 == ResolutionMethod::Auto;
        let kind = if auto { EventKind::AutoResolved } else { EventKind::Resolved };
        Ok(vec![self.entry(kind, summary.to_owned(), None)])
    }

    /// A person closes it without a resolution.
    ///
    /// # Errors
    /// `INVALID_TRANSITION` unless it is active.
    pub fn close(&mut self, by: &str, reason: CloseReason, note: &str, now: Micros) -> Outcome<Entries> {
        self.status = state::next(self.status, Act::Close)?;
        self.end(by, None, note, Some(reason), now);
        let note =
            if note.is_empty() { reason.name().to_owned() } else { format!("{}: {note}", reason.name()) };
        Ok(vec![self.entry(EventKind::Closed, note, None)])
    }

    /// A person makes it active again.
    ///
    /// # Errors
    /// `INVALID_TRANSITION` unless it is RESOLVED or CLOSED_MANUALLY.
    pub fn reopen(&mut self, reason: &str, now: Micros) -> Outcome<Entries> {
        self.status = state::next(self.status, Act::Reopen)?;
        self.ending = None;
        self.changed(now);
        Ok(vec![self.entry(EventKind::Reopened, reason.to_owned(), None)])
    }

    /// Raises the severity by hand.
    ///
    /// # Errors
    /// `INVALID_TRANSITION` unless it is active, `SEVERITY_ONLY_RISES` unless the new one is higher.
    pub fn raise(&mut self, severity: Severity, reason: &str, now: Micros) -> Outcome<Entries> {
        self.require(self.status.is_active(), "the severity changes while the incident is active only")?;
        if severity <= self.subject.severity {
            let what = format!("it is {} already", self.subject.severity.name());
            return Err(Fault::new(&reasons::SEVERITY_ONLY_RISES, what).with("severity", severity.name()));
        }
        self.subject.severity = severity;
        self.changed(now);
        Ok(vec![self.entry(EventKind::SeverityRaised, reason.to_owned(), None)])
    }

    /// Gives it to somebody.
    ///
    /// # Errors
    /// `INVALID_TRANSITION` unless it is active.
    pub fn assign(&mut self, assignee: &str, now: Micros) -> Outcome<Entries> {
        self.require(self.status.is_active(), "only an active incident is assigned")?;
        assignee.clone_into(&mut self.assignee);
        self.changed(now);
        Ok(vec![self.entry(EventKind::Assigned, assignee.to_owned(), None)])
    }

    /// Adds a note.
    ///
    /// # Errors
    /// `INVALID_TRANSITION` when it is VOIDED.
    pub fn note(&mut self, text: &str, now: Micros) -> Outcome<Entries> {
        self.require(self.status != Status::Voided, "a voided incident takes no notes")?;
        self.changed(now);
        Ok(vec![self.entry(EventKind::Note, text.to_owned(), None)])
    }

    /// Voids one of its occurrences; it is voided itself when none is left and nobody acknowledged it.
    ///
    /// # Errors
    /// `INVALID_TRANSITION` when it is VOIDED.
    pub fn void(&mut self, occurrence: &Occurrence, reason: &str, now: Micros) -> Outcome<Entries> {
        let voided = state::next(self.status, Act::Void)?;
        self.occurrence_count = (self.occurrence_count - 1).max(0);
        self.cost_impact_microusd = (self.cost_impact_microusd - occurrence.cost_microusd).max(0);
        if self.occurrence_count == 0 && self.acknowledged_at.is_none() {
            self.status = voided;
            self.joinable = false;
        }
        self.changed(now);
        Ok(vec![self.entry(EventKind::Voided, reason.to_owned(), Some(occurrence))])
    }

    /// Refuses when the caller has seen another version.
    ///
    /// # Errors
    /// `VERSION_MOVED`.
    pub fn expect_version(&self, expected: i64) -> Outcome<()> {
        if self.version == expected {
            return Ok(());
        }
        let what = format!("the incident is at version {}, not {expected}", self.version);
        Err(Fault::new(&reasons::VERSION_MOVED, what).with("version", self.version))
    }

    fn count(&mut self, occurrence: &Occurrence) {
        self.occurrence_count += 1;
        self.cost_impact_microusd = self.cost_impact_microusd.saturating_add(occurrence.cost_microusd);
    }

    fn raise_by(&mut self, occurrence: &Occurrence, reported: Severity) -> Option<Entry> {
        let counted = grouping::severity_by_count(self.occurrence_count);
        let asked = counted.map_or(reported, |c| c.max(reported));
        if asked <= self.subject.severity {
            return None;
        }
        self.subject.severity = asked;
        let why = if counted == Some(asked) { "COUNT" } else { "REPORT" };
        Some(self.entry(EventKind::SeverityRaised, why.to_owned(), Some(occurrence)))
    }

    fn end(
        &mut self,
        by: &str,
        resolution: Option<(ResolutionMethod, ResolutionType)>,
        summary: &str,
        closed_reason: Option<CloseReason>,
        now: Micros,
    ) {
        let (by, summary) = (by.to_owned(), summary.to_owned());
        self.ending = Some(Ending { at: now, by, resolution, summary, closed_reason });
        self.joinable = false;
        self.changed(now);
    }

    fn changed(&mut self, now: Micros) {
        self.version += 1;
        // Calls wait for their turn to write, so that their times may come out of order.
        self.updated_at = self.updated_at.max(now);
    }

    fn entry(&self, kind: EventKind, note: String, about: Option<&Occurrence>) -> Entry {
        Entry {
            kind,
            status: self.status,
            severity: self.subject.severity,
            note,
            occurrence_id: about.map(|o| o.id.clone()).unwrap_or_default(),
            run_id: about.map(|o| o.run_id.clone()).unwrap_or_default(),
        }
    }

    fn require(&self, holds: bool, what: &str) -> Outcome<()> {
        if holds {
            return Ok(());
        }
        Err(Fault::new(&reasons::INVALID_TRANSITION, what).with("from", self.status.name()))
    }
}

#[cfg(test)]
#[path = "incident_tests.rs"]
mod tests;
