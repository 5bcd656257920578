//! Requests about replays. What is reported of a step is checked by logs, and what is asked by whoever answers it.

use contracts_common::common::v1::StepKind;
use contracts_spine::v1::{
    FinishReplayRequest, ReplayBehaviour, ReplayLevel, ReplayMode, ReplayStepsRequest, StartReplayRequest,
};
use runspine_errors::Outcome;
use runspine_types::is_uuid;

use super::{Checks, INVALID, limits};

/// Most labels of a run.
pub const MOST_LABELS: usize = limits::LABELS.0;
/// Most rules of a replay.
const RULES: usize = 256;

/// Checks the start of a replay.
pub fn replay(r: &StartReplayRequest) -> Outcome<()> {
    let mut c = Checks::new();
    c.request(&r.request_id);
    c.run(&r.run_id);
    c.known::<ReplayLevel>("level", r.level);
    c.known::<ReplayMode>("mode", r.mode);
    c.optional_range("timeout_ms", r.timeout_ms.into(), 1_000..=3_600_000);
    c.0.require(r.rules.len() <= RULES, "rules", INVALID, "at most 256");
    for (n, rule) in r.rules.iter().enumerate().take(RULES) {
        c.stated::<ReplayBehaviour>(&format!("rules[{n}].behaviour"), rule.behaviour);
        c.known::<StepKind>(&format!("rules[{n}].kind"), rule.kind);
        let one = rule.step_index.is_none() || rule.kind == 0;
        c.0.require(one, &format!("rules[{n}].kind"), INVALID, "not beside step_index");
    }
    let spends = r.requested.is_none() || r.mode() == ReplayMode::Drive;
    c.0.require(spends, "requested", INVALID, "belongs to mode DRIVE");
    c.amounts("requested", r.requested.as_ref());
    c.done()
}

/// Checks a message of a stream of steps, whatever the mode.
pub fn replay_step(r: &ReplayStepsRequest) -> Outcome<()> {
    let mut c = Checks::new();
    c.0.require(is_uuid(&r.replay_id), "replay_id", INVALID, "a UUID in hyphenated lower-case form");
    c.0.require(r.ask.is_some() || r.step.is_some(), "step", INVALID, "what is asked, or what was done");
    let step = r.step.as_ref();
    if let Some(ask) = &r.ask {
        let place = ask.step_index.is_some_and(|index| step.is_none_or(|step| step.step_index == index));
        c.0.require(place, "ask.step_index", INVALID, "is given, and is that of the step");
    }
    if let Some(record) = &r.record {
        let place = step.is_some_and(|step| step.step_index == record.step_index);
        c.0.require(place, "record.step_index", INVALID, "is that of the step");
        c.0.require(record.resolution.is_none(), "record.resolution", INVALID, "belongs to RecordStep");
    }
    let claimed = step.is_some_and(|step| !step.decisions.is_empty());
    c.0.require(!claimed, "step.decisions", INVALID, "are made by the mesh");
    c.done()
}

/// Checks the end of a replay.
pub fn finish_replay(r: &FinishReplayRequest) -> Outcome<()> {
    let mut c = Checks::new();
    c.request(&r.request_id);
    c.0.require(is_uuid(&r.replay_id), "replay_id", INVALID, "a UUID in hyphenated lower-case form");
    c.done()
}
