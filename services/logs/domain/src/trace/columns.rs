//! The query columns of a record's row. Each must equal what the stored bytes decode to; the proof checks it.

use std::borrow::Cow;

use contracts_common::common::v1::{StepOutcome, Verdict};
use contracts_logs::v1::{Step, TraceRecord, trace_record};
use runspine_types::Micros;

use crate::bytes::micros;

/// Which body a record has; the numbers are the field numbers of the record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(i32)]
pub enum Body {
    /// A decision.
    Decision = 16,
    /// A try of a step.
    Step = 17,
    /// An ambiguous step was settled.
    Resolution = 18,
    /// An event of a tool call.
    Mcp = 19,
    /// An act on the run.
    Control = 20,
    /// A correction.
    Correction = 21,
    /// A span of a recorded step.
    SpanLink = 22,
}

impl Body {
    /// The body with this number.
    #[must_use]
    pub fn of_number(number: i32) -> Option<Self> {
        const ALL: [Body; 7] = [
            Body::Decision,
            Body::Step,
            Body::Resolution,
            Body::Mcp,
            Body::Control,
            Body::Correction,
            Body::SpanLink,
        ];
        ALL.into_iter().find(|b| *b as i32 == number)
    }

    /// The body that a record has.
    #[must_use]
    pub const fn of(body: &trace_record::Body) -> Self {
        match body {
            trace_record::Body::Decision(_) => Self::Decision,
            trace_record::Body::Step(_) => Self::Step,
            trace_record::Body::Resolution(_) => Self::Resolution,
            trace_record::Body::Mcp(_) => Self::Mcp,
            trace_record::Body::Control(_) => Self::Control,
            trace_record::Body::Correction(_) => Self::Correction,
            trace_record::Body::SpanLink(_) => Self::SpanLink,
        }
    }
}

/// How loud a record is in a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// As it should be.
    Info,
    /// Something was retried, refused or is not known.
    Warn,
    /// A step failed.
    Error,
}

impl Level {
    /// Of a row with this body and status.
    #[must_use]
    pub fn of(body: Body, status: i32) -> Self {
        let (outcome, verdict) = (StepOutcome::try_from(status), Verdict::try_from(status));
        match body {
            Body::Step | Body::Resolution => match outcome {
                Ok(StepOutcome::Failure) => Self::Error,
                Ok(StepOutcome::Retried | StepOutcome::Ambiguous) => Self::Warn,
                _ => Self::Info,
            },
            Body::Decision => match verdict {
                Ok(Verdict::Deny | Verdict::RequireApproval | Verdict::Defer) => Self::Warn,
                _ => Self::Info,
            },
            _ => Self::Info,
        }
    }

    /// As a list shows it.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Info => "INFO",
            Self::Warn => "WARN",
            Self::Error => "ERROR",
        }
    }
}

/// The columns that follow from a record's bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Columns<'a> {
    /// Which body.
    pub body: i32,
    /// The step.
    pub step_index: Option<u32>,
    /// STEP: which try; DECISION: which ask.
    pub retry_count: u32,
    /// STEP, DECISION: the kind of step; MCP: the event; CONTROL: the action; otherwise 0.
    pub kind: i32,
    /// STEP, RESOLUTION: the outcome; DECISION: the verdict; otherwise 0.
    pub status: i32,
    /// Name of the skill, tool or model.
    pub name: Cow<'a, str>,
    /// What the record is found by: decision id, call id, span.
    pub reference: Option<Cow<'a, str>>,
    /// STEP: the decision that it was done under.
    pub decision_id: Option<Cow<'a, str>>,
    /// RESOLUTION, CORRECTION, SPAN_LINK: the position that it is about.
    pub target: Option<u64>,
    /// Code of the outcome.
    pub code: Cow<'a, str>,
    /// STEP, MCP: done without a decision that allows it.
    pub unauthorized: bool,
    /// When it happened.
    pub occurred_at: Micros,
    /// When it was stored.
    pub recorded_at: Micros,
    /// When the step began; otherwise when it happened.
    pub started_at: Micros,
    /// Input tokens; CORRECTION: to add.
    pub input_tokens: i64,
    /// Output tokens; CORRECTION: to add.
    pub output_tokens: i64,
    /// Cost in micro-USD; CORRECTION: to add.
    pub cost_microusd: i64,
    /// Duration in microseconds.
    pub duration_us: i64,
}

