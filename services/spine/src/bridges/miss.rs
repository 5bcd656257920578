//! A call to a domain that gave no answer: refused for good, or an outage that passes.

use std::fmt;

use runspine_errors::{Fault, Reason, mesh};
use runspine_rpc::Details;
use tonic::{Code, Status};

/// The result of a call to a domain.
pub type Called<T> = Result<T, Miss>;

/// Why a domain gave no answer.
#[derive(Clone)]
pub struct Miss {
    status: Box<Status>,
}

impl Miss {
    /// From the status that came back.
    #[must_use]
    pub fn new(status: Status) -> Self {
        Self { status: Box::new(status) }
    }

    /// Whether the domain said no for good: repeating the call can't help.
    #[must_use]
    pub fn is_refusal(&self) -> bool {
        matches!(
            self.status.code(),
            Code::FailedPrecondition
                | Code::InvalidArgument
                | Code::NotFound
                | Code::OutOfRange
                | Code::AlreadyExists
        )
    }

    /// Whether the domain says that the request is wrong, whatever the state.
    #[must_use]
    pub fn is_invalid(&self) -> bool {
        self.status.code() == Code::InvalidArgument
    }

    /// Whether the domain says that the thing does not exist.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        self.status.code() == Code::NotFound
    }

    /// Whether the answer did not come in time.
    #[must_use]
    pub fn is_timeout(&self) -> bool {
        matches!(self.status.code(), Code::DeadlineExceeded | Code::Cancelled)
    }

    /// Whether the mesh itself is set up wrongly: a domain that does not know or does not let in the spine.
    #[must_use]
    pub fn is_misconfigured(&self) -> bool {
        matches!(self.status.code(), Code::Unauthenticated | Code::PermissionDenied | Code::Unimplemented)
    }

    /// What the status says beyond its code.
    #[must_use]
    pub fn details(&self) -> Details {
        runspine_rpc::details(&self.status)
    }

    /// The reason's name; the code's name when the status carries none.
    #[must_use]
    pub fn reason(&self) -> String {
        let reason = self.details().reason;
        if reason.is_empty() { format!("{:?}", self.status.code()).to_uppercase() } else { reason }
    }

    /// Whether the domain gave this reason.
    #[must_use]
    pub fn is(&self, reason: &str) -> bool {
        self.details().reason == reason
    }

    /// The status as it came, for a caller who asked for exactly this.
    #[must_use]
    pub fn into_status(self) -> Status {
        *self.status
    }

    /// The fault that a caller of the spine sees: an outage becomes `outage`, and what the domain refused stays with
    /// the caller's request as a named cause.
    #[must_use]
    pub fn into_fault(self, outage: &'static Reason) -> Fault {
        let reason = self.reason();
        if self.is_refusal() {
            let text = format!("a domain refused the call: {}", self.status.message());
            return Fault::new(&mesh::INTERNAL, text).with("cause", reason).caused_by(Told(self.told()));
        }
        let text = format!("a domain of the mesh can't be asked: {reason}");
        Fault::new(outage, text).with("cause", reason).caused_by(Told(self.told()))
    }

    /// Everything that the domain said, for the log.
    fn told(&self) -> String {
        let details = self.details();
        let fields: Vec<String> =
            details.fields.iter().map(|(field, what)| format!("{field}: {what}")).collect();
        format!("{self:?} [{}] {:?}", fields.join("; "), details.metadata)
    }
}

/// What a domain said, as the cause of the spine's own failure.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Told(String);

impl fmt::Debug for Miss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} {}: {}", self.status.code(), self.reason(), self.status.message())
    }
}
