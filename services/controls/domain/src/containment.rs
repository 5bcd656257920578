//! How a freeze is known to hold: from what runs and replicas have said, and from what was admitted.

use runspine_types::Micros;

use crate::words::words;

/// After this long a freeze that is not contained is unconfirmed, milliseconds.
pub const UNCONFIRMED_MS: i64 = 30_000;

words! {
    /// How far a freeze has come.
    Status {
        /// Something has yet to answer.
        Containing = 1 "CONTAINING",
        /// Nothing in scope goes on.
        Contained = 2 "CONTAINED",
        /// Something had not answered after 30 s.
        Unconfirmed = 3 "UNCONFIRMED",
    }
}

words! {
    /// What is known of a run or a replica.
    State {
        /// It has met the freeze.
        Acknowledged = 1 "ACKNOWLEDGED",
        /// The lease of the run ran out.
        Lapsed = 2 "LAPSED",
        /// It has not answered.
        Unknown = 3 "UNKNOWN",
    }
}

words! {
    /// How a run is known to have met a freeze.
    Evidence {
        /// Its account is settled.
        Terminal = 1 "TERMINAL",
        /// It is paused.
        Paused = 2 "PAUSED",
        /// Its stream took the notice.
        StreamConfirmed = 3 "STREAM_CONFIRMED",
        /// It renewed its lease and named the epoch.
        LeaseRenewedAtEpoch = 4 "LEASE_RENEWED_AT_EPOCH",
    }
}

/// What is stored about a run that was in scope.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Facts {
    /// Its account is settled.
    pub ended: bool,
    /// Its account was ended because its lease lapsed.
    pub lapsed: bool,
    /// When its lease ends; none: it is paused.
    pub expires_at: Option<Micros>,
    /// The newest epoch that its agent has named.
    pub epoch_seen: u64,
    /// Its stream took the notice.
    pub stream_confirmed: bool,
}

/// What is known of a run at `now`, and how.
#[must_use]
pub fn standing(facts: Facts, epoch: u64, now: Micros) -> (State, Option<Evidence>) {
    let acknowledged = |evidence| (State::Acknowledged, Some(evidence));
    if facts.ended {
        return acknowledged(Evidence::Terminal);
    }
    if facts.lapsed || facts.expires_at.is_some_and(|at| now >= at) {
        return (State::Lapsed, None);
    }
    if facts.expires_at.is_none() {
        return acknowledged(Evidence::Paused);
    }
    if facts.stream_confirmed {
        return acknowledged(Evidence::StreamConfirmed);
    }
    if facts.epoch_seen >= epoch {
        return acknowledged(Evidence::LeaseRenewedAtEpoch);
    }
    (State::Unknown, None)
}

/// What is known of a replica.
#[must_use]
pub fn replica(confirmed: u64, epoch: u64) -> State {
    if confirmed >= epoch { State::Acknowledged } else { State::Unknown }
}

/// What is still open about a freeze.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Open {
    /// Admissions that were allowed although the freeze held.
    pub authorizations_after: i64,
    /// Runs that have not answered.
    pub unknown_runs: i64,
    /// Replicas that have not answered.
    pub unknown_replicas: i64,
    /// Steps in flight.
    pub in_flight: i64,
}

/// How far a freeze has come.
#[must_use]
pub fn status(open: Open, committed_at: Micros, now: Micros) -> Status {
    if open == Open::default() {
        Status::Contained
    } else if now.millis_since(committed_at) >= UNCONFIRMED_MS {
        Status::Unconfirmed
    } else {
        Status::Containing
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Micros = Micros(1_000_000_000);

    fn silent() -> Facts {
        Facts {
            ended: false,
            lapsed: false,
            expires_at: Some(Micros(NOW.0 + 1)),
            epoch_seen: 6,
            stream_confirmed: false,
        }
    }

    #[test]
    fn every_way_in_which_a_run_is_known_to_have_stopped() {
        assert_eq!(standing(silent(), 7, NOW), (State::Unknown, None));
        let rows = [
            (Facts { epoch_seen: 7, ..silent() }, State::Acknowledged, Some(Evidence::LeaseRenewedAtEpoch)),
            (
                Facts { stream_confirmed: true, ..silent() },
                State::Acknowledged,
                Some(Evidence::StreamConfirmed),
            ),
            (Facts { expires_at: None, ..silent() }, State::Acknowledged, Some(Evidence::Paused)),
            (Facts { ended: true, ..silent() }, State::Acknowledged, Some(Evidence::Terminal)),
            (Facts { expires_at: Some(NOW), ..silent() }, State::Lapsed, None),
            (Facts { lapsed: true, ..silent() }, State::Lapsed, None),
        ];
        for (facts, state, evidence) in rows {
            assert_eq!(standing(facts, 7, NOW), (state, evidence), "{facts:?}");
        }
    }

    /// Contained exactly when nothing is open, whatever the time.
    #[test]
    fn nothing_that_is_open_is_ever_called_contained() {
        for mask in 0..16_i64 {
            let bit = |place: i64| mask >> place & 1;
            let open = Open {
                authorizations_after: bit(0),
                unknown_runs: bit(1),
                unknown_replicas: bit(2),
                in_flight: bit(3),
            };
            for (after_ms, late) in [(0, false), (29_999, false), (30_000, true), (900_000, true)] {
                let expected = match (mask, late) {
                    (0, _) => Status::Contained,
                    (_, false) => Status::Containing,
                    (_, true) => Status::Unconfirmed,
                };
                assert_eq!(status(open, NOW, NOW.plus_millis(after_ms)), expected, "{open:?} {after_ms}");
            }
        }
    }
}
