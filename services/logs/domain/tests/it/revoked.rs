//! Bundles of a mesh whose key was revoked: what was under a checkpoint that left the house before still counts. Both
//! verifiers say the same.

use std::io::Write as _;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use contracts_logs::v1::KeyPurpose;
use runspine_logs_domain::{
    bundle::{Against, Options, verify_bundle},
    keys::{TrustedKey, parse_verifier_key, seal_digest, verifier_key},
};

use crate::{
    bundles::{Keys, Ledger, Part, file, mesh_keys, parts},
    second::Second,
    vector::id,
};

/// A bundle, and the ledger that it is from.
fn bundle(keys: &Keys) -> (Vec<Part>, Ledger) {
    let parts = parts(&id("1"), 2, keys);
    let seal = parts.iter().find(|(_, item)| item.t == "seal").unwrap().1.bytes.clone();
    (parts, Ledger::of(&id("1"), seal_digest(&seal)))
}

/// The keys of the mesh, those of `purpose` revoked.
fn without(keys: &Keys, purpose: KeyPurpose) -> Vec<TrustedKey> {
    let revoke = |key: TrustedKey| TrustedKey { revoked: key.purpose == purpose, ..key };
    keys.trusted().into_iter().map(revoke).collect()
}

/// What both verifiers say: the verdict, and the findings of the first.
fn judged(
    parts: &[Part],
    keys: &Keys,
    trusted: Vec<TrustedKey>,
    against: Option<Against>,
) -> (String, Vec<&'static str>) {
    let file = file(&id("1"), parts, &keys.export);
    let (mut note, mut hashes) =
        (tempfile::NamedTempFile::new().unwrap(), tempfile::NamedTempFile::new().unwrap());
    let mut args = Vec::new();
    if let Some(against) = &against {
        write!(note, "{}", against.note).unwrap();
        for hash in &against.consistency {
            writeln!(hashes, "{}", STANDARD.encode(hash.as_bytes())).unwrap();
        }
        args = vec![
            "--against".as_ref(),
            note.path().as_os_str(),
            "--consistency".as_ref(),
            hashes.path().as_os_str(),
        ];
    }
    let said = Second::start(&trusted, &args).verdicts(vec![file.clone()]).remove(0);
    let options = Options { trusted, tenant_id: None, against };
    let report = verify_bundle(file.as_slice(), &options).unwrap();
    let verdict = report.verdict.word();
    assert_eq!(said.split(' ').next(), Some(verdict), "{said:?} against {:?}", report.findings);
    (verdict.to_owned(), report.findings.iter().filter(|f| !f.warning).map(|f| f.code).collect())
}

#[test]
fn a_seal_of_a_revoked_key_counts_under_a_checkpoint_from_before() {
    let keys = mesh_keys();
    let (parts, ledger) = bundle(&keys);
    let revoked = || without(&keys, KeyPurpose::Seal);
    assert_eq!(judged(&parts, &keys, revoked(), None), ("FAILED".into(), vec!["REVOKED_KEY"]));
    for (size, covered) in [(2, false), (4, false), (5, true), (6, true)] {
        let (verdict, found) = judged(&parts, &keys, revoked(), Some(ledger.held(size, &keys)));
        let expected = if covered { ("VERIFIED", vec![]) } else { ("FAILED", vec!["REVOKED_KEY"]) };
        assert_eq!((verdict.as_str(), found), expected, "a checkpoint of {size} entries");
    }
    let fork = Ledger::of(&id("1"), seal_digest(b"another seal")).held(6, &keys);
    let (verdict, found) = judged(&parts, &keys, revoked(), Some(fork));
    assert_eq!(
        (verdict.as_str(), found),
        ("FAILED", vec!["REVOKED_KEY", "CHECKPOINT_FORK"]),
        "a fork vouches for nothing"
    );
}

#[test]
fn a_revoked_key_signs_neither_manifest_nor_checkpoint() {
    let keys = mesh_keys();
    let (parts, ledger) = bundle(&keys);
    let held = || Some(ledger.held(6, &keys));
    let (_, found) = judged(&parts, &keys, without(&keys, KeyPurpose::Export), held());
    assert_eq!(found, ["REVOKED_KEY"]);
    let (_, found) = judged(&parts, &keys, without(&keys, KeyPurpose::Checkpoint), held());
    assert_eq!(found, ["UNKNOWN_KEY"]);
}

#[test]
fn the_file_itself_may_say_that_a_key_is_revoked() {
    use prost::Message as _;
    let keys = mesh_keys();
    let (mut parts, _) = bundle(&keys);
    for (_, item) in parts.iter_mut().filter(|(section, _)| *section == "keys") {
        let mut key = contracts_logs::v1::SigningKey::decode(item.bytes.clone()).unwrap();
        if key.purpose() == KeyPurpose::Seal {
            key.revoked_from = Some(prost_types::Timestamp { seconds: 1, nanos: 0 });
        }
        item.bytes = key.encode_to_vec().into();
    }
    for trusted in [keys.trusted(), Vec::new()] {
        assert_eq!(judged(&parts, &keys, trusted, None), ("FAILED".into(), vec!["REVOKED_KEY"]));
    }
}

#[test]
fn the_line_of_a_key_says_whether_it_is_revoked() {
    for key in without(&mesh_keys(), KeyPurpose::Seal) {
        let line = verifier_key(&key);
        assert_eq!(line.ends_with(" revoked"), key.revoked);
        assert_eq!(parse_verifier_key(&line).as_ref(), Some(&key));
        assert_eq!(parse_verifier_key(&format!("{line} or not")), None, "another word is no key");
    }
}
