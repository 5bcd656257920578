//! The behaviour signature: what determinism may compare of two runs. Outputs, cost, tokens, time and ids are not in it.

use std::collections::BTreeMap;

use contracts_common::common::v1::{RunSource, StepOutcome};
use contracts_logs::v1::{Resolution, Step};
use runspine_types::{Digest, Hasher, Micros};

use crate::bytes::micros;

/// What one step contributes: its final try.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Item {
    kind: i32,
    name: String,
    parameters: [u8; 32],
    outcome: i32,
    code: String,
    /// A later record can still change it.
    may_change: bool,
    /// Where it stands among steps that have no order of their own: its start, and the span that it is.
    place: Option<(Micros, String)>,
}

/// Collects the final try of each step while a trace is read once, in position order.
///
/// The steps before the first one that may still change are folded into their digest, so that a run whose steps end in
/// their order takes the same memory whatever its length. What lies behind a hole or an unknown outcome is kept until a
/// later record settles it; at most `trace.max_records` items are.
#[derive(Debug, Clone)]
pub struct Behaviour {
    order: Order,
    /// The chain over the steps that are folded.
    folded: Digest,
    /// How many are: the steps from 0 up to this one.
    next: u32,
    steps: BTreeMap<u32, Item>,
    ambiguous: BTreeMap<u64, u32>,
}

/// How items get their place, and whether they have to be there at the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Order {
    /// The index of the step; what can't change any more is folded.
    Folded,
    /// The index of the step; all are kept.
    Kept,
    /// The rank by start and span.
    Ranked,
}

impl Default for Behaviour {
    fn default() -> Self {
        Self::in_order(Order::Folded)
    }
}

impl Behaviour {
    /// A trace without steps.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The same of a run from `source`. Spans come in any order: the steps of a run that exists only as spans have the
    /// index of their rank by start and span id, whatever index they were recorded under.
    #[must_use]
    pub fn of_source(source: i32) -> Self {
        Self::in_order(if source == RunSource::Otlp as i32 { Order::Ranked } else { Order::Folded })
    }

    /// The same, with every step kept to be compared with another run's.
    #[must_use]
    pub fn to_compare(source: i32) -> Self {
        Self::in_order(if source == RunSource::Otlp as i32 { Order::Ranked } else { Order::Kept })
    }

    fn in_order(order: Order) -> Self {
        let folded = Hasher::new("runspine.behaviour.v1").finish();
        Self { order, folded, next: 0, steps: BTreeMap::new(), ambiguous: BTreeMap::new() }
    }

    /// Takes a try of step `index`, stored at `position`. A RETRIED try is left out: another follows.
    pub fn step(&mut self, index: u32, position: u64, step: &Step) {
        // No try comes after a final one: the rules of a trace refuse it.
        if step.outcome == StepOutcome::Retried as i32 || index < self.next {
            return;
        }
        if step.outcome == StepOutcome::Ambiguous as i32 {
            self.ambiguous.insert(position, index);
        }
        let item = Item {
            kind: step.kind,
            name: step.name.clone(),
            parameters: step.parameters_digest.as_ref().try_into().unwrap_or([0; 32]),
            outcome: step.outcome,
            code: step.outcome_code.clone(),
            may_change: step.outcome == StepOutcome::Ambiguous as i32,
            place: (self.order == Order::Ranked)
                .then(|| (micros(step.started_at.as_ref()), step.external_ref.clone())),
        };
        self.steps.insert(index, item);
        self.fold();
    }

    /// Takes the settlement of an ambiguous try: the try counts with the resolution's outcome.
    pub fn resolution(&mut self, resolution: &Resolution) {
        let Some(index) = self.ambiguous.remove(&resolution.resolves_position) else { return };
        if let Some(item) = self.steps.get_mut(&index) {
            item.outcome = resolution.outcome;
            item.code.clone_from(&resolution.outcome_code);
            // After a resolution as FAILURE another try may follow.
            item.may_change = resolution.outcome != StepOutcome::Success as i32;
        }
        self.fold();
    }

    /// Folds the steps that come next and can't change any more.
    fn fold(&mut self) {
        while self.order == Order::Folded
            && let Some(first) = self.steps.first_entry()
            && *first.key() == self.next
            && !first.get().may_change
        {
            self.folded = link(self.folded, self.next, &first.remove());
            self.next = self.next.saturating_add(1);
        }
    }

