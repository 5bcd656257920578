//! The limits of what a client may send, in one place.

/// Most characters of an id that a client gives.
pub const ID: usize = 128;
/// Most characters of a resource or a step's name.
pub const NAME: usize = 256;
/// Most characters of a goal.
pub const GOAL: usize = 8_000;
/// Most labels of a run, and most bytes of a label's key and value.
pub const LABELS: (usize, usize, usize) = (32, 63, 256);
/// Most declared tools.
pub const TOOLS: usize = 256;
/// Bytes of a start's labels and declared tools: with the rest of its charter they fit an expectation's input of 16 KiB.
pub const START_WORDS: usize = 12 * 1024;
/// Most selected arguments, and most bytes of them together.
pub const ARGUMENTS: (usize, usize) = (64, 16 * 1024);
/// Most bytes of one text argument, and most values of a list.
pub const ARGUMENT: (usize, usize) = (1_024, 64);
/// Most labels of an output.
pub const OUTPUT_LABELS: usize = 32;
/// Characters of a note or reason that a person writes.
pub const NOTE: std::ops::RangeInclusive<usize> = 10..=500;
/// Most characters of an error message.
pub const ERROR_MESSAGE: usize = 1_024;
/// A run may spawn runs to this depth.
pub const DEPTH: u32 = 8;
