//! The offline bundle: one file that proves a run without a server.

use runspine_types::{Digest, Hasher};

/// Digest of a section: over the length and bytes of each item in order.
pub fn section_digest<I>(items: I) -> Digest
where
    I: IntoIterator,
    I::Item: AsRef<[u8]>,
{
    let start = Hasher::new("runspine.bundle.section.v1");
    items.into_iter().fold(start, |hasher, item| hasher.sized(item.as_ref())).finish()
}
