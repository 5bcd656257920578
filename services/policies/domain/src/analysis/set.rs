//! A whole set of rules, analyzed.

use std::{collections::BTreeMap, sync::Arc};

use crate::{
    compile::{BASELINE_ID, CompiledRule, CompiledSnapshot},
    slice::MAX_SLICE,
    text::scan,
    words::{FindingKind, FindingSeverity, Mode},
};

use super::{
    domain::Domain,
    metrics::unmonitored,
    pairs::{Known, between},
};

/// The most findings of one kind that are told.
const MAX_OF_KIND: usize = 1_000;

/// Something that was proven, and about which rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SetFinding {
    /// What kind of thing.
    pub kind: FindingKind,
    /// What it means.
    pub severity: FindingSeverity,
    /// The rule.
    pub rule_id: String,
    /// Its version.
    pub version: u32,
    /// The rule because of which it is so; empty: none.
    pub other_rule_id: String,
    /// First byte of the place in the rule's text.
    pub start_byte: usize,
    /// Byte after the last.
    pub end_byte: usize,
    /// Line from 1.
    pub line: u32,
    /// Column in characters from 1.
    pub column: u32,
    /// What is wrong.
    pub message: String,
}

/// What an analysis came to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Analysis {
    /// Most severe first, then by rule.
    pub findings: Vec<SetFinding>,
    /// Pairs of rules that were compared.
    pub pairs: u64,
    /// Rules of which not everything could be told.
    pub incomplete: u32,
}

/// The severity of a kind.
const fn severity(kind: FindingKind) -> FindingSeverity {
    match kind {
        FindingKind::Shadowed
        | FindingKind::Unreachable
        | FindingKind::Duplicate
        | FindingKind::ThresholdContradiction
        | FindingKind::MetricUnmonitored
        | FindingKind::TemporalConflict => FindingSeverity::Warning,
        FindingKind::ScopeOverlap | FindingKind::PrecedenceTie | FindingKind::AnalysisIncomplete => {
            FindingSeverity::Info
        }
        _ => FindingSeverity::Blocking,
    }
}

/// Analyzes the rules of a snapshot at `now`, microseconds; with `focus`, only what is about one rule.
#[must_use]
pub fn analyze(snapshot: &CompiledSnapshot, now: i64, focus: Option<&str>) -> Analysis {
    let own: Vec<&Arc<CompiledRule>> =
        snapshot.rules.iter().filter(|r| r.meaning.rule_id != BASELINE_ID).collect();
    let domains: Vec<Domain> = own.iter().map(|r| Domain::of(r)).collect();
    let grants: Vec<Domain> = snapshot
        .rules
        .iter()
        .filter(|r| r.is_grant() && r.meaning.mode == Mode::Block)
        .map(|r| Domain::of(r))
        .collect();
    let mut out = Analysis::default();
    let mut told: BTreeMap<FindingKind, usize> = BTreeMap::new();
    let mut tell =
        |out: &mut Analysis, rule: &CompiledRule, other: &str, (kind, message): (FindingKind, String)| {
            let count = told.entry(kind).or_default();
            *count += 1;
            if *count <= MAX_OF_KIND {
                out.findings.push(finding(rule, other, kind, message));
            }
        };
    let mut alive = Vec::with_capacity(own.len());
    for (rule, domain) in own.iter().zip(&domains) {
        let wanted = focus.is_none_or(|id| id == rule.meaning.rule_id);
        let alone = if wanted { alone(snapshot, rule, domain, &grants, now) } else { Vec::new() };
        out.incomplete += u32::from(domain.opaque().is_some());
        alone.into_iter().for_each(|found| tell(&mut out, rule, "", found));
        // A rule that matches nothing stands in nobody's way.
        if !domain.is_empty() && !domain.is_over(now) {
            alive.push(Known { rule, domain });
        }
    }
    for (n, a) in alive.iter().enumerate() {
        for b in alive.iter().skip(n + 1) {
            if focus.is_some_and(|id| id != a.rule.meaning.rule_id && id != b.rule.meaning.rule_id) {
                continue;
            }
            out.pairs += 1;
            if a.domain.is_apart(b.domain) {
                continue;
            }
            for (one, other) in [(a, b), (b, a)] {
                let id = &other.rule.meaning.rule_id;
                between(one, other).into_iter().for_each(|found| tell(&mut out, one.rule, id, found));
            }
        }
    }
    out.findings.sort_by(|a, b| {
        (b.severity, a.kind, &a.rule_id, &a.other_rule_id).cmp(&(
            a.severity,
            b.kind,
            &b.rule_id,
            &b.other_rule_id,
        ))
    });
    out
}

/// What is proven about a rule by itself.
fn alone(
    snapshot: &CompiledSnapshot,
    rule: &CompiledRule,
    domain: &Domain,
    grants: &[Domain],
    now: i64,
) -> Vec<(FindingKind, String)> {
    let mut found = Vec::new();
    if let Some(what) = domain.opaque() {
        found.push((
            FindingKind::AnalysisIncomplete,
            format!("it can't be told here what `{what}` leaves possible"),
        ));
    }
    if domain.is_empty() {
        found.push((
            FindingKind::Impossible,
            "no request can match: its conditions exclude each other".to_owned(),
        ));
        return found;
    }
    if domain.is_over(now) {
        found.push((FindingKind::Unreachable, "its time is over".to_owned()));
    } else if !rule.is_grant() && domain.needs_grant() && grants.iter().all(|g| g.is_apart(domain)) {
        found.push((FindingKind::Unreachable, "no grant allows anything that it restricts".to_owned()));
    }
    if let Some((path, metric)) = unmonitored(rule, &snapshot.settings.monitored_metrics) {
        let text = format!("it reads `{path}`, and the tenant does not have `{metric}` monitored");
        found.push((FindingKind::MetricUnmonitored, text));
    }
    let bound = snapshot.slice_bound(rule);
    if bound > MAX_SLICE {
        found.push((
            FindingKind::SliceTooLarge,
            format!("a slice would hold {bound} rules, {MAX_SLICE} at most"),
        ));
    }
    found
}

fn finding(rule: &CompiledRule, other: &str, kind: FindingKind, message: String) -> SetFinding {
    let text = &rule.meaning.cedar;
    let (start, _) = scan::scan(text).effect;
    let (line, column) = scan::line_column(text, start);
    SetFinding {
        kind,
        severity: severity(kind),
        rule_id: rule.meaning.rule_id.clone(),
        version: rule.meaning.version,
        other_rule_id: other.to_owned(),
        start_byte: start,
        end_byte: text.trim_end().len(),
        line,
        column,
        message,
    }
}
