//! What a sequence rule says, and the restriction that it makes.

use runspine_errors::{Fault, Violations, mesh};
use serde::{Deserialize, Serialize};

use super::window::{Measure, Window};
use crate::{
    reasons,
    text::{self, Checked, quoted},
    words::{Mode, SequenceKind, StateScope},
};

/// The most sequence rules in force of a tenant.
pub const MAX_RULES: usize = 200;
/// The longest head with its conditions, bytes.
const MAX_HEAD: usize = 8 * 1024;

/// The body of a sequence rule. Keys are in the order of canonical JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sequence {
    /// MUST_LEAD_TO: the head of the steps that are blocked while it is open; empty: none are.
    pub block_until: String,
    /// MUST_LEAD_TO: the head of the steps that close it.
    pub closes: String,
    /// COUNT_IN_WINDOW and RUNNING_TOTAL: denied questions count too.
    pub count_denied: bool,
    /// The head of the steps that the monitor is about.
    pub events: String,
    /// What is asked.
    pub kind: SequenceKind,
    /// TAINT: the labels.
    pub labels: Vec<String>,
    /// COUNT_IN_WINDOW and RUNNING_TOTAL: how much may be.
    pub max: i64,
    /// RUNNING_TOTAL: what is summed up.
    pub measure: String,
    /// `@message`.
    pub message: String,
    /// `@obligations`; empty: none.
    pub obligations: String,
    /// `@origin`; empty: none.
    pub origin: String,
    /// `@outcome`; empty: deny.
    pub outcome: String,
    /// `@reason`.
    pub reason: String,
    /// `@run`; empty: the default of the outcome.
    pub run: String,
    /// `@severity`; empty: MEDIUM.
    pub severity: String,
    /// Whose steps one state is about.
    pub state_scope: StateScope,
    /// The head of the steps that are restricted; empty with COUNT_IN_WINDOW and RUNNING_TOTAL: the events.
    pub trigger: String,
    /// `@violation`; empty: the default of the outcome.
    pub violation: String,
    /// How far back it looks, or within which it must lead to something.
    pub window: String,
}

impl Sequence {
    /// Checks the parameters; the heads are texts and are looked at as texts are.
    ///
    /// # Errors
    /// WINDOW_INVALID, or every other wrong field at once.
    pub fn check(&self) -> Result<(), Fault> {
        use SequenceKind as K;
        self.check_window()?;
        let mut v = Violations::new();
        let field = |name: &str| format!("content.sequence.{name}");
        v.require(!self.events.is_empty(), &field("events"), "REQUIRED", "the head of the events");
        let heads = [&self.events, &self.trigger, &self.closes, &self.block_until];
        let fits = heads.iter().all(|h| h.len() <= MAX_HEAD);
        v.require(fits, &field("events"), "TOO_LONG", "a head has at most 8 KiB");
        let needs = matches!(self.kind, K::MustFollow | K::MustNotFollow | K::Taint);
        let allowed = self.kind != K::MustLeadTo || self.trigger.is_empty();
        v.require(!needs || !self.trigger.is_empty(), &field("trigger"), "REQUIRED", "what is restricted");
        v.require(allowed, &field("trigger"), "NOT_OF_KIND", "MUST_LEAD_TO has block_until instead");
        let leads = self.kind == K::MustLeadTo;
        v.require(
            leads != self.closes.is_empty(),
            &field("closes"),
            "NOT_OF_KIND",
            "with MUST_LEAD_TO, and only then",
        );
        v.require(
            leads || self.block_until.is_empty(),
            &field("block_until"),
            "NOT_OF_KIND",
            "with MUST_LEAD_TO only",
        );
        let sums = matches!(self.kind, K::CountInWindow | K::RunningTotal);
        v.require(
            sums || !self.count_denied,
            &field("count_denied"),
            "NOT_OF_KIND",
            "with counts and totals only",
        );
        let most = if self.kind == K::RunningTotal { i64::MAX / 4 } else { 1_000_000 };
        let fits = if sums { (0..=most).contains(&self.max) } else { self.max == 0 };
        v.require(
            fits,
            &field("max"),
            "OUT_OF_RANGE",
            "0 to 1,000,000 with a count, at least 0 with a total",
        );
        let total = self.kind == K::RunningTotal;
        let fits = if total { Measure::parse(&self.measure).is_some() } else { self.measure.is_empty() };
        let text =
            "cost_microusd, tokens, duration_ms or number:<argument> with RUNNING_TOTAL, and only then";
        v.require(fits, &field("measure"), "OUT_OF_RANGE", text);
        let labels = self.labels.iter().all(|l| (1..=64).contains(&l.len()) && l.bytes().all(is_label));
        let count = if self.kind == K::Taint { 1..=8 } else { 0..=0 };
        let fits = labels && count.contains(&self.labels.len());
        v.require(
            fits,
            &field("labels"),
            "OUT_OF_RANGE",
            "1 to 8 labels of [A-Za-z0-9._-]{1,64} with TAINT, and only then",
        );
        v.into_result(&mesh::FIELD_INVALID)
    }

