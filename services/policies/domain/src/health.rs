//! What a probe of a part means, and the fixed question that the evaluator is probed with.

use std::{borrow::Cow, collections::BTreeMap};

use runspine_types::{Digest, PLATFORM_TENANT};

use crate::{
    compile::{CompiledRule, CompiledSnapshot},
    decide::decide,
    evaluate::evaluate,
    facts::{Agent, Arguments, Estimate, Inputs, Principal, Question, Resource, Run, StepQuestion, Totals},
    rule::{Meaning, rule_digest},
    settings::Settings,
    slice::resource_of,
    words::{Action, Category, Directive, Mode, Moment, Profile, ResourceType, Scope, StepKind, Verdict},
};

/// Questions from which on a share of hits is worth judging: a cache that was just started has none.
const MIN_ASKED: u64 = 100;

/// A part of the domain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Subsystem {
    /// A fixed slice and request give the fixed verdict.
    Evaluator,
    /// A row is written and read.
    DecisionStore,
    /// The snapshot in force loads, and its digest fits.
    SnapshotStore,
    /// Slices are found in memory.
    SliceCache,
    /// The state of a sequence rule is locked and read.
    Monitors,
    /// What time does to approvals is done.
    Approvals,
    /// Lessons that were put off are taken up.
    Lessons,
    /// Back-tests are worked on.
    Sandbox,
    /// Events leave.
    Outbox,
}

impl Subsystem {
    /// All of them, in the order they are told in.
    pub const ALL: [Self; 9] = [
        Self::Evaluator,
        Self::DecisionStore,
        Self::SnapshotStore,
        Self::SliceCache,
        Self::Monitors,
        Self::Approvals,
        Self::Lessons,
        Self::Sandbox,
        Self::Outbox,
    ];

    /// Its name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Evaluator => "evaluator",
            Self::DecisionStore => "decision_store",
            Self::SnapshotStore => "snapshot_store",
            Self::SliceCache => "slice_cache",
            Self::Monitors => "monitors",
            Self::Approvals => "approvals",
            Self::Lessons => "lessons",
            Self::Sandbox => "sandbox",
            Self::Outbox => "outbox",
        }
    }

    /// Microseconds from which on the probe is too slow; `None`: its time says nothing.
    const fn slow_us(self) -> Option<i64> {
        match self {
            Self::Evaluator => Some(1_000),
            Self::DecisionStore => Some(50_000),
            Self::Monitors => Some(20_000),
            _ => None,
        }
    }
}

/// What a probe that went through found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// That it works.
    Works,
    /// Works, but something is wrong with it.
    Flawed(String),
    /// Questions, and how many of them were answered from memory.
    Hits {
        /// All of them.
        asked: u64,
        /// Those that were.
        hit: u64,
    },
    /// What has waited longest, microseconds; `None`: nothing waits.
    Waiting(Option<i64>),
}

/// How a part is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Status {
    /// It works.
    Available,
    /// Slower or later than it should.
    Degraded,
    /// It does not work.
    Unavailable,
}

impl Status {
    /// Its number in the contract.
    #[must_use]
    pub const fn code(self) -> i32 {
        match self {
            Self::Available => 1,
            Self::Degraded => 2,
            Self::Unavailable => 3,
        }
    }
}

/// How a part is after a probe that took so many microseconds, and why. An error is what the probe failed with.
#[must_use]
pub fn grade(of: Subsystem, took_us: i64, found: Result<Found, String>) -> (Status, String) {
    let found = match found {
        Ok(found) => found,
        Err(why) => return (Status::Unavailable, why),
    };
    if let Some(most) = of.slow_us().filter(|most| took_us > *most) {
        return (Status::Degraded, format!("the probe took {took_us} µs, more than {most}"));
    }
    let graded = |fine: bool, text: String| (if fine { Status::Available } else { Status::Degraded }, text);
    match found {
        Found::Works => graded(true, String::new()),
        Found::Flawed(text) => graded(false, text),
        Found::Hits { asked, hit } => {
            let permille = hit.saturating_mul(1_000) / asked.max(1);
            let text = format!("{hit} of {asked} slices of the last 5 minutes were kept");
            graded(asked < MIN_ASKED || permille >= 800, text)
        }
        Found::Waiting(None) => graded(true, "nothing waits".to_owned()),
        Found::Waiting(Some(age)) => {
            let most = if of == Subsystem::Outbox { 10_000_000 } else { 60_000_000 };
            graded(age <= most, format!("the oldest waits for {} ms", age / 1_000))
        }
    }
}

