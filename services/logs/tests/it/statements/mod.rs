//! What is said about runs after they ended: certificates and mismatches.

mod certificates;
mod comparing;
mod export_parts;
mod exports;
mod mismatches;
