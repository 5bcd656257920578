//! The states of an incident and what moves them.

use runspine_errors::{Fault, Outcome};

use crate::{Status, reasons};

/// What moves a state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Act {
    /// Somebody takes it.
    Acknowledge,
    /// A person or a worker resolves it.
    Resolve,
    /// A person closes it without a resolution.
    Close,
    /// A person makes it active again.
    Reopen,
    /// A report makes it active again within the flap window.
    Flap,
    /// The saga that opened it is undone.
    Void,
}

/// Every legal move. What is not here is refused in every profile.
pub const TRANSITIONS: &[(Status, Act, Status)] = &[
    (Status::Open, Act::Acknowledge, Status::Acknowledged),
    (Status::Open, Act::Resolve, Status::Resolved),
    (Status::Open, Act::Close, Status::ClosedManually),
    (Status::Open, Act::Void, Status::Voided),
    (Status::Acknowledged, Act::Resolve, Status::Resolved),
    (Status::Acknowledged, Act::Close, Status::ClosedManually),
    (Status::Acknowledged, Act::Void, Status::Voided),
    (Status::Resolved, Act::Reopen, Status::Open),
    (Status::Resolved, Act::Flap, Status::Open),
    (Status::Resolved, Act::Void, Status::Voided),
    (Status::ClosedManually, Act::Reopen, Status::Open),
    (Status::ClosedManually, Act::Void, Status::Voided),
];

/// Where `act` leads from `from`.
///
/// # Errors
/// `INVALID_TRANSITION` when it leads nowhere.
pub fn next(from: Status, act: Act) -> Outcome<Status> {
    TRANSITIONS.iter().find(|(at, by, _)| *at == from && *by == act).map(|&(.., to)| to).ok_or_else(|| {
        Fault::new(&reasons::INVALID_TRANSITION, format!("{act:?} is not possible from {}", from.name()))
            .with("from", from.name())
    })
}

/// Whether any act leads from one state to the other.
#[must_use]
pub fn legal(from: Status, to: Status) -> bool {
    TRANSITIONS.iter().any(|&(at, _, then)| at == from && then == to)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_pairs_of_states() {
        // Rows: from OPEN, ACKNOWLEDGED, RESOLVED, CLOSED_MANUALLY, VOIDED; columns: to the same.
        let table = [
            [false, true, true, true, true],
            [false, false, true, true, true],
            [true, false, false, false, true],
            [true, false, false, false, true],
            [false, false, false, false, false],
        ];
        for (from, row) in Status::ALL.iter().zip(table) {
            for (to, expected) in Status::ALL.iter().zip(row) {
                assert_eq!(legal(*from, *to), expected, "{} to {}", from.name(), to.name());
            }
        }
    }

    #[test]
    fn every_act_from_every_state_moves_by_the_table_or_is_refused() {
        let acts = [Act::Acknowledge, Act::Resolve, Act::Close, Act::Reopen, Act::Flap, Act::Void];
        let mut moved = 0;
        for from in Status::ALL {
            for act in acts {
                match next(*from, act) {
                    Ok(to) => {
                        assert!(legal(*from, to));
                        moved += 1;
                    }
                    Err(fault) => assert!(fault.is(&reasons::INVALID_TRANSITION)),
                }
            }
        }
        assert_eq!(moved, TRANSITIONS.len());
    }

    #[test]
    fn only_reopening_makes_an_ended_incident_active() {
        for &(from, act, to) in TRANSITIONS {
            if !from.is_active() && to.is_active() {
                assert!(matches!(act, Act::Reopen | Act::Flap));
            }
        }
    }
}
