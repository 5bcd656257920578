//! The domain as a value.

use std::sync::Arc;

use contracts_common::common::v1::GovernanceProfile;
use runspine_boot::{BootError, Deps, Service};
use runspine_db::{Db, args};
use runspine_errors::Fault;

use crate::{
    Config, MIGRATIONS,
    app::{App, audit::Audit},
    keyring::Keyring,
    rpc,
    store::keys::{self, KeyRow},
    worker,
};

/// Opens the store and the keys, and builds the servers.
///
/// # Errors
/// When a setting or a key is wrong, the store can't be opened, or an operation contract is wrong.
pub async fn service(config: Config, deps: &Deps) -> Result<Service, BootError> {
    config.check()?;
    let strict = deps.profile.name == GovernanceProfile::Strict;
    let keyring = Arc::new(Keyring::open(&config.signing, &deps.data, strict)?);
    let opened = Db::open(&deps.store, "logs", MIGRATIONS).await;
    let db = opened.map_err(|error| BootError::start("the store of logs", error.into()))?;
    activate(&db, &keyring, deps).await.map_err(|fault| BootError::start("the signing keys", fault))?;
    let app = Arc::new(App::new(db.clone(), Arc::clone(&deps.clock), keyring, &config));
    let audit = Arc::new(Audit::new(db.clone(), Arc::clone(&deps.clock), app.contracts.clone(), &config));
    let (answered, clock) = (db.clone(), Arc::clone(&deps.clock));
    let (probed, closed) = (db.clone(), db);
    let service = Service::new("logs", contracts_logs::DESCRIPTORS, &rpc::routes(&app, &audit), deps)?
        .probe("store", move || {
            let db = probed.clone();
            async move {
                db.read().fetch_one::<(i64,)>("SELECT COUNT(*) FROM signing_keys", args![]).await?;
                Ok(())
            }
        })
        .worker("answers", move |stop| worker::forget_answers(answered, clock, stop))
        .on_stop("store", move || async move {
            closed.close().await;
            Ok(())
        });
    Ok(service)
}

/// Makes the public half of every key known, so that what it signs can be verified after it was replaced.
async fn activate(db: &Db, keyring: &Keyring, deps: &Deps) -> Result<(), Fault> {
    let now = deps.clock.now();
    let rows: Vec<KeyRow> = keyring
        .public()
        .map(|(purpose, key_id, public)| KeyRow {
            key_id,
            purpose,
            public_key: public.to_vec(),
            created_at: now,
            retired_at: None,
            revoked_from: None,
        })
        .collect();
    db.write("activate_keys", move |tx| {
        Box::pin(async move {
            for row in &rows {
                keys::activate(tx, row, now).await?;
            }
            Ok(())
        })
    })
    .await
}
