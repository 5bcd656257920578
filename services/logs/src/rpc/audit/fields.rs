//! Checks of request fields: all violations of a call are found before it is refused.

use std::borrow::Cow;

use prost_types::Timestamp;
use runspine_errors::{Fault, Violations, mesh};
use runspine_logs_domain::reasons::DIGEST_LENGTH;
use runspine_types::{Digest, Micros, PageSize, PageToken, is_uuid};

const INVALID: &str = mesh::FIELD_INVALID.name;

/// Collects violations.
#[derive(Default)]
pub struct Fields {
    violations: Violations,
}

impl Fields {
    /// None yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Refuses the request when anything was wrong.
    ///
    /// # Errors
    /// With every violation.
    pub fn done(self) -> Result<(), Fault> {
        self.violations.into_result(&mesh::FIELD_INVALID)
    }

    /// Notes a violation unless `holds`.
    pub fn require(&mut self, holds: bool, field: &str, what: &str) {
        self.violations.require(holds, field, INVALID, what);
    }

    /// A text of `least` to `most` bytes.
    pub fn text(&mut self, field: &str, text: String, (least, most): (usize, usize)) -> String {
        let fits = (least..=most).contains(&text.len());
        self.violations.require(fits, field, INVALID, &format!("has {least} to {most} bytes"));
        text
    }

    /// Words of `least` to `most` bytes, without what nobody may see: whoever may read the row may read them.
    pub fn words(&mut self, field: &str, text: String, range: (usize, usize)) -> String {
        let text = self.text(field, text, range);
        match runspine_redact::text(&text, runspine_redact::Keep::default()) {
            Cow::Borrowed(_) => text,
            Cow::Owned(without) => without,
        }
    }

    /// A state in JSON of `least` to `most` bytes, without what nobody may see.
    pub fn state(&mut self, field: &str, text: String, range: (usize, usize)) -> String {
        let text = self.text(field, text, range);
        if text.is_empty() { text } else { runspine_redact::json(&text, runspine_redact::Keep::default()) }
    }

    /// A UUID.
    pub fn id(&mut self, field: &str, text: String) -> String {
        self.violations.require(is_uuid(&text), field, INVALID, "is a UUID in hyphenated lower-case form");
        text
    }

    /// A UUID or nothing.
    pub fn optional_id(&mut self, field: &str, text: String) -> String {
        if text.is_empty() { text } else { self.id(field, text) }
    }

    /// The key of a mutation.
    pub fn request_id(&mut self, text: String) -> String {
        if text.is_empty() {
            let name = mesh::REQUEST_ID_REQUIRED.name;
            self.violations.add("request_id", name, "is required for a mutation");
            return text;
        }
        self.id("request_id", text)
    }

    /// A value of an enum that must be set.
    pub fn known<E: TryFrom<i32> + Default + PartialEq>(&mut self, field: &str, value: i32) -> E {
        let known = self.any(field, value);
        if known == E::default() && value == 0 {
            self.violations.add(field, mesh::ENUM_UNSPECIFIED.name, "must be set");
        }
        known
    }

    /// A value of an enum that may be unset.
    pub fn any<E: TryFrom<i32> + Default>(&mut self, field: &str, value: i32) -> E {
        E::try_from(value).unwrap_or_else(|_| {
            self.violations.add(field, mesh::ENUM_UNKNOWN.name, format!("{value} is not known here"));
            E::default()
        })
    }

    /// Digest of 32 bytes, or none.
    pub fn digest(&mut self, field: &str, bytes: &[u8]) -> Option<Digest> {
        if bytes.is_empty() {
            return None;
        }
        let digest = Digest::from_slice(bytes);
        if digest.is_none() {
            self.violations.add(field, DIGEST_LENGTH.name, "has 32 bytes or none");
        }
        digest
    }

    /// A time that must be set, in whole microseconds.
    pub fn time(&mut self, field: &str, at: Option<&Timestamp>) -> Micros {
        let at = self.optional_time(field, at);
        self.violations.require(at.is_some(), field, INVALID, "must be set");
        at.unwrap_or_default()
    }

    /// A time that may be unset.
    pub fn optional_time(&mut self, field: &str, at: Option<&Timestamp>) -> Option<Micros> {
        let at = at?;
        let whole = (0..1_000_000_000).contains(&at.nanos) && at.nanos % 1_000 == 0;
        self.violations.require(whole, field, INVALID, "has nanos that are a multiple of 1 000");
        Some(Micros::from_timestamp(at.seconds, at.nanos))
    }

    /// The size of a page.
    pub fn page_size(&mut self, size: i32) -> PageSize {
        let size = PageSize::of(size);
        self.violations.require(size.is_some(), "page_size", INVALID, "is not negative");
        size.unwrap_or_default()
    }
}

/// Where a page goes on: the whole numbers of its token.
///
/// # Errors
/// PAGE_TOKEN_MISMATCH.
pub fn page_after<const N: usize>(token: &str, query: Digest) -> Result<Option<[i64; N]>, Fault> {
    let wrong = || Fault::new(&mesh::PAGE_TOKEN_MISMATCH, "the page token does not belong to this list");
    let Some(key) = PageToken::decode(token, query).map_err(|_| wrong())? else { return Ok(None) };
    let numbers: Option<Vec<i64>> = key.iter().map(|part| part.parse().ok()).collect();
    let numbers: [i64; N] = numbers.ok_or_else(wrong)?.try_into().map_err(|_| wrong())?;
    Ok(Some(numbers))
}

/// What [`page_after`] reads back.
pub fn page_key<const N: usize>(numbers: [i64; N]) -> Vec<String> {
    numbers.iter().map(ToString::to_string).collect()
}
