//! The domain as a value.

use std::sync::Arc;

use runspine_boot::{BootError, Deps, Service};
use runspine_db::Db;
use runspine_policies_domain::words::Profile;
use runspine_rpc::Routes;
use runspine_types::Clock;

use crate::{Config, MIGRATIONS, app::App, rpc};

/// The servers over a store that is open.
#[must_use]
pub fn routes(db: Db, clock: Arc<dyn Clock>, profile: Profile, config: &Config) -> Routes {
    rpc::routes(&Arc::new(App::new(db, clock, profile, config)))
}

/// Opens the store and builds the servers.
///
/// # Errors
/// When the store can't be opened, or an operation contract is wrong.
pub async fn service(config: Config, deps: &Deps) -> Result<Service, BootError> {
    let opened = Db::open(&deps.store, "policies", MIGRATIONS).await;
    let db = opened.map_err(|error| BootError::start("the store of policies", error.into()))?;
    let profile = Profile::from_code(deps.profile.name as i32).unwrap_or(Profile::Strict);
    let app = Arc::new(App::new(db.clone(), Arc::clone(&deps.clock), profile, &config));
    let probed = Arc::clone(&app);
    let service = Service::new("policies", contracts_policies::DESCRIPTORS, &rpc::routes(&app), deps)?
        .probe("store", move || {
            let app = Arc::clone(&probed);
            async move { app.probe().await }
        })
        .on_stop("store", move || async move {
            db.close().await;
            Ok(())
        });
    Ok(service)
}
