//! To be written.

pub mod door;
