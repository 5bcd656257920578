//! The keys that sign: one file for each purpose, PKCS#8 PEM, readable by its owner only.

use std::{
    collections::BTreeMap,
    fs::{self, OpenOptions},
    io::Write as _,
    os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    sync::Arc,
};

use contracts_logs::v1::KeyPurpose;
use ed25519_dalek::{
    SigningKey,
    pkcs8::{DecodePrivateKey as _, EncodePrivateKey as _, spki::der::pem::LineEnding},
};
use parking_lot::RwLock;
use runspine_boot::BootError;
use runspine_errors::Fault;
use runspine_logs_domain::{keys, note::Checkpoint, reasons};

use crate::{config::SigningConfig, publish::sync_folder, store::keys::KeyRow};

const PURPOSES: [KeyPurpose; 4] =
    [KeyPurpose::Seal, KeyPurpose::Checkpoint, KeyPurpose::Export, KeyPurpose::Certificate];

/// The key of each purpose that signs, and where each is kept.
pub struct Keyring {
    signers: RwLock<BTreeMap<i32, Signer>>,
    places: BTreeMap<i32, Place>,
    strict: bool,
}

struct Place {
    setting: &'static str,
    file: PathBuf,
}

impl Place {
    /// The file of the key that is to take this one's place.
    fn next(&self) -> PathBuf {
        let mut name = self.file.clone().into_os_string();
        name.push(".next");
        name.into()
    }
}

/// A key as it signs.
#[derive(Clone)]
pub struct Signer {
    key: Arc<SigningKey>,
    /// Its name.
    pub key_id: String,
}

impl Signer {
    fn new(key: SigningKey) -> Self {
        Self { key_id: keys::key_id(key.verifying_key().as_bytes()), key: Arc::new(key) }
    }

    /// Signs content.
    pub fn sign(&self, what: keys::Signed, content: &[u8]) -> [u8; 64] {
        keys::sign(&self.key, what, content)
    }

    /// The signed note of a checkpoint.
    pub fn note(&self, checkpoint: &Checkpoint) -> String {
        checkpoint.sign(&self.key)
    }

    /// The public half.
    pub fn public(&self) -> [u8; 32] {
        self.key.verifying_key().to_bytes()
    }
}

impl Keyring {
    /// Reads the key files. A missing one is made once, in the folder of keys, unless `strict` refuses to.
    ///
    /// # Errors
    /// When a file is missing under `strict`, can be read by others, or holds no key.
    pub fn open(config: &SigningConfig, data: &Path, strict: bool) -> Result<Self, BootError> {
        let folder = data.join("keys");
        let (mut signers, mut places) = (BTreeMap::new(), BTreeMap::new());
        for purpose in PURPOSES {
            let place = place(config, &folder, purpose);
            let key = match load(&place.file, place.setting)? {
                Some(key) => key,
                None if !strict => make(&place.file)?,
                None => {
                    let message =
                        format!("{} does not exist, and STRICT makes no keys", place.file.display());
                    return Err(BootError::config(place.setting, "STRICT_INCOMPLETE", message));
                }
            };
            signers.insert(purpose as i32, Signer::new(key));
            places.insert(purpose as i32, place);
        }
        Ok(Self { signers: RwLock::new(signers), places, strict })
    }

    /// What signs for a purpose. Whoever names a key in what it signs takes the signer once, since the next one may be
    /// another.
    ///
    /// # Errors
    /// KEY_UNAVAILABLE when there is none.
    pub fn signer(&self, purpose: KeyPurpose) -> Result<Signer, Fault> {
        self.signers.read().get(&(purpose as i32)).cloned().ok_or_else(|| {
            let message = format!("there is no {} key; nothing was written", keys::purpose_word(purpose));
            Fault::new(&reasons::KEY_UNAVAILABLE, message)
        })
    }

    /// What signs: purpose and signer.
    pub fn all(&self) -> Vec<(i32, Signer)> {
        self.signers.read().iter().map(|(purpose, signer)| (*purpose, signer.clone())).collect()
    }

