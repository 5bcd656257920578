//! The proof that a freeze holds: read from what was admitted and from what was heard, and kept once it is reached.

use std::collections::HashMap;

use contracts_controls::v1 as pb;
use prost::Message as _;
use runspine_controls_domain::{
    containment::{Facts, Open, State, Status, replica, standing, status},
    freeze::Freeze,
};
use runspine_db::{Snapshot, Tx};
use runspine_errors::Fault;
use runspine_rpc::timestamp;
use runspine_types::{Digest, Hasher, Micros, PLATFORM_TENANT};

use super::{
    App, defect,
    freezes::{about, not_found},
    records::Caller,
};
use crate::{
    metrics,
    store::{
        containment::{self as store, ScopedRun},
        events::publish,
        rows::{FreezeRow, lease_state, scope_of},
        views,
    },
};

/// Rows of a list in a proof.
const MOST_ROWS: usize = 10_000;

/// Runs of a proof by key, and how many stand where.
struct Runs {
    shown: Vec<pb::ContainedRun>,
    by_key: HashMap<i64, (String, String, u32)>,
    acknowledged: i64,
    lapsed: i64,
    unknown: i64,
}

impl App {
    /// The proof of a freeze that the tenant may see, and its digest when it was kept.
    ///
    /// # Errors
    /// `FREEZE_NOT_FOUND`.
    pub async fn containment(&self, tenant: &str, id: &str) -> Result<pb::GetContainmentResponse, Fault> {
        let row = views::freeze(self.db.read(), tenant, id).await?.ok_or_else(not_found)?;
        let (mut proof, mut digest) = self.proof(&row).await?;
        if row.tenant_id.is_empty() && tenant != PLATFORM_TENANT {
            // A tenant sees of a freeze of the mesh what concerns it; the digest is of the whole.
            proof.runs.retain(|run| run.tenant_id == tenant);
            proof.in_flight.retain(|step| step.tenant_id == tenant);
            proof.last_authorization = None;
            digest.clear();
        }
        Ok(pb::GetContainmentResponse { proof: Some(proof), proof_digest: digest })
    }

    /// Notes what a replica has confirmed and which agents took the notice, and judges the freeze anew.
    ///
    /// # Errors
    /// `FREEZE_NOT_FOUND`.
    pub async fn acknowledge(
        &self,
        tenant: &str,
        request: pb::AckContainmentRequest,
    ) -> Result<pb::AckContainmentResponse, Fault> {
        let row = views::freeze(self.db.read(), tenant, &request.freeze_id).await?.ok_or_else(not_found)?;
        let (now, epoch) = (self.clock.now(), row.epoch);
        let runs: Vec<(String, u32)> = request.runs.into_iter().map(|r| (r.run_id, r.attempt)).collect();
        let (replica, confirmed) = (request.replica, request.confirmed_epoch);
        self.db
            .write("ack_containment", move |tx| {
                Box::pin(async move {
                    let of = (replica.as_str(), confirmed);
                    Ok::<_, Fault>(store::acknowledge(tx, epoch, of, &runs, now).await?)
                })
            })
            .await?;
        let status = self.judge(&row).await?;
        Ok(pb::AckContainmentResponse { status: status.code() })
    }

    /// Finds out how far a freeze has come, and keeps the proof when that is new.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn judge(&self, row: &FreezeRow) -> Result<Status, Fault> {
        let (proof, _) = self.proof(row).await?;
        let found = Status::from_code(proof.status).ok_or_else(|| defect("a proof without a status"))?;
        if found != Status::Containing && proof.contained_at.is_none() {
            let (row, now) = (row.clone(), self.clock.now());
            let kept = self.db.write("keep_containment", move |tx| {
                Box::pin(async move { keep(tx, &row, proof, found, now).await })
            });
            kept.await?;
        }
        Ok(found)
    }

    /// Judges every freeze that is not contained; how many there were.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn judge_all(&self, since: Micros) -> Result<usize, Fault> {
        let rows = store::pending(self.db.read(), Status::Contained.code(), since).await?;
        for row in &rows {
            self.judge(row).await?;
        }
        Ok(rows.len())
    }

    /// The kept proof when nothing contradicts it, else the present state of things.
    async fn proof(&self, row: &FreezeRow) -> Result<(pb::ContainmentProof, bytes::Bytes), Fault> {
        let mut snapshot = self.db.read().snapshot().await?;
        let freeze = row.freeze()?;
        let after = authorizations_after(&mut snapshot, row, &freeze).await?;
        let contained = Status::Contained.code();
        if after == 0
            && let Some((bytes, digest)) = store::kept(self.db.read(), row.epoch, contained).await?
        {
            let unreadable = |_| defect("a kept proof can't be read");
            return Ok((pb::ContainmentProof::decode(bytes).map_err(unreadable)?, digest));
        }
        let proof = gather(&mut snapshot, row, after, self.clock.now()).await?;
        Ok((proof, bytes::Bytes::new()))
    }
}

/// Admissions in scope that were allowed while the freeze held, counted from the evidence.
async fn authorizations_after(
    snapshot: &mut Snapshot,
    row: &FreezeRow,
    freeze: &Freeze,
) -> Result<i64, Fault> {
    let end_epoch = if row.lifted_epoch == 0 { i64::MAX.unsigned_abs() } else { row.lifted_epoch };
    let end = row.expires_at.unwrap_or(Micros(i64::MAX));
    let mut count = 0;
    for (key, tenant, run_id, scope) in store::allowed_since(snapshot, &row.tenant_id, row.epoch).await? {
        if freeze.covers(&scope_of(&tenant, &run_id, &scope)?) {
            count += store::allowed_within(snapshot, key, (row.epoch, end_epoch), end).await?;
        }
    }
    Ok(count)
}

