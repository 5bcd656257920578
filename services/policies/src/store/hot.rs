//! The hot path: decisions, their inputs, enforcements, facts and violations of many callers with few statements.

use std::collections::{BTreeMap, HashMap};

use bytes::Bytes;
use contracts_policies::v1::{EvaluateRunResponse, EvaluateStepResponse, Violation};
use prost::Message as _;
use runspine_db::{
    Answers, Args, AssertSqlSafe, Batch, BoxFuture, DbError, OutboxEvent, Tx, Value, args, row,
};
use runspine_errors::{Fault, mesh};
use runspine_types::{Digest, Micros};

use super::{
    approval_part::{self, ApprovalPart},
    monitors::{Locked, Moved},
    preventions::{self, PreventionRow},
};
use crate::app::metrics;

/// What is asked to be stored, made by the use case before anything was written.
#[derive(Debug, Clone)]
pub(crate) struct Item {
    pub tenant: String,
    pub run_key: i64,
    /// Version of the taints that the decision was made with.
    pub taint_version: i64,
    /// Directive of the recall that the decision was made with; 0: none.
    pub recall: i32,
    /// Taints of the run after this, when it gained some.
    pub taints: Option<String>,
    pub from_seq: u64,
    pub facts: Vec<Fact>,
    /// Absent when only facts are told.
    pub decision: Option<Decided>,
    pub violations: Vec<Raised>,
    /// What the decision does to approvals.
    pub approval: Option<ApprovalPart>,
    /// States of sequence rules that it was made with.
    pub monitors: Vec<Moved>,
    /// Stored instead of the rest when a fact contradicts a stored one.
    pub conflict: Option<Box<Raised>>,
    pub events: Vec<OutboxEvent>,
    pub at: Micros,
}

/// A finished step.
#[derive(Debug, Clone)]
pub(crate) struct Fact {
    pub seq: u64,
    pub step_index: u32,
    pub authorized: bool,
    pub digest: Digest,
    pub bytes: Bytes,
}

/// A decision with its natural key.
#[derive(Debug, Clone)]
pub(crate) struct Decided {
    /// -1: the start of the run.
    pub step_index: i64,
    pub ask: u32,
    pub moment: i32,
    pub decision_id: String,
    pub verdict: i32,
    pub effective_verdict: i32,
    pub directive: i32,
    pub degraded: bool,
    pub plain: bool,
    pub code: String,
    pub request_digest: Digest,
    pub inputs_digest: Digest,
    pub inputs: Bytes,
    /// The rules that were evaluated, packed.
    pub rules: Bytes,
    pub enforcements: Vec<Enforced>,
    pub preventions: Vec<PreventionRow>,
    pub answer: Answer,
}

/// The answer, complete but for what only the store knows.
#[derive(Debug, Clone)]
pub(crate) enum Answer {
    Run(Box<EvaluateRunResponse>),
    Step(Box<EvaluateStepResponse>),
}

/// A rule that was enforced.
#[derive(Debug, Clone)]
pub(crate) struct Enforced {
    pub enforcement_id: String,
    pub rule_id: String,
    pub version: u32,
    pub action: i32,
    pub would_outcome: i32,
}

/// A violation and the event that tells of it when it is the first.
#[derive(Debug, Clone)]
pub(crate) struct Raised {
    pub violation: Violation,
    pub event: OutboxEvent,
}

/// What became of an item.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Out {
    /// Stored now, or before if it is not `fresh`: the kept answer (empty when only facts were told), and where the
    /// facts end.
    Done { answer: Bytes, next_seq: u64, fresh: bool },
    /// Taints, recall, states of sequence rules or an approval are not what the decision was made with: decide again.
    Stale,
    /// Facts from this position on are missing.
    Gap(u64),
    /// Another fact is stored at this position.
    Conflict(u64),
}

row! {
    struct StateRow {
        place: i64,
        taint_version: i64,
        recall: i32,
        next_seq: u64,
        request_digest: Option<Digest>,
        answer: Option<Bytes>,
    }
}

/// The batch of `EvaluateStep`.
pub(crate) struct StoreSteps;

impl Batch for StoreSteps {
    type Item = Item;
    type Out = Out;
    const NAME: &'static str = "policies.EvaluateStep";

    fn apply<'t>(&'t self, tx: &'t mut Tx, items: &'t [Item]) -> BoxFuture<'t, Answers<Out>> {
        Box::pin(apply(tx, items))
    }
}