    /// The key that is to take the place of the present one: what lies beside it, or a new one, which is durable before
    /// this answers. It signs nothing before [`Keyring::follow`].
    ///
    /// # Errors
    /// KEY_UNAVAILABLE when there is none under STRICT, or the file can't be read or made.
    pub fn next(&self, purpose: KeyPurpose) -> Result<Signer, Fault> {
        let word = keys::purpose_word(purpose);
        let unavailable = |message: String| Fault::new(&reasons::KEY_UNAVAILABLE, message);
        let Some(place) = self.places.get(&(purpose as i32)) else {
            return Err(unavailable(format!("there is no place for a {word} key")));
        };
        let broken =
            |error| unavailable(format!("the next {word} key can't be read or made")).caused_by(error);
        if let Some(key) = load(&place.next(), place.setting).map_err(broken)? {
            return Ok(Signer::new(key));
        }
        if self.strict {
            return Err(unavailable(format!(
                "there is no next {word} key, and STRICT makes none: put it beside the present one, under the same name \
                 with .next behind it"
            )));
        }
        make(&place.next()).map(Signer::new).map_err(broken)
    }

    /// Signs with what the store calls active from now on, where this process has it: in the file, or beside it, from
    /// where it is moved to its place. A key that was revoked signs no more, whether there is another or not.
    ///
    /// # Errors
    /// When a file can't be read or moved; what could be followed was.
    pub fn follow(&self, known: &[KeyRow]) -> Result<(), BootError> {
        let mut failed = None;
        for (purpose, place) in &self.places {
            let own = self.signers.read().get(purpose).map(|signer| signer.key_id.clone());
            let of_purpose = || known.iter().filter(|row| row.purpose == *purpose);
            let active = of_purpose().find(|row| row.retired_at.is_none());
            if active.is_some_and(|row| own.as_ref() == Some(&row.key_id)) {
                continue;
            }
            let found = active.map_or(Ok(None), |row| place.find(&row.key_id));
            let revoked =
                |id: &String| of_purpose().any(|row| row.key_id == *id && row.revoked_from.is_some());
            match found {
                Ok(Some(key)) => {
                    self.signers.write().insert(*purpose, Signer::new(key));
                }
                Ok(None) => {}
                Err(error) => failed = Some(error),
            }
            let mut signers = self.signers.write();
            if signers.get(purpose).is_some_and(|signer| revoked(&signer.key_id)) {
                tracing::error!(
                    purpose,
                    "the key was revoked, and this process has no other; nothing is signed"
                );
                signers.remove(purpose);
            }
        }
        failed.map_or(Ok(()), Err)
    }
}

impl Place {
    /// The key of a name, in its file or beside it; what lies beside it is moved there.
    fn find(&self, key_id: &str) -> Result<Option<SigningKey>, BootError> {
        let named = |key: &SigningKey| keys::key_id(key.verifying_key().as_bytes()) == key_id;
        if let Some(key) = load(&self.file, self.setting)?.filter(named) {
            return Ok(Some(key));
        }
        let Some(key) = load(&self.next(), self.setting)?.filter(named) else { return Ok(None) };
        let moved = fs::rename(self.next(), &self.file).and_then(|()| sync_folder(&self.file));
        moved.map_err(|error| BootError::system(format!("the key {}", self.file.display()), error))?;
        Ok(Some(key))
    }
}

fn place(config: &SigningConfig, folder: &Path, purpose: KeyPurpose) -> Place {
    let (setting, given, name) = match purpose {
        KeyPurpose::Seal | KeyPurpose::Unspecified => ("logs.signing.seal_key", &config.seal_key, "seal.pem"),
        KeyPurpose::Checkpoint => ("logs.signing.checkpoint_key", &config.checkpoint_key, "checkpoint.pem"),
        KeyPurpose::Export => ("logs.signing.export_key", &config.export_key, "export.pem"),
        KeyPurpose::Certificate => {
            ("logs.signing.certificate_key", &config.certificate_key, "certificate.pem")
        }
    };
    Place { setting, file: given.clone().unwrap_or_else(|| folder.join(name)) }
}

