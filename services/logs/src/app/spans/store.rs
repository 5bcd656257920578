//! The writer's turn: each span gets its place on the trace of its run.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use contracts_common::common::v1::{CallContext, GovernanceProfile, Verdict};
use runspine_db::Tx;
use runspine_errors::Fault;
use runspine_logs_domain::{
    span::{
        Refusal, Span,
        observed::{LOOK_EVERY, patience},
    },
    trace::{Body, Facts, Item, TraceState, Wanted},
};
use runspine_redact::Operation;
use runspine_types::{Digest, Micros};

use super::{
    Taken,
    prepare::{Draft, Prepared},
};
use crate::{
    app::{
        append_addendum::Late,
        append_records::{Append, Group},
        payloads::offer::Offered,
    },
    keyring::Keyring,
    store::{
        observed::{self, Root},
        records,
        spans::{self, Became, NewSpan},
        traces::{self, TraceRef},
    },
};

/// Everything that the transaction needs, made outside of it.
pub(super) struct Work {
    pub(super) call: CallContext,
    pub(super) keyring: Arc<Keyring>,
    pub(super) max_records: u64,
    pub(super) now: Micros,
    /// `otlp.quiet_seconds`.
    pub(super) quiet: Duration,
    pub(super) prepared: Vec<Prepared>,
    /// OpenTelemetry traces that were not seen before, with their runs.
    pub(super) unseen: HashMap<String, String>,
    /// The traces of runs that exist only as spans.
    pub(super) observed: HashSet<TraceRef>,
    pub(super) taken: Taken,
}

/// What a step used, as the trace has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Used {
    input_tokens: i64,
    output_tokens: i64,
    cost_microusd: i64,
}

/// What a request came to, once it is durable.
pub(super) struct Done {
    pub(super) taken: Taken,
    /// The traces that grew.
    pub(super) grown: Vec<i64>,
    /// The records that were made.
    pub(super) bodies: Vec<Body>,
    /// Payloads that the constraints of their run did not allow.
    pub(super) denied: Vec<Operation>,
}

/// Late facts of one trace, with what becomes of their payloads.
#[derive(Default)]
struct Waiting {
    items: Vec<Item>,
    offered: Vec<Offered>,
    next_index: u32,
}

/// What the spans of one request change.
struct Turn {
    group: Group,
    known: HashMap<String, Digest>,
    used: HashMap<(i64, u64), Used>,
    late: BTreeMap<TraceRef, Waiting>,
    rows: Vec<NewSpan>,
    bodies: Vec<Body>,
    denied: Vec<Operation>,
    now: Micros,
    observed: HashSet<TraceRef>,
    /// Traces of observed runs that have spans now.
    touched: BTreeSet<i64>,
    roots: Vec<Root>,
}

impl Work {
    /// Stores the spans and says what became of them.
    pub(super) async fn run(self, tx: &mut Tx) -> Result<Done, Fault> {
        let tenant_id = self.call.tenant_id.clone();
        let names: Vec<String> = self.prepared.iter().map(|p| p.span.external_ref()).collect();
        let known = spans::known(tx, &tenant_id, names.iter().map(String::as_str)).await?;
        let mut turn = Turn::open(tx, &self.prepared, known, (self.max_records, self.now)).await?;
        turn.observed = self.observed;
        let mut taken = self.taken;
        for (prepared, name) in self.prepared.into_iter().zip(names) {
            turn.store(prepared, name, &mut taken);
        }
        let grown = turn.group.write(tx, self.now).await?;
        for (of, waiting) in turn.late {
            let late = Late { call: &self.call, keyring: &self.keyring, now: self.now };
            late.append(tx, &of, "spans that came after the seal", waiting.items, waiting.offered).await?;
        }
        spans::insert(tx, &tenant_id, turn.rows, self.now).await?;
        if !self.unseen.is_empty() {
            observed::remember(tx, &tenant_id, &self.unseen, self.now).await?;
        }
        observed::insert_roots(tx, turn.roots, self.now).await?;
        for trace_key in turn.touched {
            let patience = patience(observed::is_rooted(tx, trace_key).await?, self.quiet);
            observed::touch(tx, trace_key, (self.now, self.now + patience.min(LOOK_EVERY))).await?;
        }
        Ok(Done { taken, grown, bodies: turn.bodies, denied: turn.denied })
    }
}

