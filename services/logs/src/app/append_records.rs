//! Appends records: the hot path. Everything that waits is appended by one look-up of heads, one of each kind of fact,
//! one insert and one update of heads, whatever the number of runs and records.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
    time::Instant,
};

use bytes::Bytes;
use contracts_common::common::v1::Actor;
use contracts_logs::v1::{self as pb, trace_record};
use parking_lot::Mutex;
use prost::Message as _;
use runspine_db::{Args, Batch, BoxFuture, DbError, Tx};
use runspine_errors::Fault;
use runspine_logs_domain::{
    reasons,
    trace::{Appended, Body, Item, Outcome, Stamp, TraceState, Wanted},
};
use runspine_types::{Clock, Digest, Micros, new_id};

use super::{
    App,
    audit::told::Caused,
    events::{self, About},
    payloads::{
        denials::number,
        failures,
        offer::{Offered, forget},
    },
    watch::Hub,
};
use crate::{
    metrics,
    store::{
        payloads,
        records::{self, RecordRow},
        traces::{self, Advance, HeadRow, TraceRef},
    },
};

/// One call: items for one trace, all or none.
pub struct Append {
    /// Which trace.
    pub of: TraceRef,
    /// The items.
    pub items: Vec<Item>,
    /// What becomes of their payloads, item by item; empty when none came with any.
    pub offered: Vec<Offered>,
}

/// What proves that a record is on a trace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receipt {
    /// The trace.
    pub trace_id: String,
    /// The record.
    pub record_id: String,
    /// Its place.
    pub position: u64,
    /// Its step.
    pub step_index: Option<u32>,
    /// Its link.
    pub link: Digest,
    /// When it was stored.
    pub recorded_at: Micros,
    /// Whether it was there before.
    pub duplicate: bool,
    /// The answer that was kept with it, for a repeat.
    pub answer: Bytes,
    /// Stored as done without a decision that allows it.
    pub unauthorized: bool,
    /// A step before it was not on the trace.
    pub gap: bool,
}

impl Receipt {
    /// Of a stored record.
    pub fn stored(trace_id: &str, row: RecordRow) -> Result<Self, DbError> {
        let record = pb::TraceRecord::decode(row.record.as_ref())
            .map_err(|error| DbError::Column { column: "record".to_owned(), what: error.to_string() })?;
        Ok(Self {
            trace_id: trace_id.to_owned(),
            record_id: record.record_id,
            position: row.position,
            step_index: row.step_index,
            link: row.link,
            recorded_at: row.recorded_at,
            duplicate: true,
            answer: row.answer.unwrap_or_default(),
            unauthorized: row.unauthorized,
            gap: row.gap,
        })
    }

    /// Of a record that was just appended.
    pub fn new(trace_id: &str, new: &Appended) -> Self {
        Self {
            trace_id: trace_id.to_owned(),
            record_id: new.record.record_id.clone(),
            position: new.record.position,
            step_index: new.columns.step_index,
            link: new.link,
            recorded_at: new.columns.recorded_at,
            duplicate: false,
            answer: Bytes::new(),
            unauthorized: new.columns.unauthorized,
            gap: new.gap,
        }
    }
}

impl App {
    /// Appends items to an open trace.
    ///
    /// # Errors
    /// When there is no such trace, a rule refuses an item, or the store can't be written.
    pub async fn append_records(&self, of: TraceRef, mut items: Vec<Item>) -> Result<Vec<Receipt>, Fault> {
        let begun = Instant::now();
        let bodies: Vec<Body> = items.iter().map(|item| Body::of(&item.body)).collect();
        let offered = self.offer(&of, &mut items).await?;
        let denied: Vec<_> = offered.iter().flat_map(|offered| offered.denied.clone()).collect();
        let outcome = self.append.submit(Append { of, items, offered }).await;
        metrics::appended(begun, &bodies, &outcome);
        if outcome.is_ok() {
            metrics::denied(&denied);
        }
        outcome
    }
}

/// The batch of all calls that wait.
pub struct AppendRecords {
    clock: Arc<dyn Clock>,
    watch: Arc<Hub>,
    max_records: u64,
    /// Traces that grew in the group that is not durable yet.
    grown: Mutex<Vec<i64>>,
}

impl AppendRecords {
    /// With a limit of records for each trace.
    pub fn new(clock: Arc<dyn Clock>, watch: Arc<Hub>, max_records: u64) -> Self {
        Self { clock, watch, max_records, grown: Mutex::new(Vec::new()) }
    }
}

