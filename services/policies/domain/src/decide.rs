//! From what the rules said to a decision: modes, bypass, merging, order of reasons, profile.

mod demand;
mod effects;

use std::cmp::Reverse;

use serde::{Deserialize, Serialize};

use crate::{
    compile::CompiledRule,
    evaluate::Said,
    facts::{ApprovalFacts, Bypass, Inputs},
    obligation::{self, Obligation},
    reasons::codes,
    sequence::Hit,
    words::{ActionTaken, Directive, Failure, Mode, Moment, Outcome, Profile, Verdict},
};

pub use demand::Demand;
use demand::{demand, refused, settle};
pub use effects::RuleViolation;
use effects::{taint, violations};

/// How often a step may be put off.
pub const MAX_DEFERRALS: u32 = 10;

/// When to ask again if the rule does not say so, milliseconds.
const DEFAULT_RETRY_MS: i64 = 1_000;

/// Orders NO_GRANT behind every rule that denies, so that a rule, where there is one, is the reason.
const NO_RULE_PRECEDENCE: u32 = 10_000;

/// One reason of a decision.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reason {
    /// Its code.
    pub code: String,
    /// The rule; empty: none.
    pub rule_id: String,
    /// The rule's version; 0: none.
    pub version: u32,
    /// What it asks for.
    pub outcome: Outcome,
    /// Orders equal outcomes.
    pub precedence: u32,
    /// For a person.
    pub message: String,
}

/// A rule that matched or failed, in full.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Match {
    /// The rule.
    pub rule_id: String,
    /// Its version.
    pub version: u32,
    /// Its reason code.
    pub code: String,
    /// What its text asks for.
    pub outcome: Outcome,
    /// How far it counts.
    pub mode: Mode,
    /// Orders equal outcomes.
    pub precedence: u32,
    /// What was done.
    pub action: ActionTaken,
    /// Its directive.
    pub directive: Directive,
    /// Its message.
    pub message: String,
    /// What it was learned from; empty: nothing.
    #[serde(default)]
    pub origin: String,
}

/// A decision, without its identity.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ruling {
    /// What was decided.
    pub verdict: Verdict,
    /// What the agent is told.
    pub effective_verdict: Verdict,
    /// Without the bypass.
    pub verdict_without_bypass: Verdict,
    /// What was decided for the run.
    pub directive: Directive,
    /// What the run is told.
    pub effective_directive: Directive,
    /// Why it could not be decided properly.
    pub failure: Option<Failure>,
    /// What goes with the verdict.
    pub obligations: Vec<Obligation>,
    /// Most restrictive first.
    pub reasons: Vec<Reason>,
    /// Warnings for the agent.
    pub warnings: Vec<Reason>,
    /// With DEFER, milliseconds.
    pub retry_after_ms: i64,
    /// With DEFER: missing facts.
    pub needs: Vec<String>,
    /// The bypass that was used; empty: none.
    pub bypass_id: String,
    /// Every rule that matched or failed.
    pub matches: Vec<Match>,
    /// Satisfied grants in force.
    pub grants: Vec<String>,
    /// Rules evaluated.
    pub candidates: u32,
    /// Labels that the step adds to the run.
    pub taints_added: Vec<String>,
    /// Matches that are violations.
    pub violations: Vec<RuleViolation>,
    /// What was demanded; none: no approval, or one that was spent.
    pub demand: Option<Demand>,
    /// What the decision had at hand when approval was demanded.
    pub approval: Option<ApprovalFacts>,
    /// Heads of monitors that match: what counts for them once this is done.
    #[serde(skip)]
    pub hits: Vec<Hit>,
    /// The rules that were evaluated: where they stand in the snapshot.
    #[serde(skip)]
    pub checked: Vec<u32>,
}

impl Ruling {
    fn plain(verdict: Verdict, directive: Directive) -> Self {
        Self {
            verdict,
            effective_verdict: verdict,
            verdict_without_bypass: verdict,
            directive,
            effective_directive: directive,
            failure: None,
            obligations: Vec::new(),
            reasons: Vec::new(),
            warnings: Vec::new(),
            retry_after_ms: 0,
            needs: Vec::new(),
            bypass_id: String::new(),
            matches: Vec::new(),
            grants: Vec::new(),
            candidates: 0,
            taints_added: Vec::new(),
            violations: Vec::new(),
            demand: None,
            approval: None,
            hits: Vec::new(),
            checked: Vec::new(),
        }
    }

    /// Whether nothing but a grant matched: no trace of it is needed besides the decision.
    #[must_use]
    pub fn is_plain_allow(&self) -> bool {
        self.verdict == Verdict::Allow
            && self.failure.is_none()
            && self.matches.is_empty()
            && self.directive == Directive::Continue
    }
}

