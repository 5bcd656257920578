//! Facts as rows of sets, and the projection as a function of those sets. Order and repetition of facts can't matter,
//! because nothing is ever added to a projection: it is computed from the sets again.

use contracts_activity::v1::{
    EvidenceGrade, Fact, ObservabilityStatus, RiskLevel, StepFact, UsageFact, fact::Body,
};
use contracts_common::common::v1::{
    AuditStatus, IntegrityStatus, RunStatus, StepKind, StepOutcome, TerminationReason, Verdict,
};

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

fn member(body: &Body) -> Result<Option<Member>, &'static str> {
    use SetKind as K;
    let member = match body {
        Body::StepRecorded(_) | Body::UsageCorrected(_) => return Ok(None),
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

/// Sums over the members of one set.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SetSums {
    /// Members.
    pub count: i64,
    /// Sums of their numbers.
    pub sums: [i64; 3],
    /// Members with v1 and without v2.
    pub net: i64,
    /// The text of the only, or of the first, member.
    pub text: String,
}

/// Sums over the steps of an attempt.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StepSums {
    /// Records.
    pub steps: i64,
    /// Input tokens, as corrected.
    pub input_tokens: i64,
    /// Output tokens, as corrected.
    pub output_tokens: i64,
    /// Cost in micro-USD, as corrected.
    pub cost_microusd: i64,
    /// Tries beyond the first.
    pub retries: i64,
    /// Records whose outcome nobody knows.
    pub ambiguous: i64,
    /// Those that no later record settled.
    pub unresolved: i64,
    /// Recorded without authorization.
    pub unauthorized: i64,
    /// Executed despite denial.
    pub despite_denial: i64,
    /// With a step missing before them.
    pub gaps: i64,
    /// The time of the last one, microseconds. 0: none.
    pub last_at: i64,
}

/// How an attempt stands, as far as its risk goes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Standing {
    /// Its status, once it is terminal.
    pub ended: Option<(RunStatus, TerminationReason)>,
    /// Whether it ever was stale.
    pub stale: bool,
}

/// What facts say about one attempt, or about a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Projection {
    /// Sums over its steps.
    pub steps: StepSums,
    /// Steps that were denied.
    pub denied_steps: i64,
    /// Cost by the settlement.
    pub settled_cost_microusd: i64,
    /// Incidents linked and not voided.
    pub incident_count: i64,
    /// Violations reported.
    pub violation_count: i64,
    /// The rule of the first violation.
    pub violation_policy_id: String,
    /// Policy drafts.
    pub policy_draft_count: i64,
    /// Integrity of the trace.
    pub integrity: IntegrityStatus,
    /// Verdict of the audit contract.
    pub audit: AuditStatus,
    /// Whether a decision was made while a decider could not decide.
    pub degraded: bool,
    /// Evidence that could not be captured.
    pub evidence_failures: i64,
    /// Grade of the evidence. `None`: not graded.
    pub grade: Option<EvidenceGrade>,
    /// Whether a required class of evidence is missing.
    pub required_missing: bool,
    /// Whether the recorders worked.
    pub observability: ObservabilityStatus,
    /// The last reason why they did not.
    pub observability_error: String,
    /// Risk level.
    pub risk: RiskLevel,
}

/// Computes the projection of one attempt. `set` gives the sums of one set.
#[must_use]
pub fn project(steps: StepSums, set: impl Fn(SetKind) -> SetSums, standing: Standing) -> Projection {
    let decisions = set(SetKind::Decision);
    let violations = set(SetKind::Violation);
    let grade = set(SetKind::Grade);
    let recorders = set(SetKind::RecorderDegraded);
    let degraded = decisions.sums[1] > 0;
    let observability = if recorders.count > 0 || degraded {
        ObservabilityStatus::Degraded
    } else if set(SetKind::NoTrace).count > 0 && steps.steps == 0 {
        ObservabilityStatus::None
    } else {
        ObservabilityStatus::Full
    };
    let blocked = violations.count > 0 || decisions.sums[2] > 0 || steps.despite_denial > 0;
    Projection {
        risk: risk(blocked, steps.unresolved > 0, standing),
        denied_steps: decisions.sums[0],
        settled_cost_microusd: set(SetKind::Settlement).sums[0],
        incident_count: set(SetKind::Incident).net,
        violation_count: violations.count,
        violation_policy_id: violations.text,
        policy_draft_count: set(SetKind::Draft).count,
        integrity: integrity(set(SetKind::Proof).sums[0]),
        audit: audit(set(SetKind::Contract).sums[0]),
        degraded,
        evidence_failures: set(SetKind::EvidenceFailure).count,
        grade: grade_of(grade.sums[0]),
        required_missing: grade.sums[1] > 0,
        observability,
        observability_error: recorders.text,
        steps,
    }
}

