//! Ids, time, digests and pages: the small words that every service speaks. No I/O.

mod digest;
mod id;
mod instance;
mod page;
mod store;
mod time;

pub use digest::{Digest, Hasher, hash};
pub use id::{IdError, derived_id, is_code, is_uuid, is_uuid_v7, new_id, new_id_at};
pub use instance::Instance;
pub use page::{PageSize, PageToken, PageTokenError};
pub use store::StoreConfig;
pub use time::{Clock, FixedClock, Micros, SystemClock};

/// The tenant that owns what belongs to nobody else.
pub const PLATFORM_TENANT: &str = "00000000-0000-0000-0000-000000000000";
