//! Whether an attempt may be moved.

use contracts_common::{
    common::v1::{RunEvent, RunPhase, RunStatus},
    phase,
};
use runspine_errors::{Fault, Outcome};
use runspine_types::Micros;

use crate::{lease::Lease, reasons};

/// What is known of an attempt that is to be moved.
#[derive(Debug, Clone)]
pub struct Position<'a> {
    /// The run, for messages.
    pub run_id: &'a str,
    /// Its phase.
    pub phase: RunPhase,
    /// Its status.
    pub status: RunStatus,
    /// Number of its last transition.
    pub sequence: i64,
}

/// Refuses a pair that is not in the table.
///
/// # Errors
/// PHASE_STATUS_MISMATCH with the statuses that the phase may have.
pub fn check_pair(to_phase: RunPhase, to_status: RunStatus) -> Outcome<()> {
    if phase::is_valid(to_phase, to_status) {
        return Ok(());
    }
    let allowed: Vec<&str> = phase::allowed(to_phase).iter().map(RunStatus::as_str_name).collect();
    let text = format!("{} can't have status {}", to_phase.as_str_name(), to_status.as_str_name());
    Err(Fault::new(&reasons::PHASE_STATUS_MISMATCH, text).with("allowed", allowed.join(",")))
}

/// Refuses what the phase table does not have.
///
/// # Errors
/// RUN_TERMINAL, PHASE_STATUS_MISMATCH or ILLEGAL_TRANSITION.
pub fn check_move(from: &Position<'_>, event: RunEvent, to: phase::State) -> Outcome<()> {
    check_pair(to.0, to.1)?;
    if phase::is_terminal(from.phase) {
        return Err(Fault::new(&reasons::RUN_TERMINAL, "the attempt has ended")
            .precondition(format!("runs/{}", from.run_id), "an attempt that has not ended")
            .with("status", from.status.as_str_name()));
    }
    if phase::next(Some((from.phase, from.status)), event).contains(&to) {
        return Ok(());
    }
    let text = format!(
        "{} does not lead from {} / {} to {} / {}",
        event.as_str_name(),
        from.phase.as_str_name(),
        from.status.as_str_name(),
        to.0.as_str_name(),
        to.1.as_str_name()
    );
    Err(Fault::new(&reasons::ILLEGAL_TRANSITION, text)
        .precondition(format!("runs/{}", from.run_id), "a move of the phase table"))
}

/// Refuses the second of two who saw the same sequence number.
///
/// # Errors
/// SEQUENCE_MOVED with the present number.
pub fn check_sequence(from: &Position<'_>, expected: i64) -> Outcome<()> {
    if from.sequence == expected {
        return Ok(());
    }
    Err(Fault::new(&reasons::SEQUENCE_MOVED, "another transition came first; read the run again")
        .with("sequence", from.sequence)
        .with("expected_sequence", expected))
}

/// Refuses a caller who names a fence and is not the newest holder or claimer. Fence 0 means that the caller works under
/// none: a saga, whom the sequence number and the fence of its contract keep in order. A lapsed lease moves nothing while
/// the attempt still executes: later its completion must not fail because it took longer than the lease.
///
/// # Errors
/// STALE_FENCE or LEASE_LAPSED.
pub fn check_fence(lease: &Lease, phase: RunPhase, fence: i64, now: Micros) -> Outcome<()> {
    if fence == 0 {
        return Ok(());
    }
    if fence != lease.fence {
        return Err(stale_fence(lease.fence));
    }
    if fence == lease.lease_fence && phase == RunPhase::Executing && lease.is_lapsed(now) {
        return Err(lapsed());
    }
    Ok(())
}

/// The fault of an old fence.
#[must_use]
pub fn stale_fence(newest: i64) -> Fault {
    Fault::new(&reasons::STALE_FENCE, "somebody else holds or has claimed the run").with("fence", newest)
}

/// The fault of a lease that is over.
#[must_use]
pub fn lapsed() -> Fault {
    Fault::new(&reasons::LEASE_LAPSED, "the lease is over; its holds are gone with it")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn position(phase: RunPhase, status: RunStatus) -> Position<'static> {
        Position { run_id: "r", phase, status, sequence: 3 }
    }

    #[test]
    fn every_move_is_judged_by_the_table_alone() {
        let (mut legal, mut refused) = (0, 0);
        for from_phase in phase::PHASES {
            for &from_status in phase::allowed(from_phase) {
                for event in phase::EVENTS {
                    for to_phase in phase::PHASES {
                        for to_status in phase::STATUSES {
                            let from = position(from_phase, from_status);
                            let verdict = check_move(&from, event, (to_phase, to_status));
                            let table = phase::next(Some((from_phase, from_status)), event);
                            match verdict {
                                Ok(()) => {
                                    legal += 1;
                                    assert!(table.contains(&(to_phase, to_status)));
                                }
                                Err(fault) => {
                                    refused += 1;
                                    assert!(!table.contains(&(to_phase, to_status)));
                                    let reason = if !phase::is_valid(to_phase, to_status) {
                                        &reasons::PHASE_STATUS_MISMATCH
                                    } else if phase::is_terminal(from_phase) {
                                        &reasons::RUN_TERMINAL
                                    } else {
                                        &reasons::ILLEGAL_TRANSITION
                                    };
                                    assert!(fault.is(reason));
                                }
                            }
                        }
                    }
                }
            }
        }
        assert_eq!((legal, refused), (55, 12 * 16 * 63 - 55));
    }

    #[test]
    fn only_the_expected_sequence_moves() {
        let at = position(RunPhase::Created, RunStatus::Queued);
        assert!(check_sequence(&at, 3).is_ok());
        for other in [2, 4] {
            assert!(check_sequence(&at, other).unwrap_err().is(&reasons::SEQUENCE_MOVED));
        }
    }

    #[test]
    fn fences_below_and_lapsed_leases_move_nothing() {
        let now = Micros(100);
        let live = Lease { fence: 2, lease_fence: 2, expires_at: Some(Micros(101)), ..Lease::default() };
        let over = Lease { expires_at: Some(Micros(100)), ..live.clone() };
        let claimed = Lease { fence: 3, claimed_until: Some(Micros(101)), ..over.clone() };
        let check = |lease: &Lease, phase, fence| {
            check_fence(lease, phase, fence, now).err().map(|fault| fault.reason().name)
        };
        assert_eq!(check(&live, RunPhase::Executing, 2), None);
        assert_eq!(check(&live, RunPhase::Executing, 1), Some("STALE_FENCE"));
        assert_eq!(check(&live, RunPhase::Executing, 3), Some("STALE_FENCE"));
        assert_eq!(check(&live, RunPhase::Executing, 0), None);
        assert_eq!(check(&over, RunPhase::Executing, 2), Some("LEASE_LAPSED"));
        assert_eq!(check(&over, RunPhase::GovernanceCheck, 2), None);
        assert_eq!(check(&claimed, RunPhase::Executing, 2), Some("STALE_FENCE"));
        assert_eq!(check(&claimed, RunPhase::Executing, 0), None);
        assert_eq!(check(&claimed, RunPhase::Executing, 3), None);
    }
}