/// The decision under a snapshot that was recalled: an order, so it holds in every profile.
#[must_use]
pub fn recalled(directive: Directive) -> Ruling {
    let mut ruling = Ruling::plain(Verdict::Deny, directive);
    ruling.reasons.push(of_no_rule(codes::SNAPSHOT_RECALLED, "the snapshot of the run was recalled", 0));
    ruling
}

/// The decision when it can't be decided: by the profile.
#[must_use]
pub fn undecided(failure: Failure, profile: Profile, observed: Directive) -> Ruling {
    let (code, text) = match failure {
        Failure::SnapshotUnavailable => {
            (codes::SNAPSHOT_UNAVAILABLE, "the snapshot of the run can't be loaded")
        }
        Failure::InvalidContext => (codes::INVALID_CONTEXT, "the mesh's own facts do not fit the schema"),
        Failure::Timeout => (codes::EVALUATION_TIMEOUT, "the time of the evaluation is over"),
        Failure::EvaluationError => (codes::RULE_ERROR, "a rule failed to evaluate"),
        Failure::MonitorUnavailable => {
            (codes::MONITOR_UNAVAILABLE, "the state of a sequence rule can't be read, or is full")
        }
    };
    let verdict = if profile == Profile::Strict { Verdict::Deny } else { Verdict::Allow };
    let mut ruling = Ruling::plain(verdict, observed);
    ruling.failure = Some(failure);
    let mut reason = of_no_rule(code, text, 0);
    if verdict == Verdict::Deny {
        ruling.reasons.push(reason);
    } else {
        reason.outcome = Outcome::Warn;
        ruling.warnings.push(reason);
    }
    observe_only(ruling, profile)
}

/// The decision that follows from what the rules said. At STEP_END and RUN_END nothing needs a grant.
#[must_use]
pub fn decide(said: &Said, inputs: &Inputs<'_>, moment: Moment) -> Ruling {
    let mut findings = findings(said, inputs, moment);
    let demand = demand(&findings, said);
    if let (Some(demand), Some(approval)) = (&demand, &inputs.approval) {
        settle(&mut findings, demand, approval, said, inputs, moment);
    }
    let without: Vec<&Finding<'_>> = findings.iter().collect();
    let with: Vec<&Finding<'_>> = findings.iter().filter(|f| !f.bypassed).collect();
    let (bare, _) = combine(&without, said, inputs, moment);
    let (verdict, merged) = combine(&with, said, inputs, moment);
    let directive = with.iter().map(|f| f.directive).max().unwrap_or(Directive::Continue);
    let mut ruling = Ruling::plain(verdict.verdict, directive.max(inputs.observed_directive));
    ruling.verdict_without_bypass = bare.verdict;
    ruling.failure = findings.iter().any(|f| f.failed).then_some(Failure::EvaluationError);
    ruling.candidates = said.candidates();
    ruling.checked.clone_from(&said.checked);
    let in_force = said.grants.iter().filter(|g| g.meaning.mode == Mode::Block);
    ruling.grants = in_force.map(|g| g.meaning.rule_id.clone()).collect();
    ruling.reasons = reasons(&with, verdict.extra);
    ruling.warnings = warnings(&with);
    if let Some(bypass) = inputs.bypass.as_ref().filter(|_| findings.iter().any(|f| f.bypassed)) {
        ruling.bypass_id.clone_from(&bypass.id);
    }
    ruling.matches = matches(&findings, said, inputs.profile);
    ruling.violations = violations(&with, moment);
    ruling.demand = demand.filter(|_| verdict.verdict == Verdict::RequireApproval);
    ruling.approval.clone_from(&inputs.approval);
    let mut ruling = observe_only(ruling, inputs.profile);
    oblige(&mut ruling, merged);
    ruling.hits.clone_from(&said.hits);
    taint(&mut ruling, moment);
    ruling
}

/// A restriction that matched or failed, and what it counts as.
struct Finding<'a> {
    rule: &'a CompiledRule,
    /// By mode and profile; `None`: it does not count.
    counts: Option<Outcome>,
    directive: Directive,
    failed: bool,
    bypassed: bool,
    /// An approval answers for it: only what it binds to is left.
    approved: bool,
}

impl Finding<'_> {
    /// What it weighs in the verdict.
    fn weight(&self) -> Option<Outcome> {
        if !self.approved {
            return self.counts;
        }
        let binds = self.rule.notes.obligations.iter().any(|o| obligation::is_for_modify(&o.name));
        binds.then_some(Outcome::Modify)
    }

    fn demands_approval(&self) -> bool {
        self.counts == Some(Outcome::RequireApproval) && !self.bypassed
    }
}

