//! What is in force for a tenant: built in the commit of the change, or at the next need after a change of the mesh.

use contracts_policies::v1::SnapshotActivated;
use runspine_db::Tx;
use runspine_errors::Fault;
use runspine_policies_domain::{
    reasons,
    settings::Settings,
    snapshot::{SnapshotBody, snapshot_digest},
    words::{Profile, SnapshotState},
};
use runspine_types::{Digest, Micros, PLATFORM_TENANT, new_id};

use super::{
    App, Who,
    cache::Active,
    emit::{About, event},
    unreadable,
};
use crate::store::{
    rules,
    snapshots::{self, LayerRow, SnapshotRow},
};

/// A snapshot that was built and is in force now.
#[derive(Debug, Clone)]
pub(crate) struct Built {
    pub row: SnapshotRow,
    pub layer: LayerRow,
}

impl Built {
    /// Its digest.
    pub(crate) const fn digest(&self) -> Digest {
        self.row.digest
    }
}

/// The settings of a tenant, with their version; 0: the defaults of the profile.
pub(crate) async fn settings(tx: &mut Tx, tenant: &str, profile: Profile) -> Result<(u64, Settings), Fault> {
    match rules::settings(tx, tenant).await? {
        Some((version, body)) => Ok((version, serde_json::from_slice(&body).map_err(unreadable)?)),
        None => Ok((0, Settings::of(profile))),
    }
}

/// The digest of the snapshot in force, as the transaction sees it; none: none was built yet.
pub(crate) async fn in_force(tx: &mut Tx, tenant: &str) -> Result<Option<Digest>, Fault> {
    let Some(layer) = snapshots::layer(tx, tenant).await? else { return Ok(None) };
    Ok(snapshots::by_key(tx, tenant, layer.snapshot_key).await?.map(|s| s.digest))
}

/// Builds the snapshot of the tenant's present state and puts it in force. `changed`: the tenant's layer has changed.
pub(crate) async fn rebuild(
    tx: &mut Tx,
    who: &Who,
    profile: Profile,
    at: Micros,
    changed: bool,
) -> Result<Built, Fault> {
    let tenant = who.tenant.as_str();
    let before = snapshots::layer(tx, tenant).await?;
    let old = before.unwrap_or(LayerRow { version: 0, snapshot_key: 0, mesh_version: 0 });
    let version = old.version + i64::from(changed || before.is_none());
    let mesh_version = if tenant == PLATFORM_TENANT {
        version
    } else {
        snapshots::layer(tx, PLATFORM_TENANT).await?.map_or(0, |l| l.version)
    };
    let mesh = rules::in_force(tx, PLATFORM_TENANT, true).await?;
    let own = rules::in_force(tx, tenant, false).await?;
    let (_, settings) = settings(tx, tenant, profile).await?;
    let body = SnapshotBody::new(tenant, mesh, own, settings);
    let (bytes, count) = (body.bytes(), body.mesh.len() + body.tenant.len());
    let digest = snapshot_digest(&bytes);
    let row = snapshots::insert(tx, tenant, &new_id(), digest, bytes, count, at).await?;
    if row.state == SnapshotState::Invalid.code() {
        let text = "the state equals a snapshot that was found to be wrong: change a rule";
        return Err(Fault::new(&reasons::SNAPSHOT_INVALID, text));
    }
    if row.state != SnapshotState::Active.code() {
        activate(tx, who, &row, old.snapshot_key, at).await?;
    }
    let layer = LayerRow { version, snapshot_key: row.id, mesh_version };
    if before != Some(layer) {
        snapshots::put_layer(tx, tenant, layer).await?;
    }
    Ok(Built { row, layer })
}

async fn activate(tx: &mut Tx, who: &Who, row: &SnapshotRow, old: i64, at: Micros) -> Result<(), Fault> {
    let previous = snapshots::by_key(tx, &who.tenant, old).await?;
    if let Some(previous) = previous.as_ref().filter(|p| p.state == SnapshotState::Active.code()) {
        let (from, to) = (previous.state, SnapshotState::Superseded);
        snapshots::insert_transition(tx, previous.id, from, to, "SUPERSEDED", at).await?;
    }
    snapshots::insert_transition(tx, row.id, row.state, SnapshotState::Active, "ACTIVATED", at).await?;
    let data = SnapshotActivated {
        snapshot_id: row.snapshot_id.clone(),
        digest: row.digest.to_vec().into(),
        previous_digest: previous.map(|p| p.digest.to_vec().into()).unwrap_or_default(),
        rule_count: row.rule_count,
    };
    let about = About {
        entity_type: "snapshot",
        entity_id: row.snapshot_id.clone(),
        before: state_json(&data.previous_digest),
        after: state_json(&data.digest),
        ..About::default()
    };
    tx.emit_raw(event(who, "SnapshotActivated", about, &data, at));
    Ok(())
}