impl Turn {
    async fn open(
        tx: &mut Tx,
        prepared: &[Prepared],
        known: HashMap<String, Digest>,
        (max_records, now): (u64, Micros),
    ) -> Result<Self, Fault> {
        let mut wanted: BTreeMap<TraceRef, Wanted> = BTreeMap::new();
        for one in prepared {
            let wanted = wanted.entry(one.of.clone()).or_default();
            let span = &one.span;
            wanted.keys.insert(format!("otlp/{}", span.external_ref()));
            // The span's own name may be that of a link, or the reference of a step.
            wanted.references.insert(span.external_ref());
            wanted.references.extend(span.decision_id().map(str::to_owned));
            wanted.step_references.insert(span.external_ref());
            wanted.step_references.extend(span.call_id().map(str::to_owned));
        }
        let mut group = Group::open(tx, wanted, max_records).await?;
        let mut more: BTreeMap<TraceRef, Wanted> = BTreeMap::new();
        for one in prepared {
            let Some((_, state)) = group.head(&one.of) else { continue };
            let steps = decided(&state.facts, &one.span).map(|(index, _)| index);
            more.entry(one.of.clone()).or_default().steps.extend(steps);
        }
        group.look_up(tx, more).await?;
        let (mut places, mut late) = (Vec::new(), BTreeMap::new());
        for one in prepared {
            let Some((trace_key, state)) = group.head(&one.of) else { continue };
            places.extend(recorded(state, &one.span).map(|(_, position)| (trace_key, position)));
            if state.sealed && !late.contains_key(&one.of) {
                let chain = traces::of_run_in(tx, &one.of.tenant_id, &one.of.run_id, one.of.attempt).await?;
                let largest = chain.iter().filter_map(|row| row.largest_step_index).max();
                let next_index = largest.map_or(0, |index| index.saturating_add(1));
                late.insert(one.of.clone(), Waiting { next_index, ..Waiting::default() });
            }
            if one.draft.as_ref().is_some_and(|draft| !draft.offered.kept.is_empty()) {
                group.note_erased(tx, &one.of).await?;
            }
        }
        places.sort_unstable();
        places.dedup();
        let rows = records::at(tx, &places).await?;
        let used = rows.iter().map(|row| {
            let used = Used {
                input_tokens: row.input_tokens,
                output_tokens: row.output_tokens,
                cost_microusd: row.cost_microusd,
            };
            ((row.trace_key, row.position), used)
        });
        Ok(Self {
            used: used.collect(),
            group,
            known,
            late,
            rows: Vec::new(),
            bodies: Vec::new(),
            denied: Vec::new(),
            now,
            observed: HashSet::new(),
            touched: BTreeSet::new(),
            roots: Vec::new(),
        })
    }

    /// Stores one span, or finds why not.
    fn store(&mut self, prepared: Prepared, name: String, taken: &mut Taken) {
        if let Some(first) = self.known.get(&name) {
            if *first == prepared.span.digest {
                taken.duplicates += 1;
            } else {
                taken.reject(&prepared.span, Refusal::SpanConflict.name());
            }
            return;
        }
        let Prepared { span, of, draft } = prepared;
        let Some((trace_key, sealed)) = self.group.head(&of).map(|(key, state)| (key, state.sealed)) else {
            return taken.reject(&span, Refusal::UngovernedRun.name());
        };
        let priced = draft.as_ref().and_then(|draft| draft.priced);
        let became = match draft {
            None => Ok(Became::Structure),
            Some(draft) => self.place(&span, &of, draft),
        };
        match became {
            Ok(became) => {
                let late = sealed && became != Became::Structure;
                taken.stored += 1;
                taken.late += u64::from(late);
                self.known.insert(name.clone(), span.digest);
                if self.observed.contains(&of) {
                    self.touched.insert(trace_key);
                    if span.is_root() {
                        self.roots.push(Root { trace_key, span: name.clone(), failure: span.failure() });
                    }
                }
                let prices = priced.filter(|_| became == Became::Step);
                self.rows.push(NewSpan { span: name, digest: span.digest, trace_key, became, late, prices });
            }
            Err(reason) => taken.reject(&span, reason),
        }
    }

