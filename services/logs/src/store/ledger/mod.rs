//! The governance ledger: one dense chain a tenant, and the erasable states beside it.

mod append;
mod list;
mod row;

pub use append::{Appended, Event, append, append_entry};
pub use list::{Behind, LedgerFilter, by_event, by_seq, head, list, page_of_links, witness};
pub use row::{EntryRow, StoredEntry};
