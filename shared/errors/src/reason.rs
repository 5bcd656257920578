//! Kinds and reasons of failure.

/// What kind of failure it is; each maps to one gRPC code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// The request is wrong whatever the state: `INVALID_ARGUMENT`.
    Invalid,
    /// No such thing for this tenant: `NOT_FOUND`.
    NotFound,
    /// The same key was used for something else: `ALREADY_EXISTS`.
    Conflict,
    /// The state forbids it: `FAILED_PRECONDITION`.
    Precondition,
    /// The caller may not: `PERMISSION_DENIED`.
    Denied,
    /// Nobody knows who calls: `UNAUTHENTICATED`.
    Unauthenticated,
    /// Too much or too fast: `RESOURCE_EXHAUSTED`.
    Exhausted,
    /// Somebody else was first, read again: `ABORTED`.
    Aborted,
    /// Not now, nothing was changed: `UNAVAILABLE`.
    Unavailable,
    /// The time is over: `DEADLINE_EXCEEDED`.
    Deadline,
    /// A defect; an error id is shown and nothing else: `INTERNAL`.
    Internal,
    /// No such operation is served: `UNIMPLEMENTED`.
    Unknown,
}

/// A named reason of failure. Each has a page under `docs/errors/`.
#[derive(Debug, PartialEq, Eq)]
pub struct Reason {
    /// `SCREAMING_SNAKE`, unique within its domain.
    pub name: &'static str,
    /// The domain that gives it, e.g. `logs.runspine`.
    pub domain: &'static str,
    /// Its kind.
    pub kind: Kind,
}

/// Declares the reasons of a domain as constants and lists them all in `ALL`.
///
/// ```
/// runspine_errors::reasons! { "demo.runspine";
///     /// The thing does not exist.
///     NotFound: THING_NOT_FOUND;
/// }
/// assert_eq!(ALL.len(), 1);
/// assert_eq!(THING_NOT_FOUND.name, "THING_NOT_FOUND");
/// ```
#[macro_export]
macro_rules! reasons {
    ($domain:literal; $($(#[$doc:meta])* $kind:ident: $name:ident;)*) => {
        $($(#[$doc])* pub static $name: $crate::Reason =
            $crate::Reason { name: stringify!($name), domain: $domain, kind: $crate::Kind::$kind };)*
        /// Every reason of this domain.
        pub static ALL: &[&$crate::Reason] = &[$(&$name),*];
    };
}
