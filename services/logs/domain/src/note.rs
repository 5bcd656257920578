//! Checkpoints as C2SP signed notes: a text that anybody can read, and lines of signatures under it.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey};
use runspine_types::{Digest, hash};

/// Signature type of a plain Ed25519 signature over the text.
const PLAIN: u8 = 0x01;
/// Signature type of a cosignature: Ed25519 over a header with its time, then the text.
const COSIGNATURE: u8 = 0x04;
/// What a signature line begins with.
const DASH: &str = "\u{2014} ";

/// How much of a log there is, and what it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// Which log.
    pub origin: String,
    /// Its leaves.
    pub size: u64,
    /// Root over them.
    pub root: Digest,
}

impl Checkpoint {
    /// The text that is signed: three lines.
    #[must_use]
    pub fn text(&self) -> String {
        format!("{}\n{}\n{}\n", self.origin, self.size, STANDARD.encode(self.root.as_bytes()))
    }

    /// Reads a text that [`Checkpoint::text`] wrote; `None` when it is written in any other way.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut lines = text.lines();
        let (origin, size, root) = (lines.next()?, lines.next()?, lines.next()?);
        let root = Digest::from_slice(&STANDARD.decode(root).ok()?)?;
        let found = Self { origin: origin.to_owned(), size: size.parse().ok()?, root };
        (!origin.is_empty() && found.text() == text).then_some(found)
    }

    /// The note over this checkpoint, signed by the key of its log.
    #[must_use]
    pub fn sign(&self, key: &SigningKey) -> String {
        let text = self.text();
        let signer = NoteKey::of_log(&self.origin, key.verifying_key().to_bytes());
        let mut signed = signer.hash.to_vec();
        signed.extend_from_slice(&key.sign(text.as_bytes()).to_bytes());
        format!("{text}\n{DASH}{} {}\n", self.origin, STANDARD.encode(signed))
    }
}

/// One line of signature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoteSignature {
    /// Who signs.
    pub name: String,
    /// With which of its keys.
    pub key_hash: [u8; 4],
    /// What follows the key's hash.
    pub bytes: Vec<u8>,
}

impl NoteSignature {
    /// Reads `— name base64`, without its line feed.
    #[must_use]
    pub fn parse(line: &str) -> Option<Self> {
        let (name, text) = line.strip_prefix(DASH)?.split_once(' ')?;
        let bytes = STANDARD.decode(text).ok()?;
        let (hash, rest) = bytes.split_first_chunk::<4>()?;
        (is_name(name) && !rest.is_empty()).then(|| Self {
            name: name.to_owned(),
            key_hash: *hash,
            bytes: rest.to_vec(),
        })
    }

    /// The line, without its line feed.
    #[must_use]
    pub fn line(&self) -> String {
        let mut bytes = self.key_hash.to_vec();
        bytes.extend_from_slice(&self.bytes);
        format!("{DASH}{} {}", self.name, STANDARD.encode(bytes))
    }
}

/// A text with its signatures.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// The text, with its last line feed.
    pub text: String,
    /// The signatures in order.
    pub signatures: Vec<NoteSignature>,
}

impl Note {
    /// Reads a note; `None` when it is none.
    #[must_use]
    pub fn parse(note: &str) -> Option<Self> {
        let cut = note.rfind("\n\n")?;
        let (text, rest) = (&note[..=cut], note[cut + 2..].strip_suffix('\n')?);
        let signatures: Option<Vec<_>> = rest.split('\n').map(NoteSignature::parse).collect();
        Some(Self { text: text.to_owned(), signatures: signatures.filter(|all| !all.is_empty())? })
    }

    /// The checkpoint that the text states.
    #[must_use]
    pub fn checkpoint(&self) -> Option<Checkpoint> {
        Checkpoint::parse(&self.text)
    }

    /// Whether `key` signed the text.
    #[must_use]
    pub fn signed_by(&self, key: &NoteKey) -> bool {
        self.signatures.iter().any(|signature| key.verifies(&self.text, signature))
    }
}

/// A public key under a name: what a note's signature is checked with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoteKey {
    /// Whose it is.
    pub name: String,
    /// Its short name in a signature line.
    pub hash: [u8; 4],
    kind: u8,
    public_key: [u8; 32],
}

impl NoteKey {
    /// The key of the log `origin`.
    #[must_use]
    pub fn of_log(origin: &str, public_key: [u8; 32]) -> Self {
        Self::new(origin, PLAIN, public_key)
    }

    /// The key of a witness that cosigns with a time.
    #[must_use]
    pub fn of_witness(name: &str, public_key: [u8; 32]) -> Self {
        Self::new(name, COSIGNATURE, public_key)
    }

    fn new(name: &str, kind: u8, public_key: [u8; 32]) -> Self {
        let mut bytes = name.as_bytes().to_vec();
        bytes.extend_from_slice(&[0x0A, kind]);
        bytes.extend_from_slice(&public_key);
        let Digest([a, b, c, d, ..]) = hash(&bytes);
        Self { name: name.to_owned(), hash: [a, b, c, d], kind, public_key }
    }

    /// Reads `<name>+<hash>+<base64 of type and key>`; `None` when it is no Ed25519 key or its hash is another's.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.trim().splitn(3, '+');
        let (name, hash, key) = (parts.next()?, parts.next()?, parts.next()?);
        let key = STANDARD.decode(key).ok()?;
        let (kind, public_key) = key.split_first()?;
        let key = Self::new(name, *kind, public_key.try_into().ok()?);
        let known = [PLAIN, COSIGNATURE].contains(kind) && is_name(name);
        (known && hex::encode(key.hash) == hash).then_some(key)
    }

    /// As text: what [`NoteKey::parse`] reads, and every C2SP tool.
    #[must_use]
    pub fn text(&self) -> String {
        let mut key = vec![self.kind];
        key.extend_from_slice(&self.public_key);
        format!("{}+{}+{}", self.name, hex::encode(self.hash), STANDARD.encode(key))
    }

    /// Whether `signature` over `text` is by this key.
    #[must_use]
    pub fn verifies(&self, text: &str, signature: &NoteSignature) -> bool {
        if signature.name != self.name || signature.key_hash != self.hash {
            return false;
        }
        let (message, signature) = match self.kind {
            COSIGNATURE => {
                let Some((time, rest)) = signature.bytes.split_first_chunk::<8>() else { return false };
                (format!("cosignature/v1\ntime {}\n{text}", u64::from_be_bytes(*time)), rest)
            }
            _ => (text.to_owned(), signature.bytes.as_slice()),
        };
        let (Ok(key), Ok(signature)) =
            (VerifyingKey::from_bytes(&self.public_key), Signature::from_slice(signature))
        else {
            return false;
        };
        key.verify_strict(message.as_bytes(), &signature).is_ok()
    }
}

/// Names are not empty and hold neither white space nor plus signs.
fn is_name(name: &str) -> bool {
    !name.is_empty() && !name.contains(|c: char| c.is_whitespace() || c == '+')
}
