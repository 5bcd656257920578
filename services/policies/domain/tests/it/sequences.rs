//! Sequence rules: what they say, and that what a monitor keeps is what the whole trace comes to.

use std::collections::BTreeMap;

use proptest::{prelude::*, test_runner::TestRunner};
use runspine_errors::Fault;
use runspine_policies_domain::{
    analysis::analyze,
    compile::CompiledRule,
    reasons,
    rule::{Meaning, rule_digest},
    sandbox::candidate::{Overlay, compile},
    sequence::{At, Limits, NO_STEP, Sequence, State, Window},
    words::{FindingKind, Mode, SequenceKind, StateScope, StepOutcome},
};

use crate::support::{NOW, compiled, meaning, snapshot};

const CALL: &str =
    "(principal, action == Runspine::Action::\"tool_call\", resource == Runspine::Tool::\"pay\")";
const VERIFY: &str =
    "(principal, action == Runspine::Action::\"tool_call\", resource == Runspine::Tool::\"verify\")";

pub fn body(kind: SequenceKind) -> Sequence {
    let with = |wanted: bool, text: &str| if wanted { text.to_owned() } else { String::new() };
    let leads = kind == SequenceKind::MustLeadTo;
    let follows =
        matches!(kind, SequenceKind::MustFollow | SequenceKind::MustNotFollow | SequenceKind::Taint);
    Sequence {
        block_until: with(leads, CALL),
        closes: with(leads, CALL),
        count_denied: false,
        events: VERIFY.to_owned(),
        kind,
        labels: if kind == SequenceKind::Taint { vec!["pii".to_owned()] } else { Vec::new() },
        max: if matches!(kind, SequenceKind::CountInWindow | SequenceKind::RunningTotal) { 3 } else { 0 },
        measure: with(kind == SequenceKind::RunningTotal, "number:amount"),
        message: "say \"why\"".to_owned(),
        obligations: String::new(),
        origin: String::new(),
        outcome: String::new(),
        reason: "IN_ORDER".to_owned(),
        run: String::new(),
        severity: String::new(),
        state_scope: StateScope::Run,
        trigger: with(follows, CALL),
        violation: String::new(),
        window: with(kind != SequenceKind::Taint, "time:60"),
    }
}

fn sequence_rule(slug: &str, body: Sequence) -> Meaning {
    Meaning { cedar: body.cedar(slug), sequence: Some(body), ..meaning(slug, "") }
}

/// Every kind, with every window it can have, makes a text that can be activated.
#[test]
fn every_kind_makes_a_text() {
    for kind in SequenceKind::ALL {
        for window in ["run", "steps:5", "time:60", "time:7200"] {
            let mut body = body(*kind);
            if *kind != SequenceKind::Taint {
                body.window = window.to_owned();
            }
            body.check().unwrap();
            let rule = sequence_rule("s", body.clone());
            assert!(rule.check().findings.is_empty(), "{:?}\n{}", rule.check().findings, rule.cedar);
            assert!(compiled(rule.clone()).monitor.is_some());
            let read = Meaning::from_bytes(&rule.bytes()).unwrap();
            assert_eq!(read, rule, "what is stored reads back");
        }
    }
    let ends = Sequence { block_until: String::new(), ..body(SequenceKind::MustLeadTo) };
    let costs = Sequence { measure: "cost_microusd".to_owned(), ..body(SequenceKind::RunningTotal) };
    let tokens = Sequence { measure: "tokens".to_owned(), ..body(SequenceKind::RunningTotal) };
    for body in [ends, costs, tokens] {
        body.check().unwrap();
        assert!(!sequence_rule("s", body).check().is_blocking());
    }
}

