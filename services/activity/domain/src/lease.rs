//! Leases: who may drive an attempt, and until when. Time is the store's clock.

use contracts_common::{
    common::v1::{RunPhase, RunStatus},
    phase,
};
use runspine_errors::{Fault, Outcome};
use runspine_types::Micros;

use crate::{
    reasons,
    transition::{lapsed, stale_fence},
};

/// Shortest time to live in milliseconds.
pub const MIN_TTL_MS: i64 = 5_000;
/// Longest time to live in milliseconds.
pub const MAX_TTL_MS: i64 = 300_000;

/// The lease of an attempt with the claim of a worker.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Lease {
    /// Grows with each grant, claim and immediate stop.
    pub fence: i64,
    /// Fence of the newest grant. 0: none is in force.
    pub lease_fence: i64,
    /// Who holds it.
    pub holder: String,
    /// Its time to live in milliseconds.
    pub ttl_ms: i64,
    /// When it lapses. `None`: none in force, or suspended.
    pub expires_at: Option<Micros>,
    /// Whether it is suspended by a pause.
    pub suspended: bool,
    /// Until when a worker has claimed the attempt.
    pub claimed_until: Option<Micros>,
}

impl Lease {
    /// Whether a lease is in force and its time is over.
    #[must_use]
    pub fn is_lapsed(&self, now: Micros) -> bool {
        self.lease_fence != 0 && self.expires_at.is_some_and(|at| at <= now)
    }

    /// Whether a lease is in force and lives.
    #[must_use]
    pub fn is_live(&self, now: Micros) -> bool {
        self.lease_fence != 0 && self.expires_at.is_some_and(|at| at > now)
    }

    /// The next grant to `holder`.
    #[must_use]
    pub fn granted(&self, holder: &str, ttl_ms: i64, now: Micros) -> Self {
        let fence = self.fence + 1;
        Self {
            fence,
            lease_fence: fence,
            holder: holder.to_owned(),
            ttl_ms,
            expires_at: Some(now.plus_millis(ttl_ms)),
            suspended: false,
            claimed_until: None,
        }
    }

    /// Without a clock, until the run goes on.
    #[must_use]
    pub fn suspend(&self) -> Self {
        let suspended = self.lease_fence != 0;
        Self { expires_at: None, suspended, ..self.clone() }
    }

    /// Given back; the fence stays.
    #[must_use]
    pub fn released(&self) -> Self {
        Self { lease_fence: 0, holder: String::new(), expires_at: None, suspended: false, ..self.clone() }
    }
}

/// The time to live that was asked for, or the default for 0.
///
/// # Errors
/// TTL_OUT_OF_RANGE.
pub fn ttl(asked_ms: i64, default_ms: i64) -> Outcome<i64> {
    let ttl_ms = if asked_ms == 0 { default_ms } else { asked_ms };
    if (MIN_TTL_MS..=MAX_TTL_MS).contains(&ttl_ms) {
        return Ok(ttl_ms);
    }
    let text = format!("a lease lives {MIN_TTL_MS} to {MAX_TTL_MS} ms");
    Err(Fault::new(&reasons::TTL_OUT_OF_RANGE, text).field(
        "ttl_ms",
        "TTL_OUT_OF_RANGE",
        "5,000 to 300,000, or 0",
    ))
}

/// What a renewal does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Renewal {
    /// The lease lives on until then.
    Extended(Lease),
    /// It was suspended and the run goes on: granted anew under the next fence.
    Regranted(Lease),
    /// The run is paused: the lease stays suspended.
    Suspended,
}

/// Renews `lease` for the holder of `fence`.
///
/// # Errors
/// RUN_TERMINAL, LEASE_NOT_FOUND, STALE_FENCE or LEASE_LAPSED.
pub fn renew(
    lease: &Lease,
    state: phase::State,
    holder: &str,
    fence: i64,
    ttl_ms: i64,
    now: Micros,
) -> Outcome<Renewal> {
    if phase::is_terminal(state.0) {
        return Err(Fault::new(&reasons::RUN_TERMINAL, "the attempt has ended"));
    }
    if fence != lease.fence {
        return Err(stale_fence(lease.fence));
    }
    if lease.lease_fence == 0 {
        return Err(Fault::new(&reasons::LEASE_NOT_FOUND, "the attempt has no lease"));
    }
    if lease.lease_fence != fence || lease.holder != holder {
        return Err(stale_fence(lease.fence));
    }
    if lease.suspended {
        let paused = state == (RunPhase::Executing, RunStatus::Paused);
        let renewal =
            if paused { Renewal::Suspended } else { Renewal::Regranted(lease.granted(holder, ttl_ms, now)) };
        return Ok(renewal);
    }
    if lease.is_lapsed(now) {
        return Err(lapsed());
    }
    Ok(Renewal::Extended(Lease { expires_at: Some(now.plus_millis(ttl_ms)), ttl_ms, ..lease.clone() }))
}

