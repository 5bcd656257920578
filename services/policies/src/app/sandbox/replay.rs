//! One part of a range, decided again: in memory, away from the threads that serve calls.

use std::{collections::HashMap, num::NonZeroUsize, sync::Arc};

use contracts_policies::v1 as pb;
use prost::Message as _;
use runspine_errors::{Fault, mesh};
use runspine_policies_domain::{
    compile::CompiledSnapshot,
    decide::Ruling,
    facts::{EndedQuestion, Inputs, Question},
    reasons::codes,
    sandbox::{
        replay::{Again, Recorded, Replayer, RunReplay, Stored, moment, readable},
        tally::{Diff, Tally},
    },
    slice::Bound,
    words::{Failure, Moment, NotReplayable, Verdict},
};
use runspine_types::Digest;

use super::feed::Part;
use crate::{
    app::{judge::Judged, metrics, unreadable},
    present::{self, Identity},
    store::backtests::{ReplayRow, RunCount},
};

/// Slices that a replay keeps.
const SLICES: NonZeroUsize = NonZeroUsize::MIN.saturating_add(8_191);

/// What is compared with of a recorded decision.
pub(super) fn recorded(d: &pb::Decision, inputs_digest: Digest) -> Result<Recorded, Fault> {
    let verdict = Verdict::from_code(d.verdict)
        .ok_or_else(|| Fault::new(&mesh::INTERNAL, "a stored decision has a verdict that is not known"))?;
    let primary = d.reasons.first().or_else(|| d.warnings.first());
    let code = primary.map(|r| r.code.clone()).unwrap_or_default();
    Ok(Recorded {
        verdict,
        recalled: code == codes::SNAPSHOT_RECALLED,
        rule_id: primary.map(|r| r.source_id.clone()).unwrap_or_default(),
        code,
        failure: Failure::from_code(d.failure),
        taints_added: d.taints_added.clone(),
        inputs_digest,
    })
}

/// A snapshot as one that decides again.
pub(super) fn replayer(snapshot: Arc<CompiledSnapshot>) -> Arc<Replayer> {
    Arc::new(Replayer::new(snapshot, SLICES))
}

/// A stored answer, as far as a replay looks at it.
pub(super) struct Answer {
    pub decision: pb::Decision,
    /// Where the facts end that were known with it.
    pub next_seq: u64,
}

/// Reads a stored answer.
pub(super) fn answer_of(moment: i32, bytes: &bytes::Bytes) -> Result<Answer, Fault> {
    let (decision, next_seq) = if moment == Moment::RunStart.code() {
        let run = pb::EvaluateRunResponse::decode(bytes.clone()).map_err(unreadable)?;
        (run.decision, 0)
    } else {
        let step = pb::EvaluateStepResponse::decode(bytes.clone()).map_err(unreadable)?;
        (step.decision, step.next_seq)
    };
    let decision =
        decision.ok_or_else(|| Fault::new(&mesh::INTERNAL, "a decision was stored without its answer"))?;
    Ok(Answer { decision, next_seq })
}

/// A run while it is replayed.
#[derive(Default)]
struct Running {
    replay: RunReplay,
    /// Facts that are read and not told yet, in the order of the trace.
    facts: std::collections::VecDeque<EndedQuestion>,
}

impl Running {
    /// The facts that a decision was the first to know of.
    fn told(&mut self, next_seq: u64) -> Vec<EndedQuestion> {
        let count = self.facts.iter().take_while(|f| f.seq < next_seq).count();
        self.facts.drain(..count).collect()
    }
}

/// A part with everything that its replay needs.
pub(super) struct Loaded {
    pub part: Part,
    /// What the decisions were made under; none: it can't be loaded.
    pub own: HashMap<Digest, Option<Arc<Replayer>>>,
    pub facts: HashMap<i64, Vec<EndedQuestion>>,
}

/// A back-test that is being worked on.
pub(super) struct Work {
    candidate: Arc<Replayer>,
    /// Every so many decisions one is decided again under its own snapshot.
    stride: u64,
    place: u64,
    running: HashMap<i64, Running>,
    pub tally: Tally,
}

/// What a part came to.
#[derive(Default)]
pub(super) struct Found {
    pub diffs: Vec<Diff>,
    /// Keys of runs that ended and were changed.
    pub affected: Vec<i64>,
}

impl Work {
    pub(super) fn new(candidate: Arc<Replayer>, stride: u64) -> Self {
        Self { candidate, stride, place: 0, running: HashMap::new(), tally: Tally::default() }
    }

    /// Replays a part.
    pub(super) fn part(&mut self, mut loaded: Loaded) -> Result<Found, Fault> {
        let mut found = Found::default();
        for (run, facts) in loaded.facts.drain() {
            self.running.entry(run).or_default().facts.extend(facts);
        }
        let runs: HashMap<i64, &RunCount> = loaded.part.runs.iter().map(|r| (r.id, r)).collect();
        for row in &loaded.part.decisions {
            let Some(run) = runs.get(&row.run_key) else { continue };
            let own = loaded.own.get(&run.snapshot).and_then(Option::as_ref);
            found.diffs.extend(self.decision(row, run, own)?);
        }
        if !loaded.part.goes_on {
            for run in &loaded.part.runs {
                if self.running.remove(&run.id).is_some_and(|r| r.replay.is_affected()) {
                    self.tally.runs_affected += 1;
                    found.affected.push(run.id);
                }
            }
        }
        Ok(found)
    }

