//! Ends a replay: what it found, the mismatch that it files, and the entry on the ledger, in one commit.

use bytes::Bytes;
use contracts_common::common::v1::CallContext;
use contracts_logs::v1::{
    ComparisonResult, FinishReplayResponse, Replay, ReplayCheck, ReplayFinished, ReplayResult, ReplayState,
};
use prost::Message as _;
use runspine_db::Tx;
use runspine_errors::Fault;
use runspine_logs_domain::{
    bytes::timestamp,
    reasons,
    replay::{Found, Recording, found},
};
use runspine_types::{Digest, Micros, new_id};

use super::{
    closed, missing, unreadable,
    view::{ordered, present},
};
use crate::{
    app::{
        App,
        announce::announce,
        audit::told::{Caused, Told},
        mismatches::file,
        once::Once,
    },
    store::{
        mismatches::MismatchRow,
        replays::{self, ReplayRow},
        traces,
    },
};

/// Replays that are ended at a time.
const DUE: i64 = 100;

/// What ending a replay needs.
struct Ending {
    tenant_id: String,
    replay_id: String,
    recording: Recording,
    /// The seed of the run.
    seed: i64,
    caused: Caused,
    now: Micros,
}

impl App {
    /// Ends a replay and gives the answer as it is kept.
    ///
    /// # Errors
    /// REPLAY_NOT_FOUND, REPLAY_CLOSED, IDEMPOTENCY_MISMATCH, or when the store can't be read or written.
    pub async fn finish_replay(
        &self,
        call: &CallContext,
        (once, replay_id): (Once, String),
    ) -> Result<Bytes, Fault> {
        let ending = self.ending(&call.tenant_id, replay_id, Caused::by(call)).await?;
        self.once(once, move |tx| {
            Box::pin(async move { Ok(FinishReplayResponse { replay: Some(ending.run(tx).await?) }) })
        })
        .await
    }

    /// Ends the replays whose time is over, and forgets keys that expired; gives how many it ended. One that can't be
    /// ended is told and holds up no other.
    ///
    /// # Errors
    /// When it can't be read which are due, or the keys can't be forgotten.
    pub async fn expire_replays(&self) -> Result<usize, Fault> {
        let now = self.clock.now();
        let mut ended = 0;
        for (tenant_id, replay_id) in replays::due(self.db.read(), now, DUE).await? {
            match self.expire_replay(&tenant_id, &replay_id).await {
                Ok(()) => ended += 1,
                // Its caller was faster.
                Err(fault) if fault.is(&reasons::REPLAY_CLOSED) => {}
                Err(fault) => tracing::warn!(replay_id, %fault, "a replay can't be ended; it is tried again"),
            }
        }
        self.db
            .write("forget_replay_keys", move |tx| {
                Box::pin(async move { Ok(replays::forget_keys(tx, now).await?) })
            })
            .await?;
        Ok(ended)
    }

    async fn expire_replay(&self, tenant_id: &str, replay_id: &str) -> Result<(), Fault> {
        let ending = self.ending(tenant_id, replay_id.to_owned(), Caused::default()).await?;
        self.db.write("expire_replay", move |tx| Box::pin(ending.run(tx))).await.map(drop)
    }

    async fn ending(&self, tenant_id: &str, replay_id: String, caused: Caused) -> Result<Ending, Fault> {
        let row = replays::find(self.db.read(), tenant_id, &replay_id).await?.ok_or_else(missing)?;
        let header = traces::header(self.db.read(), tenant_id, &row.run_id, row.attempt).await?;
        Ok(Ending {
            tenant_id: tenant_id.to_owned(),
            replay_id,
            recording: self.recording(row.trace_key).await?,
            seed: header.map_or(0, |header| header.seed),
            caused,
            now: self.clock.now(),
        })
    }
}

