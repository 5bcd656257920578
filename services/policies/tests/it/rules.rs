//! The life of rules and snapshots.

use contracts_policies::v1 as pb;
use runspine_testkit::{TestStore, on_both_engines, test_id};
use tonic::Code;

use crate::{
    call,
    harness::{House, WHY, ask_step, content, reason},
};

const ANY: &str = "forbid(principal, action in Runspine::Action::\"step\", resource);";

on_both_engines! {
    /// From draft to retired; each act one governance event with before and after.
    async fn a_rule_lives_and_tells_of_it(store: TestStore) {
        let house = House::over(store).await;
        let made = house.create(1, content("no-steps", "", ANY)).await.unwrap();
        let again = house.create(1, content("no-steps", "", ANY)).await.unwrap();
        assert_eq!(made, again, "a repeat gives the first answer");
        let other = house.create(1, content("other", "", ANY)).await.unwrap_err();
        assert_eq!((other.code(), reason(&other).as_str()), (Code::AlreadyExists, "IDEMPOTENCY_MISMATCH"));
        let taken = house.create(2, content("no-steps", "", ANY)).await.unwrap_err();
        assert_eq!(reason(&taken), "SLUG_TAKEN");
        let rule = made.rule.unwrap();
        let active = house.activate(1, &rule).await.unwrap();
        let twice = house.activate(2, active.rule.as_ref().unwrap()).await.unwrap_err();
        assert_eq!(reason(&twice), "RULE_TRANSITION_INVALID");
        let change = pb::SetRuleModeRequest {
            request_id: test_id(11, 1), rule_id: rule.rule_id.clone(), mode: 2, reason: WHY.into(),
        };
        let warned = call!(house, rules.set_rule_mode, "RuleService/SetRuleMode", change).unwrap();
        assert_ne!(warned.snapshot_digest, active.snapshot_digest);
        assert_eq!((warned.rule.unwrap().version, active.rule.unwrap().version), (2, 1));
        let retire = pb::RetireRuleRequest {
            request_id: test_id(12, 1), rule_id: rule.rule_id.clone(), reason: WHY.into(), ..Default::default()
        };
        call!(house, rules.retire_rule, "RuleService/RetireRule", retire).unwrap();
        let get = pb::GetRuleRequest { rule_id: rule.rule_id.clone(), version: 1 };
        let found = call!(house, rules.get_rule, "RuleService/GetRule", get).unwrap();
        assert_eq!(found.rule.unwrap().rule_digest, rule.rule_digest, "a version never changes");
        assert_eq!(found.transitions.len(), 6);
        let told = house.told().await;
        let names: Vec<&str> = told.iter().map(|e| e.r#type.as_str()).collect();
        for name in ["RuleCreated", "RuleActivated", "RuleModeChanged", "RuleRetired", "SnapshotActivated"] {
            let full = format!("policies.{name}");
            let event = told.iter().find(|e| e.r#type == full).unwrap_or_else(|| panic!("{name} in {names:?}"));
            assert!(!event.after_state.is_empty(), "{name}");
        }
    }

    /// A rule with findings is kept as a draft and can't be activated; GRANT and WARN never meet.
    async fn a_bad_rule_stays_a_draft(store: TestStore) {
        let house = House::over(store).await;
        let made = house.create(1, content("bad", "@outcom(\"warn\")", ANY)).await.unwrap();
        assert_eq!(made.findings[0].kind(), pb::FindingKind::AnnotationUnknown);
        let refused = house.activate(1, &made.rule.unwrap()).await.unwrap_err();
        assert_eq!(reason(&refused), "FINDINGS_BLOCKING");
        let mut grant = content("grant", "", "permit(principal, action, resource);");
        grant.mode = pb::RuleMode::Warn.into();
        assert_eq!(reason(&house.create(2, grant).await.unwrap_err()), "MODE_INVALID_FOR_GRANT");
        let mut system = content("system", "", ANY);
        system.category = pb::RuleCategory::System.into();
        assert_eq!(reason(&house.create(3, system).await.unwrap_err()), "SYSTEM_RULE_PROTECTED");
        let mut global = content("global", "", ANY);
        global.scope = pb::RuleScope::Global.into();
        assert_eq!(reason(&house.create(4, global).await.unwrap_err()), "SCOPE_INVALID");
    }

    /// A4.1: of many who activate one draft, one does.
    async fn concurrent_activation_leaves_one_active_version(store: TestStore) {
        let house = House::over(store).await;
        let rule = house.create(1, content("r", "", ANY)).await.unwrap().rule.unwrap();
        let tries = (0..16).map(|n| house.activate(n, &rule));
        let done = futures::future::join_all(tries).await;
        assert_eq!(done.iter().filter(|d| d.is_ok()).count(), 1, "{done:?}");
        let list = call!(house, rules.list_rules, "RuleService/ListRules", pb::ListRulesRequest::default()).unwrap();
        let active = list.rules.iter().filter(|r| r.state() == pb::RuleState::Active).count();
        assert_eq!((active, list.rules.len()), (1, 1));
    }

    /// A5.2: a run keeps the snapshot it was started with; the next one gets the new. Mesh rules reach every tenant.
    async fn runs_keep_their_snapshot(store: TestStore) {
        let house = House::over(store).await;
        let first = house.start(1).await;
        let replica = house.replica().await;
        replica.start(7).await;
        let rule = house.rule(1, "no-steps", "", ANY).await;
        assert_eq!(house.step(ask_step(1, 0, "t1")).await.unwrap().decision.unwrap().verdict, 1);
        let second = house.start(2).await;
        assert_eq!(second.snapshot_digest, rule.snapshot_digest);
        assert_ne!(first.snapshot_digest, second.snapshot_digest);
        assert_eq!(replica.start(8).await.snapshot_digest, rule.snapshot_digest, "another process sees it");
        assert_eq!(house.step(ask_step(2, 0, "t1")).await.unwrap().decision.unwrap().verdict, 2);
        let mut mesh = content("mesh", "@outcome(\"warn\")", ANY);
        mesh.scope = pb::RuleScope::Global.into();
        let ask = pb::CreateRuleRequest { request_id: test_id(13, 1), content: Some(mesh) };
        let made = call!(house, 0, rules.create_rule, "RuleService/CreateRule", ask).unwrap().rule.unwrap();
        let ask = pb::ActivateRuleRequest {
            request_id: test_id(13, 2), rule_id: made.rule_id.clone(), version: 1, expected_version: made.revision,
            reason: WHY.into(),
        };
        call!(house, 0, rules.activate_rule, "RuleService/ActivateRule", ask).unwrap();
        assert_ne!(replica.start(9).await.snapshot_digest, rule.snapshot_digest);
        let active = pb::GetActiveSnapshotRequest { include_text: true };
        let active = call!(house, snapshots.get_active_snapshot, "SnapshotService/GetActiveSnapshot", active).unwrap();
        let slugs: Vec<String> = active.snapshot.unwrap().rules.into_iter().map(|r| r.slug).collect();
        for slug in ["sys.baseline", "no-steps", "mesh"] {
            assert!(slugs.iter().any(|s| s == slug), "{slugs:?}");
        }
    }

    /// Two snapshots differ by rules that came, went and changed, and by settings.
    async fn snapshots_are_compared(store: TestStore) {
        let house = House::over(store).await;
        let one = house.rule(1, "one", "", ANY).await;
        let two = house.rule(2, "two", "@outcome(\"warn\")", ANY).await;
        let change = pb::SetRuleModeRequest {
            request_id: test_id(11, 1), rule_id: two.rule.as_ref().unwrap().rule_id.clone(), mode: 3, reason: WHY.into(),
        };
        call!(house, rules.set_rule_mode, "RuleService/SetRuleMode", change).unwrap();
        let three = house.rule(3, "three", "", ANY).await;
        let diff = async |from: &pb::ActivateRuleResponse, to: Option<&pb::ActivateRuleResponse>| {
            let to_digest = to.map(|t| t.snapshot_digest.clone()).unwrap_or_default();
            let request = pb::DiffSnapshotsRequest { from_digest: from.snapshot_digest.clone(), to_digest };
            call!(house, snapshots.diff_snapshots, "SnapshotService/DiffSnapshots", request).unwrap()
        };
        let slugs = |rules: &[pb::SnapshotRule]| rules.iter().map(|r| r.slug.clone()).collect::<Vec<_>>();
        let grown = diff(&one, None).await;
        let mut added = slugs(&grown.added);
        added.sort();
        assert_eq!((added, grown.removed.len(), grown.changed.len()), (vec!["three".to_owned(), "two".to_owned()], 0, 0));
        let turned = diff(&two, Some(&three)).await;
        let changed = &turned.changed[0];
        let modes = (changed.from.as_ref().unwrap().mode(), changed.to.as_ref().unwrap().mode());
        assert_eq!((turned.changed.len(), modes), (1, (pb::RuleMode::Block, pb::RuleMode::Audit)));
        assert_eq!(slugs(&diff(&three, Some(&two)).await.removed), ["three"]);
        let same = diff(&three, Some(&three)).await;
        assert_eq!(same, pb::DiffSnapshotsResponse::default());
        let settings = pb::PolicySettings { intents: vec!["pay".into()], baseline_grant: true, ..Default::default() };
        let set = pb::SetPolicySettingsRequest {
            request_id: test_id(11, 2), expected_version: 0, reason: WHY.into(), settings: Some(settings),
        };
        call!(house, settings.set_policy_settings, "SettingsService/SetPolicySettings", set).unwrap();
        let set = diff(&three, None).await;
        assert!(set.added.is_empty() && set.settings_from != set.settings_to, "{set:?}");
    }

    /// A5.4: after a recall nothing under the snapshot is allowed, in every process.
    async fn a_recall_denies(store: TestStore) {
        let house = House::over(store).await;
        let bound = house.start(1).await;
        house.step(ask_step(1, 0, "t1")).await.unwrap();
        let replica = house.replica().await;
        replica.step(ask_step(1, 1, "t1")).await.unwrap();
        let recall = pb::RecallSnapshotRequest {
            request_id: test_id(14, 1), digest: bound.snapshot_digest.clone(), directive: 3, reason: WHY.into(),
        };
        let done = call!(house, snapshots.recall_snapshot, "SnapshotService/RecallSnapshot", recall).unwrap();
        assert_eq!(done.runs_bound, 1);
        for (n, side) in [&house, &replica].into_iter().enumerate() {
            let d = side.step(ask_step(1, 2 + u32::try_from(n).unwrap(), "t1")).await.unwrap().decision.unwrap();
            assert_eq!((d.verdict, d.effective_directive, d.reasons[0].code.as_str()), (2, 3, "SNAPSHOT_RECALLED"));
        }
        let verify = pb::VerifySnapshotRequest { request_id: test_id(14, 2), digest: bound.snapshot_digest };
        let found = call!(house, snapshots.verify_snapshot, "SnapshotService/VerifySnapshot", verify).unwrap();
        assert_eq!(found.result(), pb::VerifyResult::Verified);
    }
}
