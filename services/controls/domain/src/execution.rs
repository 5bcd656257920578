//! Execution scopes: bounded permissions for one recovery action on one incident.

use runspine_errors::Fault;
use runspine_types::Micros;

use crate::{reasons, words::words};

words! {
    /// How much of the real thing the action may touch.
    ScopeKind {
        /// Nothing: it is only worked out what it would do.
        DryRun = 1 "DRY_RUN",
        /// Some agents.
        AgentSubset = 2 "AGENT_SUBSET",
        /// A share of the requests.
        RequestSample = 3 "REQUEST_SAMPLE",
        /// A share of the budget.
        BudgetFraction = 4 "BUDGET_FRACTION",
    }
}

words! {
    /// How much harm the action could do.
    Risk {
        /// None that matters.
        Low = 1 "LOW",
        /// Some.
        Medium = 2 "MEDIUM",
        /// Much: a person makes its scope.
        High = 3 "HIGH",
        /// Everything: a person makes its scope.
        Critical = 4 "CRITICAL",
    }
}

words! {
    /// Whether a scope permits anything. All but ACTIVE are final.
    ScopeState {
        /// It does.
        Active = 1 "ACTIVE",
        /// Its attempts or its cost are used up.
        Exhausted = 2 "EXHAUSTED",
        /// Its time is over.
        Expired = 3 "EXPIRED",
        /// It was taken back.
        Revoked = 4 "REVOKED",
    }
}

/// How long the hold of a use lives when nobody settles it, milliseconds.
pub const HOLD_MS: i64 = 60_000;

impl Risk {
    /// Whether an action of this risk runs under a scope only.
    #[must_use]
    pub fn needs_scope(self) -> bool {
        self != Self::Low
    }

    /// Whether only a person makes a scope for it, and names the agents.
    #[must_use]
    pub fn needs_person(self) -> bool {
        matches!(self, Self::High | Self::Critical)
    }
}

/// The cost that a use under way holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UseHold {
    /// The use.
    pub attempt_id: String,
    /// What it is expected to cost, micro-USD.
    pub amount: i64,
    /// When it is given back, settled or not.
    pub until: Micros,
}

/// A scope, as far as rules look at it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct ExecutionScope {
    pub id: String,
    pub incident_id: String,
    pub action: String,
    pub risk: Risk,
    pub max_cost: i64,
    pub max_attempts: u32,
    pub expires_at: Micros,
    pub revoked: bool,
    /// Uses that were begun.
    pub attempts: u32,
    /// What settled uses have cost.
    pub settled: i64,
    /// The use under way.
    pub held: Option<UseHold>,
}

/// A use that is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Use {
    pub attempt_id: String,
    pub incident_id: String,
    pub action: String,
    pub risk: Risk,
    pub estimate: i64,
}

impl ExecutionScope {
    /// Its state at a time; needs no worker.
    #[must_use]
    pub fn state(&self, now: Micros) -> ScopeState {
        if self.revoked {
            ScopeState::Revoked
        } else if self.attempts >= self.max_attempts || self.settled >= self.max_cost {
            ScopeState::Exhausted
        } else if now >= self.expires_at {
            ScopeState::Expired
        } else {
            ScopeState::Active
        }
    }

    /// The use under way, unless its time is over.
    #[must_use]
    pub fn holding(&self, now: Micros) -> Option<&UseHold> {
        self.held.as_ref().filter(|hold| now < hold.until)
    }

    /// Begins a use: the attempt is spent and its estimate is held. One at a time, since what a use will really cost is
    /// not known before it is settled.
    ///
    /// # Errors
    /// In this order: `SCOPE_REVOKED`, `SCOPE_EXPIRED`, `SCOPE_EXHAUSTED`, `SCOPE_INCIDENT_MISMATCH`,
    /// `SCOPE_ACTION_MISMATCH`, `SCOPE_COST_EXCEEDED`.
    pub fn consume(&mut self, of: &Use, now: Micros) -> Result<(), Fault> {
        let refuse = |reason, text: &str| {
            let text = text.to_owned();
            Err(Fault::new(reason, &text).precondition(format!("scopes/{}", self.id), text))
        };
        if self.revoked {
            return refuse(&reasons::SCOPE_REVOKED, "the scope was taken back");
        }
        if now >= self.expires_at {
            return refuse(&reasons::SCOPE_EXPIRED, "the time of the scope is over");
        }
        if self.state(now) == ScopeState::Exhausted {
            return refuse(&reasons::SCOPE_EXHAUSTED, "the scope is used up");
        }
        if of.incident_id != self.incident_id {
            return refuse(&reasons::SCOPE_INCIDENT_MISMATCH, "the scope is for another incident");
        }
        if of.action != self.action || of.risk > self.risk {
            return refuse(
                &reasons::SCOPE_ACTION_MISMATCH,
                "the scope is for another action, or for less risk",
            );
        }
        self.expect_room(of.estimate, now)?;
        self.attempts += 1;
        let (attempt_id, amount) = (of.attempt_id.clone(), of.estimate);
        self.held = Some(UseHold { attempt_id, amount, until: now.plus_millis(HOLD_MS) });
        Ok(())
    }