fn risk(blocked: bool, unresolved: bool, standing: Standing) -> RiskLevel {
    let ended = match standing.ended {
        Some((RunStatus::FailedPolicy, _)) => RiskLevel::Violated,
        Some((RunStatus::Failed | RunStatus::Retry, _))
        | Some((RunStatus::Cancelled, TerminationReason::Frozen)) => RiskLevel::AtRisk,
        Some(_) if unresolved => RiskLevel::AtRisk,
        _ => RiskLevel::Normal,
    };
    if blocked {
        RiskLevel::Violated
    } else if standing.stale {
        ended.max(RiskLevel::AtRisk)
    } else {
        ended
    }
}

/// The grade behind a stored number. `None`: not graded.
#[must_use]
pub fn grade_of(number: i64) -> Option<EvidenceGrade> {
    i32::try_from(number)
        .ok()
        .and_then(|n| EvidenceGrade::try_from(n).ok())
        .filter(|g| *g != EvidenceGrade::Unspecified)
}

fn integrity(number: i64) -> IntegrityStatus {
    let status = i32::try_from(number).ok().and_then(|n| IntegrityStatus::try_from(n).ok());
    status.filter(|s| *s != IntegrityStatus::Unspecified).unwrap_or(IntegrityStatus::Unknown)
}

fn audit(number: i64) -> AuditStatus {
    let status = i32::try_from(number).ok().and_then(|n| AuditStatus::try_from(n).ok());
    status.filter(|s| *s != AuditStatus::Unspecified).unwrap_or(AuditStatus::Pending)
}

/// Joins the projections of all attempts of a run, in their order: sums over all, the newest attempt's statuses, the
/// highest risk. `incidents` are the distinct ones of the run.
#[must_use]
pub fn combine(attempts: &[Projection], incidents: i64) -> Option<Projection> {
    let mut run = attempts.last()?.clone();
    run.incident_count = incidents;
    for other in &attempts[..attempts.len() - 1] {
        add_steps(&mut run.steps, &other.steps);
        run.denied_steps += other.denied_steps;
        run.settled_cost_microusd += other.settled_cost_microusd;
        run.violation_count += other.violation_count;
        run.policy_draft_count += other.policy_draft_count;
        run.evidence_failures += other.evidence_failures;
        run.degraded |= other.degraded;
        run.risk = run.risk.max(other.risk);
    }
    let first = attempts.iter().find(|a| !a.violation_policy_id.is_empty());
    run.violation_policy_id = first.map(|a| a.violation_policy_id.clone()).unwrap_or_default();
    Some(run)
}

