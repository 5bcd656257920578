//! The activity service: it stores runs, their attempts, moves and leases, and shows them. The kernel of the spine
//! decides when a run moves; this service sees to it that no move leaves the phase table, and that no two hold one run.

mod app;
mod config;
mod rpc;
mod store;

use std::sync::Arc;

use prost::Message as _;
use runspine_boot::{BootError, Deps, Service};
use runspine_db::{Db, Dialect, args};
use runspine_events::Life;
use runspine_rpc::Routes;
use runspine_types::Clock;

pub use config::Config;
pub use store::MIGRATIONS;

use crate::app::{App, cache::StateCache, renew::Renewals};

/// The domain as a value: its store opened, its servers built.
///
/// # Errors
/// When a setting is wrong, the store can't be opened, or a contract is broken.
pub async fn service(config: Config, deps: &Deps) -> Result<Service, BootError> {
    if config.orphan_after_minutes == 0 {
        return Err(BootError::config(
            "activity.orphan_after_minutes",
            "CONFIG_OUT_OF_RANGE",
            "must be 1 or more",
        ));
    }
    let opened = Db::open(&deps.store, "activity", MIGRATIONS).await;
    let db = opened.map_err(|error| BootError::start("the store of activity", error.into()))?;
    let life = Life::new(&db, &deps.clock, deps.instance(), |event| {
        contracts_activity::v1::InstanceChanged { event: Some(event) }.encode_to_vec()
    });
    let (probed, closed) = (db.clone(), db.clone());
    let routes = routes(db, Arc::clone(&deps.clock), config);
    let service = Service::new("activity", contracts_activity::DESCRIPTORS, &routes, deps)?
        .probe("store", move || {
            let db = probed.clone();
            async move {
                db.read().fetch_one::<(i64,)>("SELECT COUNT(*) FROM outbox_cursors", args![]).await?;
                Ok(())
            }
        })
        .worker("life", move |stop| life.tell(stop.cancelled_owned()))
        .on_stop("store", move || async move {
            closed.close().await;
            Ok(())
        });
    Ok(service)
}

/// The servers of the domain over an open store.
#[must_use]
pub fn routes(db: Db, clock: Arc<dyn Clock>, config: Config) -> Routes {
    rpc::routes(App {
        renewals: db.batcher(Renewals { clock: Arc::clone(&clock) }),
        // Memory is coherent only with the one process that writes.
        states: Arc::new(StateCache::new(db.dialect() == Dialect::Sqlite)),
        db,
        clock,
        config: Arc::new(config),
    })
}
