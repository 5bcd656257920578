//! Snapshots: shown, verified, recalled.

use std::{collections::BTreeMap, sync::Arc};

use contracts_policies::v1 as pb;
use runspine_db::Tx;
use runspine_errors::Fault;
use runspine_policies_domain::{
    compile::{CompiledRule, CompiledSnapshot},
    reasons,
    rule::check_reason,
    schema,
    words::SnapshotState,
};
use runspine_rpc::timestamp;
use runspine_types::{Digest, Micros, new_id};

use super::{
    App, Keyed, Who,
    approval::change::cancel,
    cache::{Cache, LoadError},
    emit::{About, event},
};
use crate::{
    config::Config,
    present,
    store::{
        approvals,
        snapshots::{self, RecallRow, SnapshotRow},
    },
};

fn not_found() -> Fault {
    Fault::new(&reasons::SNAPSHOT_NOT_FOUND, "there is no such snapshot")
}

/// A snapshot as a message; with its rules when it is compiled.
pub(crate) fn message(row: &SnapshotRow, compiled: Option<(&CompiledSnapshot, u64, bool)>) -> pb::Snapshot {
    let rules =
        compiled.map(|(c, _, text)| c.rules.iter().map(|r| present::snapshot_rule(r, text)).collect());
    let settings = compiled.map(|(c, version, _)| present::settings(version, &c.settings));
    let rules: Vec<pb::SnapshotRule> = rules.unwrap_or_default();
    let count =
        if rules.is_empty() { row.rule_count } else { u32::try_from(rules.len()).unwrap_or(u32::MAX) };
    pb::Snapshot {
        snapshot_id: row.snapshot_id.clone(),
        digest: row.digest.to_vec().into(),
        state: row.state,
        rules,
        rule_count: count,
        settings,
        schema_digest: schema::digest().to_vec().into(),
        created_at: Some(timestamp(row.created_at)),
        recalled: row.recall != 0,
    }
}

impl App {
    /// One snapshot with its rules.
    pub(crate) async fn snapshot(
        &self,
        who: &Who,
        digest: Digest,
        text: bool,
    ) -> Result<pb::Snapshot, Fault> {
        let row = snapshots::read_by_digest(self.db.read(), &who.tenant, digest).await?;
        let row = row.ok_or_else(not_found)?;
        let compiled: Arc<CompiledSnapshot> =
            self.cache.snapshot(&self.db, &who.tenant, digest).await.map_err(LoadError::into_fault)?;
        Ok(message(&row, Some((&compiled, 0, text))))
    }

    /// The snapshot in force, built when there is none.
    pub(crate) async fn active_snapshot(&self, who: &Who, text: bool) -> Result<pb::Snapshot, Fault> {
        let active = self.active(who).await?;
        self.snapshot(who, active.compiled.digest, text).await
    }

    /// What differs between two snapshots; `to` none: the one in force.
    pub(crate) async fn diff_snapshots(
        &self,
        who: &Who,
        from: Digest,
        to: Option<Digest>,
    ) -> Result<pb::DiffSnapshotsResponse, Fault> {
        let from = self.cache.snapshot(&self.db, &who.tenant, from).await.map_err(LoadError::into_fault)?;
        let to = match to {
            None => self.active(who).await?.compiled,
            Some(to) => {
                self.cache.snapshot(&self.db, &who.tenant, to).await.map_err(LoadError::into_fault)?
            }
        };
        let by_id = |s: &CompiledSnapshot| -> BTreeMap<String, Arc<CompiledRule>> {
            s.rules.iter().map(|r| (r.meaning.rule_id.clone(), Arc::clone(r))).collect()
        };
        let (old, new) = (by_id(&from), by_id(&to));
        let shown = |r: &Arc<CompiledRule>| present::snapshot_rule(r, true);
        let mut diff = pb::DiffSnapshotsResponse {
            added: new.iter().filter(|(id, _)| !old.contains_key(*id)).map(|(_, r)| shown(r)).collect(),
            removed: old.iter().filter(|(id, _)| !new.contains_key(*id)).map(|(_, r)| shown(r)).collect(),
            ..Default::default()
        };
        let both = old.iter().filter_map(|(id, a)| new.get(id).map(|b| (a, b)));
        let changed = both.filter(|(a, b)| a.digest != b.digest);
        diff.changed = changed
            .map(|(a, b)| pb::SnapshotRuleChange { from: Some(shown(a)), to: Some(shown(b)) })
            .collect();
        if from.settings != to.settings {
            diff.settings_from = Some(present::settings(0, &from.settings));
            diff.settings_to = Some(present::settings(0, &to.settings));
        }
        Ok(diff)
    }

