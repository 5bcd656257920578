//! Facts as members of sets, in the form that is stored.

use contracts_activity::v1::{
    EvaluationOutcome, EvidenceGrade, Fact, LimitStanding, LimitType, ObservabilityStatus, PolicyScope,
    RiskLevel, StepFact, ThresholdSource, ThresholdUnit, UsageFact, fact::Body,
};
use contracts_common::common::v1::{AuditStatus, IntegrityStatus, StepKind, StepOutcome, Verdict};

use crate::limits;

/// Which set a fact belongs to. The numbers are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(i64)]
pub enum SetKind {
    /// Decisions: v1 denied a step, v2 degraded, v3 denied by a blocking rule.
    Decision = 1,
    /// The settlement in force: v1 cost.
    Settlement = 2,
    /// Incidents: v1 linked, v2 voided.
    Incident = 3,
    /// The newest proof: v1 integrity.
    Proof = 4,
    /// The newest verdict on the contract: v1 audit status.
    Contract = 5,
    /// Violations: text is the rule.
    Violation = 6,
    /// Policy drafts.
    Draft = 7,
    /// The newest grade: v1 grade, v2 a required class is missing.
    Grade = 8,
    /// Evidence that could not be captured.
    EvidenceFailure = 9,
    /// The newest report of failing recorders: text is the reason.
    RecorderDegraded = 10,
    /// The newest seal: v1 records.
    Seal = 11,
    /// The newest report that no trace exists.
    NoTrace = 12,
    /// The worst that each limit ever was: v1 near, v2 at risk, v3 violated.
    LimitRisk = 13,
}

impl SetKind {
    /// Whether the member with the highest source sequence stands for all; else members are joined.
    #[must_use]
    pub fn is_latest(self) -> bool {
        matches!(
            self,
            Self::Settlement
                | Self::Proof
                | Self::Contract
                | Self::Grade
                | Self::RecorderDegraded
                | Self::Seal
                | Self::NoTrace
        )
    }
}

/// A member of a set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// The set.
    pub kind: SetKind,
    /// Which member. Empty where the latest stands for all.
    pub id: String,
    /// Numbers, by kind.
    pub values: [i64; 3],
    /// Text, by kind.
    pub text: String,
}

impl Member {
    fn new(kind: SetKind, id: &str, values: [i64; 3], text: &str) -> Self {
        Self { kind, id: id.to_owned(), values, text: text.to_owned() }
    }
}

/// A fact in the form that is stored.
#[derive(Debug, Clone, PartialEq)]
pub enum Row {
    /// A step at its position.
    Step(StepFact),
    /// Corrected usage of the step at a position.
    Usage(UsageFact),
    /// A member of a set.
    Member(Member),
    /// The newest evaluation of a limit, and the risk that it ever was.
    Limit(Box<LimitStanding>, Member),
    /// Changes nothing, but counts as seen.
    Nothing,
}

/// The row of a fact.
///
/// # Errors
/// The reason why it can't count: `ENUM_UNKNOWN` for a value that this version does not know, `FIELD_INVALID` for a
/// missing body or id.
pub fn row(fact: &Fact) -> Result<Row, &'static str> {
    match fact.body.as_ref().ok_or("FIELD_INVALID")? {
        Body::StepRecorded(step) => step_row(step),
        Body::UsageCorrected(usage) => Ok(Row::Usage(*usage)),
        Body::LimitEvaluated(fact) => limit_row(fact.standing.as_ref().ok_or("FIELD_INVALID")?),
        body => member(body).map(|member| member.map_or(Row::Nothing, Row::Member)),
    }
}

fn step_row(step: &StepFact) -> Result<Row, &'static str> {
    known(StepKind::try_from(step.kind), StepKind::Unspecified)?;
    known(StepOutcome::try_from(step.outcome), StepOutcome::Unspecified)?;
    if step.input_tokens < 0 || step.output_tokens < 0 || step.cost_microusd < 0 || step.duration_us < 0 {
        return Err("FIELD_INVALID");
    }
    Ok(Row::Step(step.clone()))
}

fn limit_row(standing: &LimitStanding) -> Result<Row, &'static str> {
    let limit_id = id(&standing.limit_id)?;
    known(PolicyScope::try_from(standing.policy_scope), PolicyScope::Unspecified)?;
    known(LimitType::try_from(standing.limit_type), LimitType::Unspecified)?;
    known(ThresholdUnit::try_from(standing.threshold_unit), ThresholdUnit::Unspecified)?;
    known(ThresholdSource::try_from(standing.threshold_source), ThresholdSource::Unspecified)?;
    known(EvaluationOutcome::try_from(standing.evaluation_outcome), EvaluationOutcome::Unspecified)?;
    let level = limits::level(standing);
    let from = |least: RiskLevel| i64::from(level >= least);
    let values = [from(RiskLevel::NearThreshold), from(RiskLevel::AtRisk), from(RiskLevel::Violated)];
    Ok(Row::Limit(Box::new(standing.clone()), Member::new(SetKind::LimitRisk, limit_id, values, "")))
}