impl Ending {
    async fn run(self, tx: &mut Tx) -> Result<Replay, Fault> {
        let row = replays::find_in(tx, &self.tenant_id, &self.replay_id).await?.ok_or_else(missing)?;
        if row.finished.is_some() {
            return Err(closed(&self.replay_id));
        }
        let order = ordered(&row)?;
        let checks = replays::checks(tx, &self.replay_id).await?;
        let checks: Result<Vec<_>, _> = checks.into_iter().map(ReplayCheck::decode).collect();
        let checks = checks.map_err(|error| unreadable("checked", &error))?;
        let mut found = found(&self.recording, &checks, (self.seed, order.seed));
        let timed_out = self.now >= row.expires_at;
        if timed_out && found.result == ReplayResult::Parity {
            // Nobody said that this was all.
            found.result = ReplayResult::Incomplete;
        }
        let mismatch_id = self.file(tx, &row, &found).await?;
        let replay = finished(present(row)?, found, (self.now, timed_out), mismatch_id);
        let end = (replay.result, replay.encode_to_vec());
        replays::end(tx, &self.replay_id, end, self.now).await?;
        self.tell(tx, &replay).await?;
        Ok(replay)
    }

    /// Files where the replay left its record; gives the mismatch.
    async fn file(&self, tx: &mut Tx, row: &ReplayRow, found: &Found) -> Result<String, Fault> {
        let Some(divergence) = &found.first_divergence else { return Ok(String::new()) };
        let step = found.divergent.as_ref().and_then(|check| check.step.as_ref());
        let mismatch = MismatchRow {
            id: 0,
            mismatch_id: new_id(),
            run_id: row.run_id.clone(),
            attempt: row.attempt,
            step_index: Some(divergence.step_index),
            reason: divergence.reasons.first().cloned().unwrap_or_default(),
            expected_digest: found
                .divergent
                .as_ref()
                .map(|c| c.recorded_output_digest.clone())
                .unwrap_or_default(),
            actual_digest: step.map(|step| step.output_digest.clone()).unwrap_or_default(),
            details: format!("a replay left its record: {}", divergence.reasons.join(", ")),
            reporter: self.caused.actor_id().to_owned(),
            previous_id: String::new(),
            incident_id: String::new(),
            external_ref: String::new(),
            reported_at: self.now,
            replay_id: row.replay_id.clone(),
            note: None,
            resolved_by: None,
            resolved_at: None,
        };
        file(tx, &self.tenant_id, &mismatch, &self.caused).await?;
        Ok(mismatch.mismatch_id)
    }

    async fn tell(&self, tx: &mut Tx, replay: &Replay) -> Result<(), Fault> {
        let data = ReplayFinished {
            replay_id: replay.replay_id.clone(),
            run_id: replay.run_id.clone(),
            attempt: replay.attempt,
            level: replay.level,
            result: replay.result,
            totals: replay.totals,
            driven_run_id: replay.driven_run_id.clone(),
        };
        let told = Told {
            name: "ReplayFinished",
            data: &data,
            tenant_id: &self.tenant_id,
            run_id: &replay.run_id,
            attempt: replay.attempt,
            step_index: replay.first_divergence.as_ref().map(|divergence| divergence.step_index),
            entity: ("replay", replay.replay_id.clone()),
            reason: replay.result().as_str_name(),
        };
        announce(tx, told, None, &self.caused, self.now).await
    }
}

fn finished(running: Replay, found: Found, (at, timed_out): (Micros, bool), mismatch_id: String) -> Replay {
    let behaviour = if found.same_behaviour { ComparisonResult::Parity } else { ComparisonResult::Diverged };
    Replay {
        state: ReplayState::Finished.into(),
        result: found.result.into(),
        totals: Some(found.totals),
        first_divergence: found.first_divergence,
        drift: found.drift,
        behaviour: behaviour.into(),
        recorded_signature: raw(found.recorded_signature),
        replayed_signature: raw(found.replayed_signature),
        mismatch_id,
        finished_at: Some(timestamp(at)),
        timed_out,
        ..running
    }
}

fn raw(digest: Digest) -> Bytes {
    Bytes::copy_from_slice(digest.as_bytes())
}
