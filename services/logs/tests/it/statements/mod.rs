//! What is said about runs after they ended: certificates and mismatches.

mod certificates;
mod comparing;
mod export_archives;
mod export_incidents;
mod export_parts;
mod export_tables;
pub mod exports;
mod mismatches;
