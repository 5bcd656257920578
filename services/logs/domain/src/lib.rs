//! What `logs` knows without a store, a clock or a network: exact bytes, chains, rules of a trace, proofs, bundles.

pub mod behaviour;
pub mod bundle;
pub mod bytes;
pub mod certificate;
pub mod chain;
pub mod checkpoint;
pub mod contract;
pub mod export;
pub mod integrity;
pub mod keys;
pub mod merkle;
pub mod note;
pub mod payload;
pub mod proof;
pub mod reasons;
pub mod replay;
pub mod span;
pub mod trace;
