//! What the engines themselves keep.

use runspine_db::args;
use runspine_policies::MIGRATIONS;
use runspine_policies_domain::{
    rule::{Meaning, rule_digest},
    words::{Category, Mode, Scope},
};
use runspine_testkit::{TestStore, assert_append_only, assert_append_only_tables, on_both_engines};

use crate::{
    call,
    harness::{House, WHY, ask_end, ask_step, fact},
};
use contracts_policies::v1 as pb;
use runspine_testkit::{run, tenant, test_id};

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
        house.approve_and_spend(2).await;
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
        house.rows_of_the_sandbox().await;
        house.lesson_of_failure(1).await;
        house.reviewed_proposal(1).await;
        house.learned().await;
        house.start(30).await;
        house.step(ask_step(30, 0, "drop")).await.unwrap();
        assert_append_only_tables(&house.db, &MIGRATIONS).await;
        for table in MIGRATIONS.append_only {
            assert_append_only(&house.db, table).await;
        }
        assert_eq!(run(1).len(), 36);
    }
}

/// A rule in force, written past the use cases so that both engines hold the same ids and times.
async fn put_rule(house: &House) {
    let meaning = Meaning {
        category: Category::Custom,
        cedar: "@id(\"r\") @reason(\"WHY_NOT\") forbid(principal, action, resource);".to_owned(),
        effective_from: None,
        effective_until: None,
        format: 1,
        mode: Mode::Block,
        precedence: 900,
        rule_id: test_id(30, 1),
        scope: Scope::Tenant,
        scope_id: String::new(),
        sequence: None,
        slug: "r".to_owned(),
        tenant_id: tenant(1),
        version: 1,
    };
    let (bytes, id, of) = (meaning.bytes(), meaning.rule_id.clone(), tenant(1));
    let write = house.db.write("put_rule", move |tx| {
        Box::pin(async move {
            let head = "INSERT INTO rules (tenant_id, rule_id, slug, mesh, last_version, active_version, \
                        draft_version, revision, created_at) VALUES ($1, $2, 'r', 0, 1, 1, 0, 1, 0)";
            tx.execute(head, args![&of, &id]).await?;
            let version = "INSERT INTO rule_versions (tenant_id, rule_id, version, name, description, meaning, \
                           rule_digest, mode, scope, category, rule_type, source, parent_version, author_type, \
                           author_id, created_at) VALUES ($1, $2, 1, '', '', $3, $4, 1, 2, 8, 5, 1, 0, 1, 'ann', 0)";
            tx.execute(version, args![&of, &id, &bytes, rule_digest(&bytes)]).await?;
            Ok(())
        })
    });
    write.await.unwrap();
}

async fn active_digest(house: &House) -> Vec<u8> {
    let ask = pb::GetActiveSnapshotRequest::default();
    let found = call!(house, snapshots.get_active_snapshot, "SnapshotService/GetActiveSnapshot", ask);
    found.unwrap().snapshot.unwrap().digest.to_vec()
}

/// A5.1: equal state, equal digest, whatever the engine.
#[tokio::test(flavor = "multi_thread")]
async fn both_engines_build_the_same_snapshot() {
    let sqlite = House::over(TestStore::start(runspine_testkit::SQLITE).await).await;
    let postgres = House::over(TestStore::start(runspine_testkit::POSTGRES).await).await;
    let before = active_digest(&sqlite.replica().await).await;
    assert_eq!(before, active_digest(&postgres.replica().await).await);
    put_rule(&sqlite).await;
    put_rule(&postgres).await;
    let after = active_digest(&sqlite).await;
    assert_eq!(after, active_digest(&postgres).await);
    assert_ne!(before, after);
}

