//! The phase machine of a run attempt as one table: the kernel asks it before it moves a run, `activity` before it
//! stores the move. An unknown phase, status or event can't be represented; what is not in the table is refused.

use crate::common::v1::{
    RunEvent as E, RunPhase, RunPhase as P, RunStatus, RunStatus as S, TerminationReason,
    TerminationReason as R,
};

/// A phase with its status.
pub type State = (RunPhase, RunStatus);

/// Every phase that an attempt can have, in the order of a life.
pub const PHASES: [RunPhase; 7] =
    [P::Created, P::Authorized, P::Executing, P::GovernanceCheck, P::Finalizing, P::Completed, P::Failed];

/// Every status that an attempt can have.
pub const STATUSES: [RunStatus; 9] = [
    S::Queued,
    S::PendingApproval,
    S::Running,
    S::Paused,
    S::Succeeded,
    S::Failed,
    S::FailedPolicy,
    S::Cancelled,
    S::Retry,
];

/// Everything that can move an attempt.
pub const EVENTS: [E; 16] = [
    E::Create,
    E::Hold,
    E::Approved,
    E::Rejected,
    E::Expired,
    E::Authorize,
    E::Refuse,
    E::Cancel,
    E::Orphan,
    E::Claim,
    E::Pause,
    E::Resume,
    E::End,
    E::Checked,
    E::Finish,
    E::Fail,
];

const ENDED: [State; 4] =
    [(P::Failed, S::Failed), (P::Failed, S::FailedPolicy), (P::Failed, S::Cancelled), (P::Failed, S::Retry)];

/// The statuses that `phase` may have. Empty for UNSPECIFIED.
#[must_use]
pub const fn allowed(phase: RunPhase) -> &'static [RunStatus] {
    match phase {
        P::Unspecified => &[],
        P::Created => &[S::Queued, S::PendingApproval],
        P::Authorized => &[S::Queued],
        P::Executing => &[S::Running, S::Paused],
        P::GovernanceCheck | P::Finalizing => &[S::Running],
        P::Completed => &[S::Succeeded],
        P::Failed => &[S::Failed, S::FailedPolicy, S::Cancelled, S::Retry],
    }
}

/// Whether `phase` may have `status`.
#[must_use]
pub fn is_valid(phase: RunPhase, status: RunStatus) -> bool {
    allowed(phase).contains(&status)
}

/// Whether an attempt in `phase` has ended.
#[must_use]
pub const fn is_terminal(phase: RunPhase) -> bool {
    matches!(phase, P::Completed | P::Failed)
}

/// Where `event` may lead from `from` (`None`: the attempt does not exist yet). Empty: the event is refused there.
/// Where more than one state is possible, the kernel says which: the start decision for CREATE, the termination
/// reason for an end.
#[must_use]
pub const fn next(from: Option<State>, event: E) -> &'static [State] {
    match (from, event) {
        (None, E::Create) => &[(P::Created, S::Queued), (P::Created, S::PendingApproval)],
        (Some((P::Created, S::Queued)), E::Hold) => &[(P::Created, S::PendingApproval)],
        (Some((P::Created, S::PendingApproval)), E::Approved) => &[(P::Created, S::Queued)],
        (Some((P::Created, S::PendingApproval)), E::Rejected | E::Expired) => &[(P::Failed, S::FailedPolicy)],
        (Some((P::Created, S::Queued)), E::Authorize) => &[(P::Authorized, S::Queued)],
        (
            Some((P::Created, S::Queued | S::PendingApproval) | (P::Authorized, S::Queued)),
            E::Refuse | E::Cancel | E::Orphan,
        ) => &ENDED,
        (Some((P::Authorized, S::Queued)), E::Claim) => &[(P::Executing, S::Running)],
        (Some((P::Executing, S::Running)), E::Pause) => &[(P::Executing, S::Paused)],
        (Some((P::Executing, S::Paused)), E::Resume) => &[(P::Executing, S::Running)],
        (Some((P::Executing, S::Running | S::Paused)), E::End) => &[(P::GovernanceCheck, S::Running)],
        (Some((P::GovernanceCheck, S::Running)), E::Checked) => &[(P::Finalizing, S::Running)],
        (Some((P::Finalizing, S::Running)), E::Finish) => &FINISHED,
        (Some((P::Executing, S::Running | S::Paused) | (P::GovernanceCheck, S::Running)), E::Fail) => {
            &[(P::Failed, S::Failed)]
        }
        _ => &[],
    }
}

