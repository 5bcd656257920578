//! The edge of the audit: contracts, ledger, evidence, dispatch records.

mod checkpoints;
mod contract_parse;
mod contract_service;
mod dispatch_parse;
mod evidence_parse;
mod evidence_service;
pub mod fields;
mod ledger_parse;
mod ledger_service;
pub mod llm_runs;
pub mod present_contract;
mod record_service;
pub mod system;

pub use contract_service::Contracts;
pub use evidence_service::Evidence;
pub use ledger_parse::watch_filter;
pub use ledger_service::{Ledger, entry_view};
pub use record_service::Records;

use crate::app::audit::told::Caused;

/// Who caused a call.
fn caused(context: &runspine_rpc::Context) -> Caused {
    Caused::by(context)
}
