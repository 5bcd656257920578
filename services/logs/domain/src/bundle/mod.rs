//! The offline bundle: one file that proves a run without a server.
//!
//! One JSON object a line. [`Builder`] makes it, [`verify_bundle`] reads it once and tells everything that is wrong.

mod build;
mod decisions;
mod ledger;
mod line;
mod read;
mod report;
mod traces;
mod verify;

use runspine_types::{Digest, Hasher};

pub use build::{Builder, FileLines, Head, Item};
pub use report::{Against, Finding, Options, Report, Verdict};
pub use verify::verify_bundle;

/// The sections in the order of the file, after manifest and signature and before the end.
pub const SECTIONS: [&str; 11] = [
    "schema",
    "keys",
    "trace",
    "seal",
    "decision",
    "contract",
    "evidence",
    "ledger",
    "checkpoint",
    "incident",
    "payload",
];

/// Digest of a section: over the length and bytes of each item in order.
pub fn section_digest<I>(items: I) -> Digest
where
    I: IntoIterator,
    I::Item: AsRef<[u8]>,
{
    items.into_iter().fold(section_start(), |hasher, item| hasher.sized(item.as_ref())).finish()
}

/// The digest of a section before its first item.
fn section_start() -> Hasher {
    Hasher::new("runspine.bundle.section.v1")
}
