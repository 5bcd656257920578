//! Replays as they travel.

use contracts_logs::v1::{
    GetReplayResponse, Replay, ReplayCheck, ReplayMode, ReplayState, StartReplayRequest,
};
use prost::Message as _;
use runspine_db::DbError;
use runspine_errors::Fault;
use runspine_logs_domain::{bytes::timestamp, replay::Plan};

use super::{missing, unreadable};
use crate::{
    app::App,
    store::replays::{self, Filter, ReplayRow},
};

impl App {
    /// A replay with its latest `checks`, newest first, and its plan where that is asked for.
    ///
    /// # Errors
    /// REPLAY_NOT_FOUND, or when the store can't be read.
    pub async fn get_replay(
        &self,
        tenant: &str,
        replay_id: &str,
        (checks, planned): (u32, bool),
    ) -> Result<GetReplayResponse, Fault> {
        let row = replays::find(self.db.read(), tenant, replay_id).await?.ok_or_else(missing)?;
        let latest = replays::latest_checks(self.db.read(), replay_id, i64::from(checks)).await?;
        let latest: Result<Vec<_>, _> = latest.into_iter().map(ReplayCheck::decode).collect();
        let plan = if planned {
            Plan::of(&ordered(&row)?.rules).steps(&self.recording(row.trace_key).await?)
        } else {
            Vec::new()
        };
        let checks = latest.map_err(|error| unreadable("checked", &error))?;
        Ok(GetReplayResponse { replay: Some(present(row)?), checks, plan })
    }

    /// Replays, newest first, with their places.
    ///
    /// # Errors
    /// When the store can't be read.
    pub async fn list_replays(
        &self,
        tenant: &str,
        filter: &Filter,
        after: Option<(i64, i64)>,
        limit: i64,
    ) -> Result<Vec<((i64, i64), Replay)>, Fault> {
        let rows = replays::list(self.db.read(), tenant, filter, after, limit).await?;
        let shown = |row: ReplayRow| Ok(((row.started_at.0, row.id), present(row)?));
        rows.into_iter().map(shown).collect()
    }
}

/// A replay as it travels: as it ended, or as it was ordered.
pub(super) fn present(row: ReplayRow) -> Result<Replay, DbError> {
    if let Some(finished) = row.finished {
        return Replay::decode(finished).map_err(|error| unreadable("finished", &error));
    }
    let order = ordered(&row)?;
    let mode = if order.driven_run_id.is_empty() { ReplayMode::Observe } else { ReplayMode::Drive };
    Ok(Replay {
        replay_id: row.replay_id,
        run_id: row.run_id,
        attempt: row.attempt,
        level: order.level,
        stop_on_mismatch: order.stop_on_mismatch,
        started_by: row.started_by,
        started_at: Some(timestamp(row.started_at)),
        expires_at: Some(timestamp(row.expires_at)),
        state: ReplayState::Running.into(),
        seal_digest: row.seal,
        mode: mode.into(),
        driven_run_id: order.driven_run_id,
        ..Default::default()
    })
}

/// A replay as it was ordered.
pub(super) fn ordered(row: &ReplayRow) -> Result<StartReplayRequest, DbError> {
    StartReplayRequest::decode(row.ordered.clone()).map_err(|error| unreadable("ordered", &error))
}
