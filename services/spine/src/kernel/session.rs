//! What the kernel knows of one attempt, as its trace tells it.
//!
//! A session holds no truth of its own: it is the fold of the records of one trace, kept in memory so that a step does
//! not read the trace again. Whoever lost it rebuilds it from the trace and goes on.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use bytes::Bytes;
use contracts_common::common::v1::{Amounts, StepKind, StepOutcome, Totals};
use runspine_types::{Digest, Hasher};

/// A step as the trace knows it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Step {
    /// How often the question was put before the newest decision.
    pub ask: u32,
    /// The newest decision. Empty: the step was recorded without one.
    pub decision_id: String,
    /// The agent may do it.
    pub permitted: bool,
    /// The answer asked for another question: DEFER or REQUIRE_APPROVAL.
    pub may_ask_again: bool,
    /// What kind of step.
    pub kind: StepKind,
    /// Its name.
    pub name: String,
    /// What it is done to.
    pub resource: String,
    /// Digest of its arguments.
    pub arguments_digest: Bytes,
    /// What it calls.
    pub calls: Calls,
    /// What it was expected to use.
    pub estimate: Amounts,
    /// The hold on the budget. Empty: none.
    pub hold_id: String,
    /// Its newest try. `None`: not recorded yet.
    pub last_try: Option<Try>,
}

/// What a step calls, as it was asked for. Empty: none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Calls {
    /// Provider of the model.
    pub provider: String,
    /// Model.
    pub model: String,
    /// Tool.
    pub tool: String,
}

/// One try of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Try {
    /// From 0.
    pub retry_count: u32,
    /// How it ended; a resolved AMBIGUOUS try has its resolution's outcome.
    pub outcome: StepOutcome,
    /// Where its record stands.
    pub position: u64,
}

impl Step {
    /// Authorized and nothing recorded yet.
    #[must_use]
    pub fn in_flight(&self) -> bool {
        self.permitted && self.last_try.is_none()
    }

    /// Whether nobody knows how it ended.
    #[must_use]
    pub fn is_ambiguous(&self) -> bool {
        self.last_try.is_some_and(|t| t.outcome == StepOutcome::Ambiguous)
    }
}

/// Among how many of the newest steps refused ones are looked for.
const REFUSED: usize = 64;

/// What one record of a step used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Used {
    /// Cost in micro-USD.
    pub cost_microusd: i64,
    /// Input tokens.
    pub tokens_input: i64,
    /// Output tokens.
    pub tokens_output: i64,
}

/// The fold of a trace.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Session {
    /// Position of the last record that it knows.
    pub head: u64,
    steps: BTreeMap<u32, Step>,
    /// Indices of the steps in flight and of those whose outcome nobody knows: few, however long the run.
    open: BTreeSet<u32>,
    /// How many steps were allowed to do the same, by the digest of the action.
    actions: HashMap<Digest, u32>,
    /// STEP records so far: the sequence of facts that policies has to learn.
    pub facts: u64,
    /// Facts that policies has learned.
    pub facts_told: u64,
    /// A decision of the attempt was made while a decider could not decide: that stays so.
    pub degraded: bool,
    recorded: Totals,
}

impl Session {
    /// From where on policies has to be told facts. Before the first one this is 0, which is what policies says too:
    /// asked from 1 it would miss a fact that nobody has.
    #[must_use]
    pub fn facts_from(&self) -> u64 {
        if self.facts_told == 0 { 0 } else { self.facts_told + 1 }
    }

    /// The index of the next step.
    #[must_use]
    pub fn next_index(&self) -> u32 {
        self.steps.keys().next_back().map_or(0, |last| last.saturating_add(1))
    }

    /// The step at an index.
    #[must_use]
    pub fn step(&self, index: u32) -> Option<&Step> {
        self.steps.get(&index)
    }

    /// The open steps by index.
    fn open(&self) -> impl Iterator<Item = (u32, &Step)> {
        self.open.iter().filter_map(|index| Some((*index, self.steps.get(index)?)))
    }

    /// Notes whether the step at `index` is open still.
    fn sort(&mut self, index: u32) {
        if self.steps.get(&index).is_some_and(|s| s.in_flight() || s.is_ambiguous()) {
            self.open.insert(index);
        } else {
            self.open.remove(&index);
        }
    }

    /// The newest steps that may not be done, recorded by nobody: policies may have allowed them, and takes them out.
    #[must_use]
    pub fn refused(&self) -> Vec<u32> {
        let newest = self.steps.iter().rev().take(REFUSED);
        let refused = newest.filter(|(_, s)| !s.permitted && s.last_try.is_none());
        refused.map(|(index, _)| *index).collect()
    }