async fn gather(
    snapshot: &mut Snapshot,
    row: &FreezeRow,
    authorizations_after: i64,
    now: Micros,
) -> Result<pb::ContainmentProof, Fault> {
    let runs = runs(store::runs(snapshot, row.epoch).await?, row.epoch, now);
    let replicas: Vec<pb::ContainedReplica> = store::replicas(snapshot, row.epoch)
        .await?
        .into_iter()
        .map(|(name, confirmed)| pb::ContainedReplica {
            replica: name,
            confirmed_epoch: confirmed,
            state: replica(confirmed, row.epoch).code(),
        })
        .collect();
    let flying = store::in_flight(snapshot, row.epoch).await?;
    let unknown = replicas.iter().filter(|r| r.state == State::Unknown.code()).count();
    let open = Open {
        authorizations_after,
        unknown_runs: runs.unknown,
        unknown_replicas: count(unknown),
        in_flight: count(flying.len()),
    };
    let in_flight = flying.into_iter().take(MOST_ROWS).map(|(key, step, hold_id, since)| {
        let (tenant_id, run_id, attempt) = runs.by_key.get(&key).cloned().unwrap_or_default();
        let step_index = u32::try_from(step).unwrap_or(0);
        pb::InFlightStep { tenant_id, run_id, attempt, step_index, hold_id, since: since.map(timestamp) }
    });
    Ok(pb::ContainmentProof {
        freeze_id: row.freeze_id.clone(),
        epoch: row.epoch,
        committed_at: Some(timestamp(row.committed_at)),
        authorizations_after,
        last_authorization: store::last(snapshot, row.epoch).await?.map(last_to),
        in_flight: in_flight.collect(),
        runs: runs.shown,
        replicas,
        status: status(open, row.committed_at, now).code(),
        contained_at: None,
        time_to_containment_ms: 0,
        acknowledged_runs: runs.acknowledged,
        lapsed_runs: runs.lapsed,
        unknown_runs: runs.unknown,
        in_flight_steps: open.in_flight,
    })
}

fn runs(rows: Vec<ScopedRun>, epoch: u64, now: Micros) -> Runs {
    let mut runs = Runs { shown: Vec::new(), by_key: HashMap::new(), acknowledged: 0, lapsed: 0, unknown: 0 };
    for row in rows {
        let facts = Facts {
            ended: row.state == lease_state::ENDED,
            lapsed: row.state == lease_state::LAPSED,
            expires_at: row.expires_at,
            epoch_seen: row.epoch_seen,
            stream_confirmed: row.heard > 0,
        };
        let (state, evidence) = standing(facts, epoch, now);
        match state {
            State::Acknowledged => runs.acknowledged += 1,
            State::Lapsed => runs.lapsed += 1,
            State::Unknown => runs.unknown += 1,
        }
        runs.by_key.insert(row.run_key, (row.tenant_id.clone(), row.run_id.clone(), row.attempt));
        runs.shown.push(pb::ContainedRun {
            tenant_id: row.tenant_id,
            run_id: row.run_id,
            attempt: row.attempt,
            state: state.code(),
            evidence: evidence.map_or(0, |e| e.code()),
        });
    }
    runs.shown.sort_by_key(|run| run.state != State::Unknown.code());
    runs.shown.truncate(MOST_ROWS);
    runs
}

fn last_to((run_id, attempt, step, decision_id, epoch, at): store::Admitted) -> pb::LastAuthorization {
    let (step_index, at) = (u32::try_from(step).ok(), Some(timestamp(at)));
    pb::LastAuthorization { decision_id, run_id, attempt, step_index, epoch, at }
}

fn count(rows: usize) -> i64 {
    i64::try_from(rows).unwrap_or(i64::MAX)
}

/// Keeps a proof and tells of it, once for each status.
async fn keep(
    tx: &mut Tx,
    row: &FreezeRow,
    mut proof: pb::ContainmentProof,
    found: Status,
    now: Micros,
) -> Result<(), Fault> {
    if found == Status::Contained {
        proof.contained_at = Some(timestamp(now));
        proof.time_to_containment_ms = now.millis_since(row.committed_at);
        metrics::CONTAINMENT.record(proof.time_to_containment_ms as f64 / 1_000.0, &[]);
    }
    let bytes = proof.encode_to_vec();
    let digest: Digest = Hasher::new("runspine.containment.v1").sized(&bytes).finish();
    if !store::keep(tx, row.epoch, found.code(), bytes, digest, now).await? {
        return Ok(());
    }
    let caller =
        Caller::mesh(if row.tenant_id.is_empty() { PLATFORM_TENANT } else { row.tenant_id.as_str() });
    let mut about = about(row, "", "", "");
    about.after = format!(
        "{{\"acknowledged_runs\":{},\"authorizations_after\":{},\"epoch\":{},\"in_flight_steps\":{},\"lapsed_runs\":{},\
         \"proof_digest\":\"{digest}\",\"status\":\"{}\",\"unknown_runs\":{}}}",
        proof.acknowledged_runs,
        proof.authorizations_after,
        proof.epoch,
        proof.in_flight_steps,
        proof.lapsed_runs,
        found.name(),
        proof.unknown_runs
    );
    if found == Status::Contained {
        let data = pb::ContainmentReached { proof: Some(proof), proof_digest: digest.to_vec().into() };
        publish(tx, &caller, "ContainmentReached", about, &data, now);
    } else {
        tracing::warn!(
            freeze_id = row.freeze_id,
            alert = "CONTAINMENT_UNCONFIRMED",
            "a freeze is not contained"
        );
        let data = pb::ContainmentUnconfirmed { proof: Some(proof) };
        publish(tx, &caller, "ContainmentUnconfirmed", about, &data, now);
    }
    Ok(())
}
