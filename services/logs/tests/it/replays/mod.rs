//! A sealed attempt done again, and compared with its record.

mod harness;
mod keys;
mod levels;
mod results;
