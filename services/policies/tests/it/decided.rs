//! What a decision knows and tells besides its rules: labels of the parent run, for whom it was, how often it was put off,
//! whom the rules want told, and which rules were looked at.

use contracts_common::common::v1::{Amounts, EventEnvelope};
use contracts_policies::v1 as pb;
use prost::Message as _;
use runspine_testkit::{TestStore, on_both_engines, run};

use crate::{
    call,
    harness::{House, ask_end, ask_run, ask_step},
};

const SENDS: &str = "forbid(principal, action == Runspine::Action::\"tool_call\", resource == Runspine::Tool::\"sends\") \
     when { context.run.taints.contains(\"pii\") };";

/// A restriction of the calls of one tool.
pub fn on(tool: &str) -> String {
    format!(
        "forbid(principal, action == Runspine::Action::\"tool_call\", resource == Runspine::Tool::\"{tool}\");"
    )
}

fn spawned(number: u64, parent: u64) -> pb::EvaluateRunRequest {
    pb::EvaluateRunRequest { parent_run_id: run(parent), ..ask_run(number) }
}

impl House {
    async fn called(&self, number: u64, step: u32, tool: &str) -> i32 {
        self.step(ask_step(number, step, tool)).await.unwrap().decision.unwrap().verdict
    }
}