fn add_steps(sum: &mut StepSums, other: &StepSums) {
    sum.steps += other.steps;
    sum.input_tokens += other.input_tokens;
    sum.output_tokens += other.output_tokens;
    sum.cost_microusd += other.cost_microusd;
    sum.retries += other.retries;
    sum.ambiguous += other.ambiguous;
    sum.unresolved += other.unresolved;
    sum.unauthorized += other.unauthorized;
    sum.despite_denial += other.despite_denial;
    sum.gaps += other.gaps;
    sum.last_at = sum.last_at.max(other.last_at);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(kind: SetKind, sums: SetSums) -> impl Fn(SetKind) -> SetSums {
        move |asked| if asked == kind { sums.clone() } else { SetSums::default() }
    }

    #[test]
    fn nothing_known_is_a_quiet_run() {
        let p = project(StepSums::default(), |_| SetSums::default(), Standing::default());
        assert_eq!(
            (p.risk, p.integrity, p.audit),
            (RiskLevel::Normal, IntegrityStatus::Unknown, AuditStatus::Pending)
        );
        assert_eq!(p.observability, ObservabilityStatus::Full);
    }

    #[test]
    fn each_observation_has_its_level() {
        let level =
            |steps: StepSums, kind, sums: SetSums, standing| project(steps, with(kind, sums), standing).risk;
        let none = || (StepSums::default(), SetKind::Draft, SetSums::default());
        let ended = |status, reason| Standing { ended: Some((status, reason)), stale: false };
        let (s, k, m) = none();
        assert_eq!(level(s, k, m, ended(RunStatus::Failed, TerminationReason::Timeout)), RiskLevel::AtRisk);
        let (s, k, m) = none();
        assert_eq!(
            level(s, k, m, ended(RunStatus::FailedPolicy, TerminationReason::PolicyBlock)),
            RiskLevel::Violated
        );
        let (s, k, m) = none();
        assert_eq!(level(s, k, m, ended(RunStatus::Cancelled, TerminationReason::Frozen)), RiskLevel::AtRisk);
        let (s, k, m) = none();
        assert_eq!(
            level(s, k, m, ended(RunStatus::Cancelled, TerminationReason::UserAbort)),
            RiskLevel::Normal
        );
        let (s, k, m) = none();
        assert_eq!(level(s, k, m, Standing { stale: true, ended: None }), RiskLevel::AtRisk);
        let open = StepSums { unresolved: 1, ..StepSums::default() };
        let done = ended(RunStatus::Succeeded, TerminationReason::Completed);
        assert_eq!(level(open.clone(), SetKind::Draft, SetSums::default(), done), RiskLevel::AtRisk);
        assert_eq!(level(open, SetKind::Draft, SetSums::default(), Standing::default()), RiskLevel::Normal);
        let one = SetSums { count: 1, ..SetSums::default() };
        assert_eq!(
            level(StepSums::default(), SetKind::Violation, one, Standing::default()),
            RiskLevel::Violated
        );
        let blocked = SetSums { count: 1, sums: [1, 0, 1], ..SetSums::default() };
        assert_eq!(
            level(StepSums::default(), SetKind::Decision, blocked, Standing::default()),
            RiskLevel::Violated
        );
        let despite = StepSums { despite_denial: 1, ..StepSums::default() };
        assert_eq!(
            level(despite, SetKind::Draft, SetSums::default(), Standing::default()),
            RiskLevel::Violated
        );
    }

    #[test]
    fn unknown_values_are_refused_never_guessed() {
        let fact = |body| Fact { body, ..Fact::default() };
        assert_eq!(row(&fact(None)), Err("FIELD_INVALID"));
        let step = StepFact { kind: 99, outcome: 1, ..StepFact::default() };
        assert_eq!(row(&fact(Some(Body::StepRecorded(step)))), Err("ENUM_UNKNOWN"));
        let proof = |integrity| contracts_activity::v1::ProofFact { integrity };
        assert_eq!(row(&fact(Some(Body::ProofRecorded(proof(99))))), Err("ENUM_UNKNOWN"));
        assert_eq!(row(&fact(Some(Body::ProofRecorded(proof(0))))), Ok(Row::Nothing));
    }

    #[test]
    fn a_run_sums_its_attempts_and_shows_the_newest_statuses() {
        let mut first = project(
            StepSums { steps: 2, ..StepSums::default() },
            |_| SetSums::default(),
            Standing::default(),
        );
        first.risk = RiskLevel::Violated;
        first.violation_policy_id = "p1".into();
        let mut second = first.clone();
        second.risk = RiskLevel::Normal;
        second.audit = AuditStatus::Complete;
        second.violation_policy_id = "p2".into();
        let run = combine(&[first, second], 1).unwrap();
        assert_eq!((run.steps.steps, run.risk, run.audit), (4, RiskLevel::Violated, AuditStatus::Complete));
        assert_eq!((run.violation_policy_id.as_str(), run.incident_count), ("p1", 1));
        assert!(combine(&[], 0).is_none());
    }
}