/// Wrong parameters are refused, each for its reason; wrong heads are findings with a place.
#[test]
fn bad_bodies_are_refused() {
    use SequenceKind as K;
    let field = |f: Fault| f.fields().first().map(|v| v.field.clone()).unwrap_or_default();
    let windows = [
        Sequence { window: "steps:0".into(), ..body(K::CountInWindow) },
        Sequence { state_scope: StateScope::Agent, window: "run".into(), ..body(K::CountInWindow) },
        Sequence { state_scope: StateScope::Tenant, ..body(K::MustLeadTo) },
        Sequence { window: "run".into(), ..body(K::Taint) },
    ];
    for bad in windows {
        assert!(bad.check().unwrap_err().is(&reasons::WINDOW_INVALID));
    }
    let fields = [
        ("events", Sequence { events: String::new(), ..body(K::CountInWindow) }),
        ("trigger", Sequence { trigger: String::new(), ..body(K::MustFollow) }),
        ("trigger", Sequence { trigger: CALL.into(), ..body(K::MustLeadTo) }),
        ("closes", Sequence { closes: String::new(), ..body(K::MustLeadTo) }),
        ("closes", Sequence { closes: CALL.into(), ..body(K::MustFollow) }),
        ("block_until", Sequence { block_until: CALL.into(), ..body(K::CountInWindow) }),
        ("count_denied", Sequence { count_denied: true, ..body(K::MustFollow) }),
        ("max", Sequence { max: -1, ..body(K::CountInWindow) }),
        ("max", Sequence { max: 1_000_001, ..body(K::CountInWindow) }),
        ("measure", Sequence { measure: "weight".into(), ..body(K::RunningTotal) }),
        ("measure", Sequence { measure: "tokens".into(), ..body(K::CountInWindow) }),
        ("labels", Sequence { labels: vec![], ..body(K::Taint) }),
        ("labels", Sequence { labels: vec!["a b".into()], ..body(K::Taint) }),
    ];
    for (name, bad) in fields {
        assert_eq!(field(bad.check().unwrap_err()), format!("content.sequence.{name}"));
    }
    let heads = [
        "(principal, action, resource)",
        "(principal, action == Runspine::Action::\"start_run\", resource)",
        "(principal, action == Runspine::Action::\"tool_call\", resource) when { context.monitors.hasTag(\"m.x\") }",
        "(principal, action == Runspine::Action::\"tool_call\", resource) when { context.nothing }",
        "(principal, action == Runspine::Action::\"tool_call\", resource); permit (principal, action, resource)",
        "(principal, action == Runspine::Action::\"tool_call\", resource",
    ];
    for head in heads {
        let bad = sequence_rule("s", Sequence { events: head.into(), ..body(K::MustFollow) });
        let found = bad.check();
        assert!(found.is_blocking(), "{head}");
        let first = found.findings.iter().find(|f| f.message.starts_with("`events`")).unwrap();
        assert!(first.end_byte <= head.len() && first.line >= 1, "{first:?}");
        assert!(CompiledRule::new(bad.clone(), rule_digest(&bad.bytes())).is_err());
    }
}

/// A10.1: a window that is never reached before another one.
#[test]
fn windows_that_are_never_reached_are_found() {
    let count =
        |max: i64, window: &str| Sequence { max, window: window.into(), ..body(SequenceKind::CountInWindow) };
    let pairs = [
        (count(5, "time:60"), count(5, "time:3600"), true),
        (count(6, "steps:10"), count(5, "run"), true),
        (count(4, "time:60"), count(5, "time:3600"), false),
        (count(5, "time:60"), Sequence { events: CALL.into(), ..count(5, "time:3600") }, false),
    ];
    for (narrow, wide, told) in pairs {
        let rules = vec![compiled(sequence_rule("a", narrow)), compiled(sequence_rule("b", wide))];
        let found = analyze(&snapshot(rules, true), NOW, None).findings;
        let conflict = found.iter().find(|f| f.kind == FindingKind::TemporalConflict);
        assert_eq!(conflict.map(|f| f.rule_id.as_str()), told.then_some("a"), "{found:?}");
    }
}

/// The state of a monitor goes on under another mode and another `max`, and begins anew with other events.
#[test]
fn a_monitor_is_named_by_what_it_watches() {
    let key = |m: Meaning| compiled(m).monitor.as_ref().unwrap().key.clone();
    let first = sequence_rule("s", body(SequenceKind::CountInWindow));
    let again = Meaning { mode: Mode::Warn, version: 2, ..first.clone() };
    assert_eq!(key(first.clone()), key(again));
    let more = sequence_rule("s", Sequence { max: 9, ..body(SequenceKind::CountInWindow) });
    assert_eq!(key(first.clone()), key(more));
    let other = sequence_rule("s", Sequence { events: CALL.into(), ..body(SequenceKind::CountInWindow) });
    assert_ne!(key(first), key(other));
}

