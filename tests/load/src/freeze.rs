//! The kill switch: how long after a freeze is asked for its notice has reached every running agent.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use contracts_controls::v1::{
    ContainmentStatus, FreezeReason, FreezeRequest, FreezeScope, GetContainmentRequest,
    RequestUnfreezeRequest, freeze_service_client::FreezeServiceClient,
};
use contracts_spine::v1::{
    GovernRunRequest, GovernRunResponse, RenewLeaseRequest, govern_run_request, govern_run_response,
};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use runspine_types::new_id;
use serde::Serialize;
use tokio::{sync::mpsc, task::JoinSet};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;

use crate::{
    agent::{Agent, start_request},
    measure::{Meter, Outcome},
    wire::Wire,
};

/// Runs that are started at a time.
const TOGETHER: usize = 64;
/// How long the freeze may take to be contained.
const PATIENCE: Duration = Duration::from_secs(120);
/// Pause between two looks at the proof.
const LOOK: Duration = Duration::from_millis(100);

/// What one freeze of running agents gave.
#[derive(Debug, Clone, Serialize)]
pub struct Freeze {
    /// Runs in scope, each with an agent on a stream.
    pub runs: usize,
    /// Milliseconds until the freeze was answered.
    pub answered_ms: f64,
    /// Milliseconds from asking for the freeze to the notice at an agent: median.
    pub notice_p50_ms: f64,
    /// The same, 99th percentile.
    pub notice_p99_ms: f64,
    /// Milliseconds from the commit to the proof that it is contained, by the mesh's own account.
    pub contained_ms: i64,
}

/// Freezes the project of `runs` running agents, waits for every notice and for the proof, and lifts the freeze.
pub async fn measure(wire: &Arc<Wire>, runs: usize) -> Outcome<Freeze> {
    let starts = (0..runs).map(|caller| Agent::start(wire.client(caller)));
    let agents: Vec<Agent> = stream::iter(starts).buffered(TOGETHER).try_collect().await?;
    let mut open = Vec::with_capacity(runs);
    for agent in agents {
        open.push(listen(agent).await?);
    }
    let mut freezes = FreezeServiceClient::with_interceptor(wire.channel(0), wire.credential());
    let begun = Instant::now();
    let mut notices = JoinSet::new();
    for listening in open {
        notices.spawn(notice(listening, begun));
    }
    let request = FreezeRequest {
        request_id: new_id(),
        scope: FreezeScope::Project.into(),
        scope_id: start_request().project_id,
        reason_code: FreezeReason::Manual.into(),
        note: "the load harness freezes it".to_owned(),
        ..FreezeRequest::default()
    };
    let frozen = freezes.freeze(request).await?.into_inner().freeze.unwrap_or_default();
    let answered = begun.elapsed();
    let mut meter = Meter::new()?;
    while let Some(took) = notices.join_next().await {
        meter.record(took??);
    }
    let contained_ms = loop {
        let request = GetContainmentRequest { freeze_id: frozen.freeze_id.clone() };
        let proof = freezes.get_containment(request).await?.into_inner().proof.unwrap_or_default();
        if proof.status() == ContainmentStatus::Contained && proof.contained_at.is_some() {
            break proof.time_to_containment_ms;
        }
        if begun.elapsed() > PATIENCE {
            return Err(format!("the freeze is not contained: {:?}", proof.status()).into());
        }
        tokio::time::sleep(LOOK).await;
    };
    let request = RequestUnfreezeRequest {
        request_id: new_id(),
        freeze_id: frozen.freeze_id,
        reason: "the load harness is done".to_owned(),
    };
    freezes.request_unfreeze(request).await?;
    Ok(Freeze {
        runs,
        answered_ms: answered.as_secs_f64() * 1_000.0,
        notice_p50_ms: meter.micros(0.5) / 1_000.0,
        notice_p99_ms: meter.micros(0.99) / 1_000.0,
        contained_ms,
    })
}

/// An agent's stream, with both of its ends.
struct Listening {
    _send: mpsc::Sender<GovernRunRequest>,
    answers: Streaming<GovernRunResponse>,
}

/// Opens the stream of a run; its first frame says which run it is.
async fn listen(agent: Agent) -> Outcome<Listening> {
    let (send, receive) = mpsc::channel(1);
    let renew = RenewLeaseRequest {
        run_id: agent.book.run_id.clone(),
        attempt: 1,
        fence: agent.fence(),
        ..RenewLeaseRequest::default()
    };
    let body = Some(govern_run_request::Body::Renew(renew));
    send.send(GovernRunRequest { frame_seq: 1, body }).await.map_err(|_| "a stream broke")?;
    let mut answers = agent.client().govern_run(ReceiverStream::new(receive)).await?.into_inner();
    match answers.message().await?.and_then(|said| said.body) {
        Some(govern_run_response::Body::Answer(_)) => Ok(Listening { _send: send, answers }),
        other => Err(format!("a stream began with {other:?}").into()),
    }
}

/// Waits for the notice of the freeze; how long after `begun` it came.
async fn notice(mut listening: Listening, begun: Instant) -> Outcome<Duration> {
    loop {
        let said = listening.answers.message().await?.ok_or("a stream ended without the notice")?;
        if let Some(govern_run_response::Body::Notice(notice)) = said.body
            && notice.reason == "FROZEN"
        {
            return Ok(begun.elapsed());
        }
    }
}
