//! The words that every domain shares, and the contract options that every RPC carries.

/// `runspine.common`: shared enums, amounts, the call context, the event envelope.
pub mod common {
    /// Version 1.
    #[allow(missing_docs, clippy::all, clippy::pedantic)]
    pub mod v1 {
        tonic::include_proto!("runspine.common.v1");
    }
}

/// `runspine.contract`: what every RPC and every event promises.
pub mod contract {
    /// Version 1.
    #[allow(missing_docs, clippy::all, clippy::pedantic)]
    pub mod v1 {
        tonic::include_proto!("runspine.contract.v1");
    }
}

pub mod phase;

/// The descriptor set of both packages with their imports; custom options are kept.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
