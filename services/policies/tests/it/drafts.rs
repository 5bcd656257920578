//! Drafts: proposals that templates and lessons write, and what speaks for them.

use std::time::Duration;

use contracts_common::common::v1::EventEnvelope;
use contracts_policies::v1 as pb;
use prost::Message as _;
use runspine_testkit::{TestStore, on_both_engines, run, test_id};
use tonic::Status;

use crate::{
    call,
    decided::on,
    harness::{House, WHY, ask_step, content, reason},
    proposals::{BOB, wish},
};

const CAT: (i32, &str, &str, &str) = (1, "cat", "cat", "ADMIN");

/// A proposal that says what it is about, and no rule.
fn of_kind(n: u64, kind: pb::ProposalKind) -> pb::CreateProposalRequest {
    pb::CreateProposalRequest { kind: kind.into(), body: None, ..wish(n, "") }
}

fn arguments(tool: &str) -> pb::TemplateBody {
    let tools = pb::TemplateArgument { name: "tools".into(), values: vec![tool.to_owned()] };
    pb::TemplateBody { arguments: vec![tools], ..Default::default() }
}

impl House {
    async fn emitted(&self, n: u64, r: pb::EmitLessonRequest) -> pb::Lesson {
        let r = pb::EmitLessonRequest {
            request_id: test_id(60, n),
            source: pb::LessonSource::Incident.into(),
            agent_id: "agent-1".into(),
            run_id: run(1),
            ..r
        };
        call!(self, lessons.emit_lesson, "LessonService/EmitLesson", r).unwrap().lesson.unwrap()
    }

    async fn near_its_limit(&self, n: u64, metric: &str) -> pb::Lesson {
        let near = pb::EmitLessonRequest {
            r#type: pb::LessonType::NearThreshold.into(),
            source_event_id: format!("signal-{n}"),
            metric: metric.into(),
            utilization_permille: 900,
            threshold: 10_000,
            current: 9_000,
            ..Default::default()
        };
        self.emitted(n, near).await
    }

    async fn failed_with(&self, n: u64, code: &str, severity: pb::Severity) -> pb::Lesson {
        let failed = pb::EmitLessonRequest {
            r#type: pb::LessonType::Failure.into(),
            source_event_id: format!("incident-{n}"),
            error_code: code.into(),
            severity: severity.into(),
            ..Default::default()
        };
        self.emitted(n, failed).await
    }

