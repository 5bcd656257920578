//! The one way in which a hashed message becomes bytes, and back.

use prost::Message;
use prost_types::Timestamp;
use runspine_types::Micros;

/// The version of the format that this crate writes.
pub const FORMAT: u32 = 1;

/// The bytes of a message as they are stored and hashed: fields in ascending number, default values left out.
#[must_use]
pub fn encode(message: &impl Message) -> Vec<u8> {
    message.encode_to_vec()
}

/// A time as a message holds it.
#[must_use]
pub fn timestamp(at: Micros) -> Timestamp {
    let (seconds, nanos) = at.to_timestamp();
    Timestamp { seconds, nanos }
}

/// A time as a row holds it; what is finer than a microsecond is cut off. An absent time is 0.
#[must_use]
pub fn micros(at: Option<&Timestamp>) -> Micros {
    at.map_or(Micros(0), |t| Micros::from_timestamp(t.seconds, t.nanos))
}
