//! The domain as a value.

use std::sync::Arc;

use contracts_common::common::v1::GovernanceProfile;
use runspine_boot::{BootError, Deps, Service};
use runspine_db::{Db, args};
use runspine_errors::Fault;
use runspine_logs_domain::reasons::LEDGER_ROLLED_BACK;

use crate::{
    Config, MIGRATIONS,
    app::{
        App,
        audit::{Audit, notary::Notary},
    },
    keyring::Keyring,
    rpc,
    store::keys::{self, KeyRow},
    vault::Vault,
    worker,
};

/// Opens the store and the keys, and builds the servers.
///
/// # Errors
/// When a setting or a key is wrong, the store can't be opened, or an operation contract is wrong.
pub async fn service(config: Config, deps: &Deps) -> Result<Service, BootError> {
    config.check()?;
    runspine_redact::prepare().map_err(|error| {
        BootError::system("the patterns of redaction".to_owned(), std::io::Error::other(error))
    })?;
    let strict = deps.profile.name == GovernanceProfile::Strict;
    let keyring = Arc::new(Keyring::open(&config.signing, &deps.data, strict)?);
    let opened = Db::open(&deps.store, "logs", MIGRATIONS).await;
    let db = opened.map_err(|error| BootError::start("the store of logs", error.into()))?;
    let (answered, clock) = (db.clone(), Arc::clone(&deps.clock));
    let notary = Arc::new(Notary::new(db.clone(), clock, Arc::clone(&keyring), &config.checkpoint));
    match notary.rolled_back().await {
        // Reads are served; whoever wants to write hears why nothing is written.
        Err(fault) if fault.is(&LEDGER_ROLLED_BACK) => db.refuse_writes(fault),
        checked => {
            checked.map_err(|fault| BootError::start("the published checkpoints", fault))?;
            let activated = activate(&db, &keyring, deps).await;
            activated.map_err(|fault| BootError::start("the signing keys", fault))?;
        }
    }
    let keys = (keyring, Vault::open(&config.payload, &deps.data, strict)?);
    let app = App::new(db.clone(), Arc::clone(&deps.clock), keys, Arc::clone(&notary), strict, &config);
    let app = Arc::new(app);
    let audit = Arc::new(Audit::new(
        db.clone(),
        Arc::clone(&deps.clock),
        app.contracts.clone(),
        Arc::clone(&notary),
        &config,
    ));
    let (clock, watched) = (Arc::clone(&deps.clock), Arc::clone(&notary));
    let making = Arc::clone(&app);
    let (expiring, days) = (Arc::clone(&app), config.payload.retention_days);
    let (probed, closed) = (db.clone(), db);
    let service = Service::new("logs", contracts_logs::DESCRIPTORS, &rpc::routes(&app, &audit), deps)?
        .probe("store", move || {
            let db = probed.clone();
            async move {
                db.read().fetch_one::<(i64,)>("SELECT COUNT(*) FROM signing_keys", args![]).await?;
                Ok(())
            }
        })
        .probe("checkpoints", move || {
            let notary = Arc::clone(&watched);
            async move { notary.consistent() }
        })
        .worker("checkpoints", move |stop| worker::sign_checkpoints(notary, stop))
        .worker("answers", move |stop| worker::forget_answers(answered, clock, stop))
        .worker("exports", move |stop| worker::make_exports(making, stop))
        .worker("payload_retention", move |stop| worker::expire_payloads(expiring, days, stop))
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
