//! The domain as a value.

use std::{sync::Arc, time::Duration};

use prost::Message as _;
use runspine_boot::{BootError, CancellationToken, Deps, Service};
use runspine_db::Db;
use runspine_errors::Fault;
use runspine_events::Life;
use runspine_policies_domain::words::Profile;
use runspine_rpc::Routes;
use runspine_types::Clock;

use crate::{Config, MIGRATIONS, app::App, rpc, worker};

/// The domain over a store that is open: its servers, and the work that runs beside them.
pub struct Parts {
    app: Arc<App>,
}

/// Puts the domain together.
#[must_use]
pub fn parts(db: Db, clock: Arc<dyn Clock>, profile: Profile, config: &Config) -> Parts {
    Parts { app: Arc::new(App::new(db, clock, profile, config)) }
}

impl Parts {
    /// The servers.
    #[must_use]
    pub fn routes(&self) -> Routes {
        rpc::routes(&self.app)
    }

    /// Escalates and ends approvals whose time has come: how many it changed.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn end_due_approvals(&self) -> Result<usize, Fault> {
        worker::approvals::pass(&self.app.db, self.app.now()).await
    }

    /// Takes up lessons whose time came: how many.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn end_due_lessons(&self) -> Result<usize, Fault> {
        self.app.reactivate_due_lessons().await
    }

    /// Ends proposals that nobody touched for 30 days: how many.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn end_due_proposals(&self) -> Result<usize, Fault> {
        self.app.expire_due_proposals().await
    }

    /// Builds the snapshots that a change of the mesh's rules left behind: how many.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn follow_mesh(&self) -> Result<usize, Fault> {
        self.app.follow_mesh().await
    }

    /// Archives snapshots that nobody needs any more: how many.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn archive_old_snapshots(&self) -> Result<usize, Fault> {
        self.app.archive_old_snapshots().await
    }

    /// Works on back-tests until `stop`.
    pub fn backtests(&self, stop: CancellationToken) -> impl Future<Output = ()> + Send + use<> {
        worker::backtests::work(Arc::clone(&self.app), stop)
    }

    /// Looks at what is decided, for the shadows, until `stop`.
    pub fn shadows(&self, stop: CancellationToken) -> impl Future<Output = ()> + Send + use<> {
        worker::shadows::work(Arc::clone(&self.app), stop)
    }
}

/// Opens the store and builds the servers.
///
/// # Errors
/// When the store can't be opened, or an operation contract is wrong.
pub async fn service(config: Config, deps: &Deps) -> Result<Service, BootError> {
    let opened = Db::open(&deps.store, "policies", MIGRATIONS).await;
    let db = opened.map_err(|error| BootError::start("the store of policies", error.into()))?;
    let profile = Profile::from_code(deps.profile.name as i32).unwrap_or(Profile::Strict);
    let life = Life::new(&db, &deps.clock, deps.instance(), |event| {
        contracts_policies::v1::InstanceChanged { event: Some(event) }.encode_to_vec()
    });
    let parts = parts(db.clone(), Arc::clone(&deps.clock), profile, &config);
    let probed = Arc::clone(&parts.app);
    let (app, every) = (Arc::clone(&parts.app), Duration::from_millis(config.approvals_ms.max(1)));
    let shadows = Arc::clone(&parts.app);
    let (learning, pass) = (Arc::clone(&parts.app), Duration::from_millis(config.learning_ms.max(1)));
    let (followed, follow) = (Arc::clone(&parts.app), Duration::from_millis(config.snapshots_ms.max(1)));
    let service = Service::new("policies", contracts_policies::DESCRIPTORS, &parts.routes(), deps)?
        .probe("store", move || {
            let app = Arc::clone(&probed);
            async move { app.probe().await }
        })
        .worker("approvals", move |stop| worker::approvals::run(app, every, stop))
        .worker("learning", move |stop| worker::learning::run(learning, pass, stop))
        .worker("snapshots", move |stop| worker::snapshots::run(followed, follow, stop))
        .worker("backtests", move |stop| parts.backtests(stop))
        .worker("shadows", move |stop| worker::shadows::work(shadows, stop))
        .worker("life", move |stop| life.tell(stop.cancelled_owned()))
        .on_stop("store", move || async move {
            db.close().await;
            Ok(())
        });
    Ok(service)
}
