//! The RPCs: parse, call the use case, present.

pub mod words;
