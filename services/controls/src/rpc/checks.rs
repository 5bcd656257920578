//! Collects everything that is wrong with a request.

use contracts_common::common::v1 as common;
use prost_types::Timestamp;
use runspine_controls_domain::reasons;
use runspine_errors::{Fault, Reason, Violations, mesh};
use runspine_rpc::micros;
use runspine_types::{Micros, PageSize, is_uuid, is_uuid_v7};

use crate::{store::desk::RunRef, words::amounts_from};

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

    fn field(&mut self, holds: bool, field: &str, what: &str) {
        self.require(holds, &mesh::FIELD_INVALID, field, what);
    }

    /// A UUIDv7.
    pub fn id(&mut self, field: &str, value: &str) {
        self.field(is_uuid_v7(value), field, "must be a UUIDv7 in lower case");
    }

    /// A UUIDv7 or nothing.
    pub fn optional_id(&mut self, field: &str, value: &str) {
        self.field(value.is_empty() || is_uuid_v7(value), field, "must be a UUIDv7 in lower case, or empty");
    }

    /// The id of a call.
    pub fn request_id(&mut self, value: &str) {
        let reason = &mesh::REQUEST_ID_REQUIRED;
        self.require(is_uuid(value), reason, "request_id", "must be a UUID in lower case");
    }

    /// A run attempt.
    pub fn run(&mut self, tenant: &str, run_id: &str, attempt: u32) -> RunRef {
        self.id("run_id", run_id);
        self.field(attempt > 0, "attempt", "must be 1 or more");
        RunRef { tenant_id: tenant.to_owned(), run_id: run_id.to_owned(), attempt }
    }

    /// A text of at most `most` characters.
    pub fn text(&mut self, field: &str, value: &str, most: usize) {
        self.field(value.chars().count() <= most, field, &format!("has more than {most} characters"));
    }

    /// A text of `least` to `most` characters.
    pub fn words_of(&mut self, field: &str, value: &str, least: usize, most: usize) {
        let fits = (least..=most).contains(&value.trim().chars().count());
        self.field(fits, field, &format!("has {least} to {most} characters"));
    }

    /// Why, in `least` to 500 characters.
    pub fn reason(&mut self, value: &str, least: usize) {
        let length = value.trim().chars().count();
        self.require(
            length >= least,
            &reasons::REASON_REQUIRED,
            "reason",
            &format!("has {least} to 500 characters"),
        );
        self.field(length <= 500, "reason", "has at most 500 characters");
    }

    /// Amounts that are not negative.
    pub fn amounts(&mut self, field: &str, amounts: Option<&common::Amounts>) {
        let all = amounts_from(amounts, 0);
        for (name, value) in [
            ("cost_microusd", all.cost_microusd),
            ("tokens_input", all.tokens_input),
            ("tokens_output", all.tokens_output),
            ("duration_ms", all.duration_ms),
        ] {
            // Sums over many steps must stay far from the end of the numbers.
            let fits = (0..=1_000_000_000_000_000).contains(&value);
            self.field(fits, &format!("{field}.{name}"), "must be 0 to 10^15");
        }
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

    /// A filter: each word must be known.
    pub fn filter<T>(&mut self, field: &str, codes: &[i32], of: fn(i32) -> Option<T>) {
        for (place, code) in codes.iter().enumerate() {
            self.word(&format!("{field}[{place}]"), *code, of);
        }
    }

    /// A time within what the store can hold, or nothing.
    pub fn time(&mut self, field: &str, value: Option<&Timestamp>) -> Option<Micros> {
        let at = value?;
        let valid = (0..1_000_000_000).contains(&at.nanos) && (0..253_402_300_800).contains(&at.seconds);
        self.field(valid, field, "is no time from 1970 to 9999");
        valid.then(|| micros(at))
    }

    /// Rows of a page.
    pub fn page_size(&mut self, requested: i32) -> Option<PageSize> {
        let size = PageSize::of(requested);
        self.field(size.is_some(), "page_size", "must not be negative");
        size
    }

    /// What was parsed, unless something was wrong. When all that is wrong has one reason, the fault has it too.
    ///
    /// # Errors
    /// With every violation that was found.
    pub fn done<T>(self, parsed: Option<T>) -> Result<T, Fault> {
        let one = self.reasons.first().filter(|first| self.reasons.iter().all(|reason| reason == *first));
        self.violations.into_result(one.copied().unwrap_or(&mesh::FIELD_INVALID))?;
        parsed.ok_or_else(|| Fault::new(&mesh::INTERNAL, "a request without violations could not be parsed"))
    }
}
