//! The incidents service: it opens, groups and ends incidents, and decides no policy.

pub mod app;
pub mod config;
pub mod rpc;
pub mod store;

use std::sync::Arc;

use prost::Message as _;
use runspine_boot::{BootError, ConfigProblem, Deps, Service};
use runspine_db::{Db, args};
use runspine_events::Life;

pub use config::Config;

use crate::app::App;

/// The domain as a value: its store opened, its servers built.
///
/// # Errors
/// When the settings are wrong, the store can't be opened, or a contract is.
pub async fn service(config: Config, deps: &Deps) -> Result<Service, BootError> {
    let problems = config.problems();
    if !problems.is_empty() {
        let told = |text: String| ConfigProblem::new("incidents", "CONFIG_OUT_OF_RANGE", text);
        return Err(BootError::Config(problems.into_iter().map(told).collect()));
    }
    let opened = Db::open(&deps.store, "incidents", store::MIGRATIONS).await;
    let db = opened.map_err(|error| BootError::start("the store of incidents", error.into()))?;
    let life = Life::new(&db, &deps.clock, deps.instance(), |event| {
        contracts_incidents::v1::InstanceChanged { event: Some(event) }.encode_to_vec()
    });
    let app = App::new(db.clone(), Arc::clone(&deps.clock), config);
    let (probed, closed) = (db.clone(), db);
    let service = Service::new("incidents", contracts_incidents::DESCRIPTORS, &rpc::routes(app), deps)?
        .probe("store", move || {
            let db = probed.clone();
            async move {
                db.read().fetch_one::<(i64,)>("SELECT COUNT(*) FROM tenant_counters", args![]).await?;
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
