//! GetControlsHealth: every part is probed, all at once, each for a time of its own.

use contracts_controls::v1 as pb;
use runspine_boot::{Found, Part, PartHealth};
use runspine_errors::{Fault, mesh};
use runspine_rpc::timestamp;
use runspine_types::Micros;

use super::{App, EXPIRY_MS, epochs};
use crate::store::{health, views};

const STORE: Part = Part { name: "store", slow_us: Some(50_000) };
const EPOCH_WATCH: Part = Part { name: "epoch_watch", slow_us: Some(500_000) };
const SWEEPER: Part = Part { name: "sweeper", slow_us: None };
const PERIODS: Part = Part { name: "periods", slow_us: None };
const OUTBOX: Part = Part { name: "outbox", slow_us: None };

/// How late the sweeper may be, microseconds: a hold is gone 10 s after its lease lapsed.
const SWEPT_US: i64 = 5_000_000;
/// How long an event may wait, microseconds.
const SENT_US: i64 = 10_000_000;

impl App {
    /// Probes every part.
    pub async fn health(&self) -> pb::GetControlsHealthResponse {
        let at = self.clock.now();
        let parts = &self.parts;
        let (store, watch, sweeper, periods, outbox) = tokio::join!(
            parts.probe(STORE, at, self.write_and_read(at)),
            parts.probe(EPOCH_WATCH, at, self.begin_to_watch()),
            parts.probe(SWEEPER, at, self.oldest_lapse(at)),
            parts.probe(PERIODS, at, self.add_up()),
            parts.probe(OUTBOX, at, self.oldest_event(at)),
        );
        let subsystems: Vec<_> = [store, watch, sweeper, periods, outbox].into_iter().map(shown).collect();
        pb::GetControlsHealthResponse {
            status: subsystems.iter().map(|s| s.status).max().unwrap_or_default(),
            subsystems,
            checked_at: Some(timestamp(at)),
        }
    }

    async fn write_and_read(&self, at: Micros) -> Result<Found, Fault> {
        self.db
            .write("controls.probe", move |tx| Box::pin(async move { Ok(health::write(tx, at).await?) }))
            .await?;
        Ok(match health::read(self.db.read()).await? {
            Some(stored) if stored >= at => Found::Works(String::new()),
            _ => Found::Flawed("the row that was written is not what is read".to_owned()),
        })
    }

    /// Begins to watch as a replica of the spine does, and is told what is stored.
    async fn begin_to_watch(&self) -> Result<Found, Fault> {
        let stored = views::epoch(self.db.read()).await?;
        let mut watch = epochs::unnamed(self.clone());
        let first = watch.0.recv().await;
        let ended = |why: &str| Fault::new(&mesh::INTERNAL, format!("the watch ended: {why}"));
        let told =
            first.ok_or_else(|| ended("it said nothing"))?.map_err(|status| ended(status.message()))?;
        Ok(if told.epoch >= stored {
            Found::Works(format!("replicas that follow here: {}", self.watchers.names().len()))
        } else {
            Found::Flawed(format!("the watch tells epoch {}, the store has {stored}", told.epoch))
        })
    }

    async fn oldest_lapse(&self, at: Micros) -> Result<Found, Fault> {
        let due = at.plus_millis(-EXPIRY_MS);
        let oldest = health::unswept(self.db.read(), due).await?;
        Ok(Found::Waiting { us: oldest.map(|lapsed| due.0.saturating_sub(lapsed.0)), most_us: SWEPT_US })
    }

    /// What a period has out is what its runs have: of the period that was worked on last.
    async fn add_up(&self) -> Result<Found, Fault> {
        Ok(match health::newest_period(self.db.read()).await? {
            Some((envelope, own, runs)) if own != runs => {
                Found::Flawed(format!("envelope {envelope} has {own} out, and its runs have {runs}"))
            }
            _ => Found::Works(String::new()),
        })
    }

    async fn oldest_event(&self, at: Micros) -> Result<Found, Fault> {
        let oldest = self.db.outbox().oldest_unsent().await?;
        Ok(Found::Waiting { us: oldest.map(|since| at.0.saturating_sub(since.0).max(0)), most_us: SENT_US })
    }
}

fn shown(part: PartHealth) -> pb::SubsystemHealth {
    pb::SubsystemHealth {
        name: part.name.to_owned(),
        status: part.health as i32,
        latency_ms: part.latency_ms,
        last_success: part.last_success.map(timestamp),
        detail: part.detail,
        version: env!("CARGO_PKG_VERSION").to_owned(),
    }
}
