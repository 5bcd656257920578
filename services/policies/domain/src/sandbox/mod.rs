//! What is tried before it is in force: candidate rule sets, and what they would have decided.

pub mod backtest;
pub mod candidate;
pub mod explain;
pub mod replay;
pub mod shadow;
pub mod tally;