    async fn told_as(&self, name: &str) -> Vec<EventEnvelope> {
        let name = format!("policies.{name}");
        self.told().await.into_iter().filter(|e| e.r#type == name).collect()
    }

    async fn approved_strictly(
        &self,
        n: u64,
        p: &pb::Proposal,
        backtest: &str,
    ) -> Result<pb::ApproveProposalResponse, Status> {
        let r = pb::ApproveProposalRequest {
            request_id: test_id(71, n),
            proposal_id: p.proposal_id.clone(),
            expected_version: p.version,
            backtest_id: backtest.to_owned(),
            ..Default::default()
        };
        let asked = self.ask_strict(BOB, "ProposalService/ApproveProposal", r);
        self.proposals.clone().approve_proposal(asked).await.map(tonic::Response::into_inner)
    }
}

on_both_engines! {
    /// §11: a proposal without a rule takes the template of its kind; what that leaves open has to be said.
    async fn a_kind_has_its_template(store: TestStore) {
        use pb::ProposalKind as K;
        let house = House::over(store).await;
        let table = [
            (K::RetryStorm, "COOLDOWN"), (K::CostSpike, "SPEND_CEILING"), (K::Timeout, "SPEND_CEILING"),
            (K::Crash, "HARD_STOP"), (K::RateLimit, "SLIDING_WINDOW"),
        ];
        for (n, (kind, template)) in (1..).zip(table) {
            let made = house.propose(of_kind(n, kind)).await.unwrap();
            let body = made.body.clone().unwrap();
            assert_eq!(body.template.as_ref().unwrap().template_id, template);
            assert_eq!(body.cedar.contains("context.totals.duration_ms"), kind == K::Timeout, "{}", body.cedar);
            let done = house.approve_as(n, BOB, &made, true).await.unwrap();
            assert_eq!((done.rule.unwrap().source(), done.snapshot_digest.len()), (pb::RuleSource::Template, 32));
        }
        for (n, kind) in [(20, K::ToolMisuse), (21, K::FailurePattern)] {
            let refused = house.propose(of_kind(n, kind)).await.unwrap_err();
            let fields = runspine_rpc::details(&refused).fields;
            assert_eq!(fields[0].0, "content.template.arguments.tools", "{fields:?}");
            let body = pb::RuleContent { template: Some(arguments("shell")), ..Default::default() };
            let asked = pb::CreateProposalRequest { body: Some(body), request_id: test_id(70, n + 10), ..of_kind(n, kind) };
            let made = house.propose(asked).await.unwrap();
            assert!(made.body.unwrap().cedar.contains("Runspine::Tool::\"shell\""));
        }
        let empty = pb::RuleContent { slug: "by-hand".into(), ..Default::default() };
        let custom = pb::CreateProposalRequest { body: Some(empty), ..of_kind(40, K::Custom) };
        assert_eq!(reason(&house.propose(custom).await.unwrap_err()), "RULE_TEXT_INVALID");
    }

    /// §11, §13: what a lesson suggests is made from the template of its kind, bound to its agent, and says what it was
    /// learned from, so that what it prevents is counted.
    async fn a_lesson_is_drafted_from_a_template(store: TestStore) {
        let house = House::over(store).await;
        let lesson = house.near_its_limit(1, "COST").await;
        let done = house.convert(1, &lesson).await.unwrap().proposal.unwrap();
        let body = done.body.clone().unwrap();
        assert_eq!((done.kind(), body.scope(), body.scope_id.as_str()), (pb::ProposalKind::CostSpike, pb::RuleScope::Agent, "agent-1"));
        assert_eq!(body.template.as_ref().unwrap().template_id, "SPEND_CEILING");
        assert!(body.cedar.contains("> 8100") && body.cedar.contains(&lesson.lesson_id), "{}", body.cedar);
        assert_eq!((body.mode(), done.pattern_signature.len()), (pb::RuleMode::Warn, 64));
        // What is kept can be sent back as it is.
        let update = pb::UpdateProposalRequest {
            request_id: test_id(73, 1), proposal_id: done.proposal_id.clone(), expected_version: done.version,
            name: done.name.clone(), body: Some(body.clone()), ..Default::default()
        };
        let kept = call!(house, proposals.update_proposal, "ProposalService/UpdateProposal", update).unwrap();
        assert_eq!((kept.proposal.unwrap().body.unwrap(), kept.findings.len()), (body, 0));
        let steps = house.near_its_limit(2, "STEPS").await;
        let steps = house.convert(2, &steps).await.unwrap().proposal.unwrap().body.unwrap();
        assert_eq!((steps.template.unwrap().template_id.as_str(), steps.sequence.unwrap().max), ("SLIDING_WINDOW", 8_100));
        let rate = house.near_its_limit(3, "RATE").await;
        let alone = house.convert(3, &rate).await.unwrap_err();
        assert_eq!(reason(&alone), "FIELD_INVALID", "nobody knows per what");
        let as_storm = pb::ConvertLessonRequest {
            request_id: test_id(64, 4), lesson_id: rate.lesson_id.clone(), expected_version: rate.version,
            kind: pb::ProposalKind::RetryStorm.into(), ..Default::default()
        };
        let storm = call!(house, lessons.convert_lesson, "LessonService/ConvertLesson", as_storm).unwrap();
        let body = storm.proposal.unwrap().body.unwrap();
        assert_eq!((body.template.unwrap().template_id.as_str(), body.sequence.unwrap().origin), ("COOLDOWN", rate.lesson_id));
    }

    /// §11: a pattern has one draft of a kind; what comes later joins its support, until somebody has decided.
    async fn a_pattern_has_one_draft_of_a_kind(store: TestStore) {
        let house = House::over(store).await;
        let first = house.failed_with(1, "E1", pb::Severity::High).await;
        let made = house.convert(1, &first).await.unwrap().proposal.unwrap();
        house.clock.advance(Duration::from_secs(86_401));
        let second = house.failed_with(2, "E1", pb::Severity::Critical).await;
        assert_eq!((second.lesson_id == first.lesson_id, &second.pattern_signature), (false, &first.pattern_signature));
        let joined = house.convert(2, &second).await.unwrap().proposal.unwrap();
        assert_eq!((&joined.proposal_id, joined.revision, joined.version), (&made.proposal_id, 1, 2));
        assert_eq!(joined.supporting_ids, [first.lesson_id.clone(), second.lesson_id.clone()]);
        let pattern = first.pattern_signature.clone();
        let again = |n: u64, kind: pb::ProposalKind, ids: &[&str]| pb::CreateProposalRequest {
            kind: kind.into(), pattern_signature: pattern.clone(),
            supporting_ids: ids.iter().map(|i| (*i).to_owned()).collect(), ..wish(n, &format!("by-hand-{n}"))
        };
        let same = pb::ProposalKind::FailurePattern;
        let more = house.propose(again(1, same, &["feedback-1", &first.lesson_id])).await.unwrap();
        assert_eq!((more.supporting_ids.len(), more.version), (3, 3));
        let nothing_new = house.propose(again(2, same, &["feedback-1"])).await.unwrap();
        assert_eq!((&nothing_new.proposal_id, nothing_new.version), (&made.proposal_id, 3));
        let told: Vec<_> = house.told_as("ProposalSupported").await.iter()
            .map(|e| pb::ProposalSupported::decode(e.data.clone()).unwrap().supporting_ids).collect();
        assert_eq!(told, [vec![second.lesson_id.clone()], vec!["feedback-1".to_owned()]]);
        assert_eq!(house.told_as("ProposalCreated").await.len(), 1);
        let drafts = house.told_as("DraftCreated").await;
        assert_eq!((drafts.len(), drafts[0].run_id.as_str()), (1, run(1).as_str()));
        let other = house.propose(again(3, pb::ProposalKind::Crash, &[])).await.unwrap();
        assert_ne!(other.proposal_id, made.proposal_id, "another kind");
        house.approve_as(1, BOB, &nothing_new, false).await.unwrap();
        let anew = house.propose(again(4, same, &["feedback-2"])).await.unwrap();
        assert_ne!(anew.proposal_id, made.proposal_id, "the first was decided");
        // A critical failure alone is enough to propose that it is blocked.
        let drafted = pb::CreateProposalRequest {
            body: None, ..again(5, pb::ProposalKind::RetryStorm, &[])
        };
        assert_eq!(house.propose(drafted).await.unwrap().body.unwrap().mode(), pb::RuleMode::Block);
    }

    /// §11: the draft is told with the attempt that it counts for.
    async fn a_draft_is_told_to_its_run(store: TestStore) {
        let house = House::over(store).await;
        house.begin(1, 1).await;
        house.begin(1, 2).await;
        let lesson = house.failed_with(1, "E1", pb::Severity::High).await;
        house.convert(1, &lesson).await.unwrap();
        let told = house.told_as("DraftCreated").await;
        assert_eq!((told.len(), told[0].attempt), (1, 2));
    }

    /// §10, §11: what would block a rule from coming into force blocks its approval, even if it is to stay a draft.
    async fn a_blocking_finding_blocks_an_approval(store: TestStore) {
        let house = House::over(store).await;
        house.rule(1, "blocks", "", &on("t1")).await;
        let grant = "permit(principal, action == Runspine::Action::\"tool_call\", resource == Runspine::Tool::\"t1\");";
        let p = house.propose(pb::CreateProposalRequest {
            body: Some(content("grants", "", grant)), ..wish(1, "")
        }).await.unwrap();
        for (n, activate) in [(1, false), (2, true)] {
            let refused = house.approve_as(n, BOB, &p, activate).await.unwrap_err();
            assert_eq!(reason(&refused), "FINDINGS_BLOCKING");
            assert!(runspine_rpc::details(&refused).preconditions[0].0.starts_with("CONTRADICTION"));
        }
    }

    /// A11.2: of two who approve at once one does, and the other is told that it was decided.
    async fn two_reviewers_make_one_rule(store: TestStore) {
        let house = House::over(store).await;
        let p = house.propose(wish(1, "no-t1")).await.unwrap();
        let replica = house.replica().await;
        let (a, b) = tokio::join!(house.approve_as(1, BOB, &p, true), replica.approve_as(2, CAT, &p, true));
        let lost = match (&a, &b) { (Ok(_), Err(e)) | (Err(e), Ok(_)) => e.clone(), _ => panic!("{a:?} {b:?}") };
        assert_eq!(reason(&lost), "PROPOSAL_TRANSITION_INVALID");
        let list = call!(house, rules.list_rules, "RuleService/ListRules", pb::ListRulesRequest::default()).unwrap();
        assert_eq!(list.rules.len(), 1);
        let winner = if a.is_ok() { house.approve_as(1, BOB, &p, true).await } else { house.approve_as(2, CAT, &p, true).await };
        assert_eq!(winner.unwrap(), a.or(b).unwrap(), "who was first gets the same answer again");
    }

    /// A11.1: a back-test that is older than a day, or against another snapshot, speaks for nothing.
    async fn an_old_backtest_is_no_backtest(store: TestStore) {
        let house = House::over(store).await;
        house.start(1).await;
        house.step(ask_step(1, 0, "t1")).await.unwrap();
        let p = house.propose(wish(1, "no-t1")).await.unwrap();
        let _working = house.work_on_backtests();
        let deny = "forbid(principal, action == Runspine::Action::\"tool_call\", resource == Runspine::Tool::\"t1\");";
        let tested = || crate::sandbox::extra("no-t1", "", deny);
        let first = house.backtest(1, Some(tested())).await.backtest_id;
        house.clock.advance(Duration::from_secs(86_401));
        assert_eq!(reason(&house.approved_strictly(1, &p, &first).await.unwrap_err()), "BACKTEST_REQUIRED");
        let second = house.backtest(2, Some(tested())).await.backtest_id;
        let other = house.rule(1, "other", "@outcome(\"warn\")", &on("t2")).await;
        assert_eq!(reason(&house.approved_strictly(2, &p, &second).await.unwrap_err()), "BACKTEST_REQUIRED");
        // The state is what it was again, and so is the snapshot: the same test speaks for the proposal.
        let retire = pb::RetireRuleRequest {
            request_id: test_id(12, 1), rule_id: other.rule.unwrap().rule_id, reason: WHY.into(), ..Default::default()
        };
        call!(house, rules.retire_rule, "RuleService/RetireRule", retire).unwrap();
        house.approved_strictly(3, &p, &second).await.unwrap();
    }
}
