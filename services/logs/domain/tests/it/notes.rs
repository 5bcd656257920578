//! Checkpoint notes: the one of the worked vector, witnesses, and what is not a note.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use ed25519_dalek::{Signer as _, SigningKey};
use runspine_logs_domain::{
    merkle,
    note::{Checkpoint, Note, NoteKey, NoteSignature},
};
use runspine_types::Digest;

use crate::vector::{expected, id};

const KEY: &str = "example.com/runspine/0190c3a0-0000-7000-8000-000000000001+41c70a78+AT1AF8PoQ4lakrcKp00bfrycmCzPLsSWjMDNVfEq9GYM";
const NOTE: &str = "example.com/runspine/0190c3a0-0000-7000-8000-000000000001
2
DxWwlyM8/5y0ADY0hD5h/xwmRsChd0i82wONPOxzdwE=

\u{2014} example.com/runspine/0190c3a0-0000-7000-8000-000000000001 QccKeD1NL+UpU3RVVJv4Du3Jt9AGwW86ExmGZ0PIcyo0QBqpPW8+Gp9Svnjyawlpiw0DDkRXpJW5Jltsya9x8gSrBwc=
";

fn key() -> SigningKey {
    let secret = hex::decode("4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb").unwrap();
    SigningKey::from_bytes(&secret.try_into().unwrap())
}

#[test]
fn the_note_of_the_vector_is_signed_read_and_verified() {
    let values = expected();
    let value = |name: &str| Digest::from_slice(&values[name]).unwrap();
    let root = merkle::root_of(&[merkle::leaf(&value("ledger_1")), merkle::leaf(&value("ledger_2"))]);
    assert_eq!(root, value("merkle_root"));
    let checkpoint = Checkpoint { origin: format!("example.com/runspine/{}", id("1")), size: 2, root };
    assert_eq!(checkpoint.sign(&key()), NOTE);
    let public = NoteKey::of_log(&checkpoint.origin, key().verifying_key().to_bytes());
    assert_eq!(public.text(), KEY);
    assert_eq!(NoteKey::parse(KEY), Some(public.clone()));
    let note = Note::parse(NOTE).unwrap();
    assert_eq!(note.checkpoint(), Some(checkpoint));
    assert!(note.signed_by(&public));
}

#[test]
fn no_bit_of_a_note_can_change() {
    let public = NoteKey::parse(KEY).unwrap();
    for place in 0..NOTE.len() {
        for bit in [0, 3, 6] {
            let mut bytes = NOTE.as_bytes().to_vec();
            bytes[place] ^= 1 << bit;
            let Ok(text) = String::from_utf8(bytes) else { continue };
            let signed = Note::parse(&text).is_some_and(|n| n.signed_by(&public) && n.checkpoint().is_some());
            assert!(!signed, "byte {place} bit {bit}");
        }
    }
    for cut in 0..NOTE.len() {
        let whole = NOTE.get(..cut).and_then(Note::parse).is_some_and(|n| n.signed_by(&public));
        assert!(!whole, "cut at {cut}");
    }
}

#[test]
fn a_witness_signs_with_its_time() {
    let witness = SigningKey::from_bytes(&[5; 32]);
    let key = NoteKey::of_witness("witness.example/w1", witness.verifying_key().to_bytes());
    let note = Note::parse(NOTE).unwrap();
    let time: u64 = 1_767_323_100;
    let message = format!("cosignature/v1\ntime {time}\n{}", note.text);
    let mut bytes = time.to_be_bytes().to_vec();
    bytes.extend_from_slice(&witness.sign(message.as_bytes()).to_bytes());
    let line = NoteSignature { name: key.name.clone(), key_hash: key.hash, bytes: bytes.clone() }.line();
    let cosigned = Note::parse(&format!("{NOTE}{line}\n")).unwrap();
    assert!(cosigned.signed_by(&key) && cosigned.signed_by(&NoteKey::parse(KEY).unwrap()));
    assert_eq!(NoteKey::parse(&key.text()), Some(key.clone()));
    bytes[7] ^= 1;
    let later = NoteSignature { name: key.name.clone(), key_hash: key.hash, bytes };
    assert!(!key.verifies(&note.text, &later), "another time");
    let plain = NoteKey::of_log("witness.example/w1", witness.verifying_key().to_bytes());
    assert!(!cosigned.signed_by(&plain), "another type of signature has another key hash");
}

#[test]
fn what_is_no_key_is_refused() {
    let other_hash = KEY.replace("+41c70a78+", "+41c70a79+");
    let unknown = format!("name+00000000+{}", STANDARD.encode([9; 33]));
    for text in ["", "a+b", other_hash.as_str(), unknown.as_str(), "+41c70a78+AT1A"] {
        assert_eq!(NoteKey::parse(text), None, "{text}");
    }
}
