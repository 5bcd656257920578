//! Turns keys over: the next one takes the place of the present one, and a stolen one loses its word.

use std::sync::Arc;

use bytes::Bytes;
use contracts_common::common::v1::CallContext;
use contracts_logs::v1::{KeyPurpose, KeyRevoked, KeyRotated, RevokeKeyResponse, RotateKeyResponse};
use prost::Message;
use runspine_db::Tx;
use runspine_errors::{Fault, mesh};
use runspine_logs_domain::{bytes::timestamp, keys::purpose_word, reasons};
use runspine_types::{Micros, PLATFORM_TENANT};

use super::{
    App,
    announce::announce,
    audit::told::{Caused, Told},
    once::Once,
};
use crate::{
    rpc::key,
    store::keys::{self, KeyRow},
};

impl App {
    /// Makes the next key of a purpose active and gives the answer as it is kept. The key's file is durable before the
    /// commit, and moved to its place behind it: a process that is killed between the two moves it when it starts.
    ///
    /// # Errors
    /// KEY_UNAVAILABLE, IDEMPOTENCY_MISMATCH, or when the store can't be written.
    pub async fn rotate_key(
        &self,
        call: &CallContext,
        once: Once,
        (purpose, reason): (KeyPurpose, String),
    ) -> Result<Bytes, Fault> {
        let keyring = Arc::clone(&self.keyring);
        let next = tokio::task::spawn_blocking(move || keyring.next(purpose)).await;
        let next = next.map_err(|error| Fault::new(&mesh::INTERNAL, "the key's file").caused_by(error))??;
        let (caused, now) = (Caused::by(call), self.clock.now());
        let new = KeyRow {
            public_key: next.public().to_vec(),
            key_id: next.key_id,
            purpose: purpose.into(),
            created_at: now,
            retired_at: None,
            revoked_from: None,
        };
        let answer = self
            .once(once, move |tx| Box::pin(async move { rotate(tx, new, &reason, &caused, now).await }))
            .await?;
        self.follow_keys().await?;
        Ok(answer)
    }

    /// Takes the trust from a retired key and gives the answer as it is kept.
    ///
    /// # Errors
    /// KEY_NOT_FOUND, KEY_ACTIVE, IDEMPOTENCY_MISMATCH, or when the store can't be written.
    pub async fn revoke_key(
        &self,
        call: &CallContext,
        once: Once,
        (key_id, revoked_from, reason): (String, Micros, String),
    ) -> Result<Bytes, Fault> {
        let (caused, now) = (Caused::by(call), self.clock.now());
        let answer = self
            .once(once, move |tx| {
                Box::pin(async move { revoke(tx, (&key_id, revoked_from, &reason), &caused, now).await })
            })
            .await?;
        self.follow_keys().await?;
        Ok(answer)
    }

    /// Signs with what the store calls active, whoever made it so.
    ///
    /// # Errors
    /// KEY_UNAVAILABLE when a file can't be read or moved, or when the store can't be read.
    pub async fn follow_keys(&self) -> Result<(), Fault> {
        let known = keys::all(self.db.read()).await?;
        self.keyring.follow(&known).map_err(|error| {
            Fault::new(&reasons::KEY_UNAVAILABLE, "the file of a key can't be read or moved").caused_by(error)
        })
    }
}

async fn rotate(
    tx: &mut Tx,
    new: KeyRow,
    reason: &str,
    caused: &Caused,
    now: Micros,
) -> Result<RotateKeyResponse, Fault> {
    let known = keys::all_in(tx).await?;
    let present = known.into_iter().find(|row| row.purpose == new.purpose && row.retired_at.is_none());
    if !keys::activate(tx, &new, now, reason).await? {
        let message = "somebody else made the next key active; nothing was written";
        return Err(Fault::new(&reasons::KEY_UNAVAILABLE, message));
    }
    let data = KeyRotated {
        key_id: new.key_id.clone(),
        purpose: new.purpose,
        retired_key_id: present.as_ref().map(|row| row.key_id.clone()).unwrap_or_default(),
    };
    let signed = present.as_ref().map_or("", |row| row.key_id.as_str());
    tell(tx, ("KeyRotated", &data), (&new.key_id, signed), reason, caused, now).await?;
    let retired = present.map(|row| key(KeyRow { retired_at: Some(now), ..row }));
    Ok(RotateKeyResponse { active: Some(key(new)), retired })
}

async fn revoke(
    tx: &mut Tx,
    (key_id, revoked_from, reason): (&str, Micros, &str),
    caused: &Caused,
    now: Micros,
) -> Result<RevokeKeyResponse, Fault> {
    let missing = || Fault::new(&reasons::KEY_NOT_FOUND, "no key of this id ever signed here");
    let row = keys::all_in(tx).await?.into_iter().find(|row| row.key_id == key_id).ok_or_else(missing)?;
    if row.retired_at.is_none() {
        let word = KeyPurpose::try_from(row.purpose).map_or("key", purpose_word);
        let message = format!("the key is the active {word} key; rotate it first");
        return Err(
            Fault::new(&reasons::KEY_ACTIVE, message).precondition(format!("keys/{key_id}"), "is retired")
        );
    }
    if row.revoked_from.is_some_and(|before| before <= revoked_from) {
        return Ok(RevokeKeyResponse { key: Some(key(row)) });
    }
    keys::revoke(tx, key_id, revoked_from, reason).await?;
    let data = KeyRevoked {
        key_id: key_id.to_owned(),
        purpose: row.purpose,
        revoked_from: Some(timestamp(revoked_from)),
    };
    tell(tx, ("KeyRevoked", &data), (key_id, key_id), reason, caused, now).await?;
    Ok(RevokeKeyResponse { key: Some(key(KeyRow { revoked_from: Some(revoked_from), ..row })) })
}

/// Tells the mesh, and every tenant for whom the key `signed` did, of what became of the key `entity`.
async fn tell<M: Message>(
    tx: &mut Tx,
    (name, data): (&'static str, &M),
    (entity, signed): (&str, &str),
    reason: &str,
    caused: &Caused,
    now: Micros,
) -> Result<(), Fault> {
    let mut tenants = keys::tenants(tx, signed).await?;
    tenants.retain(|tenant| tenant != PLATFORM_TENANT);
    tenants.push(PLATFORM_TENANT.to_owned());
    for tenant_id in &tenants {
        let told = Told {
            name,
            data,
            tenant_id,
            run_id: "",
            attempt: 0,
            step_index: None,
            entity: ("key", entity.to_owned()),
            reason,
        };
        announce(tx, told, None, caused, now).await?;
    }
    Ok(())
}
