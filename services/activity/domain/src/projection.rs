//! The projection as a function of the sets of facts. Order and repetition of facts can't matter, because nothing is ever
//! added to a projection: it is computed from the sets again.

use contracts_activity::v1::{EvidenceGrade, ObservabilityStatus, RiskLevel};
use contracts_common::common::v1::{AuditStatus, IntegrityStatus, RunStatus, TerminationReason};

use crate::{
    facts::SetKind,
    limits::{Stand, worst},
};

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
    /// The id of the first member, where it is asked for.
    pub first: String,
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
    /// The first violation.
    pub violation_ref: String,
    /// Limits that were evaluated.
    pub limits_evaluated: i64,
    /// Where the limit is stored that it stands worst with.
    pub worst_limit: Option<i64>,
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

/// Computes the projection of one attempt. `set` gives the sums of one set, `limits` how it stands with each limit.
#[must_use]
pub fn project(
    steps: StepSums,
    set: impl Fn(SetKind) -> SetSums,
    limits: &[Stand],
    standing: Standing,
) -> Projection {
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
    let of_limits = match set(SetKind::LimitRisk).sums.map(|members| members > 0) {
        [_, _, true] => RiskLevel::Violated,
        [_, true, _] => RiskLevel::AtRisk,
        [true, ..] => RiskLevel::NearThreshold,
        _ => RiskLevel::Normal,
    };
    let blocked = violations.count > 0 || decisions.sums[2] > 0 || steps.despite_denial > 0;
    Projection {
        risk: risk(blocked, steps.unresolved > 0, standing).max(of_limits),
        denied_steps: decisions.sums[0],
        settled_cost_microusd: set(SetKind::Settlement).sums[0],
        incident_count: set(SetKind::Incident).net,
        violation_count: violations.count,
        violation_policy_id: violations.text,
        violation_ref: violations.first,
        limits_evaluated: i64::try_from(limits.len()).unwrap_or(i64::MAX),
        worst_limit: worst(limits).map(|stand| stand.key),
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
    let first = attempts.iter().find(|a| a.violation_count > 0);
    run.violation_policy_id = first.map(|a| a.violation_policy_id.clone()).unwrap_or_default();
    run.violation_ref = first.map(|a| a.violation_ref.clone()).unwrap_or_default();
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
        let p = project(StepSums::default(), |_| SetSums::default(), &[], Standing::default());
        assert_eq!(
            (p.risk, p.integrity, p.audit),
            (RiskLevel::Normal, IntegrityStatus::Unknown, AuditStatus::Pending)
        );
        assert_eq!(p.observability, ObservabilityStatus::Full);
    }

    #[test]
    fn each_observation_has_its_level() {
        let level = |steps: StepSums, kind, sums: SetSums, standing| {
            project(steps, with(kind, sums), &[], standing).risk
        };
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
        for (sums, risk) in [
            ([0, 0, 0], RiskLevel::Normal),
            ([1, 0, 0], RiskLevel::NearThreshold),
            ([2, 1, 0], RiskLevel::AtRisk),
            ([3, 2, 1], RiskLevel::Violated),
        ] {
            let limits = SetSums { count: 3, sums, ..SetSums::default() };
            assert_eq!(level(StepSums::default(), SetKind::LimitRisk, limits, Standing::default()), risk);
        }
        let near = SetSums { count: 1, sums: [1, 0, 0], ..SetSums::default() };
        let failed = ended(RunStatus::Failed, TerminationReason::Timeout);
        assert_eq!(level(StepSums::default(), SetKind::LimitRisk, near, failed), RiskLevel::AtRisk);
        let despite = StepSums { despite_denial: 1, ..StepSums::default() };
        assert_eq!(
            level(despite, SetKind::Draft, SetSums::default(), Standing::default()),
            RiskLevel::Violated
        );
    }

    #[test]
    fn a_run_sums_its_attempts_and_shows_the_newest_statuses() {
        let mut first = project(
            StepSums { steps: 2, ..StepSums::default() },
            |_| SetSums::default(),
            &[],
            Standing::default(),
        );
        first.risk = RiskLevel::Violated;
        first.violation_policy_id = "p1".into();
        first.violation_ref = "v1".into();
        first.violation_count = 1;
        first.worst_limit = Some(1);
        let mut second = first.clone();
        second.risk = RiskLevel::Normal;
        second.audit = AuditStatus::Complete;
        second.violation_policy_id = "p2".into();
        second.violation_ref = "v2".into();
        second.worst_limit = Some(2);
        let run = combine(&[first, second], 1).unwrap();
        assert_eq!((run.steps.steps, run.risk, run.audit), (4, RiskLevel::Violated, AuditStatus::Complete));
        assert_eq!((run.violation_policy_id.as_str(), run.incident_count), ("p1", 1));
        assert_eq!((run.violation_ref.as_str(), run.worst_limit), ("v1", Some(2)));
        assert!(combine(&[], 0).is_none());
    }
}
