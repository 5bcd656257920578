//! Live streams: what is in the store, in order, then what comes. Readers read the store at their own pace and nobody
//! who writes waits for them; a commit only wakes them.

mod entries;
mod follow;
mod hub;
mod outlet;
mod records;
mod seats;

pub use entries::Watched as WatchedEntry;
pub use hub::Hub;
pub use outlet::Inlet;
pub use records::Watched as WatchedRecord;
pub use seats::Seats;

use self::{
    follow::{Source, follow},
    outlet::{Outlet, Stop},
};