on_both_engines! {
    /// §8 TAINT: a run that a tainted one spawns carries its labels, and those of its own children; nobody else does.
    async fn a_spawned_run_begins_with_the_labels_of_its_parent(store: TestStore) {
        let house = House::over(store).await;
        house.rule(1, "reads", "@outcome(\"warn\") @obligations(\"taint(pii)\")", &on("reads")).await;
        house.rule(2, "sends", "", SENDS).await;
        house.start(1).await;
        house.evaluate_run(spawned(2, 1)).await.unwrap();
        house.step(ask_step(1, 0, "reads")).await.unwrap();
        assert_eq!(house.called(2, 0, "sends").await, 1, "it was spawned before its parent read anything");
        let replica = house.replica().await;
        replica.evaluate_run(spawned(3, 1)).await.unwrap();
        assert_eq!(house.called(3, 0, "sends").await, 2);
        house.evaluate_run(spawned(4, 3)).await.unwrap();
        assert_eq!(replica.called(4, 0, "sends").await, 2, "a child of a child");
        house.evaluate_run(spawned(5, 99)).await.unwrap();
        assert_eq!(house.called(5, 0, "sends").await, 1, "a parent that nobody knows has no labels");
        let again = house.evaluate_run(spawned(2, 1)).await.unwrap();
        assert_eq!(again.decision.unwrap().verdict, 1, "a repeat has the first answer");
        assert_eq!(house.called(2, 1, "sends").await, 1, "what it was bound with stays");
    }

    /// §6.8, §2.3: for whom it was decided stands in the decision, and whom the rules want told is told.
    async fn a_decision_tells_for_whom_and_to_whom(store: TestStore) {
        let house = House::over(store).await;
        house.rule(1, "tells", "@outcome(\"warn\") @obligations(\"notify(ops)\")", &on("pay")).await;
        house.rule(2, "tells-too", "@outcome(\"warn\") @obligations(\"notify(security)\")", &on("pay")).await;
        let mut ask = ask_run(1);
        ask.agent.as_mut().unwrap().groups = vec!["payers".into()];
        ask.human = Some(pb::HumanFacts { id: "hugo".into(), teams: vec!["red".into()], ..Default::default() });
        ask.api_key = Some(pb::NamedFacts { id: "key-1".into(), ..Default::default() });
        house.evaluate_run(ask).await.unwrap();
        let decision = house.step(ask_step(1, 0, "pay")).await.unwrap().decision.unwrap();
        let tuple = pb::ScopeTuple {
            project_id: "project-1".into(), agent_id: "agent-1".into(), agent_groups: vec!["payers".into()],
            api_key_id: "key-1".into(), human_actor_id: "hugo".into(), teams: vec!["red".into()],
        };
        assert_eq!(decision.scope_tuple, Some(tuple));
        house.step(ask_step(1, 0, "pay")).await.unwrap();
        house.step(ask_step(1, 1, "look")).await.unwrap();
        let asked: Vec<EventEnvelope> =
            house.told().await.into_iter().filter(|e| e.r#type == "policies.NotificationRequested").collect();
        let told: Vec<_> =
            asked.iter().map(|e| pb::NotificationRequested::decode(e.data.clone()).unwrap()).collect();
        let mut channels: Vec<&str> = told.iter().map(|t| t.channel_id.as_str()).collect();
        channels.sort_unstable();
        assert_eq!(channels, ["ops", "security"], "once, however often it was asked");
        assert!(told.iter().all(|t| t.decision_id == decision.decision_id && t.code == "TEST_RULE"));
        assert!(asked.iter().all(|e| e.run_id == run(1) && e.step_index == Some(0)));
    }

    /// §2.3: ten deferrals are enough; an answer that asked for approval is none.
    async fn only_deferrals_are_counted(store: TestStore) {
        let house = House::over(store).await;
        house.rule(1, "later", "@outcome(\"defer\")", &on("pay")).await;
        let dear = format!("{} when {{ context.estimate.cost_microusd > 100 }};", on("pay").trim_end_matches(';'));
        house.rule(2, "dear", "@outcome(\"require_approval\") @obligations(\"no_auto\")", &dear).await;
        house.start(1).await;
        let ask = |ask: u32, cost: i64| {
            let estimate = Some(Amounts { cost_microusd: cost, ..Default::default() });
            house.step(pb::EvaluateStepRequest { ask, estimate, ..ask_step(1, 0, "pay") })
        };
        let verdict = |answer: pb::EvaluateStepResponse| answer.decision.unwrap().verdict;
        assert_eq!(verdict(ask(0, 200).await.unwrap()), 4);
        for n in 1..=10 {
            assert_eq!(verdict(ask(n, 0).await.unwrap()), 5, "{n}");
        }
        let denied = ask(11, 0).await.unwrap().decision.unwrap();
        assert_eq!((denied.verdict, denied.reasons[0].outcome), (2, 2), "{denied:?}");
        assert!(denied.reasons.iter().any(|r| r.code == "DEFER_EXHAUSTED"));
    }

    /// §7.2: rules that were evaluated count, whether they matched or not, each once.
    async fn every_rule_that_was_looked_at_counts_once(store: TestStore) {
        let house = House::over(store).await;
        for (n, slug) in [(1, "one"), (2, "two"), (3, "three")] {
            house.rule(n, slug, "@outcome(\"warn\")", &on(slug)).await;
        }
        let late = "forbid(principal, action == Runspine::Action::\"tool_call\", resource) when { context.step_index > 90 };";
        house.rule(4, "late", "", late).await;
        house.start(1).await;
        for (step, tool) in [(0, "one"), (1, "one"), (2, "two"), (3, "none")] {
            house.step(ask_step(1, step, tool)).await.unwrap();
        }
        let checked = house.replica().await.end(ask_end(1, 0)).await.unwrap().rules_checked;
        // one, two, late, and the grant of the settings; nobody asked about `three`.
        assert_eq!(checked, 4);
    }

    /// §6.3: the evidence of a run has what was prevented in it, and what was put to people.
    async fn evidence_has_preventions_and_approvals(store: TestStore) {
        let house = House::over(store).await;
        house.learned().await;
        house.rule(9, "asks", "@outcome(\"require_approval\")", &on("pay")).await;
        house.begin(1, 1).await;
        house.begin(2, 1).await;
        let prevented = house.step(ask_step(1, 0, "drop")).await.unwrap().decision.unwrap();
        let asked = house.step(ask_step(1, 1, "pay")).await.unwrap().decision.unwrap();
        house.step(ask_step(2, 0, "pay")).await.unwrap();
        let of = |attempt: u32| pb::GetRunPolicyEvidenceRequest { run_id: run(1), attempt };
        let name = "DecisionService/GetRunPolicyEvidence";
        let evidence = call!(house, decisions.get_run_policy_evidence, name, of(1)).unwrap();
        let ids: Vec<_> = evidence.preventions.iter().map(|p| &p.decision_id).collect();
        assert_eq!(ids, [&prevented.decision_id]);
        let ids: Vec<_> = evidence.approvals.iter().map(|a| (&a.approval_id, a.state())).collect();
        assert_eq!(ids, [(&asked.approval_id, pb::ApprovalState::Pending)]);
        assert!(evidence.complete);
        let other = call!(house, decisions.get_run_policy_evidence, name, of(2)).unwrap();
        assert!(other.preventions.is_empty() && other.approvals.is_empty());
    }
}
