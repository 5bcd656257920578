//! What is proven about two rules.

use crate::{
    compile::CompiledRule,
    obligation::{self, Obligation},
    sequence::{Sequence, Window},
    words::{FindingKind, Mode, Outcome, SequenceKind},
};

use super::domain::Domain;

/// A rule and its domain.
pub(super) struct Known<'a> {
    pub rule: &'a CompiledRule,
    pub domain: &'a Domain,
}

/// What is wrong with the first because of the second, or with both.
pub(super) fn between(a: &Known<'_>, b: &Known<'_>) -> Vec<(FindingKind, String)> {
    let mut found = Vec::new();
    match (a.rule.is_grant(), b.rule.is_grant()) {
        (true, false) => found.extend(denied(a, b)),
        (false, false) => found.extend(restrictions(a, b)),
        _ => {}
    }
    found
}

fn blocks(rule: &CompiledRule) -> bool {
    rule.meaning.mode == Mode::Block
}

/// A grant that is denied wherever it grants.
fn denied(grant: &Known<'_>, by: &Known<'_>) -> Option<(FindingKind, String)> {
    let denies = blocks(grant.rule) && blocks(by.rule) && by.rule.notes.outcome == Outcome::Deny;
    (denies && by.domain.includes(grant.domain)).then(|| {
        let text = format!("`{}` denies everything that this grants", by.rule.meaning.slug);
        (FindingKind::Contradiction, text)
    })
}

fn restrictions(a: &Known<'_>, b: &Known<'_>) -> Vec<(FindingKind, String)> {
    let mut found = Vec::new();
    let (slug, id) = (&b.rule.meaning.slug, &b.rule.meaning.rule_id);
    // What holds for both is told of the later id only.
    let later = a.rule.meaning.rule_id > *id;
    let covered = b.domain.includes(a.domain);
    let equal = covered && a.domain.includes(b.domain) && same(a.rule, b.rule);
    if equal {
        if later {
            let text = format!("`{slug}` matches the same requests and does the same");
            found.push((FindingKind::Duplicate, text));
        }
        return found;
    }
    found.extend(never_reached(a.rule, b.rule));
    if covered && at_least_as_strict(b.rule, a.rule) && !marks(a.rule) {
        let text = format!("`{slug}` matches everything that this matches and is at least as strict");
        found.push((FindingKind::Shadowed, text));
    }
    if !later || !a.domain.overlaps(b.domain) {
        return found;
    }
    found.extend(overlapping(a, b));
    found
}

/// Whether a rule does something besides its restriction: then it is never without effect.
fn marks(rule: &CompiledRule) -> bool {
    rule.monitor.as_ref().is_some_and(|m| m.limits.kind == SequenceKind::Taint)
}

/// A window that fills up only after another one has, over the same events: `by` looks back at least as far and allows
/// no more.
fn never_reached(rule: &CompiledRule, by: &CompiledRule) -> Option<(FindingKind, String)> {
    let (own, other) = (rule.meaning.sequence.as_ref()?, by.meaning.sequence.as_ref()?);
    let sums = |s: &Sequence| matches!(s.kind, SequenceKind::CountInWindow | SequenceKind::RunningTotal);
    let same = sums(own)
        && (own.kind, &own.events, &own.measure, own.state_scope)
            == (other.kind, &other.events, &other.measure, other.state_scope)
        && (own.count_denied, &own.trigger) == (other.count_denied, &other.trigger)
        && (rule.meaning.scope, &rule.meaning.scope_id) == (by.meaning.scope, &by.meaning.scope_id);
    let wider = match (own.window(), other.window()) {
        (_, Window::Run) => true,
        (Window::Steps(a), Window::Steps(b)) => b >= a,
        (Window::Time(a), Window::Time(b)) => b >= a,
        _ => false,
    };
    let denies = blocks(by) && by.notes.outcome == Outcome::Deny;
    // Where both are equal, the one with the later id is told.
    let equal = own.window == other.window && own.max == other.max;
    let first = !equal || rule.meaning.rule_id > by.meaning.rule_id;
    (same && wider && denies && first && other.max <= own.max).then(|| {
        let text = format!(
            "`{}` allows {} in {}: {} in {} is never reached before it",
            by.meaning.slug, other.max, other.window, own.max, own.window
        );
        (FindingKind::TemporalConflict, text)
    })
}

fn overlapping(a: &Known<'_>, b: &Known<'_>) -> Vec<(FindingKind, String)> {
    let mut found = Vec::new();
    let slug = &b.rule.meaning.slug;
    let (of_a, of_b) = (&a.rule.notes, &b.rule.notes);
    let differ = of_a.outcome != of_b.outcome;
    let both = of_a.obligations.iter().chain(&of_b.obligations);
    if blocks(a.rule)
        && blocks(b.rule)
        && let Err(conflict) = obligation::merge(both)
    {
        let text =
            format!("it and `{slug}` ask for different values of `{}` of the same request", conflict.name);
        found.push((FindingKind::Contradiction, text));
    }
    if let (Some((path, lower, x)), Some((other, same_way, y))) = (a.domain.threshold(), b.domain.threshold())
        && differ
        && (path, lower) == (other, same_way)
        && far(x, y)
    {
        let text = format!("`{slug}` asks {y} of `{path}` where this asks {x}, with another outcome");
        found.push((FindingKind::ThresholdContradiction, text));
    }
    if differ && a.domain.scope() != b.domain.scope() {
        let text = format!("it and `{slug}` meet at different scopes with different outcomes");
        found.push((FindingKind::ScopeOverlap, text));
    }
    if !differ && a.rule.meaning.precedence == b.rule.meaning.precedence {
        let text = format!("where it and `{slug}` meet, their ids decide which one is the reason");
        found.push((FindingKind::PrecedenceTie, text));
    }
    found
}

/// Whether two bounds are more than 50 % apart.
fn far(x: i64, y: i64) -> bool {
    let (low, high) =
        (x.saturating_abs().min(y.saturating_abs()), x.saturating_abs().max(y.saturating_abs()));
    high.saturating_sub(low) > low / 2
}

fn same(a: &CompiledRule, b: &CompiledRule) -> bool {
    let (x, y) = (&a.notes, &b.notes);
    a.meaning.mode == b.meaning.mode
        && (x.outcome, x.directive) == (y.outcome, y.directive)
        && contains(&y.obligations, &x.obligations)
        && contains(&x.obligations, &y.obligations)
        && (a.meaning.scope, &a.meaning.scope_id) == (b.meaning.scope, &b.meaning.scope_id)
}

/// Whether a match of `weak` changes nothing where `strong` matches too.
fn at_least_as_strict(strong: &CompiledRule, weak: &CompiledRule) -> bool {
    let (s, w) = (&strong.notes, &weak.notes);
    if !blocks(strong) || s.outcome < w.outcome || s.directive < w.directive {
        return false;
    }
    // A denial leaves only what goes with any outcome.
    let counts = |o: &&Obligation| s.outcome != Outcome::Deny || obligation::is_for_any(&o.name);
    let asked: Vec<Obligation> = w.obligations.iter().filter(counts).cloned().collect();
    contains(&s.obligations, &asked)
}

fn contains(all: &[Obligation], some: &[Obligation]) -> bool {
    some.iter().all(|o| all.contains(o))
}
