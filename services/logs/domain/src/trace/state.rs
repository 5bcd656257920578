//! The head of a trace, and the one way in which it grows.

use contracts_logs::v1::{TraceRecord, trace_record};
use runspine_errors::Fault;
use runspine_types::{Digest, Micros};

use super::{
    Body, Columns, Fact, Facts, Item, MAX_AHEAD_US, MAX_RECORD,
    rules::{self, Admission, Placed},
};
use crate::{
    bytes::{encode, timestamp},
    chain, reasons,
};

/// A trace as the rules see it: its head and the facts that were looked up.
#[derive(Debug, Clone)]
pub struct TraceState {
    /// The run.
    pub run_id: String,
    /// The attempt.
    pub attempt: u32,
    /// 0 for the main trace, from 1 for addenda.
    pub addendum: u32,
    /// Profile of the run.
    pub profile: i32,
    /// Whether it is sealed.
    pub sealed: bool,
    /// Records so far.
    pub count: u64,
    /// Link of the last record; `link_0` before the first.
    pub last_link: Digest,
    /// When the last record was stored.
    pub last_recorded_at: Micros,
    /// The largest step index.
    pub largest_step_index: Option<u32>,
    /// Records that it can hold.
    pub max_records: u64,
    /// What is known of its records.
    pub facts: Facts,
}

/// What a new record gets from outside: the time, and an id.
#[derive(Debug, Clone)]
pub struct Stamp {
    /// Now.
    pub now: Micros,
    /// Id of the record, UUIDv7.
    pub record_id: String,
}

/// A record that was appended.
#[derive(Debug, Clone)]
pub struct Appended {
    /// The record.
    pub record: TraceRecord,
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// Its link.
    pub link: Digest,
    /// Its columns.
    pub columns: Columns<'static>,
    /// Whether a step before it was not on the trace.
    pub gap: bool,
    /// Whether it was reported more than 300 s ahead of the clock here.
    pub clock_skew: bool,
}

/// What became of an item.
#[derive(Debug, Clone)]
pub enum Outcome {
    /// It was already there.
    Duplicate {
        /// Where.
        position: u64,
    },
    /// It is new.
    Appended(Box<Appended>),
}

impl TraceState {
    /// The trace in an error.
    #[must_use]
    pub fn subject(&self) -> String {
        format!("runs/{}/attempts/{}/trace", self.run_id, self.attempt)
    }

    /// Appends one item, or finds that it is there already. A refused item changes nothing.
    ///
    /// # Errors
    /// When a rule refuses it, or its record would be larger than 64 KiB.
    pub fn append(&mut self, item: &Item, stamp: Stamp) -> Result<Outcome, Fault> {
        // Late facts are ordered by nothing but their place in the addendum.
        let placed = if self.addendum > 0 {
            Placed { step_index: item.step_index, unauthorized: undecided(item), gap: false }
        } else {
            match rules::admit(self, item)? {
                Admission::Duplicate(position) => return Ok(Outcome::Duplicate { position }),
                Admission::New(placed) => placed,
            }
        };
        let appended = self.record(item, placed, stamp)?;
        self.advance(item, &appended);
        Ok(Outcome::Appended(Box::new(appended)))
    }

    fn record(&self, item: &Item, placed: Placed, stamp: Stamp) -> Result<Appended, Fault> {
        let recorded_at = stamp.now.max(self.last_recorded_at);
        let occurred_at = item.occurred_at.unwrap_or(recorded_at);
        let mut body = item.body.clone();
        match &mut body {
            trace_record::Body::Step(b) => b.unauthorized = placed.unauthorized,
            trace_record::Body::Mcp(b) => b.unauthorized = placed.unauthorized,
            _ => {}
        }
        let record = TraceRecord {
            position: self.count + 1,
            record_id: stamp.record_id,
            step_index: placed.step_index,
            occurred_at: Some(timestamp(occurred_at)),
            recorded_at: Some(timestamp(recorded_at)),
            actor_type: item.actor_type,
            actor_id: item.actor_id.clone(),
            correlation_id: item.correlation_id.clone(),
            causation_id: item.causation_id.clone(),
            idempotency_key: item.idempotency_key.clone(),
            body: Some(body),
        };
        let bytes = encode(&record);
        if bytes.len() > MAX_RECORD {
            let message = format!("the record has {} bytes, {MAX_RECORD} are the most", bytes.len());
            return Err(Fault::new(&reasons::RECORD_TOO_LARGE, message));
        }
        let Some(columns) = Columns::of(&record).map(Columns::into_owned) else {
            return Err(Fault::new(&reasons::CONTENT_REQUIRED, "the record has no body"));
        };
        let link = chain::trace_link(&self.last_link, &bytes);
        let clock_skew = occurred_at.0.saturating_sub(recorded_at.0) > MAX_AHEAD_US;
        Ok(Appended { record, bytes, link, columns, gap: placed.gap, clock_skew })
    }

    fn advance(&mut self, item: &Item, new: &Appended) {
        self.count += 1;
        self.last_link = new.link;
        self.last_recorded_at = new.columns.recorded_at;
        if matches!(item.body, trace_record::Body::Decision(_) | trace_record::Body::Step(_)) {
            self.largest_step_index = self.largest_step_index.max(new.columns.step_index);
        }
        self.facts.insert(Fact {
            position: self.count,
            idempotency_key: item.idempotency_key.clone(),
            content: item.content,
            request_digest: item.request_digest,
            body: Body::of(&item.body),
            step_index: new.columns.step_index,
            retry_count: new.columns.retry_count,
            kind: new.columns.kind,
            status: new.columns.status,
            reference: found_by(&new.columns, &item.body),
            target: new.columns.target,
        });
    }
}

/// What a record is found by: as its column says, and a step by its reference.
fn found_by(columns: &Columns<'_>, body: &trace_record::Body) -> Option<String> {
    match body {
        trace_record::Body::Step(b) => (!b.external_ref.is_empty()).then(|| b.external_ref.clone()),
        _ => columns.reference.as_deref().map(str::to_owned),
    }
}

fn undecided(item: &Item) -> bool {
    matches!(&item.body, trace_record::Body::Step(b) if b.decision_id.is_empty())
}