/// Grants a lease on an attempt that executes and has no live one.
///
/// # Errors
/// RUN_TERMINAL, LEASE_NOT_GRANTABLE, LEASE_LAPSED or LEASE_HELD.
pub fn grant(lease: &Lease, state: phase::State, holder: &str, ttl_ms: i64, now: Micros) -> Outcome<Lease> {
    if phase::is_terminal(state.0) {
        return Err(Fault::new(&reasons::RUN_TERMINAL, "the attempt has ended"));
    }
    if state != (RunPhase::Executing, RunStatus::Running) {
        let text = format!("no lease in {} / {}", state.0.as_str_name(), state.1.as_str_name());
        return Err(Fault::new(&reasons::LEASE_NOT_GRANTABLE, text));
    }
    if lease.claimed_until.is_some_and(|until| until > now) {
        return Err(Fault::new(&reasons::LEASE_HELD, "a worker of the mesh has claimed the attempt"));
    }
    // A lapsed lease took its run's holds with it: the run ends, it is not picked up again.
    if lease.is_lapsed(now) {
        return Err(lapsed());
    }
    if lease.is_live(now) {
        return Err(Fault::new(&reasons::LEASE_HELD, "the attempt is held by a live lease")
            .with("fence", lease.fence));
    }
    Ok(lease.granted(holder, ttl_ms, now))
}

#[cfg(test)]
mod tests {
    use super::*;

    const RUNNING: phase::State = (RunPhase::Executing, RunStatus::Running);
    const PAUSED: phase::State = (RunPhase::Executing, RunStatus::Paused);
    const NOW: Micros = Micros(1_000_000_000);

    fn held() -> Lease {
        Lease::default().granted("w", 30_000, NOW)
    }

    fn name<T: std::fmt::Debug>(outcome: Outcome<T>) -> &'static str {
        outcome.unwrap_err().reason().name
    }

    #[test]
    fn a_holder_that_sleeps_for_its_ttl_has_lost_the_run() {
        let lease = held();
        let end = NOW.plus_millis(30_000);
        assert!(matches!(
            renew(&lease, RUNNING, "w", 1, 30_000, Micros(end.0 - 1)),
            Ok(Renewal::Extended(_))
        ));
        assert_eq!(name(renew(&lease, RUNNING, "w", 1, 30_000, end)), "LEASE_LAPSED");
        assert_eq!(name(grant(&lease, RUNNING, "v", 30_000, end)), "LEASE_LAPSED");
    }

    #[test]
    fn each_grant_has_the_next_fence_and_only_one_lives() {
        let first = grant(&Lease::default(), RUNNING, "w", 30_000, NOW).unwrap();
        assert_eq!((first.fence, first.lease_fence), (1, 1));
        assert_eq!(name(grant(&first, RUNNING, "v", 30_000, NOW)), "LEASE_HELD");
        let second = grant(&first.released(), RUNNING, "v", 30_000, NOW).unwrap();
        assert_eq!(second.fence, 2);
        assert_eq!(name(renew(&second, RUNNING, "w", 1, 30_000, NOW)), "STALE_FENCE");
        assert_eq!(name(renew(&second, RUNNING, "w", 2, 30_000, NOW)), "STALE_FENCE");
    }

    #[test]
    fn a_suspended_lease_never_lapses_and_is_granted_anew() {
        let suspended = held().suspend();
        let later = NOW.plus_millis(3_000_000);
        assert!(!suspended.is_lapsed(later));
        assert_eq!(renew(&suspended, PAUSED, "w", 1, 30_000, later).unwrap(), Renewal::Suspended);
        let Renewal::Regranted(lease) = renew(&suspended, RUNNING, "w", 1, 30_000, later).unwrap() else {
            panic!("not granted anew");
        };
        assert_eq!(
            (lease.fence, lease.suspended, lease.expires_at),
            (2, false, Some(later.plus_millis(30_000)))
        );
        assert_eq!(grant(&suspended, RUNNING, "v", 30_000, later).unwrap().fence, 2);
    }

    #[test]
    fn leases_are_for_attempts_that_execute() {
        for phase in phase::PHASES {
            for &status in phase::allowed(phase) {
                let granted = grant(&Lease::default(), (phase, status), "w", 30_000, NOW);
                assert_eq!(granted.is_ok(), (phase, status) == RUNNING);
            }
        }
        assert_eq!(name(renew(&Lease::default(), RUNNING, "w", 0, 30_000, NOW)), "LEASE_NOT_FOUND");
        assert_eq!(
            name(renew(&held(), (RunPhase::Failed, RunStatus::Failed), "w", 1, 30_000, NOW)),
            "RUN_TERMINAL"
        );
    }

    #[test]
    fn ttl_bounds() {
        assert_eq!(ttl(0, 30_000).unwrap(), 30_000);
        for (asked, fine) in [(4_999, false), (5_000, true), (300_000, true), (300_001, false), (-1, false)] {
            assert_eq!(ttl(asked, 30_000).is_ok(), fine);
        }
    }
}
