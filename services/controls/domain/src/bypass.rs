//! A bypass: two persons let denials of rules pass in a narrow place for a short time.

use runspine_errors::Fault;
use runspine_types::Micros;

use crate::{
    freeze::expect_second_person,
    limit::{Key, RunScope},
    reasons,
    words::words,
};

/// A request that nobody decides on expires after this, milliseconds.
pub const UNDECIDED_MS: i64 = 900_000;
/// Bypasses that a tenant may have in a day.
pub const MOST_A_DAY: usize = 5;
/// A day, milliseconds.
pub const DAY_MS: i64 = 86_400_000;
/// How long a bypass may hold, seconds.
pub const DURATION_S: std::ops::RangeInclusive<i64> = 60..=900;

words! {
    /// Where a bypass holds.
    BypassScope {
        /// A project.
        Project = 1 "PROJECT",
        /// An agent.
        Agent = 2 "AGENT",
        /// A run.
        Run = 3 "RUN",
    }
}

words! {
    /// Where a bypass stands.
    BypassState {
        /// It waits for the second person.
        Requested = 1 "REQUESTED",
        /// It holds.
        Active = 2 "ACTIVE",
        /// The second person said no.
        Rejected = 3 "REJECTED",
        /// Its time is over.
        Expired = 4 "EXPIRED",
        /// It was ended by order.
        Revoked = 5 "REVOKED",
    }
}

words! {
    /// What was decided about a bypass.
    BypassDecision {
        /// Nothing yet.
        Open = 1 "OPEN",
        /// The second person said yes.
        Approved = 2 "APPROVED",
        /// The second person said no.
        Rejected = 3 "REJECTED",
        /// It was ended by order.
        Revoked = 4 "REVOKED",
    }
}

/// A bypass, as far as rules look at it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Bypass {
    pub key: Key,
    pub id: String,
    pub tenant_id: String,
    pub scope: BypassScope,
    pub scope_id: String,
    pub duration_s: i64,
    pub decision: BypassDecision,
    pub requested_by: String,
    pub requested_at: Micros,
    /// None until it is approved.
    pub expires_at: Option<Micros>,
}

impl Bypass {
    /// Its state at a time; needs no worker.
    #[must_use]
    pub fn state(&self, now: Micros) -> BypassState {
        match self.decision {
            BypassDecision::Rejected => BypassState::Rejected,
            BypassDecision::Revoked => BypassState::Revoked,
            BypassDecision::Open if now.millis_since(self.requested_at) < UNDECIDED_MS => {
                BypassState::Requested
            }
            BypassDecision::Approved if self.expires_at.is_some_and(|at| now < at) => BypassState::Active,
            BypassDecision::Open | BypassDecision::Approved => BypassState::Expired,
        }
    }

    /// Whether a run is in its scope.
    #[must_use]
    pub fn covers(&self, run: &RunScope) -> bool {
        let id = self.scope_id.as_str();
        self.tenant_id == run.tenant_id
            && match self.scope {
                BypassScope::Project => run.project_id == id,
                BypassScope::Agent => run.agent_id == id || run.agent_groups.iter().any(|g| g == id),
                BypassScope::Run => run.run_id == id,
            }
    }

    /// Whether it takes a place among those of a day: it held, or may yet hold.
    #[must_use]
    pub fn counts(&self, now: Micros) -> bool {
        let recent = now.millis_since(self.requested_at) < DAY_MS;
        recent && (self.expires_at.is_some() || self.state(now) == BypassState::Requested)
    }

    /// It, approved by a second person.
    ///
    /// # Errors
    /// `BYPASS_TRANSITION_INVALID`, `SELF_APPROVAL`.
    pub fn approve(&self, by: &str, now: Micros) -> Result<Self, Fault> {
        self.expect_state(BypassState::Requested, now)?;
        expect_second_person(&self.requested_by, by)?;
        let expires_at = Some(now.plus_millis(self.duration_s * 1_000));
        Ok(Self { decision: BypassDecision::Approved, expires_at, ..self.clone() })
    }

    /// It, rejected by a second person.
    ///
    /// # Errors
    /// `BYPASS_TRANSITION_INVALID`, `SELF_APPROVAL`.
    pub fn reject(&self, by: &str, now: Micros) -> Result<Self, Fault> {
        self.expect_state(BypassState::Requested, now)?;
        expect_second_person(&self.requested_by, by)?;
        Ok(Self { decision: BypassDecision::Rejected, ..self.clone() })
    }

    /// It, ended by order.
    ///
    /// # Errors
    /// `BYPASS_TRANSITION_INVALID`.
    pub fn revoke(&self, now: Micros) -> Result<Self, Fault> {
        self.expect_state(BypassState::Active, now)?;
        Ok(Self { decision: BypassDecision::Revoked, ..self.clone() })
    }

