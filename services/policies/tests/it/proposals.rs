//! Proposals: written by one, decided by another.

use contracts_policies::v1 as pb;
use runspine_testkit::{TestStore, on_both_engines, test_id};
use std::time::Duration;
use tonic::Status;

use crate::{
    call,
    harness::{House, WHY, ask_step, content, reason},
};

const DENY_T1: &str =
    "forbid(principal, action == Runspine::Action::\"tool_call\", resource == Runspine::Tool::\"t1\");";
pub const BOB: (i32, &str, &str, &str) = (1, "bob", "bob", "ADMIN");
const BOT: (i32, &str, &str, &str) = (3, "bot", "", "ADMIN");

pub fn wish(n: u64, slug: &str) -> pb::CreateProposalRequest {
    pb::CreateProposalRequest {
        request_id: test_id(70, n),
        name: "no t1".into(),
        rationale: "it breaks things".into(),
        body: Some(content(slug, "", DENY_T1)),
        ..Default::default()
    }
}

impl House {
    pub async fn propose(&self, r: pb::CreateProposalRequest) -> Result<pb::Proposal, Status> {
        let made = call!(self, proposals.create_proposal, "ProposalService/CreateProposal", r);
        made.map(|r| r.proposal.unwrap())
    }

    pub async fn approve_as(
        &self,
        n: u64,
        person: (i32, &str, &str, &str),
        p: &pb::Proposal,
        activate: bool,
    ) -> Result<pb::ApproveProposalResponse, Status> {
        let r = pb::ApproveProposalRequest {
            request_id: test_id(71, n),
            proposal_id: p.proposal_id.clone(),
            expected_version: p.version,
            activate,
            ..Default::default()
        };
        let asked = self.ask_as(person, "ProposalService/ApproveProposal", r);
        self.proposals.clone().approve_proposal(asked).await.map(tonic::Response::into_inner)
    }

    async fn get_proposal(&self, id: &str) -> pb::Proposal {
        let get = pb::GetProposalRequest { proposal_id: id.to_owned() };
        let got = call!(self, proposals.get_proposal, "ProposalService/GetProposal", get);
        got.unwrap().proposal.unwrap()
    }

    /// A proposal that was reviewed, for those who look at every table.
    pub async fn reviewed_proposal(&self, n: u64) {
        let p = self.propose(wish(n, &format!("reviewed-{n}"))).await.unwrap();
        self.approve_as(n, BOB, &p, false).await.unwrap();
    }
}

