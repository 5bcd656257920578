//! The life of snapshots: what the mesh does to them, and time.

use std::time::Duration;

use contracts_policies::v1 as pb;
use runspine_testkit::{TestStore, on_both_engines, test_id};

use crate::{
    call,
    decided::on,
    harness::{House, WHY, ask_end, content},
};

impl House {
    /// Puts a rule of the mesh in force.
    async fn mesh_rule(&self, n: u64, slug: &str, policy: &str) {
        let content = pb::RuleContent {
            scope: pb::RuleScope::Global.into(),
            ..content(slug, "@outcome(\"warn\")", policy)
        };
        let ask = pb::CreateRuleRequest { request_id: test_id(13, n), content: Some(content) };
        let made = call!(self, 0, rules.create_rule, "RuleService/CreateRule", ask).unwrap().rule.unwrap();
        let ask = pb::ActivateRuleRequest {
            request_id: test_id(14, n),
            rule_id: made.rule_id,
            version: 1,
            expected_version: made.revision,
            reason: WHY.into(),
        };
        call!(self, 0, rules.activate_rule, "RuleService/ActivateRule", ask).unwrap();
    }

    async fn states_of_snapshots(&self) -> Vec<pb::SnapshotState> {
        let list = pb::ListSnapshotsRequest::default();
        let list = call!(self, snapshots.list_snapshots, "SnapshotService/ListSnapshots", list).unwrap();
        list.snapshots.iter().map(pb::Snapshot::state).collect()
    }
}

on_both_engines! {
    /// §5: what the mesh's rules change is built for every tenant without anybody's need, once, in whichever process.
    async fn snapshots_follow_the_mesh(store: TestStore) {
        let house = House::over(store).await;
        house.start(1).await;
        let active = || async { house.told_names().await.iter().filter(|n| *n == "SnapshotActivated").count() };
        assert_eq!((active().await, house.parts.follow_mesh().await.unwrap()), (1, 0));
        house.mesh_rule(1, "mesh", &on("any")).await;
        let replica = house.replica().await;
        let (a, b) = tokio::join!(house.parts.follow_mesh(), replica.parts.follow_mesh());
        assert!(a.unwrap() + b.unwrap() >= 1);
        assert_eq!(house.states_of_snapshots().await, [pb::SnapshotState::Active, pb::SnapshotState::Superseded]);
        assert_eq!(house.parts.follow_mesh().await.unwrap(), 0, "nobody is behind any more");
        let get = pb::GetActiveSnapshotRequest { include_text: false };
        let get = call!(house, snapshots.get_active_snapshot, "SnapshotService/GetActiveSnapshot", get).unwrap();
        assert!(get.snapshot.unwrap().rules.iter().any(|r| r.slug == "mesh"));
    }

    /// §5: a superseded snapshot is archived after 90 days, but not while a run is judged by it; it still can be read,
    /// and its content can come into force again.
    async fn old_snapshots_are_archived(store: TestStore) {
        use pb::SnapshotState::{Active, Archived, Superseded};
        let house = House::over(store).await;
        let first = house.start(1).await;
        let rule = house.rule(1, "rule", "@outcome(\"warn\")", &on("t1")).await;
        assert_eq!(house.states_of_snapshots().await, [Active, Superseded]);
        house.clock.advance(Duration::from_secs(90 * 86_400));
        assert_eq!(house.parts.archive_old_snapshots().await.unwrap(), 0, "a run is judged by it");
        house.end(ask_end(1, 0)).await.unwrap();
        assert_eq!(house.parts.archive_old_snapshots().await.unwrap(), 1);
        assert_eq!(house.parts.archive_old_snapshots().await.unwrap(), 0);
        assert_eq!(house.states_of_snapshots().await, [Active, Archived]);
        let get = pb::GetSnapshotRequest { digest: first.snapshot_digest.clone(), include_text: true };
        let kept = call!(house, snapshots.get_snapshot, "SnapshotService/GetSnapshot", get).unwrap();
        assert_eq!(kept.snapshot.unwrap().digest, first.snapshot_digest);
        let retire = pb::RetireRuleRequest {
            request_id: test_id(12, 1), rule_id: rule.rule.unwrap().rule_id, reason: WHY.into(), ..Default::default()
        };
        let back = call!(house, rules.retire_rule, "RuleService/RetireRule", retire).unwrap();
        assert_eq!(back.snapshot_digest, first.snapshot_digest);
        assert_eq!(house.states_of_snapshots().await, [Superseded, Active]);
    }

    /// A4.2, A4.4: an update changes no byte of what was; each act is told once, with before and after.
    async fn an_update_changes_nothing_that_was(store: TestStore) {
        let house = House::over(store).await;
        let made = house.rule(1, "rule", "", &on("t1")).await;
        let (rule, digest) = (made.rule.unwrap(), made.snapshot_digest);
        let bytes = || async {
            let sql = "SELECT bytes FROM snapshots ORDER BY id";
            let rows: Vec<(bytes::Bytes,)> = house.db.read().fetch_all(sql, runspine_db::args![]).await.unwrap();
            let sql = "SELECT meaning FROM rule_versions WHERE version = 1 ORDER BY id";
            let old: Vec<(bytes::Bytes,)> = house.db.read().fetch_all(sql, runspine_db::args![]).await.unwrap();
            (rows, old)
        };
        let (before, seen) = (bytes().await, house.told().await.len());
        let update = pb::UpdateRuleRequest {
            request_id: test_id(15, 1), rule_id: rule.rule_id.clone(), expected_version: rule.revision,
            content: Some(content("rule", "", &on("t2"))),
        };
        let updated = call!(house, rules.update_rule, "RuleService/UpdateRule", update).unwrap().rule.unwrap();
        assert_eq!((updated.version, bytes().await == before), (2, true));
        let verify = pb::VerifySnapshotRequest { request_id: test_id(15, 2), digest: digest.clone() };
        let verified = call!(house, snapshots.verify_snapshot, "SnapshotService/VerifySnapshot", verify).unwrap();
        assert_eq!(verified.result(), pb::VerifyResult::Verified);
        let told = house.told().await.split_off(seen);
        let names: Vec<&str> = told.iter().map(|e| e.r#type.as_str()).collect();
        assert_eq!(names, ["policies.RuleCreated"], "one event");
        let hex = |digest: &[u8]| digest.iter().map(|b| format!("{b:02x}")).collect::<String>();
        assert!(told[0].before_state.contains(&hex(&rule.rule_digest)), "{}", told[0].before_state);
        assert!(told[0].after_state.contains(&hex(&updated.rule_digest)), "{}", told[0].after_state);
    }
}