    /// Positions of ambiguous tries that nobody settled.
    pub fn unresolved(&self) -> impl Iterator<Item = u64> + '_ {
        self.ambiguous.keys().copied()
    }

    /// Steps with a final try.
    #[must_use]
    pub fn len(&self) -> usize {
        self.next as usize + self.steps.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The first step at which two behaviours differ; `None` when their signatures are equal. Both have to be made
    /// [`Behaviour::to_compare`].
    #[must_use]
    pub fn divergence(&self, other: &Self) -> Option<Divergence> {
        let (left, right) = (self.items(), other.items());
        let (mut left, mut right) = (left.into_iter(), right.into_iter());
        let mut place = 0;
        loop {
            let (l, r) = (left.next(), right.next());
            let reasons = match (l, r) {
                (None, None) => return None,
                (Some(l), Some(r)) => differences(l, r),
                _ => vec!["LENGTH"],
            };
            if !reasons.is_empty() {
                let index = |side: Option<(u32, &Item)>| side.map(|(index, _)| index);
                return Some(Divergence { place, left: index(l), right: index(r), reasons });
            }
            place += 1;
        }
    }

    /// The signature: a chain over the items in step order.
    #[must_use]
    pub fn signature(&self) -> Digest {
        self.items().into_iter().fold(self.folded, |last, (index, item)| link(last, index, item))
    }

    /// The items that are kept with the index that counts, in its order.
    fn items(&self) -> Vec<(u32, &Item)> {
        if self.order != Order::Ranked {
            return self.steps.iter().map(|(index, item)| (*index, item)).collect();
        }
        let mut items: Vec<&Item> = self.steps.values().collect();
        items.sort_by(|a, b| a.place.cmp(&b.place));
        (0..).zip(items).collect()
    }
}

/// The chain with one more item.
fn link(last: Digest, index: u32, item: &Item) -> Digest {
    Hasher::new("runspine.behaviour.v1").fixed(last.as_bytes()).sized(&item.encode(index)).finish()
}

/// The first step at which two behaviours differ.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Divergence {
    /// Its place among the steps, from 0.
    pub place: u64,
    /// Its index on the left; its rank where that counts.
    pub left: Option<u32>,
    /// Its index on the right; its rank where that counts.
    pub right: Option<u32>,
    /// What differs.
    pub reasons: Vec<&'static str>,
}

fn differences((l_index, l): (u32, &Item), (r_index, r): (u32, &Item)) -> Vec<&'static str> {
    let checks = [
        (l_index != r_index, "INDEX"),
        (l.kind != r.kind, "KIND"),
        (l.name != r.name, "NAME"),
        (l.parameters != r.parameters, "PARAMETERS"),
        (l.outcome != r.outcome, "OUTCOME"),
        (l.code != r.code, "CODE"),
    ];
    checks.into_iter().filter(|(differs, _)| *differs).map(|(_, reason)| reason).collect()
}

