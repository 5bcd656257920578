//! What the agent is told after a record.

use contracts_common::common::v1::{Directive, ErrorClass, GovernanceProfile, Reason, StepOutcome};
use contracts_controls::v1::{SettleResponse, SettleResult};
use contracts_spine::v1::{RecordStepRequest, Settlement};
use runspine_types::Hasher;

use super::state::Attempt;

use super::report::Standing;

/// What a run is told because of where it stands; UNSPECIFIED: nothing.
pub(super) fn halted(attempt: &Attempt, late: bool) -> Directive {
    if late || attempt.state.stop.is_some() {
        Directive::Terminate
    } else if attempt.status() == contracts_common::common::v1::RunStatus::Paused {
        Directive::Pause
    } else {
        Directive::Unspecified
    }
}

pub(super) fn directive(
    attempt: &Attempt,
    standing: &Standing,
    settled: Option<&SettleResponse>,
) -> (Directive, Vec<Reason>) {
    if standing.halted != Directive::Unspecified {
        return (standing.halted, Vec::new());
    }
    match settled {
        Some(s) if attempt.profile() != GovernanceProfile::ObserveOnly => match s.directive() {
            Directive::Unspecified => (Directive::Continue, s.reasons.clone()),
            stated => (stated, s.reasons.clone()),
        },
        _ => (Directive::Continue, Vec::new()),
    }
}

pub(super) fn settlement(
    report: &RecordStepRequest,
    standing: &Standing,
    settled: &Result<Option<SettleResponse>, ()>,
) -> Settlement {
    let held = standing.step.as_ref().is_some_and(|s| !s.hold_id.is_empty());
    match settled {
        Err(()) => Settlement::Pending,
        Ok(Some(s)) => match s.result() {
            SettleResult::Late => Settlement::Late,
            SettleResult::Held => Settlement::Held,
            SettleResult::Settled | SettleResult::Unspecified => Settlement::Settled,
        },
        Ok(None) if !held => Settlement::None,
        Ok(None) if report.outcome() == StepOutcome::Skipped => Settlement::Settled,
        Ok(None) => Settlement::Held,
    }
}

/// Whether another try may follow, and after how long: advice for the agent.
pub(super) fn retry(report: &RecordStepRequest) -> (bool, u64) {
    let base = match report.error_class() {
        ErrorClass::Transient => 1_000_u64,
        ErrorClass::RateLimit => 5_000,
        _ => return (false, 0),
    };
    if report.outcome() != StepOutcome::Retried || report.retry_count >= 3 {
        return (false, 0);
    }
    let delay = base.saturating_mul(1 << report.retry_count).min(30_000);
    let jitter = Hasher::new("runspine.retry.v1")
        .fixed(report.run_id.as_bytes())
        .fixed(&report.step_index.to_be_bytes())
        .fixed(&(report.retry_count + 1).to_be_bytes())
        .finish();
    let mut first = [0; 4];
    first.copy_from_slice(&jitter.0[..4]);
    let share = u64::from(u32::from_be_bytes(first));
    (true, delay + delay.saturating_mul(share) / 5 / (u64::from(u32::MAX) + 1))
}
