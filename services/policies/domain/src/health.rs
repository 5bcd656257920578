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
    #[must_use]
    pub const fn slow_us(self) -> Option<i64> {
        match self {
            Self::Evaluator => Some(1_000),
            Self::DecisionStore => Some(50_000),
            Self::Monitors => Some(20_000),
            _ => None,
        }
    }

    /// Microseconds that the oldest may wait, of a part in which something does.
    #[must_use]
    pub const fn patience_us(self) -> i64 {
        match self {
            Self::Outbox => 10_000_000,
            _ => 60_000_000,
        }
    }
}

/// Whether enough of the slices that were asked for were kept.
#[must_use]
pub fn enough_kept(asked: u64, hit: u64) -> bool {
    asked < MIN_ASKED || hit.saturating_mul(1_000) / asked.max(1) >= 800
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
        deferrals: None,
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
    fn each_part_has_its_own_bounds() {
        let slow = Subsystem::ALL.map(|of| of.slow_us().unwrap_or(0));
        assert_eq!(slow, [1_000, 50_000, 0, 0, 20_000, 0, 0, 0, 0]);
        assert_eq!(
            (Subsystem::Outbox.patience_us(), Subsystem::Lessons.patience_us()),
            (10_000_000, 60_000_000)
        );
        for (asked, hit, enough) in [(99, 0, true), (1_000, 800, true), (1_000, 799, false)] {
            assert_eq!(enough_kept(asked, hit), enough, "{hit} of {asked}");
        }
    }
}
