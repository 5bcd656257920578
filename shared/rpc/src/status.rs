//! Faults as gRPC statuses with `google.rpc` details, and back.

use std::{collections::HashMap, error::Error, time::Duration};

use runspine_errors::{Fault, Kind, Reason};
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, FieldViolation, PreconditionViolation, QuotaViolation, StatusExt};

/// The one gRPC code of a kind.
#[must_use]
pub const fn code_of(kind: Kind) -> Code {
    match kind {
        Kind::Invalid => Code::InvalidArgument,
        Kind::NotFound => Code::NotFound,
        Kind::Conflict => Code::AlreadyExists,
        Kind::Precondition => Code::FailedPrecondition,
        Kind::Denied => Code::PermissionDenied,
        Kind::Unauthenticated => Code::Unauthenticated,
        Kind::Exhausted => Code::ResourceExhausted,
        Kind::Aborted => Code::Aborted,
        Kind::Unavailable => Code::Unavailable,
        Kind::Deadline => Code::DeadlineExceeded,
        Kind::Internal => Code::Internal,
        Kind::Unknown => Code::Unimplemented,
    }
}

/// The kind behind a gRPC code; codes that Runspine never gives are defects.
#[must_use]
pub const fn kind_of(code: Code) -> Kind {
    match code {
        Code::InvalidArgument | Code::OutOfRange => Kind::Invalid,
        Code::NotFound => Kind::NotFound,
        Code::AlreadyExists => Kind::Conflict,
        Code::FailedPrecondition => Kind::Precondition,
        Code::PermissionDenied => Kind::Denied,
        Code::Unauthenticated => Kind::Unauthenticated,
        Code::ResourceExhausted => Kind::Exhausted,
        Code::Aborted => Kind::Aborted,
        Code::Unavailable => Kind::Unavailable,
        Code::DeadlineExceeded | Code::Cancelled => Kind::Deadline,
        Code::Unimplemented => Kind::Unknown,
        Code::Ok | Code::Unknown | Code::DataLoss | Code::Internal => Kind::Internal,
    }
}

/// A fault as a status. A defect is logged with its cause under a new error id, and the caller sees only that id.
#[must_use]
pub fn status(fault: Fault) -> Status {
    if fault.kind() == Kind::Internal {
        return internal(&fault);
    }
    let reason = fault.reason();
    let metadata: HashMap<String, String> =
        fault.metadata().iter().map(|(k, v)| ((*k).to_owned(), v.clone())).collect();
    let mut details = ErrorDetails::with_error_info(reason.name, reason.domain, metadata);
    if !fault.fields().is_empty() {
        let fields: Vec<_> = fault.fields().iter().map(field_violation).collect();
        details.set_bad_request(fields);
    }
    if !fault.preconditions().is_empty() {
        let found = fault.preconditions().iter();
        let found: Vec<_> = found
            .map(|p| PreconditionViolation::new(p.kind.clone(), p.subject.clone(), p.description.clone()))
            .collect();
        details.set_precondition_failure(found);
    }
    if !fault.quotas().is_empty() {
        let quotas = fault.quotas().iter();
        let quotas: Vec<_> =
            quotas.map(|q| QuotaViolation::new(q.subject.clone(), q.description.clone())).collect();
        details.set_quota_failure(quotas);
    }
    if let Some(after) = fault.retry_delay() {
        details.set_retry_info(Some(after));
    }
    Status::with_error_details(code_of(fault.kind()), fault.message(), details)
}

/// A fault as a whole response, for the layers that answer instead of a handler.
#[must_use]
pub fn refusal(fault: Fault) -> http::Response<crate::Body> {
    status(fault).into_http()
}

fn field_violation(v: &runspine_errors::FieldViolation) -> FieldViolation {
    FieldViolation::new(v.field.clone(), format!("{}: {}", v.reason, v.description))
}

fn internal(fault: &Fault) -> Status {
    let error_id = runspine_types::new_id();
    let mut causes = Vec::new();
    let mut next = fault.source();
    while let Some(cause) = next {
        causes.push(cause.to_string());
        next = cause.source();
    }
    let reason = fault.reason();
    tracing::error!(
        error_id,
        reason = reason.name,
        domain = reason.domain,
        causes = causes.join(": "),
        "{fault}"
    );
    let metadata = HashMap::from([("error_id".to_owned(), error_id.clone())]);
    let details = ErrorDetails::with_error_info(reason.name, reason.domain, metadata);
    Status::with_error_details(Code::Internal, format!("internal error {error_id}"), details)
}

/// What a status says beyond its code.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Details {
    /// The reason, empty when the status carries none.
    pub reason: String,
    /// The domain that gave it.
    pub domain: String,
    /// Machine-readable detail.
    pub metadata: HashMap<String, String>,
    /// Field violations: field and description.
    pub fields: Vec<(String, String)>,
    /// Violated preconditions: subject and description.
    pub preconditions: Vec<(String, String)>,
    /// Exhausted quotas: subject and description.
    pub quotas: Vec<(String, String)>,
    /// When to try again.
    pub retry_after: Option<Duration>,
}

impl Details {
    /// Whether the status was given for `reason`.
    #[must_use]
    pub fn is(&self, reason: &Reason) -> bool {
        self.reason == reason.name && self.domain == reason.domain
    }
}

/// Reads the details of a status; one without any gives the empty details.
#[must_use]
pub fn details(status: &Status) -> Details {
    let found = status.get_error_details();
    let mut out = Details::default();
    if let Some(info) = found.error_info() {
        out.reason.clone_from(&info.reason);
        out.domain.clone_from(&info.domain);
        out.metadata.clone_from(&info.metadata);
    }
    if let Some(bad) = found.bad_request() {
        let fields = bad.field_violations.iter();
        out.fields = fields.map(|v| (v.field.clone(), v.description.clone())).collect();
    }
    if let Some(failed) = found.precondition_failure() {
        let violations = failed.violations.iter();
        out.preconditions = violations.map(|v| (v.subject.clone(), v.description.clone())).collect();
    }
    if let Some(failed) = found.quota_failure() {
        let violations = failed.violations.iter();
        out.quotas = violations.map(|v| (v.subject.clone(), v.description.clone())).collect();
    }
    out.retry_after = found.retry_info().and_then(|r| r.retry_delay);
    out
}