    fn expect_room(&self, estimate: i64, now: Micros) -> Result<(), Fault> {
        let held = self.holding(now);
        let left = self.max_cost.saturating_sub(self.settled);
        if held.is_none() && estimate <= left {
            return Ok(());
        }
        let text = match held {
            Some(_) => "a use is under way, and what it costs is not known yet".to_owned(),
            None => format!("{estimate} micro-USD are needed, {left} are left"),
        };
        Err(Fault::new(&reasons::SCOPE_COST_EXCEEDED, &text).quota(format!("scopes/{}", self.id), text))
    }

    /// Books what a use has cost, in full, and gives back what it held.
    pub fn settle(&mut self, attempt_id: &str, actual: i64) {
        self.settled = self.settled.saturating_add(actual);
        if self.held.as_ref().is_some_and(|hold| hold.attempt_id == attempt_id) {
            self.held = None;
        }
    }

    /// Takes it back. What is under way may still be settled.
    ///
    /// # Errors
    /// `SCOPE_REVOKED`, `SCOPE_EXPIRED`, `SCOPE_EXHAUSTED` when it is not active.
    pub fn revoke(&mut self, now: Micros) -> Result<(), Fault> {
        let (reason, text) = match self.state(now) {
            ScopeState::Active => {
                self.revoked = true;
                return Ok(());
            }
            ScopeState::Revoked => (&reasons::SCOPE_REVOKED, "the scope was taken back before"),
            ScopeState::Expired => (&reasons::SCOPE_EXPIRED, "the time of the scope is over"),
            ScopeState::Exhausted => (&reasons::SCOPE_EXHAUSTED, "the scope is used up"),
        };
        Err(Fault::new(reason, text).precondition(format!("scopes/{}", self.id), text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Micros = Micros(1_000_000_000);

    fn scope() -> ExecutionScope {
        ExecutionScope {
            id: "s".into(),
            incident_id: "i".into(),
            action: "restart".into(),
            risk: Risk::High,
            max_cost: 100,
            max_attempts: 2,
            expires_at: NOW.plus_millis(300_000),
            revoked: false,
            attempts: 0,
            settled: 0,
            held: None,
        }
    }

    fn of(attempt_id: &str, estimate: i64) -> Use {
        Use {
            attempt_id: attempt_id.into(),
            incident_id: "i".into(),
            action: "restart".into(),
            risk: Risk::Medium,
            estimate,
        }
    }

    #[test]
    fn the_first_check_that_fails_is_told() {
        let wrong = Use { incident_id: "x".into(), action: "x".into(), estimate: 101, ..of("a", 0) };
        let mut at = scope();
        let expect = |scope: &mut ExecutionScope, of: &Use, now, reason: &'static runspine_errors::Reason| {
            let before = scope.clone();
            assert!(scope.consume(of, now).unwrap_err().is(reason), "{}", reason.name);
            assert_eq!(*scope, before, "a refusal consumes nothing");
        };
        at.attempts = 2;
        at.revoked = true;
        let late = NOW.plus_millis(300_000);
        expect(&mut at, &wrong, late, &reasons::SCOPE_REVOKED);
        at.revoked = false;
        expect(&mut at, &wrong, late, &reasons::SCOPE_EXPIRED);
        expect(&mut at, &wrong, NOW, &reasons::SCOPE_EXHAUSTED);
        at.attempts = 0;
        expect(&mut at, &wrong, NOW, &reasons::SCOPE_INCIDENT_MISMATCH);
        expect(&mut at, &Use { incident_id: "i".into(), ..wrong }, NOW, &reasons::SCOPE_ACTION_MISMATCH);
        expect(&mut at, &Use { risk: Risk::Critical, ..of("a", 1) }, NOW, &reasons::SCOPE_ACTION_MISMATCH);
        expect(&mut at, &of("a", 101), NOW, &reasons::SCOPE_COST_EXCEEDED);
        assert!(at.consume(&of("a", 100), NOW).is_ok());
    }

    #[test]
    fn a_killed_use_spends_its_attempt_and_frees_its_cost() {
        let mut at = scope();
        at.consume(&of("a", 100), NOW).unwrap();
        let soon = NOW.plus_millis(HOLD_MS - 1);
        assert!(at.consume(&of("b", 1), soon).unwrap_err().is(&reasons::SCOPE_COST_EXCEEDED));
        let later = NOW.plus_millis(HOLD_MS);
        assert_eq!((at.attempts, at.holding(later)), (1, None));
        at.consume(&of("b", 100), later).unwrap();
        assert_eq!(at.state(later), ScopeState::Exhausted);
        at.settle("a", 5);
        assert!(at.holding(later).is_some(), "the hold is another's");
    }

    #[test]
    fn what_is_over_stays_over() {
        let mut at = scope();
        at.consume(&of("a", 10), NOW).unwrap();
        at.settle("a", 130);
        assert_eq!((at.settled, at.state(NOW)), (130, ScopeState::Exhausted), "the truth is not capped");
        assert!(at.revoke(NOW).unwrap_err().is(&reasons::SCOPE_EXHAUSTED));
        let mut at = scope();
        assert!(at.revoke(at.expires_at).unwrap_err().is(&reasons::SCOPE_EXPIRED));
        at.revoke(NOW).unwrap();
        assert!(at.revoke(NOW).unwrap_err().is(&reasons::SCOPE_REVOKED));
        assert_eq!(at.state(at.expires_at), ScopeState::Revoked);
    }
}
