//! How a step ended, as its span says.

use contracts_common::common::v1::{OutcomeCategory, StepOutcome};

use super::{Span, Status, Value};

/// The longest code.
const MAX_CODE: usize = 64;

/// Outcome, category and code.
pub(super) fn of(span: &Span) -> (StepOutcome, OutcomeCategory, String) {
    let error = span.attributes.any(&["error.type"]).map(Value::to_text).filter(|text| !text.is_empty());
    if span.status == Status::Error || error.is_some() {
        let code = code(error.as_deref().unwrap_or_default());
        return (StepOutcome::Failure, category(&code), code);
    }
    let filtered = span.attributes.any(&["gen_ai.response.finish_reasons"]).map(Value::to_text);
    let filtered = filtered.is_some_and(|reasons| reasons.contains("content_filter"));
    let code = if filtered { "CONTENT_FILTER" } else { "SUCCESS" };
    (StepOutcome::Success, OutcomeCategory::Execution, code.to_owned())
}

/// A type of error as a code: upper case, and `_` for what a code can't have.
fn code(error: &str) -> String {
    let of = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' };
    let code: String = error.chars().take(MAX_CODE).map(of).collect();
    if code.bytes().all(|b| b == b'_') { "FAILURE".to_owned() } else { code }
}

fn category(code: &str) -> OutcomeCategory {
    let status = code.parse::<u16>().unwrap_or_default();
    match status {
        429 => OutcomeCategory::RateLimit,
        408 | 504 => OutcomeCategory::Timeout,
        500..=599 => OutcomeCategory::Provider,
        _ if code.contains("TIMEOUT") || code.contains("DEADLINE") => OutcomeCategory::Timeout,
        _ if code.contains("RATE_LIMIT") || code.contains("RATELIMIT") => OutcomeCategory::RateLimit,
        _ => OutcomeCategory::Execution,
    }
}
