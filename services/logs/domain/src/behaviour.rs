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
    /// Where it stands among steps that have no order of their own: its start, and the span that it is.
    place: Option<(Micros, String)>,
}

/// Collects the final try of each step while a trace is read once, in position order.
///
/// Its size grows with the number of steps: a later record may fill a hole or settle a step, so nothing can be folded
/// before the end.
#[derive(Debug, Clone, Default)]
pub struct Behaviour {
    ranked: bool,
    steps: BTreeMap<u32, Item>,
    ambiguous: BTreeMap<u64, u32>,
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
        Self { ranked: source == RunSource::Otlp as i32, ..Self::default() }
    }

    /// Takes a try of step `index`, stored at `position`. A RETRIED try is left out: another follows.
    pub fn step(&mut self, index: u32, position: u64, step: &Step) {
        if step.outcome == StepOutcome::Retried as i32 {
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
            place: self.ranked.then(|| (micros(step.started_at.as_ref()), step.external_ref.clone())),
        };
        self.steps.insert(index, item);
    }

    /// Takes the settlement of an ambiguous try: the try counts with the resolution's outcome.
    pub fn resolution(&mut self, resolution: &Resolution) {
        let Some(index) = self.ambiguous.remove(&resolution.resolves_position) else { return };
        if let Some(item) = self.steps.get_mut(&index) {
            item.outcome = resolution.outcome;
            item.code.clone_from(&resolution.outcome_code);
        }
    }

    /// Positions of ambiguous tries that nobody settled.
    pub fn unresolved(&self) -> impl Iterator<Item = u64> + '_ {
        self.ambiguous.keys().copied()
    }

    /// Steps with a final try.
    #[must_use]
    pub fn len(&self) -> usize {
        self.steps.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    /// The first step at which two behaviours differ; `None` when their signatures are equal.
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
        self.items().into_iter().fold(
            Hasher::new("runspine.behaviour.v1").finish(),
            |previous, (index, item)| {
                Hasher::new("runspine.behaviour.v1")
                    .fixed(previous.as_bytes())
                    .sized(&item.encode(index))
                    .finish()
            },
        )
    }

    /// The items with the index that counts, in its order.
    fn items(&self) -> Vec<(u32, &Item)> {
        if !self.ranked {
            return self.steps.iter().map(|(index, item)| (*index, item)).collect();
        }
        let mut items: Vec<&Item> = self.steps.values().collect();
        items.sort_by(|a, b| a.place.cmp(&b.place));
        (0..).zip(items).collect()
    }
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
    use super::*;

    /// Index, name, and what stands for the parameters.
    type Steps<'a> = &'a [(u32, &'a str, u8)];

    fn behaviour(steps: Steps<'_>) -> Behaviour {
        let mut behaviour = Behaviour::new();
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

    #[test]
    fn spans_have_the_index_of_their_rank() {
        let of = |source: RunSource, order: &[usize]| {
            let spans = [(5, "t:b", "one"), (5, "t:c", "two"), (9, "t:a", "three")];
            let mut behaviour = Behaviour::of_source(source.into());
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
