//! Makes, lists and revokes API keys in the key file. The door rereads it within a second.

use std::{io, path::Path};

use runspine_boot::BootError;

use super::{
    directory::KEY_FILE,
    key,
    key_file::{self, File, Row},
};

/// What a new key is for.
#[derive(Debug, Clone, Default)]
pub struct NewKey {
    /// The tenant, a UUID.
    pub tenant: String,
    /// HUMAN, AGENT or SERVICE.
    pub actor_kind: String,
    /// The actor's id.
    pub actor: String,
    /// What it may do.
    pub roles: Vec<String>,
    /// The project that it is bound to. Empty: any.
    pub project: String,
    /// The agent that it is bound to. Empty: any.
    pub agent: String,
    /// The person who owns it. Empty: nobody.
    pub owner: String,
    /// When it ends, RFC 3339. Empty: never.
    pub expires_at: String,
}

/// A key as it can be shown: never the key itself.
#[derive(Debug, Clone)]
pub struct KeyInfo {
    /// Its public handle.
    pub id: String,
    /// Its tenant.
    pub tenant: String,
    /// Kind and id of its actor.
    pub actor: String,
    /// Its roles.
    pub roles: Vec<String>,
    /// When it ends. Empty: never.
    pub expires_at: String,
    /// It is refused.
    pub revoked: bool,
}

/// Adds a key and gives its text, which is kept nowhere. Older keys of the same tenant and actor are revoked when
/// `replace` is set.
///
/// # Errors
/// When the file can't be read or written, or a word of `new` is not known.
pub async fn issue(data: &Path, new: NewKey, replace: bool) -> Result<String, BootError> {
    let path = data.join(KEY_FILE);
    let mut file = read(&path).await?;
    if replace {
        file.keys.retain(|row| row.tenant != new.tenant || row.actor != new.actor);
    }
    let (text, row) = row(new)?;
    file.keys.push(row);
    key_file::write(&path, &file).await?;
    Ok(text)
}

/// The keys of the file, in its order.
///
/// # Errors
/// When the file can't be read.
pub async fn list(data: &Path) -> Result<Vec<KeyInfo>, BootError> {
    let file = read(&data.join(KEY_FILE)).await?;
    let info = |row: Row| KeyInfo {
        id: row.id,
        tenant: row.tenant,
        actor: format!("{} {}", row.actor_kind, row.actor),
        roles: row.roles,
        expires_at: row.expires_at,
        revoked: row.revoked,
    };
    Ok(file.keys.into_iter().map(info).collect())
}

/// Revokes the key with this handle; false when there is none.
///
/// # Errors
/// When the file can't be read or written.
pub async fn revoke(data: &Path, id: &str) -> Result<bool, BootError> {
    let path = data.join(KEY_FILE);
    let mut file = read(&path).await?;
    let mut found = false;
    for row in file.keys.iter_mut().filter(|row| row.id == id) {
        (row.revoked, found) = (true, true);
    }
    if found {
        key_file::write(&path, &file).await?;
    }
    Ok(found)
}

async fn read(path: &Path) -> Result<File, BootError> {
    let failed = |e| BootError::system(format!("can't read {}", path.display()), e);
    match tokio::fs::read_to_string(path).await {
        Ok(text) => toml::from_str(&text).map_err(|e| failed(io::Error::other(e))),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(File::default()),
        Err(e) => Err(failed(e)),
    }
}

/// A new key's text and its row.
pub(super) fn row(new: NewKey) -> Result<(String, Row), BootError> {
    let mut random = [0; key::RANDOM];
    getrandom::fill(&mut random)
        .map_err(|e| BootError::system("no random bytes for a key", io::Error::other(e)))?;
    let (text, id, hash) = key::make(&random);
    let row = Row {
        id,
        hash: hash.to_hex(),
        tenant: new.tenant,
        actor_kind: new.actor_kind,
        actor: new.actor,
        roles: new.roles,
        scopes: Vec::new(),
        project: new.project,
        agent: new.agent,
        owner: new.owner,
        expires_at: new.expires_at,
        revoked: false,
    };
    Ok((text, row))
}
