//! Encryption at rest: a key for each run, wrapped by the master key, which is a file of its own.

use std::{
    fs::{self, OpenOptions},
    io::Write as _,
    os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _},
    path::Path,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use chacha20poly1305::{
    KeyInit as _, XChaCha20Poly1305, XNonce,
    aead::{Aead as _, Payload},
};
use runspine_boot::BootError;
use runspine_errors::{Fault, mesh};

use crate::config::PayloadConfig;

const SETTING: &str = "logs.payload.master_key";
/// Bytes of a nonce; they stand before the ciphertext.
const NONCE: usize = 24;

/// A key that encrypts.
#[derive(Clone)]
pub struct Key([u8; 32]);

impl Key {
    /// Encrypts `plain`, bound to `about`.
    ///
    /// # Errors
    /// When the system gives no random bytes.
    pub fn seal(&self, plain: &[u8], about: &[u8]) -> Result<Vec<u8>, Fault> {
        let mut nonce = [0; NONCE];
        getrandom::fill(&mut nonce).map_err(|_| {
            Fault::new(&mesh::STORE_UNAVAILABLE, "the system gives no random bytes; nothing was changed")
        })?;
        let sealed = self.cipher().encrypt(&XNonce::from(nonce), Payload { msg: plain, aad: about });
        let sealed = sealed.map_err(|_| Fault::new(&mesh::INTERNAL, "a payload can't be encrypted"))?;
        Ok([&nonce[..], &sealed].concat())
    }

    /// What [`Key::seal`] encrypted for the same place; `None` when it was changed, or belongs elsewhere.
    pub fn open(&self, sealed: &[u8], about: &[u8]) -> Option<Vec<u8>> {
        let (nonce, ciphertext) = sealed.split_first_chunk::<NONCE>()?;
        self.cipher().decrypt(&XNonce::from(*nonce), Payload { msg: ciphertext, aad: about }).ok()
    }

    fn cipher(&self) -> XChaCha20Poly1305 {
        XChaCha20Poly1305::new(&self.0.into())
    }
}

/// The master key.
pub struct Vault(Key);

impl Vault {
    /// Reads the master key. A missing one is made once, in the folder of keys, unless `strict` refuses to.
    ///
    /// # Errors
    /// When the file is missing under `strict`, can be read by others, or holds no key.
    pub fn open(config: &PayloadConfig, data: &Path, strict: bool) -> Result<Self, BootError> {
        let file = config.master_key.clone().unwrap_or_else(|| data.join("keys").join("payload.key"));
        match fs::read_to_string(&file) {
            Ok(text) => read(&text, &file),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && !strict => make(&file),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let message = format!("{} does not exist, and STRICT makes no keys", file.display());
                Err(BootError::config(SETTING, "STRICT_INCOMPLETE", message))
            }
            Err(error) => Err(BootError::system(about(&file), error)),
        }
    }

    /// Wraps a new key of a run; `random` becomes the key.
    ///
    /// # Errors
    /// When the system gives no random bytes.
    pub fn wrap(&self, random: [u8; 32], tenant_id: &str, run_id: &str) -> Result<Vec<u8>, Fault> {
        self.0.seal(&random, &owner(tenant_id, run_id))
    }

    /// The key of a run; `None` when it was wrapped by another master key or for another run.
    pub fn unwrap(&self, wrapped: &[u8], tenant_id: &str, run_id: &str) -> Option<Key> {
        let key = self.0.open(wrapped, &owner(tenant_id, run_id))?;
        key.try_into().ok().map(Key)
    }
}

fn owner(tenant_id: &str, run_id: &str) -> Vec<u8> {
    format!("runspine.datakey.v1/{tenant_id}/{run_id}").into_bytes()
}

fn about(file: &Path) -> String {
    format!("the master key {}", file.display())
}

fn read(text: &str, file: &Path) -> Result<Vault, BootError> {
    let mode = fs::metadata(file).map_err(|e| BootError::system(about(file), e))?.permissions().mode();
    if mode & 0o077 != 0 {
        let message = format!("{} can be read by others; its mode must be 0600", file.display());
        return Err(BootError::config(SETTING, "CONFIG_OUT_OF_RANGE", message));
    }
    let key = STANDARD.decode(text.trim()).ok().and_then(|key| key.try_into().ok());
    key.map(|key| Vault(Key(key))).ok_or_else(|| {
        let message = format!("{} does not hold 32 bytes in base64", file.display());
        BootError::config(SETTING, "CONFIG_OUT_OF_RANGE", message)
    })
}

/// Makes the key and its file. Whoever comes second reads the first one's: the file is linked into place whole.
fn make(file: &Path) -> Result<Vault, BootError> {
    let system = |error| BootError::system(about(file), error);
    if let Some(folder) = file.parent() {
        fs::create_dir_all(folder).map_err(system)?;
    }
    let mut key = [0; 32];
    getrandom::fill(&mut key).map_err(|e| system(std::io::Error::other(e)))?;
    let draft = file.with_extension(format!("{}.tmp", std::process::id()));
    let mut out = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft).map_err(system)?;
    out.write_all(STANDARD.encode(key).as_bytes()).and_then(|()| out.sync_all()).map_err(system)?;
    let linked = fs::hard_link(&draft, file);
    fs::remove_file(&draft).map_err(system)?;
    match linked {
        Ok(()) => Ok(Vault(Key(key))),
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
            read(&fs::read_to_string(file).map_err(system)?, file)
        }
        Err(error) => Err(system(error)),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_payload_opens_in_its_own_place_only() {
        let data = tempfile::tempdir().unwrap();
        let vault = Vault::open(&PayloadConfig::default(), data.path(), false).unwrap();
        let wrapped = vault.wrap([7; 32], "t", "r").unwrap();
        let again = Vault::open(&PayloadConfig::default(), data.path(), true).unwrap();
        let key = again.unwrap(&wrapped, "t", "r").unwrap();
        assert!(again.unwrap(&wrapped, "t", "other").is_none());
        let sealed = key.seal(b"text", b"here").unwrap();
        assert_eq!(key.open(&sealed, b"here").as_deref(), Some(b"text".as_slice()));
        assert!(key.open(&sealed, b"there").is_none());
        for bit in 0..sealed.len() * 8 {
            let mut changed = sealed.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert!(key.open(&changed, b"here").is_none());
        }
        assert_ne!(sealed, key.seal(b"text", b"here").unwrap(), "the nonce is random");
    }

    #[test]
    fn strict_makes_no_key_and_nobody_else_may_read_it() {
        let data = tempfile::tempdir().unwrap();
        assert!(Vault::open(&PayloadConfig::default(), data.path(), true).is_err());
        Vault::open(&PayloadConfig::default(), data.path(), false).unwrap();
        let file = data.path().join("keys/payload.key");
        fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
        assert!(Vault::open(&PayloadConfig::default(), data.path(), false).is_err());
    }
}
