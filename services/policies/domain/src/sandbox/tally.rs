//! What the replay of many decisions comes to.

use std::{cmp::Reverse, collections::BTreeMap};

use crate::words::{ChangeDimension, NotReplayable, Verdict};

/// Examples that are kept of each cell of the matrix.
const EXAMPLES: usize = 20;
/// Keys that are shown of each way of counting.
const KEYS: usize = 1_000;

/// A decision that was made otherwise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diff {
    /// The decision.
    pub decision_id: String,
    /// Its run.
    pub run_id: String,
    /// Its attempt.
    pub attempt: u32,
    /// Its step; none: the start of the run.
    pub step_index: Option<u32>,
    /// What was recorded.
    pub recorded: Verdict,
    /// What the candidate decides.
    pub candidate: Verdict,
    /// The recorded reason.
    pub recorded_code: String,
    /// The rule behind it.
    pub recorded_rule: String,
    /// The candidate's reason.
    pub candidate_code: String,
    /// The rule behind it.
    pub candidate_rule: String,
    /// Whether the agent would have acted otherwise before.
    pub counterfactual: bool,
    /// The agent.
    pub agent: String,
    /// What the step was about.
    pub resource: String,
}

/// One cell of the matrix.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Cell {
    /// Decisions in it.
    pub count: u64,
    /// Of them counterfactual.
    pub counterfactual: u64,
}

/// The sums of a replay.
#[derive(Debug, Clone, Default)]
pub struct Tally {
    /// Decisions decided again.
    pub replayed: u64,
    not: BTreeMap<NotReplayable, (u64, String)>,
    matrix: BTreeMap<(Verdict, Verdict), Cell>,
    changes: BTreeMap<(Verdict, ChangeDimension, String), u64>,
    examples: BTreeMap<(Verdict, Verdict), Vec<Diff>>,
    /// Decisions decided again under their own snapshot.
    pub self_checked: u64,
    /// The first of them that came out otherwise.
    pub self_check_failed: Option<String>,
    /// Runs with a change that is not counterfactual.
    pub runs_affected: u64,
    /// What they cost, in micro-USD.
    pub cost_affected: i64,
}

impl Tally {
    /// Decisions in the range.
    #[must_use]
    pub fn examined(&self) -> u64 {
        self.replayed + self.not.values().map(|(n, _)| n).sum::<u64>()
    }

    /// A decision came out as it was recorded.
    pub fn same(&mut self, verdict: Verdict, counterfactual: bool, count: u64) {
        self.counted(verdict, verdict, counterfactual, count);
    }

    /// A decision came out otherwise.
    pub fn differs(&mut self, diff: &Diff) {
        let (recorded, candidate) = (diff.recorded, diff.candidate);
        self.counted(recorded, candidate, diff.counterfactual, 1);
        let turned = [(Verdict::Allow, Verdict::Deny), (Verdict::Deny, Verdict::Allow)];
        if turned.contains(&(recorded, candidate)) {
            let rule = if candidate == Verdict::Deny { &diff.candidate_rule } else { &diff.recorded_rule };
            self.turned(recorded, [rule, &diff.agent, &diff.resource], 1);
        }
        self.example(diff);
    }

    /// Decisions that were decided again, the same or otherwise.
    pub fn counted(&mut self, recorded: Verdict, candidate: Verdict, counterfactual: bool, count: u64) {
        self.replayed += count;
        self.cell(recorded, candidate, counterfactual, count);
    }

    /// New denials or permissions by rule, agent and resource.
    pub fn turned(&mut self, recorded: Verdict, keys: [&String; 3], count: u64) {
        let dimensions = [ChangeDimension::Rule, ChangeDimension::Agent, ChangeDimension::Resource];
        for (dimension, key) in dimensions.into_iter().zip(keys) {
            *self.changes.entry((recorded, dimension, key.clone())).or_default() += count;
        }
    }