impl Batch for AppendRecords {
    type Item = Append;
    type Out = Vec<Receipt>;
    const NAME: &'static str = "append_records";

    fn apply<'t>(
        &'t self,
        tx: &'t mut Tx,
        items: &'t [Append],
    ) -> BoxFuture<'t, Result<Vec<Result<Vec<Receipt>, Fault>>, DbError>> {
        Box::pin(async move {
            #[allow(clippy::cast_precision_loss, reason = "records of one commit")]
            metrics::GROUP.record(items.iter().map(|append| append.items.len()).sum::<usize>() as f64, &[]);
            let mut group = Group::read(tx, items, self.max_records).await?;
            let answers = group.append_all(items, self.clock.now());
            let grown = group.write(tx, self.clock.now()).await?;
            self.grown.lock().extend(grown);
            group.resolve(tx, answers).await
        })
    }

    fn committed(&self) {
        for trace_key in std::mem::take(&mut *self.grown.lock()) {
            self.watch.wake(trace_key);
        }
    }

    fn undone(&self) {
        self.grown.lock().clear();
    }
}

/// A trace that the group appends to.
struct Open {
    row: HeadRow,
    state: TraceState,
    facts: Vec<pb::RecordFact>,
    first: Option<About>,
}

/// A receipt, or the place where the first one is found.
pub(super) enum Pending {
    New(Receipt),
    Stored(i64, u64),
}

/// Everything that one group reads and writes.
pub(super) struct Group {
    open: HashMap<TraceRef, Open>,
    rows: Vec<Args>,
    /// What steps among them are found by.
    references: Vec<Args>,
    /// Payloads of the records.
    payloads: Vec<Args>,
    /// How many payloads were denied, by trace and operation.
    denied: BTreeMap<(i64, i32), u64>,
    /// Steps with payloads that could not be redacted, and who recorded them.
    failed: Vec<(TraceRef, Option<u32>, Caused)>,
    /// Runs whose payloads were erased since theirs were made ready.
    erased: HashSet<(String, String)>,
}

impl Group {
    async fn read(tx: &mut Tx, items: &[Append], max_records: u64) -> Result<Self, DbError> {
        let mut wanted: BTreeMap<TraceRef, Wanted> = BTreeMap::new();
        for append in items {
            let wanted = wanted.entry(append.of.clone()).or_default();
            append.items.iter().for_each(|item| wanted.add(item));
        }
        let mut group = Self::open(tx, wanted, max_records).await?;
        group.find_settled(tx, items).await?;
        let stores = |append: &&Append| append.offered.iter().any(|offered| !offered.kept.is_empty());
        for append in items.iter().filter(stores) {
            group.note_erased(tx, &append.of).await?;
        }
        group.rows.reserve(items.len());
        Ok(group)
    }

    /// Opens the main traces of `wanted` that there are, with the facts that it names.
    pub(super) async fn open(
        tx: &mut Tx,
        wanted: BTreeMap<TraceRef, Wanted>,
        max_records: u64,
    ) -> Result<Self, DbError> {
        let refs: Vec<TraceRef> = wanted.keys().cloned().collect();
        let heads = traces::heads(tx, &refs).await?.into_iter();
        let open = heads.map(|(of, row)| {
            (of, Open { state: row.state(max_records), row, facts: Vec::new(), first: None })
        });
        let mut group = Self {
            open: open.collect(),
            rows: Vec::new(),
            references: Vec::new(),
            payloads: Vec::new(),
            denied: BTreeMap::new(),
            failed: Vec::new(),
            erased: HashSet::new(),
        };
        group.look_up(tx, wanted).await?;
        Ok(group)
    }

    /// Reads more facts of traces that are open.
    pub(super) async fn look_up(
        &mut self,
        tx: &mut Tx,
        wanted: BTreeMap<TraceRef, Wanted>,
    ) -> Result<(), DbError> {
        let key = |(of, mut wanted): (TraceRef, Wanted)| {
            let row = &self.open.get(&of)?.row;
            wanted.within(row.largest_step_index, row.record_count);
            Some((row.trace_key, wanted))
        };
        let keyed: BTreeMap<i64, Wanted> = wanted.into_iter().filter_map(key).collect();
        let mut found: HashMap<i64, Vec<_>> = HashMap::new();
        for (trace_key, fact) in records::facts(tx, &keyed).await? {
            found.entry(trace_key).or_default().push(fact);
        }
        for open in self.open.values_mut() {
            let facts = found.remove(&open.row.trace_key).unwrap_or_default();
            facts.into_iter().for_each(|fact| open.state.facts.insert(fact));
        }
        Ok(())
    }

