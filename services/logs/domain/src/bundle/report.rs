//! What a verifier is told and what it tells.

use contracts_logs::v1::{BundleManifest, TraceProof};
use runspine_types::Digest;

use crate::keys::TrustedKey;

/// A checkpoint that the caller holds, to see whether the bundle's log is the one it knows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Against {
    /// The signed note.
    pub note: String,
    /// RFC 6962 proof between the two; empty where their sizes are equal.
    pub consistency: Vec<Digest>,
}

/// What the verifier is told.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Keys that the caller vouches for. Without any a bundle can be UNTRUSTED at best.
    pub trusted: Vec<TrustedKey>,
    /// The tenant that the bundle has to belong to.
    pub tenant_id: Option<String>,
    /// A checkpoint that the bundle's must be consistent with. Whoever held it before a key was revoked knows by it which
    /// seals of the key were there before.
    pub against: Option<Against>,
}

/// One thing that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What, e.g. `LINK_MISMATCH`.
    pub code: &'static str,
    /// Where, e.g. `attempt 1 position 3`.
    pub at: String,
    /// Whether it only warns.
    pub warning: bool,
}

/// The result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Everything agrees, and a trusted key says so.
    Verified,
    /// Something does not agree.
    Failed,
    /// Everything agrees, but no trusted key was given.
    Untrusted,
    /// Everything agrees as far as it goes; the manifest says that the trace is open.
    Unsealed,
    /// The manifest says that the file is of a newer format than this verifier knows: nothing is said about the rest.
    Unsupported,
}

impl Verdict {
    /// The exit code of `runspine verify`; 2 is that of usage and of files that can't be read, and a newer format can't.
    #[must_use]
    pub const fn exit_code(self) -> u8 {
        match self {
            Self::Verified => 0,
            Self::Failed => 1,
            Self::Unsupported => 2,
            Self::Untrusted => 3,
            Self::Unsealed => 4,
        }
    }

    /// As it is shown.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Verified => "VERIFIED",
            Self::Failed => "FAILED",
            Self::Untrusted => "UNTRUSTED",
            Self::Unsealed => "UNSEALED",
            Self::Unsupported => "UNSUPPORTED",
        }
    }
}

/// Everything that was found.
#[derive(Debug, Clone)]
pub struct Report {
    /// The result.
    pub verdict: Verdict,
    /// All findings, in the order in which they were met.
    pub findings: Vec<Finding>,
    /// The manifest, where it could be read.
    pub manifest: Option<BundleManifest>,
    /// The proof of each trace in the file.
    pub proofs: Vec<TraceProof>,
    /// Lines that were read.
    pub lines: u64,
}

/// Collects findings while a file is read.
#[derive(Debug, Default)]
pub(super) struct Findings(pub(super) Vec<Finding>);

impl Findings {
    /// Notes what makes the file fail.
    pub(super) fn fail(&mut self, code: &'static str, at: impl Into<String>) {
        self.note(Finding { code, at: at.into(), warning: false });
    }

    /// Notes what only warns.
    pub(super) fn warn(&mut self, code: &'static str, at: impl Into<String>) {
        self.note(Finding { code, at: at.into(), warning: true });
    }

    /// Adds what was found elsewhere.
    pub(super) fn join(&mut self, other: Self) {
        other.0.into_iter().for_each(|finding| self.note(finding));
    }

    fn note(&mut self, finding: Finding) {
        if !self.0.contains(&finding) {
            self.0.push(finding);
        }
    }

    /// Whether something makes the file fail.
    pub(super) fn failed(&self) -> bool {
        self.0.iter().any(|finding| !finding.warning)
    }
}