fn member(body: &Body) -> Result<Option<Member>, &'static str> {
    use SetKind as K;
    let member = match body {
        Body::StepRecorded(_) | Body::UsageCorrected(_) | Body::LimitEvaluated(_) => return Ok(None),
        Body::DecisionRecorded(d) => {
            known(Verdict::try_from(d.verdict), Verdict::Unspecified)?;
            let told = known(Verdict::try_from(d.effective_verdict), Verdict::Unspecified)?;
            let denied = told == Verdict::Deny;
            let denied_step = denied && d.step_index.is_some();
            let values = [denied_step.into(), d.degraded.into(), (denied && d.blocking).into()];
            Member::new(K::Decision, id(&d.decision_id)?, values, "")
        }
        Body::RunSettled(s) | Body::SettlementReversed(s) => {
            Member::new(K::Settlement, "", [s.cost_microusd, 0, 0], &s.settlement_id)
        }
        Body::IncidentLinked(i) => Member::new(K::Incident, id(&i.incident_id)?, [1, 0, 0], ""),
        Body::IncidentVoided(i) => Member::new(K::Incident, id(&i.incident_id)?, [0, 1, 0], ""),
        Body::ProofRecorded(p) => match IntegrityStatus::try_from(p.integrity).map_err(|_| "ENUM_UNKNOWN")? {
            // A proof that failed by itself says nothing about the trace.
            IntegrityStatus::Unspecified => return Ok(None),
            status => Member::new(K::Proof, "", [status as i64, 0, 0], ""),
        },
        Body::ContractReconciled(c) => {
            let status = known(AuditStatus::try_from(c.audit_status), AuditStatus::Unspecified)?;
            Member::new(K::Contract, "", [status as i64, 0, 0], "")
        }
        Body::ViolationReported(v) => Member::new(K::Violation, id(&v.violation_id)?, [0; 3], &v.policy_id),
        Body::DraftCreated(d) => Member::new(K::Draft, id(&d.proposal_id)?, [0; 3], ""),
        Body::EvidenceGraded(g) => {
            let grade = known(EvidenceGrade::try_from(g.grade), EvidenceGrade::Unspecified)?;
            Member::new(K::Grade, "", [grade as i64, g.required_missing.into(), 0], "")
        }
        Body::EvidenceFailed(f) => {
            Member::new(K::EvidenceFailure, id(&f.failure_id)?, [0; 3], &f.evidence_class)
        }
        Body::ObservabilityReported(o) => {
            match known(ObservabilityStatus::try_from(o.status), ObservabilityStatus::Unspecified)? {
                ObservabilityStatus::Degraded => Member::new(K::RecorderDegraded, "", [1, 0, 0], &o.error),
                ObservabilityStatus::None => Member::new(K::NoTrace, "", [1, 0, 0], ""),
                _ => return Ok(None),
            }
        }
        Body::TraceSealed(s) => {
            Member::new(K::Seal, "", [i64::try_from(s.record_count).map_err(|_| "FIELD_INVALID")?, 0, 0], "")
        }
    };
    Ok(Some(member))
}

fn known<T: PartialEq>(value: Result<T, impl Sized>, unspecified: T) -> Result<T, &'static str> {
    value.ok().filter(|value| *value != unspecified).ok_or("ENUM_UNKNOWN")
}

fn id(text: &str) -> Result<&str, &'static str> {
    if (1..=128).contains(&text.len()) { Ok(text) } else { Err("FIELD_INVALID") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_values_are_refused_never_guessed() {
        let fact = |body| Fact { body, ..Fact::default() };
        assert_eq!(row(&fact(None)), Err("FIELD_INVALID"));
        let step = StepFact { kind: 99, outcome: 1, ..StepFact::default() };
        assert_eq!(row(&fact(Some(Body::StepRecorded(step)))), Err("ENUM_UNKNOWN"));
        let proof = |integrity| contracts_activity::v1::ProofFact { integrity };
        assert_eq!(row(&fact(Some(Body::ProofRecorded(proof(99))))), Err("ENUM_UNKNOWN"));
        assert_eq!(row(&fact(Some(Body::ProofRecorded(proof(0))))), Ok(Row::Nothing));
        let standing = LimitStanding {
            limit_id: "l".to_owned(),
            policy_scope: 2,
            limit_type: 1,
            threshold_unit: 1,
            threshold_source: 1,
            evaluation_outcome: 5,
            ..LimitStanding::default()
        };
        let of = |standing: LimitStanding| {
            let standing = Some(standing);
            row(&fact(Some(Body::LimitEvaluated(contracts_activity::v1::LimitFact { standing }))))
        };
        assert!(matches!(of(standing.clone()), Ok(Row::Limit(..))));
        for unknown in [
            LimitStanding { policy_scope: 99, ..standing.clone() },
            LimitStanding { limit_type: 0, ..standing.clone() },
            LimitStanding { threshold_unit: 99, ..standing.clone() },
            LimitStanding { threshold_source: 0, ..standing.clone() },
            LimitStanding { evaluation_outcome: 99, ..standing.clone() },
        ] {
            assert_eq!(of(unknown), Err("ENUM_UNKNOWN"));
        }
        assert_eq!(of(LimitStanding { limit_id: String::new(), ..standing }), Err("FIELD_INVALID"));
    }
}
