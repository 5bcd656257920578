//! Whether an attempt may end, and what its run is then.

use contracts_activity::v1::{IncidentDisposition, LifeState};
use contracts_common::{
    common::v1::{RunStatus, TerminationReason},
    phase,
};
use runspine_errors::{Fault, Outcome};
use runspine_types::is_uuid;

use crate::reasons;

/// How an attempt is to end.
#[derive(Debug, Clone)]
pub struct Ending<'a> {
    /// The terminal status.
    pub status: RunStatus,
    /// Why.
    pub reason: TerminationReason,
    /// Its evaluation.
    pub evaluation_id: &'a str,
    /// What it meant for incidents.
    pub disposition: IncidentDisposition,
    /// The incident or prevention record.
    pub incident_id: &'a str,
    /// Number of the attempt.
    pub attempt: u32,
    /// Attempts that the run has.
    pub max_attempts: u32,
    /// Whether its saga was compensated: an attempt that had no incident to void may say so.
    pub compensated: bool,
}

/// Refuses an end without evidence, with a status that its reason does not lead to, or a retry that is not left.
///
/// # Errors
/// COMPLETION_EVIDENCE_REQUIRED, PHASE_STATUS_MISMATCH or ATTEMPTS_EXHAUSTED.
pub fn check(ending: &Ending<'_>) -> Outcome<phase::State> {
    check_evidence(ending)?;
    let terminal = phase::terminal_phase(ending.status)
        .filter(|_| phase::endings(ending.reason).contains(&ending.status));
    let Some(to_phase) = terminal else {
        let text = format!("{} does not end as {}", ending.reason.as_str_name(), ending.status.as_str_name());
        let allowed: Vec<&str> = phase::endings(ending.reason).iter().map(RunStatus::as_str_name).collect();
        return Err(Fault::new(&reasons::PHASE_STATUS_MISMATCH, text).with("allowed", allowed.join(",")));
    };
    if ending.status == RunStatus::Retry && ending.attempt >= ending.max_attempts {
        return Err(Fault::new(
            &reasons::ATTEMPTS_EXHAUSTED,
            "no attempt is left; end it as FAILED, RETRY_EXHAUSTED",
        )
        .with("max_attempts", ending.max_attempts));
    }
    Ok((to_phase, ending.status))
}

fn check_evidence(ending: &Ending<'_>) -> Outcome<()> {
    let nothing_to_report = ending.disposition == IncidentDisposition::NotApplicable;
    let incident = match ending.disposition {
        IncidentDisposition::Unspecified => false,
        IncidentDisposition::NotApplicable => ending.incident_id.is_empty(),
        // A compensation that had no incident to void names none.
        IncidentDisposition::RolledBack => ending.incident_id.is_empty() || is_uuid(ending.incident_id),
        _ => is_uuid(ending.incident_id),
    };
    // Success has nothing to report, everything else has: a failed run without an incident result is not finished.
    let fits = nothing_to_report == (ending.status == RunStatus::Succeeded) || ending.compensated;
    if is_uuid(ending.evaluation_id) && incident && fits {
        return Ok(());
    }
    let mut fault = Fault::new(
        &reasons::COMPLETION_EVIDENCE_REQUIRED,
        "an attempt ends with its evaluation and its incident result",
    );
    if !is_uuid(ending.evaluation_id) {
        fault = fault.field("evaluation_id", "REQUIRED", "the id of the evaluation of this attempt");
    }
    if !incident || !fits {
        fault = fault.field(
            "incident_result",
            "REQUIRED",
            "an incident or prevention; NOT_APPLICABLE exactly on success",
        );
    }
    Err(fault)
}

/// Whether a run is live while its latest attempt has `phase` and `status`.
#[must_use]
pub fn life_state(run_phase: contracts_common::common::v1::RunPhase, status: RunStatus) -> LifeState {
    if phase::is_terminal(run_phase) && status != RunStatus::Retry {
        LifeState::Completed
    } else {
        LifeState::Live
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "0190c3a0-0000-7000-8000-0000000000aa";

    fn ending(status: RunStatus, reason: TerminationReason) -> Ending<'static> {
        let success = status == RunStatus::Succeeded;
        Ending {
            status,
            reason,
            evaluation_id: ID,
            disposition: if success {
                IncidentDisposition::NotApplicable
            } else {
                IncidentDisposition::Incident
            },
            incident_id: if success { "" } else { ID },
            attempt: 1,
            max_attempts: 3,
            compensated: false,
        }
    }

    #[test]
    fn each_status_ends_for_its_reasons_only() {
        let mut accepted = 0;
        for status in phase::STATUSES {
            for reason in phase::STRONGEST_FIRST {
                let verdict = check(&ending(status, reason));
                assert_eq!(
                    verdict.is_ok(),
                    phase::endings(reason).contains(&status),
                    "{status:?} {reason:?}"
                );
                accepted += usize::from(verdict.is_ok());
            }
        }
        assert_eq!(accepted, 13);
    }

    #[test]
    fn nothing_ends_without_evidence() {
        let good = ending(RunStatus::Failed, TerminationReason::AgentFailure);
        let bad = [
            Ending { evaluation_id: "", ..good.clone() },
            Ending { disposition: IncidentDisposition::Unspecified, ..good.clone() },
            Ending { disposition: IncidentDisposition::NotApplicable, incident_id: "", ..good.clone() },
            Ending { incident_id: "", ..good.clone() },
            Ending {
                disposition: IncidentDisposition::Incident,
                incident_id: ID,
                ..ending(RunStatus::Succeeded, TerminationReason::Completed)
            },
        ];
        for ending in bad {
            assert!(check(&ending).unwrap_err().is(&reasons::COMPLETION_EVIDENCE_REQUIRED), "{ending:?}");
        }
        assert!(check(&good).is_ok());
        let nothing =
            Ending { disposition: IncidentDisposition::NotApplicable, incident_id: "", ..good.clone() };
        assert!(check(&Ending { compensated: true, ..nothing }).is_ok());
        let voided = Ending { disposition: IncidentDisposition::RolledBack, ..good };
        assert!(check(&voided).is_ok());
    }

    #[test]
    fn the_last_attempt_is_not_retried() {
        let last = |attempt| Ending { attempt, ..ending(RunStatus::Retry, TerminationReason::Timeout) };
        assert!(check(&last(2)).is_ok());
        assert!(check(&last(3)).unwrap_err().is(&reasons::ATTEMPTS_EXHAUSTED));
    }
}
