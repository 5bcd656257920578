//! What can be read. A read that fails is an error, never an empty list.

use runspine_db::{Value, args};
use runspine_errors::{Fault, Outcome, mesh};
use runspine_incidents_domain::incident::Incident;
use runspine_types::{Digest, PageSize, PageToken};

use super::{App, command::not_found};
use crate::store::{
    history::{self, EventRow, LinkRow},
    incidents::{IncidentRow, select},
    lists::{self, Filter, Order},
    occurrences::{self, OccurrenceRow},
    outcomes::{self, OutcomeRow},
};

/// An incident with what hangs on it.
#[derive(Debug, Clone)]
pub struct Detail {
    /// It.
    pub incident: Incident,
    /// Its links, oldest first.
    pub links: Vec<LinkRow>,
    /// Runs of its live occurrences, oldest first.
    pub run_ids: Vec<String>,
    /// Pieces of evidence.
    pub evidence_count: i64,
}

/// A page of a list.
#[derive(Debug, Clone)]
pub struct ListQuery {
    /// Which incidents.
    pub filter: Filter,
    /// In which order.
    pub order: Order,
    /// How many.
    pub size: PageSize,
    /// Where the last page ended.
    pub page_token: String,
    /// Digest of filter and order, which the token is bound to.
    pub query: Digest,
}

/// What a run led to.
#[derive(Debug, Clone)]
pub struct RunIncidents {
    /// Incidents with an occurrence of it.
    pub incidents: Vec<Incident>,
    /// Its occurrences.
    pub occurrences: Vec<OccurrenceRow>,
    /// Its outcomes.
    pub outcomes: Vec<OutcomeRow>,
}

impl App {
    /// One incident.
    ///
    /// # Errors
    /// `INCIDENT_NOT_FOUND`, or that the store can't be read.
    pub async fn detail(&self, tenant: &str, id: &str) -> Outcome<Detail> {
        let mut read = self.db.read().snapshot().await?;
        let sql = select("WHERE tenant_id = $1 AND id = $2");
        let row = read.fetch_optional::<IncidentRow>(sql, args![tenant, id]).await?;
        let incident = Incident::try_from(row.ok_or_else(|| not_found(id))?)?;
        let links = history::links(&mut read, tenant, id).await?;
        let run_ids = occurrences::runs_of_incident(&mut read, tenant, id).await?;
        let evidence_count = history::evidence_count(&mut read, tenant, id).await?;
        Ok(Detail { incident, links, run_ids, evidence_count })
    }

    /// A page of incidents and the token of the next.
    ///
    /// # Errors
    /// `PAGE_TOKEN_MISMATCH`, or that the store can't be read.
    pub async fn list(&self, tenant: &str, query: &ListQuery) -> Outcome<(Vec<Incident>, String)> {
        let after = decode(&query.page_token, query.query)?.map(|key| bind(query.order, key)).transpose()?;
        let read = self.db.read();
        let mut found =
            lists::page(read, tenant, &query.filter, query.order, after, query.size.probe()).await?;
        let next = query.size.cut(&mut found, query.query, |last| query.order.key_of(last));
        Ok((found, next))
    }

    /// What a run led to, over all its attempts.
    ///
    /// # Errors
    /// When the store can't be read.
    pub async fn of_run(&self, tenant: &str, run_id: &str) -> Outcome<RunIncidents> {
        let mut read = self.db.read().snapshot().await?;
        let occurrences = occurrences::of_run(&mut read, tenant, run_id).await?;
        let outcomes = outcomes::of_run(&mut read, tenant, run_id).await?;
        let tail = "WHERE tenant_id = $1 AND id IN (SELECT incident_id FROM incident_occurrences \
                    WHERE tenant_id = $1 AND run_id = $2) ORDER BY seq LIMIT 1000";
        let rows = read.fetch_all::<IncidentRow>(select(tail), args![tenant, run_id]).await?;
        let incidents = rows.into_iter().map(Incident::try_from).collect::<Result<_, _>>()?;
        Ok(RunIncidents { incidents, occurrences, outcomes })
    }

    /// A page of an incident's history and the token of the next.
    ///
    /// # Errors
    /// `INCIDENT_NOT_FOUND`, `PAGE_TOKEN_MISMATCH`, or that the store can't be read.
    pub async fn history(
        &self,
        tenant: &str,
        id: &str,
        size: PageSize,
        token: &str,
    ) -> Outcome<(Vec<EventRow>, String)> {
        let query = runspine_types::hash(id.as_bytes());
        let after = decode_place(token, query)?.unwrap_or(0);
        let read = self.db.read();
        let mut found = history::page(read, tenant, id, after, size.probe()).await?;
        if found.is_empty() && after == 0 {
            // Every incident has at least its OPENED entry.
            return Err(not_found(id));
        }
        let next = size.cut(&mut found, query, |last| vec![last.seq.to_string()]);
        Ok((found, next))
    }
}

fn decode(token: &str, query: Digest) -> Outcome<Option<Vec<String>>> {
    PageToken::decode(token, query).map_err(|error| {
        Fault::new(&mesh::PAGE_TOKEN_MISMATCH, error.to_string()).field(
            "page_token",
            "PAGE_TOKEN_MISMATCH",
            error.to_string(),
        )
    })
}

/// Where a page goes on whose rows have one number.
///
/// # Errors
/// `PAGE_TOKEN_MISMATCH`.
pub fn decode_place(token: &str, query: Digest) -> Outcome<Option<i64>> {
    let Some(key) = decode(token, query)? else { return Ok(None) };
    key.first().and_then(|place| place.parse().ok()).ok_or_else(malformed).map(Some)
}

/// The parts of a key as values: numbers, then the id.
fn bind(order: Order, key: Vec<String>) -> Outcome<Vec<Value>> {
    if key.len() != order.key_len() {
        return Err(malformed());
    }
    let last = key.len() - 1;
    let part = |(place, text): (usize, String)| {
        if place == last {
            return Ok(Value::from(text));
        }
        text.parse::<i64>().map(Value::from).map_err(|_| malformed())
    };
    key.into_iter().enumerate().map(part).collect()
}

fn malformed() -> Fault {
    Fault::new(&mesh::PAGE_TOKEN_MISMATCH, "the page token is malformed").field(
        "page_token",
        "PAGE_TOKEN_MISMATCH",
        "is malformed",
    )
}
