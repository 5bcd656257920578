//! The mesh identity: the spine signs the context of every call that crosses a process, and only that proves it.

use std::{fmt, time::Duration};

use base64::{Engine, engine::general_purpose::STANDARD_NO_PAD};
use contracts_common::common::v1::CallContext;
use hmac::{Hmac, KeyInit, Mac};
use http::{HeaderMap, HeaderName, HeaderValue};
use prost::Message;
use runspine_errors::{Fault, mesh};
use runspine_types::Micros;
use sha2::Sha256;

/// The encoded context.
pub(crate) const CONTEXT_HEADER: HeaderName = HeaderName::from_static("runspine-context-bin");
/// Its signature.
pub(crate) const SIGNATURE_HEADER: HeaderName = HeaderName::from_static("runspine-signature-bin");
/// How long a signed context is good for, and how far ahead the signer's clock may be.
const MAX_AGE: Duration = Duration::from_secs(60);
const MAX_SKEW: Duration = Duration::from_secs(5);
const TAG: &[u8] = b"runspine.mesh.v1\0";

/// The shared key of one mesh, at least 32 random bytes.
#[derive(Clone)]
pub struct MeshKey(Hmac<Sha256>);

impl fmt::Debug for MeshKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MeshKey(***)")
    }
}

impl MeshKey {
    /// The fewest bytes of a key.
    pub const MIN_BYTES: usize = 32;

    /// A key of these bytes; `None` when there are fewer than [`Self::MIN_BYTES`].
    #[must_use]
    pub fn new(bytes: &[u8]) -> Option<Self> {
        if bytes.len() < Self::MIN_BYTES {
            return None;
        }
        Hmac::new_from_slice(bytes).ok().map(Self)
    }

    fn mac(&self, path: &str, context: &[u8]) -> Hmac<Sha256> {
        // Keyed once: the clone carries the padded key's state.
        let mut mac = self.0.clone();
        mac.update(TAG);
        mac.update(path.as_bytes());
        mac.update(&[0]);
        mac.update(context);
        mac
    }

    /// Puts the context, stamped with `now`, and its signature for `path` into `headers`.
    pub fn sign(&self, path: &str, call: &CallContext, now: Micros, headers: &mut HeaderMap) {
        let mut call = call.clone();
        call.issued_at_us = now.0;
        let bytes = call.encode_to_vec();
        let signature = self.mac(path, &bytes).finalize().into_bytes();
        for (name, value) in [(CONTEXT_HEADER, bytes.as_slice()), (SIGNATURE_HEADER, signature.as_slice())] {
            if let Ok(value) = HeaderValue::from_str(&STANDARD_NO_PAD.encode(value)) {
                headers.insert(name, value);
            }
        }
    }

    /// The context of a call that came over the network.
    pub(crate) fn verify(&self, path: &str, headers: &HeaderMap, now: Micros) -> Result<CallContext, Fault> {
        let bytes = binary(headers, &CONTEXT_HEADER).ok_or_else(|| foreign("the call carries no context"))?;
        let signature =
            binary(headers, &SIGNATURE_HEADER).ok_or_else(|| foreign("the call is not signed"))?;
        // `verify_slice` compares in constant time.
        self.mac(path, &bytes).verify_slice(&signature).map_err(|_| foreign("the signature does not fit"))?;
        let call = CallContext::decode(bytes.as_slice()).map_err(|_| foreign("the context can't be read"))?;
        let issued = Micros(call.issued_at_us);
        if issued + MAX_AGE < now || now + MAX_SKEW < issued {
            return Err(foreign("the signature is out of date"));
        }
        Ok(call)
    }
}

fn binary(headers: &HeaderMap, name: &HeaderName) -> Option<Vec<u8>> {
    let text = headers.get(name)?.as_bytes();
    let trimmed = text.iter().rposition(|b| *b != b'=').map_or(&text[..0], |last| &text[..=last]);
    STANDARD_NO_PAD.decode(trimmed).ok()
}

fn foreign(why: &str) -> Fault {
    Fault::new(&mesh::PEER_NOT_SPINE, format!("only the spine may call this: {why}"))
}