/// Stores items in their order, each whole or not at all.
pub(crate) async fn apply(tx: &mut Tx, items: &[Item]) -> Answers<Out> {
    let mut group = Group { states: states(tx, items).await?, ..Group::default() };
    group.known = known_facts(tx, items, &group.states).await?;
    group.monitors = Locked::of(tx, items).await?;
    let mut outs = Vec::with_capacity(items.len());
    for (place, item) in items.iter().enumerate() {
        outs.push(match group.refuse(place, item) {
            Ok(None) if !approval_part::apply(tx, item).await? => Ok(Out::Stale),
            Ok(None) => Ok(group.accept(place, item)),
            Ok(Some(out)) => Ok(out),
            Err(fault) => Err(fault),
        });
    }
    group.write(tx).await?;
    Ok(outs)
}

/// The state of the group while it is worked through, and the rows it comes to.
#[derive(Default)]
struct Group {
    states: HashMap<usize, StateRow>,
    /// Digests of stored and of just accepted facts.
    known: HashMap<(i64, u64), Digest>,
    /// Ends of the facts, as moved by this group.
    ends: HashMap<i64, u64>,
    /// Taint versions, as moved by this group.
    taint_versions: HashMap<i64, i64>,
    taints: BTreeMap<i64, (String, i64)>,
    monitors: Locked,
    answered: HashMap<(i64, i64, u32), (Digest, Bytes)>,
    decisions: Vec<Args>,
    inputs: Vec<Args>,
    enforcements: Vec<Args>,
    preventions: Vec<(String, PreventionRow)>,
    facts: Vec<Args>,
    raised: Vec<(i64, Raised)>,
    events: Vec<OutboxEvent>,
}

impl Group {
    /// Why an item can't be stored as it is: it was before, or what it was made with changed.
    fn refuse(&mut self, place: usize, item: &Item) -> Result<Option<Out>, Fault> {
        let Some(state) = self.states.get(&place) else {
            return Err(Fault::new(&mesh::INTERNAL, "the attempt is not bound"));
        };
        let next = *self.ends.get(&item.run_key).unwrap_or(&state.next_seq);
        if let Some(done) = self.repeated(state, item, next)? {
            return Ok(Some(done));
        }
        let taint_version = *self.taint_versions.get(&item.run_key).unwrap_or(&state.taint_version);
        if taint_version != item.taint_version || state.recall != item.recall {
            return Ok(Some(Out::Stale));
        }
        if item.from_seq > next {
            return Ok(Some(Out::Gap(next)));
        }
        if let Some(seq) = self.conflict(item) {
            self.raised.extend(item.conflict.as_ref().map(|r| (item.run_key, (**r).clone())));
            return Ok(Some(Out::Conflict(seq)));
        }
        if self.monitors.is_stale(item) {
            return Ok(Some(Out::Stale));
        }
        Ok(None)
    }

    fn accept(&mut self, place: usize, item: &Item) -> Out {
        let stored = self.states.get(&place).map_or((0, 0), |s| (s.next_seq, s.taint_version));
        let next = self.ends.get(&item.run_key).copied().unwrap_or(stored.0);
        let next = self.accept_facts(item, next);
        if let Some(taints) = &item.taints {
            let taint_version = *self.taint_versions.get(&item.run_key).unwrap_or(&stored.1);
            self.taint_versions.insert(item.run_key, taint_version + 1);
            self.taints.insert(item.run_key, (taints.clone(), taint_version + 1));
        }
        self.monitors.accept(item);
        self.raised.extend(item.violations.iter().map(|r| (item.run_key, r.clone())));
        self.events.extend(item.events.iter().cloned());
        let answer = item.decision.as_ref().map(|d| self.accept_decision(item, d, next)).unwrap_or_default();
        Out::Done { answer, next_seq: next, fresh: true }
    }

    /// The first answer, when the same question was answered before.
    fn repeated(&self, state: &StateRow, item: &Item, next: u64) -> Result<Option<Out>, Fault> {
        let Some(decision) = &item.decision else { return Ok(None) };
        let key = (item.run_key, decision.step_index, decision.ask);
        let first = match (self.answered.get(&key), &state.request_digest, &state.answer) {
            (Some((digest, answer)), ..) => (*digest, answer.clone()),
            (None, Some(digest), Some(answer)) => (*digest, answer.clone()),
            _ => return Ok(None),
        };
        if first.0 != decision.request_digest {
            let text = "this question was asked before with other words";
            return Err(Fault::new(&mesh::IDEMPOTENCY_MISMATCH, text));
        }
        Ok(Some(Out::Done { answer: first.1, next_seq: next, fresh: false }))
    }

