//! The second verifier, which shares no code with this one, says the same of every file.

use std::{
    ffi::OsStr,
    io::{BufRead as _, BufReader, Write as _},
    process::{Child, Command, Stdio},
};

use runspine_logs_domain::{
    bundle::verify_bundle,
    keys::{TrustedKey, verifier_key},
};

use crate::tamper::{Dice, World, count};

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../tests/verifier/verify_bundle.py");

/// The other verifier, reading one file after the other.
pub(crate) struct Second {
    process: Child,
    _keys: tempfile::NamedTempFile,
}

impl Second {
    pub fn start(trusted: &[TrustedKey], args: &[&OsStr]) -> Self {
        let mut keys = tempfile::NamedTempFile::new().unwrap();
        for key in trusted {
            writeln!(keys, "{}", verifier_key(key)).unwrap();
        }
        let process = Command::new("python3")
            .args([SCRIPT, "--frames", "--trust"])
            .arg(keys.path())
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("python3, with the library `cryptography`");
        Self { process, _keys: keys }
    }

    /// What it says of each file: verdict and findings.
    pub fn verdicts(mut self, files: Vec<Vec<u8>>) -> Vec<String> {
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
    let tenant = options.tenant_id.as_deref().unwrap();
    let second = Second::start(&options.trusted, &["--tenant".as_ref(), tenant.as_ref()]);
    let verdicts = second.verdicts(files.clone());
    assert_eq!(verdicts.len(), files.len(), "it ended early");
    for ((file, what), said) in files.iter().zip(told).zip(verdicts) {
        let report = verify_bundle(file.as_slice(), &options).unwrap();
        let word = said.split(' ').next().unwrap_or_default();
        assert_eq!(word, report.verdict.word(), "{what}: {said:?} against {:?}", report.findings);
    }
}
