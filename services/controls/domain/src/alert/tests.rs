//! Each stage alone at its bounds, the modes, and what holds for every sequence of alerts.

use proptest::prelude::*;
use runspine_types::Micros;

use super::{
    Alert, AlertKey, AlertMode, AlertResult, AlertSettings, AlertSeverity, BURST, BURST_MS, Decision,
    HOUR_MS, HOUR_RATE, History, KEY_RATE, MINUTE_MS, SAME_MS, TYPE_RATE, cooldown_ms,
};

const NOW: Micros = Micros(1_767_323_045_000_000);

fn alert() -> Alert {
    Alert {
        kind: "LIMIT_BREACHED".into(),
        key: AlertKey { scope: "project/p".into(), limit_id: "l".into(), agent_id: "a".into() },
        run_id: "r".into(),
        severity: AlertSeverity::Warning,
        domain: "controls".into(),
        proximity_permille: None,
        resolves: false,
    }
}

fn ago(ms: i64) -> Option<Micros> {
    Some(NOW.plus_millis(-ms))
}

fn found(alert: &Alert, history: &History) -> AlertResult {
    Decision::of(alert, &AlertSettings::default(), false, history, NOW).finding
}

#[test]
fn each_stage_objects_from_its_bound_on() {
    use AlertResult::{
        Aggregated, Allowed, Cooldown, CoolingDown, Duplicate, RateLimited, RunCeiling, Suppressed,
        TenantRateLimit,
    };
    let none = History::default;
    let table = [
        (History { same_at: ago(59_999), ..none() }, Duplicate),
        (History { same_at: ago(60_000), ..none() }, Allowed),
        (History { run_at: ago(59_999), run_count: 1, ..none() }, RunCeiling),
        (History { run_at: ago(60_000), run_count: 9, ..none() }, Allowed),
        (History { run_at: ago(60_000), run_count: 10, ..none() }, RunCeiling),
        (History { domain_at: ago(59_999), ..none() }, Cooldown),
        (History { domain_at: ago(60_000), ..none() }, Allowed),
        (History { arrived: 9, ..none() }, Allowed),
        (History { arrived: 10, ..none() }, RateLimited),
        (History { unresolved: 4, key_at: ago(1), ..none() }, Allowed),
        (History { unresolved: 5, key_at: ago(299_999), ..none() }, Suppressed),
        (History { unresolved: 5, key_at: ago(300_000), ..none() }, Allowed),
        (History { of_type: 1, ..none() }, Allowed),
        (History { of_type: 2, ..none() }, Aggregated),
        (History { cooling_until: ago(-1), ..none() }, CoolingDown),
        (History { cooling_until: ago(0), ..none() }, Allowed),
        (History { hour: 99, ..none() }, Allowed),
        (History { hour: 100, ..none() }, TenantRateLimit),
    ];
    for (history, expected) in &table {
        assert_eq!(found(&alert(), history), *expected, "{history:?}");
        let critical = Alert { severity: AlertSeverity::Critical, ..alert() };
        let passes = if *expected == Duplicate { Duplicate } else { Allowed };
        assert_eq!(found(&critical, history), passes, "{history:?}");
    }
    let (ceiling, silent) = (&table[2].0, &table[10].0);
    assert_eq!(found(&Alert { run_id: String::new(), ..alert() }, ceiling), Allowed, "it has no run");
    assert_eq!(found(&Alert { resolves: true, ..alert() }, silent), Allowed, "it is over");
}

/// The first stage that objects wins, whatever the later ones say.
#[test]
fn stages_are_asked_in_their_order() {
    let stages: [fn(&mut History); 8] = [
        |h| h.same_at = ago(1),
        |h| h.run_at = ago(1),
        |h| h.domain_at = ago(1),
        |h| h.arrived = KEY_RATE,
        |h| (h.unresolved, h.key_at) = (5, ago(1)),
        |h| h.of_type = TYPE_RATE,
        |h| h.cooling_until = ago(-1),
        |h| h.hour = HOUR_RATE,
    ];
    for first in 0..stages.len() {
        let mut history = History::default();
        for stage in &stages[first..] {
            stage(&mut history);
        }
        assert_eq!(found(&alert(), &history).code(), i32::try_from(first).unwrap() + 3);
    }
}

#[test]
fn domains_have_their_cooldowns() {
    let stated = [
        ("incidents", 300),
        ("policies", 600),
        ("logs", 60),
        ("spine", 300),
        ("audit", 300),
        ("controls", 60),
        ("ops", 300),
    ];
    for (domain, seconds) in stated {
        assert_eq!(cooldown_ms(domain), seconds * 1_000, "{domain}");
    }
}

