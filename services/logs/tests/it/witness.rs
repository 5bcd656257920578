//! Somebody outside who cosigns checkpoints.

use std::path::Path;

use ed25519_dalek::{Signer as _, SigningKey};
use runspine_logs::Config;
use runspine_logs_domain::note::{Note, NoteKey, NoteSignature};

pub const WITNESS: &str = "witness.example/w1";

pub fn witness() -> (SigningKey, NoteKey) {
    let key = SigningKey::from_bytes(&[5; 32]);
    let public = NoteKey::of_witness(WITNESS, key.verifying_key().to_bytes());
    (key, public)
}

/// A service that knows the witness, and publishes into `publish`.
pub fn config(publish: Option<&Path>) -> Config {
    let mut config = Config::default();
    config.checkpoint.publish_dir = publish.map(Path::to_owned);
    config.checkpoint.witness_keys = vec![witness().1.text()];
    config
}

/// The line of the witness over a note.
pub fn cosign(note: &str, time: u64) -> String {
    let (key, public) = witness();
    let text = Note::parse(note).unwrap().text;
    let signature = key.sign(format!("cosignature/v1\ntime {time}\n{text}").as_bytes());
    let mut bytes = time.to_be_bytes().to_vec();
    bytes.extend_from_slice(&signature.to_bytes());
    NoteSignature { name: public.name.clone(), key_hash: public.hash, bytes }.line()
}
