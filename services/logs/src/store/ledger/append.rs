//! Appending to the ledger.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use bytes::Bytes;
use contracts_common::common::v1::ActorType;
use contracts_logs::v1::{LedgerEntry, LedgerScope};
use prost::Message as _;
use runspine_db::{Args, AssertSqlSafe, DbError, Tuples, Tx, args};
use runspine_errors::{Fault, mesh};
use runspine_logs_domain::{
    bytes::{encode, timestamp},
    chain,
    reasons::RUN_ID_REQUIRED,
};
use runspine_types::{Digest, Micros};

use crate::metrics;

/// An event to be appended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Its tenant.
    pub tenant_id: String,
    /// Its id; a redelivery has the same one.
    pub event_id: String,
    /// Its name, `<domain>.<Event>`.
    pub event_type: String,
    /// Whether it belongs to a run.
    pub scope: LedgerScope,
    /// The run.
    pub run_id: String,
    /// The attempt.
    pub attempt: u32,
    /// The step.
    pub step_index: Option<u32>,
    /// Joins what one call led to.
    pub correlation_id: String,
    /// What caused it.
    pub causation_id: String,
    /// What kind of thing it is about.
    pub entity_type: String,
    /// Which one.
    pub entity_id: String,
    /// What kind of actor did it.
    pub actor_type: ActorType,
    /// Which actor.
    pub actor_id: String,
    /// Why.
    pub reason: String,
    /// Canonical JSON before the change; empty for none.
    pub before_state: String,
    /// Canonical JSON after the change; empty for none.
    pub after_state: String,
    /// What stands in for `after_state`, e.g. a seal digest.
    pub after_digest: Option<Digest>,
    /// When it happened.
    pub occurred_at: Micros,
    /// Id of the entry to be made.
    pub entry_id: String,
    /// Salt of the states' digests, random and secret.
    pub state_salt: [u8; 32],
}

/// Where an event stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Appended {
    /// Its place.
    pub seq: u64,
    /// Its link.
    pub link: Digest,
    /// Id of its entry.
    pub entry_id: String,
    /// Whether it was there already.
    pub duplicate: bool,
}

const ENTRY: &[&str] = &[
    "tenant_id",
    "seq",
    "entry_id",
    "event_id",
    "event_type",
    "scope",
    "run_id",
    "attempt",
    "step_index",
    "correlation_id",
    "causation_id",
    "entity_type",
    "entity_id",
    "actor_type",
    "actor_id",
    "reason",
    "before_digest",
    "after_digest",
    "occurred_at",
    "recorded_at",
    "entry",
    "link",
];

#[derive(Clone, Copy)]
struct Head {
    seq: u64,
    link: Digest,
    moved: bool,
}

/// What a group writes, gathered before any statement writes.
struct Group {
    heads: HashMap<String, Head>,
    known: HashMap<(String, String), (Appended, Bytes)>,
    entries: Vec<Args>,
    states: Vec<Args>,
}

/// Appends one event of logs' own in the commit of what it records.
///
/// # Errors
/// As [`append`].
pub async fn append_entry(tx: &mut Tx, event: Event, now: Micros) -> Result<Appended, Fault> {
    let mut calls = append(tx, &[vec![event]], now).await?;
    let call = calls.pop().unwrap_or_else(|| Err(lost()))?;
    call.into_iter().next().ok_or_else(lost)
}

/// Appends the events of many calls with at most five statements. A call is appended whole or refused whole:
/// `RUN_ID_REQUIRED`, or `IDEMPOTENCY_MISMATCH` when an event id stands for something else.
///
/// # Errors
/// When the store fails.
pub async fn append(
    tx: &mut Tx,
    calls: &[Vec<Event>],
    now: Micros,
) -> Result<Vec<Result<Vec<Appended>, Fault>>, DbError> {
    let mut group = Group {
        heads: heads(tx, calls).await?,
        known: known(tx, calls).await?,
        entries: Vec::new(),
        states: Vec::new(),
    };
    let answers = calls.iter().map(|events| group.call(events, now)).collect();
    group.write(tx).await?;
    Ok(answers)
}