    fn decision(
        &mut self,
        row: &ReplayRow,
        run: &RunCount,
        own: Option<&Arc<Replayer>>,
    ) -> Result<Option<Diff>, Fault> {
        let place = self.place;
        self.place += 1;
        let answer = answer_of(row.moment, &row.answer)?;
        let recorded = recorded(&answer.decision, row.inputs_digest)?;
        let stored = match &row.inputs {
            None => Stored::Missing,
            Some(bytes) if bytes.is_empty() => Stored::Erased,
            Some(bytes) => Stored::Bytes(bytes),
        };
        let Some(own) = own else {
            metrics::replayed(Err(NotReplayable::SnapshotMissing));
            self.tally.not_replayable(NotReplayable::SnapshotMissing, "", 1);
            return Ok(None);
        };
        let running = self.running.entry(row.run_key).or_default();
        let facts = running.told(answer.next_seq);
        let again = self.candidate.replay(own, &mut running.replay, &recorded, stored, &facts);
        if place.is_multiple_of(self.stride)
            && let Ok(inputs) = readable(&recorded, stored)
        {
            self.self_check(&answer.decision, &inputs, own, row.inputs_digest);
        }
        let again = match again {
            Ok(again) => again,
            Err((why, detail)) => {
                metrics::replayed(Err(why));
                self.tally.not_replayable(why, &detail, 1);
                return Ok(None);
            }
        };
        metrics::replayed(Ok(again.ruling.verdict == recorded.verdict));
        if again.ruling.verdict == recorded.verdict {
            self.tally.same(recorded.verdict, again.counterfactual, 1);
            return Ok(None);
        }
        let diff = diff(answer.decision, recorded, &again, run);
        self.tally.differs(&diff);
        Ok(Some(diff))
    }

    /// Decides again under the decision's own snapshot: everything but the time it took must be as it was recorded.
    fn self_check(&mut self, decision: &pb::Decision, inputs: &Inputs<'_>, own: &Replayer, digest: Digest) {
        self.tally.self_checked += 1;
        if self.tally.self_check_failed.is_none() && !is_reproduced(decision, inputs, own, digest) {
            self.tally.self_check_failed = Some(decision.decision_id.clone());
        }
    }
}

fn is_reproduced(decision: &pb::Decision, inputs: &Inputs<'_>, own: &Replayer, digest: Digest) -> bool {
    let bound = Bound::new(inputs.principal.clone().into_owned());
    let Ok(ruling) = own.ruling(inputs, &bound) else { return false };
    let again = again_as_message(decision, inputs, ruling, digest, own.snapshot().digest);
    again == pb::Decision { evaluate_ns: 0, ..decision.clone() }
}

/// The decision as it would be recorded now, with the identity of the recorded one.
fn again_as_message(
    decision: &pb::Decision,
    inputs: &Inputs<'_>,
    ruling: Ruling,
    inputs_digest: Digest,
    snapshot: Digest,
) -> pb::Decision {
    let identity = Identity {
        decision_id: decision.decision_id.clone(),
        run_id: &inputs.run.run_id,
        attempt: inputs.run.attempt,
        ask: match &inputs.question {
            Question::Start(q) => q.ask,
            Question::Step(q) => q.ask,
            Question::Ended(_) | Question::End(_) => 0,
        },
        moment: moment(&inputs.question),
        snapshot,
        profile: inputs.profile.code(),
        config_digest: decision.config_digest.clone(),
        principal: &inputs.principal,
        resource: match &inputs.question {
            Question::Step(q) => &q.resource.id,
            _ => &inputs.principal.project.id,
        },
        at: decision.decided_at.as_ref().map_or(runspine_types::Micros(0), runspine_rpc::micros),
    };
    let judged = Judged {
        ruling,
        inputs: bytes::Bytes::new(),
        inputs_digest,
        evaluate_ns: 0,
        question: inputs.question.clone(),
        run: inputs.run.clone(),
        bypass: inputs.bypass.clone(),
        monitors: inputs.monitors.clone(),
        withdrawn: inputs.withdrawn.clone(),
        deferrals: inputs.deferrals,
    };
    let mut again = present::decision(identity, &judged);
    if decision.scope_tuple.is_none() {
        // Decided before it was kept.
        again.scope_tuple = None;
    }
    again
}

fn diff(decision: pb::Decision, recorded: Recorded, again: &Again, run: &RunCount) -> Diff {
    let primary = again.ruling.reasons.first().or_else(|| again.ruling.warnings.first());
    Diff {
        decision_id: decision.decision_id,
        run_id: run.run_id.clone(),
        attempt: run.attempt,
        step_index: decision.step_index,
        recorded: recorded.verdict,
        candidate: again.ruling.verdict,
        recorded_code: recorded.code,
        recorded_rule: recorded.rule_id,
        candidate_code: primary.map(|r| r.code.clone()).unwrap_or_default(),
        candidate_rule: primary.map(|r| r.rule_id.clone()).unwrap_or_default(),
        counterfactual: again.counterfactual,
        agent: decision.principal,
        resource: decision.resource,
    }
}