    /// Keeps a changed decision as an example, if there are not enough of its cell.
    pub fn example(&mut self, diff: &Diff) {
        let (recorded, candidate) = (diff.recorded, diff.candidate);
        let examples = self.examples.entry((recorded, candidate)).or_default();
        if examples.len() < EXAMPLES {
            examples.push(diff.clone());
        }
    }

    /// A decision could not be decided again.
    pub fn not_replayable(&mut self, why: NotReplayable, detail: &str, count: u64) {
        let entry = self.not.entry(why).or_insert_with(|| (0, detail.to_owned()));
        entry.0 += count;
    }

    fn cell(&mut self, recorded: Verdict, candidate: Verdict, counterfactual: bool, count: u64) {
        let cell = self.matrix.entry((recorded, candidate)).or_default();
        cell.count += count;
        cell.counterfactual += if counterfactual { count } else { 0 };
    }

    /// The matrix in order.
    pub fn matrix(&self) -> impl Iterator<Item = (Verdict, Verdict, Cell)> + '_ {
        self.matrix.iter().map(|((r, c), cell)| (*r, *c, *cell))
    }

    /// What was not decided again, in order.
    pub fn refused(&self) -> impl Iterator<Item = (NotReplayable, u64, &str)> + '_ {
        self.not.iter().map(|(why, (n, detail))| (*why, *n, detail.as_str()))
    }

    /// New denials and new permissions: by verdict and dimension, the most frequent first.
    #[must_use]
    pub fn changes(&self) -> Vec<(Verdict, ChangeDimension, &str, u64)> {
        let mut all: Vec<_> =
            self.changes.iter().map(|((v, d, key), n)| (*v, *d, key.as_str(), *n)).collect();
        all.sort_by_key(|(verdict, dimension, key, n)| (*verdict, *dimension, Reverse(*n), *key));
        let (mut kept, mut last, mut of_kind) = (Vec::with_capacity(all.len()), None, 0);
        for change in all {
            of_kind = if last == Some((change.0, change.1)) { of_kind + 1 } else { 1 };
            last = Some((change.0, change.1));
            if of_kind <= KEYS {
                kept.push(change);
            }
        }
        kept
    }

    /// Examples in order of their cells.
    pub fn examples(&self) -> impl Iterator<Item = &Diff> + '_ {
        self.examples.values().flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn diff(recorded: Verdict, candidate: Verdict, agent: &str) -> Diff {
        Diff {
            decision_id: "d".into(),
            run_id: "r".into(),
            attempt: 1,
            step_index: Some(0),
            recorded,
            candidate,
            recorded_code: "A".into(),
            recorded_rule: "old".into(),
            candidate_code: "B".into(),
            candidate_rule: "new".into(),
            counterfactual: agent == "late",
            agent: agent.into(),
            resource: "t".into(),
        }
    }

    #[test]
    fn what_was_examined_is_what_was_replayed_and_what_was_not() {
        let mut tally = Tally::default();
        tally.same(Verdict::Allow, false, 3);
        for _ in 0..30 {
            tally.differs(&diff(Verdict::Allow, Verdict::Deny, "a"));
        }
        tally.differs(&diff(Verdict::Allow, Verdict::Deny, "late"));
        tally.differs(&diff(Verdict::Deny, Verdict::Allow, "b"));
        tally.differs(&diff(Verdict::Allow, Verdict::Modify, "b"));
        tally.not_replayable(NotReplayable::InputsErased, "", 2);
        assert_eq!((tally.replayed, tally.examined()), (36, 38));
        assert_eq!(tally.matrix().map(|(.., c)| c.count).sum::<u64>(), 36);
        assert_eq!(tally.matrix().map(|(.., c)| c.counterfactual).sum::<u64>(), 1);
        assert_eq!(tally.examples().count(), 20 + 1 + 1, "twenty of each cell");
        let changes = tally.changes();
        let denied = (Verdict::Allow, ChangeDimension::Rule, "new", 31);
        let allowed = (Verdict::Deny, ChangeDimension::Rule, "old", 1);
        assert!(changes.contains(&denied) && changes.contains(&allowed), "{changes:?}");
        assert_eq!(changes.len(), 7, "an obligation is no denial");
    }
}
