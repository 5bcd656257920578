//! From findings to an answer.

pub use crate::finding::*;
use crate::{
    book::Waive,
    limit::Limit,
    words::{Directive, Enforcement, Profile, Verdict},
};

/// Version of the rules in this file; stands on every evidence row.
pub const RESOLVER_VERSION: u32 = 5;
/// When a deferred caller may ask again: escrow can come back at any moment.
pub const RETRY_AFTER_MS: i64 = 1_000;

/// What is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// May the run start?
    Run,
    /// May the step happen?
    Step,
}

/// What a refusal of a limit comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// It refuses.
    Blocks(Verdict),
    /// It allows with obligations.
    Degrades,
    /// It warns.
    Warns,
    /// It is said among the reasons, and stops nothing.
    Notes,
    /// It is recorded and nothing is said.
    Silent,
    /// It would refuse under another profile.
    WouldBlock(Verdict),
}

impl Effect {
    /// How the reserve passes the envelope over; `None`: it does not.
    #[must_use]
    pub fn waive(self) -> Option<Waive> {
        match self {
            Self::Blocks(_) => None,
            Self::Warns | Self::Notes | Self::Silent | Self::Degrades | Self::WouldBlock(Verdict::Modify) => {
                Some(Waive::Uncovered)
            }
            Self::WouldBlock(_) => Some(Waive::Unfunded),
        }
    }

    /// Whether nothing may happen.
    #[must_use]
    pub fn blocks(self) -> bool {
        matches!(self, Self::Blocks(_))
    }

    /// What it asks for, whoever listens.
    #[must_use]
    pub fn verdict(self) -> Verdict {
        match self {
            Self::Blocks(verdict) | Self::WouldBlock(verdict) => verdict,
            Self::Degrades => Verdict::Modify,
            Self::Warns | Self::Notes | Self::Silent => Verdict::Allow,
        }
    }
}

/// The enforcement table. `waited_ms`: how long the question has been deferred already.
#[must_use]
pub fn effect(limit: &Limit, phase: Phase, profile: Profile, waited_ms: i64) -> Effect {
    let verdict = match (limit.spec.enforcement, phase) {
        (Enforcement::Block, _) | (Enforcement::Reject, Phase::Run) => Verdict::Deny,
        (Enforcement::Degrade, _) => Verdict::Modify,
        (Enforcement::Queue, _) if waited_ms >= i64::from(limit.spec.max_wait_s) * 1_000 => Verdict::Deny,
        (Enforcement::Queue, _) => Verdict::Defer,
        (Enforcement::Reject, Phase::Step) | (Enforcement::Warn, _) => return Effect::Warns,
        (Enforcement::Alert, _) => return Effect::Silent,
    };
    under(profile, verdict)
}

/// What a finding that asks for `verdict` comes to under a profile.
#[must_use]
pub fn under(profile: Profile, verdict: Verdict) -> Effect {
    match (profile, verdict) {
        (Profile::ObserveOnly, _) => Effect::WouldBlock(verdict),
        (_, Verdict::Modify) => Effect::Degrades,
        _ => Effect::Blocks(verdict),
    }
}

/// That a check could not be made, and what it comes to: STRICT denies, the others allow and say so.
#[must_use]
pub fn failed(profile: Profile) -> (Finding, Effect) {
    let finding = failure_finding(profile);
    let effect = match finding.verdict {
        Verdict::Allow => Effect::Notes,
        verdict => Effect::Blocks(verdict),
    };
    (finding, effect)
}

/// The answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// ALLOW, DENY, MODIFY or DEFER.
    pub verdict: Verdict,
    /// The highest directive of all findings that refuse.
    pub directive: Directive,
    /// What refuses, primary first.
    pub reasons: Vec<Finding>,
    /// What would refuse under another profile.
    pub would_block: Vec<Finding>,
    /// What warns.
    pub warnings: Vec<Finding>,
}

impl Answer {
    /// When asking again can help: the longest wait of all that defer.
    #[must_use]
    pub fn retry_after_ms(&self) -> Option<i64> {
        let waits = self.reasons.iter().filter(|r| r.verdict == Verdict::Defer);
        let longest = waits.map(|r| r.retry_after_ms.unwrap_or(RETRY_AFTER_MS)).max();
        longest.filter(|_| self.verdict == Verdict::Defer)
    }

    /// Whether the run or the step goes ahead.
    #[must_use]
    pub fn admits(&self) -> bool {
        matches!(self.verdict, Verdict::Allow | Verdict::Modify)
    }