/// The key of a file; `None` when there is no such file.
fn load(file: &Path, setting: &'static str) -> Result<Option<SigningKey>, BootError> {
    match fs::read_to_string(file) {
        Ok(pem) => read(&pem, file, setting).map(Some),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(BootError::system(format!("the key {}", file.display()), error)),
    }
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
    use runspine_types::Micros;

    use super::*;

    fn open(data: &Path, strict: bool) -> Result<Keyring, BootError> {
        Keyring::open(&SigningConfig::default(), data, strict)
    }

    fn row(signer: &Signer, retired_at: Option<i64>, revoked_from: Option<i64>) -> KeyRow {
        KeyRow {
            key_id: signer.key_id.clone(),
            purpose: KeyPurpose::Seal as i32,
            public_key: signer.public().to_vec(),
            created_at: Micros(1),
            retired_at: retired_at.map(Micros),
            revoked_from: revoked_from.map(Micros),
        }
    }

    #[test]
    fn keys_are_made_once_and_kept() {
        let data = tempfile::tempdir().unwrap();
        let first = open(data.path(), false).unwrap();
        let again = open(data.path(), true).unwrap();
        let ids =
            |ring: &Keyring| ring.all().into_iter().map(|(_, signer)| signer.key_id).collect::<Vec<_>>();
        assert_eq!(ids(&first), ids(&again));
        assert_eq!(ids(&first).len(), 4, "one for each purpose");
    }

    #[test]
    fn strict_makes_no_keys_and_nobody_else_may_read_them() {
        let data = tempfile::tempdir().unwrap();
        assert!(open(data.path(), true).is_err());
        let ring = open(data.path(), false).unwrap();
        ring.next(KeyPurpose::Export).unwrap();
        let strict = open(data.path(), true).unwrap();
        assert!(strict.next(KeyPurpose::Seal).is_err_and(|fault| fault.is(&reasons::KEY_UNAVAILABLE)));
        assert!(strict.next(KeyPurpose::Export).is_ok(), "what somebody put there is taken");
        let file = data.path().join("keys/seal.pem");
        fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
        assert!(open(data.path(), false).is_err());
    }

    #[test]
    fn the_next_key_signs_when_the_store_says_so_and_not_before() {
        let data = tempfile::tempdir().unwrap();
        let (ring, other) = (open(data.path(), false).unwrap(), open(data.path(), false).unwrap());
        let old = ring.signer(KeyPurpose::Seal).unwrap();
        let next = ring.next(KeyPurpose::Seal).unwrap();
        assert_eq!(ring.next(KeyPurpose::Seal).unwrap().key_id, next.key_id, "made once");
        let signs = |ring: &Keyring| ring.signer(KeyPurpose::Seal).map(|signer| signer.key_id).ok();
        ring.follow(&[row(&old, None, None)]).unwrap();
        assert_eq!(signs(&ring), Some(old.key_id.clone()));
        // Killed between the commit and the move: whoever starts next moves it.
        let known = [row(&next, None, None), row(&old, Some(5), None)];
        for ring in [&ring, &other, &open(data.path(), true).unwrap()] {
            ring.follow(&known).unwrap();
            assert_eq!(signs(ring), Some(next.key_id.clone()));
        }
        let later = open(data.path(), true).unwrap();
        assert_eq!(signs(&later), Some(next.key_id.clone()), "it is in its place");
        assert!(!data.path().join("keys/seal.pem.next").exists());
        let revoked = [row(&old, None, None), row(&next, Some(5), Some(4))];
        later.follow(&revoked).unwrap();
        assert_eq!(signs(&later), None, "a revoked key signs nothing, even where there is no other");
    }
}
