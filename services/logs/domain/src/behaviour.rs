//! The behaviour signature: what determinism may compare of two runs. Outputs, cost, tokens, time and ids are not in it.

use std::collections::BTreeMap;

use contracts_common::common::v1::StepOutcome;
use contracts_logs::v1::{Resolution, Step};
use runspine_types::{Digest, Hasher};

/// What one step contributes: its final try.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Item {
    kind: i32,
    name: String,
    parameters: [u8; 32],
    outcome: i32,
    code: String,
}

/// Collects the final try of each step while a trace is read once, in position order.
///
/// Its size grows with the number of steps: a later record may fill a hole or settle a step, so nothing can be folded
/// before the end.
#[derive(Debug, Clone, Default)]
pub struct Behaviour {
    steps: BTreeMap<u32, Item>,
    ambiguous: BTreeMap<u64, u32>,
}

impl Behaviour {
    /// A trace without steps.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
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

    /// The signature: a chain over the items in step order.
    #[must_use]
    pub fn signature(&self) -> Digest {
        self.steps.iter().fold(Hasher::new("runspine.behaviour.v1").finish(), |previous, (index, item)| {
            Hasher::new("runspine.behaviour.v1")
                .fixed(previous.as_bytes())
                .sized(&item.encode(*index))
                .finish()
        })
    }
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
