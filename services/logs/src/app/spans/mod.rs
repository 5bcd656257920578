//! Stores OpenTelemetry spans: each becomes a step of its run's trace, a link to the step that it describes, or nothing
//! but a name that is remembered. A span is stored once, whatever how often it is sent.

mod prepare;
mod store;

use std::sync::Arc;

use contracts_common::common::v1::CallContext;
use runspine_errors::Fault;
use runspine_logs_domain::span::{Described, Meaning, Refusal, Span, place};

use self::store::Work;
use super::App;
use crate::{metrics, store::traces::TraceRef};

/// What became of the spans of one request.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Taken {
    /// Stored now.
    pub stored: u64,
    /// Stored before, with the same content.
    pub duplicates: u64,
    /// Of those that were stored now, those that came after the seal of their trace.
    pub late: u64,
    /// No part of any run.
    pub ignored: u64,
    /// Refused for good: the span's id, and why.
    pub rejected: Vec<(String, &'static str)>,
}

impl Taken {
    fn reject(&mut self, span: &Span, reason: &'static str) {
        self.rejected.push((hex::encode(&span.span_id), reason));
    }
}

/// A span that belongs to a trace.
pub(super) struct Entry {
    pub(super) span: Span,
    pub(super) of: TraceRef,
    /// The step that it describes; none: it only holds others together.
    pub(super) described: Option<Described>,
}

impl App {
    /// Stores spans; all that are not refused, in one commit.
    ///
    /// # Errors
    /// When the store can't be read or written: nothing was stored.
    pub async fn append_spans(&self, call: &CallContext, mut spans: Vec<Span>) -> Result<Taken, Fault> {
        let mut taken = Taken::default();
        spans.sort_by(|a, b| place(a).cmp(&place(b)));
        let mut entries = Vec::with_capacity(spans.len());
        for span in spans {
            match understand(&span) {
                Ok(None) => taken.ignored += 1,
                Ok(Some(described)) => entries.push((span, described)),
                Err(refusal) => taken.reject(&span, refusal.name()),
            }
        }
        let entries = self.assign(&call.tenant_id, entries, &mut taken).await?;
        if !entries.is_empty() {
            let prepared = self.prepare(call, entries, &mut taken).await?;
            let work = Work {
                call: call.clone(),
                keyring: Arc::clone(&self.keyring),
                max_records: self.max_records,
                now: self.clock.now(),
                prepared,
                taken,
            };
            let done = self.db.write("append_spans", move |tx| Box::pin(work.run(tx))).await?;
            taken = done.taken;
            done.grown.into_iter().for_each(|trace_key| self.watch.wake(trace_key));
            metrics::made(&done.bodies);
            metrics::denied(&done.denied);
        }
        metrics::spans(&taken);
        Ok(taken)
    }

    /// Finds the trace of each span: that of the run that it names, if the tenant has it.
    async fn assign(
        &self,
        tenant_id: &str,
        spans: Vec<(Span, Option<Described>)>,
        taken: &mut Taken,
    ) -> Result<Vec<Entry>, Fault> {
        let mut found = prepare::Found::new(self, tenant_id);
        let mut entries = Vec::with_capacity(spans.len());
        for (span, described) in spans {
            let of = match span.run_id() {
                Some(run_id) => found.attempt(run_id, span.attempt().unwrap_or(0)).await?,
                None => None,
            };
            match of {
                Some(of) => entries.push(Entry { span, of, described }),
                None => taken.reject(&span, Refusal::UngovernedRun.name()),
            }
        }
        Ok(entries)
    }
}

/// What a span is to a run: nothing, structure, or a step.
fn understand(span: &Span) -> Result<Option<Option<Described>>, Refusal> {
    span.check()?;
    match Meaning::of(span) {
        Meaning::Ignored => Ok(None),
        Meaning::Structure => Ok(Some(None)),
        Meaning::Step(kind) => Described::of(span, kind).map(|described| Some(Some(described))),
    }
}