    /// Recomputes and recompiles a snapshot from what is stored, past every cache.
    pub(crate) async fn verify_snapshot(
        &self,
        who: &Who,
        request: &pb::VerifySnapshotRequest,
        digest: Digest,
    ) -> Result<pb::VerifySnapshotResponse, Fault> {
        let row = snapshots::read_by_digest(self.db.read(), &who.tenant, digest).await?;
        let row = row.ok_or_else(not_found)?;
        let small = Config { slices: 1, snapshots: 1, rules: 1, runs: 1, steps: 1, ..Config::default() };
        let found = match Cache::new(&small).compile(&self.db, &who.tenant, &row).await {
            Ok(_) => {
                pb::VerifySnapshotResponse { result: pb::VerifyResult::Verified.into(), ..Default::default() }
            }
            Err(LoadError::Invalid { bad_rule, detail, mismatch }) => {
                let result =
                    if mismatch { pb::VerifyResult::Mismatch } else { pb::VerifyResult::Uncompilable };
                pb::VerifySnapshotResponse { result: result.into(), bad_rule_id: bad_rule, detail }
            }
            Err(LoadError::Missing) => return Err(not_found()),
            Err(LoadError::Store(fault)) => return Err(fault),
        };
        let bad = found.result() != pb::VerifyResult::Verified;
        let key = Keyed::by_request_id("policies.VerifySnapshot", &request.request_id, request);
        let at = self.now();
        let done = self.keyed(who, key, move |tx| Box::pin(verified(tx, row, found, at))).await;
        if bad {
            self.cache.forget_snapshot(digest);
            self.cache.forget_active(&who.tenant);
        }
        done
    }

    /// Recalls a snapshot, for good.
    pub(crate) async fn recall_snapshot(
        &self,
        who: &Who,
        request: &pb::RecallSnapshotRequest,
        digest: Digest,
    ) -> Result<pb::RecallSnapshotResponse, Fault> {
        check_reason(&request.reason)?;
        let key = Keyed::by_request_id("policies.RecallSnapshot", &request.request_id, request);
        let recall = Recall { who: who.clone(), request: request.clone(), digest, at: self.now() };
        let done = self.keyed(who, key, move |tx| Box::pin(store_recall(tx, recall))).await;
        self.cache.forget_active(&who.tenant);
        done
    }
}

async fn verified(
    tx: &mut Tx,
    row: SnapshotRow,
    found: pb::VerifySnapshotResponse,
    at: Micros,
) -> Result<pb::VerifySnapshotResponse, Fault> {
    let known = row.state == SnapshotState::Invalid.code();
    if found.result() != pb::VerifyResult::Verified && !known {
        snapshots::insert_transition(tx, row.id, row.state, SnapshotState::Invalid, &found.detail, at)
            .await?;
    }
    Ok(found)
}

struct Recall {
    who: Who,
    request: pb::RecallSnapshotRequest,
    digest: Digest,
    at: Micros,
}

async fn store_recall(tx: &mut Tx, recall: Recall) -> Result<pb::RecallSnapshotResponse, Fault> {
    let Recall { who, request, digest, at } = recall;
    let row = snapshots::by_digest(tx, &who.tenant, digest).await?.ok_or_else(not_found)?;
    let runs_bound = snapshots::live_runs(tx, row.id).await?;
    let recall_id = new_id();
    let stored = RecallRow {
        snapshot_key: row.id,
        recall_id: &recall_id,
        directive: request.directive,
        reason: &request.reason,
        actor_id: &who.actor.id,
        runs_bound,
        at,
    };
    if !snapshots::insert_recall(tx, &stored).await? {
        let text = "the snapshot was recalled before";
        return Err(Fault::new(&runspine_errors::mesh::IDEMPOTENCY_MISMATCH, text));
    }
    let waiting = approvals::live_of_snapshot(tx, &who.tenant, digest).await?;
    cancel(tx, &who, waiting, "the snapshot was recalled", at).await?;
    let data = pb::SnapshotRecalled {
        recall_id: recall_id.clone(),
        digest: digest.to_vec().into(),
        directive: request.directive,
        runs_bound,
    };
    let about = About {
        entity_type: "snapshot",
        entity_id: row.snapshot_id,
        reason: request.reason.clone(),
        before: "{\"recalled\":false}".to_owned(),
        after: "{\"recalled\":true}".to_owned(),
        ..About::default()
    };
    tx.emit_raw(event(&who, "SnapshotRecalled", about, &data, at));
    Ok(pb::RecallSnapshotResponse { recall_id, runs_bound })
}