impl Group {
    fn call(&mut self, events: &[Event], now: Micros) -> Result<Vec<Appended>, Fault> {
        // Whatever can be refused is refused before anything of the call is added.
        for (place, event) in events.iter().enumerate() {
            if event.scope == LedgerScope::Run && event.run_id.is_empty() {
                let field = format!("entries[{place}].run_id");
                return Err(Fault::new(&RUN_ID_REQUIRED, "an event of a run names its run").field(
                    field,
                    RUN_ID_REQUIRED.name,
                    "required when the scope is RUN",
                ));
            }
            if let Some((_, bytes)) = self.known.get(&(event.tenant_id.clone(), event.event_id.clone())) {
                check_equal(bytes, event)?;
            }
        }
        events.iter().map(|event| self.event(event, now)).collect()
    }

    fn event(&mut self, event: &Event, now: Micros) -> Result<Appended, Fault> {
        let name = (event.tenant_id.clone(), event.event_id.clone());
        if let Some((appended, bytes)) = self.known.get(&name) {
            check_equal(bytes, event)?;
            return Ok(Appended { duplicate: true, ..appended.clone() });
        }
        let start = || Head { seq: 0, link: chain::ledger_start(&event.tenant_id), moved: false };
        let head = self.heads.entry(event.tenant_id.clone()).or_insert_with(start);
        let entry = entry(event, head.seq + 1, now);
        let bytes = Bytes::from(encode(&entry));
        *head = Head { seq: entry.seq, link: chain::ledger_link(&head.link, &bytes), moved: true };
        let appended =
            Appended { seq: head.seq, link: head.link, entry_id: event.entry_id.clone(), duplicate: false };
        self.entries.push(row(event, &entry, &bytes, now, head.link));
        if !event.before_state.is_empty() || !event.after_state.is_empty() {
            let text = |s: &String| (!s.is_empty()).then(|| s.clone());
            self.states.push(args![
                &event.tenant_id,
                entry.seq,
                text(&event.before_state),
                text(&event.after_state),
                event.state_salt.to_vec(),
            ]);
        }
        metrics::entered(&event.event_type);
        self.known.insert(name, (appended.clone(), bytes));
        Ok(appended)
    }

    async fn write(self, tx: &mut Tx) -> Result<(), DbError> {
        if self.entries.is_empty() {
            return Ok(());
        }
        tx.insert_rows("ledger", ENTRY, self.entries, "").await?;
        if !self.states.is_empty() {
            let columns = ["tenant_id", "seq", "before_state", "after_state", "state_salt"];
            tx.insert_rows("ledger_states", &columns, self.states, "").await?;
        }
        let moved: BTreeMap<_, _> = self.heads.into_iter().filter(|(_, head)| head.moved).collect();
        let rows = moved.into_iter().map(|(tenant, head)| args![tenant, head.seq, head.link]).collect();
        let conflict = "ON CONFLICT (tenant_id) DO UPDATE SET seq = excluded.seq, link = excluded.link";
        tx.insert_rows("ledger_heads", &["tenant_id", "seq", "link"], rows, conflict).await?;
        Ok(())
    }
}

async fn heads(tx: &mut Tx, calls: &[Vec<Event>]) -> Result<HashMap<String, Head>, DbError> {
    let tenants: BTreeSet<&str> = calls.iter().flatten().map(|e| e.tenant_id.as_str()).collect();
    let mut wanted = Tuples::new(1);
    tenants.into_iter().for_each(|tenant| wanted.push(args![tenant]));
    let lock = tx.dialect().pick("", " ORDER BY h.tenant_id FOR UPDATE OF h");
    let mut heads = HashMap::new();
    for (values, args) in wanted.parts(tx.dialect()) {
        let sql = format!(
            "SELECT h.tenant_id, h.seq, h.link FROM {values} AS w CROSS JOIN ledger_heads h \
             WHERE h.tenant_id = w.column1{lock}"
        );
        let rows: Vec<(String, u64, Digest)> = tx.fetch_all(AssertSqlSafe(sql), args).await?;
        heads.extend(rows.into_iter().map(|(tenant, seq, link)| (tenant, Head { seq, link, moved: false })));
    }
    Ok(heads)
}

