//! Rows 5 to 7 of the decision table: which incident takes an occurrence.

use runspine_db::Tx;
use runspine_errors::{Fault, Outcome};
use runspine_incidents_domain::{
    Disposition, LinkType, Severity,
    grouping::{self, Place, Window},
    incident::{Entries, Incident},
    outcome::{Occurrence, Subject},
};
use runspine_types::new_id;

use super::{Act, EvidencePiece, contended, emit};
use crate::{
    config::Config,
    store::{counters, history, incidents, occurrences},
};

/// How often a report tries again when another replica was first.
const TRIES: usize = 4;

/// An occurrence that wants a place.
#[derive(Debug, Clone)]
pub struct Arrival {
    /// What a new incident would be about.
    pub subject: Subject,
    /// The occurrence.
    pub occurrence: Occurrence,
    /// What proves it.
    pub evidence: Vec<EvidencePiece>,
    /// The cap that sent it to the overflow incident, whose title names the count; `None`: it was not sent there.
    pub overflow_cap: Option<i64>,
    /// What the incident is linked to because of it.
    pub link: Option<(LinkType, String)>,
}

/// Where it went.
#[derive(Debug, Clone)]
pub struct Placed {
    /// What was done.
    pub disposition: Disposition,
    /// The incident after it.
    pub incident: Incident,
}

/// Gives an occurrence its place: in an active incident, in the overflow incident of the hour, or in a new one.
pub async fn place(tx: &mut Tx, act: &Act, config: &Config, arrival: Arrival) -> Outcome<Placed> {
    for _ in 0..TRIES {
        if let Some(placed) = attempt(tx, act, config, &arrival, config.window()).await? {
            return Ok(placed);
        }
    }
    Err(contended())
}

/// Puts an occurrence into this incident, which is active.
pub async fn join(tx: &mut Tx, act: &Act, incident: Incident, arrival: &Arrival) -> Outcome<Option<Placed>> {
    let (before, from) = (incident.subject.severity, incident.version);
    let mut incident = incident;
    let entries = incident.join(&arrival.occurrence, arrival.subject.severity, act.now);
    took(tx, act, incident, from, before, entries, arrival).await
}

async fn attempt(
    tx: &mut Tx,
    act: &Act,
    config: &Config,
    arrival: &Arrival,
    window: Window,
) -> Outcome<Option<Placed>> {
    let key = arrival.subject.grouping_key().digest();
    let newest = incidents::newest_of_key(tx, &act.tenant, &key).await?;
    let place = grouping::place(newest.as_ref().map(Incident::as_previous).as_ref(), act.now, window);
    match (place, newest) {
        (Place::Join(_), Some(incident)) => join(tx, act, incident, arrival).await,
        (Place::Flap(_), Some(incident)) => flap(tx, act, incident, arrival).await,
        (Place::New { recurrence_of }, newest) => {
            if newest.is_some_and(|i| i.joinable) {
                incidents::release_key(tx, &act.tenant, &key).await?;
            }
            open_within_cap(tx, act, config, arrival, recurrence_of.as_deref()).await
        }
        // `place` names the incident that it was given.
        (Place::Join(_) | Place::Flap(_), None) => Ok(None),
    }
}

/// Opens an incident if the hour has a place for it, else the overflow incident takes the occurrence.
pub async fn open_within_cap(
    tx: &mut Tx,
    act: &Act,
    config: &Config,
    arrival: &Arrival,
    recurrence_of: Option<&str>,
) -> Outcome<Option<Placed>> {
    if arrival.subject.passes_cap() {
        return open(tx, act, arrival, recurrence_of).await;
    }
    let hour = grouping::hour_of(act.now);
    let cap = i64::from(config.max_new_per_hour);
    if !counters::take_place(tx, &act.tenant, hour, cap).await? {
        return Box::pin(overflow(tx, act, config, arrival, hour)).await;
    }
    let opened = open(tx, act, arrival, recurrence_of).await?;
    if opened.is_none() {
        counters::give_back_place(tx, &act.tenant, hour).await?;
    }
    Ok(opened)
}

