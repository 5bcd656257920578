//! The contract of the `controls` domain: the only crate that holds its messages.

/// Version 1 of `runspine.controls`.
#[allow(missing_docs, clippy::all, clippy::pedantic)]
pub mod v1 {
    tonic::include_proto!("runspine.controls.v1");
}

/// The descriptor set of the package with its imports; custom options are kept.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