/// The events of `calls` that are there already.
async fn known(
    tx: &mut Tx,
    calls: &[Vec<Event>],
) -> Result<HashMap<(String, String), (Appended, Bytes)>, DbError> {
    let names: BTreeSet<(&str, &str)> =
        calls.iter().flatten().map(|e| (e.tenant_id.as_str(), e.event_id.as_str())).collect();
    let mut wanted = Tuples::new(2);
    names.into_iter().for_each(|(tenant, event)| wanted.push(args![tenant, event]));
    let mut found = HashMap::new();
    for (values, args) in wanted.parts(tx.dialect()) {
        let sql = format!(
            "SELECT l.tenant_id, l.event_id, l.seq, l.link, l.entry_id, l.entry FROM {values} AS w \
             CROSS JOIN ledger l WHERE l.tenant_id = w.column1 AND l.event_id = w.column2"
        );
        let rows: Vec<(String, String, u64, Digest, String, Bytes)> =
            tx.fetch_all(AssertSqlSafe(sql), args).await?;
        for (tenant, event_id, seq, link, entry_id, bytes) in rows {
            let appended = Appended { seq, link, entry_id, duplicate: true };
            found.insert((tenant, event_id), (appended, bytes));
        }
    }
    Ok(found)
}

fn entry(event: &Event, seq: u64, now: Micros) -> LedgerEntry {
    let digest = |state: &str| match state {
        "" => Bytes::new(),
        state => chain::state_digest(&event.state_salt, state.as_bytes()).to_vec().into(),
    };
    LedgerEntry {
        seq,
        entry_id: event.entry_id.clone(),
        event_id: event.event_id.clone(),
        tenant_id: event.tenant_id.clone(),
        event_type: event.event_type.clone(),
        scope: event.scope.into(),
        run_id: event.run_id.clone(),
        attempt: event.attempt,
        step_index: event.step_index,
        correlation_id: event.correlation_id.clone(),
        causation_id: event.causation_id.clone(),
        entity_type: event.entity_type.clone(),
        entity_id: event.entity_id.clone(),
        actor_type: event.actor_type.into(),
        actor_id: event.actor_id.clone(),
        reason: event.reason.clone(),
        before_digest: digest(&event.before_state),
        after_digest: event
            .after_digest
            .map_or_else(|| digest(&event.after_state), |given| given.to_vec().into()),
        occurred_at: Some(timestamp(event.occurred_at)),
        recorded_at: Some(timestamp(now)),
    }
}

fn row(event: &Event, entry: &LedgerEntry, bytes: &Bytes, now: Micros, link: Digest) -> Args {
    args![
        &event.tenant_id,
        entry.seq,
        &event.entry_id,
        &event.event_id,
        &event.event_type,
        entry.scope,
        &event.run_id,
        event.attempt,
        event.step_index,
        &event.correlation_id,
        &event.causation_id,
        &event.entity_type,
        &event.entity_id,
        entry.actor_type,
        &event.actor_id,
        &event.reason,
        &entry.before_digest,
        &entry.after_digest,
        event.occurred_at,
        now,
        bytes,
        link,
    ]
}

/// Whether a redelivery is about what was stored. Who repeats an event tells it at another time, under another
/// correlation and sometimes in other words; what it is about stays. What logs wrote itself in the commit of the fact is
/// not compared: the relay tells it in its own words.
fn check_equal(stored: &Bytes, event: &Event) -> Result<(), Fault> {
    if event.event_type.starts_with("logs.") {
        return Ok(());
    }
    let stored = LedgerEntry::decode(stored.clone()).map_err(|error| lost().caused_by(error))?;
    let digest = event.after_digest.is_none_or(|given| given.as_bytes() == stored.after_digest.as_ref());
    // States are salted, so their presence is compared and not their text.
    let states = event.before_state.is_empty() == stored.before_digest.is_empty()
        && (event.after_state.is_empty() && event.after_digest.is_none()) == stored.after_digest.is_empty();
    let same = event.event_type == stored.event_type
        && i32::from(event.scope) == stored.scope
        && event.run_id == stored.run_id
        && event.attempt == stored.attempt
        && event.step_index == stored.step_index
        && event.entity_type == stored.entity_type
        && event.entity_id == stored.entity_id;
    if same && digest && states {
        return Ok(());
    }
    Err(Fault::new(&mesh::IDEMPOTENCY_MISMATCH, "the event id stands for another event")
        .with("event_id", &event.event_id)
        .with("seq", stored.seq))
}

fn lost() -> Fault {
    Fault::new(&mesh::INTERNAL, "a ledger entry can't be read")
}
