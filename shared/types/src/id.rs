//! Ids are UUIDv7 in their hyphenated lower-case text form, so that they sort by time of birth.

use uuid::{Timestamp, Uuid, Version};

use crate::{Digest, Micros};

/// Text that is no id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a UUID in hyphenated lower-case form")]
pub struct IdError;

/// A new id, unique and later than all before it in this process.
#[must_use]
pub fn new_id() -> String {
    Uuid::now_v7().to_string()
}

/// An id for a given time, with the given random bits: the same arguments give the same id.
#[must_use]
pub fn new_id_at(at: Micros, random: [u8; 10]) -> String {
    let micros = at.0.max(0).unsigned_abs();
    let nanos = u32::try_from(micros % 1_000_000).unwrap_or(0).saturating_mul(1_000);
    let (seconds, nanos) = Timestamp::from_unix(uuid::NoContext, micros / 1_000_000, nanos).to_unix();
    let millis = seconds.saturating_mul(1_000).saturating_add(u64::from(nanos) / 1_000_000);
    uuid::Builder::from_unix_timestamp_millis(millis, &random).into_uuid().to_string()
}

/// The id of whatever `digest` stands for: the same digest gives the same id, so that saying a thing twice says it once.
#[must_use]
pub fn derived_id(digest: Digest) -> String {
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&digest.0[..16]);
    uuid::Builder::from_custom_bytes(bytes).into_uuid().to_string()
}

/// Whether `text` is a UUID of any version, hyphenated and in lower case.
#[must_use]
pub fn is_uuid(text: &str) -> bool {
    parse(text).is_ok()
}

/// Whether `text` is a UUIDv7, hyphenated and in lower case.
#[must_use]
pub fn is_uuid_v7(text: &str) -> bool {
    parse(text).is_ok_and(|id| id.get_version() == Some(Version::SortRand))
}

/// Whether `text` is a code: 1 to 64 characters of `A-Z`, `0-9` and `_`.
#[must_use]
pub fn is_code(text: &str) -> bool {
    (1..=64).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_')
}

fn parse(text: &str) -> Result<Uuid, IdError> {
    // `Uuid` accepts upper case, braces and urn forms; one id must have one text.
    if text.len() != 36 || text.bytes().any(|b| b.is_ascii_uppercase()) {
        return Err(IdError);
    }
    Uuid::try_parse(text).map_err(|_| IdError)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_v7_and_ordered() {
        let (a, b) = (new_id(), new_id());
        assert!(is_uuid_v7(&a) && is_uuid_v7(&b) && a < b);
    }

    #[test]
    fn a_derived_id_is_a_function_of_its_digest() {
        let (one, other) = (derived_id(crate::hash(b"a")), derived_id(crate::hash(b"b")));
        assert!(is_uuid(&one) && one == derived_id(crate::hash(b"a")) && one != other);
    }

    #[test]
    fn only_one_text_form_is_an_id() {
        assert!(is_uuid_v7("0190c3a0-0000-7000-8000-000000000001"));
        assert!(!is_uuid_v7("0190C3A0-0000-7000-8000-000000000001"));
        assert!(!is_uuid_v7("{0190c3a0-0000-7000-8000-00000000001}"));
        assert!(!is_uuid_v7("0190c3a0-0000-4000-8000-000000000001"));
        assert!(is_uuid("00000000-0000-0000-0000-000000000000"));
        assert!(!is_uuid(""));
    }

    #[test]
    fn an_id_for_a_time_is_a_function_of_its_arguments() {
        let at = Micros(1_767_323_045_000_000);
        assert_eq!(new_id_at(at, [7; 10]), new_id_at(at, [7; 10]));
        assert!(is_uuid_v7(&new_id_at(at, [7; 10])));
    }
}