    /// The step of what a RESOLUTION settles is known only once the position that it names was looked up.
    async fn find_settled(&mut self, tx: &mut Tx, items: &[Append]) -> Result<(), DbError> {
        let mut more: BTreeMap<TraceRef, Wanted> = BTreeMap::new();
        for append in items {
            let Some(open) = self.open.get(&append.of) else { continue };
            for item in &append.items {
                let trace_record::Body::Resolution(b) = &item.body else { continue };
                let step = open.state.facts.at(b.resolves_position).and_then(|fact| fact.step_index);
                more.entry(append.of.clone()).or_default().steps.extend(step);
            }
        }
        if more.is_empty() { Ok(()) } else { self.look_up(tx, more).await }
    }

    /// Finds out whether payloads of a run can still be stored.
    pub(super) async fn note_erased(&mut self, tx: &mut Tx, of: &TraceRef) -> Result<(), DbError> {
        if !payloads::takes_payloads(tx, &of.tenant_id, &of.run_id).await? {
            self.erased.insert((of.tenant_id.clone(), of.run_id.clone()));
        }
        Ok(())
    }

    /// The head of a trace as it stands in this group, with its key; `None` when there is no such trace.
    pub(super) fn head(&self, of: &TraceRef) -> Option<(i64, &TraceState)> {
        self.open.get(of).map(|open| (open.row.trace_key, &open.state))
    }

    fn append_all(&mut self, items: &[Append], now: Micros) -> Vec<Result<Vec<Pending>, Fault>> {
        items.iter().map(|append| self.append(append, now)).collect()
    }

    /// One call: all of its items or none.
    pub(super) fn append(&mut self, append: &Append, now: Micros) -> Result<Vec<Pending>, Fault> {
        let Some(open) = self.open.get_mut(&append.of) else {
            return Err(Fault::new(&reasons::TRACE_NOT_FOUND, "there is no trace of this attempt"));
        };
        // One item checks before it changes anything; several need the state from before the first.
        let before = (append.items.len() > 1).then(|| {
            let rows = [self.rows.len(), self.references.len(), self.payloads.len(), self.failed.len()];
            (open.state.clone(), open.facts.len(), rows, self.denied.clone())
        });
        let nobody_reads = self.erased.contains(&(append.of.tenant_id.clone(), append.of.run_id.clone()));
        let mut receipts = Vec::with_capacity(append.items.len());
        for (n, item) in append.items.iter().enumerate() {
            let unread = nobody_reads.then(|| without_payloads(item));
            let item = unread.as_ref().unwrap_or(item);
            match open.state.append(item, Stamp { now, record_id: new_id() }) {
                Ok(Outcome::Duplicate { position }) => {
                    receipts.push(Pending::Stored(open.row.trace_key, position));
                }
                Ok(Outcome::Appended(new)) => {
                    self.rows.push(records::row(open.row.trace_key, item, &new));
                    self.references.extend(records::reference_row(open.row.trace_key, &new));
                    let trace_key = open.row.trace_key;
                    if let Some(offered) = append.offered.get(n) {
                        let position = new.record.position;
                        let kept = offered.kept.iter().filter(|_| !nobody_reads);
                        let row = |kept| payloads::row(&append.of, trace_key, position, kept, now);
                        self.payloads.extend(kept.map(row));
                        for operation in &offered.denied {
                            *self.denied.entry((trace_key, number(*operation) as i32)).or_default() += 1;
                        }
                        if offered.failed > 0 {
                            self.failed.push((append.of.clone(), new.columns.step_index, caused(item)));
                        }
                    }
                    receipts.push(Pending::New(Receipt::new(&open.row.trace_id, &new)));
                    open.note(item, &new);
                }
                Err(fault) => {
                    if let Some((state, facts, [rows, references, payloads, failed], denied)) = before {
                        open.state = state;
                        open.facts.truncate(facts);
                        self.rows.truncate(rows);
                        self.references.truncate(references);
                        self.payloads.truncate(payloads);
                        self.failed.truncate(failed);
                        self.denied = denied;
                    }
                    return Err(fault);
                }
            }
        }
        Ok(receipts)
    }

