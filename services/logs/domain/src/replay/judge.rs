//! What becomes of one step of a replay.

use contracts_common::common::v1::{Directive, Verdict};
use contracts_logs::v1::{
    ReplayBehaviour, ReplayDecision, ReplayLevel, ReplayMatch, ReplayVerdict, ReplayedStep,
};

use super::{recording::Recorded, shape};

/// What is there of the texts of a step.
#[derive(Debug, Clone, Default)]
pub struct Held {
    /// Whether a stored text of the recorded step was erased, or what would compare with it.
    pub erased: bool,
    /// The recorded output, where it is stored.
    pub recorded: Option<Vec<u8>>,
    /// The output of now, redacted as the recorded one was.
    pub replayed: Option<Vec<u8>>,
}

/// What became of a step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judged {
    /// The verdict.
    pub verdict: ReplayVerdict,
    /// How alike the output is.
    pub matched: ReplayMatch,
    /// Why.
    pub reasons: Vec<&'static str>,
}

impl Judged {
    fn plain(verdict: ReplayVerdict, reasons: Vec<&'static str>) -> Self {
        Self { verdict, matched: ReplayMatch::Unspecified, reasons }
    }

    /// Whether its key is to be free again soon.
    #[must_use]
    pub const fn failed(&self) -> bool {
        matches!(self.verdict, ReplayVerdict::Mismatch | ReplayVerdict::UnknownStep)
    }
}

/// Judges a step that was reported: always against the record, never against an earlier report.
#[must_use]
pub fn judge(
    level: ReplayLevel,
    behaviour: ReplayBehaviour,
    recorded: Option<&Recorded>,
    reported: &ReplayedStep,
    held: &Held,
) -> Judged {
    let Some(recorded) = recorded else { return Judged::plain(ReplayVerdict::UnknownStep, vec!["INDEX"]) };
    match behaviour {
        ReplayBehaviour::Execute => Judged::plain(ReplayVerdict::Recorded, Vec::new()),
        _ if held.erased => Judged::plain(ReplayVerdict::UnknownStep, vec!["ERASED"]),
        ReplayBehaviour::Skip if recorded.step.output_ref.is_empty() => {
            Judged::plain(ReplayVerdict::UnknownStep, vec!["NOT_STORED"])
        }
        ReplayBehaviour::Skip => Judged::plain(ReplayVerdict::Skipped, Vec::new()),
        ReplayBehaviour::Check | ReplayBehaviour::Unspecified => check(level, recorded, reported, held),
    }
}

fn check(level: ReplayLevel, recorded: &Recorded, reported: &ReplayedStep, held: &Held) -> Judged {
    let step = &recorded.step;
    let differs = [
        (step.kind != reported.kind, "KIND"),
        (step.name != reported.name, "NAME"),
        (step.parameters_digest != reported.parameters_digest, "PARAMETERS"),
        (step.outcome != reported.outcome, "OUTCOME"),
        (step.outcome_code != reported.outcome_code, "CODE"),
    ];
    let mut reasons: Vec<_> =
        differs.into_iter().filter(|(differs, _)| *differs).map(|(_, reason)| reason).collect();
    let matched = matched(level, recorded, reported, held);
    if matched == ReplayMatch::None {
        reasons.push(if step.output_digest.is_empty() { "NO_RECORD" } else { "OUTPUT" });
        if level != ReplayLevel::Strict && flat(&recorded.decisions) != flat(&reported.decisions) {
            reasons.push("DECISION");
        }
    }
    let verdict = if reasons.is_empty() { ReplayVerdict::Match } else { ReplayVerdict::Mismatch };
    Judged { verdict, matched, reasons }
}

fn matched(level: ReplayLevel, recorded: &Recorded, reported: &ReplayedStep, held: &Held) -> ReplayMatch {
    // Without a recorded digest there is nothing that a check could pass against.
    if recorded.step.output_digest.is_empty() {
        return ReplayMatch::None;
    }
    if recorded.step.output_digest == reported.output_digest {
        return ReplayMatch::Exact;
    }
    if level == ReplayLevel::Strict {
        return ReplayMatch::None;
    }
    // Two steps that nothing was decided about don't match by that.
    let decided = !recorded.decisions.is_empty() && !reported.decisions.is_empty();
    if decided && flat(&recorded.decisions) == flat(&reported.decisions) {
        return ReplayMatch::Logical;
    }
    let texts = held.recorded.as_ref().zip(held.replayed.as_ref());
    match texts {
        Some((old, new)) if level == ReplayLevel::Semantic && shape::alike(old, new) => ReplayMatch::Semantic,
        _ => ReplayMatch::None,
    }
}

/// Decisions rule by rule: the rule, what it led to, and what the run was told when that was not ALLOW. A decision
/// without rules counts too.
fn flat(decisions: &[ReplayDecision]) -> Vec<(&str, i32, i32)> {
    let mut rules = Vec::new();
    for decision in decisions {
        let told = if decision.verdict() == Verdict::Allow {
            Directive::Unspecified.into()
        } else {
            decision.directive
        };
        let rule = |id| (id, decision.verdict, told);
        match decision.rule_ids.as_slice() {
            [] => rules.push(rule("")),
            ids => rules.extend(ids.iter().map(|id| rule(id))),
        }
    }
    rules
}