    /// Steps are counted in one run only; what is open at the end of a run is open in that run.
    fn check_window(&self) -> Result<(), Fault> {
        let refused = |text: &str, field: &str| {
            let fault = Fault::new(&reasons::WINDOW_INVALID, text.to_owned());
            Err(fault.field(format!("content.sequence.{field}"), "WINDOW_INVALID", text.to_owned()))
        };
        let shared = self.state_scope != StateScope::Run;
        if self.kind == SequenceKind::Taint {
            let fits = self.window.is_empty() && !shared;
            return if fits {
                Ok(())
            } else {
                refused("labels stay for the run: TAINT has no window", "window")
            };
        }
        match Window::parse(&self.window) {
            None => refused("steps:n (1 to 10,000), time:s (1 to 2,592,000) or run", "window"),
            Some(Window::Time(_)) if shared && self.kind == SequenceKind::MustLeadTo => {
                refused("MUST_LEAD_TO is about one run", "state_scope")
            }
            Some(Window::Time(_)) => Ok(()),
            Some(_) if shared => refused("beyond one run a window is one of time", "window"),
            Some(_) => Ok(()),
        }
    }

    /// Looks at the text that it makes, and at its heads.
    #[must_use]
    pub fn checked(&self, slug: &str, mode: Mode) -> Checked {
        let found = text::check(&self.cedar(slug), Some(slug), mode);
        text::with_heads(found, &[("events", &self.events), ("closes", &self.closes)])
    }

    /// The window; TAINT has none.
    #[must_use]
    pub fn window(&self) -> Window {
        Window::parse(&self.window).unwrap_or(Window::Run)
    }

    /// What is summed up.
    #[must_use]
    pub fn measure(&self) -> Measure {
        Measure::parse(&self.measure).unwrap_or(Measure::Count)
    }

    /// The Cedar text that it makes for a rule with this slug.
    #[must_use]
    pub fn cedar(&self, slug: &str) -> String {
        let mut text = String::new();
        let notes = [
            ("id", slug),
            ("reason", &self.reason),
            ("message", &self.message),
            ("outcome", &self.outcome),
            ("run", &self.run),
            ("obligations", &self.obligations),
            ("severity", &self.severity),
            ("violation", self.violation_note()),
            ("origin", &self.origin),
        ];
        for (name, value) in notes.iter().filter(|(name, v)| !v.is_empty() || *name == "reason") {
            text.push_str(&format!("@{name}({})\n", quoted(value)));
        }
        text.push_str(&format!("forbid {}\n{};\n", self.restricted(), self.condition(slug)));
        text
    }

    /// What is open at the end of a run is a violation that the monitor raises, once, not the text.
    fn violation_note(&self) -> &str {
        if self.kind == SequenceKind::MustLeadTo && self.block_until.is_empty() {
            "never"
        } else {
            &self.violation
        }
    }

    fn restricted(&self) -> &str {
        match self.kind {
            SequenceKind::MustLeadTo if self.block_until.is_empty() => {
                "(principal, action == Runspine::Action::\"end_run\", resource)"
            }
            SequenceKind::MustLeadTo => &self.block_until,
            _ if self.trigger.is_empty() => &self.events,
            _ => &self.trigger,
        }
    }

    fn condition(&self, slug: &str) -> String {
        let (has, get) = (
            format!("context.monitors.hasTag(\"m.{slug}\")"),
            format!("context.monitors.getTag(\"m.{slug}\")"),
        );
        let inside = match self.window().bound() {
            Some(bound) => format!("{has} && {get} <= {bound}"),
            None => has.clone(),
        };
        match self.kind {
            SequenceKind::CountInWindow => format!("when {{ {has} && {get} >= {} }}", self.max),
            SequenceKind::RunningTotal => {
                format!("when {{ {has} && {get} + {} > {} }}", self.measure().expression(), self.max)
            }
            SequenceKind::MustFollow => format!("unless {{ {inside} }}"),
            SequenceKind::MustNotFollow => format!("when {{ {inside} }}"),
            SequenceKind::MustLeadTo => format!("when {{ {has} && {get} > 0 }}"),
            SequenceKind::Taint => {
                let labels: Vec<String> = self.labels.iter().map(|l| quoted(l)).collect();
                format!("when {{ context.run.taints.containsAny([{}]) }}", labels.join(", "))
            }
        }
    }

    /// What makes two monitors of one rule the same: their states go on when the rest of the rule changes.
    #[must_use]
    pub(super) fn identity(&self) -> Vec<u8> {
        let own = (
            (self.kind, &self.events, &self.closes, &self.measure),
            (&self.window, self.state_scope, self.count_denied),
        );
        serde_json::to_vec(&own).unwrap_or_default()
    }
}

const fn is_label(b: u8) -> bool {
    b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-')
}
