//! What rules prevented that were learned from something.

use contracts_policies::v1 as pb;
use runspine_testkit::{TestStore, on_both_engines, run, test_id};

use crate::{
    call,
    harness::{House, ask_step},
};

impl House {
    async fn prevented(&self, r: pb::ListPreventionsRequest) -> Vec<pb::Prevention> {
        let found = call!(self, violations.list_preventions, "ViolationService/ListPreventions", r);
        found.unwrap().preventions
    }

    /// Rules that were learned: one blocks, one changes, one only warns.
    pub async fn learned(&self) {
        let on = |tool: &str| {
            format!(
                "forbid(principal, action == Runspine::Action::\"tool_call\", resource == Runspine::Tool::\"{tool}\");"
            )
        };
        self.rule(81, "blocks", "@origin(\"pattern-1\")", &on("drop")).await;
        let changes = "@origin(\"pattern-1\") @outcome(\"modify\") @obligations(\"cap_tokens(5)\")";
        self.rule(82, "changes", changes, &on("read")).await;
        self.rule(83, "warns", "@origin(\"pattern-1\") @outcome(\"warn\")", &on("look")).await;
        self.rule(84, "plain", "", &on("push")).await;
    }

    pub async fn failed_prevention(&self, n: u64, signature: &str) -> Vec<pb::Prevention> {
        let r = pb::RecordPreventionOutcomeRequest {
            request_id: test_id(80, n),
            run_id: run(1),
            attempt: 1,
            signature: signature.to_owned(),
            incident_id: "incident-1".to_owned(),
        };
        let name = "ViolationService/RecordPreventionOutcome";
        call!(self, violations.record_prevention_outcome, name, r).unwrap().preventions
    }
}

on_both_engines! {
    /// 7.5: a record with the enforcement; another one when it did not help, which changes nothing of the first.
    async fn what_was_learned_is_counted(store: TestStore) {
        let house = House::over(store).await;
        house.learned().await;
        house.start(1).await;
        for (n, tool) in ["drop", "read", "look", "push", "other"].iter().enumerate() {
            house.step(ask_step(1, n as u32, tool)).await.unwrap();
            house.step(ask_step(1, n as u32, tool)).await.unwrap();
        }
        let all = house.prevented(pb::ListPreventionsRequest::default()).await;
        let told: Vec<_> = all.iter().map(|p| (p.outcome(), p.step_index, p.signature.as_str())).collect();
        use pb::PreventionOutcome::{Failed, Mitigated, Prevented};
        assert_eq!(told, [(Mitigated, Some(1), "pattern-1"), (Prevented, Some(0), "pattern-1")], "newest first");
        assert!(house.failed_prevention(1, "pattern-2").await.is_empty());
        let failed = house.failed_prevention(2, "pattern-1").await;
        assert_eq!(failed.len(), 2);
        assert!(failed.iter().all(|p| p.outcome() == Failed && p.incident_id == "incident-1"), "{failed:?}");
        assert_eq!(failed[0].of_prevention_id, all[1].prevention_id);
        assert!(house.failed_prevention(3, "pattern-1").await.is_empty(), "each fails once");
        let only = pb::ListPreventionsRequest { outcomes: vec![1], run_id: run(1), ..Default::default() };
        assert_eq!(house.prevented(only).await, all[1..], "the first record stays as it was");
        let told = house.told_names().await;
        assert_eq!(told.iter().filter(|n| *n == "PreventionRecorded").count(), 4);
    }
}