impl<'a> Columns<'a> {
    /// The columns of a record; `None` when it has no body.
    #[must_use]
    pub fn of(record: &'a TraceRecord) -> Option<Self> {
        let body = record.body.as_ref()?;
        let occurred_at = micros(record.occurred_at.as_ref());
        let mut columns = Self {
            body: Body::of(body) as i32,
            step_index: record.step_index,
            retry_count: 0,
            kind: 0,
            status: 0,
            name: Cow::default(),
            reference: None,
            decision_id: None,
            target: None,
            code: Cow::default(),
            unauthorized: false,
            occurred_at,
            recorded_at: micros(record.recorded_at.as_ref()),
            started_at: occurred_at,
            input_tokens: 0,
            output_tokens: 0,
            cost_microusd: 0,
            duration_us: 0,
        };
        columns.fill(body);
        Some(columns)
    }

    /// The same, apart from the record.
    #[must_use]
    pub fn into_owned(self) -> Columns<'static> {
        let own = |text: Cow<'a, str>| Cow::Owned(text.into_owned());
        Columns {
            name: own(self.name),
            reference: self.reference.map(own),
            decision_id: self.decision_id.map(own),
            code: own(self.code),
            ..self
        }
    }

    fn fill(&mut self, body: &'a trace_record::Body) {
        match body {
            trace_record::Body::Decision(d) => {
                (self.kind, self.status, self.retry_count) = (d.kind, d.verdict, d.ask);
                self.name = Cow::Borrowed(&d.name);
                self.code = Cow::Borrowed(&d.reason);
                self.reference = some(&d.decision_id);
            }
            trace_record::Body::Step(s) => self.fill_step(s),
            trace_record::Body::Resolution(r) => {
                (self.status, self.target) = (r.outcome, Some(r.resolves_position));
                self.code = Cow::Borrowed(&r.outcome_code);
            }
            trace_record::Body::Mcp(m) => {
                (self.kind, self.unauthorized, self.duration_us) = (m.event, m.unauthorized, m.duration_us);
                self.name = Cow::Borrowed(&m.tool_name);
                self.code = Cow::Borrowed(&m.error_code);
                self.reference = some(&m.call_id);
                self.decision_id = some(&m.decision_id);
            }
            trace_record::Body::Control(c) => self.kind = c.action,
            trace_record::Body::Correction(c) => {
                self.target = Some(c.corrects_position);
                self.input_tokens = c.input_tokens_delta;
                self.output_tokens = c.output_tokens_delta;
                self.cost_microusd = c.cost_microusd_delta;
            }
            trace_record::Body::SpanLink(l) => {
                self.target = Some(l.step_position);
                self.reference = some(&l.external_ref);
            }
        }
    }

    fn fill_step(&mut self, s: &'a Step) {
        (self.kind, self.status, self.retry_count) = (s.kind, s.outcome, s.retry_count);
        (self.unauthorized, self.duration_us) = (s.unauthorized, s.duration_us);
        (self.input_tokens, self.output_tokens, self.cost_microusd) =
            (s.input_tokens, s.output_tokens, s.cost_microusd);
        self.name = Cow::Borrowed(&s.name);
        self.code = Cow::Borrowed(&s.outcome_code);
        self.decision_id = some(&s.decision_id);
        if s.started_at.is_some() {
            self.started_at = micros(s.started_at.as_ref());
        }
    }
}

fn some(text: &str) -> Option<Cow<'_, str>> {
    (!text.is_empty()).then_some(Cow::Borrowed(text))
}