    /// Puts the span's record on the trace, or among the late facts of a sealed one.
    fn place(&mut self, span: &Span, of: &TraceRef, draft: Draft) -> Result<Became, &'static str> {
        let named = |fault: Fault| reason(&fault);
        let Some((trace_key, state)) = self.group.head(of) else {
            return Err(Refusal::UngovernedRun.name());
        };
        let sealed = state.sealed;
        let denied = draft.offered.denied.clone();
        let (item, became) = if let Some((index, position)) = recorded(state, span) {
            let disagrees = self.used.get(&(trace_key, position)).is_some_and(|used| differs(&draft, *used));
            (draft.link(span, (index, position), disagrees).map_err(named)?, Became::Link)
        } else {
            let decision = decided(&state.facts, span);
            let allowed = decision.is_some_and(|(_, verdict)| allows(verdict));
            if !allowed && state.profile == GovernanceProfile::Strict as i32 {
                return Err(Refusal::UngovernedStep.name());
            }
            let index = decision.map_or_else(|| self.next_index(of), |(index, _)| index);
            let under = decision.and_then(|(_, verdict)| Some((span.decision_id()?, verdict)));
            (draft.step(index, under).map_err(named)?, Became::Step)
        };
        let body = Body::of(&item.body);
        if sealed {
            let waiting = self.late.entry(of.clone()).or_default();
            waiting.next_index = waiting.next_index.max(item.step_index.map_or(0, |i| i.saturating_add(1)));
            waiting.items.push(item);
            waiting.offered.push(draft.offered);
            self.count(body, denied);
            return Ok(became);
        }
        let used = Used {
            input_tokens: draft.step.input_tokens,
            output_tokens: draft.step.output_tokens,
            cost_microusd: draft.step.cost_microusd,
        };
        let append = Append { of: of.clone(), items: vec![item], offered: vec![draft.offered] };
        self.group.append(&append, self.now).map_err(named)?;
        if let Some((trace_key, state)) = self.group.head(of) {
            self.used.insert((trace_key, state.count), used);
        }
        self.count(body, denied);
        Ok(became)
    }

    fn count(&mut self, body: Body, denied: Vec<Operation>) {
        self.bodies.push(body);
        if body == Body::Step {
            self.denied.extend(denied);
        }
    }

    /// The index of a step that nobody announced: the one after the largest.
    fn next_index(&self, of: &TraceRef) -> u32 {
        if let Some(waiting) = self.late.get(of) {
            return waiting.next_index;
        }
        let largest = self.group.head(of).and_then(|(_, state)| state.largest_step_index);
        largest.map_or(0, |index| index.saturating_add(1))
    }
}

/// The step that was decided under the span's decision, with the verdict; `None` when the trace has no such decision.
fn decided(facts: &Facts, span: &Span) -> Option<(u32, i32)> {
    let decision = facts.referred(span.decision_id()?, Body::Decision).next()?;
    Some((decision.step_index?, decision.status))
}

/// The recorded step that the span describes, with its place: the newest try of the step that was decided, or the one
/// that was recorded with the span's own name or with its call as reference.
fn recorded(state: &TraceState, span: &Span) -> Option<(u32, u64)> {
    let facts = &state.facts;
    if let Some((index, _)) = decided(facts, span) {
        let newest = facts.of_step(index, Body::Step).max_by_key(|fact| fact.position)?;
        return Some((index, newest.position));
    }
    let names = [Some(span.external_ref()), span.call_id().map(str::to_owned)];
    let found = names.iter().flatten().find_map(|name| facts.referred(name, Body::Step).last())?;
    Some((found.step_index?, found.position))
}

fn allows(verdict: i32) -> bool {
    [Verdict::Allow as i32, Verdict::Modify as i32].contains(&verdict)
}

/// Whether the span says of tokens or cost something else than the record; what it doesn't say differs from nothing.
fn differs(draft: &Draft, used: Used) -> bool {
    let step = &draft.step;
    let counted = step.input_tokens > 0 || step.output_tokens > 0;
    let tokens =
        counted && (step.input_tokens, step.output_tokens) != (used.input_tokens, used.output_tokens);
    let priced = !step.cost_estimated && step.cost_microusd > 0;
    tokens || (priced && step.cost_microusd != used.cost_microusd)
}

/// What a refusal of the trace's rules is to an exporter.
fn reason(fault: &Fault) -> &'static str {
    match fault.reason().name {
        "IDEMPOTENCY_MISMATCH" | "STEP_CONFLICT" => Refusal::SpanConflict.name(),
        name => name,
    }
}