fn findings<'a>(said: &'a Said, inputs: &Inputs<'_>, moment: Moment) -> Vec<Finding<'a>> {
    let now = inputs.now;
    let satisfied = said.matched.iter().map(|rule| {
        let bypassed =
            moment == Moment::StepStart && inputs.bypass.as_ref().is_some_and(|b| covers(b, rule, now));
        finding(rule, false, bypassed)
    });
    let failed = said.failed.iter().filter(|r| !r.is_grant()).map(|rule| {
        let mut f = finding(rule, true, false);
        if inputs.profile == Profile::Strict && f.counts.is_some() {
            f.counts = Some(Outcome::Deny);
        }
        f
    });
    satisfied.chain(failed).collect()
}

fn finding(rule: &CompiledRule, failed: bool, bypassed: bool) -> Finding<'_> {
    let (counts, directive) = match rule.meaning.mode {
        Mode::Block => (Some(rule.notes.outcome), rule.notes.directive),
        Mode::Warn => (Some(Outcome::Warn), Directive::Continue),
        Mode::Audit | Mode::Disabled => (None, Directive::Continue),
    };
    Finding { rule, counts, directive, failed, bypassed, approved: false }
}

/// Whether a bypass covers a rule: only what blocks, and only of the tenant: its people can't pass what the mesh demands.
fn covers(bypass: &Bypass, rule: &CompiledRule, now: i64) -> bool {
    let meaning = &rule.meaning;
    let named = bypass.rule_ids.is_empty() || bypass.rule_ids.contains(&meaning.rule_id);
    meaning.mode == Mode::Block && !meaning.is_mesh() && now < bypass.expires_at && named
}

/// A verdict, and the reason that no rule carries.
struct Combined {
    verdict: Verdict,
    extra: Option<Reason>,
}

fn combine(
    findings: &[&Finding<'_>],
    said: &Said,
    inputs: &Inputs<'_>,
    moment: Moment,
) -> (Combined, Vec<Obligation>) {
    let highest = findings.iter().filter_map(|f| f.weight()).max().unwrap_or(Outcome::Grant);
    let mut verdict = highest.verdict();
    let mut extra = None;
    let needs_grant = matches!(moment, Moment::RunStart | Moment::StepStart);
    if needs_grant && !said.is_granted() {
        verdict = Verdict::Deny;
        extra = Some(of_no_rule(codes::NO_GRANT, "no grant allows it", NO_RULE_PRECEDENCE));
    }
    let merged = obligation::merge(obligations(findings, said)).unwrap_or_else(|conflict| {
        let text = format!("the rules ask for different values of `{}`", conflict.name);
        verdict = Verdict::Deny;
        extra.get_or_insert_with(|| of_no_rule(codes::OBLIGATION_CONFLICT, &text, NO_RULE_PRECEDENCE));
        Vec::new()
    });
    if verdict == Verdict::Defer && deferrals(inputs) >= MAX_DEFERRALS {
        verdict = Verdict::Deny;
        let text = format!("the question was put off {MAX_DEFERRALS} times");
        extra = Some(of_no_rule(codes::DEFER_EXHAUSTED, &text, NO_RULE_PRECEDENCE));
    }
    if verdict == Verdict::RequireApproval
        && let Some((code, text)) = inputs.approval.as_ref().and_then(|a| refused(a.standing))
    {
        verdict = Verdict::Deny;
        extra = Some(of_no_rule(code, text, NO_RULE_PRECEDENCE));
    }
    (Combined { verdict, extra }, merged)
}

/// How often the question was put off. It was put at least once more than that, so whoever counts looks at few of them.
fn deferrals(inputs: &Inputs<'_>) -> u32 {
    inputs.deferrals.unwrap_or(inputs.question.ask())
}

/// What enforced rules and grants in force ask for. A rule that only warns brings what goes with any outcome.
fn obligations<'a>(findings: &'a [&Finding<'_>], said: &'a Said) -> impl Iterator<Item = &'a Obligation> {
    let restrictions = findings.iter().filter(|f| f.counts.is_some()).flat_map(|f| {
        let own = f.counts == Some(f.rule.notes.outcome);
        f.rule.notes.obligations.iter().filter(move |o| own || obligation::is_for_any(&o.name))
    });
    let grants = said.grants.iter().filter(|g| g.meaning.mode == Mode::Block);
    restrictions.chain(grants.flat_map(|g| g.notes.obligations.iter()))
}

