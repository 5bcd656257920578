//! The logs service, called as the spine calls it.

mod audit;
mod traces;
