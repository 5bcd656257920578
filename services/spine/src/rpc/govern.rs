//! `GovernRun`: the step calls of one run on one stream, answered in order.
//!
//! Every frame is served as the unary operation that it stands for: the same kernel call under the same declared
//! calls. A frame that fails is answered with its status, and later ones go on.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use contracts_common::common::v1::{Directive, RunStatus};
use contracts_spine::v1::{
    FrameAnswer, FrameNotice, FrameReconnect, FrameStatus, GovernRunRequest, GovernRunResponse, frame_answer,
    govern_run_request, govern_run_response::Body,
};
use parking_lot::Mutex;
use runspine_errors::{Fault, mesh};
use runspine_rpc::{Context, Operation, code_of, details, ended, inner_span, status};
use tokio::{
    sync::mpsc,
    time::{Instant, interval, sleep_until},
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status, Streaming};
use tracing::Instrument as _;

use crate::{
    kernel::{Attempt, Heard, Kernel, RunBound, RunOperations, inside},
    reasons,
};

/// What the agent gets.
pub type Answers = ReceiverStream<Result<GovernRunResponse, Status>>;

/// How often the kernel looks for orders that the agent has not heard of.
const LOOK: Duration = Duration::from_millis(100);

/// Serves streams of frames.
#[derive(Clone)]
pub struct Frames {
    operations: RunOperations,
    streams: Arc<Streams>,
}

/// Which stream governs which run: the newest one, by number.
#[derive(Default)]
struct Streams {
    newest: Mutex<HashMap<(String, String), u64>>,
    count: AtomicU64,
}

impl Streams {
    /// A new stream takes the run over.
    fn take(&self, key: (String, String)) -> u64 {
        let number = self.count.fetch_add(1, Ordering::Relaxed) + 1;
        self.newest.lock().insert(key, number);
        number
    }

    fn is_newest(&self, key: &(String, String), number: u64) -> bool {
        self.newest.lock().get(key).is_none_or(|newest| *newest == number)
    }

    fn leave(&self, key: &(String, String), number: u64) {
        let mut newest = self.newest.lock();
        if newest.get(key) == Some(&number) {
            newest.remove(key);
        }
    }
}

/// The operation that a frame stands for.
fn operation_of<'a>(operations: &'a RunBound, body: &govern_run_request::Body) -> &'a Operation {
    use govern_run_request::Body as Ask;
    match body {
        Ask::Start(_) => &operations.start,
        Ask::Authorize(_) => &operations.authorize,
        Ask::Record(_) => &operations.record,
        Ask::Renew(_) => &operations.renew,
        Ask::Complete(_) => &operations.complete,
    }
}

impl Frames {
    /// Frames served as these operations.
    #[must_use]
    pub fn new(operations: RunOperations) -> Self {
        Self { operations, streams: Arc::default() }
    }

    /// Serves one stream.
    pub fn govern(
        &self,
        kernel: Arc<Kernel>,
        context: Context,
        frames: Streaming<GovernRunRequest>,
    ) -> Answers {
        let window = kernel.config.stream_window.max(1);
        let (send, receive) = mpsc::channel(window);
        let serving = Serving {
            kernel,
            context,
            operations: self.operations.clone(),
            streams: Arc::clone(&self.streams),
            number: 0,
            run: None,
            expected: 1,
            told: None,
            known: None,
            hearing: None,
        };
        tokio::spawn(serving.run(frames, send).in_current_span());
        ReceiverStream::new(receive)
    }
}

struct Serving {
    kernel: Arc<Kernel>,
    context: Context,
    operations: RunOperations,
    streams: Arc<Streams>,
    number: u64,
    run: Option<(String, u32)>,
    expected: u64,
    told: Option<Directive>,
    known: Option<Attempt>,
    /// The freeze whose notice is on its way.
    hearing: Option<String>,
}

type Out = mpsc::Sender<Result<GovernRunResponse, Status>>;

impl Serving {
    async fn run(mut self, frames: Streaming<GovernRunRequest>, send: Out) {
        self.serve_until_end(frames, &send).await;
        if let Some(key) = self.key() {
            self.streams.leave(&key, self.number);
        }
    }

    fn key(&self) -> Option<(String, String)> {
        self.run.as_ref().map(|(run_id, _)| (self.context.tenant_id.clone(), run_id.clone()))
    }

    /// Whether another stream has taken the run over.
    fn is_superseded(&self) -> bool {
        self.key().is_some_and(|key| !self.streams.is_newest(&key, self.number))
    }