#[test]
fn the_mode_decides_what_comes_of_an_objection() {
    use AlertMode::{Aggregate, Enforce, Monitor, Warn};
    let history = History { domain_at: ago(1), pending: 7, ..History::default() };
    for (mode, observe_only, result, count, pending) in [
        (Monitor, false, AlertResult::Allowed, 8, 0),
        (Warn, false, AlertResult::Warned, 8, 0),
        (Enforce, false, AlertResult::Cooldown, 0, 8),
        (Aggregate, false, AlertResult::Cooldown, 0, 8),
        (Enforce, true, AlertResult::Allowed, 8, 0),
        (Warn, true, AlertResult::Allowed, 8, 0),
    ] {
        let settings = AlertSettings { mode, ..AlertSettings::default() };
        let decision = Decision::of(&alert(), &settings, observe_only, &history, NOW);
        assert_eq!(decision.finding, AlertResult::Cooldown);
        let came = (decision.result, decision.count, decision.after.pending);
        assert_eq!(came, (result, count, pending), "{mode:?}");
    }
    let one = History { of_type: 1, ..History::default() };
    let aggregate = AlertSettings { mode: Aggregate, ..AlertSettings::default() };
    assert_eq!(
        Decision::of(&alert(), &aggregate, false, &one, NOW).result,
        AlertResult::Aggregated,
        "one of a type within a minute, not two"
    );
}

#[test]
fn a_tenant_says_what_it_wants() {
    let with = |proximity| Alert { proximity_permille: Some(proximity), ..alert() };
    let quiet = AlertSettings { near: false, breaches: false, ..AlertSettings::default() };
    let usual = AlertSettings::default();
    for (proximity, wanted) in [(799, false), (800, true), (999, true), (1_000, true), (1_500, true)] {
        assert_eq!(usual.wants(&with(proximity)), wanted, "{proximity}");
        assert!(!quiet.wants(&with(proximity)));
        assert!(quiet.wants(&Alert { severity: AlertSeverity::Critical, ..with(proximity) }));
    }
    assert!(quiet.wants(&alert()));
    let history = History { pending: 3, ..History::default() };
    let decision = Decision::of(&with(799), &usual, true, &history, NOW);
    assert_eq!((decision.result, decision.count), (AlertResult::NotWanted, 0));
    assert_eq!(decision.after.pending, 3, "what nobody wants is not told of later");
}

#[test]
fn settings_are_checked() {
    assert_eq!(AlertSettings::default().wrong(), []);
    let wrong = AlertSettings {
        near_permille: 1_000,
        channels: Vec::new(),
        min_interval_s: 0,
        max_per_run: 1_001,
        ..AlertSettings::default()
    };
    let fields: Vec<&str> = wrong.wrong().iter().map(|w| w.0).collect();
    assert_eq!(fields, ["near_permille", "channels", "min_interval_s", "max_per_run"]);
    let channels = vec![super::AlertChannel::Ui, super::AlertChannel::Ui];
    assert_eq!(AlertSettings { channels, ..AlertSettings::default() }.wrong().len(), 1);
}

/// All that was decided, and what it says to the next alert: what the store answers with indexes, said in plain words.
#[derive(Default)]
struct Memory(Vec<(Micros, Alert, Decision)>);

impl Memory {
    fn history(&self, of: &Alert, now: Micros) -> History {
        let back = |ms: i64| now.plus_millis(-ms);
        let counted = || self.0.iter().rev().filter(|(.., d)| d.after.counts);
        let key = || self.0.iter().rev().filter(|(_, a, _)| a.key == of.key);
        let run = || counted().filter(|(_, a, _)| (&a.run_id, &a.kind) == (&of.run_id, &of.kind));
        let same = |a: &Alert| {
            (&a.kind, &a.key.scope, &a.key.limit_id, &a.run_id)
                == (&of.kind, &of.key.scope, &of.key.limit_id, &of.run_id)
        };
        let passed = self
            .0
            .iter()
            .filter(|(at, a, d)| d.finding == AlertResult::Allowed && same(a) && *at > back(SAME_MS));
        let few = |count: usize, most: u32| u32::try_from(count).unwrap().min(most);
        let within = |ms: i64| counted().filter(|(at, ..)| *at > back(ms)).count();
        let weighs = |a: &Alert, d: &Decision| {
            a.severity != AlertSeverity::Critical && d.finding != AlertResult::NotWanted
        };
        let arrived = key().filter(|(at, a, d)| *at > back(MINUTE_MS) && weighs(a, d)).count();
        let of_type = counted().filter(|(at, a, _)| a.kind == of.kind && *at > back(MINUTE_MS)).count();
        History {
            same_at: passed.map(|(at, ..)| *at).max(),
            run_at: run().map(|(at, ..)| *at).next(),
            run_count: run().map(|(.., d)| d.after.run_count).next().unwrap_or(0),
            domain_at: counted()
                .find(|(_, a, _)| a.key == of.key && a.domain == of.domain)
                .map(|(at, ..)| *at),
            arrived: few(arrived, KEY_RATE),
            key_at: key().next().and_then(|(.., d)| d.after.key_at),
            unresolved: key().next().map_or(0, |(.., d)| d.after.unresolved),
            of_type: few(of_type, TYPE_RATE),
            burst: few(within(BURST_MS), BURST),
            hour: few(within(HOUR_MS), HOUR_RATE),
            cooling_until: self.0.last().and_then(|(.., d)| d.after.cooling_until),
            pending: self.0.iter().rfind(|(_, a, _)| a.kind == of.kind).map_or(0, |(.., d)| d.after.pending),
        }
    }

