//! Named leases: one holder at a time, a fence that grows with each grant, and when the work was done last.

use runspine_errors::Fault;
use runspine_types::Micros;

use crate::reasons;

/// A named lease, as it is stored.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NamedLease {
    /// Who holds or held it; empty: nobody.
    pub holder: String,
    /// Grows with each grant.
    pub fence: u64,
    /// When it lapses; none: nobody holds it.
    pub expires_at: Option<Micros>,
    /// When the work was done last.
    pub last_done: Option<Micros>,
}

impl NamedLease {
    /// Whether somebody holds it.
    #[must_use]
    pub fn is_held(&self, now: Micros) -> bool {
        self.expires_at.is_some_and(|at| now < at)
    }

    /// It, granted to `holder`; none: another one holds it.
    #[must_use]
    pub fn acquire(&self, holder: &str, ttl_ms: i64, now: Micros) -> Option<Self> {
        let own = self.holder == holder;
        let fence = match self.is_held(now) {
            true if !own => return None,
            true => self.fence,
            false => self.fence + 1,
        };
        let expires_at = Some(now.plus_millis(ttl_ms));
        Some(Self { holder: holder.to_owned(), fence, expires_at, last_done: self.last_done })
    }

    /// It, extended.
    ///
    /// # Errors
    /// `STALE_FENCE` when it lapsed or is another's.
    pub fn renew(&self, holder: &str, fence: u64, ttl_ms: i64, now: Micros) -> Result<Self, Fault> {
        if !self.is_held(now) {
            return Err(stale(self, "the lease has lapsed: it has to be acquired again"));
        }
        self.expect_own(holder, fence)?;
        Ok(Self { expires_at: Some(now.plus_millis(ttl_ms)), ..self.clone() })
    }

    /// It, given back. A lease that lapsed in the meantime is given back too: nobody was granted it since.
    ///
    /// # Errors
    /// `STALE_FENCE` when it is another's.
    pub fn release(&self, holder: &str, fence: u64, done_at: Option<Micros>) -> Result<Self, Fault> {
        self.expect_own(holder, fence)?;
        Ok(Self { expires_at: None, last_done: self.last_done.max(done_at), ..self.clone() })
    }

    fn expect_own(&self, holder: &str, fence: u64) -> Result<(), Fault> {
        if self.holder == holder && self.fence == fence {
            return Ok(());
        }
        Err(stale(self, "the lease was granted to another one"))
    }
}

fn stale(lease: &NamedLease, text: &str) -> Fault {
    Fault::new(&reasons::STALE_FENCE, text).with("fence", lease.fence)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Micros = Micros(1_000_000_000);

    #[test]
    fn one_holder_and_a_fence_that_grows_with_each_grant() {
        let first = NamedLease::default().acquire("a", 5_000, NOW).unwrap();
        assert_eq!((first.fence, first.is_held(NOW.plus_millis(4_999))), (1, true));
        assert!(first.acquire("b", 5_000, NOW.plus_millis(4_999)).is_none());
        let longer = first.acquire("a", 9_000, NOW).unwrap();
        assert_eq!((longer.fence, longer.expires_at), (1, Some(NOW.plus_millis(9_000))));
        let second = first.acquire("b", 5_000, NOW.plus_millis(5_000)).unwrap();
        assert_eq!(second.fence, 2);
        for (holder, fence) in [("a", 1), ("a", 2), ("b", 1)] {
            assert!(second.renew(holder, fence, 5_000, NOW).unwrap_err().is(&reasons::STALE_FENCE));
            assert!(second.release(holder, fence, None).unwrap_err().is(&reasons::STALE_FENCE));
        }
        assert!(second.renew("b", 2, 5_000, NOW.plus_millis(10_000)).is_err(), "it lapsed");
    }

    #[test]
    fn what_was_done_stays_known() {
        let held = NamedLease::default().acquire("a", 5_000, NOW).unwrap();
        let done = held.release("a", 1, Some(NOW)).unwrap();
        assert_eq!((done.last_done, done.is_held(NOW)), (Some(NOW), false));
        assert_eq!(done.release("a", 1, Some(NOW.plus_millis(-1))).unwrap().last_done, Some(NOW));
        assert_eq!(done.acquire("b", 5_000, NOW).unwrap().last_done, Some(NOW));
    }
}