/// A tenant has 200 of them in force and no more.
#[test]
fn there_are_not_too_many() {
    let rule = |n: usize| sequence_rule(&format!("s{n}"), body(SequenceKind::CountInWindow));
    let base = snapshot((0..200).map(|n| compiled(rule(n))).collect(), true);
    let put = |meaning: Meaning| Overlay { put: vec![meaning], removed: vec![] };
    assert!(compile(&base, &put(Meaning { mode: Mode::Warn, ..rule(7) }), "tenant-1").is_ok());
    let refused = compile(&base, &put(rule(200)), "tenant-1").unwrap_err();
    assert!(refused.is(&reasons::SEQUENCE_QUOTA));
}

const SECOND: i64 = 1_000_000;

fn at(step: u32, seconds: i64) -> At {
    At { run: 0, step, now: seconds * SECOND }
}

/// What is due is told once, and not while a step is on its way that answers for it in time.
#[test]
fn what_is_due_is_told_once() {
    let limits = Limits { kind: SequenceKind::MustLeadTo, window: Window::Steps(2) };
    let mut state = State::default();
    state.allowed(limits, at(1, 0), 1);
    assert!(state.overdue(limits, at(3, 0)).is_empty());
    state.closes(limits, at(3, 0));
    assert!(state.overdue(limits, at(4, 0)).is_empty(), "step 3 may still answer for it");
    state.recorded(limits, at(3, 1), StepOutcome::Ambiguous, None);
    assert_eq!(state.overdue(limits, at(4, 1)), [1], "what may have happened answers for nothing");
    assert!(state.overdue(limits, at(5, 1)).is_empty());
    assert_eq!(state.still_due().collect::<Vec<_>>(), [1]);
    state.closes(limits, at(6, 2));
    state.recorded(limits, at(6, 3), StepOutcome::Success, None);
    assert_eq!(state.still_due().count(), 0);
}

/// One thing that happens to a monitor.
#[derive(Debug, Clone)]
enum Op {
    Ask { run: i64, step: u32, closes: bool, allowed: bool, amount: i64 },
    Record { run: i64, step: u32, outcome: StepOutcome, amount: Option<i64> },
    Withdraw { run: i64, step: u32 },
}

fn op() -> impl Strategy<Value = (Op, i64)> {
    let step = || (0_i64..2, 0_u32..14);
    let outcomes = prop::sample::select(StepOutcome::ALL.to_vec());
    let op = prop_oneof![
        4 => (step(), prop::bool::weighted(0.3), prop::bool::weighted(0.8), 0_i64..9)
            .prop_map(|((run, step), closes, allowed, amount)| Op::Ask { run, step, closes, allowed, amount }),
        4 => (step(), outcomes, prop::option::of(0_i64..9))
            .prop_map(|((run, step), outcome, amount)| Op::Record { run, step, outcome, amount }),
        1 => step().prop_map(|(run, step)| Op::Withdraw { run, step }),
    ];
    (op, -40_i64..200)
}

/// An event of the whole trace.
#[derive(Debug, Clone)]
struct Event {
    order: usize,
    at: At,
    amount: i64,
    closes: bool,
    denied: bool,
    /// How it ended: outcome, when, and in which place of the trace.
    end: Option<(StepOutcome, i64, usize)>,
}

/// The reference: keeps every event for ever, and looks at all of them for every value.
#[derive(Default)]
struct Reference {
    events: Vec<Event>,
    clock: Option<(u32, i64)>,
}

impl Reference {
    fn pending(&self, run: i64, step: u32, closes: bool) -> Option<usize> {
        let is = |e: &Event| {
            (e.at.run, e.at.step, e.closes) == (run, step, closes) && e.end.is_none() && !e.denied
        };
        self.events.iter().position(is)
    }

    fn knows(&mut self, at: At) {
        let (step, now) = self.clock.unwrap_or((at.step, at.now));
        self.clock = Some((step.max(at.step), now.max(at.now)));
    }

