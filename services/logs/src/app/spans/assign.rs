//! Finds the run of each span: the one that it names, else that of its OpenTelemetry trace.

use std::collections::{BTreeMap, HashMap, HashSet};

use contracts_common::common::v1::RunSource;
use runspine_errors::Fault;
use runspine_logs_domain::span::{Described, Refusal, Span, observed::agent_of};
use runspine_types::new_id;

use super::{Entry, Taken, Unknown, prepare::Found};
use crate::{
    app::App,
    store::{observed, traces::TraceRef},
};

/// A span, with the step that it describes.
type Understood = (Span, Option<Described>);

/// Spans with the traces of their runs.
#[derive(Default)]
pub(super) struct Assigned {
    pub(super) entries: Vec<Entry>,
    /// OpenTelemetry traces that were not seen before, with their runs.
    pub(super) unseen: HashMap<String, String>,
    /// Those of the traces whose runs exist only as spans.
    pub(super) observed: HashSet<TraceRef>,
    /// Runs that have to be started first.
    pub(super) unknown: Vec<Unknown>,
}

/// The runs of OpenTelemetry traces, as they are known while one request is read.
struct Traces {
    /// Seen before.
    seen: HashMap<String, String>,
    /// Named by a span of this request.
    named: HashMap<String, String>,
    /// Those with a span of an agent: the only ones that a run is made of.
    agents: HashSet<String>,
}

impl Traces {
    fn read(seen: HashMap<String, String>, spans: &[Understood]) -> Self {
        let (mut named, mut agents) = (HashMap::new(), HashSet::new());
        for (span, _) in spans {
            if let Some(run_id) = span.run_id() {
                named.entry(span.trace()).or_insert_with(|| run_id.to_owned());
            }
            if span.is_of_an_agent() {
                agents.insert(span.trace());
            }
        }
        Self { seen, named, agents }
    }

    fn run_of(&self, span: &Span) -> Option<String> {
        let trace = span.trace();
        let known = || self.seen.get(&trace).or_else(|| self.named.get(&trace));
        span.run_id().or_else(|| known().map(String::as_str)).map(str::to_owned)
    }
}

impl App {
    /// Finds the trace of each span, and the runs that have to be started before there is one.
    pub(super) async fn assign(
        &self,
        tenant_id: &str,
        spans: Vec<Understood>,
        observe: bool,
        taken: &mut Taken,
    ) -> Result<Assigned, Fault> {
        let names: HashSet<String> = spans.iter().map(|(span, _)| span.trace()).collect();
        let seen = observed::runs_of(self.db.read(), tenant_id, names.iter().map(String::as_str)).await?;
        let mut traces = Traces::read(seen, &spans);
        let mut found = Found::new(self, tenant_id);
        let mut assigned = Assigned::default();
        let (mut waiting, mut made): (Vec<(String, Span)>, HashMap<String, String>) = Default::default();
        for (span, described) in spans {
            let run_id = match traces.run_of(&span) {
                Some(run_id) => run_id,
                // A root of whatever an application does begins no run.
                None if !traces.agents.contains(&span.trace()) => {
                    taken.ignored += 1;
                    continue;
                }
                None if observe => {
                    let run_id = new_id();
                    made.insert(span.trace(), run_id.clone());
                    traces.named.insert(span.trace(), run_id.clone());
                    run_id
                }
                None => {
                    taken.reject(&span, Refusal::UngovernedRun.name());
                    continue;
                }
            };
            let attempt = span.attempt().unwrap_or(0);
            match found.attempt(&run_id, attempt).await? {
                // Its start is not over: nothing is on its trace, not even the decision on it.
                Some(row) if observe && row.observed && row.empty => waiting.push((run_id, span)),
                Some(row) => {
                    if row.observed {
                        assigned.observed.insert(row.of.clone());
                    }
                    if !traces.seen.contains_key(&span.trace()) {
                        assigned.unseen.entry(span.trace()).or_insert(run_id);
                    }
                    assigned.entries.push(Entry { span, of: row.of, described });
                }
                None if observe && attempt <= 1 && found.attempt(&run_id, 0).await?.is_none() => {
                    waiting.push((run_id, span));
                }
                None => taken.reject(&span, Refusal::UngovernedRun.name()),
            }
        }
        if !waiting.is_empty() {
            assigned.unknown = self.unknown(tenant_id, waiting, made).await?;
        }
        Ok(assigned)
    }

    /// The runs to be started. Traces that name none have theirs from now on, whoever asks again.
    async fn unknown(
        &self,
        tenant_id: &str,
        waiting: Vec<(String, Span)>,
        made: HashMap<String, String>,
    ) -> Result<Vec<Unknown>, Fault> {
        let mut first = HashMap::new();
        if !made.is_empty() {
            let (tenant, now, runs) = (tenant_id.to_owned(), self.clock.now(), made.clone());
            let work = self.db.write("remember_traces", move |tx| {
                Box::pin(async move { Ok(observed::remember(tx, &tenant, &runs, now).await?) })
            });
            first = work.await?;
        }
        let mut runs: BTreeMap<String, Vec<Span>> = BTreeMap::new();
        for (run_id, span) in waiting {
            // Another request may have been first to see the trace.
            let of_trace = first.get(&span.trace()).filter(|_| made.get(&span.trace()) == Some(&run_id));
            runs.entry(of_trace.cloned().unwrap_or(run_id)).or_default().push(span);
        }
        let unknown = |(run_id, spans): (String, Vec<Span>)| Unknown {
            run_id,
            agent_id: agent_of(spans.iter()),
            external_trace_id: spans.first().map(Span::trace).unwrap_or_default(),
        };
        Ok(runs.into_iter().map(unknown).collect())
    }
}

/// Whether a trace is that of a run that exists only as spans.
#[must_use]
pub fn is_observed(source: i32) -> bool {
    source == RunSource::Otlp as i32
}
