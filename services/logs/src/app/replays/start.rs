//! Opens a replay.

use bytes::Bytes;
use contracts_common::common::v1::CallContext;
use contracts_logs::v1::{ReplayLevel, StartReplayRequest, StartReplayResponse};
use prost::Message as _;
use runspine_errors::Fault;
use runspine_logs_domain::{
    reasons,
    replay::{MAX_STEPS, Plan},
};
use runspine_types::{Micros, new_id};

use super::view::present;
use crate::{
    app::{App, audit::told::Caused, certificates::verified, once::Once},
    store::replays::{self, ReplayRow},
};

/// How long a replay takes if nobody says otherwise.
const TIMEOUT_MS: u32 = 300_000;

impl App {
    /// Proves an attempt and opens a replay of it; gives the answer as it is kept.
    ///
    /// # Errors
    /// TRACE_NOT_FOUND, NOT_SEALED, PROOF_NOT_VERIFIED, REPLAY_TOO_LONG, IDEMPOTENCY_MISMATCH, or when the store can't
    /// be read or written.
    pub async fn start_replay(
        &self,
        call: &CallContext,
        (once, mut order): (Once, StartReplayRequest),
    ) -> Result<Bytes, Fault> {
        let trace = self.find_kept_trace(&call.tenant_id, &order.run_id, order.attempt, 0).await?;
        let proof = self.verify_trace(&call.tenant_id, &order.run_id, trace.attempt).await?;
        verified(&proof)?;
        let recording = self.recording(trace.trace_key).await?;
        if recording.steps().count() > MAX_STEPS {
            let message = format!("the attempt has more than {MAX_STEPS} steps");
            return Err(Fault::new(&reasons::REPLAY_TOO_LONG, message).precondition(
                format!("runs/{}/attempts/{}/trace", trace.run_id, trace.attempt),
                "has at most 10 000 steps",
            ));
        }
        if order.level() == ReplayLevel::Unspecified {
            order.set_level(ReplayLevel::Logical);
        }
        if order.timeout_ms == 0 {
            order.timeout_ms = TIMEOUT_MS;
        }
        let (now, plan) = (self.clock.now(), Plan::of(&order.rules).steps(&recording));
        let row = ReplayRow {
            id: 0,
            replay_id: new_id(),
            tenant_id: call.tenant_id.clone(),
            trace_key: trace.trace_key,
            run_id: trace.run_id,
            attempt: trace.attempt,
            expires_at: Micros(now.0.saturating_add(i64::from(order.timeout_ms) * 1_000)),
            ordered: order.encode_to_vec().into(),
            seal: proof.proofs.first().map(|proof| proof.seal_digest.clone()).unwrap_or_default(),
            started_by: Caused::by(call).actor_id().to_owned(),
            started_at: now,
            finished: None,
        };
        self.once(once, move |tx| {
            Box::pin(async move {
                replays::insert(tx, &row).await?;
                Ok(StartReplayResponse { replay: Some(present(row)?), plan })
            })
        })
        .await
    }
}
