//! GetPolicyHealth: every part is probed, all at once, each for a time of its own.

use std::sync::OnceLock;

use contracts_policies::v1 as pb;
use futures::future::join_all;
use runspine_boot::{Found, Part};
use runspine_errors::Fault;
use runspine_policies_domain::{
    compile::CompiledSnapshot,
    health::{Subsystem, enough_kept, probe, probed},
    snapshot::snapshot_digest,
};
use runspine_rpc::timestamp;
use runspine_types::Micros;

use super::{App, Who, cache::LoadError};
use crate::store::{health, snapshots};

impl App {
    /// Probes every part.
    pub(crate) async fn health(&self, who: &Who) -> pb::GetPolicyHealthResponse {
        let at = self.now();
        // Compiled before a clock runs: what is timed is the evaluation.
        let _ = fixed();
        let subsystems = join_all(Subsystem::ALL.map(|of| self.probed(who, of, at))).await;
        pb::GetPolicyHealthResponse {
            status: subsystems.iter().map(|s| s.status).max().unwrap_or_default(),
            subsystems,
            checked_at: Some(timestamp(at)),
        }
    }

    async fn probed(&self, who: &Who, of: Subsystem, at: Micros) -> pb::SubsystemHealth {
        let part = Part { name: of.as_str(), slow_us: of.slow_us() };
        let found = self.probes.probe(part, at, self.probe_of(who, of, at)).await;
        pb::SubsystemHealth {
            name: found.name.to_owned(),
            status: found.health as i32,
            latency_ms: found.latency_ms,
            last_success: found.last_success.map(timestamp),
            detail: found.detail,
            version: env!("CARGO_PKG_VERSION").to_owned(),
        }
    }

    async fn probe_of(&self, who: &Who, of: Subsystem, at: Micros) -> Result<Found, Fault> {
        let read = self.db.read();
        let age = |since: Option<Micros>| Found::Waiting {
            us: since.map(|s| at.0.saturating_sub(s.0).max(0)),
            most_us: of.patience_us(),
        };
        Ok(match of {
            Subsystem::Evaluator => evaluator()?,
            Subsystem::DecisionStore => self.write_and_read(at).await?,
            Subsystem::SnapshotStore => self.load_in_force(who).await?,
            Subsystem::SliceCache => {
                let (asked, hit) = self.hits.recent();
                let text = format!("{hit} of {asked} slices of the last 5 minutes were kept");
                if enough_kept(asked, hit) { Found::Works(text) } else { Found::Flawed(text) }
            }
            Subsystem::Monitors => self.lock_a_state(who).await?,
            Subsystem::Approvals => age(health::waiting(read, health::APPROVALS, at).await?),
            Subsystem::Lessons => age(health::waiting(read, health::LESSONS, at).await?),
            Subsystem::Sandbox => age(health::waiting(read, health::BACKTESTS, at).await?),
            Subsystem::Outbox => age(self.db.outbox().oldest_unsent().await?),
        })
    }

    async fn write_and_read(&self, at: Micros) -> Result<Found, Fault> {
        self.db
            .write("policies.probe", move |tx| Box::pin(async move { Ok(health::write(tx, at).await?) }))
            .await?;
        Ok(match health::read(self.db.read()).await? {
            Some(stored) if stored >= at => Found::Works(String::new()),
            _ => Found::Flawed("the row that was written is not what is read".to_owned()),
        })
    }

    /// The bytes of the snapshot in force are those of its digest, and it compiles.
    async fn load_in_force(&self, who: &Who) -> Result<Found, Fault> {
        let invalid = health::invalid(self.db.read()).await?;
        if invalid > 0 {
            return Ok(Found::Flawed(format!("{invalid} tenants stand on a snapshot that is INVALID")));
        }
        let Some(row) = snapshots::in_force(self.db.read(), &who.tenant).await? else {
            return Ok(Found::Works(String::new()));
        };
        if snapshot_digest(&row.bytes) != row.digest {
            return Ok(Found::Flawed("the bytes of the snapshot in force do not fit its digest".to_owned()));
        }
        match self.cache.snapshot(&self.db, &who.tenant, row.digest).await {
            Ok(_) => Ok(Found::Works(String::new())),
            Err(LoadError::Store(fault)) => Err(fault),
            Err(wrong) => Ok(Found::Flawed(wrong.into_fault().to_string())),
        }
    }

    async fn lock_a_state(&self, who: &Who) -> Result<Found, Fault> {
        self.monitors.lock_nobodys(&who.tenant).await;
        let lock = self.db.write("policies.probe", |tx| Box::pin(async move { Ok(health::lock(tx).await?) }));
        lock.await?;
        health::state(self.db.read()).await?;
        Ok(Found::Works(String::new()))
    }
}

fn evaluator() -> Result<Found, Fault> {
    match fixed().as_ref().map_err(Clone::clone).and_then(probe) {
        Ok(()) => Ok(Found::Works(String::new())),
        Err(what) => Err(Fault::new(&runspine_errors::mesh::INTERNAL, what)),
    }
}

/// The rules that the evaluator is probed with.
fn fixed() -> &'static Result<CompiledSnapshot, String> {
    static SNAPSHOT: OnceLock<Result<CompiledSnapshot, String>> = OnceLock::new();
    SNAPSHOT.get_or_init(probed)
}
