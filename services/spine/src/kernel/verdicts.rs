//! The verdict order as a table: every finding that the five checks know, in every profile, against values that are
//! written from the specification of the run kernel (its sections 7.1 to 7.3 and 9) and not from the code.

use contracts_common::common::v1::{
    Directive::{self, Continue, Pause, Terminate},
    GovernanceProfile::{self, ObserveOnly, Standard, Strict},
    Obligation, Reason,
    Verdict::{self, Allow, Defer, Deny, Modify, RequireApproval},
};

use super::combine::{Check, Finding, combine, refused};

/// A row of table 7.1: what a check can find. An empty code is nothing against the step.
#[derive(Debug, Clone, Copy)]
struct Row {
    code: &'static str,
    verdict: Verdict,
    directive: Directive,
    /// The check could not decide: its profile does.
    silent: bool,
    /// It holds in OBSERVE_ONLY too.
    order: bool,
}

const fn found(code: &'static str, verdict: Verdict, directive: Directive) -> Row {
    Row { code, verdict, directive, silent: false, order: false }
}

const fn order(code: &'static str, verdict: Verdict, directive: Directive) -> Row {
    Row { order: true, ..found(code, verdict, directive) }
}

const fn silent(code: &'static str) -> Row {
    Row { silent: true, ..found(code, Allow, Continue) }
}

const NOTHING: Row = order("", Allow, Continue);

const FREEZE: [Row; 4] = [
    NOTHING,
    order("FROZEN", Deny, Pause),
    order("FROZEN", Deny, Terminate),
    Row { order: true, ..silent("FREEZE_STATE_UNKNOWN") },
];

const RUN: [Row; 5] = [
    NOTHING,
    order("RUN_PAUSED", Deny, Pause),
    order("STOP_REQUESTED", Deny, Terminate),
    order("RUN_TIMEOUT", Deny, Terminate),
    order("RUN_NOT_EXECUTING", Deny, Continue),
];

const LEASE: [Row; 4] = [
    NOTHING,
    order("LEASE_LAPSED", Deny, Terminate),
    order("AMBIGUOUS_UNRESOLVED", Deny, Continue),
    order("INFLIGHT_EXCEEDED", Defer, Continue),
];

const LIMITS: [Row; 7] = [
    found("", Allow, Continue),
    found("GUARDRAIL", Allow, Pause),
    found("DEGRADE", Modify, Continue),
    found("QUEUED", Defer, Continue),
    found("BUDGET_EXCEEDED", Deny, Continue),
    found("LIMIT_ABORT", Deny, Terminate),
    silent("CONTROLS_UNAVAILABLE"),
];

const POLICY: [Row; 11] = [
    found("", Allow, Continue),
    found("RULE_MODIFY", Modify, Continue),
    found("RULE_DEFER", Defer, Continue),
    found("RULE_APPROVAL", RequireApproval, Continue),
    found("RULE_APPROVAL_PAUSE", RequireApproval, Pause),
    found("RULE_DENY", Deny, Continue),
    found("RULE_DENY_PAUSE", Deny, Pause),
    found("RULE_DENY_STOP", Deny, Terminate),
    silent("POLICY_UNAVAILABLE"),
    order("SNAPSHOT_RECALLED", Deny, Pause),
    order("SNAPSHOT_RECALLED", Deny, Terminate),
];

const PROFILES: [GovernanceProfile; 3] = [Strict, Standard, ObserveOnly];

/// Table 7.2: rows LIMITS, columns POLICY, both in this order.
const ORDER: [Verdict; 5] = [Allow, Modify, Defer, RequireApproval, Deny];
const TABLE: [[Verdict; 5]; 4] = [
    [Allow, Modify, Defer, RequireApproval, Deny],
    [Modify, Modify, Defer, RequireApproval, Deny],
    [Defer, Defer, Defer, RequireApproval, Deny],
    [Deny, Deny, Deny, Deny, Deny],
];

