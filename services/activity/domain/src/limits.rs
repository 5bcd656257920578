//! How a run stands with its limits: what of it is a risk, and which limit shows first.

use std::cmp::Reverse;

use contracts_activity::v1::{EvaluationOutcome, LimitStanding, LimitType, RiskLevel, RiskType};

/// From this share of a limit on a run is near to it, in per mille. A limit may warn earlier by itself.
pub const NEAR_PERMILLE: u32 = 800;
/// The limit itself, in per mille.
pub const REACHED_PERMILLE: u32 = 1_000;

/// The risk that one evaluation shows.
#[must_use]
pub fn level(standing: &LimitStanding) -> RiskLevel {
    let share = standing.proximity_permille.unwrap_or(0);
    let outcome = standing.evaluation_outcome();
    // A limit of 0 that is used has no share, and is reached.
    let reached = share >= REACHED_PERMILLE || outcome == EvaluationOutcome::Breach;
    let near = share >= NEAR_PERMILLE || outcome == EvaluationOutcome::NearThreshold;
    match outcome {
        EvaluationOutcome::Overridden => RiskLevel::AtRisk,
        _ if reached && standing.blocking => RiskLevel::Violated,
        _ if reached => RiskLevel::AtRisk,
        _ if near => RiskLevel::NearThreshold,
        _ => RiskLevel::Normal,
    }
}

/// What kind of risk a limit is about.
#[must_use]
pub fn risk_type(of: LimitType) -> RiskType {
    match of {
        LimitType::Cost => RiskType::Cost,
        LimitType::Tokens | LimitType::InputTokens | LimitType::OutputTokens => RiskType::Tokens,
        LimitType::Time => RiskType::Time,
        LimitType::Rate | LimitType::Concurrency => RiskType::Rate,
        LimitType::Steps | LimitType::Other | LimitType::Unspecified => RiskType::Other,
    }
}

/// How an attempt stands with one limit, as far as the order of limits goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stand {
    /// Where it is stored.
    pub key: i64,
    /// The limit.
    pub limit_id: String,
    /// The outcome.
    pub outcome: EvaluationOutcome,
    /// How near. `None`: nothing is compared.
    pub proximity_permille: Option<u32>,
}

/// The limit that is shown first: the worst outcome, then the nearest, then the lower id.
#[must_use]
pub fn worst(stands: &[Stand]) -> Option<&Stand> {
    stands.iter().min_by_key(|s| (rank(s.outcome), Reverse(s.proximity_permille), &s.limit_id))
}

fn rank(outcome: EvaluationOutcome) -> u8 {
    match outcome {
        EvaluationOutcome::Breach => 0,
        EvaluationOutcome::Overridden => 1,
        EvaluationOutcome::NearThreshold => 2,
        EvaluationOutcome::Ok => 3,
        EvaluationOutcome::Advisory | EvaluationOutcome::Unspecified => 4,
    }
}

#[cfg(test)]
mod tests {
    use EvaluationOutcome::{Advisory, Breach, NearThreshold, Ok, Overridden};

    use super::*;

    fn standing(
        permille: impl Into<Option<u32>>,
        outcome: EvaluationOutcome,
        blocking: bool,
    ) -> LimitStanding {
        LimitStanding {
            proximity_permille: permille.into(),
            evaluation_outcome: outcome.into(),
            blocking,
            ..LimitStanding::default()
        }
    }

    /// A row of the table each, at its boundaries.
    #[test]
    fn each_standing_has_its_level() {
        for (permille, outcome, warns, blocks) in [
            (Some(0), Ok, RiskLevel::Normal, RiskLevel::Normal),
            (Some(799), Ok, RiskLevel::Normal, RiskLevel::Normal),
            (Some(800), NearThreshold, RiskLevel::NearThreshold, RiskLevel::NearThreshold),
            // A limit that warns late, and one that warns early.
            (Some(800), Ok, RiskLevel::NearThreshold, RiskLevel::NearThreshold),
            (Some(500), NearThreshold, RiskLevel::NearThreshold, RiskLevel::NearThreshold),
            (Some(999), NearThreshold, RiskLevel::NearThreshold, RiskLevel::NearThreshold),
            (Some(1_000), Breach, RiskLevel::AtRisk, RiskLevel::Violated),
            (Some(9_000), Breach, RiskLevel::AtRisk, RiskLevel::Violated),
            (Some(1_000), Overridden, RiskLevel::AtRisk, RiskLevel::AtRisk),
            // Nothing is allowed, and something was used.
            (None, Breach, RiskLevel::AtRisk, RiskLevel::Violated),
            (None, Advisory, RiskLevel::Normal, RiskLevel::Normal),
        ] {
            assert_eq!(level(&standing(permille, outcome, false)), warns, "{permille:?} {outcome:?}");
            assert_eq!(level(&standing(permille, outcome, true)), blocks, "{permille:?} {outcome:?} blocks");
        }
    }

    #[test]
    fn each_type_has_its_risk() {
        let of = |types: &[LimitType]| types.iter().map(|t| risk_type(*t)).collect::<Vec<_>>();
        assert_eq!(of(&[LimitType::Cost, LimitType::Time]), [RiskType::Cost, RiskType::Time]);
        let tokens = [LimitType::Tokens, LimitType::InputTokens, LimitType::OutputTokens];
        assert_eq!(of(&tokens), [RiskType::Tokens; 3]);
        assert_eq!(of(&[LimitType::Rate, LimitType::Concurrency]), [RiskType::Rate; 2]);
        assert_eq!(of(&[LimitType::Steps, LimitType::Other]), [RiskType::Other; 2]);
    }

    /// Whatever the order in which limits are looked at.
    #[test]
    fn the_worst_is_the_same_in_any_order() {
        let stand = |limit_id: &str, outcome, permille: Option<u32>| Stand {
            key: 1,
            limit_id: limit_id.to_owned(),
            outcome,
            proximity_permille: permille,
        };
        let mut ordered = vec![
            stand("b", Breach, Some(1_200)),
            stand("a", Breach, Some(1_000)),
            stand("c", Breach, Some(1_000)),
            stand("z", Breach, None),
            stand("y", Overridden, Some(3_000)),
            stand("x", NearThreshold, Some(999)),
            stand("w", NearThreshold, Some(800)),
            stand("v", Ok, Some(799)),
            stand("u", Advisory, None),
        ];
        while !ordered.is_empty() {
            let expected = ordered[0].clone();
            let mut any = ordered.clone();
            for _ in 0..any.len() {
                any.rotate_left(1);
                assert_eq!(worst(&any), Some(&expected));
            }
            ordered.remove(0);
        }
        assert_eq!(worst(&[]), None);
    }
}
