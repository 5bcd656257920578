//! `GovernRun`: one stream a run, its frames pipelined.

use std::{
    collections::VecDeque,
    sync::Arc,
    time::{Duration, Instant},
};

use contracts_spine::v1::{
    FrameAnswer, GovernRunRequest, GovernRunResponse, frame_answer, govern_run_request, govern_run_response,
};
use tokio::{sync::mpsc, task::JoinSet};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Streaming};

use crate::{
    agent::{Agent, Book, is_passing},
    machine::Usage,
    measure::{Meter, Outcome, Point},
    steps,
    wire::{Wire, ask, record},
};

/// Frames that a stream has unanswered.
const WINDOW: usize = 16;
/// Pause before a frame is put again.
const PAUSE: Duration = Duration::from_millis(20);

/// Measures streams, each with a run of its own.
///
/// A frame is what a unary call is: asked, decided or recorded, durable, answered. A step is two of them.
pub async fn measure(
    wire: &Arc<Wire>,
    pid: u32,
    callers: usize,
    seconds: f64,
) -> Outcome<(Vec<Point>, Vec<Book>)> {
    let agents = steps::start(wire, callers).await?;
    let mut usage = Usage::default();
    let stretch = Usage::open(pid);
    let begun = Instant::now();
    let until = begun + Duration::from_secs_f64(seconds);
    let mut streams = JoinSet::new();
    for agent in agents {
        streams.spawn(govern(agent, until));
    }
    let (mut frames, mut whole, mut agents) = (Meter::new()?, Meter::new()?, Vec::with_capacity(callers));
    while let Some(done) = streams.join_next().await {
        let done = done??;
        frames.add(&done.frames)?;
        whole.add(&done.steps)?;
        agents.push(done.agent);
    }
    let took = begun.elapsed();
    usage.close(&stretch);
    let books = steps::complete(agents).await?;
    let points = vec![
        Point::new("GovernRun frame", callers, &frames, took, &usage),
        Point::new("GovernRun step (2 frames)", callers, &whole, took, &usage),
    ];
    Ok((points, books))
}

struct Done {
    agent: Agent,
    frames: Meter,
    steps: Meter,
}

/// A frame that waits for its answer.
struct Sent {
    body: govern_run_request::Body,
    at: Instant,
    step_begun: Instant,
    index: u32,
}

/// A stream in hand: what was sent and not answered, oldest first.
struct Stream {
    agent: Agent,
    send: mpsc::Sender<GovernRunRequest>,
    sequence: u64,
    sent: VecDeque<Sent>,
    next: u32,
    frames: Meter,
    steps: Meter,
}

async fn govern(agent: Agent, until: Instant) -> Outcome<Done> {
    let (send, receive) = mpsc::channel(WINDOW * 2);
    let mut answers = agent.client().govern_run(ReceiverStream::new(receive)).await?.into_inner();
    let (frames, steps) = (Meter::new()?, Meter::new()?);
    let mut stream = Stream { agent, send, sequence: 0, sent: VecDeque::new(), next: 0, frames, steps };
    loop {
        while stream.sent.len() < WINDOW && Instant::now() < until {
            stream.authorize().await?;
        }
        if stream.sent.is_empty() {
            break;
        }
        let answer = next(&mut answers).await?;
        stream.answered(answer).await?;
    }
    Ok(Done { agent: stream.agent, frames: stream.frames, steps: stream.steps })
}

/// The next answer; notices are passed over.
async fn next(answers: &mut Streaming<GovernRunResponse>) -> Outcome<FrameAnswer> {
    loop {
        let said = answers.message().await?.ok_or("a stream ended before its last answer")?;
        match said.body {
            Some(govern_run_response::Body::Answer(answer)) => return Ok(answer),
            Some(govern_run_response::Body::Notice(_)) => {}
            other => return Err(format!("a stream said {other:?}").into()),
        }
    }
}

impl Stream {
    async fn authorize(&mut self) -> Outcome<()> {
        let now = Instant::now();
        let ask = ask(&self.agent.book.run_id, self.agent.fence(), self.next);
        self.say(govern_run_request::Body::Authorize(ask), now, self.next).await?;
        self.next += 1;
        Ok(())
    }

    async fn say(&mut self, body: govern_run_request::Body, step_begun: Instant, index: u32) -> Outcome<()> {
        self.sequence += 1;
        let frame = GovernRunRequest { frame_seq: self.sequence, body: Some(body.clone()) };
        self.sent.push_back(Sent { body, at: Instant::now(), step_begun, index });
        self.send.send(frame).await.map_err(|_| "a stream broke".into())
    }

    async fn answered(&mut self, answer: FrameAnswer) -> Outcome<()> {
        let Sent { body, at, step_begun, index } = self.sent.pop_front().ok_or("an answer to nothing")?;
        if let Some(frame_answer::Body::Status(status)) = &answer.body
            && is_passing(Code::from_i32(status.code))
        {
            self.agent.book.retries += 1;
            tokio::time::sleep(PAUSE).await;
            return self.say(body, step_begun, index).await;
        }
        self.frames.record(at.elapsed());
        match answer.body {
            Some(frame_answer::Body::Authorize(answer)) => {
                let decision_id = self.agent.book.decided(&answer)?;
                let record = record(&self.agent.book.run_id, self.agent.fence(), index, &decision_id);
                self.say(govern_run_request::Body::Record(record), step_begun, index).await
            }
            Some(frame_answer::Body::Record(answer)) => {
                self.steps.record(step_begun.elapsed());
                self.agent.book.recorded(&answer)
            }
            other => Err(format!("a frame was answered {other:?}").into()),
        }
    }
}