    /// That it is in a state.
    ///
    /// # Errors
    /// `BYPASS_TRANSITION_INVALID`.
    pub fn expect_state(&self, wanted: BypassState, now: Micros) -> Result<(), Fault> {
        let state = self.state(now);
        if state == wanted {
            return Ok(());
        }
        let text = format!("the bypass is {}", state.name());
        let fault = Fault::new(&reasons::BYPASS_TRANSITION_INVALID, &text);
        Err(fault.precondition(format!("bypasses/{}", self.id), text))
    }
}

/// That a tenant may ask for one more.
///
/// # Errors
/// `BYPASS_OPEN` when one is open for the scope, `BYPASS_QUOTA` when the day's are used up.
pub fn expect_room(known: &[Bypass], scope: BypassScope, scope_id: &str, now: Micros) -> Result<(), Fault> {
    let open = |b: &&Bypass| matches!(b.state(now), BypassState::Requested | BypassState::Active);
    let same = |b: &&Bypass| b.scope == scope && b.scope_id == scope_id;
    if let Some(other) = known.iter().filter(open).find(same) {
        let text = "a bypass of this scope is open";
        return Err(Fault::new(&reasons::BYPASS_OPEN, text).with("bypass_id", &other.id));
    }
    if known.iter().filter(|b| b.counts(now)).count() >= MOST_A_DAY {
        let text = format!("a tenant has at most {MOST_A_DAY} bypasses a day");
        return Err(Fault::new(&reasons::BYPASS_QUOTA, &text).quota("bypasses", text));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Micros = Micros(1_000_000_000_000);

    fn requested() -> Bypass {
        Bypass {
            key: 1,
            id: "b".into(),
            tenant_id: "t".into(),
            scope: BypassScope::Agent,
            scope_id: "a".into(),
            duration_s: 900,
            decision: BypassDecision::Open,
            requested_by: "kim".into(),
            requested_at: NOW,
            expires_at: None,
        }
    }

    #[test]
    fn it_holds_for_its_time_and_not_a_moment_longer() {
        let one = requested();
        assert_eq!(one.state(NOW.plus_millis(UNDECIDED_MS - 1)), BypassState::Requested);
        assert_eq!(one.state(NOW.plus_millis(UNDECIDED_MS)), BypassState::Expired);
        let held = one.approve("lee", NOW).unwrap();
        assert_eq!(held.state(NOW.plus_millis(899_999)), BypassState::Active);
        assert_eq!(held.state(NOW.plus_millis(900_000)), BypassState::Expired);
        assert_eq!(held.revoke(NOW).unwrap().state(NOW), BypassState::Revoked);
    }

    #[test]
    fn only_what_the_table_has_is_done() {
        let (asked, held) = (requested(), requested().approve("lee", NOW).unwrap());
        let states = [
            asked.clone(),
            held.clone(),
            asked.reject("lee", NOW).unwrap(),
            held.revoke(NOW).unwrap(),
            Bypass { requested_at: Micros(0), ..asked.clone() },
        ];
        for (row, one) in states.iter().enumerate() {
            assert_eq!(one.approve("lee", NOW).is_ok(), row == 0, "{row}");
            assert_eq!(one.reject("lee", NOW).is_ok(), row == 0, "{row}");
            assert_eq!(one.revoke(NOW).is_ok(), row == 1, "{row}");
        }
        assert!(asked.approve("kim", NOW).unwrap_err().is(&reasons::SELF_APPROVAL));
        assert!(asked.reject("kim", NOW).unwrap_err().is(&reasons::SELF_APPROVAL));
    }

    #[test]
    fn it_covers_its_scope_and_nothing_else() {
        let run = RunScope {
            tenant_id: "t".into(),
            run_id: "r".into(),
            project_id: "p".into(),
            agent_id: "a".into(),
            ..RunScope::default()
        };
        for (scope, id) in [(BypassScope::Project, "p"), (BypassScope::Agent, "a"), (BypassScope::Run, "r")] {
            let one = Bypass { scope, scope_id: id.into(), ..requested() };
            assert!(one.covers(&run));
            assert!(!one.covers(&RunScope { tenant_id: "u".into(), ..run.clone() }));
            assert!(!Bypass { scope_id: "x".into(), ..one }.covers(&run));
        }
    }

    #[test]
    fn a_day_has_five() {
        let held = requested().approve("lee", NOW).unwrap();
        let later = NOW.plus_millis(1_000_000);
        let five: Vec<Bypass> = (0..5).map(|_| held.clone()).collect();
        let room = |known: &[Bypass], at| expect_room(known, BypassScope::Agent, "a", at);
        assert!(room(&five[..4], later).is_ok());
        assert!(room(&five, later).unwrap_err().is(&reasons::BYPASS_QUOTA));
        assert!(room(&five, NOW.plus_millis(DAY_MS)).is_ok());
        assert!(room(&five[..1], NOW).unwrap_err().is(&reasons::BYPASS_OPEN));
        let unheard: Vec<Bypass> = (0..9).map(|_| requested()).collect();
        assert!(room(&unheard, later).is_ok(), "what nobody approved takes no place");
    }
}
