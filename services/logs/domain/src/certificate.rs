//! Certificates: what is signed, how it is written, and whether it is still what was signed.

use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use contracts_logs::v1::{CertificateFormat, CertificateKind, CertificateStatus};
use runspine_types::Micros;
use serde_json::{Value, json};

use crate::keys::{Signed, key_id, verify};

/// How long a certificate is in force.
pub const LIFE_US: i64 = 90 * 24 * 60 * 60 * 1_000_000;

const BEGIN: &str = "-----BEGIN RUNSPINE CERTIFICATE-----";
const END: &str = "-----END RUNSPINE CERTIFICATE-----";
/// Characters of a line between them.
const LINE: usize = 64;

/// What is to be certified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statement {
    /// Id of the certificate.
    pub certificate_id: String,
    /// What it states.
    pub kind: CertificateKind,
    /// The tenant.
    pub tenant_id: String,
    /// The run.
    pub run_id: String,
    /// The attempt; 0 for all.
    pub attempt: u32,
    /// The replay; empty for none.
    pub replay_id: String,
    /// The export; empty for none.
    pub export_id: String,
    /// The incident; empty for none.
    pub incident_id: String,
    /// What the checks found: a JSON object.
    pub claims: Value,
    /// When it is issued.
    pub issued_at: Micros,
    /// The key that signs it.
    pub key_id: String,
}

/// The word of a kind.
#[must_use]
pub const fn kind_word(kind: CertificateKind) -> &'static str {
    match kind {
        CertificateKind::Unspecified => "UNSPECIFIED",
        CertificateKind::RunProof => "RUN_PROOF",
        CertificateKind::ReplayProof => "REPLAY_PROOF",
        CertificateKind::PolicyAudit => "POLICY_AUDIT",
        CertificateKind::IncidentExport => "INCIDENT_EXPORT",
    }
}

/// When a certificate issued at `issued_at` is over.
#[must_use]
pub fn expires_at(issued_at: Micros) -> Micros {
    Micros(issued_at.0.saturating_add(LIFE_US))
}

impl Statement {
    /// The bytes that are signed.
    #[must_use]
    pub fn payload(&self) -> String {
        let mut subject = json!({"run_id": self.run_id});
        if self.attempt > 0 {
            subject["attempt"] = self.attempt.into();
        }
        let subjects = [
            ("replay_id", &self.replay_id),
            ("export_id", &self.export_id),
            ("incident_id", &self.incident_id),
        ];
        for (name, id) in subjects {
            if !id.is_empty() {
                subject[name] = id.as_str().into();
            }
        }
        canonical(&json!({
            "version": "1.0",
            "certificate_id": self.certificate_id,
            "kind": kind_word(self.kind),
            "tenant_id": self.tenant_id,
            "subject": subject,
            "claims": self.claims,
            "issued_at_us": self.issued_at.0,
            "expires_at_us": expires_at(self.issued_at).0,
            "key_id": self.key_id,
        }))
    }
}

/// A value in canonical form (RFC 8785). What is certified holds texts, whole numbers below 2^53 and flags only, so that
/// the order of members is all there is to it.
fn canonical(value: &Value) -> String {
    match value {
        Value::Object(members) => {
            let mut sorted: Vec<_> = members.iter().collect();
            // By UTF-16 code units; the names are ASCII.
            sorted.sort_unstable_by(|a, b| a.0.cmp(b.0));
            let member = |(name, value): (&String, &Value)| {
                format!("{}:{}", Value::String(name.clone()), canonical(value))
            };
            format!("{{{}}}", sorted.into_iter().map(member).collect::<Vec<_>>().join(","))
        }
        Value::Array(items) => {
            format!("[{}]", items.iter().map(canonical).collect::<Vec<_>>().join(","))
        }
        other => other.to_string(),
    }
}