const FINISHED: [State; 5] = [(P::Completed, S::Succeeded), ENDED[0], ENDED[1], ENDED[2], ENDED[3]];

/// Termination reasons, strongest first: of several causes the first one is stored.
pub const STRONGEST_FIRST: [TerminationReason; 9] = [
    R::PolicyBlock,
    R::Frozen,
    R::BudgetExceeded,
    R::RateLimited,
    R::Timeout,
    R::SystemFailure,
    R::AgentFailure,
    R::UserAbort,
    R::Completed,
];

/// The statuses that an attempt which ended for `reason` may have. Empty for UNSPECIFIED.
#[must_use]
pub const fn endings(reason: TerminationReason) -> &'static [RunStatus] {
    match reason {
        R::Unspecified => &[],
        R::PolicyBlock => &[S::FailedPolicy],
        R::Frozen | R::UserAbort => &[S::Cancelled],
        R::BudgetExceeded => &[S::Failed],
        R::RateLimited | R::Timeout | R::SystemFailure | R::AgentFailure => &[S::Failed, S::Retry],
        R::Completed => &[S::Succeeded],
    }
}

/// The terminal phase that goes with a terminal status. `None`: the status is not terminal.
#[must_use]
pub const fn terminal_phase(status: RunStatus) -> Option<RunPhase> {
    match status {
        S::Succeeded => Some(P::Completed),
        S::Failed | S::FailedPolicy | S::Cancelled | S::Retry => Some(P::Failed),
        S::Unspecified | S::Queued | S::PendingApproval | S::Running | S::Paused => None,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// From, event, to phase, to status, as numbers, so that rows have an order.
    type Row = (Option<(i32, i32)>, i32, i32, i32);

    /// Section 2 of the kernel's specification once more, row by row, written the other way round.
    fn expected() -> BTreeSet<Row> {
        let by_reason = [S::Failed, S::FailedPolicy, S::Cancelled, S::Retry];
        let mut rows = BTreeSet::new();
        let mut add = |from: Option<State>, event: E, to: State| {
            let from = from.map(|(p, s)| (p as i32, s as i32));
            assert!(rows.insert((from, event as i32, to.0 as i32, to.1 as i32)));
        };
        add(None, E::Create, (P::Created, S::Queued));
        add(None, E::Create, (P::Created, S::PendingApproval));
        add(Some((P::Created, S::Queued)), E::Hold, (P::Created, S::PendingApproval));
        add(Some((P::Created, S::PendingApproval)), E::Approved, (P::Created, S::Queued));
        add(Some((P::Created, S::PendingApproval)), E::Rejected, (P::Failed, S::FailedPolicy));
        add(Some((P::Created, S::PendingApproval)), E::Expired, (P::Failed, S::FailedPolicy));
        add(Some((P::Created, S::Queued)), E::Authorize, (P::Authorized, S::Queued));
        for from in [(P::Created, S::Queued), (P::Created, S::PendingApproval), (P::Authorized, S::Queued)] {
            for event in [E::Refuse, E::Cancel, E::Orphan] {
                by_reason.iter().for_each(|&status| add(Some(from), event, (P::Failed, status)));
            }
        }
        add(Some((P::Authorized, S::Queued)), E::Claim, (P::Executing, S::Running));
        add(Some((P::Executing, S::Running)), E::Pause, (P::Executing, S::Paused));
        add(Some((P::Executing, S::Paused)), E::Resume, (P::Executing, S::Running));
        for status in [S::Running, S::Paused] {
            add(Some((P::Executing, status)), E::End, (P::GovernanceCheck, S::Running));
            add(Some((P::Executing, status)), E::Fail, (P::Failed, S::Failed));
        }
        add(Some((P::GovernanceCheck, S::Running)), E::Checked, (P::Finalizing, S::Running));
        add(Some((P::GovernanceCheck, S::Running)), E::Fail, (P::Failed, S::Failed));
        add(Some((P::Finalizing, S::Running)), E::Finish, (P::Completed, S::Succeeded));
        by_reason
            .iter()
            .for_each(|&status| add(Some((P::Finalizing, S::Running)), E::Finish, (P::Failed, status)));
        rows
    }

    fn states() -> Vec<Option<State>> {
        let phases = PHASES.into_iter().chain([P::Unspecified]);
        let pairs =
            phases.flat_map(|p| STATUSES.into_iter().chain([S::Unspecified]).map(move |s| Some((p, s))));
        pairs.chain([None]).collect()
    }

    #[test]
    fn every_phase_status_event_triple_moves_as_specified_or_not_at_all() {
        let (mut found, mut asked) = (BTreeSet::new(), 0);
        for from in states() {
            for event in EVENTS.into_iter().chain([E::Unspecified]) {
                asked += 1;
                for to in next(from, event) {
                    let from = from.map(|(p, s)| (p as i32, s as i32));
                    assert!(found.insert((from, event as i32, to.0 as i32, to.1 as i32)), "listed twice");
                }
            }
        }
        assert_eq!(asked, (8 * 10 + 1) * 17);
        assert_eq!(found, expected());
        assert_eq!(found.len(), 57);
    }

    #[test]
    fn seven_times_nine_pairs_and_only_valid_ones_are_reached() {
        let valid = PHASES.into_iter().flat_map(|p| STATUSES.into_iter().map(move |s| (p, s)));
        let valid: Vec<State> = valid.filter(|&(p, s)| is_valid(p, s)).collect();
        assert_eq!(valid.len(), 12);
        for from in states() {
            for event in EVENTS {
                let to = next(from, event);
                assert!(to.iter().all(|state| valid.contains(state)));
                assert!(to.is_empty() || from.is_none_or(|state| valid.contains(&state)));
            }
        }
        assert!(allowed(P::Unspecified).is_empty());
    }

    #[test]
    fn no_phase_is_skipped_and_failed_is_reachable_from_every_one_that_is_not_terminal() {
        for (index, &phase) in PHASES.iter().enumerate() {
            let mut reached = BTreeSet::new();
            for &status in allowed(phase) {
                for event in EVENTS {
                    reached.extend(next(Some((phase, status)), event).iter().map(|&(to, _)| to as i32));
                }
            }
            reached.remove(&(phase as i32));
            if is_terminal(phase) {
                assert!(reached.is_empty());
            } else {
                assert_eq!(reached, BTreeSet::from([PHASES[index + 1] as i32, P::Failed as i32]));
            }
        }
    }

    #[test]
    fn every_reason_ends_in_terminal_statuses_only() {
        for reason in STRONGEST_FIRST {
            assert!(!endings(reason).is_empty());
            for &status in endings(reason) {
                assert!(terminal_phase(status).is_some_and(|phase| is_valid(phase, status)));
            }
        }
        let ending: BTreeSet<i32> =
            STRONGEST_FIRST.iter().flat_map(|&r| endings(r)).map(|&s| s as i32).collect();
        let terminal = STATUSES.iter().filter(|&&s| terminal_phase(s).is_some()).map(|&s| s as i32);
        assert_eq!(ending, terminal.collect());
    }
}
