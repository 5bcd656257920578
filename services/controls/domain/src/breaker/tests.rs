use runspine_types::Micros;

use super::{
    Breaker, BreakerCause as Cause,
    BreakerKind::{self as Kind, Drift, Fault, Manual},
    BreakerResult::{Bad, Good, SchemaError},
    BreakerSeverity,
    BreakerState::{self as State, Closed, HalfOpen, Open},
    Counts, Passage, Report, Rules,
};

const NOW: Micros = Micros(1_000_000_000_000);

fn report(result: super::BreakerResult) -> Report {
    Report { result, drift_permille: None, samples: 1, holders: vec!["p".to_owned()] }
}

fn drifting(permille: u32) -> Report {
    Report { drift_permille: Some(permille), ..report(Good) }
}

fn breaker_says(breaker: &mut Breaker, times: u32, report: &Report) {
    for _ in 0..times {
        breaker.report(report, &Rules::default(), NOW);
    }
}

/// A breaker in a state, reached as it is reached.
fn at(kind: Kind, state: State) -> Breaker {
    let mut breaker = Breaker::new(kind);
    if state == Closed {
        return breaker;
    }
    match kind {
        Fault => breaker_says(&mut breaker, 5, &report(Bad)),
        Drift => breaker_says(&mut breaker, 3, &drifting(201)),
        Manual => {
            breaker.order_open(None, NOW);
        }
    }
    assert_eq!(breaker.stored, Open);
    if state == HalfOpen {
        let until = breaker.until.unwrap();
        assert!(breaker.advance(until).is_some());
        breaker.grant("p", until);
    }
    breaker
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Event {
    Said(super::BreakerResult),
    Warned,
    TimeOver,
    OrderedOpen,
    OrderedClosed,
}

/// What the table of the states says comes of one event.
fn expected(kind: Kind, state: State, event: Event) -> State {
    match (kind, state, event) {
        (_, _, Event::OrderedOpen) => Open,
        (_, _, Event::OrderedClosed) | (Manual, Open, Event::TimeOver) => Closed,
        (Fault | Drift, Open, Event::TimeOver) => HalfOpen,
        (Fault | Drift, HalfOpen, Event::Said(Bad | SchemaError)) => Open,
        (_, same, _) => same,
    }
}

#[test]
fn the_table_of_states() {
    use Event::{OrderedClosed, OrderedOpen, Said, TimeOver, Warned};
    let events = [Said(Good), Said(Bad), Said(SchemaError), Warned, TimeOver, OrderedOpen, OrderedClosed];
    let mut rows = 0;
    for kind in Kind::ALL {
        for state in State::ALL {
            if (*kind, *state) == (Manual, HalfOpen) {
                continue;
            }
            for event in events {
                let mut breaker = at(*kind, *state);
                if *kind == Manual && *state == Open && event == TimeOver {
                    breaker.until = Some(NOW.plus_millis(5));
                }
                let now = match (event, breaker.until) {
                    (TimeOver, Some(until)) => until,
                    (_, Some(until)) if *state == HalfOpen => until.plus_millis(1),
                    _ => NOW.plus_millis(1),
                };
                let moves = match event {
                    Said(result) => breaker.report(&report(result), &Rules::default(), now).transitions,
                    Warned => breaker.report(&drifting(180), &Rules::default(), now).transitions,
                    TimeOver => breaker.advance(now).into_iter().collect(),
                    OrderedOpen => vec![breaker.order_open(None, now)],
                    OrderedClosed => breaker.order_close(now).into_iter().collect(),
                };
                assert!(moves.last().is_none_or(|last| last.to == breaker.stored));
                assert_eq!(
                    breaker.state(now),
                    expected(*kind, *state, event),
                    "{kind:?} {state:?} {event:?}"
                );
                rows += 1;
            }
        }
    }
    assert_eq!(rows, 56);
}

#[test]
fn five_failures_in_a_row_open() {
    let mut breaker = Breaker::new(Fault);
    for _ in 0..4 {
        assert!(breaker.report(&report(Bad), &Rules::default(), NOW).transitions.is_empty());
    }
    breaker.report(&report(Good), &Rules::default(), NOW);
    for n in 0..5 {
        let opened = !breaker.report(&report(Bad), &Rules::default(), NOW).transitions.is_empty();
        assert_eq!(opened, n == 4);
    }
    assert_eq!((breaker.cause, breaker.severity), (Cause::ConsecutiveFailures, BreakerSeverity::P1));
    assert_eq!(breaker.until, Some(NOW.plus_millis(30_000)));
}

#[test]
fn half_of_twenty_calls_in_a_minute_open() {
    let mut breaker = Breaker::new(Fault);
    let alternate = |breaker: &mut Breaker, calls: i64, every_ms: i64| {
        (0..calls).find(|n| {
            let result = if n % 2 == 0 { Good } else { Bad };
            let now = NOW.plus_millis(n * every_ms);
            !breaker.report(&report(result), &Rules::default(), now).transitions.is_empty()
        })
    };
    assert_eq!(alternate(&mut breaker, 100, 1_000), Some(19));
    assert_eq!(breaker.cause, Cause::FailureRate);
    let mut slow = Breaker::new(Fault);
    assert_eq!(alternate(&mut slow, 100, 4_000), None, "no more than 15 in a minute");
    let mut many = Breaker::new(Fault);
    let good = Report { samples: 21, ..report(Good) };
    many.report(&good, &Rules::default(), NOW);
    for _ in 0..20 {
        many.report(&Report { samples: 1, ..report(Bad) }, &Rules { failures: 100, ..Rules::default() }, NOW);
    }
    assert_eq!(many.stored, Closed, "20 of 41");
}

#[test]
fn two_bad_one_good_two_bad_leave_it_closed() {
    let mut breaker = Breaker::new(Drift);
    for drift in [201, 900, 150, 201, 201] {
        breaker.report(&drifting(drift), &Rules::default(), NOW);
    }
    assert_eq!(breaker.stored, Closed);
    assert!(breaker.report(&drifting(200), &Rules::default(), NOW).warned, "neither counts nor resets");
    breaker.report(&drifting(201), &Rules::default(), NOW);
    assert_eq!((breaker.stored, breaker.cause), (Open, Cause::Drift));
}

#[test]
fn five_schema_errors_in_a_day_open_at_once() {
    let hour = 3_600_000;
    let mut breaker = Breaker::new(Drift);
    for n in 0..4 {
        breaker.report(&report(SchemaError), &Rules::default(), NOW.plus_millis(n * hour));
        breaker.report(&report(Good), &Rules::default(), NOW.plus_millis(n * hour));
    }
    breaker.report(&report(SchemaError), &Rules::default(), NOW.plus_millis(24 * hour));
    assert_eq!(breaker.stored, Closed, "the first is a day old");
    breaker.report(&report(SchemaError), &Rules::default(), NOW.plus_millis(24 * hour + 1));
    assert_eq!((breaker.stored, breaker.severity), (Open, BreakerSeverity::P3));
}

#[test]
fn a_bad_trial_doubles_the_time_and_closing_forgets_it() {
    for (kind, first, most) in [(Fault, 30_000, 600_000), (Drift, 86_400_000, 604_800_000)] {
        let mut breaker = at(kind, Open);
        let mut lasts = Vec::new();
        for _ in 0..8 {
            lasts.push(breaker.open_ms);
            let now = breaker.until.unwrap();
            breaker.advance(now);
            breaker.grant("p", now);
            breaker.report(&report(Bad), &Rules::default(), now);
            assert_eq!((breaker.stored, breaker.cause), (Open, Cause::ProbeFailed));
        }
        assert_eq!((lasts[0], lasts[1], lasts[7]), (first, first * 2, most));
        let now = breaker.until.unwrap();
        for n in 0..3 {
            assert_eq!(breaker.state(now), HalfOpen, "{n} good trials");
            breaker.grant("p", now);
            breaker.report(&report(Good), &Rules::default(), now);
        }
        assert_eq!((breaker.stored, breaker.open_ms, breaker.openings), (Closed, 0, 9));
    }
}

#[test]
fn one_trial_at_a_time_and_a_dead_holder_frees_it() {
    let mut breaker = at(Fault, Open);
    let opened = breaker.until.unwrap();
    assert_eq!(breaker.passage("a", opened.plus_millis(-1)), Passage::Shut(Some(1)));
    assert_eq!(breaker.passage("a", opened), Passage::Probe);
    breaker.advance(opened);
    breaker.grant("a", opened);
    assert_eq!(breaker.passage("a", opened), Passage::Probe, "its holder asks again");
    assert_eq!(breaker.passage("b", opened.plus_millis(29_999)), Passage::Shut(Some(1)));
    let later = opened.plus_millis(30_000);
    assert_eq!(breaker.passage("b", later), Passage::Probe);
    breaker.grant("b", later);
    let of = |holder: &str, result| Report { holders: vec![holder.to_owned()], ..report(result) };
    breaker.report(&of("a", Bad), &Rules::default(), later);
    assert_eq!(breaker.stored, HalfOpen, "the trial is another's now");
    breaker.report(&of("b", Good), &Rules::default(), later);
    assert_eq!((breaker.passed, breaker.probe.clone()), (1, None));
}

#[test]
fn counts_are_stored_as_they_are() {
    let mut counts: Counts = <Counts>::default();
    counts.note(3, 1, NOW);
    counts.note(2, 0, NOW.plus_millis(1_500));
    assert_eq!(<Counts>::from_text(&counts.to_text()), Some(counts.clone()));
    assert_eq!(counts.sums(NOW.plus_millis(59_999)), (5, 1));
    assert_eq!(counts.sums(NOW.plus_millis(60_500)), (2, 0));
    assert_eq!(<Counts>::from_text(""), Some(<Counts>::default()));
    assert_eq!(<Counts>::from_text("1:2"), None);
}

/// Reports that may not open it are counted, and open it as soon as they may.
#[test]
fn what_may_not_open_warns() {
    let told = Rules { opens: false, schema_errors: 2, ..Rules::default() };
    let mut breaker = Breaker::new(Drift);
    for number in 1..=4 {
        let applied = breaker.report(&drifting(201), &told, NOW);
        assert_eq!((applied.transitions, applied.warned), (vec![], number >= 3));
    }
    assert!(!breaker.report(&drifting(150), &told, NOW).warned);
    for _ in 0..1_000 {
        breaker.report(&report(SchemaError), &told, NOW);
    }
    assert_eq!(
        (breaker.stored, breaker.schema_errors.len()),
        (Closed, 2),
        "no more than what counts is kept"
    );
    assert!(!breaker.report(&drifting(0), &told, NOW).warned, "a good one is no reason to look");
    let opened = breaker.report(&report(SchemaError), &Rules { opens: true, ..told }, NOW);
    assert_eq!((opened.transitions[0].cause, opened.warned), (Cause::SchemaErrors, false));
}

/// One that does not recover by itself is open until an order; whether it does can be changed while it is open.
#[test]
fn what_may_not_recover_stays_open() {
    let rules = Rules { recovers: false, drift_open_ms: 3_600_000, ..Rules::default() };
    let mut breaker = Breaker::new(Drift);
    for _ in 0..3 {
        breaker.report(&drifting(201), &rules, NOW);
    }
    let years = NOW.plus_millis(100 * 365 * 86_400_000);
    assert_eq!((breaker.until, breaker.state(years)), (None, Open));
    breaker.recover(true);
    let until = NOW.plus_millis(3_600_000);
    assert_eq!((breaker.until, breaker.state(until)), (Some(until), HalfOpen));
    breaker.recover(false);
    assert_eq!(breaker.state(years), Open);
    assert!(breaker.order_close(years).is_some());
    let mut manual = at(Manual, Open);
    manual.recover(true);
    assert_eq!(manual.until, None, "an order ends as it was given");
}

/// The numbers of the rules are the ones that count.
#[test]
fn other_rules_open_at_other_numbers() {
    let rules = Rules { drifts: 1, drift_permille: 50, drift_warning_permille: 20, ..Rules::default() };
    let mut breaker = Breaker::new(Drift);
    assert!(breaker.report(&drifting(21), &rules, NOW).warned);
    assert!(breaker.report(&drifting(20), &rules, NOW).transitions.is_empty());
    assert_eq!(breaker.report(&drifting(51), &rules, NOW).transitions.len(), 1);
}
