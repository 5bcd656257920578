//! `GovernRun`: the fast path says what the slow one says, in order.

use std::time::{Duration, Instant};

use contracts_common::common::v1::{Directive, StepOutcome, Verdict};
use contracts_controls::v1::FreezeEffect;
use contracts_spine::v1::{
    AuthorizeStepResponse, FrameAnswer, GovernRunRequest, GovernRunResponse, StartRunRequest, frame_answer,
    govern_run_request, govern_run_response::Body,
};
use runspine_e2e::{Agent, Client, Mesh};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;

use crate::support;

/// Frames of one stream; the window lets 64 of them wait for their answers.
const FRAMES: u32 = 1_000;

/// An agent's end of a stream.
struct Stream {
    send: mpsc::Sender<GovernRunRequest>,
    answers: Streaming<GovernRunResponse>,
}

impl Stream {
    async fn open(client: &Client) -> Self {
        let (send, frames) = mpsc::channel(64);
        let answers =
            client.runs().govern_run(ReceiverStream::new(frames)).await.expect("a stream").into_inner();
        Self { send, answers }
    }

    async fn say(&self, frame_seq: u64, body: govern_run_request::Body) {
        self.send.send(GovernRunRequest { frame_seq, body: Some(body) }).await.expect("the stream is open");
    }

    /// The next answer; notices are passed over.
    async fn answer(&mut self) -> FrameAnswer {
        loop {
            match self.answers.message().await.expect("the stream goes on").expect("an answer").body.unwrap()
            {
                Body::Answer(answer) => return answer,
                Body::Notice(_) => {}
                Body::Reconnect(why) => panic!("the stream ends: {why:?}"),
            }
        }
    }
}

/// The tool of step `n`: two of three are forbidden. The 256th that is allowed is step 765; after it the run has as many
/// in flight as it may, and what no rule forbids is deferred.
fn tool(n: u32) -> &'static str {
    if n.is_multiple_of(3) { "search" } else { "delete_account" }
}

#[tokio::test]
async fn a_thousand_pipelined_frames_are_answered_in_order_with_the_verdicts_of_single_calls() {
    let mesh = Mesh::all_in_one().await;
    let owner = mesh.owner();
    support::rules(&owner).await;
    let request = || StartRunRequest { max_inflight: 256, lease_ttl_ms: 120_000, ..Agent::request() };

    let single = Agent::start_with(&owner, request()).await;
    let mut expected = Vec::new();
    for n in 0..FRAMES {
        let answer = single.authorize(single.ask(n, tool(n))).await.expect("a decision");
        expected.push(verdict(&answer));
    }
    for (verdict, times) in [(Verdict::Allow, 256), (Verdict::Defer, 78), (Verdict::Deny, 666)] {
        assert_eq!(expected.iter().filter(|(v, _)| *v == verdict).count(), times, "{verdict:?}");
    }

    let piped = Agent::start_with(&owner, request()).await;
    let mut stream = Stream::open(&owner).await;
    let (send, agent) = (stream.send.clone(), piped.clone());
    let sending = tokio::spawn(async move {
        for n in 0..FRAMES {
            let body = govern_run_request::Body::Authorize(agent.ask(n, tool(n)));
            let frame = GovernRunRequest { frame_seq: u64::from(n) + 1, body: Some(body) };
            send.send(frame).await.expect("the stream is open");
        }
    });
    for (n, expected) in (0..FRAMES).zip(expected) {
        let answer = stream.answer().await;
        assert_eq!(answer.in_reply_to, u64::from(n) + 1, "answers come in the order of the questions");
        let Some(frame_answer::Body::Authorize(decided)) = answer.body else { panic!("{answer:?}") };
        assert_eq!((decided.step_index, verdict(&decided)), (n, expected));
    }
    sending.await.expect("everything was sent");
}

/// What was decided, and the first reason for it.
fn verdict(answer: &AuthorizeStepResponse) -> (Verdict, String) {
    let decision = answer.decision.as_ref().expect("a decision");
    (decision.effective_verdict(), support::primary(decision).to_owned())
}

