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
    keyring::{Keyring, Signer},
    rpc,
    store::keys::{self, KeyRow},
    vault::Vault,
    worker,
};

/// What the service is made of.
pub(crate) struct Parts {
    /// The use cases.
    pub app: Arc<App>,
    audit: Arc<Audit>,
    notary: Arc<Notary>,
}

/// Opens the store and the keys.
///
/// # Errors
/// When a setting or a key is wrong, or the store can't be opened.
pub(crate) async fn open(config: &Config, deps: &Deps) -> Result<Parts, BootError> {
    let strict = deps.profile.name == GovernanceProfile::Strict;
    config.check(strict)?;
    runspine_redact::prepare().map_err(|error| {
        BootError::system("the patterns of redaction".to_owned(), std::io::Error::other(error))
    })?;
    let keyring = Arc::new(Keyring::open(&config.signing, &deps.data, strict)?);
    let opened = Db::open(&deps.store, "logs", MIGRATIONS).await;
    let db = opened.map_err(|error| BootError::start("the store of logs", error.into()))?;
    let clock = Arc::clone(&deps.clock);
    let notary = Arc::new(Notary::new(db.clone(), clock, Arc::clone(&keyring), &config.checkpoint));
    match notary.rolled_back().await {
        // Reads are served; whoever wants to write hears why nothing is written.
        Err(fault) if fault.is(&LEDGER_ROLLED_BACK) => db.refuse_writes(fault),
        checked => {
            checked.map_err(|fault| BootError::start("the published checkpoints", fault))?;
            activate(&db, &keyring, deps).await?;
        }
    }
    let keys = (keyring, Vault::open(&config.payload, &deps.data, strict)?);
    let archive = config.archive.dir.clone().unwrap_or_else(|| deps.data.join("archive"));
    let clock = Arc::clone(&deps.clock);
    let app = App::new(db.clone(), clock, keys, Arc::clone(&notary), (strict, archive), config);
    let app = Arc::new(app);
    let shared = (app.contracts.clone(), Arc::clone(&app.seats));
    let audit = Audit::new(db, Arc::clone(&deps.clock), shared, Arc::clone(&notary), config);
    Ok(Parts { app, audit: Arc::new(audit), notary })
}

/// Opens the store and the keys, and builds the servers.
///
/// # Errors
/// When a setting or a key is wrong, the store can't be opened, or an operation contract is wrong.
pub async fn service(config: Config, deps: &Deps) -> Result<Service, BootError> {
    let Parts { app, audit, notary } = open(&config, deps).await?;
    let db = app.db.clone();
    let (answered, clock) = (db.clone(), Arc::clone(&deps.clock));
    let watched = Arc::clone(&notary);
    let (archiving, archived_after) = (Arc::clone(&app), config.archive.after_days);
    let (making, following) = (Arc::clone(&app), Arc::clone(&app));
    let (ending, sampled) = (Arc::clone(&app), Arc::clone(&app));
    let (expiring, days) = (Arc::clone(&app), config.payload.retention_days);
    let (probed, closed, instance) = (db.clone(), db, deps.instance());
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
        .worker("gauges", move |stop| worker::sample(sampled, stop))
        .worker("keys", move |stop| worker::follow_keys(following, stop))
        .worker("life", move |stop| worker::tell_of_life(audit, instance, stop))
        .worker("answers", move |stop| worker::forget_answers(answered, clock, stop))
        .worker("archive", move |stop| worker::archive_traces(archiving, archived_after, stop))
        .worker("exports", move |stop| worker::make_exports(making, stop))
        .worker("replays", move |stop| worker::expire_replays(ending, stop))
        .worker("payload_retention", move |stop| worker::expire_payloads(expiring, days, stop))
        .on_stop("store", move || async move {
            closed.close().await;
            Ok(())
        });
    Ok(service)
}

/// Makes the public half of every key known, so that what it signs can be verified after it was replaced, and signs with
/// those that are active.
async fn activate(db: &Db, keyring: &Keyring, deps: &Deps) -> Result<(), BootError> {
    let failed = |fault: Fault| BootError::start("the signing keys", fault);
    let now = deps.clock.now();
    keyring.follow(&keys::all(db.read()).await.map_err(|error| failed(error.into()))?)?;
    let row = |(purpose, signer): (i32, Signer)| KeyRow {
        public_key: signer.public().to_vec(),
        key_id: signer.key_id,
        purpose,
        created_at: now,
        retired_at: None,
        revoked_from: None,
    };
    let rows: Vec<KeyRow> = keyring.all().into_iter().map(row).collect();
    let written = db.write("activate_keys", move |tx| {
        Box::pin(async move {
            for row in &rows {
                keys::activate(tx, row, now, "another key took its place").await?;
            }
            Ok(())
        })
    });
    written.await.map_err(failed)
}