/// Puts merged obligations where they belong.
fn oblige(ruling: &mut Ruling, merged: Vec<Obligation>) {
    for o in merged {
        match o.name.as_str() {
            "retry_after" => ruling.retry_after_ms = o.args.first().and_then(|a| a.parse().ok()).unwrap_or(0),
            "needs" => ruling.needs = o.args,
            "taint" if matches!(ruling.effective_verdict, Verdict::Allow | Verdict::Modify) => {
                ruling.taints_added.clone_from(&o.args);
                ruling.obligations.push(o);
            }
            name if obligation::is_for_any(name) => ruling.obligations.push(o),
            name if ruling.verdict == Verdict::Modify && obligation::is_for_modify(name) => {
                ruling.obligations.push(o)
            }
            _ if ruling.verdict == Verdict::RequireApproval => ruling.obligations.push(o),
            _ => {}
        }
    }
    if ruling.verdict == Verdict::Defer {
        if ruling.retry_after_ms == 0 {
            ruling.retry_after_ms = DEFAULT_RETRY_MS;
        }
    } else {
        ruling.retry_after_ms = 0;
        ruling.needs.clear();
    }
}

fn reason(f: &Finding<'_>, outcome: Outcome) -> Reason {
    let code = if f.failed { codes::RULE_ERROR } else { &f.rule.notes.reason };
    Reason {
        code: code.to_owned(),
        rule_id: f.rule.meaning.rule_id.clone(),
        version: f.rule.meaning.version,
        outcome,
        precedence: f.rule.meaning.precedence,
        message: f.rule.notes.message.clone(),
    }
}

fn of_no_rule(code: &str, message: &str, precedence: u32) -> Reason {
    Reason {
        code: code.to_owned(),
        rule_id: String::new(),
        version: 0,
        outcome: Outcome::Deny,
        precedence,
        message: message.to_owned(),
    }
}

fn reasons(findings: &[&Finding<'_>], extra: Option<Reason>) -> Vec<Reason> {
    let counted = findings.iter().filter_map(|f| f.weight().map(|o| (f, o)));
    let mut out: Vec<Reason> =
        counted.filter(|(_, o)| *o > Outcome::Warn).map(|(f, o)| reason(f, o)).collect();
    out.extend(extra);
    sort(&mut out);
    out
}

fn warnings(findings: &[&Finding<'_>]) -> Vec<Reason> {
    let warned = findings.iter().filter(|f| f.counts == Some(Outcome::Warn));
    let mut out: Vec<Reason> = warned.map(|f| reason(f, Outcome::Warn)).collect();
    sort(&mut out);
    out
}

/// Restrictiveness descending, precedence ascending, rule id ascending: the first is the primary reason.
fn sort(reasons: &mut [Reason]) {
    reasons.sort_by(|a, b| {
        (Reverse(a.outcome), a.precedence, &a.rule_id).cmp(&(Reverse(b.outcome), b.precedence, &b.rule_id))
    });
}

fn matches(findings: &[Finding<'_>], said: &Said, profile: Profile) -> Vec<Match> {
    let mut out: Vec<Match> = findings.iter().map(|f| matched(f.rule, action(f, profile))).collect();
    let audited = said.grants.iter().filter(|g| g.meaning.mode == Mode::Audit);
    out.extend(audited.map(|g| matched(g, ActionTaken::Audited)));
    out.extend(said.failed.iter().filter(|r| r.is_grant()).map(|g| matched(g, ActionTaken::Errored)));
    out.sort_by(|a, b| {
        (Reverse(a.outcome), a.precedence, &a.rule_id).cmp(&(Reverse(b.outcome), b.precedence, &b.rule_id))
    });
    out
}

fn matched(rule: &CompiledRule, action: ActionTaken) -> Match {
    Match {
        rule_id: rule.meaning.rule_id.clone(),
        version: rule.meaning.version,
        code: rule.notes.reason.clone(),
        outcome: rule.notes.outcome,
        mode: rule.meaning.mode,
        precedence: rule.meaning.precedence,
        action,
        directive: rule.notes.directive,
        message: rule.notes.message.clone(),
        origin: rule.notes.origin.clone().unwrap_or_default(),
    }
}

fn action(f: &Finding<'_>, profile: Profile) -> ActionTaken {
    if f.failed {
        return ActionTaken::Errored;
    }
    if f.bypassed {
        return ActionTaken::Bypassed;
    }
    if f.approved {
        return ActionTaken::Approved;
    }
    match f.counts {
        None => ActionTaken::Audited,
        Some(Outcome::Warn | Outcome::Grant) => ActionTaken::Warned,
        Some(_) if profile == Profile::ObserveOnly => ActionTaken::WouldBlock,
        Some(Outcome::Modify) => ActionTaken::Modified,
        Some(Outcome::Defer) => ActionTaken::Deferred,
        Some(Outcome::RequireApproval) => ActionTaken::ApprovalRequired,
        Some(Outcome::Deny) => ActionTaken::Blocked,
    }
}

/// OBSERVE_ONLY tells the agent to go on, whatever was decided.
fn observe_only(mut ruling: Ruling, profile: Profile) -> Ruling {
    if profile == Profile::ObserveOnly {
        ruling.effective_verdict = Verdict::Allow;
        ruling.effective_directive = Directive::Continue;
    }
    ruling
}
