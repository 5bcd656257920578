//! What a replay found as a whole: a fold of everything that was noted, in order.

use std::collections::{BTreeMap, BTreeSet};

use contracts_common::common::v1::RunSource;
use contracts_logs::v1::{
    ReplayCheck, ReplayDivergence, ReplayDrift, ReplayResult, ReplayTotals, ReplayVerdict, ReplayedStep, Step,
};
use runspine_types::Digest;

use super::{
    MAX_DRIFT,
    recording::{Recorded, Recording},
};
use crate::behaviour::Behaviour;

/// What a replay found.
#[derive(Debug, Clone, PartialEq)]
pub struct Found {
    /// The result.
    pub result: ReplayResult,
    /// What became of the steps.
    pub totals: ReplayTotals,
    /// Where it left the record first.
    pub first_divergence: Option<ReplayDivergence>,
    /// The check that found it, where one did.
    pub divergent: Option<ReplayCheck>,
    /// Circumstances that differ.
    pub drift: Vec<ReplayDrift>,
    /// Whether what was done is what was recorded, outputs aside.
    pub same_behaviour: bool,
    /// Behaviour signature of the record.
    pub recorded_signature: Digest,
    /// Behaviour signature of what was reported.
    pub replayed_signature: Digest,
}

/// Sums up `checks` in the order in which they were noted. `seeds` are the recorded one and that of the replay.
#[must_use]
pub fn found(recording: &Recording, checks: &[ReplayCheck], seeds: (i64, Option<i64>)) -> Found {
    let current: BTreeMap<u32, &ReplayCheck> =
        checks.iter().filter_map(|check| Some((check.step.as_ref()?.step_index, check))).collect();
    let (recorded, replayed) = (behaviour_of(recording), behaviour_of_replay(recording, &current));
    let behavioural = recorded.divergence(&replayed);
    let divergent = checks.iter().find(|check| diverges(check)).cloned();
    let mut totals = totals(recording, checks, &current);
    totals.steps = recording.steps().count() as u64;
    let whole = totals.unreported == 0 && totals.unknown == 0;
    let from_check = divergent.as_ref().and_then(|check| {
        let step_index = check.step.as_ref()?.step_index;
        Some(ReplayDivergence { step_index, reasons: check.reasons.clone() })
    });
    // What was not reported is missing, not different; only a whole replay is compared as a whole.
    let first_divergence = from_check.or_else(|| {
        let found = behavioural.as_ref().filter(|_| whole)?;
        let reasons = found.reasons.iter().map(|reason| (*reason).to_owned()).collect();
        Some(ReplayDivergence { step_index: found.left.or(found.right).unwrap_or_default(), reasons })
    });
    let result = match (&first_divergence, whole) {
        (Some(_), _) => ReplayResult::Diverged,
        (None, false) => ReplayResult::Incomplete,
        (None, true) => ReplayResult::Parity,
    };
    Found {
        result,
        totals,
        first_divergence,
        divergent,
        drift: drift(recording, &current, seeds),
        same_behaviour: behavioural.is_none(),
        recorded_signature: recorded.signature(),
        replayed_signature: replayed.signature(),
    }
}

/// Whether a check shows that the record was left: a step that differs, or one that the record doesn't have.
fn diverges(check: &ReplayCheck) -> bool {
    check.verdict() == ReplayVerdict::Mismatch || is_beyond(check)
}

fn is_beyond(check: &ReplayCheck) -> bool {
    check.verdict() == ReplayVerdict::UnknownStep && check.reasons.iter().any(|reason| reason == "INDEX")
}

fn totals(
    recording: &Recording,
    checks: &[ReplayCheck],
    current: &BTreeMap<u32, &ReplayCheck>,
) -> ReplayTotals {
    let index = |check: &ReplayCheck| check.step.as_ref().map_or(0, |step| step.step_index);
    let differed: BTreeSet<u32> =
        checks.iter().filter(|c| c.verdict() == ReplayVerdict::Mismatch).map(index).collect();
    let mut totals = ReplayTotals { mismatched: differed.len() as u64, ..Default::default() };
    for (index, check) in current {
        match check.verdict() {
            ReplayVerdict::Recorded => totals.executed += 1,
            ReplayVerdict::Skipped => totals.skipped += 1,
            ReplayVerdict::Match | ReplayVerdict::Mismatch => {
                totals.checked += 1;
                totals.matched += u64::from(!differed.contains(index));
            }
            ReplayVerdict::UnknownStep => totals.unknown += 1,
            ReplayVerdict::Conflict | ReplayVerdict::Unspecified => {}
        }
    }
    let missing = |(index, _): &(u32, &Recorded)| !current.contains_key(index);
    totals.unreported = recording.steps().filter(missing).count() as u64;
    totals
}

fn behaviour_of(recording: &Recording) -> Behaviour {
    let mut behaviour = Behaviour::to_compare(RunSource::Replay.into());
    for (index, recorded) in recording.steps() {
        behaviour.step(index, u64::from(index), &recorded.step);
    }
    behaviour
}

/// What was reported last of each step; a step that was skipped counts as it is recorded.
fn behaviour_of_replay(recording: &Recording, current: &BTreeMap<u32, &ReplayCheck>) -> Behaviour {
    let mut behaviour = Behaviour::to_compare(RunSource::Replay.into());
    for (index, check) in current {
        let recorded = recording.get(*index).filter(|_| check.verdict() == ReplayVerdict::Skipped);
        match (recorded, &check.step) {
            (Some(recorded), _) => behaviour.step(*index, u64::from(*index), &recorded.step),
            (None, Some(step)) => behaviour.step(*index, u64::from(*index), &as_step(step)),
            (None, None) => {}
        }
    }
    behaviour
}

fn as_step(step: &ReplayedStep) -> Step {
    Step {
        kind: step.kind,
        name: step.name.clone(),
        parameters_digest: step.parameters_digest.clone(),
        outcome: step.outcome,
        outcome_code: step.outcome_code.clone(),
        ..Default::default()
    }
}

fn drift(
    recording: &Recording,
    current: &BTreeMap<u32, &ReplayCheck>,
    (recorded_seed, seed): (i64, Option<i64>),
) -> Vec<ReplayDrift> {
    let mut list = Vec::new();
    if let Some(seed) = seed.filter(|seed| *seed != recorded_seed) {
        list.push(ReplayDrift {
            step_index: None,
            what: "SEED".to_owned(),
            recorded: recorded_seed.to_string(),
            replayed: seed.to_string(),
        });
    }
    let reported = current.values().filter_map(|check| check.step.as_ref());
    for step in reported {
        let Some(recorded) = recording.get(step.step_index) else { continue };
        let sides = [
            ("PROVIDER", &recorded.step.provider, &step.provider),
            ("MODEL", &recorded.step.model, &step.model),
        ];
        // Only what both sides know can differ.
        let differing = sides.into_iter().filter(|(_, a, b)| !a.is_empty() && !b.is_empty() && a != b);
        list.extend(differing.map(|(what, a, b)| ReplayDrift {
            step_index: Some(step.step_index),
            what: what.to_owned(),
            recorded: a.clone(),
            replayed: b.clone(),
        }));
    }
    list.truncate(MAX_DRIFT);
    list
}