/// Table 7.3 and the row FREEZE_STATE_UNKNOWN of 7.1: what a silent check counts as.
fn heard(row: Row, profile: GovernanceProfile) -> Row {
    match (row.silent, profile) {
        (true, Strict) => Row { verdict: Deny, ..row },
        _ => row,
    }
}

fn cell(limits: Verdict, policy: Verdict) -> Verdict {
    let column = ORDER.iter().position(|v| *v == policy).unwrap();
    let line = [Allow, Modify, Defer, Deny].iter().position(|v| *v == limits).unwrap();
    TABLE[line][column]
}

fn stricter(a: Verdict, b: Verdict) -> Verdict {
    let rank = |v| ORDER.iter().position(|o| *o == v).unwrap();
    if rank(a) >= rank(b) { a } else { b }
}

fn louder(rows: &[Row]) -> Directive {
    let rank = |d: &Directive| [Continue, Pause, Terminate].iter().position(|o| o == d).unwrap();
    rows.iter().map(|r| r.directive).max_by_key(rank).unwrap_or(Continue)
}

/// What the specification says comes out.
#[derive(Debug, PartialEq)]
struct Expected {
    verdict: Verdict,
    effective: Verdict,
    directive: Directive,
    primary: &'static str,
    not_asked: bool,
    would_block: bool,
    degraded: bool,
}

fn expected(rows: [Row; 5], profile: GovernanceProfile) -> Expected {
    let rows = rows.map(|row| heard(row, profile));
    let [freeze, run, lease, limits, policy] = rows;
    let not_asked = [freeze, run, lease].iter().any(|r| r.verdict == Deny);
    let asked: &[Row] = if not_asked { &rows[..3] } else { &rows };
    let first = stricter(stricter(freeze.verdict, run.verdict), lease.verdict);
    let verdict = if not_asked { Deny } else { stricter(first, cell(limits.verdict, policy.verdict)) };
    let directive = louder(asked);
    let orders: Vec<Row> = asked.iter().copied().filter(|r| r.order).collect();
    let enforced = orders.iter().fold(Allow, |v, r| stricter(v, r.verdict));
    let (effective, told) = match profile {
        ObserveOnly => (enforced, louder(&orders)),
        _ => (verdict, directive),
    };
    // Checks 1 to 4 come before any rule.
    let says = |r: &&Row| !r.code.is_empty() && r.verdict == verdict;
    let named = |r: &&Row| !r.code.is_empty();
    let rank = |r: &&Row| std::cmp::Reverse(ORDER.iter().position(|o| *o == r.verdict));
    let primary = asked.iter().find(says).or_else(|| asked.iter().filter(named).min_by_key(rank));
    Expected {
        verdict,
        effective,
        directive: told,
        primary: primary.map_or("", |r| r.code),
        not_asked,
        would_block: (verdict, directive) != (effective, told),
        degraded: asked.iter().any(|r| r.silent),
    }
}

/// The row as the kernel finds it.
fn finding(check: Check, row: Row, profile: GovernanceProfile) -> Finding {
    if row.silent {
        return Finding::undecided(check, profile, row.code);
    }
    let mut finding = match row.code {
        "" => Finding::allow(check),
        code => Finding::refuse(check, row.verdict, row.directive, code, "said so"),
    };
    finding.directive = row.directive;
    finding.order = row.order;
    finding
}

fn came_out(rows: [Row; 5], profile: GovernanceProfile) -> Expected {
    let all: Vec<Finding> =
        Check::ALL.into_iter().zip(rows).map(|(check, row)| finding(check, row, profile)).collect();
    let not_asked = refused(&all[..3]);
    let combined = combine(if not_asked { &all[..3] } else { &all }, profile);
    let codes = CODES.iter().copied();
    let primary = combined.reasons.first().map_or("", |r| r.code.as_str());
    Expected {
        verdict: combined.verdict,
        effective: combined.effective_verdict,
        directive: combined.directive,
        primary: codes.into_iter().find(|c| *c == primary).unwrap_or(""),
        not_asked,
        would_block: combined.would_block(),
        degraded: combined.degraded,
    }
}

