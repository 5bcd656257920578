//! Collects everything that is wrong with a request before it is refused.

use prost_types::Timestamp;
use runspine_errors::{Outcome, Reason, Violations, mesh};
use runspine_types::{is_uuid, is_uuid_v7};

/// The violations of one request. The fault has the reason of all of them, or FIELD_INVALID when they differ.
#[derive(Default)]
pub(crate) struct Checks {
    found: Violations,
    reason: Option<&'static Reason>,
}

impl Checks {
    pub(crate) fn fail(&mut self, reason: &'static Reason, field: &str, what: &str) {
        self.found.add(field, reason.name, what);
        self.reason = Some(match self.reason {
            Some(other) if other != reason => &mesh::FIELD_INVALID,
            _ => reason,
        });
    }

    pub(crate) fn require(&mut self, holds: bool, field: &str, what: &str) {
        if !holds {
            self.fail(&mesh::FIELD_INVALID, field, what);
        }
    }

    /// A UUID.
    pub(crate) fn id(&mut self, field: &str, value: &str) {
        self.require(is_uuid(value), field, "must be a UUID in lower case");
    }

    /// A UUIDv7.
    pub(crate) fn id_v7(&mut self, field: &str, value: &str) {
        self.require(is_uuid_v7(value), field, "must be a UUIDv7 in lower case");
    }

    /// The key of a mutation.
    pub(crate) fn request_id(&mut self, value: &str) {
        if value.is_empty() {
            self.fail(&mesh::REQUEST_ID_REQUIRED, "request_id", "must be a UUID");
        } else {
            self.id("request_id", value);
        }
    }

    /// Text of so many characters. No engine but one keeps the character 0.
    pub(crate) fn text(&mut self, field: &str, value: &str, least: usize, most: usize) {
        let fits = (least..=most).contains(&value.chars().count());
        self.require(fits, field, &format!("must have {least} to {most} characters"));
        self.require(!value.contains('\0'), field, "must not hold the character 0");
    }

    pub(crate) fn range(&mut self, field: &str, value: i64, least: i64, most: i64) {
        self.require((least..=most).contains(&value), field, &format!("must be {least} to {most}"));
    }

    /// 32 bytes.
    pub(crate) fn digest(&mut self, field: &str, value: &[u8]) {
        self.require(value.len() == 32, field, "must be 32 bytes");
    }

    /// 32 bytes or nothing.
    pub(crate) fn optional_digest(&mut self, field: &str, value: &[u8]) {
        self.require(value.is_empty() || value.len() == 32, field, "must be 32 bytes or empty");
    }

    /// A value of `T` that is stated.
    pub(crate) fn known<T: TryFrom<i32>>(&mut self, field: &str, value: i32) {
        if value == 0 {
            self.fail(&mesh::ENUM_UNSPECIFIED, field, "must be stated");
        } else {
            self.known_or_zero::<T>(field, value);
        }
    }

    /// A value of `T`, or 0.
    pub(crate) fn known_or_zero<T: TryFrom<i32>>(&mut self, field: &str, value: i32) {
        if T::try_from(value).is_err() {
            self.fail(&mesh::ENUM_UNKNOWN, field, "this version knows no such value");
        }
    }

    /// Values of `T` that are stated.
    pub(crate) fn all_known<T: TryFrom<i32>>(&mut self, field: &str, values: &[i32]) {
        values.iter().for_each(|value| self.known::<T>(field, *value));
    }

    /// A time that a row can hold.
    pub(crate) fn time(&mut self, field: &str, value: Option<&Timestamp>) {
        let fits = value.is_none_or(|t| {
            (0..=253_402_300_799).contains(&t.seconds) && (0..1_000_000_000).contains(&t.nanos)
        });
        self.require(fits, field, "must be a time from 1970 to 9999");
    }

    pub(crate) fn done(self) -> Outcome<()> {
        self.found.into_result(self.reason.unwrap_or(&mesh::FIELD_INVALID))
    }
}