    /// The stream belongs to this run from now on, and an older stream of the run ends.
    fn adopt(&mut self, run_id: &str, attempt: u32) {
        self.run = Some((run_id.to_owned(), attempt));
        self.number = self.streams.take((self.context.tenant_id.clone(), run_id.to_owned()));
    }

    async fn serve_until_end(&mut self, mut frames: Streaming<GovernRunRequest>, send: &Out) {
        let minutes = self.kernel.config.stream_max_minutes;
        let end = Instant::now() + Duration::from_secs(minutes.saturating_mul(60));
        let mut look = interval(LOOK);
        let mut news = self.kernel.freezes.news();
        loop {
            if self.is_superseded() {
                let fault = Fault::new(&reasons::STREAM_SUPERSEDED, "another stream took over the run");
                let _ = send.send(Err(status(fault))).await;
                return;
            }
            tokio::select! {
                biased;
                frame = frames.message() => match frame {
                    Ok(Some(frame)) => {
                        // Boxed: it holds whatever the frame asks for.
                        let answer = Box::pin(self.answer(frame)).await;
                        if send.send(Ok(answer)).await.is_err() {
                            return;
                        }
                    }
                    Ok(None) => return,
                    Err(broken) => {
                        tracing::debug!(code = ?broken.code(), "an agent's stream broke");
                        return;
                    }
                },
                () = sleep_until(end) => {
                    let reconnect = FrameReconnect { reason: "the stream has lasted long enough".to_owned() };
                    let _ = send.send(Ok(say(Body::Reconnect(reconnect)))).await;
                    return;
                }
                _ = news.changed() => {
                    if let Some(notice) = self.frozen() && self.tell(notice, send).await.is_err() {
                        return;
                    }
                }
                _ = look.tick() => {
                    if let Some(notice) = self.notice().await && self.tell(notice, send).await.is_err() {
                        return;
                    }
                }
            }
        }
    }

    async fn answer(&mut self, frame: GovernRunRequest) -> GovernRunResponse {
        let in_reply_to = frame.frame_seq;
        let body = if in_reply_to == self.expected {
            self.expected += 1;
            Box::pin(self.serve(frame.body)).await
        } else {
            let text = format!("frames are numbered without holes; the next one is {}", self.expected);
            Err(Fault::new(&mesh::FIELD_INVALID, text.clone()).field("frame_seq", "FIELD_INVALID", text))
        };
        let body = body.unwrap_or_else(|fault| frame_answer::Body::Status(frame_status(fault)));
        say(Body::Answer(FrameAnswer { in_reply_to, body: Some(body) }))
    }

    async fn serve(&mut self, body: Option<govern_run_request::Body>) -> Result<frame_answer::Body, Fault> {
        let operations = self.operations.clone();
        let operations = operations.get()?;
        let Some(body) = body else {
            let text = "a frame asks something";
            return Err(Fault::new(&mesh::FIELD_INVALID, text).field("body", "FIELD_INVALID", text));
        };
        let operation = operation_of(operations, &body);
        let span = inner_span(operation);
        let served = self.served(operations, body).instrument(span.clone()).await;
        let code = served.as_ref().map_or_else(|fault| code_of(fault.kind()), |_| Code::Ok);
        ended(&span, code);
        served
    }

    async fn served(
        &mut self,
        operations: &RunBound,
        body: govern_run_request::Body,
    ) -> Result<frame_answer::Body, Fault> {
        use frame_answer::Body as Answer;
        use govern_run_request::Body as Ask;
        match body {
            Ask::Start(request) => {
                let context = self.under(&operations.start);
                // Boxed: the largest of the answers would make every frame as large.
                let answer = Box::pin(self.kernel.start_run(&context, request)).await?;
                if let Some(run) = &answer.run {
                    self.adopt(&run.run_id, run.attempt);
                }
                Ok(Answer::Start(answer))
            }
            Ask::Authorize(request) => {
                self.meets(&request.run_id, request.attempt)?;
                let answer = self.kernel.authorize_step(&self.under(&operations.authorize), request).await?;
                self.told = answer.decision.as_ref().map(|d| d.directive());
                Ok(Answer::Authorize(answer))
            }
            Ask::Record(request) => {
                self.meets(&request.run_id, request.attempt)?;
                let answer = self.kernel.record_step(&self.under(&operations.record), request).await?;
                self.told = Some(answer.directive());
                Ok(Answer::Record(answer))
            }
            Ask::Renew(request) => {
                self.meets(&request.run_id, request.attempt)?;
                let answer = self.kernel.renew_lease(&self.under(&operations.renew), request).await?;
                self.told = Some(answer.directive());
                Ok(Answer::Renew(answer))
            }
            Ask::Complete(request) => {
                self.meets(&request.run_id, request.attempt)?;
                let answer = self.kernel.complete_run(&self.under(&operations.complete), request).await?;
                if let Some(key) = self.key() {
                    self.streams.leave(&key, self.number);
                }
                self.run = None;
                Ok(Answer::Complete(answer))
            }
        }
    }

