//! What the engines themselves keep.

use runspine_policies::MIGRATIONS;
use runspine_testkit::{TestStore, assert_append_only, assert_append_only_tables, on_both_engines};

use crate::{
    call,
    harness::{House, WHY, ask_end, ask_step, fact},
};
use contracts_policies::v1 as pb;
use runspine_testkit::{run, test_id};

on_both_engines! {
    /// A1.2: what is append-only can't be changed, whoever asks.
    async fn append_only_tables_refuse_changes(store: TestStore) {
        let house = House::over(store).await;
        let denies = "forbid(principal, action == Runspine::Action::\"tool_call\", resource) when { context.step_index == 1 };";
        house.rule(1, "deny", "@run(\"terminate\")", denies).await;
        house.start(1).await;
        house.step(ask_step(1, 0, "t1")).await.unwrap();
        let mut second = ask_step(1, 1, "t1");
        second.observed = vec![fact(3, 0, "t1")];
        house.step(second).await.unwrap();
        let evaluation = house.end(ask_end(1, 0)).await.unwrap();
        let undo = pb::SupersedeEvaluationRequest {
            evaluation_id: evaluation.evaluation_id, reason: "undo".into(), saga_id: "s1".into(),
        };
        call!(house, decisions.supersede_evaluation, "DecisionService/SupersedeEvaluation", undo).unwrap();
        let settings = pb::SetPolicySettingsRequest {
            request_id: test_id(11, 1), expected_version: 0, reason: WHY.into(),
            settings: Some(pb::PolicySettings { baseline_grant: true, ..Default::default() }),
        };
        let set = call!(house, settings.set_policy_settings, "SettingsService/SetPolicySettings", settings).unwrap();
        let recall = pb::RecallSnapshotRequest {
            request_id: test_id(12, 1), digest: set.snapshot_digest, directive: 2, reason: WHY.into(),
        };
        call!(house, snapshots.recall_snapshot, "SnapshotService/RecallSnapshot", recall).unwrap();
        assert_append_only_tables(&house.db, &MIGRATIONS).await;
        for table in MIGRATIONS.append_only {
            assert_append_only(&house.db, table).await;
        }
        assert_eq!(run(1).len(), 36);
    }
}
