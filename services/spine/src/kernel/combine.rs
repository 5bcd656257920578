//! Combines what the five checks found into one verdict.
//!
//! Pure: the same findings give the same answer in whatever order they arrive, and adding a finding never loosens it.

use contracts_common::common::v1::{Directive, GovernanceProfile, Obligation, Reason, Verdict};

/// The checks of a step, in the order in which they decide.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Check {
    /// Freezes and suspensions.
    Freeze,
    /// State of the run.
    Run,
    /// Its lease, its window of steps in flight, its unknown outcomes.
    Lease,
    /// Limits and budgets.
    Limits,
    /// Rules.
    Policy,
}

impl Check {
    /// All, in order.
    pub const ALL: [Self; 5] = [Self::Freeze, Self::Run, Self::Lease, Self::Limits, Self::Policy];

    /// Its name in answers and records.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Freeze => "FREEZE",
            Self::Run => "RUN",
            Self::Lease => "LEASE",
            Self::Limits => "LIMITS",
            Self::Policy => "POLICY",
        }
    }

    /// Precedence of its findings: before any rule's 0 to 10,000.
    #[must_use]
    pub fn precedence(self) -> i32 {
        match self {
            Self::Freeze => -4,
            Self::Run => -3,
            Self::Lease => -2,
            Self::Limits => -1,
            Self::Policy => 0,
        }
    }

    /// Whether it states orders and facts, which hold in every profile.
    #[must_use]
    pub fn is_order(self) -> bool {
        matches!(self, Self::Freeze | Self::Run | Self::Lease)
    }
}

/// What one check found.
#[derive(Debug, Clone, PartialEq)]
pub struct Finding {
    /// The check.
    pub check: Check,
    /// What it decided.
    pub verdict: Verdict,
    /// What it tells the run.
    pub directive: Directive,
    /// Why.
    pub reasons: Vec<Reason>,
    /// What goes with MODIFY.
    pub obligations: Vec<Obligation>,
    /// What goes with ALLOW.
    pub warnings: Vec<String>,
    /// When to ask again, in milliseconds.
    pub retry_after_ms: u64,
    /// The check could not decide and its profile decided for it.
    pub degraded: bool,
    /// An order inside a finding, such as a recalled snapshot: it holds in every profile too.
    pub order: bool,
}

impl Finding {
    /// Nothing against the step.
    #[must_use]
    pub fn allow(check: Check) -> Self {
        Self {
            check,
            verdict: Verdict::Allow,
            directive: Directive::Continue,
            reasons: Vec::new(),
            obligations: Vec::new(),
            warnings: Vec::new(),
            retry_after_ms: 0,
            degraded: false,
            order: check.is_order(),
        }
    }

    /// A refusal with one reason.
    #[must_use]
    pub fn refuse(check: Check, verdict: Verdict, directive: Directive, code: &str, message: &str) -> Self {
        let reason = Reason {
            check: check.name().to_owned(),
            code: code.to_owned(),
            outcome: verdict.into(),
            precedence: check.precedence(),
            message: message.to_owned(),
            ..Reason::default()
        };
        Self { verdict, directive, reasons: vec![reason], ..Self::allow(check) }
    }

    /// A DENY that lets the run go on.
    #[must_use]
    pub fn deny(check: Check, directive: Directive, code: &str, message: &str) -> Self {
        Self::refuse(check, Verdict::Deny, directive, code, message)
    }

    /// What counts when the decider behind `check` is silent: STRICT denies, the others allow and say so.
    #[must_use]
    pub fn undecided(check: Check, profile: GovernanceProfile, code: &str) -> Self {
        let text = "the decider gave no answer";
        match profile {
            GovernanceProfile::Standard | GovernanceProfile::ObserveOnly => {
                let mut finding = Self::refuse(check, Verdict::Allow, Directive::Continue, code, text);
                finding.degraded = true;
                finding
            }
            // An unknown profile is never looser than the strictest.
            GovernanceProfile::Strict | GovernanceProfile::Unspecified => {
                Self { degraded: true, ..Self::deny(check, Directive::Continue, code, text) }
            }
        }
    }
}

/// What the checks come to.
#[derive(Debug, Clone, PartialEq)]
pub struct Combined {
    /// What was decided.
    pub verdict: Verdict,
    /// What the agent is told.
    pub effective_verdict: Verdict,
    /// What the run is told.
    pub directive: Directive,
    /// What the run would have been told under STANDARD.
    pub would_directive: Directive,
    /// Ordered reasons; the first is primary.
    pub reasons: Vec<Reason>,
    /// Merged obligations; only with MODIFY.
    pub obligations: Vec<Obligation>,
    /// Warnings.
    pub warnings: Vec<String>,
    /// The longest wait asked for; only with DEFER.
    pub retry_after_ms: u64,
    /// Some check could not decide.
    pub degraded: bool,
    /// The check whose finding weighs most.
    pub source: Check,
}

impl Combined {
    /// Whether the agent may do the step.
    #[must_use]
    pub fn permits(&self) -> bool {
        matches!(self.effective_verdict, Verdict::Allow | Verdict::Modify)
    }