/// Writes a certificate.
#[must_use]
pub fn encode(payload: &str, signature: &[u8], format: CertificateFormat) -> String {
    let signature = URL_SAFE_NO_PAD.encode(signature);
    let compact = || format!("{}.{signature}", URL_SAFE_NO_PAD.encode(payload));
    match format {
        CertificateFormat::Unspecified | CertificateFormat::Json => {
            format!("{{\"certificate\":{payload},\"signature\":\"{signature}\"}}")
        }
        CertificateFormat::Compact => compact(),
        CertificateFormat::Pem => {
            let text = STANDARD.encode(compact());
            let lines: Vec<&str> =
                text.as_bytes().chunks(LINE).filter_map(|line| std::str::from_utf8(line).ok()).collect();
            format!("{BEGIN}\n{}\n{END}\n", lines.join("\n"))
        }
    }
}

/// A certificate as it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Read {
    /// What was signed.
    pub payload: String,
    /// The signature, whoever made it.
    pub signature: Vec<u8>,
    /// Id of the certificate.
    pub certificate_id: String,
    /// The key that it names.
    pub key_id: String,
    /// The tenant that it names.
    pub tenant_id: String,
    /// When it is over.
    pub expires_at: Micros,
}

/// Reads a certificate in any format; `None` when it is none. Only the one text that [`encode`] writes is read, so that
/// no change of it goes unseen.
#[must_use]
pub fn decode(text: &str) -> Option<Read> {
    let (format, payload, signature) = parts(text)?;
    let value: Value = serde_json::from_str(&payload).ok()?;
    let text_of = |name: &str| value.get(name).and_then(Value::as_str).map(str::to_owned);
    let read = Read {
        certificate_id: text_of("certificate_id")?,
        key_id: text_of("key_id")?,
        tenant_id: text_of("tenant_id")?,
        expires_at: Micros(value.get("expires_at_us")?.as_i64()?),
        payload,
        signature,
    };
    (encode(&read.payload, &read.signature, format) == text && text_of("version")? == "1.0").then_some(read)
}

fn parts(text: &str) -> Option<(CertificateFormat, String, Vec<u8>)> {
    if let Some(rest) = text.strip_prefix("{\"certificate\":") {
        let (payload, rest) = rest.rsplit_once(",\"signature\":\"")?;
        let signature = URL_SAFE_NO_PAD.decode(rest.strip_suffix("\"}")?).ok()?;
        return Some((CertificateFormat::Json, payload.to_owned(), signature));
    }
    let compact = |text: &str| {
        let (payload, signature) = text.split_once('.')?;
        let payload = String::from_utf8(URL_SAFE_NO_PAD.decode(payload).ok()?).ok()?;
        Some((payload, URL_SAFE_NO_PAD.decode(signature).ok()?))
    };
    if let Some(body) = text.strip_prefix(BEGIN) {
        let body: String = body.strip_suffix('\n')?.strip_suffix(END)?.split('\n').collect();
        let inner = String::from_utf8(STANDARD.decode(body).ok()?).ok()?;
        let (payload, signature) = compact(&inner)?;
        return Some((CertificateFormat::Pem, payload, signature));
    }
    let (payload, signature) = compact(text)?;
    Some((CertificateFormat::Compact, payload, signature))
}

/// Judges a certificate with the public keys that are `known`; `revoked` says whether the certificate was taken back.
pub fn judge(
    text: &str,
    now: Micros,
    known: &[[u8; 32]],
    revoked: impl FnOnce(&Read) -> bool,
) -> (CertificateStatus, Option<Read>) {
    let Some(read) = decode(text) else { return (CertificateStatus::Malformed, None) };
    let good = |public: &[u8; 32], payload: &str| {
        verify(public, Signed::Certificate, payload.as_bytes(), &read.signature)
    };
    let status = match known.iter().find(|public| key_id(public) == read.key_id) {
        None if known.iter().any(|public| good(public, &renamed(&read, public))) => {
            CertificateStatus::BadSignature
        }
        None => CertificateStatus::UnknownKey,
        Some(public) if !good(public, &read.payload) => CertificateStatus::BadSignature,
        Some(_) if revoked(&read) => CertificateStatus::Revoked,
        Some(_) if now >= read.expires_at => CertificateStatus::Expired,
        Some(_) => CertificateStatus::Valid,
    };
    (status, Some(read))
}

