//! Verifies a bundle: no server, no network, one pass.

use std::{
    collections::BTreeMap,
    io::{self, BufRead},
};

use contracts_logs::v1::{BundleManifest, BundleMissingStatus, KeyPurpose, SigningKey};
use prost::Message as _;
use runspine_types::{Digest, Hasher};

use super::{
    ledger::Ledger,
    line::Line,
    read::Lines,
    report::{Findings, Options, Report, Verdict},
    section_start,
    traces::{Traces, Trust},
};
use crate::{
    bytes::FORMAT,
    keys::{Signed, TrustedKey, key_id, verify},
};

/// What was seen of a section.
struct Seen {
    count: u64,
    bytes: u64,
    hasher: Hasher,
}

struct Verifier<'a> {
    options: &'a Options,
    found: Findings,
    manifest: Option<(BundleManifest, Vec<u8>)>,
    signature: Option<(String, Vec<u8>)>,
    seen: BTreeMap<String, Seen>,
    keys: Vec<TrustedKey>,
    traces: Option<Traces>,
    ledger: Ledger,
}

/// Reads a bundle and tells everything that is wrong with it.
///
/// # Errors
/// When the file can't be read; nothing is said about the bundle then.
pub fn verify_bundle(reader: impl BufRead, options: &Options) -> io::Result<Report> {
    let mut verifier = Verifier {
        options,
        found: Findings::default(),
        manifest: None,
        signature: None,
        seen: BTreeMap::new(),
        keys: Vec::new(),
        traces: None,
        ledger: Ledger::default(),
    };
    let mut lines = Lines::new(reader);
    while let Some(line) = lines.next(&mut verifier.found)? {
        verifier.line(&line, lines.count());
    }
    Ok(verifier.finish(lines.count()))
}