    fn after(script: &[(i64, Alert)], mode: AlertMode) -> Self {
        let settings = AlertSettings { mode, ..AlertSettings::default() };
        let (mut memory, mut now) = (Self::default(), NOW);
        for (wait_ms, alert) in script {
            now = now.plus_millis(*wait_ms);
            let decision = Decision::of(alert, &settings, false, &memory.history(alert, now), now);
            memory.0.push((now, alert.clone(), decision));
        }
        memory
    }

    fn counted(&self) -> impl Iterator<Item = &(Micros, Alert, Decision)> {
        self.0.iter().filter(|(.., d)| d.after.counts)
    }

    /// Alerts of a type that were dropped and not told of yet.
    fn pending(&self) -> u64 {
        let mut kinds: Vec<&str> = self.0.iter().map(|(_, a, _)| a.kind.as_str()).collect();
        kinds.sort_unstable();
        kinds.dedup();
        let last =
            |kind| self.0.iter().rfind(|(_, a, _)| a.kind == kind).map_or(0, |(.., d)| d.after.pending);
        kinds.into_iter().map(last).sum()
    }
}

fn some() -> impl Strategy<Value = (i64, Alert)> {
    let wait = prop_oneof![6 => 0..2_000_i64, 3 => 2_000..70_000_i64, 1 => 70_000..700_000_i64];
    let severity = prop_oneof![9 => Just(AlertSeverity::Warning), 1 => Just(AlertSeverity::Critical)];
    let near = prop_oneof![4 => Just(None), 1 => (700..1_100_u32).prop_map(Some)];
    let domain = prop::sample::select(vec!["incidents", "policies", "logs", "controls", "ops"]);
    let what = (0..30_u32, 0..12_u32, 0..4_u32);
    (wait, what, severity, near, domain, prop::bool::weighted(0.1)).prop_map(
        |(wait, (kind, key, run), severity, proximity_permille, domain, resolves)| {
            let key = AlertKey {
                scope: format!("s{}", key % 6),
                limit_id: format!("l{key}"),
                ..AlertKey::default()
            };
            let run_id = if run == 0 { String::new() } else { format!("r{run}") };
            let (kind, domain) = (format!("T{kind}"), domain.to_owned());
            (wait, Alert { kind, key, run_id, severity, domain, proximity_permille, resolves })
        },
    )
}

proptest! {
    /// Whatever is dropped is counted in one that goes out, once; what goes out stays within every bound.
    #[test]
    fn nothing_is_lost_and_no_bound_is_passed(script in prop::collection::vec(some(), 1..300)) {
        for mode in [AlertMode::Enforce, AlertMode::Aggregate] {
            let memory = Memory::after(&script, mode);
            let wanted = memory.0.iter().filter(|(.., d)| d.finding != AlertResult::NotWanted).count() as u64;
            let told: u64 = memory.0.iter().map(|(.., d)| d.count).sum();
            prop_assert_eq!(told + memory.pending(), wanted);
            let counted: Vec<Micros> = memory.counted().map(|(at, ..)| *at).collect();
            for (bound, ms) in [(BURST, BURST_MS), (HOUR_RATE, HOUR_MS)] {
                let bound = bound as usize;
                for pair in counted.windows(bound + 1) {
                    prop_assert!(pair[bound].millis_since(pair[0]) >= ms, "more than {} within {} ms", bound, ms);
                }
            }
            for (place, (at, a, d)) in memory.0.iter().enumerate() {
                let critical = a.severity == AlertSeverity::Critical;
                prop_assert!(!critical || matches!(d.result, AlertResult::Allowed | AlertResult::Duplicate));
                let of_key = |b: &Alert| (&b.key, &b.domain) == (&a.key, &a.domain);
                let mut before = memory.0[..place].iter().filter(|(_, b, e)| e.after.counts && of_key(b));
                let apart = before.next_back().is_none_or(|(b, ..)| at.millis_since(*b) >= cooldown_ms(&a.domain));
                prop_assert!(apart || !d.after.counts);
            }
        }
    }

    /// MONITOR and WARN drop nothing that is wanted, and find what ENFORCE finds.
    #[test]
    fn modes_differ_in_what_comes_of_it_only(script in prop::collection::vec(some(), 1..200)) {
        let findings = |m: &Memory| m.0.iter().map(|(.., d)| d.finding).collect::<Vec<_>>();
        let enforced = Memory::after(&script, AlertMode::Enforce);
        for mode in [AlertMode::Monitor, AlertMode::Warn] {
            let memory = Memory::after(&script, mode);
            prop_assert_eq!(findings(&memory), findings(&enforced));
            for (.., d) in &memory.0 {
                prop_assert_eq!(d.result.goes_out(), d.finding != AlertResult::NotWanted);
                prop_assert_eq!(d.count, u64::from(d.result.goes_out()), "nothing waits to be told of");
            }
        }
    }
}