fn state_json(digest: &[u8]) -> String {
    let text = Digest::from_slice(digest).map(Digest::to_hex);
    text.map_or_else(String::new, |hex| format!("{{\"active_snapshot\":\"{hex}\"}}"))
}

/// Snapshots of one pass.
const MOST: i64 = 100;
/// How long a snapshot is kept ready after another took its place, microseconds: 90 days.
const KEPT: i64 = 90 * 86_400_000_000;

impl App {
    /// Builds the snapshots of tenants that a change of the mesh's rules left behind: how many. One that can't be built
    /// keeps no other one waiting; its tenant is told at the next need.
    pub(crate) async fn follow_mesh(&self) -> Result<usize, Fault> {
        let (profile, at, mut done) = (self.profile, self.now(), 0);
        for tenant in snapshots::behind(self.db.read(), MOST).await? {
            let who = Who::of_the_mesh(&tenant);
            let rebuilt = self.db.write("policies.follow_mesh", move |tx| {
                Box::pin(async move { rebuild(tx, &who, profile, at, false).await })
            });
            match rebuilt.await {
                Ok(_) => done += 1,
                Err(fault) if fault.is(&reasons::SNAPSHOT_INVALID) => {
                    tracing::warn!(%fault, tenant, "a snapshot is not what the mesh's rules make of it");
                }
                Err(fault) => return Err(fault),
            }
            self.cache.forget_active(&tenant);
        }
        Ok(done)
    }

    /// Archives snapshots that were superseded 90 days ago and that no live run is bound to: how many. Their bytes stay;
    /// their compiled form is dropped.
    pub(crate) async fn archive_old_snapshots(&self) -> Result<usize, Fault> {
        let at = self.now();
        let before = Micros(at.0.saturating_sub(KEPT));
        let old = snapshots::outlived(self.db.read(), before, MOST).await?;
        let archived = self.db.write("policies.archive_snapshots", move |tx| {
            Box::pin(async move {
                let mut archived = Vec::new();
                for (tenant, key) in old {
                    let row = snapshots::by_key(tx, &tenant, key).await?;
                    let superseded = SnapshotState::Superseded.code();
                    // What came into force again in between stays as it is.
                    let Some(row) = row.filter(|row| row.state == superseded) else { continue };
                    let reason = "nobody was judged by it for 90 days";
                    snapshots::insert_transition(tx, key, row.state, SnapshotState::Archived, reason, at)
                        .await?;
                    archived.push(row.digest);
                }
                Ok(archived)
            })
        });
        let archived: Vec<Digest> = archived.await?;
        archived.iter().for_each(|digest| self.cache.forget_snapshot(*digest));
        Ok(archived.len())
    }

    /// The snapshot that a run started now is judged by, compiled.
    pub(crate) async fn active(&self, who: &Who) -> Result<Active, Fault> {
        if let Some(active) = self.cache.active(&who.tenant) {
            return Ok(active);
        }
        let (caller, profile, at) = (who.clone(), self.profile, self.now());
        let rebuilt = self.db.write("build_snapshot", move |tx| {
            Box::pin(async move { rebuild(tx, &caller, profile, at, false).await })
        });
        let built = rebuilt.await?;
        self.keep_active(who, built).await
    }

    async fn keep_active(&self, who: &Who, built: Built) -> Result<Active, Fault> {
        let digest = built.digest();
        let compiled = self.cache.snapshot(&self.db, &who.tenant, digest).await;
        let compiled = compiled.map_err(super::cache::LoadError::into_fault)?;
        let active = Active {
            key: built.row.id,
            snapshot_id: built.row.snapshot_id,
            compiled,
            version: built.layer.version,
            mesh_version: built.layer.mesh_version,
            recall: built.row.recall,
        };
        self.cache.set_active(&who.tenant, active.clone());
        Ok(active)
    }
}
