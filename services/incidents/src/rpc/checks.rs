//! Collects everything that is wrong with a request.

use prost_types::Timestamp;
use runspine_errors::{Fault, Outcome, Reason, Violations, mesh};
use runspine_rpc::micros;
use runspine_types::{Micros, PageSize, is_code, is_uuid, is_uuid_v7};

/// What is wrong with a request, so far.
#[derive(Debug, Default)]
pub struct Checks {
    violations: Violations,
    reasons: Vec<&'static Reason>,
}

impl Checks {
    /// Adds a violation for `reason` unless `holds`.
    pub fn require(&mut self, holds: bool, reason: &'static Reason, field: &str, what: &str) {
        if !holds {
            self.violations.add(field, reason.name, what);
            self.reasons.push(reason);
        }
    }

    /// A UUIDv7.
    pub fn id(&mut self, field: &str, value: &str) {
        self.require(is_uuid_v7(value), &mesh::FIELD_INVALID, field, "must be a UUIDv7 in lower case");
    }

    /// A UUIDv7 or nothing.
    pub fn optional_id(&mut self, field: &str, value: &str) {
        if !value.is_empty() {
            self.id(field, value);
        }
    }

    /// The id of a call.
    pub fn request_id(&mut self, value: &str) {
        self.require(
            is_uuid(value),
            &mesh::REQUEST_ID_REQUIRED,
            "request_id",
            "must be a UUID in lower case",
        );
    }

    /// A text of at most `most` characters.
    pub fn text(&mut self, field: &str, value: &str, most: usize) {
        let fits = value.chars().count() <= most;
        self.require(fits, &mesh::FIELD_INVALID, field, &format!("has more than {most} characters"));
    }

    /// A text of 1 to `most` characters that is more than space; empty is told with `reason`.
    pub fn required(&mut self, reason: &'static Reason, field: &str, value: &str, most: usize) {
        self.require(!value.trim().is_empty(), reason, field, "is required");
        self.text(field, value, most);
    }

    /// A structured code.
    pub fn code(&mut self, field: &str, value: &str) {
        self.require(is_code(value), &mesh::FIELD_INVALID, field, "must be 1 to 64 of A-Z, 0-9 and _");
    }

    /// A digest of 32 bytes, or nothing.
    pub fn optional_digest(&mut self, field: &str, value: &[u8]) {
        let fits = value.is_empty() || value.len() == 32;
        self.require(fits, &mesh::FIELD_INVALID, field, "must be 32 bytes");
    }

    /// A word that must be stated.
    pub fn word<T>(&mut self, field: &str, code: i32, of: fn(i32) -> Option<T>) -> Option<T> {
        if code == 0 {
            self.require(false, &mesh::ENUM_UNSPECIFIED, field, "must be stated");
            return None;
        }
        self.optional_word(field, code, of)
    }

    /// A word that need not be stated.
    pub fn optional_word<T>(&mut self, field: &str, code: i32, of: fn(i32) -> Option<T>) -> Option<T> {
        let found = of(code);
        let known = code == 0 || found.is_some();
        self.require(known, &mesh::ENUM_UNKNOWN, field, &format!("{code} is not known"));
        found
    }

    /// A list of words; each must be stated.
    pub fn words<T: Copy>(&mut self, field: &str, codes: &[i32], of: fn(i32) -> Option<T>) -> Vec<T> {
        let found = codes.iter().enumerate().map(|(n, code)| self.word(&format!("{field}[{n}]"), *code, of));
        found.collect::<Vec<_>>().into_iter().flatten().collect()
    }

    /// A time within what the store can hold, or nothing.
    pub fn time(&mut self, field: &str, value: Option<&Timestamp>) -> Option<Micros> {
        let at = value?;
        let valid = (0..1_000_000_000).contains(&at.nanos) && (0..253_402_300_800).contains(&at.seconds);
        self.require(valid, &mesh::FIELD_INVALID, field, "is no time from 1970 to 9999");
        valid.then(|| micros(at))
    }

    /// Rows of a page; `None` when the number is wrong.
    pub fn page_size(&mut self, requested: i32) -> Option<PageSize> {
        let size = PageSize::of(requested);
        self.require(size.is_some(), &mesh::FIELD_INVALID, "page_size", "must not be negative");
        size
    }

    /// What was parsed, unless something was wrong. When all that is wrong has one reason, the fault has it too.
    ///
    /// # Errors
    /// With every violation that was found.
    pub fn done<T>(self, parsed: Option<T>) -> Outcome<T> {
        let one = self.reasons.first().filter(|first| self.reasons.iter().all(|reason| reason == *first));
        self.violations.into_result(one.copied().unwrap_or(&mesh::FIELD_INVALID))?;
        parsed.ok_or_else(|| Fault::new(&mesh::INTERNAL, "a request without violations could not be parsed"))
    }
}