/// The fixed snapshot: everything is open but one tool above a cost.
///
/// # Errors
/// Never: its texts are fixed and tested.
pub fn probed() -> Result<CompiledSnapshot, String> {
    let cedar = "@id(\"health.probe\")\n@reason(\"HEALTH_PROBE\")\n\
        forbid(principal, action == Runspine::Action::\"tool_call\", resource == Runspine::Tool::\"probe\") \
        when { context.estimate.cost_microusd > 100 && context.run.taints.contains(\"probe\") };\n";
    let meaning = Meaning {
        category: Category::System,
        cedar: cedar.to_owned(),
        effective_from: None,
        effective_until: None,
        format: 1,
        mode: Mode::Block,
        precedence: 0,
        rule_id: "health.probe".to_owned(),
        scope: Scope::Global,
        scope_id: String::new(),
        sequence: None,
        slug: "health.probe".to_owned(),
        tenant_id: PLATFORM_TENANT.to_owned(),
        version: 1,
    };
    let digest = rule_digest(&meaning.bytes());
    let rule = CompiledRule::new(meaning, digest)?;
    CompiledSnapshot::new(Digest([0; 32]), Settings::of(Profile::Standard), vec![rule.into()])
}

/// Puts the fixed questions: one that is denied, one that is allowed.
///
/// # Errors
/// What came instead of the fixed verdict.
pub fn probe(snapshot: &CompiledSnapshot) -> Result<(), String> {
    for (cost, expected) in [(101, Verdict::Deny), (100, Verdict::Allow)] {
        let found = verdict(snapshot, cost)?;
        if found != expected {
            return Err(format!("the fixed question about {cost} was answered {found:?}, not {expected:?}"));
        }
    }
    Ok(())
}

fn verdict(snapshot: &CompiledSnapshot, cost_microusd: i64) -> Result<Verdict, String> {
    let principal =
        Principal { agent: Agent { id: "probe".to_owned(), ..Agent::default() }, ..Principal::default() };
    let question = Question::Step(StepQuestion {
        arguments: Arguments::default(),
        arguments_digest: String::new(),
        arguments_size: 0,
        ask: 0,
        estimate: Estimate { cost_microusd, ..Estimate::default() },
        intent: String::new(),
        kind: StepKind::ToolCall,
        method: String::new(),
        mode: String::new(),
        name: "probe".to_owned(),
        resource: Resource::unregistered(ResourceType::Tool, "probe"),
        step_index: 0,
        totals: Totals::default(),
    });
    let inputs = Inputs {
        approval: None,
        bypass: None,
        format: 1,
        monitors: BTreeMap::new(),
        now: 0,
        observed_directive: Directive::Continue,
        principal: Cow::Owned(principal),
        profile: Profile::Standard,
        question,
        run: Run { taints: vec!["probe".to_owned()], ..Run::default() },
        snapshot: String::new(),
        withdrawn: Vec::new(),
    };
    let about = resource_of(&inputs.question, &inputs.run, &inputs.principal);
    let slice = snapshot.slice(Action::ToolCall, &inputs.principal, &about).map_err(|e| e.to_string())?;
    let said = evaluate(&slice, &inputs).map_err(|e| e.to_string())?;
    Ok(decide(&said, &inputs, Moment::StepStart).verdict)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fixed_questions_have_their_verdicts() {
        assert_eq!(probe(&probed().unwrap()), Ok(()));
        let open =
            CompiledSnapshot::new(Digest([0; 32]), Settings::of(Profile::Standard), Vec::new()).unwrap();
        assert!(probe(&open).unwrap_err().contains("101"));
    }

    #[test]
    fn each_part_is_degraded_by_its_own_bound() {
        let waits = |s: i64| Ok(Found::Waiting(Some(s * 1_000_000)));
        let hits = |asked, hit| Ok(Found::Hits { asked, hit });
        let table = [
            (Subsystem::Evaluator, 1_000, Ok(Found::Works), Status::Available),
            (Subsystem::Evaluator, 1_001, Ok(Found::Works), Status::Degraded),
            (Subsystem::DecisionStore, 50_000, Ok(Found::Works), Status::Available),
            (Subsystem::DecisionStore, 50_001, Ok(Found::Works), Status::Degraded),
            (Subsystem::Monitors, 20_001, Ok(Found::Works), Status::Degraded),
            (Subsystem::SnapshotStore, 900_000, Ok(Found::Works), Status::Available),
            (Subsystem::SnapshotStore, 0, Ok(Found::Flawed("t".to_owned())), Status::Degraded),
            (Subsystem::SliceCache, 0, hits(99, 0), Status::Available),
            (Subsystem::SliceCache, 0, hits(1_000, 800), Status::Available),
            (Subsystem::SliceCache, 0, hits(1_000, 799), Status::Degraded),
            (Subsystem::Approvals, 0, waits(60), Status::Available),
            (Subsystem::Approvals, 0, waits(61), Status::Degraded),
            (Subsystem::Lessons, 0, Ok(Found::Waiting(None)), Status::Available),
            (Subsystem::Sandbox, 0, waits(61), Status::Degraded),
            (Subsystem::Outbox, 0, waits(10), Status::Available),
            (Subsystem::Outbox, 0, waits(11), Status::Degraded),
            (Subsystem::Outbox, 0, Err("gone".to_owned()), Status::Unavailable),
        ];
        for (of, took, found, expected) in table {
            let said = format!("{of:?} {took} {found:?}");
            assert_eq!(grade(of, took, found).0, expected, "{said}");
        }
    }
}