on_both_engines! {
    /// Approval is one commit with the rule, in force if that is wanted; its author and a program can't give it.
    async fn another_person_approves(store: TestStore) {
        let house = House::over(store).await;
        let p = house.propose(wish(1, "no-t1")).await.unwrap();
        assert_eq!((p.state(), p.revision, p.version), (pb::ProposalState::Draft, 1, 1));
        assert_eq!(house.propose(wish(1, "no-t1")).await.unwrap(), p, "the same answer again");
        let own = (1, "ann", "", "ADMIN");
        assert_eq!(reason(&house.approve_as(1, own, &p, true).await.unwrap_err()), "SELF_APPROVAL");
        assert_eq!(reason(&house.approve_as(2, BOT, &p, true).await.unwrap_err()), "HUMAN_REQUIRED");
        let done = house.approve_as(3, BOB, &p, true).await.unwrap();
        let (rule, approved) = (done.rule.unwrap(), done.proposal.unwrap());
        assert_eq!((rule.state(), rule.author.as_ref().unwrap().id.as_str()), (pb::RuleState::Active, "ann"));
        assert_eq!((&rule.proposal_id, &approved.rule_id), (&p.proposal_id, &rule.rule_id));
        assert_eq!((approved.state(), done.snapshot_digest.len()), (pb::ProposalState::Approved, 32));
        house.start(1).await;
        let decision = house.step(ask_step(1, 0, "t1")).await.unwrap().decision.unwrap();
        assert_eq!(decision.reasons[0].source_id, rule.rule_id);
        assert_eq!(reason(&house.approve_as(4, BOB, &approved, true).await.unwrap_err()), "PROPOSAL_TRANSITION_INVALID");
        let got = house.get_proposal(&p.proposal_id).await;
        assert_eq!((got.reviews.len(), got.reviews[0].reviewer.as_ref().unwrap().id.as_str()), (1, "bob"));
        let told = house.told_names().await;
        for name in ["ProposalCreated", "ProposalApproved", "RuleCreated", "RuleActivated"] {
            assert!(told.iter().any(|n| n == name), "{name}: {told:?}");
        }
    }

    /// Rejected, withdrawn, revised, expired: each once, by whom it may be.
    async fn a_proposal_is_decided_once(store: TestStore) {
        let house = House::over(store).await;
        let p = house.propose(wish(1, "a")).await.unwrap();
        let reject = |n: u64, p: &pb::Proposal| pb::RejectProposalRequest {
            request_id: test_id(72, n), proposal_id: p.proposal_id.clone(), expected_version: p.version, reason: WHY.into(),
        };
        let own = call!(house, proposals.reject_proposal, "ProposalService/RejectProposal", reject(1, &p)).unwrap_err();
        assert_eq!(reason(&own), "SELF_APPROVAL");
        let update = pb::UpdateProposalRequest {
            request_id: test_id(73, 1), proposal_id: p.proposal_id.clone(), expected_version: p.version,
            name: "another".into(), body: Some(content("a", "", "forbid(principal, action, resource")), ..Default::default()
        };
        let updated = call!(house, proposals.update_proposal, "ProposalService/UpdateProposal", update.clone()).unwrap();
        assert!(!updated.findings.is_empty());
        let p = updated.proposal.unwrap();
        assert_eq!((p.revision, p.version, p.name.as_str()), (2, 2, "another"));
        assert_eq!(reason(&house.approve_as(1, BOB, &p, false).await.unwrap_err()), "FINDINGS_BLOCKING");
        let foreign = house.ask_as(BOB, "ProposalService/UpdateProposal", pb::UpdateProposalRequest {
            request_id: test_id(73, 2), expected_version: 2, body: Some(content("a", "", DENY_T1)), ..update
        });
        assert_eq!(reason(&house.proposals.clone().update_proposal(foreign).await.unwrap_err()), "NOT_THE_AUTHOR");
        let rejected = house.ask_as(BOB, "ProposalService/RejectProposal", reject(2, &p));
        let rejected = house.proposals.clone().reject_proposal(rejected).await.unwrap().into_inner().proposal.unwrap();
        assert_eq!(rejected.state(), pb::ProposalState::Rejected);
        let q = house.propose(wish(2, "b")).await.unwrap();
        let withdraw = pb::WithdrawProposalRequest {
            request_id: test_id(74, 1), proposal_id: q.proposal_id.clone(), expected_version: 1, reason: WHY.into(),
        };
        let withdrawn = call!(house, proposals.withdraw_proposal, "ProposalService/WithdrawProposal", withdraw).unwrap();
        assert_eq!(withdrawn.proposal.unwrap().state(), pb::ProposalState::Withdrawn);
        let made_of = pb::CreateProposalRequest { source_kind: "incident".into(), source_id: "i-1".into(), ..wish(3, "c") };
        let first = house.propose(made_of.clone()).await.unwrap();
        let again = house.propose(pb::CreateProposalRequest { request_id: test_id(70, 4), ..made_of }).await.unwrap();
        assert_eq!(first.proposal_id, again.proposal_id, "one proposal is made of one thing");
        house.clock.advance(Duration::from_secs(30 * 86_400 + 1));
        assert_eq!(house.parts.end_due_proposals().await.unwrap(), 1);
        let list = pb::ListProposalsRequest { states: vec![5], ..Default::default() };
        let expired = call!(house, proposals.list_proposals, "ProposalService/ListProposals", list).unwrap().proposals;
        assert_eq!(expired.iter().map(|p| &p.proposal_id).collect::<Vec<_>>(), [&first.proposal_id]);
        let unknown = pb::GetProposalRequest { proposal_id: test_id(99, 1) };
        let refused = call!(house, proposals.get_proposal, "ProposalService/GetProposal", unknown).unwrap_err();
        assert_eq!(reason(&refused), "PROPOSAL_NOT_FOUND");
    }

    /// A4.3, `require_proposal`: only what was approved comes into force, and not by its author.
    async fn nobody_activates_alone(store: TestStore) {
        let house = House::over(store).await;
        let settings = pb::PolicySettings { baseline_grant: true, require_proposal: true, ..Default::default() };
        let set = pb::SetPolicySettingsRequest {
            request_id: test_id(11, 1), expected_version: 0, reason: WHY.into(), settings: Some(settings),
        };
        let set = call!(house, settings.set_policy_settings, "SettingsService/SetPolicySettings", set).unwrap();
        assert!(set.settings.unwrap().require_proposal);
        let rule = house.create(1, content("alone", "", DENY_T1)).await.unwrap().rule.unwrap();
        assert_eq!(reason(&house.activate(1, &rule).await.unwrap_err()), "SELF_APPROVAL");
        let activate = |n: u64, rule: &pb::Rule| pb::ActivateRuleRequest {
            request_id: test_id(75, n), rule_id: rule.rule_id.clone(), version: rule.version,
            expected_version: rule.revision, reason: WHY.into(),
        };
        let bob = house.ask_as(BOB, "RuleService/ActivateRule", activate(1, &rule));
        assert_eq!(reason(&house.rules.clone().activate_rule(bob).await.unwrap_err()), "PROPOSAL_REQUIRED");
        let p = house.propose(wish(1, "proposed")).await.unwrap();
        let draft = house.approve_as(1, BOB, &p, false).await.unwrap().rule.unwrap();
        assert_eq!(draft.state(), pb::RuleState::Draft);
        assert_eq!(reason(&house.activate(2, &draft).await.unwrap_err()), "SELF_APPROVAL", "ann wrote it");
        let bob = house.ask_as(BOB, "RuleService/ActivateRule", activate(2, &draft));
        let active = house.rules.clone().activate_rule(bob).await.unwrap().into_inner().rule.unwrap();
        assert_eq!(active.state(), pb::RuleState::Active);
    }

    /// STRICT: only with a back-test of just this rule against what is in force.
    async fn strict_wants_a_backtest(store: TestStore) {
        let house = House::over(store).await;
        house.start(1).await;
        house.step(ask_step(1, 0, "t1")).await.unwrap();
        let p = house.propose(wish(1, "no-t1")).await.unwrap();
        let _working = house.work_on_backtests();
        let of = |slug: &str| crate::sandbox::extra(slug, "", DENY_T1);
        let other = house.backtest(1, Some(of("other"))).await.backtest_id;
        let tested = house.backtest(2, Some(of("no-t1"))).await.backtest_id;
        for (n, backtest_id, approved) in [(1, String::new(), false), (2, other, false), (3, tested, true)] {
            let r = pb::ApproveProposalRequest {
                request_id: test_id(71, n), proposal_id: p.proposal_id.clone(), expected_version: 1, backtest_id,
                ..Default::default()
            };
            let asked = house.ask_strict(BOB, "ProposalService/ApproveProposal", r);
            match house.proposals.clone().approve_proposal(asked).await {
                Ok(_) => assert!(approved, "{n}"),
                Err(refused) => assert_eq!((reason(&refused).as_str(), approved), ("BACKTEST_REQUIRED", false)),
            }
        }
    }
}
