//! The contracts of the whole mesh.

use runspine_rpc::{Registry, RegistryError};

/// Descriptors of every package: the spine's contracts name RPCs of every domain.
pub static CONTRACTS: [&[u8]; 6] = [
    contracts_spine::DESCRIPTORS,
    contracts_activity::DESCRIPTORS,
    contracts_incidents::DESCRIPTORS,
    contracts_policies::DESCRIPTORS,
    contracts_logs::DESCRIPTORS,
    contracts_controls::DESCRIPTORS,
];

/// The registry of the whole mesh, read and checked.
///
/// # Errors
/// With everything that is wrong with the contracts.
pub fn registry() -> Result<Registry, RegistryError> {
    Registry::read(&CONTRACTS)
}
