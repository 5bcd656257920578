//! One query by run answers its story, as it happened: the start, the limit it breached, what was refused, whom it had
//! to ask, what was loosened for it, how it ended and that the record of it is proved.

use std::time::Duration;

use contracts_common::common::v1::{StepOutcome, Verdict};
use contracts_controls::v1::{
    ApproveOverrideRequest, CreateLimitRequest, Enforcement, Limit, LimitCategory, LimitScope, LimitSpec,
    LimitUnit, RequestOverrideRequest, ThresholdValue,
};
use contracts_logs::v1::{LedgerEntry, LedgerFilter, LedgerOrder, ListEntriesRequest};
use contracts_policies::v1::{ApproveRequest, GetApprovalRequest};
use contracts_spine::v1::{
    AuthorizeStepRequest, GetRunProofRequest, ProofStatus, RecordStepRequest, RenewLeaseRequest,
    RenewLeaseResponse,
};
use runspine_e2e::{Agent, Client, Mesh};
use runspine_rpc::timestamp;
use runspine_testkit::until_ok;
use runspine_types::{Clock as _, SystemClock, new_id};

use crate::support::{self, primary};

const PATIENCE: Duration = Duration::from_secs(60);

const PAYING_NEEDS_A_PERSON: &str = r#"@id("pay")
@reason("NEEDS_A_PERSON")
@outcome("require_approval")
forbid (principal, action == Runspine::Action::"tool_call", resource == Runspine::Tool::"pay");
"#;

/// What the story of the run has to tell, in this order.
const STORY: [&str; 15] = [
    "activity.RunCreated",
    "spine.RunStarted",
    "controls.LimitBreached",
    "policies.EnforcementRecorded",
    "policies.ApprovalRequested",
    "policies.ApprovalVoted",
    "policies.ApprovalResolved",
    "policies.ApprovalUsed",
    "controls.OverrideConsumed",
    "incidents.IncidentOpened",
    "policies.EvaluationRecorded",
    "activity.RunFinished",
    "spine.RunCompleted",
    "logs.TraceSealed",
    "spine.RunProved",
];

#[tokio::test]
async fn the_story_of_a_run_is_one_query() {
    let mesh = Mesh::all_in_one().await;
    let owner = mesh.owner();
    support::rules(&owner).await;
    support::install(&owner, "pay", PAYING_NEEDS_A_PERSON).await;
    limit(&owner, tokens_noted_above(100)).await;
    let steps = limit(&owner, steps_stopped_above(2)).await;
    let mut agent = Agent::start(&owner).await;
    let neighbour = Agent::start(&owner).await;
    breach(&agent).await;
    let refused = agent.authorize(agent.ask(1, "delete_account")).await.expect("a decision");
    assert_eq!(primary(refused.decision.as_ref().unwrap()), "NO_DELETION");
    neighbour.authorize(neighbour.ask(0, "delete_account")).await.expect("a decision");
    let person = mesh.person("bea", "OWNER").await;
    ask_a_person(&mut agent, &person).await;
    loosen(&owner, &person, &steps).await;
    agent.take(3, "search").await.expect("a step that the limit alone would have stopped");
    agent.complete(StepOutcome::Failure).await.expect("the end");
    neighbour.complete(StepOutcome::Failure).await.expect("the end");
    support::ended(&agent).await;
    let proof = GetRunProofRequest { run_id: agent.run_id.clone(), attempt: 0 };
    let proof = owner.runs().get_run_proof(proof).await.expect("a proof").into_inner();
    assert_eq!(proof.overall(), ProofStatus::Verified, "{proof:?}");

    let told = until_ok(PATIENCE, || async {
        let told = story(&owner, &agent.run_id).await;
        match missing(&told) {
            None => Ok(told),
            Some(wanted) => Err((wanted, told.into_iter().map(|e| e.event_type).collect::<Vec<_>>())),
        }
    })
    .await;
    assert!(told.iter().all(|e| e.run_id == agent.run_id), "nothing of its neighbour");
    let proved = told.iter().find(|e| e.event_type == "spine.RunProved").expect("the proof");
    assert_eq!(proved.seq, proof.ledger_seq);
}

/// The first part of the story that does not follow the one before it.
fn missing(told: &[LedgerEntry]) -> Option<&'static str> {
    let mut rest = told.iter();
    STORY.into_iter().find(|wanted| !rest.any(|entry| entry.event_type == **wanted))
}