/// Puts the occurrence into the overflow incident of the hour.
async fn overflow(
    tx: &mut Tx,
    act: &Act,
    config: &Config,
    arrival: &Arrival,
    hour: i64,
) -> Outcome<Option<Placed>> {
    let cap = i64::from(config.max_new_per_hour);
    let subject = arrival.subject.overflow(hour, cap);
    let occurrence = Occurrence { overflow: true, ..arrival.occurrence.clone() };
    let arrival = Arrival { subject, occurrence, overflow_cap: Some(cap), ..arrival.clone() };
    let placed = attempt(tx, act, config, &arrival, config.window().for_overflow()).await?;
    Ok(placed.map(|placed| Placed { disposition: Disposition::Overflowed, ..placed }))
}

async fn flap(tx: &mut Tx, act: &Act, incident: Incident, arrival: &Arrival) -> Outcome<Option<Placed>> {
    let (before, from) = (incident.subject.severity, incident.version);
    let mut incident = incident;
    let entries = incident.flap(&arrival.occurrence, arrival.subject.severity, act.now)?;
    took(tx, act, incident, from, before, entries, arrival).await
}

/// Writes an incident that took an occurrence; `None` when another replica changed it first.
pub async fn took(
    tx: &mut Tx,
    act: &Act,
    mut incident: Incident,
    from: i64,
    before: Severity,
    mut entries: Entries,
    arrival: &Arrival,
) -> Outcome<Option<Placed>> {
    if let Some(cap) = arrival.overflow_cap {
        incident.subject.title = grouping::overflow_title(incident.occurrence_count, cap);
    }
    entries.extend(attached(&incident, arrival));
    incident.event_count += len(&entries);
    if !incidents::update(tx, &incident, from).await? {
        return Ok(None);
    }
    keep(tx, act, &incident, before, &entries, arrival).await?;
    Ok(Some(Placed { disposition: Disposition::Joined, incident }))
}

/// Opens an incident; `None` when another replica opened it first.
async fn open(
    tx: &mut Tx,
    act: &Act,
    arrival: &Arrival,
    recurrence_of: Option<&str>,
) -> Outcome<Option<Placed>> {
    let seq = counters::next_seq(tx, &act.tenant).await?;
    let subject = arrival.subject.clone();
    let before = subject.severity;
    let (mut incident, mut entries) =
        Incident::open(new_id(), seq, subject, Some(&arrival.occurrence), act.now);
    if let Some(earlier) = recurrence_of {
        entries.push(incident.linked(LinkType::RecurrenceOf, earlier));
    }
    entries.extend(attached(&incident, arrival));
    incident.event_count = len(&entries);
    if !incidents::insert(tx, &incident).await? {
        counters::give_back_seq(tx, &act.tenant).await?;
        return Ok(None);
    }
    keep(tx, act, &incident, before, &entries, arrival).await?;
    if let Some(earlier) = recurrence_of {
        history::link(tx, act, &incident.id, (LinkType::RecurrenceOf, earlier), "same grouping key").await?;
    }
    Ok(Some(Placed { disposition: Disposition::Opened, incident }))
}

/// What the history says of what came with an occurrence.
fn attached(incident: &Incident, arrival: &Arrival) -> Entries {
    let mut entries = Entries::new();
    if let Some((link, target)) = &arrival.link {
        entries.push(incident.linked(*link, target));
    }
    if !arrival.evidence.is_empty() {
        entries.push(incident.evidence_captured(arrival.evidence.len(), Some(&arrival.occurrence)));
    }
    entries
}

/// Writes what hangs on an incident that took an occurrence.
async fn keep(
    tx: &mut Tx,
    act: &Act,
    incident: &Incident,
    before: Severity,
    entries: &Entries,
    arrival: &Arrival,
) -> Result<(), Fault> {
    occurrences::insert(tx, &act.tenant, &incident.id, &arrival.occurrence).await?;
    if let Some((link, target)) = &arrival.link {
        history::link(tx, act, &incident.id, (*link, target), &arrival.occurrence.cause_code).await?;
    }
    if !arrival.evidence.is_empty() {
        history::add_evidence(tx, act, &incident.id, &arrival.occurrence.id, &arrival.evidence).await?;
    }
    history::append(tx, act, incident, entries).await?;
    emit::entries(tx, act, before, incident, entries, Some(&arrival.occurrence));
    Ok(())
}

fn len(entries: &Entries) -> i64 {
    i64::try_from(entries.len()).unwrap_or(i64::MAX)
}
