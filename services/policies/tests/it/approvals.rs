//! Approvals: one action, once, by people who did not ask for it.

use std::time::Duration;

use contracts_policies::v1 as pb;
use runspine_testkit::{TestStore, on_both_engines, run, test_id};
use tonic::{Code, Status};

use crate::{
    call,
    harness::{House, WHY, ask_end, ask_run, ask_step, reason},
};

/// Kind of actor, id, owner of the credential, role.
pub type Person = (i32, &'static str, &'static str, &'static str);

const ADMIN: Person = (1, "bea", "", "ADMIN");
const OWNER: Person = (1, "otto", "", "OWNER");
const LEAD: Person = (1, "lea", "", "APPROVER");

pub const PAY: &str =
    "forbid(principal, action == Runspine::Action::\"tool_call\", resource == Runspine::Tool::\"pay\");";

const REQUIRE: i32 = 4;

impl House {
    /// A house in which paying needs approval, with a run.
    async fn where_paying_needs(store: TestStore, obligations: &str) -> Self {
        let house = Self::over(store).await;
        let notes = match obligations {
            "" => "@outcome(\"require_approval\")".to_owned(),
            some => format!("@outcome(\"require_approval\") @obligations(\"{some}\")"),
        };
        house.rule(1, "pay", &notes, PAY).await;
        house.begin(1, 1).await;
        house
    }

    pub async fn begin(&self, number: u64, attempt: u32) {
        let mut ask = ask_run(number);
        ask.attempt = attempt;
        ask.agent.as_mut().unwrap().owner = "olga".to_owned();
        ask.human = Some(pb::HumanFacts { id: "hugo".to_owned(), level: 3, ..Default::default() });
        self.evaluate_run(ask).await.unwrap();
    }

    async fn pay(&self, ask: u32, approval_id: &str) -> pb::Decision {
        let asked =
            pb::EvaluateStepRequest { ask, approval_id: approval_id.to_owned(), ..ask_step(1, 0, "pay") };
        self.step(asked).await.unwrap().decision.unwrap()
    }

    pub async fn approval(&self, id: &str) -> pb::GetApprovalResponse {
        let get = pb::GetApprovalRequest { approval_id: id.to_owned() };
        call!(self, approvals.get_approval, "ApprovalService/GetApproval", get).unwrap()
    }

    pub async fn state(&self, id: &str) -> pb::ApprovalState {
        self.approval(id).await.approval.unwrap().state()
    }

    pub async fn vote(&self, n: u64, who: Person, id: &str) -> Result<pb::Approval, Status> {
        let action_digest = self.approval(id).await.approval.unwrap().action_digest;
        let vote = pb::ApproveRequest {
            request_id: test_id(40, n),
            approval_id: id.to_owned(),
            action_digest,
            note: "fine".to_owned(),
        };
        self.vote_with(who, vote).await
    }

    async fn vote_with(&self, who: Person, vote: pb::ApproveRequest) -> Result<pb::Approval, Status> {
        let request = self.ask_as(who, "ApprovalService/Approve", vote);
        self.approvals.clone().approve(request).await.map(|a| a.into_inner().approval.unwrap())
    }

    async fn reject(&self, n: u64, who: Person, id: &str) -> Result<pb::Approval, Status> {
        let action_digest = self.approval(id).await.approval.unwrap().action_digest;
        let vote = pb::RejectRequest {
            request_id: test_id(41, n),
            approval_id: id.to_owned(),
            action_digest,
            reason: WHY.to_owned(),
        };
        let request = self.ask_as(who, "ApprovalService/Reject", vote);
        self.approvals.clone().reject(request).await.map(|a| a.into_inner().approval.unwrap())
    }

    /// A run of its own in which one step was approved and done.
    pub async fn approve_and_spend(&self, number: u64) {
        self.rule(90, "approve", "@outcome(\"require_approval\")", PAY).await;
        self.begin(number, 1).await;
        self.paid(number, 0, 90).await;
    }

    /// A step that is put to a person, approved by the vote `n`, and done: two decisions.
    pub async fn paid(&self, number: u64, step: u32, n: u64) -> pb::Decision {
        let asked = |ask, approval_id: &str| pb::EvaluateStepRequest {
            ask,
            approval_id: approval_id.to_owned(),
            ..ask_step(number, step, "pay")
        };
        let id = self.step(asked(0, "")).await.unwrap().decision.unwrap().approval_id;
        self.vote(n, LEAD, &id).await.unwrap();
        self.step(asked(1, &id)).await.unwrap().decision.unwrap()
    }

    async fn list(&self, request: pb::ListApprovalsRequest) -> Vec<pb::Approval> {
        call!(self, approvals.list_approvals, "ApprovalService/ListApprovals", request).unwrap().approvals
    }
}

on_both_engines! {
    /// A step that needs approval waits, is approved, done once, and never again under the same approval.
    async fn an_approval_is_used_once(store: TestStore) {
        let house = House::where_paying_needs(store, "cap_tokens(50)").await;
        let asked = house.pay(0, "").await;
        assert_eq!((asked.verdict, asked.directive), (REQUIRE, 2), "asked, and the run pauses");
        let id = asked.approval_id.clone();
        let seen = house.approval(&id).await;
        let (approval, subject) = (seen.approval.unwrap(), seen.subject.unwrap());
        assert_eq!((approval.state(), approval.level(), approval.quorum), (pb::ApprovalState::Pending, pb::ApprovalLevel::TeamLead, 1));
        assert_eq!((subject.name.as_str(), subject.reasons[0].code.as_str()), ("pay", "TEST_RULE"));
        assert_eq!(subject.history.unwrap().require_approval, 1);
        // Asking again finds the same request.
        let again = house.pay(1, &id).await;
        assert_eq!((again.verdict, &again.approval_id), (REQUIRE, &id));
        assert_eq!(again.approval_unusable(), pb::ApprovalUnusable::Waiting);
        let approved = house.vote(1, LEAD, &id).await.unwrap();
        assert_eq!((approved.state(), approved.approvals), (pb::ApprovalState::Approved, 1));
        assert!(approved.use_by.is_some());
        // Who does not name it is told of it, and pauses no more.
        let unnamed = house.pay(2, "").await;
        assert_eq!((unnamed.verdict, unnamed.directive, &unnamed.approval_id), (REQUIRE, 1, &id));
        let done = house.pay(3, &id).await;
        assert_eq!((done.verdict, done.obligations[0].name.as_str(), &done.approval_id), (3, "cap_tokens", &id));
        assert_eq!(done.matches[0].action(), pb::ActionTaken::Approved);
        assert_eq!(house.state(&id).await, pb::ApprovalState::Used);
        let twice = house.pay(4, &id).await;
        assert_eq!((twice.verdict, twice.approval_unusable()), (REQUIRE, pb::ApprovalUnusable::AlreadyUsed));
        assert_ne!(twice.approval_id, id, "a new request");
        // A repeat of the answer that spent it gives that answer.
        assert_eq!(house.replica().await.pay(3, &id).await, done);
        let told = house.told_names().await;
        let approvals: Vec<_> = told.iter().filter(|n| n.starts_with("Approval")).collect();
        assert_eq!(approvals, ["ApprovalRequested", "ApprovalVoted", "ApprovalResolved", "ApprovalUsed", "ApprovalRequested"]);
    }

    /// A12.1: it is no good for anything else, and each refusal has its reason.
    async fn an_approval_fits_one_action(store: TestStore) {
        use pb::ApprovalUnusable as Why;
        let house = House::where_paying_needs(store, "").await;
        house.begin(1, 2).await;
        let id = house.pay(0, "").await.approval_id;
        house.vote(1, LEAD, &id).await.unwrap();
        let named = |step| pb::EvaluateStepRequest { approval_id: id.clone(), ..ask_step(1, step, "pay") };
        let mut other = named(0);
        (other.ask, other.arguments_digest) = (1, vec![6; 32].into());
        let attempt = pb::EvaluateStepRequest { attempt: 2, ..named(0) };
        let unknown = pb::EvaluateStepRequest { approval_id: test_id(50, 1), ..ask_step(1, 2, "pay") };
        for (asked, why) in [(other, Why::ActionChanged), (named(1), Why::OtherStep), (attempt, Why::OtherStep), (unknown, Why::NotFound)] {
            let decision = house.step(asked).await.unwrap().decision.unwrap();
            assert_eq!((decision.verdict, decision.approval_unusable()), (REQUIRE, why));
            assert_ne!(decision.approval_id, id);
        }
        let foreign = pb::GetApprovalRequest { approval_id: id.clone() };
        let foreign = call!(house, 2, approvals.get_approval, "ApprovalService/GetApproval", foreign).unwrap_err();
        assert_eq!(reason(&foreign), "APPROVAL_NOT_FOUND");
        house.clock.advance(Duration::from_secs(900));
        let late = house.pay(2, &id).await;
        assert_eq!((late.verdict, late.approval_unusable()), (REQUIRE, Why::Lapsed));
        assert_eq!(house.state(&id).await, pb::ApprovalState::Lapsed);
    }

    /// A12.2: a hundred at once, one approval: one of them goes through.
    async fn of_many_asks_one_spends_it(store: TestStore) {
        let house = House::where_paying_needs(store, "").await;
        let id = house.pay(0, "").await.approval_id;
        house.vote(1, ADMIN, &id).await.unwrap();
        let replica = house.replica().await;
        let asks = (1..=100).map(|n| {
            let side = if n % 2 == 0 { &house } else { &replica };
            side.pay(n, &id)
        });
        let verdicts: Vec<i32> = futures::future::join_all(asks).await.iter().map(|d| d.verdict).collect();
        assert_eq!(verdicts.iter().filter(|v| **v == 1).count(), 1, "{verdicts:?}");
        assert_eq!(verdicts.iter().filter(|v| **v == REQUIRE).count(), 99);
        let of_run = house.list(pb::ListApprovalsRequest { run_id: run(1), ..Default::default() }).await;
        let states: Vec<_> = of_run.iter().map(pb::Approval::state).collect();
        assert_eq!(states, [pb::ApprovalState::Pending, pb::ApprovalState::Used], "one new request");
    }

    /// A12.3: who can't vote, what a quorum is, and that everybody has one vote.
    async fn who_votes(store: TestStore) {
        let house = House::where_paying_needs(store, "quorum(2)").await;
        let id = house.pay(0, "").await.approval_id;
        let cases: [(Person, &str); 6] = [
            ((1, "agent-1", "", "OWNER"), "SELF_APPROVAL"),
            ((1, "olga", "", "OWNER"), "SELF_APPROVAL"),
            ((1, "hugo", "", "OWNER"), "SELF_APPROVAL"),
            ((1, "key-7", "hugo", "OWNER"), "SELF_APPROVAL"),
            ((1, "dora", "", "DEVELOPER"), "LEVEL_TOO_LOW"),
            ((4, "robot", "", "OWNER"), "HUMAN_REQUIRED"),
        ];
        for (n, (who, why)) in (10..).zip(cases) {
            let refused = house.vote(n, who, &id).await.unwrap_err();
            assert_eq!((reason(&refused).as_str(), refused.code()), (why, Code::PermissionDenied), "{who:?}");
        }
        let mut other = pb::ApproveRequest { request_id: test_id(40, 20), approval_id: id.clone(), ..Default::default() };
        other.action_digest = vec![9; 32].into();
        assert_eq!(reason(&house.vote_with(LEAD, other).await.unwrap_err()), "ACTION_CHANGED");
        let first = house.vote(1, LEAD, &id).await.unwrap();
        assert_eq!((first.state(), first.approvals), (pb::ApprovalState::Pending, 1));
        assert_eq!(house.vote(1, LEAD, &id).await.unwrap(), first, "a repeat is the first answer");
        assert_eq!(reason(&house.vote(2, LEAD, &id).await.unwrap_err()), "APPROVAL_TRANSITION_INVALID");
        let second_key = (1, "key-9", "lea", "OWNER");
        assert_eq!(reason(&house.vote(3, second_key, &id).await.unwrap_err()), "APPROVAL_TRANSITION_INVALID");
        let second = house.vote(4, ADMIN, &id).await.unwrap();
        assert_eq!((second.state(), second.approvals), (pb::ApprovalState::Approved, 2));
        assert_eq!(reason(&house.vote(5, OWNER, &id).await.unwrap_err()), "APPROVAL_TRANSITION_INVALID");
        let votes = house.approval(&id).await.votes;
        assert_eq!(votes.iter().map(|v| v.voter_id.as_str()).collect::<Vec<_>>(), ["lea", "bea"]);
    }

    /// A12.4: votes that come at once from two processes are all there, and lead to one approval.
    async fn no_vote_is_lost(store: TestStore) {
        let house = House::where_paying_needs(store, "quorum(5)").await;
        let id = house.pay(0, "").await.approval_id;
        let replica = house.replica().await;
        let people: [Person; 5] = [
            (1, "p1", "", "OWNER"), (1, "p2", "", "OWNER"), (1, "p3", "", "OWNER"), (1, "p4", "", "OWNER"),
            (1, "p5", "", "OWNER"),
        ];
        let votes = (30..).zip(people).map(|(n, who)| {
            let side = if n % 2 == 0 { &house } else { &replica };
            let id = &id;
            async move {
                loop {
                    match side.vote(n, who, id).await {
                        Err(lost) if reason(&lost) == "VERSION_CONFLICT" => {}
                        other => break other.unwrap(),
                    }
                }
            }
        });
        let answers = futures::future::join_all(votes).await;
        assert_eq!(answers.iter().filter(|a| a.state() == pb::ApprovalState::Approved).count(), 1);
        let now = house.approval(&id).await;
        assert_eq!((now.votes.len(), now.approval.unwrap().state()), (5, pb::ApprovalState::Approved));
        let resolved = house.told_names().await.into_iter().filter(|n| n == "ApprovalResolved").count();
        assert_eq!(resolved, 1);
    }

    /// SELF asks exactly the person that the run acts for.
    async fn a_person_confirms_for_themselves(store: TestStore) {
        let house = House::where_paying_needs(store, "level(SELF)").await;
        let id = house.pay(0, "").await.approval_id;
        assert_eq!(reason(&house.vote(1, OWNER, &id).await.unwrap_err()), "LEVEL_TOO_LOW");
        assert_eq!(house.vote(2, (1, "hugo", "", "VIEWER"), &id).await.unwrap().state(), pb::ApprovalState::Approved);
        assert_eq!(house.pay(1, &id).await.verdict, 1);
    }

    /// After a rejection the same action is denied for the rest of the attempt, at every step.
    async fn a_rejected_action_is_denied(store: TestStore) {
        let house = House::where_paying_needs(store, "").await;
        let id = house.pay(0, "").await.approval_id;
        assert_eq!(house.reject(1, LEAD, &id).await.unwrap().state(), pb::ApprovalState::Rejected);
        for asked in [pb::EvaluateStepRequest { ask: 1, ..ask_step(1, 0, "pay") }, ask_step(1, 1, "pay")] {
            let denied = house.step(asked).await.unwrap().decision.unwrap();
            let code = denied.reasons.iter().any(|r| r.code == "APPROVAL_REJECTED");
            assert!(code && denied.verdict == 2 && denied.directive == 1, "{denied:?}");
        }
        let mut other = ask_step(1, 2, "pay");
        other.arguments_digest = vec![8; 32].into();
        assert_eq!(house.step(other).await.unwrap().decision.unwrap().verdict, REQUIRE, "another action");
        let evaluation = house.end(ask_end(1, 0)).await.unwrap();
        assert_eq!(evaluation.outcome(), pb::EvaluationOutcome::Prevented);
    }

    /// Three requests that nobody decides, then the step is denied.
    async fn a_step_asks_three_times(store: TestStore) {
        let house = House::where_paying_needs(store, "expires(60)").await;
        for ask in 0..3 {
            let asked = house.pay(ask, "").await;
            assert_eq!(asked.verdict, REQUIRE);
            house.clock.advance(Duration::from_secs(60));
            assert_eq!(house.state(&asked.approval_id).await, pb::ApprovalState::Expired, "computed at the read");
            assert_eq!(reason(&house.vote(u64::from(ask) + 1, LEAD, &asked.approval_id).await.unwrap_err()), "APPROVAL_EXPIRED");
        }
        let denied = house.pay(3, "").await;
        assert!(denied.reasons.iter().any(|r| r.code == "APPROVAL_EXPIRED"), "{denied:?}");
        assert_eq!((denied.verdict, denied.directive), (2, 1));
    }

    /// A small action passes without a person when every rule lets it, in one commit with its use.
    async fn a_small_action_passes_by_itself(store: TestStore) {
        let house = House::where_paying_needs(store, "").await;
        let small = |step: u32, risk: u32, cost: i64| {
            let mut asked = ask_step(1, step, "pay");
            asked.resource.as_mut().unwrap().risk = Some(risk);
            asked.estimate = Some(contracts_common::common::v1::Amounts { cost_microusd: cost, ..Default::default() });
            asked
        };
        let passed = house.step(small(0, 1, 1_000_000)).await.unwrap().decision.unwrap();
        assert_eq!(passed.verdict, 1);
        assert_eq!(house.state(&passed.approval_id).await, pb::ApprovalState::AutoApproved);
        assert_eq!(house.step(small(1, 2, 0)).await.unwrap().decision.unwrap().verdict, REQUIRE, "too risky");
        assert_eq!(house.step(small(2, 1, 1_000_001)).await.unwrap().decision.unwrap().verdict, REQUIRE, "too dear");
        house.rule(2, "never", "@outcome(\"require_approval\") @obligations(\"no_auto\")", PAY).await;
        house.start(2).await;
        let asked = pb::EvaluateStepRequest { run_id: run(2), ..small(0, 1, 0) };
        assert_eq!(house.step(asked).await.unwrap().decision.unwrap().verdict, REQUIRE, "a rule wants a person");
    }

    /// What runs out of time is told, whether or not anybody looks; nobody is told twice.
    async fn time_is_told(store: TestStore) {
        let house = House::where_paying_needs(store, "").await;
        let id = house.pay(0, "").await.approval_id;
        let pass = || house.parts.end_due_approvals();
        assert_eq!(pass().await.unwrap(), 0);
        house.clock.advance(Duration::from_secs(601));
        let at = house.approval(&id).await.approval.unwrap();
        assert_eq!((at.state(), at.level(), at.escalations), (pb::ApprovalState::Escalated, pb::ApprovalLevel::Owner, 2));
        assert_eq!(reason(&house.vote(1, ADMIN, &id).await.unwrap_err()), "LEVEL_TOO_LOW");
        let (a, b) = tokio::join!(pass(), pass());
        assert_eq!(a.unwrap() + b.unwrap(), 1);
        let stored = house.approval(&id).await.approval.unwrap();
        assert_eq!((stored.state, stored.level, stored.escalations), (at.state, at.level, at.escalations));
        house.clock.advance(Duration::from_secs(3_000));
        assert_eq!(pass().await.unwrap(), 1);
        assert_eq!(pass().await.unwrap(), 0);
        let told: Vec<_> = house.told_names().await.into_iter().filter(|n| n.starts_with("Approval")).collect();
        assert_eq!(told, ["ApprovalRequested", "ApprovalEscalated", "ApprovalEscalated", "ApprovalResolved"]);
    }

    /// A person asks the next level; above the owner there is none.
    async fn a_person_escalates(store: TestStore) {
        let house = House::where_paying_needs(store, "level(MANAGER)").await;
        let id = house.pay(0, "").await.approval_id;
        let ask = |n| pb::EscalateRequest { request_id: test_id(42, n), approval_id: id.clone(), reason: WHY.to_owned() };
        let robot = house.ask_as((4, "robot", "", "ADMIN"), "ApprovalService/Escalate", ask(1));
        assert_eq!(reason(&house.approvals.clone().escalate(robot).await.unwrap_err()), "HUMAN_REQUIRED");
        let up = house.ask_as(LEAD, "ApprovalService/Escalate", ask(2));
        let up = house.approvals.clone().escalate(up).await.unwrap().into_inner().approval.unwrap();
        assert_eq!((up.level(), up.escalations), (pb::ApprovalLevel::Owner, 1));
        let more = house.ask_as(LEAD, "ApprovalService/Escalate", ask(3));
        assert_eq!(reason(&house.approvals.clone().escalate(more).await.unwrap_err()), "APPROVAL_TRANSITION_INVALID");
    }

    /// The end of the run and a recall end what waits; nothing of it is usable any more.
    async fn nobody_waits_for_an_ended_run(store: TestStore) {
        let house = House::where_paying_needs(store, "").await;
        let waiting = house.pay(0, "").await.approval_id;
        let approved = house.step(ask_step(1, 1, "pay")).await.unwrap().decision.unwrap().approval_id;
        house.vote(1, LEAD, &approved).await.unwrap();
        let cancel = pb::CancelApprovalsRequest {
            request_id: test_id(43, 1), run_id: run(1), attempt: 1, reason: "the run ended".to_owned(),
        };
        let ended = call!(house, approvals.cancel_approvals, "ApprovalService/CancelApprovals", cancel.clone()).unwrap();
        assert_eq!(ended.approval_ids, [waiting.clone(), approved.clone()]);
        let again = call!(house, approvals.cancel_approvals, "ApprovalService/CancelApprovals", cancel).unwrap();
        assert_eq!(again, ended);
        for id in [&waiting, &approved] {
            assert_eq!(house.state(id).await, pb::ApprovalState::Cancelled);
        }
        let asked = pb::EvaluateStepRequest { ask: 1, approval_id: approved, ..ask_step(1, 1, "pay") };
        let asked = house.step(asked).await.unwrap().decision.unwrap();
        assert_eq!(asked.approval_unusable(), pb::ApprovalUnusable::Cancelled);
        let digest = asked.snapshot_digest.clone();
        let recall = pb::RecallSnapshotRequest { request_id: test_id(12, 9), digest, directive: 2, reason: WHY.into() };
        call!(house, snapshots.recall_snapshot, "SnapshotService/RecallSnapshot", recall).unwrap();
        assert_eq!(house.state(&asked.approval_id).await, pb::ApprovalState::Cancelled);
    }

    /// The start of a run can need approval too.
    async fn a_start_is_approved(store: TestStore) {
        let house = House::over(store).await;
        let starts = "forbid(principal, action == Runspine::Action::\"start_run\", resource);";
        house.rule(1, "start", "@outcome(\"require_approval\")", starts).await;
        let asked = house.start(1).await.decision.unwrap();
        assert_eq!(asked.verdict, REQUIRE);
        house.vote(1, LEAD, &asked.approval_id).await.unwrap();
        let again = pb::EvaluateRunRequest { ask: 1, approval_id: asked.approval_id.clone(), ..ask_run(1) };
        let allowed = house.evaluate_run(again).await.unwrap().decision.unwrap();
        assert_eq!(allowed.verdict, 1);
        assert_eq!(house.state(&asked.approval_id).await, pb::ApprovalState::Used);
        let subject = house.approval(&asked.approval_id).await.subject.unwrap();
        assert_eq!((subject.kind, subject.resource.as_str()), (0, "project-1"));
    }

    /// Lists hold what the state is now, and what the caller can vote on.
    async fn lists_show_the_state_of_now(store: TestStore) {
        let house = House::where_paying_needs(store, "").await;
        for step in 0..4 {
            let id = house.step(ask_step(1, step, "pay")).await.unwrap().decision.unwrap().approval_id;
            if step == 0 {
                house.vote(1, LEAD, &id).await.unwrap();
            }
        }
        let of = |states: &[pb::ApprovalState], mine: bool| pb::ListApprovalsRequest {
            states: states.iter().map(|s| *s as i32).collect(), mine, page_size: 2, ..Default::default()
        };
        let steps = |found: Vec<pb::Approval>| found.iter().map(|a| a.step_index()).collect::<Vec<_>>();
        assert_eq!(steps(house.list(of(&[pb::ApprovalState::Approved], false)).await), [0]);
        assert_eq!(steps(house.list(of(&[], false)).await), [3, 2], "a page");
        let mine = house.ask_as(LEAD, "ApprovalService/ListApprovals", of(&[], true));
        let mine = house.approvals.clone().list_approvals(mine).await.unwrap().into_inner();
        assert_eq!((steps(mine.approvals), mine.next_page_token.is_empty()), (vec![3, 2], false));
        let none = house.ask_as((1, "hugo", "", "OWNER"), "ApprovalService/ListApprovals", of(&[], true));
        assert!(house.approvals.clone().list_approvals(none).await.unwrap().into_inner().approvals.is_empty());
        house.clock.advance(Duration::from_secs(3_600));
        assert_eq!(steps(house.list(of(&[pb::ApprovalState::Expired], false)).await), [3, 2]);
        assert_eq!(steps(house.list(of(&[pb::ApprovalState::Lapsed], false)).await), [0]);
    }

    /// A watcher hears the whole history from any place on, and what comes.
    async fn a_watcher_hears_every_change(store: TestStore) {
        let house = House::where_paying_needs(store, "").await;
        let id = house.pay(0, "").await.approval_id;
        let watch = pb::WatchApprovalsRequest { from_event: Some(0), ..Default::default() };
        let watch = house.ask(1, "ApprovalService/WatchApprovals", watch);
        let mut heard = house.approvals.clone().watch_approvals(watch).await.unwrap().into_inner();
        let asked = heard.message().await.unwrap().unwrap();
        assert_eq!((asked.from, asked.to()), (0, pb::ApprovalState::Pending));
        house.vote(1, LEAD, &id).await.unwrap();
        let approved = heard.message().await.unwrap().unwrap();
        assert_eq!((approved.to(), approved.approval.unwrap().approval_id), (pb::ApprovalState::Approved, id));
        let later = pb::WatchApprovalsRequest { from_event: Some(asked.event), ..Default::default() };
        let later = house.ask(1, "ApprovalService/WatchApprovals", later);
        let mut later = house.approvals.clone().watch_approvals(later).await.unwrap().into_inner();
        assert_eq!(later.message().await.unwrap().unwrap().event, approved.event);
    }
}