const CODES: [&str; 25] = [
    "FROZEN",
    "FREEZE_STATE_UNKNOWN",
    "RUN_PAUSED",
    "STOP_REQUESTED",
    "RUN_TIMEOUT",
    "RUN_NOT_EXECUTING",
    "LEASE_LAPSED",
    "AMBIGUOUS_UNRESOLVED",
    "INFLIGHT_EXCEEDED",
    "GUARDRAIL",
    "DEGRADE",
    "QUEUED",
    "BUDGET_EXCEEDED",
    "LIMIT_ABORT",
    "CONTROLS_UNAVAILABLE",
    "RULE_MODIFY",
    "RULE_DEFER",
    "RULE_APPROVAL",
    "RULE_APPROVAL_PAUSE",
    "RULE_DENY",
    "RULE_DENY_PAUSE",
    "RULE_DENY_STOP",
    "POLICY_UNAVAILABLE",
    "SNAPSHOT_RECALLED",
    "OBLIGATION_CONFLICT",
];

fn product() -> impl Iterator<Item = ([Row; 5], GovernanceProfile)> {
    PROFILES.into_iter().flat_map(|profile| {
        FREEZE.into_iter().flat_map(move |f| {
            RUN.into_iter().flat_map(move |r| {
                LEASE.into_iter().flat_map(move |l| {
                    LIMITS
                        .into_iter()
                        .flat_map(move |b| POLICY.into_iter().map(move |p| ([f, r, l, b, p], profile)))
                })
            })
        })
    })
}

/// A7.1: the whole product in verdict, directive, primary reason and NOT_ASKED marks.
#[test]
fn every_combination_comes_out_as_specified() {
    let mut seen = 0;
    for (rows, profile) in product() {
        let codes = rows.map(|r| r.code);
        assert_eq!(came_out(rows, profile), expected(rows, profile), "{codes:?} under {profile:?}");
        seen += 1;
    }
    assert_eq!(seen, 3 * 4 * 5 * 4 * 7 * 11);
}

/// A7.1: a check that finds something in place of nothing never loosens, whichever check it is.
#[test]
fn one_finding_more_never_loosens() {
    let nothing = |place: usize| if place < 3 { NOTHING } else { found("", Allow, Continue) };
    for (rows, profile) in product() {
        let all = came_out(rows, profile);
        for place in (0..5).filter(|place| !rows[*place].code.is_empty()) {
            let mut fewer = rows;
            fewer[place] = nothing(place);
            let fewer = came_out(fewer, profile);
            // What was not asked can't have been stricter than the denial that left it unasked.
            assert_eq!(stricter(all.verdict, fewer.verdict), all.verdict, "{rows:?} without {place}");
            assert_eq!(stricter(all.effective, fewer.effective), all.effective, "{rows:?} without {place}");
        }
    }
}

/// 7.3 in words: what a silent decider counts as, and that a denial of the other one stands.
#[test]
fn a_silent_decider_counts_as_its_profile_says() {
    let rows = |limits, policy| [NOTHING, NOTHING, NOTHING, limits, policy];
    let deny = found("RULE_DENY", Deny, Continue);
    let quiet = (silent("CONTROLS_UNAVAILABLE"), silent("POLICY_UNAVAILABLE"));
    for (profile, effective, primary) in [
        (Strict, Deny, "CONTROLS_UNAVAILABLE"),
        (Standard, Allow, "CONTROLS_UNAVAILABLE"),
        (ObserveOnly, Allow, "CONTROLS_UNAVAILABLE"),
    ] {
        let both = came_out(rows(quiet.0, quiet.1), profile);
        assert_eq!((both.effective, both.primary, both.degraded), (effective, primary, true), "{profile:?}");
        let stands = came_out(rows(quiet.0, deny), profile);
        assert_eq!((stands.verdict, stands.degraded), (Deny, true), "{profile:?}");
        let only = came_out(rows(found("", Allow, Continue), quiet.1), profile);
        assert_eq!((only.effective, only.primary), (effective, "POLICY_UNAVAILABLE"), "{profile:?}");
    }
}

