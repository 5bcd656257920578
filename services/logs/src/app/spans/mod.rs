//! Stores OpenTelemetry spans: each becomes a step of its run's trace, a link to the step that it describes, or nothing
//! but a name that is remembered. A span is stored once, whatever how often it is sent.

mod assign;
mod observe;
mod prepare;
mod store;

use std::sync::Arc;

use contracts_common::common::v1::CallContext;
use runspine_errors::Fault;
use runspine_logs_domain::span::{Described, Meaning, Prices, Refusal, Span, place};

use self::{assign::Assigned, store::Work};
pub use self::{
    assign::is_observed,
    observe::{Claim, begin, root_missing},
};
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
    /// Runs that have to be started first: nothing was stored.
    pub unknown: Vec<Unknown>,
}

/// A run that exists only as spans so far.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unknown {
    /// The run.
    pub run_id: String,
    /// What its spans call the agent.
    pub agent_id: String,
    /// The OpenTelemetry trace of its first span.
    pub external_trace_id: String,
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
    /// Stores spans; all that are not refused, in one commit. Under `observe` a run that nobody started is named instead
    /// of refused, and nothing is stored. `prices` are for spans that don't say their cost.
    ///
    /// # Errors
    /// When the store can't be read or written: nothing was stored.
    pub async fn append_spans(
        &self,
        call: &CallContext,
        mut spans: Vec<Span>,
        (observe, prices): (bool, &Prices),
    ) -> Result<Taken, Fault> {
        let mut taken = Taken::default();
        spans.sort_by(|a, b| place(a).cmp(&place(b)));
        let mut entries = Vec::with_capacity(spans.len());
        for span in spans {
            match understand(&span, prices) {
                Ok(None) => taken.ignored += 1,
                Ok(Some(described)) => entries.push((span, described)),
                Err(refusal) => taken.reject(&span, refusal.name()),
            }
        }
        let observe = observe && (!self.strict || self.otlp.accept_ungoverned);
        let Assigned { entries, unseen, observed, unknown } =
            self.assign(&call.tenant_id, entries, observe, &mut taken).await?;
        if !unknown.is_empty() {
            return Ok(Taken { unknown, ..Taken::default() });
        }
        if !entries.is_empty() {
            let prepared = self.prepare(call, entries, &mut taken).await?;
            let work = Work {
                call: call.clone(),
                keyring: Arc::clone(&self.keyring),
                max_records: self.max_records,
                now: self.clock.now(),
                quiet: self.otlp.quiet(),
                prepared,
                unseen,
                observed,
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
}

/// What a span is to a run: nothing, structure, or a step.
fn understand(span: &Span, prices: &Prices) -> Result<Option<Option<Described>>, Refusal> {
    span.check()?;
    match Meaning::of(span) {
        Meaning::Ignored => Ok(None),
        Meaning::Structure => Ok(Some(None)),
        Meaning::Step(kind) => Described::of(span, kind).map(|step| Some(Some(step.priced(prices)))),
    }
}