#[tokio::test]
async fn a_whole_run_goes_over_one_stream() {
    let mesh = Mesh::all_in_one().await;
    let owner = mesh.owner();
    let mut stream = Stream::open(&owner).await;
    stream.say(1, govern_run_request::Body::Start(Agent::request())).await;
    let Some(frame_answer::Body::Start(started)) = stream.answer().await.body else { panic!("no start") };
    let agent = Agent {
        run_id: started.run.as_ref().unwrap().run_id.clone(),
        fence: started.lease.as_ref().unwrap().fence,
        ..Agent::start(&owner).await
    };
    stream.say(2, govern_run_request::Body::Authorize(agent.ask(0, "search"))).await;
    let Some(frame_answer::Body::Authorize(allowed)) = stream.answer().await.body else {
        panic!("no decision")
    };
    stream.say(3, govern_run_request::Body::Record(agent.report(&allowed))).await;
    assert!(matches!(stream.answer().await.body, Some(frame_answer::Body::Record(_))));
    stream.say(4, govern_run_request::Body::Complete(agent.end(StepOutcome::Success))).await;
    let Some(frame_answer::Body::Complete(done)) = stream.answer().await.body else { panic!("no end") };
    assert!(done.saga.unwrap().is_complete);
}

#[tokio::test]
async fn a_frame_out_of_sequence_or_refused_is_answered_with_a_status_and_later_ones_go_on() {
    let mesh = Mesh::all_in_one().await;
    let owner = mesh.owner();
    let agent = Agent::start(&owner).await;
    let mut stream = Stream::open(&owner).await;
    let ask = |index| govern_run_request::Body::Authorize(agent.ask(index, "search"));
    stream.say(1, ask(0)).await;
    stream.say(3, ask(1)).await;
    let nameless =
        contracts_spine::v1::AuthorizeStepRequest { name: String::new(), ..agent.ask(1, "search") };
    stream.say(2, govern_run_request::Body::Authorize(nameless)).await;
    stream.say(3, ask(1)).await;
    assert!(matches!(stream.answer().await.body, Some(frame_answer::Body::Authorize(_))));
    for in_reply_to in [3, 2] {
        let answer = stream.answer().await;
        assert_eq!(answer.in_reply_to, in_reply_to);
        let Some(frame_answer::Body::Status(status)) = answer.body else { panic!("{answer:?}") };
        assert_eq!(
            (status.code, status.reason.as_str()),
            (i32::from(tonic::Code::InvalidArgument), "FIELD_INVALID")
        );
        assert!(!status.details.is_empty(), "the details of the unary status travel with it");
    }
    let answer = stream.answer().await;
    assert_eq!(answer.in_reply_to, 3);
    assert!(matches!(answer.body, Some(frame_answer::Body::Authorize(_))), "{answer:?}");
}

#[tokio::test]
async fn a_silent_agent_hears_of_a_freeze_within_a_second() {
    let mesh = Mesh::all_in_one().await;
    let owner = mesh.owner();
    let agent = Agent::start(&owner).await;
    let mut stream = Stream::open(&owner).await;
    stream.say(1, govern_run_request::Body::Authorize(agent.ask(0, "search"))).await;
    stream.answer().await;
    support::freeze(&owner, &agent.run_id, FreezeEffect::Terminate).await;
    let frozen = Instant::now();
    let message = tokio::time::timeout(Duration::from_secs(5), stream.answers.message()).await;
    let body = message.expect("a notice in 5 s").expect("the stream goes on").expect("a notice").body;
    let Some(Body::Notice(notice)) = body else { panic!("{body:?}") };
    assert!(frozen.elapsed() < Duration::from_secs(1), "after {:?}", frozen.elapsed());
    assert_eq!((notice.directive(), notice.reason.as_str()), (Directive::Terminate, "FROZEN"));
    assert!(notice.freeze_epoch > 0);
}
