//! Times on the wire.

use prost_types::Timestamp;
use runspine_types::Micros;

/// A time as it travels.
#[must_use]
pub fn timestamp(at: Micros) -> Timestamp {
    let (seconds, nanos) = at.to_timestamp();
    Timestamp { seconds, nanos }
}

/// A time that travelled; what is finer than a microsecond is cut off.
#[must_use]
pub fn micros(at: &Timestamp) -> Micros {
    Micros::from_timestamp(at.seconds, at.nanos)
}

/// A time that may be absent.
#[must_use]
pub fn optional_micros(at: Option<&Timestamp>) -> Option<Micros> {
    at.map(micros)
}
