//! What the domain counts, under the names that its specification gives.

use std::time::Duration;

use runspine_policies_domain::words::{
    ActionTaken, ApprovalState, EmitResult, Failure, FindingKind, LessonType, Moment, NotReplayable,
    Severity, Verdict, ViolationKind,
};
use runspine_telemetry::{Counter, Histogram, is_read};

use crate::store::hot::{Answer, Item};

static DECISIONS: Counter =
    Counter::new("runspine_policies_decisions_total", "Decisions stored, by moment and verdict");
static EVALUATE: Histogram = Histogram::with_bounds(
    "runspine_policies_evaluate_seconds",
    "How long a question took in memory, by how many rules were candidates",
    "",
    &[
        0.000_001,
        0.000_002_5,
        0.000_005,
        0.000_01,
        0.000_025,
        0.000_05,
        0.000_1,
        0.000_25,
        0.001,
        0.005,
        0.02,
    ],
);
static SLICE_CACHE: Counter =
    Counter::new("runspine_policies_slice_cache_total", "Slices asked for, by whether they were kept");
static DEGRADED: Counter =
    Counter::new("runspine_policies_degraded_total", "Decisions that could not be made properly, by why");
static ENFORCEMENTS: Counter =
    Counter::new("runspine_policies_enforcements_total", "Rules enforced, by what was done");
static VIOLATIONS: Counter =
    Counter::new("runspine_policies_violations_total", "Violations stored, by kind and severity");
static APPROVALS: Counter =
    Counter::new("runspine_policies_approvals_total", "States that approvals came to");
static APPROVAL_WAIT: Histogram = Histogram::with_bounds(
    "runspine_policies_approval_wait_seconds",
    "How long an approval waited until it was decided or over",
    "",
    &[1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3_600.0, 14_400.0, 86_400.0],
);
static LESSONS: Counter =
    Counter::new("runspine_policies_lessons_total", "Lessons emitted, by type and result");
static BACKTEST: Counter = Counter::new(
    "runspine_policies_backtest_decisions_total",
    "Decisions that back-tests looked at, by result",
);
static FINDINGS: Counter = Counter::new("runspine_policies_findings_total", "Findings of analyses, by kind");

/// What a code that is not known is counted under.
const UNKNOWN: &str = "UNKNOWN";

/// One evaluation in memory.
pub(crate) fn evaluated(took: Duration, candidates: u32) {
    let label = match candidates {
        0 => "0",
        1..=10 => "1-10",
        11..=100 => "11-100",
        _ => "101-500",
    };
    EVALUATE.record(took.as_secs_f64(), &[("candidates", label)]);
}

/// A slice was asked for.
pub(crate) fn slice(was_kept: bool) {
    SLICE_CACHE.increment(&[("hit", if was_kept { "true" } else { "false" })]);
}

/// What an item holds that is counted once it is stored.
pub(crate) struct Stored {
    decision: Option<(&'static str, &'static str)>,
    failure: Option<&'static str>,
    actions: Vec<&'static str>,
}

impl Stored {
    /// Of an item; `None`: nobody counts.
    pub(crate) fn of(item: &Item) -> Option<Self> {
        if !is_read() {
            return None;
        }
        let decided = item.decision.as_ref()?;
        let decision = match &decided.answer {
            Answer::Run(answer) => answer.decision.as_ref(),
            Answer::Step(answer) => answer.decision.as_ref(),
        };
        let actions = decided.enforcements.iter();
        Some(Self {
            decision: Some((
                Moment::from_code(decided.moment).map_or(UNKNOWN, Moment::as_str),
                Verdict::from_code(decided.verdict).map_or(UNKNOWN, Verdict::as_str),
            )),
            failure: decision.and_then(|d| Failure::from_code(d.failure)).map(Failure::as_str),
            actions: actions
                .map(|e| ActionTaken::from_code(e.action).map_or(UNKNOWN, ActionTaken::as_str))
                .collect(),
        })
    }

    /// It is stored.
    pub(crate) fn count(self) {
        if let Some((moment, verdict)) = self.decision {
            DECISIONS.increment(&[("moment", moment), ("verdict", verdict)]);
        }
        if let Some(failure) = self.failure {
            DEGRADED.increment(&[("failure", failure)]);
        }
        for action in self.actions {
            ENFORCEMENTS.increment(&[("action", action)]);
        }
    }
}

/// A violation was stored for the first time.
pub(crate) fn violated(kind: i32, severity: i32) {
    let kind = ViolationKind::from_code(kind).map_or(UNKNOWN, ViolationKind::as_str);
    let severity = Severity::from_code(severity).map_or(UNKNOWN, Severity::as_str);
    VIOLATIONS.increment(&[("kind", kind), ("severity", severity)]);
}

/// An approval came to a state, so many microseconds after it was asked for.
pub(crate) fn approval(state: i32, waited_us: i64) {
    let Some(state) = ApprovalState::from_code(state) else { return };
    APPROVALS.increment(&[("state", state.as_str())]);
    let is_over = matches!(
        state,
        ApprovalState::Approved | ApprovalState::Rejected | ApprovalState::Expired | ApprovalState::Cancelled
    );
    if is_over {
        APPROVAL_WAIT.record(waited_us as f64 / 1_000_000.0, &[]);
    }
}

/// A lesson was emitted.
pub(crate) fn lesson(kind: Option<LessonType>, result: i32) {
    let result = EmitResult::from_code(result).map_or(UNKNOWN, EmitResult::as_str);
    LESSONS.increment(&[("type", kind.map_or(UNKNOWN, LessonType::as_str)), ("result", result)]);
}

/// A back-test looked at a decision.
pub(crate) fn replayed(result: Result<bool, NotReplayable>) {
    let result = match result {
        Ok(true) => "SAME",
        Ok(false) => "DIFFERS",
        Err(why) => why.as_str(),
    };
    BACKTEST.increment(&[("result", result)]);
}

/// An analysis found something.
pub(crate) fn finding(kind: i32) {
    FINDINGS.increment(&[("kind", FindingKind::from_code(kind).map_or(UNKNOWN, FindingKind::as_str))]);
}