impl Item {
    fn encode(&self, index: u32) -> Vec<u8> {
        let mut out = Vec::with_capacity(72 + self.name.len() + self.code.len());
        out.extend_from_slice(&u64::from(index).to_be_bytes());
        out.extend_from_slice(&self.kind.to_be_bytes());
        out.extend_from_slice(&(self.name.len() as u64).to_be_bytes());
        out.extend_from_slice(self.name.as_bytes());
        out.extend_from_slice(&self.parameters);
        out.extend_from_slice(&self.outcome.to_be_bytes());
        out.extend_from_slice(&(self.code.len() as u64).to_be_bytes());
        out.extend_from_slice(self.code.as_bytes());
        out
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Index, name, and what stands for the parameters.
    type Steps<'a> = &'a [(u32, &'a str, u8)];

    fn behaviour(steps: Steps<'_>) -> Behaviour {
        let mut behaviour = Behaviour::to_compare(RunSource::Agent.into());
        for (position, (index, name, parameter)) in steps.iter().enumerate() {
            let step = Step {
                name: (*name).to_owned(),
                parameters_digest: vec![*parameter; 32].into(),
                outcome: StepOutcome::Success.into(),
                // Outputs and costs are not compared.
                output_digest: vec![position as u8; 32].into(),
                cost_microusd: position as i64,
                ..Step::default()
            };
            behaviour.step(*index, position as u64 + 1, &step);
        }
        behaviour
    }

    #[test]
    fn the_first_difference_is_named() {
        let golden = behaviour(&[(0, "a", 1), (1, "b", 2), (2, "c", 3)]);
        assert_eq!(golden.divergence(&golden), None);
        let cases: [(Steps<'_>, u64, &[&str]); 4] = [
            (&[(0, "a", 1), (1, "b", 9), (2, "x", 3)], 1, &["PARAMETERS"]),
            (&[(0, "z", 1), (1, "b", 2), (2, "c", 3)], 0, &["NAME"]),
            (&[(0, "a", 1), (1, "b", 2)], 2, &["LENGTH"]),
            (&[(0, "a", 1), (2, "b", 2), (3, "c", 3)], 1, &["INDEX"]),
        ];
        for (steps, place, reasons) in cases {
            let other = behaviour(steps);
            let found = golden.divergence(&other).map(|d| (d.place, d.reasons));
            assert_eq!(found, Some((place, reasons.to_vec())));
            assert_ne!(golden.signature(), other.signature(), "a difference changes the signature");
            assert_eq!(other.divergence(&golden).map(|d| d.place), Some(place), "either way round");
        }
        assert_eq!(behaviour(&[]).divergence(&behaviour(&[])), None);
    }

    /// Tries in an order that the rules of a trace allow: of each step some that are repeated, and one that ends it or
    /// leaves it unknown; an unknown one is settled at once, at the end or never. Steps begin in any order.
    fn tries() -> impl Strategy<Value = Vec<Vec<(u32, StepOutcome, Option<StepOutcome>)>>> {
        use StepOutcome::{Ambiguous, Failure, Skipped, Success};
        let end = prop_oneof![
            Just((Success, None)),
            Just((Failure, None)),
            Just((Skipped, None)),
            Just((Ambiguous, None)),
            Just((Ambiguous, Some(Success))),
            Just((Ambiguous, Some(Failure))),
        ];
        prop::collection::vec((end, any::<bool>(), any::<bool>()), 0..24).prop_map(|ends| {
            let steps = ends.into_iter().zip(0..).filter(|((_, _, hole), _)| !hole);
            steps
                .map(|(((end, settled), again, _), index)| {
                    let mut tries = vec![(index, StepOutcome::Retried, None), (index, end, settled)];
                    if again && settled == Some(Failure) {
                        tries.push((index, Success, None));
                    }
                    tries
                })
                .collect()
        })
    }

    proptest! {
        /// What is folded on the way is what is folded at the end.
        #[test]
        fn folding_early_changes_nothing(
            steps in tries().prop_shuffle(),
            late in any::<bool>(),
        ) {
            let (mut folded, mut kept) = (Behaviour::new(), Behaviour::to_compare(RunSource::Agent.into()));
            let (mut position, mut unsettled) = (0, Vec::new());
            for (index, outcome, settled) in steps.into_iter().flatten() {
                position += 1;
                let step = Step { name: format!("step {index}"), outcome: outcome.into(), ..Step::default() };
                let resolution = settled.map(|outcome| Resolution {
                    resolves_position: position,
                    outcome: outcome.into(),
                    outcome_code: "SETTLED".to_owned(),
                    ..Resolution::default()
                });
                let now = resolution.clone().filter(|r| !late || r.outcome == StepOutcome::Failure as i32);
                for behaviour in [&mut folded, &mut kept] {
                    behaviour.step(index, position, &step);
                    now.iter().for_each(|resolution| behaviour.resolution(resolution));
                }
                unsettled.extend(resolution.filter(|_| now.is_none()));
            }
            for resolution in &unsettled {
                folded.resolution(resolution);
                kept.resolution(resolution);
            }
            prop_assert_eq!(folded.signature(), kept.signature());
            prop_assert_eq!(folded.len(), kept.len());
            prop_assert!(folded.unresolved().eq(kept.unresolved()));
        }
    }

    /// Steps that end in their order leave nothing behind but a digest; one that is unknown holds up what follows it.
    #[test]
    fn what_can_not_change_takes_no_memory() {
        let step = |outcome: StepOutcome| Step { outcome: outcome.into(), ..Step::default() };
        let mut behaviour = Behaviour::new();
        for index in 0..10_000 {
            behaviour.step(index, u64::from(index) + 1, &step(StepOutcome::Success));
            assert!(behaviour.steps.is_empty());
        }
        behaviour.step(10_000, 10_001, &step(StepOutcome::Ambiguous));
        behaviour.step(10_001, 10_002, &step(StepOutcome::Failure));
        assert_eq!((behaviour.steps.len(), behaviour.len()), (2, 10_002));
        let settled = Resolution {
            resolves_position: 10_001,
            outcome: StepOutcome::Success.into(),
            ..Resolution::default()
        };
        behaviour.resolution(&settled);
        assert_eq!((behaviour.steps.len(), behaviour.len()), (0, 10_002));
    }

    #[test]
    fn spans_have_the_index_of_their_rank() {
        let of = |source: RunSource, order: &[usize]| {
            let spans = [(5, "t:b", "one"), (5, "t:c", "two"), (9, "t:a", "three")];
            let mut behaviour = Behaviour::to_compare(source.into());
            for (index, span) in order.iter().enumerate() {
                let (started, external_ref, name) = spans[*span];
                let step = Step {
                    name: name.to_owned(),
                    external_ref: external_ref.to_owned(),
                    started_at: Some(crate::bytes::timestamp(Micros(started))),
                    outcome: StepOutcome::Success.into(),
                    ..Step::default()
                };
                behaviour.step(index as u32, index as u64 + 1, &step);
            }
            behaviour
        };
        let sorted = of(RunSource::Otlp, &[0, 1, 2]);
        for order in [[2, 1, 0], [1, 0, 2], [1, 2, 0]] {
            let shuffled = of(RunSource::Otlp, &order);
            assert_eq!((shuffled.signature(), shuffled.divergence(&sorted)), (sorted.signature(), None));
            assert_ne!(of(RunSource::Sdk, &order).signature(), of(RunSource::Sdk, &[0, 1, 2]).signature());
        }
        assert_eq!(sorted.signature(), of(RunSource::Sdk, &[0, 1, 2]).signature(), "the rank is the index");
    }
}
