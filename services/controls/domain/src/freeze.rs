//! Freezes: whom they cover, when they hold, who may lift them.

use runspine_errors::Fault;
use runspine_types::Micros;

use crate::{limit::RunScope, reasons, words};

words::words! {
    /// What is frozen.
    FreezeScope {
        /// The mesh.
        Mesh = 1 "MESH",
        /// A tenant.
        Tenant = 2 "TENANT",
        /// A project.
        Project = 3 "PROJECT",
        /// An agent.
        Agent = 4 "AGENT",
        /// An API key.
        ApiKey = 5 "API_KEY",
        /// A run.
        Run = 6 "RUN",
    }
}

words::words! {
    /// What running runs are told.
    FreezeEffect {
        /// To end.
        Terminate = 1 "TERMINATE",
        /// To wait.
        Pause = 2 "PAUSE",
    }
}

words::words! {
    /// Why something is frozen.
    FreezeReason {
        /// A person wants it.
        Manual = 1 "MANUAL",
        /// A budget.
        Budget = 2 "BUDGET",
        /// Failures.
        FailureSpike = 3 "FAILURE_SPIKE",
        /// Too fast.
        RateLimit = 4 "RATE_LIMIT",
        /// A policy.
        PolicyViolation = 5 "POLICY_VIOLATION",
        /// Security.
        Security = 6 "SECURITY",
        /// Suspension.
        TenantSuspended = 7 "TENANT_SUSPENDED",
        /// Maintenance.
        Maintenance = 8 "MAINTENANCE",
    }
}

words::words! {
    /// Whether a freeze holds.
    FreezeState {
        /// It holds.
        Active = 1 "ACTIVE",
        /// It was lifted.
        Lifted = 2 "LIFTED",
        /// Its time is over.
        Expired = 3 "EXPIRED",
    }
}

/// A freeze.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Freeze {
    pub id: String,
    /// Empty: the whole mesh.
    pub tenant_id: String,
    pub scope: FreezeScope,
    pub scope_id: String,
    pub effect: FreezeEffect,
    pub reason: FreezeReason,
    pub epoch: u64,
    pub expires_at: Option<Micros>,
    pub lifted: bool,
}

impl Freeze {
    /// Its state at a time; the end of its time needs no worker.
    #[must_use]
    pub fn state(&self, now: Micros) -> FreezeState {
        match self.expires_at {
            _ if self.lifted => FreezeState::Lifted,
            Some(end) if now >= end => FreezeState::Expired,
            _ => FreezeState::Active,
        }
    }

    /// Whether a run is in its scope.
    #[must_use]
    pub fn covers(&self, run: &RunScope) -> bool {
        let mine = self.tenant_id == run.tenant_id;
        let id = self.scope_id.as_str();
        match self.scope {
            FreezeScope::Mesh => true,
            FreezeScope::Tenant => mine,
            FreezeScope::Project => mine && run.project_id == id,
            FreezeScope::Agent => mine && (run.agent_id == id || run.agent_groups.iter().any(|g| g == id)),
            FreezeScope::ApiKey => mine && run.api_key_id == id,
            FreezeScope::Run => mine && run.run_id == id,
        }
    }

    /// Whether one person can't lift it.
    #[must_use]
    pub fn needs_second_person(&self) -> bool {
        matches!(self.scope, FreezeScope::Mesh | FreezeScope::Tenant) || self.reason == FreezeReason::Security
    }

    /// That it holds.
    ///
    /// # Errors
    /// `NOT_FROZEN`.
    pub fn expect_active(&self, now: Micros) -> Result<(), Fault> {
        let state = self.state(now);
        if state == FreezeState::Active {
            return Ok(());
        }
        let text = format!("the freeze is {}", state.name());
        Err(Fault::new(&reasons::NOT_FROZEN, &text).precondition(format!("freezes/{}", self.id), text))
    }
}

/// That the second person is another one.
///
/// # Errors
/// `SELF_APPROVAL`.
pub fn expect_second_person(requested_by: &str, approver: &str) -> Result<(), Fault> {
    if requested_by == approver {
        return Err(Fault::new(&reasons::SELF_APPROVAL, "nobody approves what he asked for"));
    }
    Ok(())
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn freeze(scope: FreezeScope, id: &str) -> Freeze {
        Freeze {
            id: "f".into(),
            tenant_id: "t".into(),
            scope,
            scope_id: id.into(),
            effect: FreezeEffect::Terminate,
            reason: FreezeReason::Manual,
            epoch: 1,
            expires_at: None,
            lifted: false,
        }
    }

    #[test]
    fn a_freeze_covers_its_scope_and_nothing_else() {
        let run = RunScope {
            tenant_id: "t".into(),
            run_id: "r".into(),
            project_id: "p".into(),
            agent_id: "a".into(),
            agent_groups: vec!["g".into()],
            api_key_id: "k".into(),
            ..RunScope::default()
        };
        let other = RunScope { tenant_id: "u".into(), ..run.clone() };
        let rows = [
            (FreezeScope::Tenant, "t"),
            (FreezeScope::Project, "p"),
            (FreezeScope::Agent, "a"),
            (FreezeScope::Agent, "g"),
            (FreezeScope::ApiKey, "k"),
            (FreezeScope::Run, "r"),
        ];
        for (scope, id) in rows {
            assert!(freeze(scope, id).covers(&run), "{scope:?}");
            assert!(!freeze(scope, id).covers(&other), "{scope:?} of another tenant");
            assert!(scope == FreezeScope::Tenant || !freeze(scope, "x").covers(&run), "{scope:?} x");
        }
        assert!(freeze(FreezeScope::Mesh, "").covers(&other));
    }

    #[test]
    fn a_freeze_ends_at_its_time_without_a_worker() {
        let ends = Freeze { expires_at: Some(Micros(10)), ..freeze(FreezeScope::Run, "r") };
        assert_eq!(ends.state(Micros(9)), FreezeState::Active);
        assert_eq!(ends.state(Micros(10)), FreezeState::Expired);
        assert!(ends.expect_active(Micros(10)).unwrap_err().is(&reasons::NOT_FROZEN));
        let lifted = Freeze { lifted: true, ..ends };
        assert_eq!(lifted.state(Micros(0)), FreezeState::Lifted);
    }

    #[test]
    fn large_freezes_need_two_people() {
        for scope in FreezeScope::ALL {
            let two = matches!(scope, FreezeScope::Mesh | FreezeScope::Tenant);
            assert_eq!(freeze(*scope, "x").needs_second_person(), two, "{scope:?}");
            let security = Freeze { reason: FreezeReason::Security, ..freeze(*scope, "x") };
            assert!(security.needs_second_person());
        }
        assert!(expect_second_person("a", "a").unwrap_err().is(&reasons::SELF_APPROVAL));
        assert!(expect_second_person("a", "b").is_ok());
    }
}