/// Tokens of a run above which it is noted, not stopped.
fn tokens_noted_above(max_value: i64) -> LimitSpec {
    LimitSpec {
        name: "run tokens".to_owned(),
        unit: LimitUnit::TokensTotal.into(),
        enforcement: Enforcement::Warn.into(),
        max_value,
        ..support::run_limit()
    }
}

/// Steps of a run above which it is stopped.
fn steps_stopped_above(value: i64) -> LimitSpec {
    LimitSpec {
        name: "run steps".to_owned(),
        category: LimitCategory::Threshold.into(),
        scope: LimitScope::Run.into(),
        scope_id: "*".to_owned(),
        enforcement: Enforcement::Block.into(),
        params: vec![ThresholdValue { key: "max_steps".to_owned(), value }],
        ..LimitSpec::default()
    }
}

async fn limit(owner: &Client, spec: LimitSpec) -> Limit {
    let request = CreateLimitRequest { request_id: new_id(), spec: Some(spec) };
    let created = owner.limits().create_limit(request).await.expect("the limit is stored");
    created.into_inner().limit.expect("the limit")
}

/// Another value of a limit for ten minutes, by two persons.
async fn loosen(owner: &Client, person: &Client, limit: &Limit) {
    let ends_at = SystemClock.now().plus_millis(600_000);
    let ask = RequestOverrideRequest {
        request_id: new_id(),
        limit_id: limit.limit_id.clone(),
        value: 4,
        ends_at: Some(timestamp(ends_at)),
        reason: "the customer waits".to_owned(),
        ..Default::default()
    };
    let asked = owner.overrides().request_override(ask).await.expect("the request").into_inner();
    let asked = asked.r#override.expect("the override");
    let yes = ApproveOverrideRequest {
        request_id: new_id(),
        override_id: asked.override_id,
        expected_version: asked.version,
        note: String::new(),
    };
    person.overrides().approve_override(yes).await.expect("the second person");
}

/// A step that uses more tokens than the limit has.
async fn breach(agent: &Agent) {
    let allowed = agent.authorize(agent.ask(0, "search")).await.expect("a decision");
    let report = RecordStepRequest { tokens_input: 90, tokens_output: 60, ..agent.report(&allowed) };
    agent.record(report).await.expect("a record");
}

/// A step that a person has to approve, approved and done.
async fn ask_a_person(agent: &mut Agent, person: &Client) {
    let asked = agent.authorize(agent.ask(2, "pay")).await.expect("a decision");
    let decision = asked.decision.unwrap();
    assert_eq!(decision.verdict(), Verdict::RequireApproval, "{decision:?}");
    let get = GetApprovalRequest { approval_id: decision.approval_id.clone() };
    let found = person.approvals().get_approval(get).await.expect("the approval").into_inner();
    let yes = ApproveRequest {
        request_id: new_id(),
        approval_id: decision.approval_id.clone(),
        action_digest: found.approval.unwrap().action_digest,
        note: "the bill is right".to_owned(),
    };
    person.approvals().approve(yes).await.expect("the vote");
    // The run was paused for the approval; who goes on with it has a new lease.
    agent.fence = until_ok(PATIENCE, || renewed(agent)).await;
    let ask = AuthorizeStepRequest { ask: 1, approval_id: decision.approval_id, ..agent.ask(2, "pay") };
    let allowed = agent.authorize(ask).await.expect("a decision");
    assert_eq!(support::effective(allowed.decision.as_ref()), Verdict::Allow, "{allowed:?}");
    agent.record(agent.report(&allowed)).await.expect("a record");
}

/// The fence of the lease that follows a pause.
async fn renewed(agent: &Agent) -> Result<u64, RenewLeaseResponse> {
    let renew = RenewLeaseRequest {
        run_id: agent.run_id.clone(),
        attempt: 1,
        fence: agent.fence,
        ..Default::default()
    };
    let told = agent.client.runs().renew_lease(renew).await.expect("an answer").into_inner();
    told.lease.as_ref().map(|lease| lease.fence).ok_or(told)
}

/// The ledger of one run, as it happened.
async fn story(owner: &Client, run_id: &str) -> Vec<LedgerEntry> {
    let mut request = ListEntriesRequest {
        filter: Some(LedgerFilter { run_id: run_id.to_owned(), ..Default::default() }),
        order: LedgerOrder::OccurredAsc.into(),
        page_size: 10,
        ..Default::default()
    };
    let mut told = Vec::new();
    loop {
        let page = owner.ledger().list_entries(request.clone()).await.expect("a page").into_inner();
        told.extend(page.entries.into_iter().filter_map(|view| view.entry));
        if page.next_page_token.is_empty() {
            return told;
        }
        request.page_token = page.next_page_token;
    }
}
