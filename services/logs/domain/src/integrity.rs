//! How complete the evidence of an attempt is.

use std::collections::BTreeSet;

use contracts_logs::v1::{EvidenceStatus, IntegrityClass, IntegrityEvidence, IntegrityGrade};

/// Below this the grade is FAIL.
const FAIL_BELOW: u64 = 500_000;
/// Below this it is WARN at best.
const WARN_BELOW: u64 = 800_000;

/// What was found of an attempt. Whatever can't be read never gets here.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Found {
    /// Pieces of evidence about the environment.
    pub environment: u64,
    /// Whether the trace has a seal.
    pub sealed: bool,
    /// Records that are a decision or a try of a step.
    pub records: u64,
    /// Whether the attempt got as far as doing something, so that there must be such records.
    pub executed: bool,
    /// Indices of steps whose final try called a model.
    pub model_steps: BTreeSet<u32>,
    /// Indices of steps whose final try accessed data.
    pub data_steps: BTreeSet<u32>,
    /// Indices of steps with a try.
    pub steps: BTreeSet<u32>,
    /// Steps with evidence of what the agent did.
    pub activity: BTreeSet<u32>,
    /// Steps with evidence of what a provider answered.
    pub provider: BTreeSet<u32>,
    /// Steps with evidence of how they were decided.
    pub decided: BTreeSet<u32>,
    /// Steps with evidence of what was retrieved.
    pub retrieved: BTreeSet<u32>,
    /// Failures of captures that nothing superseded.
    pub failures: u32,
    /// Those of them that are permanent.
    pub permanent: u32,
}

/// Grades what was found. The trace's header is a class of its own and always there: without one there is no attempt.
#[must_use]
pub fn grade(found: &Found) -> IntegrityEvidence {
    let required = [
        class("ENVIRONMENT", 1, found.environment.min(1)),
        class("HEADER", 1, 1),
        class("SEAL", 1, u64::from(found.sealed)),
        class("RECORDS", u64::from(found.executed), found.records.min(1)),
    ];
    let lacking = required.iter().any(|class| class.observed < class.expected);
    let expected = [
        of_steps("ACTIVITY", &found.model_steps, &found.activity),
        of_steps("PROVIDER", &found.model_steps, &found.provider),
        of_steps("POLICY_DECISION", &found.steps, &found.decided),
        of_steps("RETRIEVAL", &found.data_steps, &found.retrieved),
    ];
    let classes: Vec<IntegrityClass> =
        required.into_iter().chain(expected).filter(|class| class.expected > 0).collect();
    let (got, wanted) = classes.iter().fold((0_u64, 0_u64), |(got, wanted), class| {
        (got + class.observed.min(class.expected), wanted + class.expected)
    });
    let score = (got * 1_000_000).checked_div(wanted).unwrap_or(0);
    let grade = match () {
        () if lacking || found.permanent > 0 || score < FAIL_BELOW => IntegrityGrade::Fail,
        () if found.failures > 0 || score < WARN_BELOW => IntegrityGrade::Warn,
        () => IntegrityGrade::Pass,
    };
    let status = match grade {
        IntegrityGrade::Pass => EvidenceStatus::Valid,
        IntegrityGrade::Warn => EvidenceStatus::Degraded,
        IntegrityGrade::Fail | IntegrityGrade::Unspecified => EvidenceStatus::Failed,
    };
    IntegrityEvidence {
        classes,
        score_ppm: u32::try_from(score).unwrap_or(u32::MAX),
        grade: grade.into(),
        status: status.into(),
        failures: found.failures,
    }
}

fn of_steps(name: &str, wanted: &BTreeSet<u32>, there: &BTreeSet<u32>) -> IntegrityClass {
    class(name, wanted.len() as u64, wanted.intersection(there).count() as u64)
}

fn class(name: &str, expected: u64, observed: u64) -> IntegrityClass {
    let reason = match observed {
        observed if observed >= expected => String::new(),
        0 => "there is none".to_owned(),
        observed => format!("{} of {expected} are missing", expected - observed),
    };
    IntegrityClass { class: name.to_owned(), expected, observed, reason }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// An attempt with everything, whose model steps are `steps` and have activity and provider but the last `lacking`
    /// pieces of evidence.
    fn attempt(steps: u32, lacking: u32) -> Found {
        let all: BTreeSet<u32> = (0..steps).collect();
        Found {
            environment: 1,
            sealed: true,
            records: u64::from(steps),
            executed: true,
            model_steps: all.clone(),
            steps: all.clone(),
            decided: all.clone(),
            provider: all,
            activity: (0..steps.saturating_sub(lacking)).collect(),
            ..Found::default()
        }
    }

    fn graded(found: &Found) -> (u32, IntegrityGrade) {
        let evidence = grade(found);
        (evidence.score_ppm, evidence.grade())
    }

    #[test]
    fn the_boundaries_of_the_grades() {
        // 4 required and 2 000 000 of one class make every part per million reachable to within rounding.
        let of = |observed: u64, expected: u64| {
            let mut found = Found { environment: 1, sealed: true, ..Found::default() };
            found.data_steps = (0..u32::try_from(expected).unwrap_or(0)).collect();
            found.retrieved = (0..u32::try_from(observed).unwrap_or(0)).collect();
            graded(&found)
        };
        // 3 required classes are there: (3 + observed) of (3 + expected).
        assert_eq!(of(7, 7), (1_000_000, IntegrityGrade::Pass));
        assert_eq!(of(5, 7), (800_000, IntegrityGrade::Pass));
        assert_eq!(of(4, 7), (700_000, IntegrityGrade::Warn));
        assert_eq!(of(2, 7), (500_000, IntegrityGrade::Warn));
        assert_eq!(of(1, 7), (400_000, IntegrityGrade::Fail));
        // 799 999 and 499 999 parts per million.
        assert_eq!(of(799_996, 999_997), (799_999, IntegrityGrade::Warn));
        assert_eq!(of(499_996, 999_997), (499_999, IntegrityGrade::Fail));
    }

    #[test]
    fn what_is_required_and_what_failed() {
        let whole = attempt(3, 0);
        assert_eq!(graded(&whole), (1_000_000, IntegrityGrade::Pass));
        for lacking in [
            Found { environment: 0, ..whole.clone() },
            Found { sealed: false, ..whole.clone() },
            Found { records: 0, ..whole.clone() },
            Found { failures: 1, permanent: 1, ..whole.clone() },
        ] {
            assert_eq!(graded(&lacking).1, IntegrityGrade::Fail, "{lacking:?}");
        }
        assert_eq!(graded(&Found { failures: 1, ..whole.clone() }), (1_000_000, IntegrityGrade::Warn));
        let idle = Found { environment: 1, sealed: true, ..Found::default() };
        assert_eq!(graded(&idle).1, IntegrityGrade::Pass, "who did nothing owes no record of it");
    }

    proptest! {
        #[test]
        fn more_evidence_never_makes_it_worse(steps in 1_u32..60, lacking in 0_u32..60) {
            let (less, more) = (attempt(steps, lacking), attempt(steps, lacking.saturating_sub(1)));
            prop_assert!(grade(&less).score_ppm <= grade(&more).score_ppm);
            prop_assert!(grade(&less).grade >= grade(&more).grade);
        }

        #[test]
        fn evidence_of_steps_that_were_not_taken_counts_for_nothing(steps in 1_u32..60) {
            let mut found = attempt(steps, steps);
            let before = grade(&found);
            found.activity = (steps..steps * 2).collect();
            prop_assert_eq!(grade(&found), before);
        }
    }
}
