//! Signing: key ids, the exact bytes that are signed, and the check of a signature.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use contracts_logs::v1::KeyPurpose;
use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use runspine_types::{Digest, Hasher, hash};

/// What a signature is over. Each purpose has its own key and its own first bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signed {
    /// A trace seal, by the SEAL key.
    Seal,
    /// A bundle manifest, by the EXPORT key.
    Bundle,
    /// A certificate, by the CERTIFICATE key.
    Certificate,
    /// The content of an export, by the EXPORT key.
    Export,
}

impl Signed {
    const fn tag(self) -> &'static str {
        match self {
            Self::Seal => "runspine.seal.v1",
            Self::Bundle => "runspine.bundle.v1",
            Self::Certificate => "runspine.certificate.v1",
            Self::Export => "runspine.export.v1",
        }
    }
}

/// The bytes that are signed: tag, zero byte, length, content.
#[must_use]
pub fn signing_bytes(what: Signed, content: &[u8]) -> Vec<u8> {
    let tag = what.tag().as_bytes();
    let mut out = Vec::with_capacity(tag.len() + 9 + content.len());
    out.extend_from_slice(tag);
    out.push(0);
    out.extend_from_slice(&(content.len() as u64).to_be_bytes());
    out.extend_from_slice(content);
    out
}

/// SHA-256 of the bytes that a seal's signature is over.
#[must_use]
pub fn seal_digest(seal: &[u8]) -> Digest {
    hash(&signing_bytes(Signed::Seal, seal))
}

/// The name of a key: the first 16 bytes of its digest in hex.
#[must_use]
pub fn key_id(public_key: &[u8; 32]) -> String {
    hex::encode(&Hasher::new("runspine.key.v1").fixed(public_key).finish().as_bytes()[..16])
}

/// Signs `content`; Ed25519 is deterministic, so the same content has one signature.
#[must_use]
pub fn sign(key: &SigningKey, what: Signed, content: &[u8]) -> [u8; 64] {
    key.sign(&signing_bytes(what, content)).to_bytes()
}

/// Whether `signature` over `content` is by `public_key`.
#[must_use]
pub fn verify(public_key: &[u8; 32], what: Signed, content: &[u8], signature: &[u8]) -> bool {
    let (Ok(key), Ok(signature)) = (VerifyingKey::from_bytes(public_key), Signature::from_slice(signature))
    else {
        return false;
    };
    key.verify_strict(&signing_bytes(what, content), &signature).is_ok()
}

/// The word of a purpose in a verifier key.
#[must_use]
pub const fn purpose_word(purpose: KeyPurpose) -> &'static str {
    match purpose {
        KeyPurpose::Unspecified => "UNSPECIFIED",
        KeyPurpose::Seal => "SEAL",
        KeyPurpose::Checkpoint => "CHECKPOINT",
        KeyPurpose::Export => "EXPORT",
        KeyPurpose::Certificate => "CERTIFICATE",
    }
}

/// What stands behind a key that is not trusted any more, in its line of text.
const REVOKED: &str = " revoked";

/// A public key as a line of text, `<key_id>+<purpose>+<base64>`, and ` revoked` behind it where it is: what
/// `runspine verify --trust` reads. A reader that does not know the word knows no such key.
#[must_use]
pub fn verifier_key(key: &TrustedKey) -> String {
    let revoked = if key.revoked { REVOKED } else { "" };
    format!("{}+{}+{}{revoked}", key.key_id, purpose_word(key.purpose), STANDARD.encode(key.public_key))
}

/// A public key that somebody vouches for, or vouched for once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrustedKey {
    /// What it signs.
    pub purpose: KeyPurpose,
    /// Its name, derived from its bytes.
    pub key_id: String,
    /// Ed25519.
    pub public_key: [u8; 32],
    /// Whether somebody else may have it: what it signed counts only where a checkpoint left the house before.
    pub revoked: bool,
}

/// Reads a line that [`verifier_key`] wrote; `None` when it is none, or when its name is not that of its bytes.
#[must_use]
pub fn parse_verifier_key(line: &str) -> Option<TrustedKey> {
    let line = line.trim();
    let (line, revoked) = line.strip_suffix(REVOKED).map_or((line, false), |line| (line, true));
    let mut parts = line.splitn(3, '+');
    let (id, word, text) = (parts.next()?, parts.next()?, parts.next()?);
    let purposes = [KeyPurpose::Seal, KeyPurpose::Checkpoint, KeyPurpose::Export, KeyPurpose::Certificate];
    let purpose = purposes.into_iter().find(|p| purpose_word(*p) == word)?;
    let public_key: [u8; 32] = STANDARD.decode(text).ok()?.try_into().ok()?;
    (key_id(&public_key) == id).then(|| TrustedKey { purpose, key_id: id.to_owned(), public_key, revoked })
}
