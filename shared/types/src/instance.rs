//! Who serves.

use crate::Digest;

/// An instance of the mesh's services.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Instance {
    /// The name of its machine or container, which outlives a restart.
    pub name: String,
    /// Version of its binary.
    pub version: &'static str,
    /// Digest of the governance configuration that it runs under.
    pub config_digest: Digest,
}