    /// Whether OBSERVE_ONLY let something pass: another verdict, or another directive, than what was found.
    #[must_use]
    pub fn would_block(&self) -> bool {
        self.verdict != self.effective_verdict || self.would_directive != self.directive
    }
}

/// How restrictive a verdict is.
#[must_use]
pub fn restrictiveness(verdict: Verdict) -> u8 {
    match verdict {
        Verdict::Allow => 0,
        Verdict::Modify => 2,
        Verdict::Defer => 3,
        Verdict::RequireApproval => 4,
        // A verdict nobody stated is never let through.
        Verdict::Deny | Verdict::Unspecified => 5,
    }
}

/// How restrictive a directive is.
#[must_use]
pub fn severity(directive: Directive) -> u8 {
    match directive {
        Directive::Unspecified | Directive::Continue => 0,
        Directive::Pause => 1,
        Directive::Terminate => 2,
    }
}

/// Whether a check refused, so that those behind it are not asked: neither a hold nor a counted step is left behind.
#[must_use]
pub fn refused(findings: &[Finding]) -> bool {
    findings.iter().any(|f| stated(f.verdict) == Verdict::Deny)
}

/// A verdict that nobody stated is a denial.
fn stated(verdict: Verdict) -> Verdict {
    if verdict == Verdict::Unspecified { Verdict::Deny } else { verdict }
}

/// Combines findings under a profile.
#[must_use]
pub fn combine(findings: &[Finding], profile: GovernanceProfile) -> Combined {
    let mut ordered: Vec<&Finding> = findings.iter().collect();
    ordered.sort_by_key(|f| f.check);
    let mut all = decide(&ordered);
    if profile == GovernanceProfile::ObserveOnly {
        let orders: Vec<&Finding> = ordered.iter().copied().filter(|f| f.order).collect();
        let enforced = decide(&orders);
        all.effective_verdict = enforced.verdict;
        all.directive = enforced.directive;
    }
    all
}

fn decide(findings: &[&Finding]) -> Combined {
    let worst = findings.iter().max_by_key(|f| (restrictiveness(f.verdict), std::cmp::Reverse(f.check)));
    let mut verdict = worst.map_or(Verdict::Allow, |f| stated(f.verdict));
    let loudest = findings.iter().max_by_key(|f| (severity(f.directive), std::cmp::Reverse(f.check)));
    let directive = loudest.map_or(Directive::Continue, |f| f.directive);
    let directive = if severity(directive) == 0 { Directive::Continue } else { directive };
    // A step that may be done is told apart by what the run is told.
    let speaker = if verdict == Verdict::Allow { loudest } else { worst };
    let mut source = speaker.map_or(Check::Policy, |f| f.check);
    let mut reasons: Vec<Reason> = findings.iter().flat_map(|f| f.reasons.iter().cloned()).collect();
    let mut obligations = Vec::new();
    if verdict == Verdict::Modify {
        match merge(findings.iter().flat_map(|f| &f.obligations)) {
            Some(merged) => obligations = merged,
            None => {
                (verdict, source) = (Verdict::Deny, Check::Policy);
                let text = "two obligations of this step exclude each other";
                let conflict =
                    Finding::deny(Check::Policy, Directive::Continue, "OBLIGATION_CONFLICT", text).reasons;
                reasons.extend(conflict);
            }
        }
    }
    let wait = findings.iter().map(|f| f.retry_after_ms).max().unwrap_or(0);
    reasons.sort_by(|a, b| {
        let weight = |r: &Reason| std::cmp::Reverse(restrictiveness(r.outcome()));
        weight(a).cmp(&weight(b)).then(a.precedence.cmp(&b.precedence)).then(a.source_id.cmp(&b.source_id))
    });
    Combined {
        verdict,
        effective_verdict: verdict,
        directive,
        would_directive: directive,
        reasons,
        obligations,
        warnings: findings.iter().flat_map(|f| f.warnings.iter().cloned()).collect(),
        retry_after_ms: if verdict == Verdict::Defer { wait } else { 0 },
        degraded: findings.iter().any(|f| f.degraded),
        source,
    }
}

/// Merges obligations of the same name: caps to the smallest, a model must be one, all else is the union.
fn merge<'a>(obligations: impl Iterator<Item = &'a Obligation>) -> Option<Vec<Obligation>> {
    let mut merged: Vec<Obligation> = Vec::new();
    for next in obligations {
        let Some(known) = merged.iter_mut().find(|o| o.name == next.name) else {
            merged.push(next.clone());
            continue;
        };
        if next.name.starts_with("cap_") {
            let (a, b) = (known.args.first()?.parse::<i64>().ok()?, next.args.first()?.parse::<i64>().ok()?);
            known.args = vec![a.min(b).to_string()];
        } else if next.name == "use_model" {
            if known.args != next.args {
                return None;
            }
        } else {
            known.args.extend(next.args.iter().cloned());
            known.args.sort();
            known.args.dedup();
        }
    }
    merged.sort_by(|a, b| a.name.cmp(&b.name));
    Some(merged)
}