on_both_engines! {
    /// A5.3: bytes that do not fit their digest are found, and nothing is decided under them.
    async fn a_flipped_byte_is_found(store: TestStore) {
        let house = House::over(store).await;
        let bound = house.start(1).await;
        let digest = bound.snapshot_digest.clone();
        let stored = digest.clone();
        let flip = house.db.write("flip", move |tx| {
            Box::pin(async move {
                let unlock = tx.dialect().pick(
                    "DROP TRIGGER snapshots_append_only_update",
                    "ALTER TABLE snapshots DISABLE TRIGGER snapshots_append_only_update",
                );
                tx.execute(unlock, args![]).await?;
                let sql = "UPDATE snapshots SET bytes = $1 WHERE digest = $2";
                tx.execute(sql, args![b"other bytes".to_vec(), stored]).await?;
                Ok(())
            })
        });
        flip.await.unwrap();
        let replica = house.replica().await;
        let decision = replica.step(ask_step(1, 0, "t1")).await.unwrap().decision.unwrap();
        assert_eq!((decision.verdict, decision.degraded), (1, true), "STANDARD: allowed and marked");
        assert_eq!(decision.failure(), pb::Failure::SnapshotUnavailable);
        let verify = pb::VerifySnapshotRequest { request_id: test_id(14, 2), digest: digest.clone() };
        let found = call!(replica, snapshots.verify_snapshot, "SnapshotService/VerifySnapshot", verify).unwrap();
        assert_eq!(found.result(), pb::VerifyResult::Mismatch);
        let list = pb::ListSnapshotsRequest::default();
        let list = call!(replica, snapshots.list_snapshots, "SnapshotService/ListSnapshots", list).unwrap();
        assert_eq!(list.snapshots[0].state(), pb::SnapshotState::Invalid);
        let asked = crate::harness::ask_run(2);
        let refused = call!(replica, decisions.evaluate_run, "DecisionService/EvaluateRun", asked).unwrap_err();
        assert_eq!(crate::harness::reason(&refused), "SNAPSHOT_INVALID");
    }

    /// A15: settings are part of the snapshot; without the baseline grant a step is denied with NO_GRANT.
    async fn settings_make_a_snapshot(store: TestStore) {
        let house = House::over(store).await;
        let open = house.start(1).await;
        let settings = pb::PolicySettings { intents: vec!["pay".into()], ..Default::default() };
        let ask = pb::SetPolicySettingsRequest {
            request_id: test_id(11, 1), expected_version: 0, reason: WHY.into(), settings: Some(settings),
        };
        let set = call!(house, settings.set_policy_settings, "SettingsService/SetPolicySettings", ask.clone()).unwrap();
        assert_ne!(set.snapshot_digest, open.snapshot_digest);
        let stale = pb::SetPolicySettingsRequest { request_id: test_id(11, 2), ..ask };
        let stale = call!(house, settings.set_policy_settings, "SettingsService/SetPolicySettings", stale).unwrap_err();
        assert_eq!(crate::harness::reason(&stale), "VERSION_CONFLICT");
        let denied = house.start(2).await.decision.unwrap();
        assert_eq!((denied.verdict, denied.reasons[0].code.as_str()), (2, "NO_GRANT"));
        let old = house.step(ask_step(1, 0, "t1")).await.unwrap().decision.unwrap();
        assert_eq!(old.verdict, 1, "a bound run keeps its own");
        let word = pb::EvaluateStepRequest { intent: "pay".into(), ..ask_step(2, 0, "t1") };
        assert_eq!(house.step(word).await.unwrap().decision.unwrap().reasons[0].code, "NO_GRANT");
        let word = pb::EvaluateStepRequest { intent: "steal".into(), ..ask_step(2, 1, "t1") };
        assert_eq!(crate::harness::reason(&house.step(word).await.unwrap_err()), "INTENT_UNKNOWN");
        let get = pb::GetPolicySettingsRequest {};
        let got = call!(house, settings.get_policy_settings, "SettingsService/GetPolicySettings", get).unwrap();
        assert_eq!(got.settings, set.settings);
    }
}
