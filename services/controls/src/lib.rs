//! `controls` decides how much a run may use, and stops it.
//!
//! Limits and their envelopes, the escrow and holds of runs, freezes, and the evidence of every decision.

pub mod app;
mod config;
mod metrics;
pub mod rpc;
pub mod store;
pub mod words;
pub mod worker;

use std::{sync::Arc, time::Duration};

use prost::Message as _;
use runspine_boot::{BootError, Deps, Service};
use runspine_db::Db;
use runspine_events::Life;

pub use config::{Config, CostSimConfig, Guardrails};

use crate::app::App;

/// The domain as a value: its store opened, its servers built.
///
/// # Errors
/// When the settings are wrong, the store can't be opened, or a contract is.
pub async fn service(config: Config, deps: &Deps) -> Result<Service, BootError> {
    config.check()?;
    let opened = Db::open(&deps.store, "controls", store::MIGRATIONS).await;
    let db = opened.map_err(|error| BootError::start("the store of controls", error.into()))?;
    let life = Life::new(&db, &deps.clock, deps.instance(), |event| {
        contracts_controls::v1::InstanceChanged { event: Some(event) }.encode_to_vec()
    });
    let guardrails = Some(config.guardrails.defaults());
    let app = App::new(db.clone(), Arc::clone(&deps.clock), guardrails).with_costsim(config.costsim.into());
    let (probed, closed, swept) = (db.clone(), db, app.clone());
    let (judging, noting, telling, guarding, sampled, learning) =
        (app.clone(), app.clone(), app.clone(), app.clone(), app.clone(), app.clone());
    let every = Duration::from_millis(config.sweep_ms);
    let service = Service::new("controls", contracts_controls::DESCRIPTORS, &rpc::routes(app), deps)?
        .worker("sweeper", move |stop| worker::sweep(swept, every, stop))
        .worker("containment", move |stop| worker::judge(judging, stop))
        .worker("guardrails", move |stop| worker::guard(guarding, stop))
        .worker("overrides", move |stop| worker::tell(telling, stop))
        .worker("estimates", move |stop| worker::learn(learning, stop))
        .worker("gauges", move |stop| worker::sample(sampled, stop))
        .worker("replicas", move |stop| worker::present(noting, stop))
        .worker("life", move |stop| life.tell(stop.cancelled_owned()))
        .probe("store", move || {
            let db = probed.clone();
            async move {
                store::views::epoch(db.read()).await?;
                Ok(())
            }
        })
        .on_stop("store", move || async move {
            closed.close().await;
            Ok(())
        });
    Ok(service)
}