impl Verifier<'_> {
    fn line(&mut self, line: &Line, number: u64) {
        if line.s == "end" {
            return;
        }
        if !self.item(line).unwrap_or(false) {
            self.found.fail("MALFORMED", format!("line {number}"));
        }
    }

    /// Takes one line; `None` or false when it can't be one of its section.
    fn item(&mut self, line: &Line) -> Option<bool> {
        let bytes = line.bytes()?;
        match line.s.as_str() {
            // What the other digests hang on stands once: a second one would be covered by nothing.
            "manifest" => {
                let first = self.manifest.is_none();
                return Some(self.manifest(line, bytes) && first);
            }
            "manifest_signature" => {
                let plain = line.a.is_none() && line.d.is_none() && line.l.is_none();
                let first = self.signature.replace((line.t.clone()?, bytes)).is_none();
                return Some(plain && first);
            }
            _ => {}
        }
        let fresh = || Seen { count: 0, bytes: 0, hasher: section_start() };
        let seen = self.seen.entry(line.s.clone()).or_insert_with(fresh);
        seen.count += 1;
        seen.bytes += bytes.len() as u64;
        seen.hasher = seen.hasher.clone().sized(&bytes);
        self.content(line, bytes)
    }

    fn manifest(&mut self, line: &Line, bytes: Vec<u8>) -> bool {
        let Ok(manifest) = BundleManifest::decode(bytes.as_slice()) else { return false };
        if self.options.tenant_id.as_ref().is_some_and(|tenant| *tenant != manifest.tenant_id) {
            self.found.fail("FOREIGN_TENANT", "manifest");
        }
        self.traces = Some(Traces::new(&manifest));
        self.manifest = Some((manifest, bytes));
        line.t.is_none() && line.a.is_none() && line.d.is_none() && line.l.is_none()
    }

    fn content(&mut self, line: &Line, bytes: Vec<u8>) -> Option<bool> {
        let unchained = line.a.is_none() && line.d.is_none() && line.l.is_none();
        let found = &mut self.found;
        match line.s.as_str() {
            "schema" => Some(unchained && line.t.as_deref() == Some("descriptor_set")),
            "keys" => Some(unchained && self.key(line, &bytes).is_some()),
            "trace" => Some(self.traces.as_mut()?.trace(line, &bytes, found)),
            "seal" => Some(self.traces.as_mut()?.seal(line, bytes)),
            "decision" => {
                Some(unchained && self.traces.as_mut()?.decided.document(line.t.as_deref()?, bytes))
            }
            "contract" => Some(self.traces.as_mut()?.contract(line, bytes, found)),
            "evidence" => Some(self.traces.as_mut()?.evidence(line, &bytes, found)),
            "ledger" => {
                let (manifest, _) = self.manifest.as_ref()?;
                Some(self.ledger.line(manifest, line, bytes, found).is_some())
            }
            "checkpoint" => Some(self.ledger.checkpoint(line, bytes).is_some()),
            // Sections of later versions: their items are covered by the digest in the manifest alone, so nothing beside
            // the bytes may say anything.
            _ => Some(unchained && line.t.is_some()),
        }
    }

    fn key(&mut self, line: &Line, bytes: &[u8]) -> Option<()> {
        let key = SigningKey::decode(bytes).ok()?;
        let public_key: [u8; 32] = key.public_key.as_ref().try_into().ok()?;
        let purpose = KeyPurpose::try_from(key.purpose).ok()?;
        let named = key_id(&public_key);
        if line.t.as_deref() != Some(named.as_str()) || key.key_id != named {
            return None;
        }
        let revoked = key.revoked_from.is_some();
        self.keys.push(TrustedKey { purpose, key_id: named, public_key, revoked });
        Some(())
    }

    fn finish(mut self, lines: u64) -> Report {
        let trusting = !self.options.trusted.is_empty();
        let keys = self.known_keys();
        let early = |verdict, findings: Findings, manifest| Report {
            verdict,
            findings: findings.0,
            manifest,
            proofs: Vec::new(),
            lines,
        };
        let Some((manifest, bytes)) = self.manifest.take() else {
            self.found.fail("MANIFEST_SIGNATURE", "there is no manifest");
            return early(Verdict::Failed, self.found, None);
        };
        let so_far = self.found.0.len();
        self.signed(&bytes, &keys);
        if manifest.format > FORMAT {
            // Nobody but the exporter may say so: a number that somebody else wrote there hides nothing.
            if !trusting || self.found.0.len() == so_far {
                let mut found = Findings::default();
                found.fail("BUNDLE_FORMAT_NEWER", format!("format {}, known {FORMAT}", manifest.format));
                return early(Verdict::Unsupported, found, Some(manifest));
            }
            self.found.fail("BUNDLE_FORMAT_NEWER", format!("format {}, known {FORMAT}", manifest.format));
        }
        self.sections(&manifest);
        let excused = |section: &str| manifest.missing.iter().any(|missing| missing.section == section);
        let absent = BundleMissingStatus::Absent as i32;
        let open = manifest.missing.iter().any(|m| m.section == "seal" && m.status == absent);
        // The ledger first, because it can vouch for the seals of a revoked key; what it finds is told last.
        let (mut of_ledger, unanchored) = (Findings::default(), excused("checkpoint"));
        let (ledger, against) = (std::mem::take(&mut self.ledger), self.options.against.as_ref());
        let anchored = ledger.finish(&manifest.tenant_id, &keys, unanchored, against, &mut of_ledger);
        let mut proofs = Vec::new();
        if let Some(traces) = self.traces.take() {
            let trust = Trust { keys: &keys, anchored: &anchored };
            let (proved, decided) = traces.finish(trust, open, &mut self.found);
            decided.finish(excused("decision"), &mut self.found);
            proofs = proved;
        }
        self.found.join(of_ledger);
        for missing in &manifest.missing {
            self.found.warn("MISSING", format!("{}: {}", missing.section, missing.reason));
        }
        let unsealed = self.found.0.iter().any(|finding| finding.code == "UNSEALED");
        let verdict = match (self.found.failed(), unsealed, trusting) {
            (true, _, _) => Verdict::Failed,
            (false, true, _) => Verdict::Unsealed,
            (false, false, false) => {
                self.found.warn("UNTRUSTED_KEY", "no trusted key was given");
                Verdict::Untrusted
            }
            (false, false, true) => Verdict::Verified,
        };
        Report { verdict, findings: self.found.0, manifest: Some(manifest), proofs, lines }
    }

    /// The keys that the caller vouches for; without any, those of the file. A key that the file itself calls revoked is:
    /// nobody gains by such a lie.
    fn known_keys(&mut self) -> Vec<TrustedKey> {
        let own = std::mem::take(&mut self.keys);
        if self.options.trusted.is_empty() {
            return own;
        }
        let mut trusted = self.options.trusted.clone();
        for key in &mut trusted {
            key.revoked |=
                own.iter().any(|o| o.revoked && (o.purpose, &o.key_id) == (key.purpose, &key.key_id));
        }
        trusted
    }

    fn signed(&mut self, manifest: &[u8], keys: &[TrustedKey]) {
        let Some((id, signature)) = self.signature.take() else {
            self.found.fail("MANIFEST_SIGNATURE", "there is none");
            return;
        };
        let Some(key) = keys.iter().find(|k| k.purpose == KeyPurpose::Export && k.key_id == id) else {
            self.found.fail("UNKNOWN_KEY", format!("manifest key {id}"));
            return;
        };
        if !verify(&key.public_key, Signed::Bundle, manifest, &signature) {
            self.found.fail("MANIFEST_SIGNATURE", format!("key {id}"));
        } else if key.revoked {
            self.found.fail("REVOKED_KEY", format!("manifest key {id}"));
        }
    }

    fn sections(&mut self, manifest: &BundleManifest) {
        for told in &manifest.sections {
            let seen = self.seen.remove(&told.name);
            let agrees = seen.is_some_and(|seen| {
                let digest: Digest = seen.hasher.finish();
                (seen.count, seen.bytes) == (told.count, told.bytes)
                    && digest.as_bytes() == told.digest.as_ref()
            });
            if !agrees {
                self.found.fail("SECTION_DIGEST", told.name.as_str());
            }
        }
        for name in std::mem::take(&mut self.seen).into_keys() {
            self.found.fail("SECTION_DIGEST", format!("{name} is not in the manifest"));
        }
    }
}