    fn is_recorded(&self, run: i64, step: u32) -> bool {
        self.events.iter().any(|e| (e.at.run, e.at.step) == (run, step) && e.end.is_some())
    }

    fn apply(&mut self, order: usize, op: &Op, now: i64) {
        match *op {
            Op::Ask { run, step, closes, allowed, amount } => {
                let at = At { run, step, now };
                self.knows(at);
                if allowed && let Some(before) = self.pending(run, step, closes) {
                    self.events.remove(before);
                }
                self.events.push(Event { order, at, amount, closes, denied: !allowed, end: None });
            }
            Op::Record { outcome: StepOutcome::Retried, .. } => {}
            Op::Record { run, step, outcome: StepOutcome::Skipped, .. } | Op::Withdraw { run, step } => {
                self.events.retain(|e| (e.at.run, e.at.step) != (run, step) || e.denied || e.end.is_some());
            }
            Op::Record { run, step, outcome, amount } => {
                for closes in [false, true] {
                    let Some(n) = self.pending(run, step, closes) else { continue };
                    self.events[n].end = Some((outcome, now, order));
                    self.events[n].amount = amount.unwrap_or(self.events[n].amount);
                    self.knows(At { run, step, now });
                }
            }
        }
    }

    fn value(&self, limits: Limits, asked: At) -> Option<i64> {
        let (step, now) = self.clock.unwrap_or((asked.step, asked.now));
        let end = (step.max(asked.step), now.max(asked.now));
        let events = || self.events.iter().filter(|e| !e.closes);
        let is_asked =
            |e: &Event| (e.at.run, e.at.step) == (asked.run, asked.step) && e.end.is_none() && !e.denied;
        let inside = |e: &Event| match limits.window {
            Window::Run => true,
            Window::Steps(n) => end.0 - e.at.step <= n,
            Window::Time(s) if s <= 600 => end.1 - e.at.now <= s * SECOND,
            Window::Time(s) => {
                let width = (s + 59) / 60 * SECOND;
                (e.at.now.div_euclid(width) + 1) * width > end.1 - s * SECOND
            }
        };
        let since = |step: u32, at: i64| match limits.window {
            Window::Time(_) => ((end.1 - at).max(0) + 999) / 1_000,
            _ => i64::from(end.0 - step),
        };
        match limits.kind {
            SequenceKind::CountInWindow | SequenceKind::RunningTotal => {
                Some(events().filter(|e| !is_asked(e) && inside(e)).map(|e| e.amount).sum())
            }
            SequenceKind::MustFollow => {
                let good = events().filter_map(|e| e.end.map(|end| (e, end)));
                let good = good.filter(|(_, (outcome, ..))| *outcome == StepOutcome::Success);
                good.map(|(e, (_, at, _))| since(e.at.step, at)).min()
            }
            SequenceKind::MustNotFollow => {
                let happened = events().filter(|e| !is_asked(e) && !e.denied);
                happened.map(|e| since(e.at.step, e.end.map_or(e.at.now, |(_, at, _)| at))).min()
            }
            SequenceKind::MustLeadTo => {
                let answered = |e: &Event| {
                    self.events.iter().filter(|c| c.closes && c.at.step > e.at.step).any(|c| {
                        c.end.is_some_and(|(o, _, when)| o == StepOutcome::Success && when > e.order)
                    })
                };
                let open = events().filter(|e| !e.denied && e.at.step != asked.step && !answered(e));
                Some(i64::try_from(open.count()).unwrap())
            }
            SequenceKind::Taint => None,
        }
    }
}