/// The payload with the name of this key. Where a known key signed that, somebody changed the name: nobody unknown signed.
fn renamed(read: &Read, public: &[u8; 32]) -> String {
    let member = |id: &str| format!("\"key_id\":{}", Value::String(id.to_owned()));
    read.payload.replacen(&member(&read.key_id), &member(&key_id(public)), 1)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use ed25519_dalek::SigningKey;

    use super::*;
    use crate::keys::sign;

    const FORMATS: [CertificateFormat; 3] =
        [CertificateFormat::Json, CertificateFormat::Compact, CertificateFormat::Pem];

    fn signed() -> (SigningKey, String, [u8; 64]) {
        let key = SigningKey::from_bytes(&[7; 32]);
        let statement = Statement {
            certificate_id: "0190c3a0-0000-7000-8000-000000000001".into(),
            kind: CertificateKind::RunProof,
            tenant_id: "t".into(),
            run_id: "r".into(),
            attempt: 1,
            replay_id: String::new(),
            export_id: String::new(),
            incident_id: "i".into(),
            claims: json!({"proof_status": "VERIFIED", "seal_digests": ["aa", "bb"]}),
            issued_at: Micros(1_000_000),
            key_id: key_id(key.verifying_key().as_bytes()),
        };
        let payload = statement.payload();
        let signature = sign(&key, Signed::Certificate, payload.as_bytes());
        (key, payload, signature)
    }

    fn status(text: &str, key: &SigningKey, now: Micros, revoked: bool) -> CertificateStatus {
        // Another key is known too: one of them alone decides.
        let known = [[1; 32], key.verifying_key().to_bytes()];
        judge(text, now, &known, |_| revoked).0
    }

    #[test]
    fn members_are_in_canonical_order() {
        let (_, payload, _) = signed();
        assert!(payload.starts_with(r#"{"certificate_id":"0190"#), "{payload}");
        let names = ["certificate_id", "claims", "expires_at_us", "issued_at_us", "key_id", "kind"];
        let places: Vec<_> = names.iter().map(|name| payload.find(&format!("\"{name}\":"))).collect();
        assert!(places.is_sorted() && places.iter().all(Option::is_some));
        assert!(payload.contains(r#""subject":{"attempt":1,"incident_id":"i","run_id":"r"}"#), "{payload}");
    }

    #[test]
    fn every_flipped_bit_of_every_format_is_seen() {
        let (key, payload, signature) = signed();
        for format in FORMATS {
            let text = encode(&payload, &signature, format);
            assert_eq!(status(&text, &key, Micros(1_000_001), false), CertificateStatus::Valid);
            for bit in 0..text.len() * 8 {
                let mut changed = text.clone().into_bytes();
                changed[bit / 8] ^= 1 << (bit % 8);
                // What is no text any more is no certificate.
                let Ok(changed) = String::from_utf8(changed) else { continue };
                let found = status(&changed, &key, Micros(1_000_001), false);
                let seen = matches!(found, CertificateStatus::BadSignature | CertificateStatus::Malformed);
                assert!(seen, "{format:?}: bit {bit} gave {found:?}");
            }
        }
    }

    #[test]
    fn time_and_revocation_count_for_a_good_signature_only() {
        let (key, payload, signature) = signed();
        let text = encode(&payload, &signature, CertificateFormat::Compact);
        let over = Micros(1_000_000 + LIFE_US);
        assert_eq!(status(&text, &key, over, false), CertificateStatus::Expired);
        assert_eq!(status(&text, &key, Micros(2_000_000), true), CertificateStatus::Revoked);
        let other = encode(&payload, &[1; 64], CertificateFormat::Compact);
        assert_eq!(status(&other, &key, over, true), CertificateStatus::BadSignature);
        let stranger = SigningKey::from_bytes(&[8; 32]);
        assert_eq!(status(&text, &stranger, over, true), CertificateStatus::UnknownKey);
    }
}
