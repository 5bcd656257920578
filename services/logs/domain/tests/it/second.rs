//! The second verifier, which shares no code with this one, says the same of every file.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    process::{Child, Command, Stdio},
};

use runspine_logs_domain::{bundle::verify_bundle, keys::verifier_key};

use crate::tamper::{Dice, World, count};

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../tests/verifier/verify_bundle.py");

/// The other verifier, reading one file after the other.
struct Second {
    process: Child,
    _keys: tempfile::NamedTempFile,
}

impl Second {
    fn start(world: &World, tenant: &str) -> Self {
        let mut keys = tempfile::NamedTempFile::new().unwrap();
        for key in world.keys.trusted() {
            writeln!(keys, "{}", verifier_key(&key.key_id, key.purpose, &key.public_key)).unwrap();
        }
        let process = Command::new("python3")
            .args([SCRIPT, "--frames", "--tenant", tenant, "--trust"])
            .arg(keys.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("python3, with the library `cryptography`");
        Self { process, _keys: keys }
    }

    /// What it says of each file: verdict and findings.
    fn verdicts(mut self, files: Vec<Vec<u8>>) -> Vec<String> {
        let mut input = self.process.stdin.take().unwrap();
        let writer = std::thread::spawn(move || {
            for file in files {
                input.write_all(&(file.len() as u64).to_be_bytes()).unwrap();
                input.write_all(&file).unwrap();
            }
        });
        let output = BufReader::new(self.process.stdout.take().unwrap());
        let lines = output.lines().map(Result::unwrap).collect();
        writer.join().unwrap();
        self.process.wait().unwrap();
        lines
    }
}

#[test]
fn two_verifiers_agree() {
    let (world, mut dice) = (World::new(), Dice::new(2));
    let options = world.options();
    let (mut files, mut told) = (Vec::new(), Vec::new());
    for n in 0..count() / 4 {
        files.push(world.clean(n % 12));
        told.push(format!("{n} untouched"));
    }
    while (files.len() as u64) < count() {
        let Some(done) = world.tamper(&mut dice) else { continue };
        told.push(done.what);
        files.push(done.file);
    }
    let second = Second::start(&world, options.tenant_id.as_deref().unwrap());
    let verdicts = second.verdicts(files.clone());
    assert_eq!(verdicts.len(), files.len(), "it ended early");
    for ((file, what), said) in files.iter().zip(told).zip(verdicts) {
        let report = verify_bundle(file.as_slice(), &options).unwrap();
        let word = said.split(' ').next().unwrap_or_default();
        assert_eq!(word, report.verdict.word(), "{what}: {said:?} against {:?}", report.findings);
    }
}
