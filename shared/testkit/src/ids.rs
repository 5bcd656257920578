//! Fixture ids: the same number gives the same id in every run of a test.

use runspine_types::{Micros, new_id_at};

/// 2026-01-02T03:04:05Z, when fixtures were born.
const BORN: Micros = Micros(1_767_323_045_000_000);

/// A UUIDv7 for a kind of thing and a number.
#[must_use]
pub fn test_id(kind: u8, number: u64) -> String {
    let mut random = [kind; 10];
    random[2..].copy_from_slice(&number.to_be_bytes());
    new_id_at(BORN, random)
}

/// The id of tenant `number`.
#[must_use]
pub fn tenant(number: u64) -> String {
    test_id(1, number)
}

/// The id of run `number`.
#[must_use]
pub fn run(number: u64) -> String {
    test_id(2, number)
}

/// The id of agent `number`.
#[must_use]
pub fn agent(number: u64) -> String {
    test_id(3, number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_differ_by_kind_and_number_and_are_stable() {
        assert_eq!(tenant(1), tenant(1));
        assert_ne!(tenant(1), tenant(2));
        assert_ne!(tenant(1), run(1));
        assert!(runspine_types::is_uuid_v7(&agent(u64::MAX)));
    }
}