#[cfg(test)]
mod tests {
    use super::*;

    const VERDICTS: [Verdict; 5] =
        [Verdict::Allow, Verdict::Modify, Verdict::Defer, Verdict::RequireApproval, Verdict::Deny];
    const DIRECTIVES: [Directive; 3] = [Directive::Continue, Directive::Pause, Directive::Terminate];

    fn found(check: Check, verdict: Verdict, directive: Directive) -> Finding {
        if verdict == Verdict::Allow {
            return Finding { directive, ..Finding::allow(check) };
        }
        Finding::refuse(check, verdict, directive, check.name(), "said so")
    }

    /// The full product over the checks: orders allow or deny, findings take any verdict.
    fn product() -> Vec<Vec<Finding>> {
        let mut rows = Vec::new();
        for order in [Verdict::Allow, Verdict::Deny] {
            for order_check in [Check::Freeze, Check::Run, Check::Lease] {
                for directive in DIRECTIVES {
                    for limits in VERDICTS {
                        for policy in VERDICTS {
                            rows.push(vec![
                                found(order_check, order, directive),
                                found(Check::Limits, limits, Directive::Continue),
                                found(Check::Policy, policy, Directive::Continue),
                            ]);
                        }
                    }
                }
            }
        }
        rows
    }

    #[test]
    fn the_strictest_verdict_and_directive_win_and_the_earliest_check_is_the_reason() {
        let rows = product();
        assert_eq!(rows.len(), 2 * 3 * 3 * 25);
        for row in rows {
            let expected = row.iter().map(|f| f.verdict).max_by_key(|v| restrictiveness(*v));
            let combined = combine(&row, GovernanceProfile::Standard);
            assert_eq!(Some(combined.verdict), expected);
            assert_eq!(combined.effective_verdict, combined.verdict);
            let directive = row.iter().map(|f| f.directive).max_by_key(|d| severity(*d));
            assert_eq!(Some(combined.directive), directive);
            if combined.verdict != Verdict::Allow {
                let first = row.iter().find(|f| f.verdict == combined.verdict).map(|f| f.check.name());
                assert_eq!(combined.reasons.first().map(|r| r.check.as_str()), first);
            }
        }
    }

    #[test]
    fn the_order_of_arrival_changes_nothing() {
        for row in product() {
            let backwards: Vec<Finding> = row.iter().rev().cloned().collect();
            for profile in
                [GovernanceProfile::Strict, GovernanceProfile::Standard, GovernanceProfile::ObserveOnly]
            {
                assert_eq!(combine(&row, profile), combine(&backwards, profile));
            }
        }
    }

    #[test]
    fn adding_a_finding_never_loosens() {
        for row in product() {
            for fewer in [&row[..1], &row[..2], &row[1..]] {
                let (some, all) =
                    (combine(fewer, GovernanceProfile::Standard), combine(&row, GovernanceProfile::Standard));
                assert!(restrictiveness(all.verdict) >= restrictiveness(some.verdict));
                assert!(severity(all.directive) >= severity(some.directive));
            }
        }
    }

    #[test]
    fn observe_only_enforces_orders_and_nothing_else() {
        for row in product() {
            let standard = combine(&row, GovernanceProfile::Standard);
            let observed = combine(&row, GovernanceProfile::ObserveOnly);
            assert_eq!(observed.verdict, standard.verdict);
            assert_eq!(observed.effective_verdict, row[0].verdict);
            assert_eq!(observed.directive, row[0].directive);
        }
    }

    #[test]
    fn caps_merge_to_the_smallest_and_two_models_exclude_each_other() {
        let modify = |check, name: &str, arg: &str| Finding {
            verdict: Verdict::Modify,
            obligations: vec![Obligation { name: name.into(), args: vec![arg.into()] }],
            ..Finding::allow(check)
        };
        let row = [modify(Check::Limits, "cap_tokens", "90"), modify(Check::Policy, "cap_tokens", "50")];
        let combined = combine(&row, GovernanceProfile::Standard);
        assert_eq!(combined.obligations, [Obligation { name: "cap_tokens".into(), args: vec!["50".into()] }]);
        let row = [modify(Check::Limits, "use_model", "a"), modify(Check::Policy, "use_model", "b")];
        let combined = combine(&row, GovernanceProfile::Standard);
        assert_eq!(combined.verdict, Verdict::Deny);
        assert_eq!(combined.reasons[0].code, "OBLIGATION_CONFLICT");
    }

    #[test]
    fn a_silent_decider_denies_in_strict_and_marks_the_others() {
        for (profile, verdict) in [
            (GovernanceProfile::Strict, Verdict::Deny),
            (GovernanceProfile::Standard, Verdict::Allow),
            (GovernanceProfile::ObserveOnly, Verdict::Allow),
        ] {
            let combined =
                combine(&[Finding::undecided(Check::Policy, profile, "POLICY_UNAVAILABLE")], profile);
            assert_eq!((combined.effective_verdict, combined.degraded), (verdict, true), "{profile:?}");
        }
    }
}