    fn conflict(&self, item: &Item) -> Option<u64> {
        let other =
            |f: &&Fact| self.known.get(&(item.run_key, f.seq)).is_some_and(|known| *known != f.digest);
        item.facts.iter().find(other).map(|f| f.seq)
    }

    /// Keeps what is new; a repeat is known by its place and was compared before.
    fn accept_facts(&mut self, item: &Item, next: u64) -> u64 {
        let mut end = next;
        for fact in &item.facts {
            if fact.seq < next || self.known.contains_key(&(item.run_key, fact.seq)) {
                continue;
            }
            self.known.insert((item.run_key, fact.seq), fact.digest);
            end = end.max(fact.seq + 1);
            self.facts.push(args![
                item.run_key,
                fact.seq,
                fact.step_index,
                fact.authorized,
                fact.digest,
                &fact.bytes
            ]);
        }
        self.ends.insert(item.run_key, end);
        end
    }

    fn accept_decision(&mut self, item: &Item, d: &Decided, next_seq: u64) -> Bytes {
        let answer = match &d.answer {
            Answer::Run(answer) => Bytes::from(answer.encode_to_vec()),
            Answer::Step(answer) => {
                let mut answer = (**answer).clone();
                answer.next_seq = next_seq;
                Bytes::from(answer.encode_to_vec())
            }
        };
        let key = (item.run_key, d.step_index, d.ask);
        self.answered.insert(key, (d.request_digest, answer.clone()));
        self.decisions.push(args![
            item.run_key,
            d.step_index,
            d.ask,
            d.moment,
            &d.decision_id,
            d.verdict,
            d.effective_verdict,
            d.directive,
            d.degraded,
            d.plain,
            &d.code,
            d.request_digest,
            d.inputs_digest,
            &answer,
            item.at,
            &d.rules,
        ]);
        self.inputs.push(args![item.run_key, d.step_index, d.ask, d.inputs_digest, &d.inputs]);
        self.preventions.extend(d.preventions.iter().map(|p| (item.tenant.clone(), p.clone())));
        self.enforcements.extend(d.enforcements.iter().map(|e| {
            args![
                item.run_key,
                d.step_index,
                &e.enforcement_id,
                &d.decision_id,
                &e.rule_id,
                e.version,
                e.action,
                e.would_outcome,
                item.at,
            ]
        }));
        answer
    }

    async fn write(self, tx: &mut Tx) -> Result<(), DbError> {
        let decisions = [
            "run_key",
            "step_index",
            "ask",
            "moment",
            "decision_id",
            "verdict",
            "effective_verdict",
            "directive",
            "degraded",
            "plain",
            "code",
            "request_digest",
            "inputs_digest",
            "answer",
            "decided_at",
            "rules",
        ];
        tx.insert_rows("decisions", &decisions, self.decisions, "").await?;
        let inputs = ["run_key", "step_index", "ask", "digest", "bytes"];
        tx.insert_rows("decision_inputs", &inputs, self.inputs, "").await?;
        let enforcements = [
            "run_key",
            "step_index",
            "enforcement_id",
            "decision_id",
            "rule_id",
            "version",
            "action",
            "would_outcome",
            "at",
        ];
        tx.insert_rows("enforcements", &enforcements, self.enforcements, "").await?;
        if !self.preventions.is_empty() {
            preventions::insert(tx, self.preventions).await?;
        }
        let facts = ["run_key", "seq", "step_index", "authorized", "digest", "bytes"];
        tx.insert_rows("step_facts", &facts, self.facts, "").await?;
        for (run_key, (taints, version)) in self.taints {
            let sql = "UPDATE run_states SET taints = $2, taint_version = $3 WHERE id = $1";
            tx.execute(sql, args![run_key, taints, version]).await?;
        }
        self.monitors.write(tx).await?;
        for event in self.events {
            tx.emit_raw(event);
        }
        raise(tx, self.raised).await
    }
}

