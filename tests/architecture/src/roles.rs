//! The place of each crate in the house, and who may depend on whom.

use crate::{DOMAINS, graph::Kind};

/// The place of a crate of this workspace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Role {
    /// Words that everything is built from: `runspine-types`, `runspine-errors`, `runspine-redact`.
    Base,
    /// Metrics and trace context.
    Telemetry,
    /// The store facade.
    Db,
    /// Transport, stack and contracts of operations.
    Rpc,
    /// Envelopes and outbox feeds.
    Events,
    /// The process.
    Boot,
    /// What tests share.
    Testkit,
    /// The generator of contract crates.
    Codegen,
    /// The shared contract crate.
    CommonContracts,
    /// The contract crate of a domain, or of the spine.
    Contracts(String),
    /// The pure crate of a domain.
    Pure(String),
    /// The server crate of a domain.
    Server(String),
    /// The spine.
    Spine,
    /// The all-in-one and command line.
    AllInOne,
    /// Tests over the whole house.
    HouseTests,
}

/// Tests over the whole house: they may look at everything, and nothing may depend on them.
const HOUSE_TESTS: [&str; 4] = ["architecture-tests", "runspine-e2e", "runspine-faults", "runspine-load"];

impl Role {
    /// The place of the crate `name`; none when the house has no place for it.
    #[must_use]
    pub fn of(name: &str) -> Option<Self> {
        let fixed = match name {
            "runspine-types" | "runspine-errors" | "runspine-redact" => Self::Base,
            "runspine-telemetry" => Self::Telemetry,
            "runspine-db" => Self::Db,
            "runspine-rpc" => Self::Rpc,
            "runspine-events" => Self::Events,
            "runspine-boot" => Self::Boot,
            "runspine-testkit" => Self::Testkit,
            "runspine-codegen" => Self::Codegen,
            "contracts-common" => Self::CommonContracts,
            "runspine-spine" => Self::Spine,
            "runspine" => Self::AllInOne,
            _ if HOUSE_TESTS.contains(&name) => Self::HouseTests,
            _ => return Self::of_domain(name),
        };
        Some(fixed)
    }

    fn of_domain(name: &str) -> Option<Self> {
        if let Some(domain) = name.strip_prefix("contracts-") {
            return (domain == "spine" || DOMAINS.contains(&domain))
                .then(|| Self::Contracts(domain.to_owned()));
        }
        let rest = name.strip_prefix("runspine-")?;
        let (domain, pure) = rest.strip_suffix("-domain").map_or((rest, false), |domain| (domain, true));
        let domain = DOMAINS.iter().find(|d| **d == domain)?;
        Some(if pure { Self::Pure((*domain).to_owned()) } else { Self::Server((*domain).to_owned()) })
    }

    /// Whether a crate in this place may depend on one in the place `to`. What is not allowed here is forbidden.
    #[must_use]
    pub fn may_depend_on(&self, to: &Self, kind: Kind) -> bool {
        use Role as R;
        if *to == R::Codegen {
            return kind == Kind::Build && matches!(self, R::CommonContracts | R::Contracts(_));
        }
        if kind == Kind::Dev && (*to == R::Testkit || matches!((self, to), (R::Rpc, R::Boot))) {
            return !matches!(self, R::Pure(_) | R::Base);
        }
        match (self, to) {
            (R::HouseTests, _) => true,
            (R::AllInOne, _) => *to != R::HouseTests && *to != R::Testkit,
            (_, R::Base) => !matches!(self, R::CommonContracts | R::Contracts(_) | R::Codegen),
            (R::Contracts(_) | R::Pure(_) | R::Rpc | R::Events | R::Boot, R::CommonContracts) => true,
            (R::Events | R::Testkit, R::Db) | (R::Boot, R::Rpc) => true,
            (R::Db | R::Rpc | R::Events | R::Boot | R::Server(_) | R::Spine, R::Telemetry) => true,
            (R::Pure(own), R::Contracts(other)) => own == other,
            (R::Server(own), R::Contracts(other) | R::Pure(other)) => own == other,
            (R::Server(_), R::Db | R::Rpc | R::Events | R::Boot | R::CommonContracts) => true,
            (R::Spine, R::Rpc | R::Boot | R::CommonContracts | R::Contracts(_)) => true,
            (R::Spine, R::Server(_)) => kind == Kind::Dev,
            _ => false,
        }
    }
}
