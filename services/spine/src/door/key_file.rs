//! The key file, `<data>/api-keys.toml`: who may call, with hashes instead of keys.

use std::{collections::HashMap, fmt, io, path::Path, sync::Arc};

use contracts_common::common::v1::ActorType;
use runspine_boot::BootError;
use runspine_types::{Digest, Micros};
use serde::{Deserialize, Serialize};
use tokio::io::AsyncWriteExt as _;

use super::{directory::Identity, roles::role_patterns};

pub(super) const HEAD: &str =
    "# Who may call this mesh. Holds hashes, never keys. Reread within a second of a change.\n\n";

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct File {
    #[serde(default, rename = "key")]
    pub(super) keys: Vec<Row>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Row {
    /// The handle in the key.
    pub(super) id: String,
    /// Hash of the secret, 64 hex characters.
    pub(super) hash: String,
    /// The tenant, a UUID.
    pub(super) tenant: String,
    /// HUMAN, AGENT or SERVICE.
    pub(super) actor_kind: String,
    /// The actor's id.
    pub(super) actor: String,
    /// What it may do.
    pub(super) roles: Vec<String>,
    /// Narrows the roles: permission patterns. Empty: not narrowed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) scopes: Vec<String>,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(super) project: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(super) agent: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(super) owner: String,
    /// RFC 3339. Empty: never.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(super) expires_at: String,
    #[serde(default)]
    pub(super) revoked: bool,
}

/// The key that was made because there was none: shown once, stored as a hash.
pub struct DevelopmentKey {
    /// The key itself.
    pub key: String,
    /// The tenant that was made for it.
    pub tenant: String,
}

impl fmt::Debug for DevelopmentKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DevelopmentKey(tenant {})", self.tenant)
    }
}

/// The identities of a key file, by handle.
pub(super) fn read(text: &str) -> Result<HashMap<String, Arc<Identity>>, String> {
    let file: File = toml::from_str(text).map_err(|e| e.message().to_owned())?;
    let rows = file.keys.into_iter();
    rows.map(|row| Ok((row.id.clone(), Arc::new(identity(row)?)))).collect()
}

fn identity(row: Row) -> Result<Identity, String> {
    let refused = |what: &str| format!("key {:?}: {what}", row.id);
    let kind = match row.actor_kind.as_str() {
        "HUMAN" => ActorType::Human,
        "AGENT" => ActorType::Agent,
        "SERVICE" => ActorType::Service,
        _ => return Err(refused("actor_kind is none of HUMAN, AGENT, SERVICE")),
    };
    if !runspine_types::is_uuid(&row.tenant) {
        return Err(refused("tenant is no UUID"));
    }
    if let Some(unknown) = row.roles.iter().find(|role| role_patterns(role).is_none()) {
        return Err(refused(&format!("there is no role {unknown}")));
    }
    let hash = Digest::from_hex(&row.hash).ok_or_else(|| refused("hash is not 64 hex characters"))?;
    let expires_at = match row.expires_at.as_str() {
        "" => None,
        text => {
            let at: jiff::Timestamp = text.parse().map_err(|_| refused("expires_at is no RFC 3339 time"))?;
            Some(Micros(at.as_microsecond()))
        }
    };
    let mut identity = Identity::new(row.id, hash, row.tenant, kind, row.actor, row.roles);
    identity.scopes = row.scopes;
    identity.project = row.project;
    identity.agent = row.agent;
    identity.owner = row.owner;
    identity.expires_at = expires_at;
    identity.revoked = row.revoked.into();
    Ok(identity)
}

/// The file's text; made with a development key when there is none.
pub(super) async fn open(path: &Path) -> Result<(String, Option<DevelopmentKey>), BootError> {
    match tokio::fs::read_to_string(path).await {
        Ok(text) => Ok((text, None)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            make(path).await.map(|(text, made)| (text, Some(made)))
        }
        Err(e) => Err(BootError::system(format!("can't read {}", path.display()), e)),
    }
}

async fn make(path: &Path) -> Result<(String, DevelopmentKey), BootError> {
    let tenant = runspine_types::new_id();
    let developer = super::issue::NewKey {
        tenant: tenant.clone(),
        actor_kind: "HUMAN".to_owned(),
        actor: "developer".to_owned(),
        roles: vec!["OWNER".to_owned()],
        owner: "developer".to_owned(),
        ..super::issue::NewKey::default()
    };
    let (key, row) = super::issue::row(developer)?;
    let text = write(path, &File { keys: vec![row] }).await?;
    Ok((text, DevelopmentKey { key, tenant }))
}

/// Writes the file beside its place and renames it, so that nobody ever reads half of one; only the owner may read it.
pub(super) async fn write(path: &Path, file: &File) -> Result<String, BootError> {
    let failed = |e| BootError::system(format!("can't write {}", path.display()), e);
    let body = toml::to_string(file).map_err(|e| failed(io::Error::other(e)))?;
    let text = format!("{HEAD}{body}");
    // A file that the door could not read must not replace one that it can.
    read(&text).map_err(|what| BootError::config(path.display().to_string(), "CONFIG_OUT_OF_RANGE", what))?;
    if let Some(folder) = path.parent() {
        tokio::fs::create_dir_all(folder).await.map_err(failed)?;
    }
    let beside = path.with_extension("toml.new");
    replace(&beside, path, text.as_bytes()).await.map_err(failed)?;
    Ok(text)
}

/// The name changes only after the content is on the disk, and is itself there before anybody is shown a key: after a
/// crash the file is the old one or the new one.
async fn replace(beside: &Path, path: &Path, content: &[u8]) -> io::Result<()> {
    let mut options = tokio::fs::OpenOptions::new();
    let mut new = options.write(true).create(true).truncate(true).mode(0o600).open(beside).await?;
    // One that a crash left behind keeps the mode that it was made with.
    new.set_permissions(std::os::unix::fs::PermissionsExt::from_mode(0o600)).await?;
    new.write_all(content).await?;
    new.sync_all().await?;
    tokio::fs::rename(beside, path).await?;
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    tokio::fs::File::open(folder).await?.sync_all().await
}