    /// What goes with MODIFY.
    #[must_use]
    pub fn obligations(&self) -> Vec<Obligation> {
        if self.verdict == Verdict::Modify {
            self.reasons.iter().flat_map(|r| r.obligations.clone()).collect()
        } else {
            Vec::new()
        }
    }
}

/// How restrictive a verdict is.
fn weight(verdict: Verdict) -> u8 {
    match verdict {
        Verdict::Deny => 3,
        Verdict::Defer => 2,
        Verdict::Modify => 1,
        Verdict::Allow => 0,
    }
}

/// Combines findings: the earlier check first, then the most restrictive, then by scope, then the lower id.
#[must_use]
pub fn combine(findings: Vec<(Finding, Effect)>) -> Answer {
    let mut answer = Answer {
        verdict: Verdict::Allow,
        directive: Directive::Continue,
        reasons: Vec::new(),
        would_block: Vec::new(),
        warnings: Vec::new(),
    };
    for (finding, effect) in findings {
        match effect {
            Effect::Blocks(_) | Effect::Degrades | Effect::Notes => answer.reasons.push(finding),
            Effect::WouldBlock(_) => answer.would_block.push(finding),
            Effect::Warns => answer.warnings.push(finding),
            Effect::Silent => {}
        }
    }
    for list in [&mut answer.reasons, &mut answer.would_block, &mut answer.warnings] {
        list.sort_by(|a, b| {
            let key = |f: &Finding| (f.check, std::cmp::Reverse(weight(f.verdict)), f.rank);
            key(a).cmp(&key(b)).then_with(|| a.source_id.cmp(&b.source_id))
        });
    }
    let strongest = answer.reasons.iter().map(|f| f.verdict).max_by_key(|v| weight(*v));
    answer.verdict = strongest.unwrap_or(Verdict::Allow);
    answer.directive = answer.reasons.iter().map(|f| f.directive).max().unwrap_or(Directive::Continue);
    answer
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        book::Refusal,
        limit::{self, sample},
        words::{Consequence, Scope},
    };

    #[test]
    fn the_enforcement_table() {
        use Effect::{Blocks, Silent, Warns, WouldBlock};
        let rows = [
            (Enforcement::Block, Blocks(Verdict::Deny), Blocks(Verdict::Deny)),
            (Enforcement::Reject, Blocks(Verdict::Deny), Warns),
            (Enforcement::Queue, Blocks(Verdict::Defer), Blocks(Verdict::Defer)),
            (Enforcement::Warn, Warns, Warns),
            (Enforcement::Alert, Silent, Silent),
            (Enforcement::Degrade, Effect::Degrades, Effect::Degrades),
        ];
        for (enforcement, at_start, at_step) in rows {
            let mut limit = sample(1, 10);
            limit.spec.enforcement = enforcement;
            assert_eq!(effect(&limit, Phase::Run, Profile::Standard, 0), at_start, "{enforcement:?}");
            assert_eq!(effect(&limit, Phase::Step, Profile::Strict, 0), at_step, "{enforcement:?}");
            let observed = effect(&limit, Phase::Step, Profile::ObserveOnly, 0);
            assert!(!matches!(observed, Blocks(_)), "{enforcement:?}");
        }
        let mut queue = sample(1, 10);
        queue.spec.enforcement = Enforcement::Queue;
        assert_eq!(effect(&queue, Phase::Step, Profile::Standard, 29_999), Blocks(Verdict::Defer));
        assert_eq!(effect(&queue, Phase::Step, Profile::Standard, 30_000), Blocks(Verdict::Deny));
        assert_eq!(effect(&queue, Phase::Step, Profile::ObserveOnly, 0), WouldBlock(Verdict::Defer));
    }

    fn refusal() -> Refusal {
        Refusal {
            envelope: 1,
            period_start: runspine_types::Micros(0),
            need: 5,
            reservable: 1,
            usage: 9,
            limit_value: 10,
            in_debt: false,
        }
    }

    #[test]
    fn the_most_restrictive_wins_and_ties_go_by_scope_then_id() {
        let finding = |id: &str, scope: Scope, verdict: Verdict| {
            let mut limit = sample(1, 10);
            limit.id = id.into();
            limit.spec.scope = scope;
            (budget_finding(&limit, &refusal(), verdict), Effect::Blocks(verdict))
        };
        let rows = vec![
            finding("d", Scope::Run, Verdict::Defer),
            finding("c", Scope::Tenant, Verdict::Deny),
            finding("b", Scope::Agent, Verdict::Deny),
            finding("a", Scope::Agent, Verdict::Deny),
        ];
        let order = |rows: Vec<_>| -> Vec<String> {
            combine(rows).reasons.into_iter().map(|f| f.source_id).collect()
        };
        assert_eq!(order(rows.clone()), ["a", "b", "c", "d"]);
        let mut reversed = rows.clone();
        reversed.reverse();
        assert_eq!(order(reversed), ["a", "b", "c", "d"]);
        assert_eq!(combine(rows).verdict, Verdict::Deny);
    }

    #[test]
    fn an_abort_ends_the_run_and_a_deferral_says_when() {
        let mut limit = sample(1, 10);
        limit.spec.consequence = Consequence::Abort;
        let blocks = Effect::Blocks(Verdict::Deny);
        let answer = combine(vec![(budget_finding(&limit, &refusal(), blocks.verdict()), blocks)]);
        assert_eq!((answer.verdict, answer.directive), (Verdict::Deny, Directive::Terminate));
        assert_eq!(answer.retry_after_ms(), None);
        let defers = Effect::Blocks(Verdict::Defer);
        let answer = combine(vec![(budget_finding(&limit, &refusal(), defers.verdict()), defers)]);
        assert_eq!((answer.directive, answer.retry_after_ms()), (Directive::Continue, Some(1_000)));
    }

    /// The first row of the failure table, with and without something that was found all the same.
    #[test]
    fn a_check_that_failed_leaves_the_profile_to_decide() {
        for (profile, expected) in [
            (Profile::Strict, Verdict::Deny),
            (Profile::Standard, Verdict::Allow),
            (Profile::ObserveOnly, Verdict::Allow),
        ] {
            let alone = combine(vec![failed(profile)]);
            assert_eq!((alone.verdict, alone.directive), (expected, Directive::Continue), "{profile:?}");
            let said: Vec<_> = alone.reasons.iter().map(|r| (r.code, r.verdict)).collect();
            assert_eq!(said, [(CONTROL_ERROR, expected)], "it says why, whatever it comes to");
            let blocks = Effect::Blocks(Verdict::Deny);
            let found = (budget_finding(&limit::sample(1, 10), &refusal(), Verdict::Deny), blocks);
            let both = combine(vec![failed(profile), found]);
            assert_eq!((both.verdict, both.reasons[0].code), (Verdict::Deny, BUDGET_EXCEEDED), "{profile:?}");
        }
    }

    #[test]
    fn a_freeze_comes_before_everything() {
        let limit = sample(1, 10);
        let blocks = Effect::Blocks(Verdict::Deny);
        let freeze = crate::freeze::tests::freeze(crate::freeze::FreezeScope::Tenant, "t");
        let answer = combine(vec![
            (budget_finding(&limit, &refusal(), blocks.verdict()), blocks),
            (lapse_finding(), blocks),
            (freeze_finding(&freeze), blocks),
        ]);
        let codes: Vec<&str> = answer.reasons.iter().map(|f| f.code).collect();
        assert_eq!(codes, [FROZEN, LEASE_LAPSED, BUDGET_EXCEEDED]);
    }

    proptest::proptest! {
        #![proptest_config(proptest::prelude::ProptestConfig { cases: 2_000, ..Default::default() })]

        /// One more limit never makes an answer less restrictive, and what comes first is of the earliest check.
        #[test]
        fn one_more_limit_never_loosens(
            all in proptest::collection::vec((0..6_usize, 0..3_usize, 0..2_usize, 0..40_000_i64, 0..10_usize), 1..8),
        ) {
            let checks = [Check::Rate, Check::Threshold, Check::Budget];
            let rows: Vec<(Finding, Effect)> = all
                .iter()
                .zip(1..)
                .map(|((enforcement, check, phase, waited, scope), id)| {
                    let mut limit = sample(id, 10);
                    limit.spec.enforcement = Enforcement::ALL[*enforcement];
                    limit.spec.scope = Scope::ALL[*scope];
                    let phase = [Phase::Run, Phase::Step][*phase];
                    let effect = effect(&limit, phase, Profile::Standard, *waited);
                    let found = (checks[*check], BUDGET_EXCEEDED);
                    (Finding::of_limit(&limit, found, effect.verdict(), (1, 1), String::new()), effect)
                })
                .collect();
            let whole = combine(rows.clone());
            for fewer in 0..rows.len() {
                let answer = combine(rows[..fewer].to_vec());
                proptest::prop_assert!(weight(whole.verdict) >= weight(answer.verdict));
                proptest::prop_assert!(whole.directive >= answer.directive);
            }
            let earliest = whole.reasons.iter().map(|r| r.check).min();
            proptest::prop_assert_eq!(whole.reasons.first().map(|r| r.check), earliest);
            let mut backwards = rows;
            backwards.reverse();
            proptest::prop_assert_eq!(combine(backwards), whole);
        }
    }
}
