//! The keys that sign: one file for each purpose, PKCS#8 PEM, readable by its owner only.

use std::{
    collections::BTreeMap,
    fs::{self, OpenOptions},
    io::Write as _,
    os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use contracts_logs::v1::KeyPurpose;
use ed25519_dalek::{
    SigningKey,
    pkcs8::{DecodePrivateKey as _, EncodePrivateKey as _, spki::der::pem::LineEnding},
};
use runspine_boot::BootError;
use runspine_errors::Fault;
use runspine_logs_domain::{keys, note::Checkpoint, reasons};

use crate::config::SigningConfig;

const PURPOSES: [KeyPurpose; 4] =
    [KeyPurpose::Seal, KeyPurpose::Checkpoint, KeyPurpose::Export, KeyPurpose::Certificate];

/// The active key of each purpose.
pub struct Keyring {
    keys: BTreeMap<i32, SigningKey>,
}

/// A key as it signs.
pub struct Signer<'a> {
    key: &'a SigningKey,
    /// Its name.
    pub key_id: String,
}

impl Signer<'_> {
    /// Signs content.
    pub fn sign(&self, what: keys::Signed, content: &[u8]) -> [u8; 64] {
        keys::sign(self.key, what, content)
    }

    /// The signed note of a checkpoint.
    pub fn note(&self, checkpoint: &Checkpoint) -> String {
        checkpoint.sign(self.key)
    }
}

impl Keyring {
    /// Reads the key files. A missing one is made once, in the folder of keys, unless `strict` refuses to.
    ///
    /// # Errors
    /// When a file is missing under `strict`, can be read by others, or holds no key.
    pub fn open(config: &SigningConfig, data: &Path, strict: bool) -> Result<Self, BootError> {
        let folder = data.join("keys");
        let mut keys = BTreeMap::new();
        for purpose in PURPOSES {
            let (setting, file) = place(config, &folder, purpose);
            let key = match fs::read_to_string(&file) {
                Ok(pem) => read(&pem, &file, setting)?,
                Err(error) if error.kind() == std::io::ErrorKind::NotFound && !strict => make(&file)?,
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                    let message = format!("{} does not exist, and STRICT makes no keys", file.display());
                    return Err(BootError::config(setting, "STRICT_INCOMPLETE", message));
                }
                Err(error) => return Err(BootError::system(format!("the key {}", file.display()), error)),
            };
            keys.insert(purpose as i32, key);
        }
        Ok(Self { keys })
    }

    /// The key of a purpose.
    ///
    /// # Errors
    /// KEY_UNAVAILABLE when there is none.
    pub fn signer(&self, purpose: KeyPurpose) -> Result<Signer<'_>, Fault> {
        let key = self.keys.get(&(purpose as i32)).ok_or_else(|| {
            let message = format!("there is no {} key; nothing was written", keys::purpose_word(purpose));
            Fault::new(&reasons::KEY_UNAVAILABLE, message)
        })?;
        Ok(Signer { key, key_id: keys::key_id(key.verifying_key().as_bytes()) })
    }

    /// The public half of each key: purpose, name, bytes.
    pub fn public(&self) -> impl Iterator<Item = (i32, String, [u8; 32])> + '_ {
        self.keys.iter().map(|(purpose, key)| {
            let public = key.verifying_key().to_bytes();
            (*purpose, keys::key_id(&public), public)
        })
    }
}

fn place(config: &SigningConfig, folder: &Path, purpose: KeyPurpose) -> (&'static str, PathBuf) {
    let (setting, given, name) = match purpose {
        KeyPurpose::Seal | KeyPurpose::Unspecified => ("logs.signing.seal_key", &config.seal_key, "seal.pem"),
        KeyPurpose::Checkpoint => ("logs.signing.checkpoint_key", &config.checkpoint_key, "checkpoint.pem"),
        KeyPurpose::Export => ("logs.signing.export_key", &config.export_key, "export.pem"),
        KeyPurpose::Certificate => {
            ("logs.signing.certificate_key", &config.certificate_key, "certificate.pem")
        }
    };
    (setting, given.clone().unwrap_or_else(|| folder.join(name)))
}

fn read(pem: &str, file: &Path, setting: &'static str) -> Result<SigningKey, BootError> {
    let about = || format!("the key {}", file.display());
    let mode = fs::metadata(file).map_err(|e| BootError::system(about(), e))?.permissions().mode();
    if mode & 0o077 != 0 {
        let message = format!("{} can be read by others; its mode must be 0600", file.display());
        return Err(BootError::config(setting, "CONFIG_OUT_OF_RANGE", message));
    }
    SigningKey::from_pkcs8_pem(pem).map_err(|error| {
        let message = format!("{} holds no Ed25519 key in PKCS#8 PEM: {error}", file.display());
        BootError::config(setting, "CONFIG_OUT_OF_RANGE", message)
    })
}

/// Makes a key and its file. Two processes that start at once must not each have their own: the file is written whole
/// under another name and linked into place, and whoever comes second reads the first one's.
fn make(file: &Path) -> Result<SigningKey, BootError> {
    let about = || format!("the key {}", file.display());
    let system = |error| BootError::system(about(), error);
    if let Some(folder) = file.parent() {
        fs::create_dir_all(folder).map_err(system)?;
    }
    let mut secret = [0; 32];
    getrandom::fill(&mut secret).map_err(|e| system(std::io::Error::other(e)))?;
    let key = SigningKey::from_bytes(&secret);
    let pem = key.to_pkcs8_pem(LineEnding::LF).map_err(|e| system(std::io::Error::other(e.to_string())))?;
    let draft = file.with_extension(format!("{}.tmp", std::process::id()));
    let mut out = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft).map_err(system)?;
    out.write_all(pem.as_bytes()).and_then(|()| out.sync_all()).map_err(system)?;
    let linked = fs::hard_link(&draft, file);
    fs::remove_file(&draft).map_err(system)?;
    match linked {
        Ok(()) => Ok(key),
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
            let pem = fs::read_to_string(file).map_err(system)?;
            read(&pem, file, "logs.signing")
        }
        Err(error) => Err(system(error)),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn keys_are_made_once_and_kept() {
        let data = tempfile::tempdir().unwrap();
        let first = Keyring::open(&SigningConfig::default(), data.path(), false).unwrap();
        let again = Keyring::open(&SigningConfig::default(), data.path(), true).unwrap();
        let ids = |ring: &Keyring| ring.public().map(|(_, id, _)| id).collect::<Vec<_>>();
        assert_eq!(ids(&first), ids(&again));
        assert_eq!(ids(&first).len(), 4, "one for each purpose");
    }

    #[test]
    fn strict_makes_no_keys_and_nobody_else_may_read_them() {
        let data = tempfile::tempdir().unwrap();
        assert!(Keyring::open(&SigningConfig::default(), data.path(), true).is_err());
        Keyring::open(&SigningConfig::default(), data.path(), false).unwrap();
        let file = data.path().join("keys/seal.pem");
        fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
        assert!(Keyring::open(&SigningConfig::default(), data.path(), false).is_err());
    }
}