    /// Whether an index before `index` has no step.
    #[must_use]
    pub fn is_gap(&self, index: u32) -> bool {
        index > self.next_index()
    }

    /// Steps authorized and not yet recorded.
    pub fn in_flight(&self) -> impl Iterator<Item = (u32, &Step)> {
        self.open().filter(|(_, s)| s.in_flight())
    }

    /// Steps whose outcome nobody knows, with the position of the record that says so.
    pub fn ambiguous(&self) -> impl Iterator<Item = (u32, u64)> {
        self.open().filter(|(_, s)| s.is_ambiguous()).filter_map(|(i, s)| Some((i, s.last_try?.position)))
    }

    /// Whether the same action has an unknown outcome: it is never repeated blindly.
    #[must_use]
    pub fn repeats_ambiguous(&self, kind: StepKind, resource: &str, arguments_digest: &[u8]) -> bool {
        self.open().any(|(_, s)| {
            s.is_ambiguous()
                && s.kind == kind
                && s.resource == resource
                && s.arguments_digest == arguments_digest
        })
    }

    /// How many steps were allowed to do the same. What has no digest is the same as nothing.
    #[must_use]
    pub fn repeats(&self, kind: StepKind, resource: &str, arguments_digest: &[u8]) -> u32 {
        let action = action(kind, resource, arguments_digest);
        action.and_then(|action| self.actions.get(&action)).copied().unwrap_or(0)
    }

    /// The step that the agent has in hand: in flight, or the last one.
    #[must_use]
    pub fn in_hand(&self) -> Option<u32> {
        self.in_flight().next().map(|(i, _)| i).or_else(|| self.steps.keys().next_back().copied())
    }

    /// What the trace holds plus the steps in flight at their estimates; the step `asked` is left out.
    #[must_use]
    pub fn totals(&self, asked: Option<u32>, running_ms: i64) -> Totals {
        let mut totals = Totals { duration_ms: running_ms, ..self.recorded };
        for (index, step) in self.in_flight() {
            if Some(index) == asked {
                continue;
            }
            totals.cost_microusd = totals.cost_microusd.saturating_add(step.estimate.cost_microusd);
            totals.tokens_input = totals.tokens_input.saturating_add(step.estimate.tokens_input);
            totals.tokens_output = totals.tokens_output.saturating_add(step.estimate.tokens_output);
            count(&mut totals, step.kind);
        }
        totals
    }

    /// A decision was put on the trace.
    pub fn decided(&mut self, position: u64, index: u32, step: Step) {
        self.head = self.head.max(position);
        if !step.permitted && !step.may_ask_again {
            self.recorded.denials += 1;
        }
        if step.permitted
            && let Some(action) = action(step.kind, &step.resource, &step.arguments_digest)
        {
            *self.actions.entry(action).or_default() += 1;
        }
        self.steps.insert(index, step);
        self.sort(index);
    }

    /// A decision was revoked by a freeze between its record and its answer.
    pub fn revoked(&mut self, position: u64, index: u32) {
        self.head = self.head.max(position);
        if let Some(step) = self.steps.get_mut(&index)
            && step.permitted
        {
            step.permitted = false;
            self.recorded.denials += 1;
            let action = action(step.kind, &step.resource, &step.arguments_digest);
            if let Some(times) = action.and_then(|action| self.actions.get_mut(&action)) {
                *times = times.saturating_sub(1);
            }
        }
        self.sort(index);
    }

    /// A try was put on the trace.
    pub fn recorded(&mut self, index: u32, kind: StepKind, name: &str, attempt: Try, used: Used) {
        self.head = self.head.max(attempt.position);
        self.facts += 1;
        let totals = &mut self.recorded;
        totals.cost_microusd = totals.cost_microusd.saturating_add(used.cost_microusd);
        totals.tokens_input = totals.tokens_input.saturating_add(used.tokens_input);
        totals.tokens_output = totals.tokens_output.saturating_add(used.tokens_output);
        let step = self.steps.entry(index).or_insert_with(|| Step {
            kind,
            name: name.to_owned(),
            resource: name.to_owned(),
            ..Step::default()
        });
        let first = step.last_try.is_none();
        step.last_try = Some(attempt);
        if first && attempt.outcome != StepOutcome::Skipped {
            count(totals, step.kind);
        }
        if attempt.outcome == StepOutcome::Failure {
            totals.failures += 1;
        }
        self.sort(index);
    }

    /// An unknown outcome was settled.
    pub fn resolved(&mut self, position: u64, resolves: u64, outcome: StepOutcome) {
        self.head = self.head.max(position);
        let Some((index, _)) = self.ambiguous().find(|(_, position)| *position == resolves) else { return };
        if let Some(last) = self.steps.get_mut(&index).and_then(|step| step.last_try.as_mut()) {
            last.outcome = outcome;
        }
        if outcome == StepOutcome::Failure {
            self.recorded.failures += 1;
        }
        self.sort(index);
    }