/// 7.2: ties go to the lower precedence, then to the lower id, in whatever order they were found.
#[test]
fn the_primary_reason_is_the_strictest_then_the_first() {
    let reason = |outcome: Verdict, precedence: i32, id: &str| Reason {
        code: id.to_uppercase(),
        outcome: outcome.into(),
        precedence,
        source_id: id.to_owned(),
        ..Reason::default()
    };
    let mut reasons = vec![
        reason(Deny, 500, "b"),
        reason(RequireApproval, 0, "a"),
        reason(Deny, 500, "a"),
        reason(Deny, 9, "z"),
        reason(Allow, 0, "y"),
    ];
    let order = ["Z", "A", "B", "A", "Y"];
    for _ in 0..reasons.len() {
        reasons.rotate_left(1);
        let rule = Finding { verdict: Deny, reasons: reasons.clone(), ..Finding::allow(Check::Policy) };
        let combined = combine(&[rule], Standard);
        assert_eq!(combined.reasons.iter().map(|r| r.code.as_str()).collect::<Vec<_>>(), order);
        let limits = Finding::deny(Check::Limits, Continue, "BUDGET_EXCEEDED", "all spent");
        let rule = Finding { verdict: Deny, reasons: reasons.clone(), ..Finding::allow(Check::Policy) };
        assert_eq!(combine(&[rule, limits], Standard).reasons[0].code, "BUDGET_EXCEEDED");
    }
}

/// 7.2: obligations go with MODIFY, the wait with DEFER, and a merge that fails is a denial.
#[test]
fn what_goes_with_a_verdict_goes_with_no_other() {
    let cap = |check, arg: &str| Finding {
        verdict: Modify,
        obligations: vec![Obligation { name: "cap_tokens".into(), args: vec![arg.into()] }],
        ..Finding::allow(check)
    };
    let wait = |check, ms| Finding { verdict: Defer, retry_after_ms: ms, ..Finding::allow(check) };
    let deny = Finding::deny(Check::Policy, Continue, "RULE_DENY", "no");
    for (row, verdict, obligations, retry) in [
        (vec![cap(Check::Limits, "9"), cap(Check::Policy, "5")], Modify, 1, 0),
        (vec![cap(Check::Limits, "9"), wait(Check::Policy, 70)], Defer, 0, 70),
        (vec![wait(Check::Limits, 50), wait(Check::Policy, 70)], Defer, 0, 70),
        (vec![wait(Check::Limits, 50), deny.clone()], Deny, 0, 0),
        (vec![cap(Check::Limits, "9"), deny], Deny, 0, 0),
        (vec![cap(Check::Limits, "9"), cap(Check::Policy, "many")], Deny, 0, 0),
    ] {
        let combined = combine(&row, Standard);
        let got = (combined.verdict, combined.obligations.len(), combined.retry_after_ms);
        assert_eq!(got, (verdict, obligations, retry), "{row:?}");
    }
}

/// A verdict or directive that nobody stated is a denial that lets the run go on.
#[test]
fn what_nobody_stated_is_never_let_through() {
    let odd = Finding {
        verdict: Verdict::Unspecified,
        directive: Directive::Unspecified,
        ..Finding::allow(Check::Lease)
    };
    assert!(refused(std::slice::from_ref(&odd)));
    let combined = combine(&[odd], ObserveOnly);
    assert_eq!((combined.verdict, combined.effective_verdict, combined.directive), (Deny, Deny, Continue));
}
