//! What watching may not look at, and how text loses it before it is stored. Pure: the same text under the same
//! constraints always becomes the same text, so that its digest is the same too.

mod class;
mod constraints;
mod encoded;
mod keys;
mod numbers;
mod patterns;
mod walk;

pub use class::{Class, Counts};
pub use constraints::{Constraints, Operation, Violation};
pub use walk::{Keep, Kept, MAX_PAYLOAD, RedactionFailed, json, payload, prepare, text};