/// Stores violations; only the first fact of its kind is told.
pub(crate) async fn raise(tx: &mut Tx, raised: Vec<(i64, Raised)>) -> Result<(), DbError> {
    if raised.is_empty() {
        return Ok(());
    }
    let columns = [
        "run_key",
        "step_index",
        "rule_id",
        "rule_code",
        "violation_id",
        "body",
        "recorded_at",
        "kind",
        "severity",
    ];
    let mut rows = Vec::with_capacity(raised.len());
    let mut events = HashMap::with_capacity(raised.len());
    for (run_key, Raised { violation: v, event }) in raised {
        let step = v.step_index.map_or(-1, i64::from);
        let at = v.recorded_at.as_ref().map_or(Micros(0), runspine_rpc::micros);
        let counts = (v.kind, v.severity);
        rows.push(args![
            run_key,
            step,
            &v.rule_id,
            &v.rule_code,
            &v.violation_id,
            v.encode_to_vec(),
            at,
            v.kind,
            v.severity
        ]);
        events.insert(v.violation_id, (event, counts));
    }
    let conflict = "ON CONFLICT (run_key, rule_id, rule_code, step_index) DO NOTHING";
    let first: Vec<(String,)> =
        tx.insert_rows_returning("violations", &columns, rows, conflict, "violation_id").await?;
    for (id,) in first {
        if let Some((event, (kind, severity))) = events.remove(&id) {
            metrics::violated(kind, severity);
            tx.emit_raw(event);
        }
    }
    Ok(())
}

/// One SELECT for the state of every item: binding, taints, recall, end of the facts, first answer.
async fn states(tx: &mut Tx, items: &[Item]) -> Result<HashMap<usize, StateRow>, DbError> {
    let mut found = HashMap::with_capacity(items.len());
    for (start, chunk) in items.chunks(512).enumerate().map(|(n, c)| (n * 512, c)) {
        let width = chunk.len().next_power_of_two();
        let mut values = Vec::with_capacity(width * 5);
        for place in 0..width {
            let item = chunk.get(place);
            let decision = item.and_then(|i| i.decision.as_ref());
            values.extend(args![
                start + place,
                item.map_or("", |i| i.tenant.as_str()),
                item.map_or(-1, |i| i.run_key),
                decision.map_or(-2, |d| d.step_index),
                decision.map_or(0, |d| d.ask),
            ]);
        }
        let rows: Vec<StateRow> = tx.fetch_all(AssertSqlSafe(states_sql(width)), values).await?;
        found.extend(rows.into_iter().filter_map(|r| Some((usize::try_from(r.place).ok()?, r))));
    }
    Ok(found)
}

/// Widths are powers of two, so that few texts are prepared.
fn states_sql(width: usize) -> String {
    let rows: Vec<String> = (0..width)
        .map(|n| {
            let b = n * 5;
            let (p, t, k, s, a) = (b + 1, b + 2, b + 3, b + 4, b + 5);
            format!(
                "(CAST(${p} AS BIGINT), CAST(${t} AS TEXT), CAST(${k} AS BIGINT), CAST(${s} AS BIGINT), \
                 CAST(${a} AS BIGINT))"
            )
        })
        .collect();
    format!(
        "WITH q (place, tenant_id, run_key, step_index, ask) AS (VALUES {}) \
         SELECT q.place, r.taint_version, COALESCE(rc.directive, 0) AS recall, \
         (SELECT COALESCE(MAX(f.seq) + 1, 0) FROM step_facts f WHERE f.run_key = r.id) AS next_seq, \
         d.request_digest, d.answer \
         FROM q JOIN run_states r ON r.id = q.run_key AND r.tenant_id = q.tenant_id \
         LEFT JOIN snapshot_recalls rc ON rc.snapshot_key = r.snapshot_key \
         LEFT JOIN decisions d ON d.run_key = q.run_key AND d.step_index = q.step_index AND d.ask = q.ask",
        rows.join(",")
    )
}

/// Digests of stored facts that items tell again; nothing is read when every fact is new.
async fn known_facts(
    tx: &mut Tx,
    items: &[Item],
    states: &HashMap<usize, StateRow>,
) -> Result<HashMap<(i64, u64), Digest>, DbError> {
    let mut ranges: BTreeMap<i64, (u64, u64)> = BTreeMap::new();
    for (place, item) in items.iter().enumerate() {
        let Some(next) = states.get(&place).map(|s| s.next_seq) else { continue };
        for fact in item.facts.iter().filter(|f| f.seq < next) {
            let range = ranges.entry(item.run_key).or_insert((fact.seq, fact.seq));
            *range = (range.0.min(fact.seq), range.1.max(fact.seq));
        }
    }
    let mut known = HashMap::new();
    for (run_key, (first, last)) in ranges {
        let sql = "SELECT seq, digest FROM step_facts WHERE run_key = $1 AND seq >= $2 AND seq <= $3";
        let values: Vec<Value> = args![run_key, first, last];
        let rows: Vec<(u64, Digest)> = tx.fetch_all(sql, values).await?;
        known.extend(rows.into_iter().map(|(seq, digest)| ((run_key, seq), digest)));
    }
    Ok(known)
}