    /// A stream belongs to one run: the one that it met first.
    fn meets(&mut self, run_id: &str, attempt: u32) -> Result<(), Fault> {
        match &self.run {
            Some((known, _)) if known != run_id => {
                let text = "a stream governs one run";
                Err(Fault::new(&mesh::FIELD_INVALID, text).field("run_id", "FIELD_INVALID", text))
            }
            Some(_) => Ok(()),
            None => {
                self.adopt(run_id, attempt);
                Ok(())
            }
        }
    }

    fn under(&self, operation: &Arc<Operation>) -> Context {
        inside(&self.context, operation)
    }

    /// Sends a notice; a freeze whose notice was taken is known to have been heard.
    async fn tell(&mut self, notice: FrameNotice, send: &Out) -> Result<(), ()> {
        send.send(Ok(say(Body::Notice(notice)))).await.map_err(|_| ())?;
        if let (Some(freeze_id), Some((run_id, attempt))) = (self.hearing.take(), self.run.clone()) {
            let attempt = self.known.as_ref().map_or(attempt, |known| known.state.attempt);
            self.kernel.freezes.hear(Heard { freeze_id, run_id, attempt });
        }
        Ok(())
    }

    /// The notice of a freeze that covers the run as it was known last, without asking anybody.
    fn frozen(&mut self) -> Option<FrameNotice> {
        let known = self.known.as_ref()?;
        let subject = Kernel::subject(&self.context, known);
        let freeze = self.kernel.freezes.covering(subject, self.kernel.now())?;
        let (directive, status) = (crate::kernel::frozen(&freeze).directive, known.state.status);
        let news = self.told.unwrap_or(Directive::Continue) != directive;
        self.told = Some(directive);
        news.then(|| {
            self.hearing = Some(freeze.freeze_id);
            FrameNotice {
                directive: directive.into(),
                reason: "FROZEN".to_owned(),
                freeze_epoch: self.kernel.freezes.epoch(),
                status,
            }
        })
    }

    /// What the run is told without asking: a freeze, a stop or a pause that it has not heard of.
    async fn notice(&mut self) -> Option<FrameNotice> {
        let (run_id, attempt) = self.run.clone()?;
        let operations = self.operations.clone();
        let context = self.under(&operations.get().ok()?.authorize).for_run(&run_id);
        let state = self.kernel.attempt(&context, &run_id, attempt).await.ok()?;
        let (stopped, ending, status) = (state.state.stop.is_some(), state.is_ending(), state.status());
        self.known = Some(state);
        let subject = Kernel::subject(&context, self.known.as_ref()?);
        if self.kernel.freezes.covering(subject, self.kernel.now()).is_some() {
            return self.frozen();
        }
        let (directive, reason) = if stopped {
            (Directive::Terminate, "STOP_REQUESTED")
        } else if ending {
            (Directive::Terminate, reasons::RUN_ENDED.name)
        } else if status == RunStatus::Paused {
            (Directive::Pause, "RUN_PAUSED")
        } else {
            (Directive::Continue, "")
        };
        let news = self.told.unwrap_or(Directive::Continue) != directive;
        self.told = Some(directive);
        news.then(|| FrameNotice {
            directive: directive.into(),
            reason: reason.to_owned(),
            freeze_epoch: self.kernel.freezes.epoch(),
            status: status.into(),
        })
    }
}

fn say(body: Body) -> GovernRunResponse {
    GovernRunResponse { body: Some(body) }
}

fn frame_status(fault: Fault) -> FrameStatus {
    let status = status(fault);
    let reason = details(&status).reason;
    FrameStatus {
        code: status.code().into(),
        message: status.message().to_owned(),
        reason,
        details: bytes::Bytes::copy_from_slice(status.details()),
    }
}