    /// Writes rows, heads and events; gives the traces that grew.
    pub(super) async fn write(&mut self, tx: &mut Tx, now: Micros) -> Result<Vec<i64>, DbError> {
        if self.rows.is_empty() {
            return Ok(Vec::new());
        }
        let references = std::mem::take(&mut self.references);
        records::insert(tx, std::mem::take(&mut self.rows), references).await?;
        payloads::insert(tx, std::mem::take(&mut self.payloads)).await?;
        let denied = std::mem::take(&mut self.denied);
        let denied: Vec<_> = denied.into_iter().map(|((key, operation), n)| (key, operation, n)).collect();
        payloads::count_denials(tx, &denied).await?;
        for (of, step_index, caused) in std::mem::take(&mut self.failed) {
            failures::keep(tx, &of, step_index, &caused, now).await?;
        }
        let grown = || self.open.values().filter(|open| open.state.count > open.row.record_count);
        let mut heads: Vec<Advance<'_>> = grown()
            .map(|open| Advance {
                trace_key: open.row.trace_key,
                had: open.row.record_count,
                state: &open.state,
            })
            .collect();
        heads.sort_unstable_by_key(|head| head.trace_key);
        traces::advance(tx, &heads).await?;
        let keys = heads.iter().map(|head| head.trace_key).collect();
        for open in self.open.values_mut() {
            let facts = std::mem::take(&mut open.facts);
            if let (false, Some(about)) = (facts.is_empty(), open.first.take()) {
                let event = pb::RecordsAppended {
                    run_id: about.run_id.clone(),
                    attempt: about.attempt,
                    trace_id: about.trace_id.clone(),
                    facts,
                    last_position: open.state.count,
                    profile: open.row.profile,
                };
                events::emit(tx, about, &event, now);
            }
        }
        Ok(keys)
    }

    /// Finds the first receipts of what was there already, those of this group included.
    async fn resolve(
        &self,
        tx: &mut Tx,
        answers: Vec<Result<Vec<Pending>, Fault>>,
    ) -> Result<Vec<Result<Vec<Receipt>, Fault>>, DbError> {
        let mut places: Vec<(i64, u64)> = Vec::new();
        for pending in answers.iter().flatten().flatten() {
            if let Pending::Stored(trace_key, position) = pending {
                places.push((*trace_key, *position));
            }
        }
        let stored = records::at(tx, &places).await?;
        let stored: HashMap<(i64, u64), RecordRow> =
            stored.into_iter().map(|row| ((row.trace_key, row.position), row)).collect();
        let ids: HashMap<i64, &str> =
            self.open.values().map(|open| (open.row.trace_key, open.row.trace_id.as_str())).collect();
        let receipt = |pending| match pending {
            Pending::New(receipt) => Ok(receipt),
            Pending::Stored(trace_key, position) => {
                let row = stored.get(&(trace_key, position)).cloned().ok_or(DbError::NoRow)?;
                Receipt::stored(ids.get(&trace_key).copied().unwrap_or_default(), row)
            }
        };
        answers
            .into_iter()
            .map(|answer| match answer {
                Ok(pending) => pending.into_iter().map(receipt).collect::<Result<_, _>>().map(Ok),
                Err(fault) => Ok(Err(fault)),
            })
            .collect()
    }
}

impl Open {
    /// Keeps what the group's event tells of a record.
    fn note(&mut self, item: &Item, new: &Appended) {
        let verdict = match &item.body {
            trace_record::Body::Step(step) => step.verdict,
            _ => 0,
        };
        self.facts.extend(events::fact(new, verdict));
        self.first.get_or_insert_with(|| About {
            tenant_id: self.row.tenant_id.clone(),
            run_id: self.row.run_id.clone(),
            attempt: self.row.attempt,
            trace_id: self.row.trace_id.clone(),
            actor: Some(Actor { r#type: item.actor_type, id: item.actor_id.clone() }),
            correlation_id: item.correlation_id.clone(),
            causation_id: item.causation_id.clone(),
            reason: String::new(),
        });
    }
}

fn caused(item: &Item) -> Caused {
    Caused {
        actor: Some(Actor { r#type: item.actor_type, id: item.actor_id.clone() }),
        correlation_id: item.correlation_id.clone(),
        causation_id: item.causation_id.clone(),
    }
}

fn without_payloads(item: &Item) -> Item {
    let mut item = item.clone();
    forget(&mut item.body);
    item
}