/// Traces of one kind: few by default; A8.1 asks for `PROPTEST_CASES=100000`.
fn cases() -> u32 {
    std::env::var("PROPTEST_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(1_000)
}

fn windows() -> impl Strategy<Value = Window> {
    prop::sample::select(vec![
        Window::Run,
        Window::Steps(3),
        Window::Steps(1),
        Window::Time(60),
        Window::Time(599),
        Window::Time(1_200),
    ])
}

/// A8.1: what monitors of one kind keep says what the whole trace says, whatever is asked, and as well after a restart
/// at every step.
fn monitors_agree_with_whole_traces(kind: SequenceKind) {
    let config = ProptestConfig { cases: cases(), failure_persistence: None, ..ProptestConfig::default() };
    let traces = (windows(), prop::collection::vec(op(), 1..28));
    let agrees = |(window, ops): (Window, Vec<(Op, i64)>)| agrees(Limits { kind, window }, &ops);
    TestRunner::new(config).run(&traces, agrees).unwrap();
}

/// One test a kind, so that the kinds run beside each other.
macro_rules! each_kind {
    ($($name:ident => $kind:ident),* $(,)?) => {
        $(
            #[test]
            fn $name() {
                monitors_agree_with_whole_traces(SequenceKind::$kind);
            }
        )*

        #[test]
        fn no_kind_is_left_out() {
            // Labels are no number: `decisions.rs` has them.
            let here = [$(SequenceKind::$kind),*, SequenceKind::Taint];
            assert!(SequenceKind::ALL.iter().all(|kind| here.contains(kind)));
        }
    };
}

each_kind! {
    counts_agree => CountInWindow,
    totals_agree => RunningTotal,
    what_must_follow_agrees => MustFollow,
    what_must_not_follow_agrees => MustNotFollow,
    what_must_lead_to_agrees => MustLeadTo,
}

fn agrees(limits: Limits, ops: &[(Op, i64)]) -> Result<(), TestCaseError> {
    let (mut state, mut reference, mut now) = (State::default(), Reference::default(), 1_000 * SECOND);
    let mut due: BTreeMap<u32, bool> = BTreeMap::new();
    for (order, (op, later)) in ops.iter().enumerate() {
        now += later * SECOND;
        let counts = matches!(limits.kind, SequenceKind::CountInWindow | SequenceKind::RunningTotal);
        let leads = limits.kind == SequenceKind::MustLeadTo;
        // Steps of other attempts count only where time is what windows are about; a recorded step is not asked
        // about again; a denied question counts only for counts and totals.
        let shared = matches!(limits.window, Window::Time(_)) && !leads;
        let op = match op.clone() {
            Op::Ask { run, step, closes, allowed, amount } => {
                if (!allowed && (!counts || closes))
                    || reference.is_recorded(if shared { run } else { 0 }, step)
                {
                    continue;
                }
                if leads && due.contains_key(&step) {
                    continue;
                }
                if leads && !closes {
                    due.insert(step, true);
                }
                let amount = if limits.kind == SequenceKind::CountInWindow { 1 } else { amount };
                Op::Ask { run: if shared { run } else { 0 }, step, closes: closes && leads, allowed, amount }
            }
            Op::Record { run, step, outcome, amount } => {
                let amount = amount.filter(|_| limits.kind == SequenceKind::RunningTotal);
                Op::Record { run: if shared { run } else { 0 }, step, outcome, amount }
            }
            Op::Withdraw { run, step } => Op::Withdraw { run: if shared { run } else { 0 }, step },
        };
        match op {
            Op::Ask { run, step, closes: true, .. } => state.closes(limits, At { run, step, now }),
            Op::Ask { run, step, allowed: true, amount, .. } => {
                state.allowed(limits, At { run, step, now }, amount)
            }
            Op::Ask { run, step, amount, .. } => state.denied(limits, At { run, step, now }, amount),
            Op::Record { run, step, outcome, amount } => {
                let at = At { run, step, now };
                if state.waits_for(at) {
                    state.recorded(limits, at, outcome, amount);
                }
            }
            Op::Withdraw { run, step } => {
                let at = At { run, step, now };
                if state.waits_for(at) {
                    state.withdrawn(at);
                }
            }
        }
        reference.apply(order, &op, now);
        let bytes = serde_json::to_vec(&state).unwrap();
        state = serde_json::from_slice(&bytes).unwrap();
        for step in [0, 5, 13] {
            for asked in [At { run: 0, step, now }, At { run: 1, step, now: now + 30 * SECOND }] {
                prop_assert_eq!(
                    state.value(limits, asked),
                    reference.value(limits, asked),
                    "{:?} {:?}",
                    asked,
                    state
                );
            }
        }
    }
    let end = At { run: 0, step: NO_STEP, now };
    prop_assert!(state.value(limits, end).is_none_or(|v| v >= 0));
    Ok(())
}
