//! A KEYED call repeated with the same body gives the same bytes; with another body it is refused. Also after the mesh
//! was killed in between, so that the first answer may have been lost.

use contracts_common::common::v1::StepOutcome;
use contracts_spine::v1::{
    CancelRunRequest, CompleteRunRequest, PauseRunRequest, RecordStepRequest, ResumeRunRequest,
    StartRunRequest,
};
use prost::Message;
use runspine_e2e::{Agent, Mesh};
use runspine_types::new_id;
use tonic::{Code, Status};

use crate::support::refusal;

/// Answers that are to be given again.
struct Kept {
    name: &'static str,
    bytes: Vec<u8>,
}

fn kept<T: Message>(name: &'static str, answer: &T) -> Kept {
    Kept { name, bytes: answer.encode_to_vec() }
}

impl Kept {
    fn again<T: Message + Default + std::fmt::Debug>(&self, answer: Result<T, Status>) {
        let answer = answer.unwrap_or_else(|status| panic!("{}: {status:?}", self.name));
        let first = T::decode(self.bytes.as_slice()).unwrap();
        assert_eq!(answer.encode_to_vec(), self.bytes, "{}: {answer:?}\nfirst: {first:?}", self.name);
    }
}

fn mismatch<T: std::fmt::Debug>(name: &str, answer: Result<T, Status>) {
    let status = answer.err().unwrap_or_else(|| panic!("{name} takes another body under a used key"));
    assert_eq!(
        refusal(&status),
        (Code::AlreadyExists, "IDEMPOTENCY_MISMATCH".to_owned()),
        "{name}: {status:?}"
    );
}

#[tokio::test]
async fn repeated_calls_give_the_same_bytes_and_other_bodies_are_refused() {
    let mut mesh = Mesh::all_in_one().await;
    let owner = mesh.owner();
    let mut runs = owner.runs();
    macro_rules! call {
        ($rpc:ident, $request:expr) => {
            runs.$rpc($request).await.map(tonic::Response::into_inner)
        };
    }

    let start = StartRunRequest { lease_ttl_ms: 60_000, ..Agent::request() };
    let started = call!(start_run, start.clone()).expect("a start");
    let agent = Agent {
        run_id: start.run_id.clone(),
        fence: started.lease.as_ref().unwrap().fence,
        ..Agent::start(&owner).await
    };
    let first_start = kept("StartRun", &started);
    first_start.again(call!(start_run, start.clone()));
    mismatch(
        "StartRun",
        call!(start_run, StartRunRequest { goal: "Something else.".to_owned(), ..start.clone() }),
    );

    let ask = agent.ask(0, "search");
    let allowed = call!(authorize_step, ask.clone()).expect("a decision");
    let first_decision = kept("AuthorizeStep", &allowed);
    first_decision.again(call!(authorize_step, ask.clone()));
    mismatch("AuthorizeStep", call!(authorize_step, agent.ask(0, "refund")));

    let report = agent.report(&allowed);
    let first_record = kept("RecordStep", &call!(record_step, report.clone()).expect("a record"));
    first_record.again(call!(record_step, report.clone()));
    let other = RecordStepRequest { outcome: StepOutcome::Failure.into(), ..report.clone() };
    mismatch("RecordStep", call!(record_step, other));

    let halted = Agent::start(&owner).await;
    let pause = PauseRunRequest {
        request_id: new_id(),
        run_id: halted.run_id.clone(),
        note: "an operator looks at it".to_owned(),
        ..PauseRunRequest::default()
    };
    let first_pause = kept("PauseRun", &call!(pause_run, pause.clone()).expect("a pause"));
    first_pause.again(call!(pause_run, pause.clone()));
    mismatch(
        "PauseRun",
        call!(pause_run, PauseRunRequest { note: "for another reason".to_owned(), ..pause.clone() }),
    );
    let resume = ResumeRunRequest {
        request_id: new_id(),
        run_id: halted.run_id.clone(),
        note: "the operator has looked".to_owned(),
        ..ResumeRunRequest::default()
    };
    let first_resume = kept("ResumeRun", &call!(resume_run, resume.clone()).expect("a resume"));
    first_resume.again(call!(resume_run, resume.clone()));
    mismatch(
        "ResumeRun",
        call!(resume_run, ResumeRunRequest { note: "for another reason".to_owned(), ..resume.clone() }),
    );

    let doomed = Agent::start(&owner).await;
    let cancel = CancelRunRequest {
        request_id: new_id(),
        run_id: doomed.run_id.clone(),
        note: "nobody waits for it".to_owned(),
        ..CancelRunRequest::default()
    };
    let first_cancel = kept("CancelRun", &call!(cancel_run, cancel.clone()).expect("a cancel"));
    first_cancel.again(call!(cancel_run, cancel.clone()));
    mismatch(
        "CancelRun",
        call!(cancel_run, CancelRunRequest { note: "for another reason".to_owned(), ..cancel.clone() }),
    );

    let ending = Agent::start(&owner).await;
    let end = ending.end(StepOutcome::Success);
    let first_end = kept("CompleteRun", &call!(complete_run, end.clone()).expect("the end"));
    first_end.again(call!(complete_run, end.clone()));
    let other = CompleteRunRequest { reward_permille: Some(500), ..end.clone() };
    let status = call!(complete_run, other).unwrap_err();
    // Another outcome than the one that won has a reason of its own.
    assert_eq!(refusal(&status), (Code::AlreadyExists, "COMPLETION_EXISTS".to_owned()), "{status:?}");

    mesh.restart("runspine").await;
    first_start.again(call!(start_run, start));
    first_decision.again(call!(authorize_step, ask));
    first_record.again(call!(record_step, report));
    first_pause.again(call!(pause_run, pause));
    first_resume.again(call!(resume_run, resume));
    first_cancel.again(call!(cancel_run, cancel));
    first_end.again(call!(complete_run, end));
}
