//! Events: what a domain publishes, read from its descriptors; how an envelope enters the outbox with its commit; and
//! how consumers follow the outbox without polling it hot.
//!
//! Delivery is at least once and in the order of commits: a consumer acknowledges what it has taken care of and knows a
//! redelivery by the event's id. The outbox is the only queue; nothing is kept in memory that a crash could lose.

mod catalogue;
mod emit;
mod feed;
mod life;

pub use catalogue::{Catalogue, CatalogueError, EventContract};
pub use emit::Emit;
pub use feed::{Feed, Pulled};
pub use life::Life;