    /// A record that changes no step.
    pub fn passed(&mut self, position: u64) {
        self.head = self.head.max(position);
    }
}

/// Names an action; none: nobody said what its arguments are.
fn action(kind: StepKind, resource: &str, arguments_digest: &[u8]) -> Option<Digest> {
    let named =
        Hasher::new("runspine.action.v1").sized(&i32::from(kind).to_be_bytes()).sized(resource.as_bytes());
    (!arguments_digest.is_empty()).then(|| named.sized(arguments_digest).finish())
}

fn count(totals: &mut Totals, kind: StepKind) {
    totals.steps += 1;
    match kind {
        StepKind::LlmCall => totals.llm_calls += 1,
        StepKind::ToolCall => totals.tool_calls += 1,
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn permitted(kind: StepKind, cost: i64) -> Step {
        Step {
            decision_id: "d".into(),
            permitted: true,
            kind,
            resource: "r".into(),
            arguments_digest: Bytes::from_static(b"a"),
            estimate: Amounts { cost_microusd: cost, ..Amounts::default() },
            ..Step::default()
        }
    }

    fn attempt(outcome: StepOutcome, position: u64) -> Try {
        Try { retry_count: 0, outcome, position }
    }

    #[test]
    fn a_step_counts_at_its_estimate_until_it_is_recorded_at_its_cost() {
        let mut session = Session::default();
        session.decided(1, 0, permitted(StepKind::LlmCall, 100));
        assert_eq!(session.totals(None, 0).cost_microusd, 100);
        assert_eq!(session.totals(Some(0), 0).cost_microusd, 0);
        let used = Used { cost_microusd: 70, ..Used::default() };
        session.recorded(0, StepKind::LlmCall, "m", attempt(StepOutcome::Success, 2), used);
        let totals = session.totals(None, 5);
        assert_eq!((totals.cost_microusd, totals.steps, totals.llm_calls, totals.duration_ms), (70, 1, 1, 5));
        assert_eq!((session.head, session.facts, session.next_index()), (2, 1, 1));
        assert_eq!(session.in_flight().count(), 0);
    }

    #[test]
    fn an_unknown_outcome_blocks_its_action_until_it_is_resolved() {
        let mut session = Session::default();
        session.decided(1, 0, permitted(StepKind::ToolCall, 0));
        session.recorded(0, StepKind::ToolCall, "t", attempt(StepOutcome::Ambiguous, 2), Used::default());
        assert!(session.repeats_ambiguous(StepKind::ToolCall, "r", b"a"));
        assert!(!session.repeats_ambiguous(StepKind::ToolCall, "r", b"b"));
        assert_eq!(session.ambiguous().collect::<Vec<_>>(), [(0, 2)]);
        session.resolved(3, 2, StepOutcome::Failure);
        assert!(!session.repeats_ambiguous(StepKind::ToolCall, "r", b"a"));
        assert_eq!(session.totals(None, 0).failures, 1);
    }

    #[test]
    fn what_was_allowed_again_is_counted_by_its_action() {
        let mut session = Session::default();
        for index in 0..3 {
            session.decided(u64::from(index), index, permitted(StepKind::ToolCall, 0));
        }
        let denied = Step { permitted: false, ..permitted(StepKind::ToolCall, 0) };
        session.decided(4, 3, denied);
        let unnamed = Step { arguments_digest: Bytes::new(), ..permitted(StepKind::ToolCall, 0) };
        session.decided(5, 4, unnamed);
        let repeats = |session: &Session| session.repeats(StepKind::ToolCall, "r", b"a");
        assert_eq!(repeats(&session), 3);
        for (kind, resource, digest) in [
            (StepKind::LlmCall, "r", b"a".as_slice()),
            (StepKind::ToolCall, "s", b"a"),
            (StepKind::ToolCall, "r", b""),
        ] {
            assert_eq!(session.repeats(kind, resource, digest), 0, "{resource}");
        }
        session.revoked(6, 1);
        assert_eq!(repeats(&session), 2);
    }

    #[test]
    fn a_revoked_decision_is_a_denial_and_holds_no_place() {
        let mut session = Session::default();
        session.decided(1, 0, permitted(StepKind::ToolCall, 9));
        session.revoked(2, 0);
        session.revoked(2, 0);
        let totals = session.totals(None, 0);
        assert_eq!((totals.denials, totals.cost_microusd, session.in_flight().count()), (1, 0, 0));
        assert_eq!(session.in_hand(), Some(0));
        assert!(session.is_gap(2) && !session.is_gap(1));
    }
}
